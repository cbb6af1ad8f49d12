//! The time as logic sees it: a parameter, never a call.

/// One reading of both clocks, taken once per turn at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic milliseconds since the process started.
    pub ms: u64,
    /// Wall clock, Unix milliseconds: for expiry, TTLs and what others are shown.
    pub unix_ms: u64,
}

/// The process's clock: asked once per turn by the shells, never by logic. Cheap to copy; all threads share its start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts to count.
    #[expect(clippy::disallowed_methods, reason = "this is where shells get the time from")]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Both clocks.
    #[expect(clippy::disallowed_methods, reason = "this is where shells get the time from")]
    pub fn now(&self) -> Now {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Now { ms: millis(self.start.elapsed()), unix_ms: millis(unix) }
    }

    /// When the monotonic clock will show `ms`, for timers.
    pub fn instant(&self, ms: u64) -> std::time::Instant {
        self.start + std::time::Duration::from_millis(ms)
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
