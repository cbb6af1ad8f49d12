//! Kept copies as routers forward them: in order and once per target, with holes held back until they are filled.

use std::sync::Arc;

use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{RouterBeat, Target as WireTarget};

use super::stream::Info;
use super::{DOUBTED_MS, HELD_MAX, Place, REPEATED_MS, Resumer, Target, seq_of, target_of};
use crate::clock::Now;
use crate::hub::core::Hub;
use crate::hub::edge::Edge;
use crate::hub::roster::{Kind, Shards};
use crate::link::{SharedDelivery, ToShard};

impl Hub {
    /// A kept copy from a router.
    pub(in crate::hub) fn on_kept(&mut self, now: Now, edge: &mut dyn Edge, shared: Arc<SharedDelivery>) {
        let Some(kept) = shared.delivery.kept.clone() else { return };
        let Some(target) = target_of(&shared.delivery) else { return };
        if self.kept.stream.is_none() || !self.is_present_epoch(now, edge, &kept.epoch) {
            // Nobody is told of a place in it; with another epoch, all is read again once that is sure.
            self.expect_nobody(now, &shared);
            return;
        }
        let is_held = self.kept.held.contains_key(&target);
        match self.roster.place(target.0, &target.1) {
            Some(Place::At(place)) if kept.seq > *place => {
                if is_held || kept.previous > *place {
                    let since = *place;
                    self.hold(now, edge, target, shared, since);
                } else {
                    *place = kept.seq;
                    self.pass_on(now, edge, &target, &shared);
                }
            }
            Some(Place::Unknown(seen)) => {
                *seen = (*seen).max(kept.seq);
                self.count(now, edge, &target, &shared);
            }
            Some(place @ Place::Open) => {
                *place = Place::At(kept.seq);
                self.pass_on(now, edge, &target, &shared);
            }
            Some(Place::At(_)) => {
                self.cells.kept_duplicates.add(1);
                self.count(now, edge, &target, &shared);
            }
            None => self.expect_nobody(now, &shared),
        }
    }

    fn expect_nobody(&mut self, now: Now, shared: &SharedDelivery) {
        if let Some(receipt) = shared.receipt {
            self.receipts.expect(receipt, 0, self.settings.node, now.ms);
        }
    }

    /// The receipt of a copy that the members have from the stream already, or will have.
    fn count(&mut self, now: Now, edge: &mut dyn Edge, target: &Target, shared: &Arc<SharedDelivery>) {
        if shared.receipt.is_some() {
            self.hand_to_members(now, edge, target, shared, ToShard::Count);
        }
    }

    /// Gives a copy to the members, and notes it for those who are about to be.
    fn pass_on(&mut self, now: Now, edge: &mut dyn Edge, target: &Target, shared: &Arc<SharedDelivery>) {
        self.kept.note(target, shared);
        self.hand_to_members(now, edge, target, shared, ToShard::Deliver);
    }

    fn hand_to_members(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        target: &Target,
        shared: &Arc<SharedDelivery>,
        message: fn(Arc<SharedDelivery>) -> ToShard,
    ) {
        let mut shards = Shards::new();
        self.roster.shards_of(target.0, &target.1, &mut shards);
        if let Some(receipt) = shared.receipt {
            let count = u16::try_from(shards.len()).unwrap_or(u16::MAX);
            self.receipts.expect(receipt, count, self.settings.node, now.ms);
        }
        for shard in shards {
            edge.to_shard(shard, message(Arc::clone(shared)));
        }
    }

    /// Holds a copy behind a hole, and has the hole read.
    fn hold(&mut self, now: Now, edge: &mut dyn Edge, target: Target, shared: Arc<SharedDelivery>, since: u64) {
        let held = self.kept.held.entry(target.clone()).or_default();
        if held.last().is_some_and(|last| seq_of(&last.delivery) >= seq_of(&shared.delivery)) {
            // A second copy, forwarded by another router.
            self.count(now, edge, &target, &shared);
            return;
        }
        held.push(shared);
        let (first, full) = (held.len() == 1, held.len() > HELD_MAX);
        if full {
            self.fill_hole(now, edge, &target, &[], false);
        } else if first {
            self.cells.kept_holes.add(1);
            if !self.kept.reconcile.is_running() {
                self.catch_up(now, edge, target, Resumer::Hole { since });
            }
        }
    }

    /// Fills a target's hole with what was read, passes on what is held, and tells of a gap where it is not whole.
    pub(super) fn fill_hole(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        target: &Target,
        read: &[Arc<SharedDelivery>],
        whole: bool,
    ) {
        let held = self.kept.held.shift_remove(target).unwrap_or_default();
        let end = held.last().map_or(u64::MAX, |shared| seq_of(&shared.delivery));
        if whole {
            self.cells.kept_repaired.add(1);
        } else {
            self.cells.kept_lost.add(1);
            self.tell_kept_gap(edge, target);
        }
        // Of a message that was both read and held, the held copy goes on: it carries the receipt.
        let is_held = |seq: u64| held.iter().any(|shared| seq_of(&shared.delivery) == seq);
        let mut all: Vec<_> = read
            .iter()
            .filter(|shared| !is_held(seq_of(&shared.delivery)) && seq_of(&shared.delivery) <= end)
            .chain(&held)
            .cloned()
            .collect();
        all.sort_by_key(|shared| seq_of(&shared.delivery));
        for shared in all {
            self.advance(now, edge, target, &shared);
        }
    }

    /// Passes a message on if it is news, and moves the target's place.
    pub(super) fn advance(&mut self, now: Now, edge: &mut dyn Edge, target: &Target, shared: &Arc<SharedDelivery>) {
        let seq = seq_of(&shared.delivery);
        if let Some(Place::At(place)) = self.roster.place(target.0, &target.1)
            && *place < seq
        {
            *place = seq;
            self.pass_on(now, edge, target, shared);
        } else {
            self.expect_nobody(now, shared);
        }
    }

    pub(super) fn tell_kept_gap(&self, edge: &mut dyn Edge, target: &Target) {
        let (kind, name) = target;
        let mut shards = Shards::new();
        self.roster.shards_of(*kind, name, &mut shards);
        let target = match kind {
            Kind::User => WireTarget::User((&**name).into()),
            Kind::Room => WireTarget::Room((&**name).into()),
        };
        for shard in shards {
            edge.to_shard(shard, ToShard::KeptGap { target: target.clone() });
        }
    }

    // --- marks and places ---

    /// A router says how far it has processed the stream. The first word of it names the epoch, and where members begin
    /// that are here.
    pub(in crate::hub) fn on_mark(&mut self, now: Now, edge: &mut dyn Edge, mark: Option<&Position>) {
        if let Some(mark) = mark.filter(|_| self.kept.stream.is_some())
            && self.is_present_epoch(now, edge, &mark.epoch)
            && !self.kept.has_begun
        {
            self.kept.has_begun = true;
            self.kept.safe = self.roster.begin_places(mark.seq);
        }
    }

    /// The same in a beat, which also tells of changes among the routers.
    pub(in crate::hub) fn on_beat_mark(&mut self, now: Now, edge: &mut dyn Edge, beat: &RouterBeat) {
        if self.routers.is_new_term(now.ms) {
            self.doubt_safe(now);
        }
        self.on_mark(now, edge, beat.kept.as_ref());
        self.look_for_break(now, edge);
    }

    /// Where all routers of a section are new, nobody forwards what was stored before they began and after the last ones had ended.
    fn look_for_break(&mut self, now: Now, edge: &mut dyn Edge) {
        self.kept.settle();
        let Some(epoch) = self.kept.epoch.as_ref().filter(|_| !self.kept.reconcile.is_running()) else { return };
        if self.routers.follow(now.ms, epoch) && !self.routers.has_followed(now.ms, epoch, self.kept.safe) {
            self.start_reconcile(now, edge);
        }
    }

    /// Where a target's members begin: after all that any router had processed when the live ones knew of the target. What one
    /// that is silent by now had forwarded went past this node.
    pub(in crate::hub) fn place_first(&mut self, target: &Target) {
        let epoch = self.kept.epoch.as_ref();
        let mark = epoch.map(|epoch| self.routers.furthest(epoch).max(self.kept.safe));
        if let Some(place) = self.roster.place(target.0, &target.1)
            && let Place::Unknown(seen) = *place
        {
            *place = mark.map_or(Place::Open, |mark| Place::At(seen.max(mark)));
            self.kept.note_break(target);
        }
    }

    /// Copies may turn up late for a while.
    pub(in crate::hub) const fn doubt_safe(&mut self, now: Now) {
        self.kept.doubted_until_ms = now.ms + DOUBTED_MS;
    }

    /// Up to where all had reached this node, unless something was lost on the way.
    fn trusted(&self, now: Now) -> u64 {
        let is_doubted = self.kept.reconcile.is_running() || now.ms < self.kept.doubted_until_ms;
        if is_doubted { 0 } else { self.kept.safe }
    }

    /// Where a connection stands that becomes a member now. What is told is not delivered again: in doubt, it is no more
    /// than what the members have.
    pub(in crate::hub) fn place_now(&mut self, now: Now, target: &Target) -> Option<Position> {
        let (trusted, held) = (self.trusted(now), self.kept.held.contains_key(target));
        match self.roster.place(target.0, &target.1) {
            Some(Place::At(place)) => {
                let seq = if held { *place } else { (*place).max(trusted) };
                self.position(seq)
            }
            Some(Place::Unknown(_) | Place::Open) | None => None,
        }
    }

    /// Whether nothing of the target's came after this position, as far as this node can tell without a read.
    pub(in crate::hub) fn has_all_since(&mut self, now: Now, target: &Target, since: &Position) -> bool {
        let certain = self.kept.is_of(since)
            && !self.kept.reconcile.is_running()
            && !self.kept.held.contains_key(target)
            && !self.kept.by_target.contains_key(target);
        let trusted = self.trusted(now);
        match self.roster.place(target.0, &target.1) {
            Some(Place::At(place)) => certain && since.seq >= *place && since.seq <= (*place).max(trusted),
            Some(Place::Unknown(_) | Place::Open) | None => false,
        }
    }

    /// The end of a turn in which all that had reached this node was applied.
    pub fn note_safe(&mut self, now: Now) {
        self.routers.settle();
        self.kept.settle();
        if self.kept.held.is_empty()
            && !self.kept.reconcile.is_running()
            && self.handovers.is_empty()
            && now.ms + DOUBTED_MS >= self.kept.doubted_until_ms + REPEATED_MS
            && let Some(epoch) = self.kept.epoch.as_ref()
            && self.routers.has_followed(now.ms, epoch, self.kept.safe)
            && let Some(safe) = self.routers.confirmed(now.ms, epoch, self.kept.safe)
        {
            self.kept.safe = self.kept.safe.max(safe);
        }
    }

    // --- the epoch ---

    /// Whether this is the epoch that places are of. Another one is believed only when the stream itself says so.
    fn is_present_epoch(&mut self, now: Now, edge: &mut dyn Edge, epoch: &holdfast_protocol::wire::Text) -> bool {
        match &self.kept.epoch {
            None => {
                self.kept.epoch = Some(epoch.as_str().into());
                true
            }
            Some(present) if present == epoch => true,
            Some(_) => {
                self.ask_epoch(now, edge);
                false
            }
        }
    }

    /// What the stream says of itself. A new epoch begins all places anew: everything in it is news, but for what it says
    /// is known from before.
    pub(super) fn learn_epoch(&mut self, now: Now, edge: &mut dyn Edge, info: &Info) {
        let Some(epoch) = info.epoch.clone().filter(|epoch| Some(epoch) != self.kept.epoch.as_ref()) else { return };
        tracing::info!(%epoch, "The stream of kept messages is another one now");
        self.kept.epoch = Some(epoch);
        let known = info.epoch_from.min(info.last);
        (self.kept.safe, self.kept.reached) = (known, 0);
        self.roster.reset_places(known);
        for shared in std::mem::take(&mut self.kept.held).into_values().flatten() {
            self.expect_nobody(now, &shared);
        }
        self.restart_reads(now, edge);
        self.restart_reconcile(now, edge);
    }
}
