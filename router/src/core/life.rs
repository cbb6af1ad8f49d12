//! The life of a router: joining, being live, being cut off, leaving; and what passes with time.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token;
use holdfast_protocol::wire::{Discover, Lane, NodeBound, RouterBeat, RouterState};

use super::event::{Action, Now};
use super::membership::{Change, Outcome};
use super::ownership::Gained;
use super::presence::Duty;
use super::settings::{BEAT_INTERVAL_MS, FIRST_WAIT_MS, HANDOVER_MS, HOLD_MAX_MS, JOIN_WAIT_MS, LEAVE_MAX_MS};
use super::sync::{Reason, Sync};
use super::tally::Dropped;
use super::{Phase, Router};

/// How far back facts of a dead owner are repeated before it was last heard: what it may not have sent any more.
const FACTS_REPEATED_MS: u64 = 300;

/// Our voice may be missing for so long before that is noticed.
const HOLD_NOTICED_MS: u64 = 50;

impl Router {
    pub(super) fn bus_up(&mut self, now: Now, max_payload: usize) {
        self.fleet.set_max_payload(max_payload);
        self.join(now);
    }

    pub(super) fn bus_down(&mut self, now: Now) {
        match self.phase {
            Phase::Live | Phase::Leaving { .. } => {
                self.stop(now);
                self.phase = if self.phase == Phase::Live { Phase::Away } else { Phase::Left };
                if self.phase == Phase::Left {
                    self.actions.push(Action::Left);
                }
            }
            Phase::Joining { .. } => self.phase = Phase::Away,
            Phase::Away | Phase::Left => {}
        }
    }

    /// Starts over: asks all nodes for their rosters. What the mirror holds stays until better is known.
    fn join(&mut self, now: Now) {
        self.phase = Phase::Joining { since_ms: now.ms };
        self.membership.restart(now.ms);
        self.own_nothing(now);
        self.presence.hearsay.begin_anew(now.ms);
        self.fleet.pardon(now.ms);
        self.fleet.forget_heard();
        for node in self.fleet.iter_mut() {
            node.sync = Sync::wait(now.ms, now.ms, Reason::New);
        }
        self.actions.push(Action::Discover(Discover { router: self.me }.encode()));
        self.send_beat(now);
    }

    /// Forgets our partitions, but not whose they are now.
    fn own_nothing(&mut self, now: Now) {
        self.ownership.clear();
        self.ownership.change(now.ms, &self.membership.sharing());
    }

    /// Stops handling at once; what is held is thrown away and counted.
    fn stop(&mut self, now: Now) {
        self.tally.fenced += 1;
        self.holding_since_ms = None;
        // What was full before the turn's end, or held.
        self.actions.retain(|action| matches!(action, Action::Beat(_) | Action::Ping(_)));
        let packed = self.fleet.discard();
        self.tally.drop(Dropped::PacketCutOff, u64::from(packed > 0));
        self.tally.drop(Dropped::ReceiptCutOff, self.receipts.discard() as u64);
        self.tally.drop(Dropped::QueryCutOff, self.questions.discard() as u64);
        self.tally.drop(Dropped::InheritedCutOff, self.handover.discard() as u64);
        self.stream.cut_off();
        self.membership.restart(now.ms);
        self.own_nothing(now);
        self.actions.push(Action::CloseWork);
    }

    /// Looks whether our voice still comes back. While it does not, nothing is handled and what is in hand is held, for
    /// it may have been this machine that stood still, and not the bus: then our fresh beat is back at once, and we go on.
    /// Who gave us up meanwhile has said so on the same subject before: then we stop, as when nothing comes back at all.
    pub(super) fn listen_for_ourselves(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Live | Phase::Leaving { .. }) {
            return;
        }
        match (self.is_proven(now), self.holding_since_ms) {
            (true, None) => {}
            (true, Some(since_ms)) => {
                self.holding_since_ms = None;
                self.membership.pardon(now.ms);
                self.fleet.pardon(now.ms);
                // What happened meanwhile to keys of ours is still ours to tell.
                let (since_ms, lane) = (since_ms.saturating_sub(HOLD_NOTICED_MS), self.handover.lane(Lane::Ctl));
                self.presence.take_over(now.ms, since_ms, |partition| lane.speaks(partition));
            }
            (false, None) => {
                self.holding_since_ms = Some(now.ms);
                self.tally.holds += 1;
                self.send_beat(now);
            }
            (false, Some(since_ms)) if now.ms >= since_ms + HOLD_MAX_MS => self.stop_and_rejoin(now),
            (false, Some(_)) => {}
        }
    }

    fn stop_and_rejoin(&mut self, now: Now) {
        let leaving = matches!(self.phase, Phase::Leaving { .. });
        self.stop(now);
        if leaving {
            self.left(now);
        } else {
            self.join(now);
        }
    }

    pub(super) fn on_router_beat(&mut self, now: Now, beat: &RouterBeat) {
        if self.phase == Phase::Away {
            return;
        }
        let outcome = self.membership.hear(now.ms, beat);
        self.follow(now, &outcome);
    }

    /// Does what a change among the routers asks for.
    pub(super) fn follow(&mut self, now: Now, outcome: &Outcome) {
        if outcome.fenced && matches!(self.phase, Phase::Live | Phase::Leaving { .. }) {
            self.stop_and_rejoin(now);
            return;
        }
        let inherited = self.lose_routers(now, &outcome.gone);
        if let Some(heard_ms) = outcome.crashed_heard_ms {
            self.presence.hearsay.suspect_lately(now.ms);
            let since_ms = heard_ms.saturating_sub(FACTS_REPEATED_MS);
            self.presence.take_over(now.ms, since_ms, |partition| inherited & 1 << partition != 0);
        }
        self.handle_released(now);
        if outcome.change.is_none() && outcome.gone.is_empty() {
            return;
        }
        let gained = self.ownership.change(now.ms, &self.membership.sharing());
        if outcome.change == Some(Change::Crash) {
            // The one we gave up must hear of it before it hears itself again, and so must the nodes.
            self.send_beat(now);
        }
        if gained.is_empty() {
            return;
        }
        self.tally.partition_moves += gained.len() as u64;
        self.take_over(now, &gained);
        self.forward_recent(now, &gained);
    }

    /// Sees to what the former owner of our new partitions may have left undone.
    fn take_over(&mut self, now: Now, gained: &[Gained]) {
        let mut nobodys = [false; PARTITIONS];
        for Gained { partition, was_nobodys } in gained {
            nobodys[*partition] = *was_nobodys;
        }
        if nobodys.contains(&true) {
            self.presence.take_over(now.ms, 0, |partition| nobodys[partition]);
        }
        for Gained { partition, .. } in gained {
            let users: Vec<Box<str>> = self.table.contested(*partition).map(Box::from).collect();
            for user in users {
                self.contest(now, *partition, &user);
            }
        }
    }

    /// Whether the mirror is whole: our voice is heard, and each node that was heard has told its roster.
    fn is_whole(&self, now: Now, since_ms: u64) -> bool {
        now.ms >= since_ms + JOIN_WAIT_MS
            && self.is_proven(now)
            && self.fleet.iter().all(|(_, node)| node.sync.is_whole() || !node.heard_since_join)
    }

    /// Whether nobody goes first: two that begin at the same time, each alone, would both own everything for a moment.
    fn may_begin(&self, now: Now, since_ms: u64) -> bool {
        self.membership.has_live_peer()
            || !self.membership.joins_before_us(now.ms)
            || now.ms >= since_ms + JOIN_WAIT_MS + FIRST_WAIT_MS
    }

    fn go_live(&mut self, now: Now) {
        self.phase = Phase::Live;
        if !std::mem::replace(&mut self.was_whole, true) {
            self.recollect(now);
        }
        self.presence.hearsay.follow(now.ms, self.membership.has_live_peer());
        self.actions.push(Action::OpenWork);
        if !self.membership.has_live_peer() {
            // Nobody else would handle what comes before our beat is back.
            let outcome = self.membership.assume_live();
            if self.membership.declared().next().is_none() {
                self.handover.set_owners(&[self.me]);
            }
            self.follow(now, &outcome);
        }
        self.send_beat(now);
    }

    pub(super) fn on_leave(&mut self, now: Now) {
        match self.phase {
            Phase::Live => {
                self.phase = Phase::Leaving { since_ms: now.ms };
                self.send_beat(now);
            }
            Phase::Away | Phase::Joining { .. } => self.left(now),
            Phase::Leaving { .. } | Phase::Left => {}
        }
    }

    fn left(&mut self, now: Now) {
        // A last beat as one that joins: nodes need not wait for our acknowledgements any more.
        let beat = self.membership.beat(now.ms, RouterState::Joining, (Vec::new(), false), None);
        if self.phase != Phase::Away {
            self.fleet.flush(self.membership.term(), None, &mut self.actions);
            self.tell_heirs(now);
            self.actions.push(Action::Beat(beat.encode()));
        }
        self.phase = Phase::Left;
        self.actions.push(Action::Left);
    }

    /// Whether nothing is ours any more, or nobody is there to take it.
    fn has_handed_over(&self, now: Now, since_ms: u64) -> bool {
        if !self.handover.is_told() {
            return false;
        }
        let owners = self.handover.owners();
        if self.membership.has_live_peer() {
            self.ownership.idle(now.ms) && !owners.contains(&self.me)
        } else {
            (owners == [self.me] || !owners.contains(&self.me)) && now.ms >= since_ms + HANDOVER_MS
        }
    }

    fn send_beat(&mut self, now: Now) {
        self.beat_ms = now.ms;
        let state = self.announced_state();
        let owners = (self.handover.owners(), !self.handover.is_quiet());
        let mut beat = self.membership.beat(now.ms, state, owners, self.stream.sent());
        beat.capacity = self.fleet.capacity(now.ms);
        self.actions.push(Action::Beat(beat.encode()));
    }

    pub(super) fn on_tick(&mut self, now: Now) {
        if self.phase == Phase::Away {
            return;
        }
        self.listen_for_ourselves(now);
        if now.ms >= self.beat_ms + BEAT_INTERVAL_MS {
            self.send_beat(now);
        }
        if self.holding_since_ms.is_none() {
            // While we do not hear ourselves, the silence of others may be ours.
            let outcome = self.membership.tick(now.ms);
            self.follow(now, &outcome);
            self.watch_nodes(now);
            if self.is_able(now) {
                self.see_to_holes(now);
                self.fleet.show_numbers(now.ms, self.membership.term(), &mut self.actions);
            }
            self.tick_moves(now);
        }
        self.tell_gone(now);
        self.expire(now);
        match self.phase {
            Phase::Joining { since_ms }
                if self.is_whole(now, since_ms)
                    && self.may_begin(now, since_ms)
                    && !self.membership.is_misfit(now.ms) =>
            {
                self.go_live(now);
            }
            Phase::Leaving { since_ms } => {
                let done = self.has_handed_over(now, since_ms) && self.receipts.is_empty();
                if done || now.ms >= since_ms + LEAVE_MAX_MS {
                    self.actions.push(Action::CloseWork);
                    self.left(now);
                }
            }
            Phase::Away | Phase::Joining { .. } | Phase::Live | Phase::Left => {}
        }
    }

    /// Pings, gives up, and asks again.
    fn watch_nodes(&mut self, now: Now) {
        let silence = self.fleet.silence(now.ms, self.settings.node_timeout_ms);
        self.actions.extend(silence.ping.into_iter().map(Action::Ping));
        for slot in silence.lost {
            self.lose_node(now, slot);
        }
        let me = self.me;
        for node in self.fleet.iter_mut() {
            if let Sync::Waiting(waiting) = &mut node.sync
                && waiting.ask_again(now.ms)
            {
                self.actions.push(Action::ToNode(node.id, NodeBound::SnapshotAsk { router: me }.encode()));
            }
        }
    }

    fn expire(&mut self, now: Now) {
        while let Some(closed) = self.receipts.expire(now.ms, &mut self.actions) {
            self.count_receipt(closed);
        }
        let bytes_max = self.fleet.max_payload();
        while self.questions.expire(now.ms, bytes_max, &mut self.actions) {
            self.tally.queries += 1;
        }
        let (able, lane) = (self.is_able(now), self.handover.lane(Lane::Ctl));
        let duty = |partition| if able && lane.speaks(partition) { Duty::Publish } else { Duty::Remember };
        self.presence.tick(now, self.membership.has_live_peer(), duty);
        self.tally.drop(Dropped::Fact, self.presence.take_dropped());
        self.amend(now);
        self.contest_again(now);
    }

    pub(super) fn on_node_answered(&mut self, now: Now, node: NodeId) {
        if let Some(slot) = self.fleet.slot(node) {
            self.fleet.note_life(now.ms, slot);
        }
    }

    pub(super) fn on_node_missing(&mut self, now: Now, node: NodeId) {
        // Only where it is overdue: an answer to an older ping must not kill one that is back.
        if let Some(slot) = self.fleet.slot(node)
            && self.fleet.is_overdue(now.ms, slot)
        {
            self.lose_node(now, slot);
        }
    }

    fn lose_node(&mut self, now: Now, slot: super::table::Slot) {
        let Some(node) = self.fleet.get(slot) else { return };
        let (id, seq) = (node.id, node.applied);
        self.tally.nodes_lost += 1;
        self.remove_node(now, slot, true);
        if self.was_whole {
            let duty = self.duty(now, token::partition_of_key(id.as_str()));
            self.presence.node_lost(now, id, seq + 1, duty);
        }
    }
}
