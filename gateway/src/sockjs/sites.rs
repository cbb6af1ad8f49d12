//! Which URLs below a base path are those of SockJS, and what each stands for. Pure.
//!
//! They win over the rules for other paths, but only where they are meant: an upgrade below a base path that looks like
//! no URL of SockJS is left to those rules.

use crate::socket::Framing;

/// The base paths of a process.
#[derive(Debug, Clone, Default)]
pub struct Sites {
    /// Without a slash at the end, the longest first.
    bases: Vec<String>,
}

/// What an URL of SockJS stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A WebSocket at the endpoint of the base path.
    WebSocket {
        /// The base path.
        base: &'a str,
        /// How messages travel.
        framing: Framing,
    },
    /// A request of a session without WebSocket.
    Session {
        /// The base path.
        base: &'a str,
        /// The session's name, the client's to choose.
        session: &'a str,
        /// What it asks for.
        transport: Transport,
    },
    /// Something else.
    Page(Page),
}

/// What a request of a session without WebSocket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One frame.
    Xhr,
    /// Frames, as lines.
    XhrStreaming,
    /// Frames, as server-sent events.
    EventSource,
    /// The client sends.
    XhrSend,
}

/// Longest name of a session: names are 8 characters in practice, and become keys.
const SESSION_BYTES_MAX: usize = 64;

/// What SockJS answers that is no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The base path itself.
    Greeting,
    /// What the server can do.
    Info,
    /// Nothing.
    NotFound,
}

impl Sites {
    /// Sites at these paths.
    pub fn new(paths: Vec<String>) -> Self {
        let mut bases: Vec<_> = paths.iter().map(|path| path.trim_end_matches('/').to_owned()).collect();
        bases.sort_by_key(|base| std::cmp::Reverse(base.len()));
        Self { bases }
    }

    /// What a path, as it came, is for SockJS; `upgrade`: the request asks for one.
    pub fn find<'a>(&'a self, path: &'a str, upgrade: bool) -> Option<Found<'a>> {
        let mut below = false;
        for base in &self.bases {
            let Some(rest) = path.strip_prefix(base.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            else {
                continue;
            };
            below = true;
            if let Some(found) = find(base, rest, upgrade) {
                return Some(found);
            }
        }
        (below && !upgrade).then_some(Found::Page(Page::NotFound))
    }
}

fn find<'a>(base: &'a str, rest: &'a str, upgrade: bool) -> Option<Found<'a>> {
    let mut segments = rest.split('/').skip(1);
    let place = (segments.next(), segments.next(), segments.next(), segments.next());
    Some(match place {
        (None | Some(""), None, ..) if upgrade => Found::WebSocket { base, framing: Framing::Plain },
        (None | Some(""), None, ..) => Found::Page(Page::Greeting),
        (Some("info"), None, ..) => Found::Page(Page::Info),
        (Some("websocket"), None, ..) => Found::WebSocket { base, framing: Framing::Plain },
        (Some(server), Some(session), Some(last), None) => {
            let transport = match last {
                "websocket" => None,
                "xhr" => Some(Transport::Xhr),
                "xhr_streaming" => Some(Transport::XhrStreaming),
                "eventsource" => Some(Transport::EventSource),
                "xhr_send" => Some(Transport::XhrSend),
                _ => return None,
            };
            match transport {
                _ if !is_name(server) || !is_name(session) => Found::Page(Page::NotFound),
                None => Found::WebSocket { base, framing: Framing::SockJs },
                Some(transport) => Found::Session { base, session, transport },
            }
        }
        _ => return None,
    })
}

/// Names of servers and sessions are the client's to choose, but never look like a file's.
fn is_name(segment: &str) -> bool {
    !segment.is_empty() && !segment.contains('.') && segment.len() <= SESSION_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Found<'_> = Found::WebSocket { base: "/ws", framing: Framing::Plain };
    const FRAMED: Found<'_> = Found::WebSocket { base: "/ws", framing: Framing::SockJs };
    const fn session(transport: Transport) -> Found<'static> {
        Found::Session { base: "/ws", session: "abcdefgh", transport }
    }

    const NOWHERE: Found<'_> = Found::Page(Page::NotFound);

    #[test]
    fn the_urls_of_sockjs_are_told_from_others() {
        let sites = Sites::new(vec!["/ws/".into()]);
        for (path, upgrade, expected) in [
            ("/ws", false, Some(Found::Page(Page::Greeting))),
            ("/ws/", false, Some(Found::Page(Page::Greeting))),
            ("/ws", true, Some(PLAIN)),
            ("/ws/", true, Some(PLAIN)),
            ("/ws/info", false, Some(Found::Page(Page::Info))),
            ("/ws/info", true, Some(Found::Page(Page::Info))),
            ("/ws/websocket", true, Some(PLAIN)),
            ("/ws/websocket", false, Some(PLAIN)),
            ("/ws/000/abcdefgh/websocket", true, Some(FRAMED)),
            ("/ws/000/abcdefgh/websocket", false, Some(FRAMED)),
            ("/ws/0.0/abcdefgh/websocket", true, Some(NOWHERE)),
            ("/ws/000/abc.defg/websocket", true, Some(NOWHERE)),
            ("/ws//abcdefgh/websocket", true, Some(NOWHERE)),
            ("/ws/000//websocket", true, Some(NOWHERE)),
            ("/ws/000/abcdefgh/jsonp", false, Some(NOWHERE)),
            ("/ws/000/abcdefgh/websocket/", false, Some(NOWHERE)),
            ("/ws/000/abcdefgh/xhr", false, Some(session(Transport::Xhr))),
            ("/ws/000/abcdefgh/xhr_streaming", false, Some(session(Transport::XhrStreaming))),
            ("/ws/000/abcdefgh/eventsource", false, Some(session(Transport::EventSource))),
            ("/ws/000/abcdefgh/xhr_send", false, Some(session(Transport::XhrSend))),
            ("/ws/000/abc.defg/xhr", false, Some(NOWHERE)),
            ("/ws//", false, Some(NOWHERE)),
            ("/ws/a", false, Some(NOWHERE)),
            ("/ws/iframe.html", false, Some(NOWHERE)),
            ("/ws/chat", true, None),
            ("/ws/crowd/location", true, None),
            ("/ws/a/b/c", true, None),
            ("/wsx", false, None),
            ("/other/info", false, None),
        ] {
            assert_eq!(sites.find(path, upgrade), expected, "{path} {upgrade}");
        }
    }

    #[test]
    fn the_longest_base_path_is_asked_first() {
        let sites = Sites::new(vec!["/ws".into(), "/ws/chat".into(), "/".into()]);

        let found = |path| match sites.find(path, true) {
            Some(Found::WebSocket { base, .. }) => Some(base),
            _ => None,
        };
        assert_eq!(found("/ws/chat/websocket"), Some("/ws/chat"));
        assert_eq!(found("/ws/chat/000/x/websocket"), Some("/ws/chat"));
        assert_eq!(found("/ws/chat/x/websocket"), Some("/ws"));
        assert_eq!(found("/websocket"), Some(""));
        assert_eq!(sites.find("/ws/chat/info", false), Some(Found::Page(Page::Info)));
    }

    #[test]
    fn without_base_paths_nothing_is_for_sockjs() {
        assert_eq!(Sites::default().find("/ws/info", false), None);
    }
}
