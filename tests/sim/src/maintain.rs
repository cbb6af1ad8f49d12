//! What clients do by themselves: come back after a loss of their connection, resume after a gap, go on after a pause.

use crate::world::{Phase, World};

/// How long what a service did to a connection, or what it did not read, may still be felt.
pub(crate) const UNSTEADY_MS: u64 = 1_000;
/// The longest pause, and between two commands that end it: one may be lost.
const PAUSE_MAX_MS: u64 = 2_000;
const UNPAUSE_EVERY_MS: u64 = 700;

impl World {
    /// A millisecond of it.
    pub(crate) fn maintain(&mut self) {
        for index in 0..self.services.len() {
            self.services[index].turn(&mut self.bus, &mut self.rng, self.now_ms);
        }
        if self.phase != Phase::Silence {
            self.bring_back();
        }
        self.end_pauses();
        self.read_on();
        self.resume();
    }

    fn bring_back(&mut self) {
        let now_ms = self.now_ms;
        while let Some(at) = self.away.iter().position(|memory| memory.due_ms <= now_ms) {
            let mut memory = self.away.swap_remove(at);
            memory.due_ms = now_ms + 1 + self.rng.below(500);
            self.totals.steps += 1;
            self.open_client(memory);
        }
        let gapped: Vec<u64> =
            self.clients.iter().filter(|(_, client)| client.wants_to_reconnect()).map(|(id, _)| *id).collect();
        for id in gapped {
            self.end_client(id, true);
        }
    }

    fn resume(&mut self) {
        let now = self.gateway_now();
        for client in self.clients.values_mut() {
            let Some(gateway) = self.gateways.get_mut(&client.gateway) else { continue };
            if gateway.frozen_until_ms > now.ms {
                continue;
            }
            if let Some(room) = client.wants_to_resume(now.ms) {
                self.totals.steps += 1;
                let text = client.ask(&room, true);
                client.diary.note(now.ms, text.clone());
                gateway.client_says(now, client.shard, client.key, &text);
            }
        }
    }

    /// A service pauses a connection for a while.
    pub(crate) fn pause(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let until_ms = now_ms + 1 + self.rng.below(PAUSE_MAX_MS);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(connection) = client.connection.clone().filter(|_| client.paused_until_ms.is_none()) else { return };
        client.paused_until_ms = Some(until_ms);
        client.unsteady_until_ms = u64::MAX;
        client.was_paused = true;
        client.diary.note(now_ms, "is paused");
        self.services[0].command(&mut self.bus, &mut self.rng, now_ms, &connection, "pause");
    }

    /// Ends pauses that are over: again and again while commands may be lost, once where none is.
    fn end_pauses(&mut self) {
        let (now_ms, calm) = (self.now_ms, self.calm_since_ms.is_some());
        for client in self.clients.values_mut() {
            let Some(connection) = client.connection.clone() else { continue };
            if client.paused_until_ms.is_none_or(|until_ms| until_ms > now_ms) {
                continue;
            }
            client.paused_until_ms = (!calm).then_some(now_ms + UNPAUSE_EVERY_MS);
            if !client.wire.borrow().stalled {
                client.unsteady_until_ms = now_ms + UNPAUSE_EVERY_MS + UNSTEADY_MS;
            }
            client.diary.note(now_ms, "is resumed");
            self.services[0].command(&mut self.bus, &mut self.rng, now_ms, &connection, "resume");
        }
    }
}
