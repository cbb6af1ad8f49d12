//! The `id` a client gives a message, echoed exactly as it was written.

use std::fmt;

use crate::limits::{CLIENT_ID_BYTES_MAX, CLIENT_ID_MAGNITUDE};

/// A client's own number or name for a message: valid JSON text of an integer below 2^53 in magnitude, or of a string of
/// at most 64 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MessageId(Box<str>);

/// A character takes at most six bytes as an escape (`\u0041`), and there are two quotes.
const RAW_BYTES_MAX: usize = CLIENT_ID_BYTES_MAX * 6 + 2;

impl MessageId {
    /// Reads the JSON text of an id. `None` for what is no id.
    pub fn parse(raw: &str) -> Option<Self> {
        if raw.len() > RAW_BYTES_MAX {
            return None;
        }
        let valid = if raw.starts_with('"') {
            // Decoded, since the limit is on the text, and a lone surrogate is no text.
            serde_json::from_str::<String>(raw).is_ok_and(|text| text.len() <= CLIENT_ID_BYTES_MAX)
        } else {
            let magnitude_max = CLIENT_ID_MAGNITUDE.unsigned_abs();
            // What `i64` reads is an integer; JSON has no `+`, which it would read too.
            !raw.starts_with('+') && raw.parse::<i64>().is_ok_and(|number| number.unsigned_abs() < magnitude_max)
        };
        valid.then(|| Self(raw.into()))
    }

    /// The JSON text, as the client wrote it.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
