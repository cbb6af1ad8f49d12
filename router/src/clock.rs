//! The one place where the router asks what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::core::event::Now;

/// Where time comes from.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// The present moment.
    pub fn now(&self) -> Now {
        Now { ms: millis(self.start.elapsed()), unix_ms: unix_ms() }
    }
}

/// The present moment in Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one place where the router asks for the time of day")]
pub fn unix_ms() -> u64 {
    // A clock before 1970 tells nothing; 0 is as good as any.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
