//! What destinations mean to clients that speak `stomp`, by prefix. Knows neither sessions nor frames.

/// The prefixes of an endpoint, each of whole segments, with a slash before and none behind. Where several fit a
/// destination, the longest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destinations {
    /// Domain services: SEND is a message, SUBSCRIBE a request.
    pub upstream: Vec<String>,
    /// Domain services: SEND is a request too, and its answer a message of the client's own.
    pub requests: Vec<String>,
    /// Rooms, named by what follows.
    pub rooms: Vec<String>,
    /// Rooms, named by the whole destination.
    pub queues: Vec<String>,
    /// The user's own messages.
    pub user: Vec<String>,
    /// Rooms to which clients may send themselves.
    pub relay: Vec<String>,
    /// Rooms where what clients send goes to domain services.
    pub forward: Vec<String>,
}

/// What a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A domain service that hears of messages.
    Upstream,
    /// A domain service that is asked.
    Request,
    /// A room, named by the rest.
    Room,
    /// A room, named by all of it.
    Queue,
    /// The user's own messages.
    User,
}

/// What becomes of a client's SEND to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// It is refused.
    Denied,
    /// All members get it.
    Relay,
    /// A domain service gets it.
    Forward,
}

impl Default for Destinations {
    /// Spring's prefixes; nobody may send to rooms.
    fn default() -> Self {
        let list = |prefixes: &[&str]| prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Self {
            upstream: list(&["/app", "/pub"]),
            requests: Vec::new(),
            rooms: list(&["/topic", "/sub"]),
            queues: list(&["/queue"]),
            user: list(&["/user"]),
            relay: Vec::new(),
            forward: Vec::new(),
        }
    }
}

impl Destinations {
    /// What `destination` is, and what follows the prefix, without the slash between them.
    pub fn meaning<'a>(&self, destination: &'a str) -> Option<(Meaning, &'a str)> {
        let kinds = [
            (Meaning::Upstream, &self.upstream),
            (Meaning::Request, &self.requests),
            (Meaning::Room, &self.rooms),
            (Meaning::Queue, &self.queues),
            (Meaning::User, &self.user),
        ];
        let fits = kinds.into_iter().filter_map(|(meaning, prefixes)| Some((meaning, longest(prefixes, destination)?)));
        let (meaning, length) = fits.max_by_key(|(_, length)| *length)?;
        Some((meaning, destination.get(length + 1..)?))
    }

    /// What becomes of a SEND to a destination that is a room.
    pub fn sending(&self, destination: &str) -> Sending {
        match (longest(&self.relay, destination), longest(&self.forward, destination)) {
            (None, None) => Sending::Denied,
            (relay, forward) if relay >= forward => Sending::Relay,
            _ => Sending::Forward,
        }
    }
}

/// The length of the longest prefix that `destination` is below.
fn longest(prefixes: &[String], destination: &str) -> Option<usize> {
    let fits = |prefix: &&String| destination.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
    prefixes.iter().filter(fits).map(String::len).max()
}

/// Why `prefix` cannot be one.
pub fn check_prefix(prefix: &str) -> Result<(), &'static str> {
    let mut segments = prefix.split('/');
    if segments.next() != Some("") || prefix.len() < 2 {
        return Err("must begin with / and name something");
    }
    if segments.any(|segment| matches!(segment, "" | "." | ".." | "*" | "**")) {
        return Err("must have no empty segment, dots or patterns, and no / at its end");
    }
    if prefix == "/hf" || prefix.starts_with("/hf/") {
        return Err("must not be below /hf, which is the gateway's");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments_and_the_longest_counts() {
        let list = |prefixes: &[&str]| prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        let destinations = Destinations {
            requests: list(&["/app/ask"]),
            relay: list(&["/topic/open"]),
            forward: list(&["/topic", "/topic/open/logged"]),
            ..Destinations::default()
        };
        for (destination, meaning) in [
            ("/app/x", Some((Meaning::Upstream, "x"))),
            ("/app/ask/x", Some((Meaning::Request, "x"))),
            ("/app/asking", Some((Meaning::Upstream, "asking"))),
            ("/application/x", None),
            ("/topic/a/b", Some((Meaning::Room, "a/b"))),
            ("/queue/a", Some((Meaning::Queue, "a"))),
            ("/user/queue/a", Some((Meaning::User, "queue/a"))),
            ("/topic", None),
            ("", None),
        ] {
            assert_eq!(destinations.meaning(destination), meaning, "{destination}");
        }
        for (destination, sending) in [
            ("/topic/x", Sending::Forward),
            ("/topic/open/x", Sending::Relay),
            ("/topic/open/logged/x", Sending::Forward),
            ("/sub/x", Sending::Denied),
        ] {
            assert_eq!(destinations.sending(destination), sending, "{destination}");
        }
    }

    #[test]
    fn a_prefix_names_something() {
        for prefix in ["", "/", "app", "/app/", "//app", "/a/../b", "/a/*", "/hf", "/hf/auth"] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
        for prefix in ["/app", "/a/b", "/hfx"] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
    }
}
