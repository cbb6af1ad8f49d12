//! How much may wait for one socket. Knows nothing of what waits.

/// How much may wait, and what happens when more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes that wait, places included. One frame may wait alone whatever its size.
    pub bytes_max: usize,
    /// How long the oldest may wait, milliseconds.
    pub age_max_ms: u64,
    /// What gives way.
    pub when_full: WhenFull,
}

/// What gives way when the client reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The connection.
    Close,
    /// The oldest messages; the client is told of the gap.
    DropOldest,
}
