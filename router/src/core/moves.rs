//! Orderly moves as this router takes part in them: when it comes and goes, what it does with steps and reports, and what
//! it tells its heirs. What a move is: [`handover`].

use holdfast_protocol::id::NodeId;
use holdfast_protocol::token;
use holdfast_protocol::wire::{HandedOver, Handled, Item, Lane, Move, MoveStep, RouterBound};

use super::event::{Action, Now, Request};
use super::handover::{self, Decision, Message, Mover};
use super::settings::{BEAT_INTERVAL_MS, OWNERS_DIFFER_MS, OWNERS_HEARD_MS, OWNERS_UNSURE_MS};
use super::tally::Dropped;
use super::{Phase, Router};

/// Fingerprints in one report.
const KEYS_MAX: usize = 4_096;
/// Users that linger in one.
const LINGERING_MAX: usize = 1_024;
/// Facts named in one.
const FACTS_MAX: usize = 2_048;
/// A bound on an encoded item that names a packet.
const AFTER_BYTES_MAX: usize = 32;

impl Router {
    /// Whether a message is ours to handle now.
    pub(super) fn is_for_us(&mut self, now: Now, kind: Lane, partition: usize, request: &Request<'_>) -> bool {
        if self.handover.replaying {
            return true;
        }
        match self.handover.lane_mut(kind).decide(now, partition, request, handover::fingerprint) {
            Decision::Handle => true,
            Decision::Ignore | Decision::Second | Decision::Keep { full: None } => false,
            Decision::Keep { full: Some(former) } => {
                let mut released = Vec::new();
                self.handover.lane_mut(kind).give_up_waiting(former, &mut released);
                self.release(kind, released);
                false
            }
        }
    }

    fn release(&mut self, kind: Lane, messages: Vec<Message>) {
        self.handover.released.extend(messages.into_iter().map(|message| (kind, message)));
    }

    /// Handles what was kept and is ours now.
    pub(super) fn handle_released(&mut self, now: Now) {
        if self.handover.released.is_empty() || self.handover.replaying || !self.is_able(now) {
            return;
        }
        self.handover.replaying = true;
        while let Some((kind, message)) = self.handover.released.pop_front() {
            let headers: Vec<(&str, &str)> = message.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
            let headers: &[(&str, &str)] = &headers;
            let reply = message.reply.as_deref();
            let request = Request { subject: &message.subject, reply, headers: &headers, payload: &message.payload };
            let at = Now { ms: now.ms, unix_ms: message.unix_ms };
            match kind {
                Lane::Send | Lane::Section => self.on_send(at, kind, request),
                Lane::Ctl => self.on_ctl(at, request),
            }
        }
        self.handover.replaying = false;
    }

    // --- what others say ---

    /// A step of a move, our own among them.
    pub(super) fn on_step(&mut self, now: Now, kind: Lane, payload: &[u8]) {
        let Ok(step) = Move::decode(bytes::Bytes::copy_from_slice(payload)) else {
            self.tally.drop(Dropped::Step, 1);
            return;
        };
        let mut released = Vec::new();
        self.handover.lane_mut(kind).step(now.ms, &step, &mut released);
        self.release(kind, released);
        if step.mover == self.me
            && let Some(mover) = &mut self.handover.mover
        {
            mover.heard(kind, step.number, step.step, now.ms);
        }
        self.presence.log(!self.handover.is_quiet());
        self.drive_move(now);
        self.handle_released(now);
    }

    /// A former owner of what is to be ours tells what it has handled.
    pub(super) fn on_handled(&mut self, now: Now, handled: Handled) {
        let (kind, from, id) = (handled.lane, handled.from, (handled.mover, handled.number));
        let table = &self.table;
        let is_there = |user: &str| !table.nodes_of_user(token::partition_of_key(user), user).is_empty();
        self.presence.inherit_lingering(now, &handled.lingering, is_there);
        if let Some(end) = &handled.end {
            let term = self.membership.term();
            for (node, number) in &end.packets {
                if let Some(slot) = self.fleet.slot(*node)
                    && *number > 0
                {
                    let item = Item::After { router: from, number: *number };
                    self.fleet.pack(slot, AFTER_BYTES_MAX, term, &mut self.actions, |packet| packet.push(&item));
                }
            }
            if kind == Lane::Ctl
                && let Some((since_ms, partitions)) = self.handover.lane(kind).inherited_from(id, from)
            {
                self.presence.inherit(now.ms, since_ms, &end.facts, |partition| partitions & 1 << partition != 0);
            }
        }
        let mut released = Vec::new();
        self.handover.lane_mut(kind).on_handled(now.ms, handled, &mut released);
        self.release(kind, released);
        self.handle_released(now);
    }

    /// Routers that went. Returns whether partitions became ours by it.
    pub(super) fn lose_routers(&mut self, now: Now, gone: &[(NodeId, bool)]) -> u64 {
        let before = self.handover.lane(Lane::Ctl).mine();
        for (router, is_through) in gone {
            for &kind in self.handover.kinds() {
                let lane = self.handover.lane_mut(kind);
                if *is_through && lane.orphan(now.ms, *router) {
                    continue;
                }
                let mut released = Vec::new();
                lane.lose(now.ms, *router, &mut released);
                self.release(kind, released);
            }
        }
        self.handover.lane(Lane::Ctl).mine() & !before
    }

    /// Tells heirs what was handled. To be called when the packets of it have been handed over.
    pub(super) fn tell_heirs(&mut self, now: Now) {
        for &kind in self.handover.kinds() {
            for told in self.handover.lane_mut(kind).tell() {
                let mut end = told.is_last.then(|| HandedOver {
                    packets: self.fleet.packets().collect(),
                    facts: if kind == Lane::Ctl { self.presence.logged(FACTS_MAX) } else { Vec::new() },
                });
                let ours = told.first.filter(|_| kind == Lane::Ctl).unwrap_or_default();
                let lingering = self.presence.lingering(now.ms, |partition| ours & 1 << partition != 0);
                let (mover, number) = told.id;
                let (mut keys, mut users) = (told.keys.chunks(KEYS_MAX), lingering.chunks(LINGERING_MAX));
                loop {
                    let (keys_now, users_now) = (keys.next().unwrap_or_default(), users.next().unwrap_or_default());
                    let is_last = keys.len() == 0 && users.len() == 0;
                    let end = if is_last { end.take() } else { None };
                    let (keys, lingering) = (keys_now.to_vec(), users_now.to_vec());
                    let handled = Handled { from: self.me, mover, number, lane: kind, keys, lingering, end };
                    let payload = RouterBound::Handled(handled).encode();
                    for heir in &told.heirs {
                        let subject = self.settings.subjects.router(*heir);
                        self.actions.push(Action::Publish { subject, payload: payload.clone() });
                    }
                    if is_last {
                        break;
                    }
                }
            }
        }
    }

    // --- our own coming and going ---

    /// What time brings for moves.
    pub(super) fn tick_moves(&mut self, now: Now) {
        for &kind in self.handover.kinds() {
            let mut released = Vec::new();
            self.handover.lane_mut(kind).expire(now.ms, &mut released);
            self.release(kind, released);
        }
        self.presence.log(!self.handover.is_quiet());
        self.drive_move(now);
        self.handle_released(now);
    }

    /// Takes the next step of our own move, or begins one where it is time.
    fn drive_move(&mut self, now: Now) {
        if !self.is_able(now) {
            return;
        }
        if self.handover.mover.is_some() {
            self.go_on_moving(now);
            return;
        }
        let owners = self.handover.owners();
        let is_owner = owners.contains(&self.me);
        let wants = match self.phase {
            Phase::Live => !is_owner && self.membership.is_heard_live(),
            Phase::Leaving { .. } => is_owner && owners.len() > 1,
            Phase::Away | Phase::Joining { .. } | Phase::Left => false,
        };
        if !wants {
            self.handover.wanted_since_ms = None;
            self.compare_owners(now, owners, is_owner);
            return;
        }
        let since_ms = *self.handover.wanted_since_ms.get_or_insert(now.ms);
        if !is_owner && self.membership.declared().next().is_none() {
            self.own_directly(now, &[self.me]);
        } else if now.ms >= self.handover.not_before_ms.max(since_ms + OWNERS_HEARD_MS) && self.handover.is_quiet() {
            self.begin_move(now, owners, now.ms >= since_ms + OWNERS_UNSURE_MS);
        }
    }

    fn begin_move(&mut self, now: Now, owners: Vec<NodeId>, is_urgent: bool) {
        let me = self.me;
        let is_owner = owners.contains(&me);
        let before = if is_owner {
            owners
        } else {
            // Who comes takes the owners from those who are there.
            self.membership.declared().next().map(|(_, owners)| owners.to_vec()).unwrap_or_default()
        };
        let agreed = self.membership.declared().all(|(_, owners)| owners == before);
        if (!agreed || self.membership.others_move()) && !is_urgent {
            return;
        }
        let before =
            if agreed || is_owner { before } else { self.membership.declared().map(|(router, _)| router).collect() };
        let mut after: Vec<NodeId> = before.iter().copied().filter(|router| *router != me).collect();
        if !is_owner {
            self.handover.set_owners(&before);
            after.push(me);
            after.sort_unstable();
        }
        self.handover.number += 1;
        self.handover.mover = Some(Mover::new(self.handover.number, (before, after), self.handover.kinds(), now.ms));
        self.tell_step(MoveStep::Count);
    }

    fn go_on_moving(&mut self, now: Now) {
        let alone = self.handover.owners().is_empty();
        let Some(mover) = &mut self.handover.mover else { return };
        let id = (self.me, mover.number);
        let Some(mut step) = mover.next(now.ms) else {
            if mover.is_over() {
                self.handover.mover = None;
            } else if alone && mover.can_cancel() {
                // All others are gone: there is nothing to be handed over.
                self.tell_step(MoveStep::Cancel);
                self.handover.mover = None;
                self.own_directly(now, &[self.me]);
            }
            return;
        };
        if step == MoveStep::Start && self.handover.kinds().iter().any(|kind| self.handover.lane(*kind).yields(id)) {
            step = MoveStep::Cancel;
        }
        if let Some(mover) = &mut self.handover.mover {
            mover.tell(step, now.ms);
        }
        self.tell_step(step);
        match step {
            MoveStep::Cancel => {
                self.handover.mover = None;
                self.handover.not_before_ms = now.ms + BEAT_INTERVAL_MS;
            }
            MoveStep::Close => self.handover.mover = None,
            MoveStep::End => self.tally.moves += 1,
            MoveStep::Count | MoveStep::Ready | MoveStep::Start => {}
        }
    }

    fn tell_step(&mut self, step: MoveStep) {
        let Some(mover) = &self.handover.mover else { return };
        let (before, after) = mover.sets.clone();
        let payload = Move { mover: self.me, number: mover.number, step, before, after }.encode();
        for kind in self.handover.kinds() {
            for subject in self.handover.subjects(*kind) {
                self.actions.push(Action::Publish { subject: subject.clone(), payload: payload.clone() });
            }
        }
    }

    /// Where others name other owners than we know for longer than any move takes, a step was lost: theirs counts. Two
    /// that began each alone, in two parts of the bus, know nothing of each other: the first gives the other up.
    fn compare_owners(&mut self, now: Now, owners: Vec<NodeId>, is_owner: bool) {
        if !self.handover.is_quiet() {
            self.handover.differs_since_ms = None;
            return;
        }
        let me = self.me;
        let mut named: Vec<NodeId> = self.membership.declared().map(|(router, _)| router).collect();
        let is_strange =
            |(router, theirs): (NodeId, &[NodeId])| is_owner && !owners.contains(&router) && !theirs.contains(&me);
        let stranger = self.membership.declared().find(|it| is_strange(*it)).map(|(router, _)| router);
        if let Some(stranger) = stranger.filter(|stranger| me < *stranger) {
            let outcome = self.membership.fence(stranger);
            self.follow(now, &outcome);
            return;
        }
        if is_owner {
            named.push(me);
        }
        named.sort_unstable();
        if named == owners || !matches!(self.phase, Phase::Live | Phase::Leaving { .. }) {
            self.handover.differs_since_ms = None;
            return;
        }
        let since_ms = *self.handover.differs_since_ms.get_or_insert(now.ms);
        if now.ms >= since_ms + OWNERS_DIFFER_MS {
            self.tally.moves_unordered += 1;
            self.own_directly(now, &named);
        }
    }

    /// Takes the owners as they are, without a move.
    pub(super) fn own_directly(&mut self, now: Now, owners: &[NodeId]) {
        let before = self.handover.lane(Lane::Ctl).mine();
        self.handover.set_owners(owners);
        self.handover.differs_since_ms = None;
        let gained = self.handover.lane(Lane::Ctl).mine() & !before;
        let since_ms = now.ms.saturating_sub(OWNERS_DIFFER_MS);
        self.presence.take_over(now.ms, since_ms, |partition| gained & 1 << partition != 0);
    }
}
