//! The time as logic sees it: a parameter, never a call.

/// One reading of both clocks, taken once per turn at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic milliseconds since the process started.
    pub ms: u64,
    /// Wall clock, Unix milliseconds: for expiry, TTLs and what others are shown.
    pub unix_ms: u64,
}
