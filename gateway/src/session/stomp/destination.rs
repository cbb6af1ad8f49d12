//! What a destination stands for, by the rules of the endpoint.

use std::sync::Arc;

use holdfast_protocol::limits::{TO_SEGMENT_BYTES_MAX, TO_SEGMENTS_MAX};
use holdfast_protocol::token::check_key;

use crate::handshake::{Destinations, Meaning};

/// Longest path of a room, in segments.
const ROOM_SEGMENTS_MAX: usize = 12;
/// A fresh credential.
const AUTH: &str = "/hf/auth";

/// What a destination stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// A domain service; the path below the prefix.
    Upstream(Vec<String>),
    /// A domain service that answers what is sent.
    Request(Vec<String>),
    /// A room. Its name is how the destination ends.
    Room(Arc<str>),
    /// The user's own messages of a destination, which is without the prefix: how the destination ends.
    Own(Arc<str>),
    /// A fresh credential.
    Auth,
}

impl Destination {
    /// Reads a destination. `None` for one that means nothing here: unknown prefixes, empty segments, dot segments,
    /// patterns, or too long. Whatever else is in a segment is data: it is encoded before it becomes a subject.
    pub(super) fn parse(text: &str, rules: &Destinations) -> Option<Self> {
        if text == AUTH {
            return Some(Self::Auth);
        }
        let (meaning, rest) = rules.meaning(text)?;
        let count = segments(rest)?.len();
        match meaning {
            Meaning::Upstream => path(rest).map(Self::Upstream),
            Meaning::Request => path(rest).map(Self::Request),
            Meaning::Room => room(rest, count),
            // In Spring's simple broker both prefixes mean the same; the rooms are others.
            Meaning::Queue => room(text.strip_prefix('/')?, count),
            Meaning::User => {
                let own = rest.starts_with("queue/") || rest.starts_with("topic/");
                (own && check_key(rest).is_ok()).then(|| Self::Own(format!("/{rest}").into()))
            }
        }
    }
}

/// Where a message to a room goes that is forwarded to domain services: the path of the whole destination.
pub(super) fn forward_path(destination: &str) -> Option<Vec<String>> {
    path(destination.strip_prefix('/')?)
}

fn segments(text: &str) -> Option<Vec<&str>> {
    let segments: Vec<&str> = text.split('/').collect();
    let odd = segments.iter().any(|segment| matches!(*segment, "" | "." | ".." | "*" | "**"));
    (!odd).then_some(segments)
}

fn path(text: &str) -> Option<Vec<String>> {
    let segments = segments(text)?;
    let short = segments.iter().all(|segment| segment.len() <= TO_SEGMENT_BYTES_MAX);
    (short && segments.len() <= TO_SEGMENTS_MAX).then(|| segments.into_iter().map(str::to_owned).collect())
}

fn room(name: &str, segments: usize) -> Option<Destination> {
    (segments <= ROOM_SEGMENTS_MAX && check_key(name).is_ok()).then(|| Destination::Room(name.into()))
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::subject::{Kind, Subjects, Target};

    use super::*;

    fn parse(text: &str) -> Option<Destination> {
        Destination::parse(text, &Destinations::default())
    }

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
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn no_destination_reaches_another_subject_than_its_own() {
        let subjects = Subjects::new("hf");
        for (text, expected) in [
            ("/app/../x", None),
            ("/app/x/..", None),
            ("/app/>", Some("hf.up.chat.=3E")),
            ("/app/*.>", Some("hf.up.chat.=2A=2E=3E")),
            ("/app/a%2Eb", Some("hf.up.chat.a=252Eb")),
            ("/app/a\r\nPUB x", Some("hf.up.chat.a=0D=0APUB=20x")),
            ("/topic/>", Some("hf.send.room.=3E")),
            ("/topic/*", None),
            ("/topic/a b", Some("hf.send.room.a=20b")),
            ("/topic/a%2Eb", Some("hf.send.room.a=252Eb")),
            ("/topic/a=2Eb", Some("hf.send.room.a=3D2Eb")),
            ("/topic/a/b", Some("hf.send.room.a=2Fb")),
            ("/user/other/queue/x", None),
            ("/user/queue/../../other/queue/x", None),
            (&format!("/topic/{}", "한".repeat(100)), None),
        ] {
            let subject = parse(text).map(|destination| match destination {
                Destination::Upstream(path) => subjects.up("chat", path.iter().map(String::as_str)),
                Destination::Room(room) => subjects.to(Kind::Send, &Target::Room(room.to_string())),
                other => panic!("{text} is {other:?}"),
            });
            assert_eq!(subject.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_forwarded_keeps_its_whole_path() {
        assert_eq!(forward_path("/topic/chat/5").unwrap(), ["topic", "chat", "5"]);
        assert_eq!(forward_path("/topic//5"), None);
    }
}
