//! The bench's own clock, one for all its threads and worker processes.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970: what a message says of when it was meant to be sent.
pub(crate) fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
