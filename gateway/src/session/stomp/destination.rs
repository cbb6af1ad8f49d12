//! What destinations mean: Spring's prefixes, whole segments.

use std::sync::Arc;

use holdfast_protocol::limits::{TO_SEGMENT_BYTES_MAX, TO_SEGMENTS_MAX};
use holdfast_protocol::token::check_key;

/// Longest path of a room, in segments.
const ROOM_SEGMENTS_MAX: usize = 12;

/// What a destination stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// `/app/**`, `/pub/**`: a domain service; the path below it.
    Upstream(Vec<String>),
    /// `/topic/**`, `/sub/**`, `/queue/**`: a room.
    Room(Arc<str>),
    /// `/user/queue/**`, `/user/topic/**`: the user's own messages of a destination, which is without `/user`.
    Own(Box<str>),
    /// `/hf/auth`: a fresh credential.
    Auth,
}

impl Destination {
    /// Reads a destination. `None` for one that means nothing here: unknown prefixes, empty segments, dot segments,
    /// patterns, or too long.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "/hf/auth" {
            return Some(Self::Auth);
        }
        let (prefix, rest) = text.strip_prefix('/')?.split_once('/')?;
        let segments: Vec<&str> = rest.split('/').collect();
        if segments.iter().any(|segment| matches!(*segment, "" | "." | ".." | "*" | "**")) {
            return None;
        }
        match prefix {
            "app" | "pub" => {
                let short = segments.iter().all(|segment| segment.len() <= TO_SEGMENT_BYTES_MAX);
                let path = segments.iter().map(|segment| (*segment).to_owned()).collect();
                (short && segments.len() <= TO_SEGMENTS_MAX).then_some(Self::Upstream(path))
            }
            "topic" | "sub" => room(rest, segments.len()),
            // In Spring's simple broker both prefixes mean the same; the rooms are others.
            "queue" => room(text.strip_prefix('/')?, segments.len()),
            "user" => {
                let own = matches!(segments.as_slice(), ["queue" | "topic", _, ..]) && check_key(rest).is_ok();
                own.then(|| Self::Own(format!("/{rest}").into()))
            }
            _ => None,
        }
    }
}

fn room(name: &str, segments: usize) -> Option<Destination> {
    (segments <= ROOM_SEGMENTS_MAX && check_key(name).is_ok()).then(|| Destination::Room(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_decide_what_a_destination_is() {
        let room = |name: &str| Some(Destination::Room(name.into()));
        let up = |path: &[&str]| Some(Destination::Upstream(path.iter().map(|part| (*part).to_owned()).collect()));
        let own = |name: &str| Some(Destination::Own(name.into()));
        let long = format!("/topic/{}", "x".repeat(201));
        let deep = format!("/topic/{}", ["x"; 13].join("/"));
        let wide = format!("/app/{}", "x".repeat(65));
        for (text, expected) in [
            ("/topic/messages", room("messages")),
            ("/topic/chat/5", room("chat/5")),
            ("/topic/a.b", room("a.b")),
            ("/sub/chat/5", room("chat/5")),
            ("/queue/messages", room("queue/messages")),
            ("/app/sendMessage", up(&["sendMessage"])),
            ("/pub/chat/5/typing", up(&["chat", "5", "typing"])),
            ("/app/a.b *>", up(&["a.b *>"])),
            ("/user/queue/x", own("/queue/x")),
            ("/user/topic/x/y", own("/topic/x/y")),
            ("/hf/auth", Some(Destination::Auth)),
            ("/user/ana/queue/x", None),
            ("/user/queue", None),
            ("/user/queue/", None),
            ("/topicality/x", None),
            ("/topic", None),
            ("/topic/", None),
            ("/topic//x", None),
            ("/topic/../x", None),
            ("/topic/*", None),
            ("/topic/x/**", None),
            ("topic/x", None),
            ("/hf/pause", None),
            ("/app", None),
            ("", None),
            (&long, None),
            (&deep, None),
            (&wide, None),
        ] {
            assert_eq!(Destination::parse(text), expected, "{text}");
        }
    }
}
