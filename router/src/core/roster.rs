//! The mirror of the nodes' rosters: batches, beats and snapshots into the tables, and what follows for facts.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::token;
use holdfast_protocol::wire::{
    Cause, Change, NodeBeat, NodeBound, NodeState, RosterBatch, Snapshot, SnapshotEntry, Text, digest_of_claim,
    digest_of_room, digest_of_user,
};

use super::event::{Action, Now};
use super::presence::Position;
use super::recall::Kind;
use super::sync::{Arrived, Order, Reason, Sync, order};
use super::table::{Claim, Held, Slot};
use super::tally::Dropped;
use super::{Phase, Router};

/// Where we know a change from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was told as it happened.
    Batch,
    /// It is what a snapshot says and we did not know: it happened some time before.
    Snapshot,
    /// The node itself is gone.
    Removal,
}

impl Router {
    pub(super) fn on_node_beat(&mut self, now: Now, beat: &NodeBeat) {
        if self.phase == Phase::Away {
            return;
        }
        if beat.state == NodeState::Gone {
            if let Some(slot) = self.fleet.slot(beat.node) {
                self.remove_node(now, slot, false);
            }
            return;
        }
        let slot = self.slot_of(now, beat.node, beat.seq == 0);
        self.fleet.note_beat(now.ms, slot, beat);
        let Some(node) = self.fleet.get_mut(slot) else { return };
        if !node.sync.is_whole() {
            return;
        }
        // Batches are taken before beats: one that is not here by now was lost. Batches after the beat may be here
        // already; then the digests are of another state and tell nothing.
        if beat.seq > node.applied {
            self.resync(now, slot, Reason::Gap);
        } else if beat.seq == node.applied {
            if node.digests == beat.digests {
                node.owe_ack();
                self.fleet.touch(slot);
            } else {
                self.resync(now, slot, Reason::Digest);
            }
        }
    }

    /// The node's place; a new one where it was not known. `from_start`: its roster was empty when we first heard it.
    fn slot_of(&mut self, now: Now, node: NodeId, from_start: bool) -> Slot {
        if let Some(slot) = self.fleet.slot(node) {
            return slot;
        }
        if from_start {
            return self.fleet.add(now.ms, node, Sync::Whole);
        }
        if let Phase::Joining { since_ms } = self.phase {
            // Our discovery asked it; it is asked again if nothing comes.
            return self.fleet.add(now.ms, node, Sync::wait(now.ms, since_ms, Reason::New));
        }
        let slot = self.fleet.add(now.ms, node, Sync::Whole);
        self.resync(now, slot, Reason::New);
        slot
    }

    fn resync(&mut self, now: Now, slot: Slot, reason: Reason) {
        let me = self.me;
        if let Some(node) = self.fleet.get_mut(slot) {
            node.sync = Sync::wait(now.ms, now.ms, reason);
            self.actions.push(Action::ToNode(node.id, NodeBound::SnapshotAsk { router: me }.encode()));
        }
    }

    pub(super) fn on_roster(&mut self, now: Now, batch: RosterBatch) {
        if self.phase == Phase::Away {
            return;
        }
        let slot = self.slot_of(now, batch.node, batch.seq == 1);
        self.fleet.note_life(now.ms, slot);
        let Some(node) = self.fleet.get_mut(slot) else { return };
        if let Sync::Waiting(waiting) = &mut node.sync {
            waiting.hold(batch);
            return;
        }
        match order(node.applied, batch.seq) {
            Order::Known => {}
            Order::Next => self.apply_batch(now, slot, &batch),
            Order::Gap => {
                self.resync(now, slot, Reason::Gap);
                if let Some(Sync::Waiting(waiting)) = self.fleet.get_mut(slot).map(|node| &mut node.sync) {
                    waiting.hold(batch);
                }
                return;
            }
        }
        self.owe_ack(slot);
    }

    fn owe_ack(&mut self, slot: Slot) {
        if let Some(node) = self.fleet.get_mut(slot) {
            node.owe_ack();
            self.fleet.touch(slot);
        }
    }

    fn apply_batch(&mut self, now: Now, slot: Slot, batch: &RosterBatch) {
        // Another tells it, if it is not ours to tell: we hear that, even while we join.
        let saw = self.presence.hearsay.see(true);
        for change in &batch.changes {
            self.apply_change(now, slot, batch.seq, change, Origin::Batch);
        }
        self.presence.hearsay.see(saw);
        if let Some(node) = self.fleet.get_mut(slot) {
            node.applied = batch.seq;
        }
    }

    pub(super) fn on_snapshot(&mut self, now: Now, snapshot: Snapshot) {
        let slot = self.slot_of(now, snapshot.node, false);
        self.fleet.note_life(now.ms, slot);
        let Some(node) = self.fleet.get_mut(slot) else { return };
        let Sync::Waiting(waiting) = &mut node.sync else { return };
        let Some(arrived) = waiting.collect(now.ms, snapshot) else { return };
        if arrived.seq < node.applied {
            // Made before what we have: the answer to an older question.
            self.resync(now, slot, arrived.reason);
            return;
        }
        node.sync = Sync::Whole;
        let held = node.entries > 0;
        self.tally.resyncs[arrived.reason as usize] += 1;
        self.tally.resync_ms += arrived.took_ms;
        self.apply_snapshot(now, slot, &arrived, held);
        for batch in &arrived.later {
            self.apply_batch(now, slot, batch);
        }
        if arrived.incomplete {
            self.resync(now, slot, Reason::Gap);
        }
        self.owe_ack(slot);
    }

    /// Puts a snapshot in the place of what the tables hold for the node.
    fn apply_snapshot(&mut self, now: Now, slot: Slot, arrived: &Arrived, held: bool) {
        let saw = self.presence.hearsay.see(false);
        if held {
            for change in self.missing_from(slot, &arrived.entries) {
                self.apply_change(now, slot, arrived.seq, &change, Origin::Snapshot);
            }
        }
        if let Some(node) = self.fleet.get(slot).map(|node| node.id) {
            self.recall.forget(node);
        }
        for entry in &arrived.entries {
            let change = match entry {
                SnapshotEntry::User(user) => Change::UserUp { user: user.clone(), cause: Cause::Connect },
                SnapshotEntry::Room(room, count) => {
                    Change::Room { room: room.clone(), count: *count, cause: Cause::Connect }
                }
                SnapshotEntry::Claim(user, connection, since_ms) => {
                    Change::Claim { user: user.clone(), connection: *connection, since_ms: *since_ms }
                }
                SnapshotEntry::Lately(change, seq, age_ms) => {
                    self.note_lately(now, *age_ms, slot, *seq, change);
                    continue;
                }
            };
            self.apply_change(now, slot, arrived.seq, &change, Origin::Snapshot);
        }
        self.presence.hearsay.see(saw);
        if let Some(node) = self.fleet.get_mut(slot) {
            node.applied = arrived.seq;
        }
    }

    /// What the tables hold for the node and the snapshot does not, as the changes that take it off.
    fn missing_from(&self, slot: Slot, entries: &[SnapshotEntry]) -> Vec<Change> {
        let Some(node) = self.fleet.get(slot) else { return Vec::new() };
        let (mut users, mut rooms) = (hashbrown::HashSet::new(), hashbrown::HashSet::new());
        let mut claims = hashbrown::HashSet::new();
        for entry in entries {
            match entry {
                SnapshotEntry::User(user) => drop(users.insert(&**user)),
                SnapshotEntry::Room(room, _) => drop(rooms.insert(&**room)),
                SnapshotEntry::Claim(_, connection, _) => drop(claims.insert(*connection)),
                SnapshotEntry::Lately(..) => {}
            }
        }
        let mut missing = Vec::new();
        self.table.sweep(slot, node.id, |_, held| match held {
            Held::User(user) if !users.contains(user) => {
                missing.push(Change::UserDown { user: Text::from(user), cause: Cause::Close });
            }
            Held::Room(room, _) if !rooms.contains(room) => {
                missing.push(Change::Room { room: Text::from(room), count: 0, cause: Cause::Close });
            }
            Held::Claim(user, claim) if !claims.contains(&claim.connection) => {
                missing.push(Change::Unclaim { user: Text::from(user), connection: claim.connection });
            }
            Held::User(_) | Held::Room(..) | Held::Claim(..) => {}
        });
        missing
    }

    /// Takes a node off the roster with all it holds.
    pub(super) fn remove_node(&mut self, now: Now, slot: Slot, lost: bool) {
        let Some(node) = self.fleet.get(slot) else { return };
        let cause = if lost { Cause::NodeLost } else { Cause::Drain };
        let (id, seq, holds) = (node.id, node.applied + 1, node.entries > 0);
        // What we hold of it may be of before we were away: others may have told long ago that it is gone.
        let is_stale = !node.heard_since_join;
        if holds {
            let mut held_all = Vec::new();
            self.table.sweep(slot, id, |_, held| {
                held_all.push(match held {
                    Held::User(user) => Change::UserDown { user: Text::from(user), cause },
                    Held::Room(room, _) => Change::Room { room: Text::from(room), count: 0, cause },
                    Held::Claim(user, claim) => {
                        Change::Unclaim { user: Text::from(user), connection: claim.connection }
                    }
                });
            });
            for change in &held_all {
                self.apply_change(now, slot, seq, change, Origin::Removal);
                if let Change::UserDown { user, .. } = change
                    && is_stale
                    && self.presence.is_lingering(user)
                {
                    self.presence.hearsay.suspect(now.ms, Kind::User, user, Some(false));
                }
            }
        }
        if self.fleet.remove(slot).is_some_and(|node| node.has_packed()) {
            self.tally.drop(Dropped::NodeGone, 1);
        }
        for closed in self.receipts.node_gone(slot, &mut self.actions) {
            self.count_receipt(closed);
        }
        let bytes_max = self.fleet.max_payload();
        self.tally.queries += self.questions.node_gone(slot, bytes_max, &mut self.actions) as u64;
    }

    /// One change of a node's roster.
    fn apply_change(&mut self, now: Now, slot: Slot, seq: u64, change: &Change, origin: Origin) {
        let Some(node) = self.fleet.get(slot).map(|node| node.id) else { return };
        match change {
            Change::UserUp { user, cause } => {
                self.change_user(now, slot, (user, true), Position { node, seq, cause: *cause }, origin);
            }
            Change::UserDown { user, cause } => {
                self.change_user(now, slot, (user, false), Position { node, seq, cause: *cause }, origin);
            }
            Change::Room { room, count, cause } => {
                self.change_room(now, slot, (room, *count), Position { node, seq, cause: *cause }, origin);
            }
            Change::Claim { user, connection, since_ms } => {
                let partition = token::partition_of_key(user);
                let claim = Claim { connection: *connection, since_ms: *since_ms };
                // One that is not told as it happened takes the place its age gives it.
                if self.table.add_claim(partition, user, claim, origin != Origin::Batch) {
                    self.shift_digest(slot, partition, 0, digest_of_claim(user, *connection), 1);
                    self.contest(now, partition, user);
                }
            }
            Change::Unclaim { user, connection } => {
                let partition = token::partition_of_key(user);
                if self.table.remove_claim(partition, user, *connection) {
                    self.shift_digest(slot, partition, digest_of_claim(user, *connection), 0, -1);
                }
            }
        }
    }

    fn change_user(&mut self, now: Now, slot: Slot, (user, present): (&str, bool), position: Position, origin: Origin) {
        let partition = token::partition_of_key(user);
        let shift = self.table.set_user(partition, user, slot, present);
        if (shift.on_node_before == 1) == present {
            return;
        }
        let digest = digest_of_user(user);
        if present {
            self.shift_digest(slot, partition, 0, digest, 1);
        } else {
            self.shift_digest(slot, partition, digest, 0, -1);
        }
        if !self.was_whole {
            self.remember_step(now, Kind::User, (user, present), position, origin);
            return;
        }
        if shift.before == 0 {
            let duty = self.duty(now, partition);
            self.presence.user_came(now, user, position, duty);
        } else if shift.after == 0 {
            self.presence.user_went(now, user, position);
        }
    }

    fn change_room(&mut self, now: Now, slot: Slot, (room, count): (&str, u64), position: Position, origin: Origin) {
        let partition = token::partition_of_key(room);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let shift = self.table.set_room(partition, room, slot, count);
        let before = shift.on_node_before;
        if before == count {
            return;
        }
        let digest = |count: u32| if count == 0 { 0 } else { digest_of_room(room, u64::from(count)) };
        let entries = i64::from(count > 0) - i64::from(before > 0);
        self.shift_digest(slot, partition, digest(before), digest(count), entries);
        // Where sessions over HTTP are is nobody's business but the nodes'.
        if token::is_reserved(room) {
            return;
        }
        if !self.was_whole {
            if (before == 0) != (count == 0) {
                self.remember_step(now, Kind::Room, (room, count > 0), position, origin);
            }
        } else {
            let announced = self.settings.announce.iter().any(|pattern| pattern.matches(room));
            let duty = self.duty(now, partition);
            self.presence.room_changed(now, room, (shift.before, shift.after), announced, position, duty);
        }
    }

    fn shift_digest(&mut self, slot: Slot, partition: usize, minus: u64, plus: u64, entries: i64) {
        if let Some(node) = self.fleet.get_mut(slot) {
            let digest = &mut node.digests[partition];
            *digest = digest.wrapping_sub(minus).wrapping_add(plus);
            node.entries = node.entries.saturating_add_signed(entries);
        }
    }
}
