//! Who waits for a target to catch up. Knows nothing of how that comes about.

use std::sync::Arc;

use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::Text;

use crate::link::{ConnRef, JoinFor};

/// Who waits for a target to catch up, and from where: a sequence of the present stream, or `u64::MAX` for none that it has.
#[derive(Debug)]
pub(in crate::hub) enum Resumer {
    /// A join with `since`, as it was `asked`.
    Join { conn: ConnRef, on_behalf: JoinFor, room: Arc<str>, since: u64, asked: Position },
    /// The first binding with `since`, as it was `asked`.
    Bind { conn: ConnRef, id: ConnectionId, user: Arc<str>, since: u64, asked: Position },
    /// A connection that was paused, from behind the sequence that it `asked` with.
    Replay { conn: ConnRef, room: Option<Arc<str>>, since: u64, asked: u64 },
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

    /// The same in the stream of this epoch. Who was told a place by another node may know of a stream before this one does.
    pub(in crate::hub) fn in_epoch(mut self, epoch: Option<&Text>) -> Self {
        match &mut self {
            Self::Join { since, asked, .. } | Self::Bind { since, asked, .. } => {
                *since = if Some(&asked.epoch) == epoch { asked.seq } else { u64::MAX };
            }
            // Of the stream that was the present one then.
            Self::Replay { since, .. } | Self::Hole { since } | Self::Suspicion { since } => *since = u64::MAX,
        }
        self
    }
}
