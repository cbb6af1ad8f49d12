//! Room patterns of the setting `rooms.announce`: `*` is one segment, `**` at the end one or more; segments split at `/`.

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<String>,
    open: bool,
}

impl Pattern {
    /// Reads a pattern; `None` where `**` is not last or the pattern is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let mut segments: Vec<String> = text.split('/').map(str::to_owned).collect();
        let open = segments.last().is_some_and(|last| last == "**");
        if open {
            segments.pop();
        }
        if text.is_empty() || segments.iter().any(|segment| segment == "**") {
            return None;
        }
        Some(Self { segments, open })
    }

    /// Whether the room is meant.
    pub fn matches(&self, room: &str) -> bool {
        let mut parts = room.split('/');
        let fixed = self.segments.iter().all(|wanted| parts.next().is_some_and(|part| wanted == "*" || wanted == part));
        fixed && parts.next().is_some() == self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, room, matches) in [
            ("chat/*", "chat/5", true),
            ("chat/*", "chat", false),
            ("chat/*", "chat/5/6", false),
            ("chat/**", "chat/5/6", true),
            ("chat/**", "chat", false),
            ("**", "anything/at/all", true),
            ("lobby", "lobby", true),
            ("lobby", "Lobby", false),
            ("*/x", "a/x", true),
        ] {
            assert_eq!(Pattern::parse(pattern).map(|p| p.matches(room)), Some(matches), "{pattern} {room}");
        }
        assert_eq!(Pattern::parse("**/x"), None);
        assert_eq!(Pattern::parse(""), None);
    }
}
