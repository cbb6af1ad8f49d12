//! Places in the stream of kept messages, as clients, gateways and routers name them.
//!
//! Knows nothing of what the stream holds: whether a place can be resumed from is decided where the stream is read.

use std::fmt;

use crate::limits::{EPOCH_BYTES_MAX, SEQUENCE_END};
use crate::wire::Text;

/// A place in the stream: the last message that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The stream's incarnation. Opaque; sequences of two epochs cannot be compared.
    pub epoch: Text,
    /// The sequence, 0 before the first message.
    pub seq: u64,
}

impl Position {
    /// The position with these parts. `None` where one is out of bounds.
    pub fn new(epoch: &str, seq: u64) -> Option<Self> {
        (is_epoch(epoch) && seq < SEQUENCE_END).then(|| Self { epoch: epoch.into(), seq })
    }

    /// Reads `<epoch>.<seq>`, split at the last dot. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.rsplit_once('.')?;
        // What `u64` reads besides digits is a `+`.
        let digits = seq.bytes().all(|byte| byte.is_ascii_digit());
        Self::new(epoch, seq.parse().ok().filter(|_| digits)?)
    }
}

/// The form that [`Position::parse`] reads.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

/// Whether `text` may be an epoch: 1–64 bytes without control characters.
pub fn is_epoch(text: &str) -> bool {
    !text.is_empty() && text.len() <= EPOCH_BYTES_MAX && !text.chars().any(char::is_control)
}

/// Where kept messages of a user or a room begin for a connection. Nothing of both where kept messages are off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// The stream's last sequence when live delivery began.
    pub position: Option<Position>,
    /// What came of a wish to resume, where there was one.
    pub recovery: Option<Recovery>,
}

/// What came of a wish to resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// All that was missed follows.
    Whole,
    /// Nothing follows: some of it exists no more, or nobody can tell.
    Lost {
        /// The first position that still exists, where that is known.
        first: Option<Position>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_split_at_the_last_dot() {
        let longest = "x".repeat(64);
        for (text, expected) in [
            ("e.0", Some(("e", 0))),
            ("a.b.17", Some(("a.b", 17))),
            ("..9007199254740991", Some((".", 9_007_199_254_740_991))),
            ("한 글.007", Some(("한 글", 7))),
            (&format!("{longest}.1"), Some((&*longest, 1))),
            (&format!("{longest}x.1"), None),
            ("", None),
            ("17", None),
            (".17", None),
            ("e.", None),
            ("e.+1", None),
            ("e.-1", None),
            ("e.1x", None),
            ("e.9007199254740992", None),
            ("e.99999999999999999999", None),
            ("e\n.1", None),
        ] {
            let position = Position::parse(text);
            let parts = position.as_ref().map(|position| (position.epoch.as_str(), position.seq));
            assert_eq!(parts, expected, "{text}");
        }
    }
}
