//! How clients speak: one codec per dialect, bytes in, values out, and back.
//!
//! A codec knows the shape of messages and their limits. Whether a message is allowed now is the session's business,
//! frames are the gateway's.

pub mod bare;
pub mod json;
pub mod sockjs;
pub mod stomp;

use crate::limits::{DEVICE_BYTES_MAX, TO_SEGMENT_BYTES_MAX, TO_SEGMENTS_MAX};
use crate::token::check_key;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The native one: a JSON object per text message.
    Json,
    /// The payload and nothing else, both ways.
    Bare,
    /// STOMP 1.0, 1.1 or 1.2, as CONNECT settles.
    Stomp,
}

impl Dialect {
    /// Each dialect.
    pub const ALL: [Self; 3] = [Self::Json, Self::Bare, Self::Stomp];

    /// The sub-protocols that ask for it, the best last.
    pub const fn subprotocols(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["holdfast.v1.json"],
            Self::Bare => &["holdfast.v1.bare"],
            Self::Stomp => &["v10.stomp", "v11.stomp", "v12.stomp"],
        }
    }

    /// The dialect that this sub-protocol asks for, and the place of the name among its
    /// [sub-protocols](Self::subprotocols).
    pub fn from_subprotocol(name: &str) -> Option<(Self, usize)> {
        Self::ALL.into_iter().find_map(|dialect| {
            let place = dialect.subprotocols().iter().position(|known| *known == name)?;
            Some((dialect, place))
        })
    }
}

/// The segments of a client's `to`, split at `.`: 1–16 of 1–64 bytes each, not encoded. `None` for anything else.
pub fn split_to(to: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    for segment in to.split('.') {
        if segment.is_empty() || segment.len() > TO_SEGMENT_BYTES_MAX || segments.len() == TO_SEGMENTS_MAX {
            return None;
        }
        segments.push(segment.to_owned());
    }
    Some(segments)
}

/// Whether `user` may be a user id: a key without control characters and without white space at its edges, since it
/// travels in headers.
pub fn is_user(user: &str) -> bool {
    check_key(user).is_ok() && is_clean(user)
}

/// Whether `device` may name a device: the same, of at most 64 bytes.
pub fn is_device(device: &str) -> bool {
    !device.is_empty() && device.len() <= DEVICE_BYTES_MAX && is_clean(device)
}

fn is_clean(text: &str) -> bool {
    text.trim() == text && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_has_one_to_sixteen_segments_of_one_to_64_bytes() {
        let sixteen = ["x"; 16].join(".");
        let longest = "x".repeat(64);
        for (to, segments) in [
            ("message.new", Some(2)),
            ("*", Some(1)),
            ("a b./.>", Some(3)),
            ("한.글", Some(2)),
            (sixteen.as_str(), Some(16)),
            (longest.as_str(), Some(1)),
            ("", None),
            (".", None),
            (".a", None),
            ("a.", None),
            ("a..b", None),
            (&format!("{sixteen}.x"), None),
            (&format!("{longest}x"), None),
        ] {
            assert_eq!(split_to(to).map(|split| split.len()), segments, "{to}");
        }
        assert_eq!(split_to("a\r\nPUB x"), Some(vec!["a\r\nPUB x".to_owned()]), "data, for the token to encode");
    }

    #[test]
    fn each_dialect_has_its_subprotocols() {
        for dialect in Dialect::ALL {
            for (place, name) in dialect.subprotocols().iter().enumerate() {
                assert_eq!(Dialect::from_subprotocol(name), Some((dialect, place)));
            }
        }
        assert_eq!(Dialect::from_subprotocol("Holdfast.v1.json"), None);
    }
}
