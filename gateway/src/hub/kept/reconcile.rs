//! After losses that no later copy would show: one read of everything since the last safe place, for all targets.
//!
//! While it runs, holes of single targets wait for it. What it cannot read back is told as gaps.

use std::sync::Arc;

use holdfast_protocol::wire::Target as WireTarget;

use super::stream::{self, Info, Read, Step};
use super::{READ_MS, Resumer};
use crate::clock::Now;
use crate::hub::core::Hub;
use crate::hub::edge::{Edge, Received};
use crate::hub::roster::Kind;
use crate::hub::upstream::Purpose;
use crate::link::{SharedDelivery, ToShard};

/// How long after a failed attempt the next one begins.
const RETRY_MS: u64 = 1000;
/// How often in a row it asks again where a replica that lags has answered.
const STALE_MAX: u16 = 16;
/// How often it then tries later. Where nobody has what routers have processed, it is no more: too old.
const STALE_ROUNDS_MAX: u16 = 5;
/// The epoch is asked for at most so often.
const EPOCH_EVERY_MS: u64 = 1000;

/// Where it is.
#[derive(Debug)]
pub(super) enum Reconcile {
    Idle,
    /// Reading. `again` where something was lost after the read had begun.
    Running {
        read: Read,
        again: bool,
        /// What routers had processed when the read began: it must come so far.
        mark: u64,
        /// Answers by replicas that had not.
        stale: u16,
    },
    /// To be tried at that time; so many answers were behind.
    Waiting {
        at_ms: u64,
        stale: u16,
    },
}

impl Reconcile {
    pub(super) const fn is_running(&self) -> bool {
        !matches!(self, Self::Idle)
    }
}

impl Hub {
    /// Something may have been lost: look for it in the stream.
    pub(in crate::hub) fn start_reconcile(&mut self, now: Now, edge: &mut dyn Edge) {
        if !self.kept.is_on() {
            return;
        }
        if let Reconcile::Running { again, .. } = &mut self.kept.reconcile {
            *again = true;
            return;
        }
        let stale = if let Reconcile::Waiting { stale, .. } = self.kept.reconcile { stale } else { 0 };
        let mark = self.highest_mark(now);
        let read = Read::new(self.subjects.keep_all(), self.kept.safe + 1);
        self.ask_reconcile(now, edge, read, false, mark, stale);
    }

    fn ask_reconcile(&mut self, now: Now, edge: &mut dyn Edge, read: Read, again: bool, mark: u64, stale: u16) {
        let stream = self.kept.stream.as_deref().unwrap_or_default();
        self.cells.kept_reads.add(1);
        let asked = self.upstream.ask(edge, Purpose::Reconcile, read.ask(stream), now.ms + READ_MS);
        self.kept.reconcile = match asked {
            Ok(()) => Reconcile::Running { read, again, mark, stale },
            Err(_) => Reconcile::Waiting { at_ms: now.ms + RETRY_MS, stale },
        };
    }

    /// What time brings: another attempt.
    pub(in crate::hub) fn tick_kept(&mut self, now: Now, edge: &mut dyn Edge) {
        if let Reconcile::Waiting { at_ms, .. } = self.kept.reconcile
            && at_ms <= now.ms
            && self.connected
        {
            self.start_reconcile(now, edge);
        }
    }

    /// An answer; whether the same request has more to come.
    pub(in crate::hub) fn on_reconcile(&mut self, now: Now, edge: &mut dyn Edge, message: &Received) -> bool {
        let epoch = self.kept.epoch.clone().unwrap_or_default();
        let Reconcile::Running { mut read, again, mark, stale } =
            std::mem::replace(&mut self.kept.reconcile, Reconcile::Idle)
        else {
            return false;
        };
        let later = now.ms + RETRY_MS;
        match read.take(&self.subjects, &epoch, message) {
            Step::More => {
                self.kept.reconcile = Reconcile::Running { read, again, mark, stale };
                return true;
            }
            Step::Again => self.ask_reconcile(now, edge, read, again, mark, stale),
            Step::Done if read.reached() < mark && stale < STALE_MAX * STALE_ROUNDS_MAX => {
                if (stale + 1) % STALE_MAX == 0 {
                    self.kept.reconcile = Reconcile::Waiting { at_ms: later, stale: stale + 1 };
                } else {
                    self.ask_reconcile(now, edge, read, again, mark, stale + 1);
                }
            }
            Step::Done => self.end_reconcile(now, edge, read, again),
            Step::TooMuch => self.give_up_reconcile(now, edge),
            Step::Failed => self.kept.reconcile = Reconcile::Waiting { at_ms: later, stale },
        }
        false
    }

    /// The request came to nothing: again in a while.
    pub(in crate::hub) fn reconcile_failed(&mut self, now: Now) {
        self.kept.reconcile = Reconcile::Waiting { at_ms: now.ms + RETRY_MS, stale: 0 };
    }

    fn end_reconcile(&mut self, now: Now, edge: &mut dyn Edge, read: Read, again: bool) {
        self.cells.kept_reconciled.add(1);
        for delivery in read.messages {
            let target = match delivery.targets.first() {
                Some(WireTarget::User(user)) => (Kind::User, Arc::from(user.as_str())),
                Some(WireTarget::Room(room)) => (Kind::Room, Arc::from(room.as_str())),
                Some(WireTarget::Connection(_) | WireTarget::All) | None => continue,
            };
            // Where copies are held, filling that hole below keeps the order.
            if !self.kept.held.contains_key(&target) {
                self.advance(now, edge, &target, &Arc::new(SharedDelivery::kept(delivery)));
            }
        }
        let held: Vec<_> = self.kept.held.keys().cloned().collect();
        for target in held {
            if let Some(super::Place::At(place)) = self.roster.place(target.0, &target.1).copied() {
                self.catch_up(now, edge, target, Resumer::Hole { since: place });
            } else {
                self.kept.held.remove(&target);
            }
        }
        if again {
            self.start_reconcile(now, edge);
        }
    }

    /// Too much was lost to be read back: everybody is told, and begins at the stream's end as routers know it.
    fn give_up_reconcile(&mut self, now: Now, edge: &mut dyn Edge) {
        self.cells.kept_lost.add(1);
        let epoch = self.kept.epoch.clone().unwrap_or_default();
        let mark = self.routers.marks(now.ms, &epoch).min().unwrap_or(0);
        self.kept.safe = self.kept.safe.max(mark);
        self.kept.held.clear();
        self.roster.raise_places(self.kept.safe);
        self.to_all_shards(edge, &ToShard::KeptGap { target: WireTarget::All });
    }

    // --- the epoch ---

    /// Asks the stream itself which epoch it is of.
    pub(super) fn ask_epoch(&mut self, now: Now, edge: &mut dyn Edge) {
        if self.kept.epoch_asked_ms.is_some_and(|asked| now.ms < asked + EPOCH_EVERY_MS) {
            return;
        }
        self.kept.epoch_asked_ms = Some(now.ms);
        let stream = self.kept.stream.as_deref().unwrap_or_default();
        // Where it does not come through, the next mark of that epoch asks again.
        self.upstream.ask(edge, Purpose::Epoch, stream::ask_info(stream, None), now.ms + READ_MS).unwrap_or_default();
    }

    /// What the stream says.
    pub(in crate::hub) fn on_epoch(&mut self, now: Now, edge: &mut dyn Edge, message: &Received) {
        if let Some(info) = Info::parse(&message.payload) {
            self.learn_epoch(now, edge, &info);
        }
    }
}
