//! What a connection is given of a user's or room's stream.

use std::sync::Arc;

use holdfast_protocol::position::Start;

use super::SharedDelivery;

/// Where a connection's part in a user's or room's stream begins, and what it missed of it.
#[derive(Debug, Clone, Default)]
pub struct Granted {
    /// For the client.
    pub start: Start,
    /// To be written right behind the answer, before anything live.
    pub replay: Replay,
    /// The members may still get what lies before the position: this one has it.
    pub is_ahead: bool,
}

/// Kept messages for one connection, shared by all who catch up with the same target.
#[derive(Debug, Clone)]
pub struct Replay {
    /// In order of their sequence.
    pub messages: Arc<[Arc<SharedDelivery>]>,
    /// So many of them are known to this one.
    pub skip: usize,
}

impl Default for Replay {
    fn default() -> Self {
        Self { messages: Arc::new([]), skip: 0 }
    }
}
