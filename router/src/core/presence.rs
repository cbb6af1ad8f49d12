//! Facts: what the roster's changes mean to domain services, and when they are told.
//!
//! Every router follows every transition; the owner of the key publishes it, the others remember it for a moment, in
//! case the owner is gone before it did. Knows no ownership: it is told the duty with each transition.

use std::collections::VecDeque;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use holdfast_protocol::fact::{FactBody, Transition, fact_id, rfc3339};
use holdfast_protocol::id::NodeId;
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::token;
use holdfast_protocol::wire::{Cause, Lingering as Told};

use super::event::{Action, Now};
use super::handover::hash_of_text;
use super::hearsay::{Amendment, Hearsay, View, Voice};
use super::recall::Kind;

/// How long facts of others are remembered: longer than it takes to see that their owner is gone.
const MEMORY_MS: u64 = 2_500;
/// Facts of others that are remembered.
const MEMORY_MAX: usize = 65_536;
/// Lingering users that are told to others, and taken from them.
const LINGERING_MAX: usize = 65_536;

/// What is to be done about a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It is ours to publish.
    Publish,
    /// Another's: remember it for a moment.
    Remember,
}

/// Where in the rosters something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// On which node.
    pub(super) node: NodeId,
    /// At which of its batches.
    pub(super) seq: u64,
    /// Why.
    pub(super) cause: Cause,
}

#[derive(Debug, Clone)]
struct Fact {
    transition: Transition,
    key: Box<str>,
    position: Position,
    count: Option<u64>,
    unix_ms: u64,
}

#[derive(Debug)]
struct Lingering {
    due_ms: u64,
    position: Position,
}

/// Transitions on their way out.
#[derive(Debug)]
pub(super) struct Presence {
    linger_ms: u64,
    facts_max: usize,
    lingering: HashMap<Box<str>, Lingering, FixedState>,
    /// Users by when they are due; the linger is the same for all, so they come in order.
    due: VecDeque<(u64, Box<str>)>,
    waiting: VecDeque<Fact>,
    memory: VecDeque<Memory>,
    /// What was told, by us and others, and is not so.
    pub(super) hearsay: Hearsay,
    /// While owners change: what was published, the oldest forgotten first.
    log: Option<VecDeque<u64>>,
    dropped: u64,
}

/// A fact of others that was seen.
#[derive(Debug)]
struct Memory {
    at_ms: u64,
    fact: Fact,
    /// It was seen as it happened, and facts were heard: [`Hearsay`] knows whether it was told.
    is_followed: bool,
}

impl Fact {
    fn id(&self) -> String {
        fact_id(self.transition, &self.key, self.position.node, self.position.seq)
    }

    /// The same in each router.
    fn hash(&self) -> u64 {
        hash_of_text(&self.id())
    }
}

/// Whether a user or room is there after a transition that makes it come or go.
const fn state_after(transition: Transition) -> Option<(Kind, bool)> {
    match transition {
        Transition::UserOnline => Some((Kind::User, true)),
        Transition::UserOffline => Some((Kind::User, false)),
        Transition::RoomOccupied => Some((Kind::Room, true)),
        Transition::RoomVacated => Some((Kind::Room, false)),
        Transition::ConnectionOpened
        | Transition::ConnectionClosed
        | Transition::RoomJoined
        | Transition::RoomLeft
        | Transition::NodeLost => None,
    }
}

impl Presence {
    /// Nothing has happened.
    pub(super) fn new(linger_ms: u64, facts_max: usize, hash_seed: u64) -> Self {
        Self {
            linger_ms,
            facts_max,
            lingering: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
            due: VecDeque::new(),
            waiting: VecDeque::new(),
            memory: VecDeque::new(),
            hearsay: Hearsay::new(hash_seed),
            log: None,
            dropped: 0,
        }
    }

    /// Whether the user's last connection is gone, but not yet for the length of the linger.
    pub(super) fn is_lingering(&self, user: &str) -> bool {
        self.lingering.contains_key(user)
    }

    /// A user has a first connection.
    pub(super) fn user_came(&mut self, now: Now, user: &str, position: Position, duty: Duty) {
        if self.lingering.remove(user).is_none() {
            self.fact(now, Transition::UserOnline, user, position, None, duty);
        }
    }

    /// A user's last connection is gone.
    pub(super) fn user_went(&mut self, now: Now, user: &str, position: Position) {
        let due_ms = now.ms + self.linger_ms;
        self.lingering.insert(Box::from(user), Lingering { due_ms, position });
        self.due.push_back((due_ms, Box::from(user)));
    }

    /// Members of a room changed from `before` to `after`; `announced` rooms also tell each change.
    pub(super) fn room_changed(
        &mut self,
        now: Now,
        room: &str,
        (before, after): (u64, u64),
        announced: bool,
        position: Position,
        duty: Duty,
    ) {
        if before == 0 && after > 0 {
            self.fact(now, Transition::RoomOccupied, room, position, None, duty);
        }
        if announced && before != after {
            let transition = if after > before { Transition::RoomJoined } else { Transition::RoomLeft };
            self.fact(now, transition, room, position, Some(after), duty);
        }
        if before > 0 && after == 0 {
            self.fact(now, Transition::RoomVacated, room, position, None, duty);
        }
    }

    /// A node is gone without having said so.
    pub(super) fn node_lost(&mut self, now: Now, node: NodeId, seq: u64, duty: Duty) {
        let position = Position { node, seq, cause: Cause::NodeLost };
        self.fact(now, Transition::NodeLost, node.as_str(), position, None, duty);
    }

    fn fact(&mut self, now: Now, transition: Transition, key: &str, at: Position, count: Option<u64>, duty: Duty) {
        if let Some((kind, is_there)) = state_after(transition) {
            self.hearsay.saw(now.ms, kind, key, is_there, (at, now.unix_ms));
        }
        let fact = Fact { transition, key: Box::from(key), position: at, count, unix_ms: now.unix_ms };
        match duty {
            Duty::Publish => self.publish(fact),
            Duty::Remember => {
                if self.memory.len() == MEMORY_MAX {
                    self.memory.pop_front();
                }
                let is_followed = self.hearsay.follows();
                self.memory.push_back(Memory { at_ms: now.ms, fact, is_followed });
            }
        }
    }

    fn publish(&mut self, fact: Fact) {
        if fact.transition == Transition::UserOffline
            && self.lingering.get(&*fact.key).is_some_and(|lingering| lingering.position == fact.position)
        {
            // Another told of the same going since: who comes now was gone all the same.
            self.lingering.remove(&*fact.key);
        }
        if let Some(log) = &mut self.log {
            if log.len() == MEMORY_MAX {
                log.pop_front();
            }
            log.push_back(fact.hash());
        }
        if self.waiting.len() >= self.facts_max {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(fact);
    }

    /// Lets lingering users go whose time has come, and memories fade (`others`: while other routers are there to act).
    pub(super) fn tick(&mut self, now: Now, others: bool, duty: impl Fn(usize) -> Duty) {
        while self.due.front().is_some_and(|(due_ms, _)| *due_ms <= now.ms) {
            let Some((due_ms, user)) = self.due.pop_front() else { break };
            if self.lingering.get(&*user).is_none_or(|lingering| lingering.due_ms != due_ms) {
                continue;
            }
            if let Some(lingering) = self.lingering.remove(&*user) {
                let duty = duty(token::partition_of_key(&user));
                let then = now.back_to(due_ms);
                self.fact(then, Transition::UserOffline, &user, lingering.position, None, duty);
            }
        }
        if others {
            while self.memory.front().is_some_and(|it| it.at_ms + MEMORY_MS < now.ms) {
                self.memory.pop_front();
            }
        }
    }

    /// What is to be told, for the contrary was told; `view` says where a key is, `voice` whether we may speak of it.
    pub(super) fn settle(
        &mut self,
        now: Now,
        view: impl Fn(Kind, &str) -> View,
        voice: impl Fn(&str) -> Voice,
    ) -> Vec<Amendment> {
        let Self { hearsay, lingering, waiting, .. } = self;
        if !waiting.is_empty() {
            hearsay.wait(now.ms);
        }
        let view = |kind, key: &str| match view(kind, key) {
            View::Gone if kind == Kind::User && lingering.contains_key(key) => View::Unsure,
            view => view,
        };
        hearsay.settle(now.ms, view, voice)
    }

    /// Publishes what is so, where the contrary was told.
    pub(super) fn amend(&mut self, transition: Transition, key: Box<str>, position: Position, unix_ms: u64) {
        self.publish(Fact { transition, key, position, count: None, unix_ms });
    }

    /// Lets no lingering user go before then.
    pub(super) fn hold_off(&mut self, until_ms: u64) {
        for (due_ms, _) in &mut self.due {
            *due_ms = (*due_ms).max(until_ms);
        }
        for lingering in self.lingering.values_mut() {
            lingering.due_ms = lingering.due_ms.max(until_ms);
        }
    }

    /// Publishes what is remembered of keys that are ours now, from `since_ms` on; they are forgotten. Of what happened
    /// before, it was for others to tell: where we cannot know whether they did, it is told unless it is heard.
    pub(super) fn take_over(&mut self, now_ms: u64, since_ms: u64, ours: impl Fn(usize) -> bool) {
        for it in std::mem::take(&mut self.memory) {
            let Memory { at_ms, fact, is_followed } = it;
            if !ours(token::partition_of_key(&fact.key)) {
                self.memory.push_back(Memory { at_ms, fact, is_followed });
            } else if at_ms >= since_ms {
                self.publish(fact);
            } else if let Some((kind, is_there)) = state_after(fact.transition).filter(|_| !is_followed) {
                self.hearsay.doubt(now_ms, kind, &fact.key, is_there, (fact.position, fact.unix_ms));
            }
        }
    }

    /// Users of our keys that linger, for those who came later than they went.
    pub(super) fn lingering(&self, now_ms: u64, ours: impl Fn(usize) -> bool) -> Vec<Told> {
        let told = |user: &str, it: &Lingering| {
            let Position { node, seq, cause } = it.position;
            Told { user: user.into(), left_ms: it.due_ms.saturating_sub(now_ms), node, seq, cause }
        };
        let ours = self.lingering.iter().filter(|(user, _)| ours(token::partition_of_key(user)));
        ours.take(LINGERING_MAX).map(|(user, it)| told(user, it)).collect()
    }

    /// Lets users linger of whom another router told. Who is there again meanwhile never went: nothing is remembered of
    /// their coming.
    pub(super) fn inherit_lingering(&mut self, now: Now, told: &[Told], is_there: impl Fn(&str) -> bool) {
        for Told { user, left_ms, node, seq, cause } in told {
            let user = user.as_str();
            if is_there(user) {
                self.memory.retain(|it| it.fact.transition != Transition::UserOnline || *it.fact.key != *user);
            } else if !self.lingering.contains_key(user) && self.lingering.len() < LINGERING_MAX {
                let due_ms = now.ms + (*left_ms).min(self.linger_ms);
                let position = Position { node: *node, seq: *seq, cause: *cause };
                self.lingering.insert(Box::from(user), Lingering { due_ms, position });
                self.due.push_back((due_ms, Box::from(user)));
            }
        }
        if !told.is_empty() {
            self.due.make_contiguous().sort_by_key(|(due_ms, _)| *due_ms);
        }
    }

    /// Whether what is published is to be noted, from now on.
    pub(super) fn log(&mut self, is_wanted: bool) {
        if self.log.is_some() != is_wanted {
            self.log = is_wanted.then(VecDeque::new);
        }
    }

    /// Hashes of the last facts that were noted, at most so many.
    pub(super) fn logged(&self, limit: usize) -> Vec<u64> {
        self.log.iter().flatten().rev().take(limit).copied().collect()
    }

    /// Publishes what is remembered of keys whose owner has handed over, from `since_ms` on, but for what that one has
    /// published.
    pub(super) fn inherit(&mut self, now_ms: u64, since_ms: u64, published: &[u64], ours: impl Fn(usize) -> bool) {
        let published: HashSet<u64, FixedState> = published.iter().copied().collect();
        self.memory.retain(|it| it.at_ms < since_ms || !published.contains(&it.fact.hash()));
        self.take_over(now_ms, since_ms, ours);
    }

    /// Hands out at most `limit` facts to publish.
    pub(super) fn drain(&mut self, subjects: &Subjects, limit: usize, actions: &mut Vec<Action>) -> usize {
        let count = limit.min(self.waiting.len());
        for fact in self.waiting.drain(..count) {
            let Position { node, cause, .. } = fact.position;
            let key = &*fact.key;
            let (user, room) = match fact.transition {
                Transition::ConnectionOpened
                | Transition::ConnectionClosed
                | Transition::UserOnline
                | Transition::UserOffline => (Some(key), None),
                Transition::RoomOccupied | Transition::RoomVacated | Transition::RoomJoined | Transition::RoomLeft => {
                    (None, Some(key))
                }
                Transition::NodeLost => (None, None),
            };
            let body = FactBody {
                id: &fact.id(),
                time: &rfc3339(fact.unix_ms),
                node: Some(node),
                cause,
                user,
                room,
                connection: None,
                count: fact.count,
            };
            let subject = subjects.event(fact.transition.subject(), key);
            actions.push(Action::Fact { subject, body: Bytes::from(body.encode()) });
        }
        count
    }

    /// Whether facts wait to be published.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the number of facts dropped because too many waited.
    pub(super) const fn take_dropped(&mut self) -> u64 {
        std::mem::replace(&mut self.dropped, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { ms, unix_ms: 1_700_000_000_000 + ms }
    }

    fn position(seq: u64) -> Position {
        Position { node: NodeId::gateway([1; 8]), seq, cause: Cause::Connect }
    }

    fn presence() -> Presence {
        Presence::new(5_000, 100, 1)
    }

    fn drained(presence: &mut Presence) -> Vec<String> {
        let mut actions = Vec::new();
        presence.drain(&Subjects::new("hf"), usize::MAX, &mut actions);
        actions
            .into_iter()
            .map(|action| match action {
                Action::Fact { subject, .. } => subject,
                other => panic!("not a fact: {other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_user_is_offline_only_after_the_linger() {
        let mut presence = presence();
        presence.user_came(at(0), "u", position(1), Duty::Publish);
        presence.user_went(at(100), "u", position(2));
        presence.tick(at(5_099), false, |_| Duty::Publish);
        assert_eq!(drained(&mut presence), ["hf.event.user.online.u"]);
        assert!(presence.is_lingering("u"));

        presence.tick(at(5_100), false, |_| Duty::Publish);

        assert_eq!(drained(&mut presence), ["hf.event.user.offline.u"]);
        assert!(!presence.is_lingering("u"));
    }

    #[test]
    fn one_who_comes_back_in_time_never_went() {
        let mut presence = presence();
        presence.user_came(at(0), "u", position(1), Duty::Publish);
        presence.user_went(at(100), "u", position(2));
        presence.user_came(at(200), "u", position(3), Duty::Publish);
        presence.user_went(at(300), "u", position(4));

        presence.tick(at(5_200), false, |_| Duty::Publish);
        assert_eq!(drained(&mut presence), ["hf.event.user.online.u"], "the first going is forgotten");
        presence.tick(at(5_300), false, |_| Duty::Publish);
        assert_eq!(drained(&mut presence), ["hf.event.user.offline.u"]);
    }

    #[test]
    fn who_comes_later_hears_of_those_that_linger() {
        let (mut old, mut new) = (presence(), presence());
        old.user_went(at(100), "gone", position(2));
        old.user_went(at(200), "back", position(3));
        new.user_went(at(3_000), "other", position(1));
        new.user_came(at(4_000), "back", position(4), Duty::Remember);

        let told = old.lingering(4_100, |_| true);
        new.inherit_lingering(at(4_100), &told, |user| user == "back");
        new.take_over(2_000, 0, |_| true);
        new.tick(at(5_099), true, |_| Duty::Publish);
        assert_eq!(drained(&mut new), [""; 0], "who is back never went");

        new.tick(at(5_100), true, |_| Duty::Publish);
        assert_eq!(drained(&mut new), ["hf.event.user.offline.gone"]);
        new.tick(at(8_000), true, |_| Duty::Publish);
        assert_eq!(drained(&mut new), ["hf.event.user.offline.other"]);
        assert!(old.lingering(4_100, |_| false).is_empty());
    }

    #[test]
    fn what_was_seen_while_joining_and_was_for_another_to_tell_is_told_unless_it_is_heard() {
        for is_heard in [false, true] {
            let mut presence = presence();
            presence.hearsay.heard(500, Kind::Room, "other", (true, true), || None);
            presence.hearsay.begin_anew(500);
            presence.room_changed(at(1_000), "r", (0, 1), false, position(7), Duty::Remember);
            presence.hearsay.follow(600, true);
            presence.take_over(2_000, 1_400, |_| true);
            assert_eq!(drained(&mut presence), [""; 0], "its owner lived on for a while");
            if is_heard {
                presence.hearsay.heard(2_100, Kind::Room, "r", (true, true), || None);
            }

            let there = |_: Kind, _: &str| View::There(NodeId::gateway([1; 8]));
            assert_eq!(presence.settle(at(3_400), there, |_| Voice::Owner), [], "it may come yet");
            let amended = presence.settle(at(4_000), there, |_| Voice::Owner);

            let positions: Vec<_> = amended.iter().map(|amendment| amendment.ours).collect();
            let untold = [Some((position(7), at(1_000).unix_ms))];
            assert_eq!(positions, if is_heard { &[][..] } else { &untold[..] });
        }
    }

    #[test]
    fn who_was_said_to_be_gone_lingers_no_more_whatever_a_late_word_says() {
        let told =
            |left_ms| [Told { user: "u".into(), left_ms, node: position(2).node, seq: 2, cause: Cause::Connect }];
        for is_told_first in [false, true] {
            let mut presence = presence();
            presence.user_went(at(0), "u", position(2));
            if is_told_first {
                presence.tick(at(5_000), true, |_| Duty::Remember);
            }
            // What another said before this one stood still.
            presence.inherit_lingering(at(5_000), &told(2_851), |_| false);
            presence.tick(at(5_000), true, |_| Duty::Remember);
            presence.take_over(2_000, 0, |_| true);
            assert_eq!(drained(&mut presence), ["hf.event.user.offline.u"], "{is_told_first}");

            presence.user_came(at(6_000), "u", position(3), Duty::Publish);

            assert_eq!(drained(&mut presence), ["hf.event.user.online.u"], "{is_told_first}");
        }
    }

    #[test]
    fn who_went_again_lingers_whatever_is_told_of_before() {
        let mut presence = presence();
        presence.user_went(at(0), "u", position(2));
        presence.tick(at(5_000), true, |_| Duty::Remember);
        presence.user_came(at(5_100), "u", position(3), Duty::Remember);
        presence.user_went(at(5_200), "u", position(4));

        presence.take_over(2_000, 0, |_| true);
        presence.tick(at(10_200), true, |_| Duty::Publish);

        let told = ["hf.event.user.offline.u", "hf.event.user.online.u", "hf.event.user.offline.u"];
        assert_eq!(drained(&mut presence), told);
    }

    #[test]
    fn rooms_have_no_linger_and_tell_each_change_where_announced() {
        let mut presence = presence();
        presence.room_changed(at(0), "r", (0, 1), true, position(1), Duty::Publish);
        presence.room_changed(at(0), "r", (1, 2), true, position(2), Duty::Publish);
        presence.room_changed(at(0), "r", (2, 0), true, position(3), Duty::Publish);
        presence.room_changed(at(0), "s", (0, 3), false, position(4), Duty::Publish);

        assert_eq!(
            drained(&mut presence),
            [
                "hf.event.room.occupied.r",
                "hf.event.room.joined.r",
                "hf.event.room.joined.r",
                "hf.event.room.left.r",
                "hf.event.room.vacated.r",
                "hf.event.room.occupied.s",
            ]
        );
    }

    #[test]
    fn facts_of_a_dead_owner_are_taken_over_from_when_it_was_last_heard() {
        let mut presence = presence();
        presence.room_changed(at(1_000), "old", (0, 1), false, position(1), Duty::Remember);
        presence.room_changed(at(2_000), "new", (0, 1), false, position(2), Duty::Remember);
        assert_eq!(drained(&mut presence), [""; 0]);

        presence.take_over(2_000, 1_500, |_| true);

        assert_eq!(drained(&mut presence), ["hf.event.room.occupied.new"]);
        presence.take_over(2_000, 0, |_| true);
        assert_eq!(drained(&mut presence), [""; 0], "once");
    }

    #[test]
    fn memories_fade_while_others_act() {
        let mut presence = presence();
        presence.room_changed(at(0), "r", (0, 1), false, position(1), Duty::Remember);
        presence.tick(at(60_000), false, |_| Duty::Publish);
        presence.tick(at(60_001), true, |_| Duty::Publish);
        presence.take_over(2_000, 0, |_| true);
        assert_eq!(drained(&mut presence), [""; 0]);
    }

    #[test]
    fn too_many_facts_drop_the_oldest_and_are_counted() {
        let mut presence = presence();
        for n in 0..103 {
            presence.room_changed(at(0), &format!("r{n}"), (0, 1), false, position(1), Duty::Publish);
        }
        assert_eq!(presence.take_dropped(), 3);
        assert_eq!(drained(&mut presence).first().map(String::as_str), Some("hf.event.room.occupied.r3"));
    }
}
