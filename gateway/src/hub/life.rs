//! Whether the node serves, and how it leaves.

use holdfast_protocol::close::Close;
use holdfast_protocol::wire::{NodeBeat, NodeState};

use super::core::{Hub, ROUTERS_MS};
use super::edge::{Edge, Publication};
use crate::clock::Now;
use crate::link::ToShard;
use crate::metrics::Handshake;

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
        self.departure.announce(now.ms);
        if self.connected {
            self.beat_ms = now.ms;
            self.beat(now, edge);
        }
    }

    /// Takes no more connections, and closes those that are here over the window, or as the fleet can take them, but
    /// before the deadline. If the fleet was not told yet, it is given a moment to know.
    pub fn start_drain(&mut self, now: Now, edge: &mut dyn Edge) {
        self.announce_drain(now, edge);
        self.closed = true;
        self.empty.fill(false);
        self.departure.begin(now.ms);
        self.tick_departure(now, edge);
    }

    /// Sends so many percent of the connections away; how many.
    pub(super) fn start_shed(&mut self, now: Now, edge: &mut dyn Edge, percent: u8) -> u64 {
        let window_ms = self.settings.drain_window_ms;
        self.departure.bound(now.ms, window_ms, self.settings.drain_deadline_ms);
        let held = self.roster.connections_by_shard().to_vec();
        let mut rest = self.roster.connections() * u64::from(percent);
        let affected = rest / 100;
        let rate = self.departure.rate_milli_max(now.ms, affected);
        // Each shard its part; what is lost by rounding goes to the last ones.
        for (shard, held) in (0..).zip(held) {
            let after = rest - held * u64::from(percent);
            let count = rest / 100 - after / 100;
            let rate_milli = part_of(rate, count, affected);
            edge.to_shard(shard, ToShard::Shed { count, window_ms, rate_milli });
            rest = after;
        }
        affected
    }

    /// Begins a drain that is due, and keeps what goes at the pace of the fleet.
    pub(super) fn tick_departure(&mut self, now: Now, edge: &mut dyn Edge) {
        if self.departure.is_due(now.ms) {
            let window_ms = self.settings.drain_window_ms;
            self.departure.bound(now.ms, window_ms, self.settings.drain_deadline_ms);
            let (held, all) = (self.roster.connections_by_shard().to_vec(), self.roster.connections());
            let rate = self.departure.rate_milli_max(now.ms, all);
            for (shard, held) in (0..).zip(held) {
                edge.to_shard(shard, ToShard::Drain { window_ms, rate_milli: part_of(rate, held, all) });
            }
            return;
        }
        let by_shard: Vec<u64> = self.shard_cells.iter().map(|cells| cells.leaving.value()).collect();
        let left = by_shard.iter().sum();
        if left == 0 {
            return;
        }
        let rate = self.departure.rate_milli_max(now.ms, left);
        if self.departure.is_news(rate) {
            for (shard, part) in (0..).zip(by_shard) {
                edge.to_shard(shard, ToShard::Pace { rate_milli: part_of(rate, part, left) });
            }
        }
    }

    pub(super) fn beat(&mut self, now: Now, edge: &mut dyn Edge) {
        self.flush_roster(now, edge);
        let listed = self.shard_cells.iter().map(|cells| cells.leaving.value()).sum();
        let (left, under_way) = match self.departure.is_waiting() {
            true => (self.roster.connections(), false),
            false => (listed, listed > 0),
        };
        let leaving = self.departure.leaving(now, left, under_way);
        let spare_handshakes = self.spare_handshakes(now);
        self.cells.leaving_rate_milli.set(leaving.map_or(0, |leaving| leaving.rate_milli));
        self.cells.spare_handshakes.set(spare_handshakes);
        self.cells.fleet_spare_handshakes.set(self.departure.fleet_spare(now.ms));
        let beat = NodeBeat {
            node: self.settings.node,
            state: self.state,
            version: env!("CARGO_PKG_VERSION").into(),
            connections: self.roster.connections(),
            spare_handshakes,
            leaving,
            seq: self.roster.seq(),
            digests: Box::new(*self.roster.digests()),
        };
        self.note_unsent(edge.publish(Publication::plain(self.subjects.beat_nodes(), beat.encode())));
    }

    fn spare_handshakes(&mut self, now: Now) -> u64 {
        let handshakes = self.shard_cells.iter().map(|cells| cells.handshake(Handshake::Ok).value()).sum();
        let spare = self.departure.spare(now.ms, self.settings.spare_handshakes, handshakes);
        if self.is_draining() || self.cells.memory_pressed.value() > 0 || self.serving(now) != Serving::Yes {
            0
        } else {
            spare
        }
    }

    /// Closes what is left, now.
    pub fn close_all(&mut self, edge: &mut dyn Edge, close: Close) {
        self.closed = true;
        self.empty.fill(false);
        self.departure.stop();
        self.to_all_shards(edge, &ToShard::CloseAll(close));
    }

    pub(super) fn uncordon(&mut self, edge: &mut dyn Edge) {
        self.state = NodeState::Live;
        self.closed = false;
        self.departure.stop();
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

/// A shard's part of the node's rate, by how many of its connections are to go.
fn part_of(rate: Option<u64>, part: u64, all: u64) -> Option<u64> {
    rate.map(|rate| {
        let share = u128::from(rate) * u128::from(part) / u128::from(all.max(1));
        u64::try_from(share).unwrap_or(u64::MAX).max(1)
    })
}
