//! Which rooms a user may join by themselves: the patterns of the claim `rooms`.

use std::sync::{Arc, LazyLock};

/// Patterns over rooms, split at `/` and case-sensitive: `*` is one segment, `**` at the end one or more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomPatterns(Box<[Box<str>]>);

static NONE: LazyLock<Arc<RoomPatterns>> = LazyLock::new(Arc::default);
static ANY: LazyLock<Arc<RoomPatterns>> = LazyLock::new(|| Arc::new(RoomPatterns(["**".into()].into())));

impl RoomPatterns {
    /// These patterns. The two most common sets are shared by all connections. A pattern with `**` before its end
    /// matches nothing.
    pub fn new(patterns: Vec<String>) -> Arc<Self> {
        match patterns.as_slice() {
            [] => NONE.clone(),
            [any] if any == "**" => Self::any(),
            _ => Arc::new(Self(patterns.into_iter().map(String::into_boxed_str).collect())),
        }
    }

    /// Any room.
    pub fn any() -> Arc<Self> {
        ANY.clone()
    }

    /// Whether a pattern matches `room`.
    pub fn allow(&self, room: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, room))
    }
}

fn matches(pattern: &str, room: &str) -> bool {
    let (mut pattern, mut room) = (Some(pattern), Some(room));
    loop {
        match (pattern, room) {
            (None, None) => return true,
            (Some("**"), Some(rest)) => return !rest.is_empty(),
            (Some(patterns), Some(segments)) => {
                let (wanted, more_patterns) = cut(patterns);
                let (segment, more_segments) = cut(segments);
                let same = match wanted {
                    "*" => !segment.is_empty(),
                    "**" => false,
                    literal => literal == segment,
                };
                if !same {
                    return false;
                }
                (pattern, room) = (more_patterns, more_segments);
            }
            _ => return false,
        }
    }
}

/// The first segment, and the rest if there is a `/`.
fn cut(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(segment, rest)| (segment, Some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        for (pattern, room, allowed) in [
            ("chat/*", "chat/5", true),
            ("chat/*", "chat/5/x", false),
            ("chat/*", "chat", false),
            ("chat/*", "chat/", false),
            ("chat/*", "Chat/5", false),
            ("news", "news", true),
            ("news", "newsx", false),
            ("deep/**", "deep/x", true),
            ("deep/**", "deep/x/y", true),
            ("deep/**", "deep", false),
            ("deep/**", "deep/", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/d", false),
            ("a/*/c", "a/b/b/c", false),
            ("**", "anything/at all", true),
            ("**", "a/../b", true),
            ("**", "/", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("**/x", "a/x", false),
            ("**/x", "**/x", false),
            ("a*", "ab", false),
            ("a*", "a*", true),
            ("", "a", false),
            ("a/", "a/", true),
        ] {
            let patterns = RoomPatterns::new(vec![pattern.to_owned()]);
            assert_eq!(patterns.allow(room), allowed, "{pattern} on {room}");
        }
    }

    #[test]
    fn any_of_several_patterns_is_enough_and_none_is_none() {
        let patterns = RoomPatterns::new(vec!["a".to_owned(), "b/*".to_owned()]);

        assert!(patterns.allow("a") && patterns.allow("b/c") && !patterns.allow("c"));
        assert!(!RoomPatterns::new(Vec::new()).allow("a"));
    }

    #[test]
    fn common_sets_are_shared() {
        assert!(Arc::ptr_eq(&RoomPatterns::new(vec!["**".to_owned()]), &RoomPatterns::any()));
        assert!(Arc::ptr_eq(&RoomPatterns::new(Vec::new()), &RoomPatterns::new(Vec::new())));
    }
}
