//! Work of more kinds, drawn from a generator of its own: what a seed does without it stays what it was.

use std::collections::BTreeSet;

use holdfast_protocol::subject::Target;

use crate::operations::{ROOMS, USERS};
use crate::service::SendOptions;
use crate::world::{Phase, World};

/// Most messages of a burst beyond the first two.
const BURST_MORE_MAX: u64 = 40;
/// Keys of live messages; kept ones have others, as a key is one for both.
const KEYS: [&str; 2] = ["pulse", "mood"];
/// Most messages of a key at once, beyond the first.
const KEYED_MORE_MAX: u64 = 12;
/// Most targets of a message beyond the first.
const TARGETS_MORE_MAX: u64 = 6;
/// How long acknowledgements are waited for, and how much longer at most: receipts are looked at later than that.
const ACKED_MIN_MS: u64 = 300;
/// See there.
const ACKED_MORE_MAX_MS: u64 = 1_500;

impl World {
    /// A millisecond's worth of it.
    pub(crate) fn operate_widely(&mut self) {
        if self.extra.chance(4) {
            self.totals.steps += 1;
            self.burst();
        }
        if self.extra.chance(12) {
            self.totals.steps += 1;
            self.ask_for_acks();
        }
        if self.extra.chance(8) {
            self.totals.steps += 1;
            self.send_keyed();
        }
        if self.extra.chance(12) {
            self.totals.steps += 1;
            self.send_to_many();
        }
        if self.phase != Phase::Healing && self.extra.chance(6) {
            self.totals.steps += 1;
            self.slow_down();
        }
        if self.extra.chance(4) {
            self.totals.steps += 1;
            self.acknowledge_as_a_stranger();
        }
    }

    /// Messages of a key: alone, or many at once. One service sends them, so that it is known which is newer.
    fn send_keyed(&mut self) {
        let (target, key) = (self.room_or_user(), self.extra.pick(&KEYS).copied());
        let sure = self.sure(&target);
        let more = if self.extra.chance(200) { self.extra.below(KEYED_MORE_MAX) } else { 0 };
        for _ in 0..=more {
            self.totals.sent += 1;
            let (sure, options) = (sure.clone(), SendOptions { ask: self.extra.chance(500), acked_ms: None, key });
            self.services[0].send(&mut self.bus, &mut self.extra, self.now_ms, &target, sure, options);
        }
    }

    /// Messages for the same receivers at once: they may leave in rows.
    fn burst(&mut self) {
        let target = self.room_or_user();
        let (sure, index) = (self.sure(&target), self.extra.index(self.services.len()));
        for _ in 0..2 + self.extra.below(BURST_MORE_MAX) {
            self.totals.sent += 1;
            let sure = sure.clone();
            self.services[index].send(
                &mut self.bus,
                &mut self.extra,
                self.now_ms,
                &target,
                sure,
                SendOptions::default(),
            );
        }
    }

    /// A message to several users and connections, of whom some are meant twice.
    fn send_to_many(&mut self) {
        let connections: Vec<String> = self.clients.values().filter_map(|client| client.connection.clone()).collect();
        let mut targets =
            vec![Target::User(self.extra.pick(&USERS).map_or_else(String::new, |user| (*user).to_owned()))];
        for _ in 0..self.extra.below(TARGETS_MORE_MAX) {
            let user = self.extra.pick(&USERS).map(|user| Target::User((*user).to_owned()));
            let connection = self.extra.pick(&connections).cloned().map(Target::Connection);
            targets.extend(if self.extra.chance(500) { user } else { connection });
        }
        let sure: BTreeSet<u64> = targets.iter().flat_map(|target| self.sure(target)).collect();
        let index = self.extra.index(self.services.len());
        let options = SendOptions { ask: self.extra.chance(500), ..SendOptions::default() };
        self.totals.sent += 1;
        self.totals.many += 1;
        self.services[index].send_many(
            &mut self.bus,
            &mut self.extra,
            self.now_ms,
            targets,
            sure.into_iter().collect(),
            options,
        );
    }

    /// A message that clients are to acknowledge.
    fn ask_for_acks(&mut self) {
        let target = if self.extra.chance(50) { Target::All } else { self.room_or_user() };
        let (sure, index) = (self.sure(&target), self.extra.index(self.services.len()));
        let acked_ms = Some(ACKED_MIN_MS + self.extra.below(ACKED_MORE_MAX_MS));
        self.totals.sent += 1;
        let options = SendOptions { ask: true, acked_ms, key: None };
        self.services[index].send(&mut self.bus, &mut self.extra, self.now_ms, &target, sure, options);
    }

    fn room_or_user(&mut self) -> Target {
        if self.extra.chance(650) {
            Target::Room(self.extra.pick(&ROOMS).map_or_else(String::new, |room| (*room).to_owned()))
        } else {
            Target::User(self.extra.pick(&USERS).map_or_else(String::new, |user| (*user).to_owned()))
        }
    }
}
