//! What the node does when it is short of memory: nobody new, the slowest clients first to go.

use std::sync::Arc;

use super::core::Hub;
use super::edge::Edge;
use crate::admission::Door;
use crate::clock::Now;
use crate::link::ToShard;
use crate::pressure::{Look, Pressure, used_bytes};

/// How often the kernel is asked.
const LOOK_MS: u64 = 250;
/// Between two orders to give back: what was freed takes a moment to be the kernel's again.
const RELIEF_MS: u64 = 1000;

/// Watches the process's memory; part of the shell, since it asks the kernel.
#[derive(Debug)]
pub(super) struct Guard {
    pressure: Pressure,
    door: Arc<Door>,
    looked_ms: u64,
    relieved_ms: u64,
}

impl Guard {
    pub(super) const fn new(max_bytes: u64, door: Arc<Door>) -> Self {
        Self { pressure: Pressure::new(max_bytes), door, looked_ms: 0, relieved_ms: 0 }
    }

    pub(super) const fn is_pressed(&self) -> bool {
        self.pressure.is_pressed()
    }

    /// Looks, if it is time to, and has the hub act on it.
    pub(super) fn look(&mut self, now: Now, hub: &mut Hub, edge: &mut dyn Edge) {
        if now.ms < self.looked_ms + LOOK_MS {
            return;
        }
        self.looked_ms = now.ms;
        let Some(used_bytes) = used_bytes() else { return };
        hub.cells.memory_bytes.set(used_bytes);
        match self.pressure.look(used_bytes) {
            Look::Free => {}
            Look::Relieved => {
                tracing::info!(used_bytes, "Memory is free again");
                self.door.press(false);
                hub.relieved();
            }
            Look::Pressed(excess_bytes) => {
                tracing::warn!(used_bytes, excess_bytes, "Short of memory: nobody new is let in");
                self.door.press(true);
                self.relieved_ms = now.ms;
                hub.relieve(edge, excess_bytes);
            }
            Look::StillPressed(excess_bytes) if now.ms >= self.relieved_ms + RELIEF_MS => {
                self.relieved_ms = now.ms;
                hub.relieve(edge, excess_bytes);
            }
            Look::StillPressed(_) => {}
        }
    }
}

impl Hub {
    /// The process is short of memory: shards give back, each its part by what waits for its clients.
    pub fn relieve(&mut self, edge: &mut dyn Edge, bytes: u64) {
        self.cells.memory_pressed.set(1);
        let queued: Vec<u64> = self.shard_cells.iter().map(|cells| cells.outbox_bytes.value()).collect();
        let all = queued.iter().sum::<u64>().max(1);
        for (shard, queued) in (0..).zip(queued) {
            let part = u128::from(bytes) * u128::from(queued) / u128::from(all);
            edge.to_shard(shard, ToShard::Relieve { bytes: u64::try_from(part).unwrap_or(u64::MAX) });
        }
    }

    /// It is not any more.
    pub fn relieved(&mut self) {
        self.cells.memory_pressed.set(0);
    }
}
