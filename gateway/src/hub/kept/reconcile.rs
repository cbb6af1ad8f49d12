//! After losses that no later copy would show: one read of everything since the last safe place, for all targets.
//!
//! While it runs, holes of single targets wait for it. What it cannot read back is told as gaps.

use std::sync::Arc;

use holdfast_protocol::subject::Subjects;
use holdfast_protocol::wire::{Target as WireTarget, Text};
use indexmap::IndexMap;

use super::stream::{self, Info, Read, Step};
use super::{Place, READ_MS, Resumer, Target, seq_of, target_of};
use crate::clock::Now;
use crate::hub::core::Hub;
use crate::hub::edge::{Edge, Received};
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
    Running(Running),
    /// To be tried at that time; so many answers were behind.
    Waiting {
        at_ms: u64,
        stale: u16,
    },
}

/// A read under way.
#[derive(Debug)]
pub(super) struct Running {
    /// Names its requests.
    number: u64,
    /// The stream's incarnation when it began.
    epoch: Text,
    /// Where it began.
    from: u64,
    read: Read,
    /// It is over, and the stream is asked whether it still is the same.
    is_read: bool,
    /// The stream begins behind it: what is gone may have been for anybody.
    is_cut: bool,
    /// How many messages of a subject the stream keeps; `None` for no limit.
    per_subject_max: Option<u64>,
    /// Something was lost after it had begun.
    again: bool,
    /// What routers had processed when it began: it must come so far.
    mark: u64,
    /// Answers by replicas that had not.
    stale: u16,
}

impl Running {
    fn take(&mut self, subjects: &Subjects, message: &Received) -> Step {
        if self.is_read {
            return match stream::look(message, &self.epoch) {
                Ok(info) => {
                    self.is_cut = info.first > self.from;
                    self.per_subject_max = info.per_subject_max;
                    Step::Done
                }
                Err(step) => step,
            };
        }
        match self.read.take(subjects, &self.epoch, message) {
            Step::Done if self.read.reached() < self.mark && self.stale < STALE_MAX * STALE_ROUNDS_MAX => Step::Behind,
            Step::Done => {
                self.is_read = true;
                Step::Again
            }
            step => step,
        }
    }
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
        if let Reconcile::Running(running) = &mut self.kept.reconcile {
            running.again = true;
            return;
        }
        let stale = if let Reconcile::Waiting { stale, .. } = self.kept.reconcile { stale } else { 0 };
        let from = self.kept.safe + 1;
        let running = Running {
            number: self.kept.next_number(),
            epoch: self.kept.epoch.clone().unwrap_or_default(),
            from,
            read: Read::new(self.subjects.keep_all(), from),
            is_read: false,
            is_cut: false,
            per_subject_max: None,
            again: false,
            mark: self.highest_mark(now),
            stale,
        };
        self.ask_reconcile(now, edge, running);
    }

    /// The same from the beginning, whatever is under way: the stream is another one.
    pub(super) fn restart_reconcile(&mut self, now: Now, edge: &mut dyn Edge) {
        self.kept.reconcile = Reconcile::Idle;
        self.start_reconcile(now, edge);
    }

    fn ask_reconcile(&mut self, now: Now, edge: &mut dyn Edge, running: Running) {
        let stream = self.kept.stream.as_deref().unwrap_or_default();
        self.cells.kept_reads.add(1);
        let request = if running.is_read { stream::ask_info(stream, None) } else { running.read.ask(stream) };
        let asked = self.upstream.ask(edge, Purpose::Reconcile(running.number), request, now.ms + READ_MS);
        self.kept.reconcile = match asked {
            Ok(()) => Reconcile::Running(running),
            Err(_) => Reconcile::Waiting { at_ms: now.ms + RETRY_MS, stale: running.stale },
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
    pub(in crate::hub) fn on_reconcile(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        number: u64,
        message: &Received,
    ) -> bool {
        let Reconcile::Running(running) = &mut self.kept.reconcile else { return false };
        if running.number != number {
            return false;
        }
        let step = running.take(&self.subjects, message);
        if step == Step::More {
            return true;
        }
        let Reconcile::Running(mut running) = std::mem::replace(&mut self.kept.reconcile, Reconcile::Idle) else {
            return false;
        };
        let later = now.ms + RETRY_MS;
        match step {
            Step::More | Step::Again => self.ask_reconcile(now, edge, running),
            Step::Behind => {
                running.stale += 1;
                if running.stale.is_multiple_of(STALE_MAX) {
                    self.kept.reconcile = Reconcile::Waiting { at_ms: later, stale: running.stale };
                } else {
                    self.ask_reconcile(now, edge, running);
                }
            }
            Step::Done => self.end_reconcile(now, edge, running),
            Step::TooMuch => self.give_up_reconcile(now, edge),
            Step::Another(info) => self.learn_epoch(now, edge, &info),
            Step::Failed => self.kept.reconcile = Reconcile::Waiting { at_ms: later, stale: running.stale },
        }
        false
    }

    /// The request came to nothing: again in a while.
    pub(in crate::hub) fn reconcile_failed(&mut self, now: Now, number: u64) {
        if matches!(&self.kept.reconcile, Reconcile::Running(running) if running.number == number) {
            self.kept.reconcile = Reconcile::Waiting { at_ms: now.ms + RETRY_MS, stale: 0 };
        }
    }

    fn end_reconcile(&mut self, now: Now, edge: &mut dyn Edge, running: Running) {
        self.cells.kept_reconciled.add(1);
        let again = running.again;
        if !again {
            // Everything up to there goes to whoever is here, below or where holes are filled.
            self.kept.reached = running.read.reached().max(running.mark);
        }
        if running.is_cut {
            self.cells.kept_lost.add(1);
            self.to_all_shards(edge, &ToShard::KeptGap { target: WireTarget::All });
        }
        self.tell_cut(edge, &running);
        for delivery in running.read.messages {
            let Some(target) = target_of(&delivery) else { continue };
            let (seq, shared) = (seq_of(&delivery), Arc::new(SharedDelivery::kept(delivery)));
            let Some(held) = self.kept.held.get_mut(&target) else {
                self.advance(now, edge, &target, &shared);
                continue;
            };
            // Filling that hole below keeps the order, and goes as far as what is held.
            if let Err(at) = held.binary_search_by_key(&seq, |other| seq_of(&other.delivery)) {
                held.insert(at, shared);
            }
        }
        let held: Vec<_> = self.kept.held.keys().cloned().collect();
        for target in held {
            if let Some(Place::At(place)) = self.roster.place(target.0, &target.1).copied() {
                self.catch_up(now, edge, target, Resumer::Hole { since: place });
            } else {
                self.kept.held.shift_remove(&target);
            }
        }
        if again {
            self.start_reconcile(now, edge);
        }
    }

    /// Where as much of a target was read as the stream keeps of it, older messages may have made room for those.
    fn tell_cut(&mut self, edge: &mut dyn Edge, running: &Running) {
        let Some(max) = running.per_subject_max.filter(|_| !running.is_cut) else { return };
        let mut counts: IndexMap<Target, u64> = IndexMap::new();
        for delivery in &running.read.messages {
            if let Some(target) = target_of(delivery).filter(|target| !self.kept.held.contains_key(target))
                && let Some(Place::At(place)) = self.roster.place(target.0, &target.1)
                && seq_of(delivery) > *place
            {
                *counts.entry(target).or_default() += 1;
            }
        }
        for (target, _) in counts.into_iter().filter(|(_, count)| *count >= max) {
            self.cells.kept_lost.add(1);
            self.tell_kept_gap(edge, &target);
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
