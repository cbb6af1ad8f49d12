//! Facts that are heard, and those that are told because what was told before is not so. Knows no wire; what was told is
//! [`hearsay`](super::hearsay)'s.

use holdfast_protocol::fact::Transition;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::token;
use holdfast_protocol::wire::{Cause, Lane};
use serde::Deserialize;

use super::event::Now;
use super::hearsay::{Amendment, View, Voice};
use super::presence::Position;
use super::recall::Kind;
use super::tally::Dropped;
use super::{Phase, Router};

/// What is read of a fact's body.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    node: Option<&'a str>,
}

fn node_of(body: &[u8]) -> Option<NodeId> {
    serde_json::from_slice::<Body<'_>>(body).ok()?.node.and_then(NodeId::parse)
}

impl Router {
    /// A fact, as domain services hear it.
    pub(super) fn on_fact(&mut self, now: Now, subject: &str, body: &[u8]) {
        if self.phase == Phase::Away {
            return;
        }
        let Some((what, key)) = self.settings.subjects.parse_event(subject) else { return };
        let (kind, is_told_there) = match what {
            "user.online" => (Kind::User, true),
            "user.offline" => (Kind::User, false),
            "room.occupied" => (Kind::Room, true),
            "room.vacated" => (Kind::Room, false),
            _ => return,
        };
        let partition = token::partition_of_key(&key);
        let is_there = match kind {
            Kind::User => !self.table.nodes_of_user(partition, &key).is_empty() || self.presence.is_lingering(&key),
            Kind::Room => !self.table.nodes_of_room(partition, &key).is_empty(),
        };
        self.presence.hearsay.heard(now.ms, kind, &key, (is_told_there, is_there), || node_of(body));
    }

    /// Tells what is so, where the contrary was told and that has had its time to settle: of keys that are ours, and of others
    /// whose owner does not.
    pub(super) fn amend(&mut self, now: Now) {
        let (able, lane) = (self.is_able(now), self.handover.lane(Lane::Ctl));
        let (table, fleet) = (&self.table, &self.fleet);
        let is_whole = fleet.iter().all(|(_, node)| node.sync.is_whole());
        let view = |kind, key: &str| {
            let partition = token::partition_of_key(key);
            let (users, rooms) = match kind {
                Kind::User => (table.nodes_of_user(partition, key), &[][..]),
                Kind::Room => (&[][..], table.nodes_of_room(partition, key)),
            };
            let mut slots = users.iter().chain(rooms.iter().map(|(slot, _)| slot)).peekable();
            if slots.peek().is_none() {
                return if is_whole { View::Gone } else { View::Unsure };
            }
            // One that is silent may be about to be given up.
            let heard = slots.find(|slot| !fleet.is_overdue(now.ms, **slot)).and_then(|slot| fleet.get(*slot));
            heard.map_or(View::Unsure, |node| View::There(node.id))
        };
        let voice = |key: &str| match (able, lane.speaks(token::partition_of_key(key))) {
            (true, true) => Voice::Owner,
            (true, false) => Voice::Witness,
            (false, _) => Voice::None,
        };
        let amendments = self.presence.settle(now, view, voice);
        self.tally.drop(Dropped::Fact, self.presence.hearsay.take_dropped());
        self.tally.facts_amended += amendments.len() as u64;
        for amendment in amendments {
            self.tell_amended(now, amendment);
        }
    }

    fn tell_amended(&mut self, now: Now, amendment: Amendment) {
        let Amendment { kind, key, view, ours, node } = amendment;
        let transition = match (kind, view) {
            (Kind::User, View::There(_)) => Transition::UserOnline,
            (Kind::User, _) => Transition::UserOffline,
            (Kind::Room, View::There(_)) => Transition::RoomOccupied,
            (Kind::Room, _) => Transition::RoomVacated,
        };
        let (node, cause) = match (view, node) {
            (View::There(node), _) => (node, Cause::Connect),
            (_, Some(node)) if self.fleet.slot(node).is_none() => (node, Cause::NodeLost),
            (_, Some(node)) => (node, Cause::Close),
            (_, None) => (self.me, Cause::Close),
        };
        // In the place of a batch stands the moment: no node makes so many, and what was told before has another id.
        let anew = (Position { node, seq: now.unix_ms, cause }, now.unix_ms);
        let (position, unix_ms) = ours.unwrap_or(anew);
        self.presence.amend(transition, key, position, unix_ms);
    }
}
