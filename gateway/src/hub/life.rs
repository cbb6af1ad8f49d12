//! Whether the node serves, and how it leaves.

use holdfast_protocol::close::Close;
use holdfast_protocol::wire::NodeState;

use super::core::{Hub, ROUTERS_MS};
use super::edge::Edge;
use crate::clock::Now;
use crate::link::ToShard;

/// Whether the node can serve handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// Bus and a live router are there.
    Yes,
    /// A router is missing, but not for long yet.
    Soon,
    /// The bus is away.
    NoBus,
    /// No router for too long.
    NoRouter,
    /// The node takes no more connections.
    Closed,
}

impl Hub {
    pub(super) fn note_routers(&mut self, now: Now, edge: &mut dyn Edge) {
        let live = if self.connected { self.routers.live_count(now.ms) } else { 0 };
        self.cells.routers.set(live as u64);
        if live > 0 {
            self.routerless_since = None;
        } else {
            self.routerless_since.get_or_insert(now.ms);
        }
        let serving = self.serving(now);
        let served = !matches!(serving, Serving::NoBus | Serving::NoRouter);
        if self.was_served && !served {
            self.to_all_shards(edge, &ToShard::Unserved);
        }
        self.was_served = served;
    }

    /// Whether handshakes can be served.
    pub fn serving(&self, now: Now) -> Serving {
        match self.routerless_since {
            _ if !self.connected => Serving::NoBus,
            _ if self.closed => Serving::Closed,
            None => Serving::Yes,
            Some(since_ms) if now.ms.saturating_sub(since_ms) < ROUTERS_MS => Serving::Soon,
            Some(_) => Serving::NoRouter,
        }
    }

    /// Whether the node drains.
    pub fn is_draining(&self) -> bool {
        self.state != NodeState::Live
    }

    /// Says so to routers and `/readyz`; nobody is closed yet.
    pub fn announce_drain(&mut self, now: Now, edge: &mut dyn Edge) {
        self.state = NodeState::Draining;
        self.cells.draining.set(1);
        if self.connected {
            self.beat_ms = now.ms;
            self.beat(now, edge);
        }
    }

    /// Closes all connections over the window.
    pub fn start_drain(&mut self, now: Now, edge: &mut dyn Edge, window_ms: u64) {
        self.announce_drain(now, edge);
        self.closed = true;
        self.empty.fill(false);
        self.to_all_shards(edge, &ToShard::Drain { window_ms });
    }

    /// Closes what is left, now.
    pub fn close_all(&mut self, edge: &mut dyn Edge, close: Close) {
        self.closed = true;
        self.empty.fill(false);
        self.to_all_shards(edge, &ToShard::CloseAll(close));
    }

    pub(super) fn uncordon(&mut self, edge: &mut dyn Edge) {
        self.state = NodeState::Live;
        self.closed = false;
        self.cells.draining.set(0);
        self.to_all_shards(edge, &ToShard::Uncordon);
    }

    /// Whether each shard has said that it is empty since the last order to close.
    pub fn is_empty(&self) -> bool {
        self.empty.iter().all(|empty| *empty)
    }

    /// The last words: what changed, and a beat that takes the node off every roster.
    pub fn leave(&mut self, now: Now, edge: &mut dyn Edge) {
        self.state = NodeState::Gone;
        if self.connected {
            self.beat(now, edge);
        }
    }
}
