//! Who waits for a target to catch up. Knows nothing of how that comes about.

use std::sync::Arc;

use holdfast_protocol::id::ConnectionId;

use crate::link::{ConnRef, JoinFor};

/// Who waits for a target to catch up, and from where.
#[derive(Debug)]
pub(in crate::hub) enum Resumer {
    /// A join with `since`.
    Join { conn: ConnRef, on_behalf: JoinFor, room: Arc<str>, since: u64 },
    /// The first binding with `since`.
    Bind { conn: ConnRef, id: ConnectionId, user: Arc<str>, since: u64 },
    /// A connection that was paused.
    Replay { conn: ConnRef, room: Option<Arc<str>>, since: u64 },
    /// The target itself: a hole behind this place.
    Hole { since: u64 },
    /// The target itself: somebody came who has seen more than this place, so that there may be a hole behind it.
    Suspicion { since: u64 },
}

impl Resumer {
    pub(super) const fn since(&self) -> u64 {
        match self {
            Self::Join { since, .. }
            | Self::Bind { since, .. }
            | Self::Replay { since, .. }
            | Self::Hole { since }
            | Self::Suspicion { since } => *since,
        }
    }

    pub(super) const fn is_of_target(&self) -> bool {
        matches!(self, Self::Hole { .. } | Self::Suspicion { .. })
    }

    /// The same for a stream in which its position means nothing.
    pub(super) fn without_position(mut self) -> Self {
        match &mut self {
            Self::Join { since, .. }
            | Self::Bind { since, .. }
            | Self::Replay { since, .. }
            | Self::Hole { since }
            | Self::Suspicion { since } => *since = u64::MAX,
        }
        self
    }
}
