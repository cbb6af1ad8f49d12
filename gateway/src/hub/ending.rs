//! A shutdown as stages, and what pushes it from one to the next.

use tokio::time::Instant;

/// Where a shutdown is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Serving,
    /// Unready, still accepting; until then.
    Announced(Instant),
    /// Closing, paced; until then.
    Draining(Instant),
    /// Told all to close; until then.
    Closing(Instant),
    /// Everybody is gone, or out of patience.
    Over,
}

impl Stage {
    pub(super) const fn until(self) -> Option<Instant> {
        match self {
            Self::Serving | Self::Over => None,
            Self::Announced(until) | Self::Draining(until) | Self::Closing(until) => Some(until),
        }
    }

    pub(super) const fn is_closing(self) -> bool {
        matches!(self, Self::Draining(_) | Self::Closing(_))
    }
}

/// What moves a shutdown on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Push {
    FirstSignal,
    SecondSignal,
    TimeOver,
    AllGone,
}
