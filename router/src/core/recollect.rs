//! A router that begins: what happened on the nodes shortly before its mirror was whole becomes facts as if it had been
//! there. Knows no wire and no ownership; the facts are remembered like those of other routers.

use holdfast_protocol::token;
use holdfast_protocol::wire::Change;

use super::Router;
use super::event::Now;
use super::presence::{Duty, Position};
use super::recall::{Kind, Step};
use super::roster::Origin;
use super::table::Slot;
use super::tally::Dropped;

/// How long a router that begins alone doubts that what its mirror does not show is gone: a node that is there has said so
/// several times by then (one that has not is late).
const DOUBTED_MS: u64 = 2_000;

impl Router {
    /// What a snapshot says happened shortly before it.
    pub(super) fn note_lately(&mut self, now: Now, age_ms: u64, slot: Slot, seq: u64, change: &Change) {
        let Some(node) = self.fleet.get(slot).map(|node| node.id) else { return };
        let (kind, key, is_there, cause) = match change {
            Change::UserUp { user, cause } => (Kind::User, user, true, *cause),
            Change::UserDown { user, cause } => (Kind::User, user, false, *cause),
            Change::Room { room, count, cause } => (Kind::Room, room, *count > 0, *cause),
            Change::Claim { .. } | Change::Unclaim { .. } => return,
        };
        let then = now.back_to(now.ms.saturating_sub(age_ms));
        self.presence.hearsay.note_lately((now.ms, then.ms), kind, key);
        if !self.was_whole {
            self.remember_step(then, kind, (key, is_there), Position { node, seq, cause }, Origin::Batch);
        }
    }

    /// Before the mirror is whole: a step is kept for [`Self::recollect`].
    pub(super) fn remember_step(
        &mut self,
        now: Now,
        kind: Kind,
        (key, is_there): (&str, bool),
        position: Position,
        origin: Origin,
    ) {
        if origin == Origin::Snapshot {
            return;
        }
        let step = Step { at_ms: now.ms, kind, key: Box::from(key), is_there, position };
        self.recall.note(step);
    }

    /// The mirror is whole for the first time: what happened shortly before is remembered as if we had been there. Where
    /// another router was there all the time, it is that one's to tell. Where none was, a node that did not hear our
    /// question may not be in the mirror yet: what is gone is doubted for a while.
    pub(super) fn recollect(&mut self, now: Now) {
        let (table, hearsay) = (&self.table, &mut self.presence.hearsay);
        let is_alone = !self.membership.has_live_peer();
        let nodes_now = |kind, key: &str| match kind {
            Kind::User => table.nodes_of_user(token::partition_of_key(key), key).len(),
            Kind::Room => table.nodes_of_room(token::partition_of_key(key), key).len(),
        };
        // One that is gone may have seen less than we do, and told what was not so.
        let steps = self.recall.take(nodes_now, |kind, key| hearsay.note_lately((now.ms, 0), kind, key));
        let mut gone: Vec<Step> = Vec::new();
        for step in steps {
            let then = now.back_to(step.at_ms);
            self.presence.tick(then, false, |_| Duty::Remember);
            match (step.kind, step.is_there) {
                (Kind::User, true) => self.presence.user_came(then, &step.key, step.position, Duty::Remember),
                (Kind::User, false) => self.presence.user_went(then, &step.key, step.position),
                (Kind::Room, false) if is_alone => gone.push(step),
                (Kind::Room, is_there) => {
                    gone.retain(|other| other.key != step.key);
                    self.room_turned(then, &step, is_there, Duty::Remember);
                }
            }
        }
        let dropped = self.recall.take_dropped();
        if is_alone {
            // Nobody else has them.
            self.tally.drop(Dropped::Fact, dropped);
            self.presence.hold_off(now.ms + DOUBTED_MS);
            self.presence.hearsay.hold_off(now.ms + DOUBTED_MS);
            self.recall.doubt(now.ms + DOUBTED_MS, gone);
        }
    }

    /// Tells of rooms that are gone indeed, after the time of doubt.
    pub(super) fn tell_gone(&mut self, now: Now) {
        for step in self.recall.undoubted(now.ms) {
            let partition = token::partition_of_key(&step.key);
            if self.table.nodes_of_room(partition, &step.key).is_empty() {
                let duty = self.duty(now, partition);
                self.room_turned(now.back_to(step.at_ms), &step, false, duty);
            }
        }
    }

    fn room_turned(&mut self, then: Now, step: &Step, is_there: bool, duty: Duty) {
        let change = (u64::from(!is_there), u64::from(is_there));
        self.presence.room_changed(then, &step.key, change, false, step.position, duty);
    }
}
