//! Routers among themselves: who is live, terms, fences, and whether our own voice still comes back.
//!
//! A router counts for live when its live beats are heard, ourselves included: our own change of state takes effect when
//! our beat that tells of it has come back through the bus, so that all hear it at the same place in the stream.

use std::collections::{BTreeMap, VecDeque};

use holdfast_protocol::id::NodeId;
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{Capacity, Fence, RouterBeat, RouterState};

use super::sections::Sections;
use super::settings::{ROUTER_SILENCE_MS, SELF_SILENCE_MS};

/// Fences that are remembered: routers that crashed and never came back, the oldest forgotten first.
const FENCES_MAX: usize = 64;
/// A router that joins was heard lately: three of its beats.
const JOINING_HEARD_MS: u64 = 300;
/// Beats of ours that may be under way.
const UNDER_WAY_MAX: usize = 64;

/// How the live set changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A router joined or left and said so.
    Orderly,
    /// A router went without a word.
    Crash,
}

#[derive(Debug)]
struct Peer {
    state: RouterState,
    heard_ms: u64,
    /// Who shares the partitions, as it says.
    owners: Vec<NodeId>,
    /// Whether it knows of a move that is under way.
    moving: bool,
}

/// What a beat or the passing of time changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The live set changed, and how.
    pub(super) change: Option<Change>,
    /// Others gave us up: stop, and join anew.
    pub(super) fenced: bool,
    /// When a router that crashed was last heard: what it did not get done since is ours to repeat.
    pub(super) crashed_heard_ms: Option<u64>,
    /// Who is gone, and whether it had said that it was leaving.
    pub(super) gone: Vec<(NodeId, bool)>,
}

/// What is known of the routers.
#[derive(Debug)]
pub(super) struct Membership {
    me: NodeId,
    sections: Sections,
    term: u64,
    /// The highest fence against us that we obeyed.
    obeyed: u64,
    number: u64,
    under_way: VecDeque<(u64, u64)>,
    /// When the last of our beats that came back was sent, and its number.
    proof: Option<(u64, u64)>,
    /// Beats before this number do not count: they are from before we joined anew.
    proof_from: u64,
    heard_of_me: Option<RouterState>,
    peers: BTreeMap<NodeId, Peer>,
    fences: VecDeque<Fence>,
    /// When a router was last heard that shares partitions and says that there are more or fewer sections.
    misfit_ms: Option<u64>,
}

impl Membership {
    /// Knows nobody.
    pub(super) const fn new(me: NodeId, sections: Sections) -> Self {
        Self {
            me,
            sections,
            term: 0,
            obeyed: 0,
            number: 0,
            under_way: VecDeque::new(),
            proof: None,
            proof_from: 1,
            heard_of_me: None,
            peers: BTreeMap::new(),
            fences: VecDeque::new(),
            misfit_ms: None,
        }
    }

    /// The highest term known.
    pub(super) const fn term(&self) -> u64 {
        self.term
    }

    /// Routers that are live, ourselves included where we are.
    pub(super) fn live(&self) -> Vec<NodeId> {
        self.in_state(RouterState::Live)
    }

    /// Who shares what may be done twice: the live ones, and where there is none, those that are leaving.
    pub(super) fn sharing(&self) -> Vec<NodeId> {
        let live = self.live();
        if live.is_empty() { self.in_state(RouterState::Leaving) } else { live }
    }

    fn in_state(&self, state: RouterState) -> Vec<NodeId> {
        let mut routers: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| peer.state == state).map(|(id, _)| *id).collect();
        if self.heard_of_me == Some(state) {
            routers.push(self.me);
            routers.sort_unstable();
        }
        routers
    }

    /// Whether another router is live.
    pub(super) fn has_live_peer(&self) -> bool {
        self.peers.values().any(|peer| peer.state == RouterState::Live)
    }

    /// Whether our beat that says we are live has come back.
    pub(super) fn is_heard_live(&self) -> bool {
        self.heard_of_me == Some(RouterState::Live)
    }

    /// Other routers that say they share the partitions, and with whom.
    pub(super) fn declared(&self) -> impl Iterator<Item = (NodeId, &[NodeId])> {
        self.peers
            .iter()
            .filter(|(router, peer)| peer.state != RouterState::Joining && peer.owners.contains(router))
            .map(|(router, peer)| (*router, &*peer.owners))
    }

    /// Whether another router knows of a move that is under way.
    pub(super) fn others_move(&self) -> bool {
        self.peers.values().any(|peer| peer.moving)
    }

    /// The next beat, with who shares the partitions and how far the stream of kept messages was processed; what the
    /// fleet can take is not known here.
    pub(super) fn beat(
        &mut self,
        now_ms: u64,
        state: RouterState,
        (owners, moving): (Vec<NodeId>, bool),
        kept: Option<Position>,
    ) -> RouterBeat {
        self.number += 1;
        if self.under_way.len() == UNDER_WAY_MAX {
            self.under_way.pop_front();
        }
        self.under_way.push_back((self.number, now_ms));
        RouterBeat {
            router: self.me,
            state,
            number: self.number,
            term: self.term,
            live: owners,
            moving,
            fences: self.fences.iter().copied().collect(),
            kept,
            capacity: Capacity::default(),
            sections: self.sections.count() as u64,
        }
    }

    /// Whether our own voice came back lately, from after the last [`restart`](Self::restart).
    pub(super) fn is_proven(&self, now_ms: u64) -> bool {
        self.proof.is_some_and(|(sent_ms, number)| number >= self.proof_from && now_ms < sent_ms + SELF_SILENCE_MS)
    }

    /// It was us who stood still: nobody is judged for the silence so far.
    pub(super) fn pardon(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            peer.heard_ms = now_ms;
        }
    }

    /// A node refuses what we send below this term: we were given up, and who did that may be gone by now.
    pub(super) fn obey(&mut self, term: u64) -> Outcome {
        let fenced = term > self.term;
        self.term = self.term.max(term);
        self.obeyed = self.obeyed.max(term);
        Outcome { fenced, ..Outcome::default() }
    }

    /// Starts over: nothing of before proves anything, we are not live, and who was silent with us is not judged for it.
    pub(super) fn restart(&mut self, now_ms: u64) {
        self.proof_from = self.number + 1;
        self.proof = None;
        self.under_way.clear();
        self.heard_of_me = None;
        self.pardon(now_ms);
    }

    /// Counts ourselves for live before our beat is back: where nobody else is.
    pub(super) fn assume_live(&mut self) -> Outcome {
        self.heard_of_me = Some(RouterState::Live);
        self.raise(Outcome { change: Some(Change::Orderly), ..Outcome::default() })
    }

    /// Takes a beat, our own or another's.
    pub(super) fn hear(&mut self, now_ms: u64, beat: &RouterBeat) -> Outcome {
        let mut outcome = Outcome::default();
        self.term = self.term.max(beat.term);
        if beat.router == self.me {
            self.hear_own(beat, &mut outcome);
        } else if beat.sections != self.sections.count() as u64 {
            // It owns other partitions than we think, and we other ones than it thinks: who was first stays.
            if beat.state != RouterState::Joining {
                self.misfit_ms = Some(now_ms);
            }
        } else {
            self.hear_other(now_ms, beat, &mut outcome);
        }
        self.raise(outcome)
    }

    fn hear_own(&mut self, beat: &RouterBeat, outcome: &mut Outcome) {
        while let Some(&(number, sent_ms)) = self.under_way.front()
            && number <= beat.number
        {
            self.under_way.pop_front();
            if number == beat.number {
                self.proof = Some((sent_ms, number));
            }
        }
        if beat.number < self.proof_from {
            return;
        }
        let before = self.heard_of_me.replace(beat.state);
        let was_live = before == Some(RouterState::Live);
        if was_live != (beat.state == RouterState::Live) {
            outcome.change = Some(Change::Orderly);
        }
    }

    fn hear_other(&mut self, now_ms: u64, beat: &RouterBeat, outcome: &mut Outcome) {
        let against_us = beat.fences.iter().filter(|fence| fence.router == self.me).map(|fence| fence.term).max();
        let given_up = self.fences.iter().position(|fence| fence.router == beat.router);
        if let Some(term) = against_us.filter(|term| *term > self.obeyed || given_up.is_some()) {
            self.obeyed = self.obeyed.max(term);
            // Two that gave each other up, since the bus was in two parts: of them the first stays.
            if given_up.is_none() || beat.router < self.me {
                outcome.fenced = true;
            } else if beat.state != RouterState::Joining {
                return;
            }
        }
        if let Some(at) = given_up {
            if beat.term < self.fences[at].term {
                // It does not know yet that it was given up: what it says of itself is of before.
                return;
            }
            self.fences.remove(at);
        }
        let mut owners = beat.live.clone();
        owners.sort_unstable();
        let peer = Peer { state: beat.state, heard_ms: now_ms, owners, moving: beat.moving };
        let before = self.peers.insert(beat.router, peer).map(|peer| peer.state);
        if beat.state == RouterState::Joining && matches!(before, Some(RouterState::Live | RouterState::Leaving)) {
            outcome.gone.push((beat.router, before == Some(RouterState::Leaving)));
        }
        outcome.change = match (before == Some(RouterState::Live), beat.state) {
            (false, RouterState::Live) | (true, RouterState::Leaving) => Some(Change::Orderly),
            // It stopped at once, and discards what it holds.
            (true, RouterState::Joining) => Some(Change::Crash),
            (true, RouterState::Live) | (false, RouterState::Joining | RouterState::Leaving) => None,
        };
        if outcome.change == Some(Change::Crash) {
            outcome.crashed_heard_ms = before.map(|_| now_ms);
        }
    }

    /// Gives up whoever was silent for too long. To be called after all that was received has been heard.
    pub(super) fn tick(&mut self, now_ms: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let silent: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| now_ms >= peer.heard_ms + ROUTER_SILENCE_MS)
            .map(|(router, _)| *router)
            .collect();
        for router in silent {
            self.give_up(router, &mut outcome);
        }
        self.raise(outcome)
    }

    /// Gives up a router that is there and owns what we own: it is to join anew.
    pub(super) fn fence(&mut self, router: NodeId) -> Outcome {
        let mut outcome = Outcome::default();
        self.give_up(router, &mut outcome);
        self.raise(outcome)
    }

    fn give_up(&mut self, router: NodeId, outcome: &mut Outcome) {
        let Some(peer) = self.peers.remove(&router) else { return };
        outcome.gone.push((router, false));
        if peer.state != RouterState::Live {
            return;
        }
        outcome.change = Some(Change::Crash);
        let heard = outcome.crashed_heard_ms.map_or(peer.heard_ms, |ms| ms.min(peer.heard_ms));
        outcome.crashed_heard_ms = Some(heard);
        if self.fences.len() == FENCES_MAX {
            self.fences.pop_front();
        }
        self.fences.push_back(Fence { router, term: self.term + 1 });
    }

    /// Whether routers are at work that say that there are more or fewer sections.
    pub(super) fn is_misfit(&self, now_ms: u64) -> bool {
        self.misfit_ms.is_some_and(|heard_ms| now_ms < heard_ms + ROUTER_SILENCE_MS)
    }

    /// Whether one that comes before us joins too, and was heard lately: of several that find nobody, one begins.
    pub(super) fn joins_before_us(&self, now_ms: u64) -> bool {
        let lately = |peer: &Peer| peer.state == RouterState::Joining && now_ms < peer.heard_ms + JOINING_HEARD_MS;
        self.peers.iter().any(|(router, peer)| *router < self.me && lately(peer))
    }

    const fn raise(&mut self, outcome: Outcome) -> Outcome {
        if outcome.change.is_some() {
            self.term += 1;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(n: u8) -> NodeId {
        NodeId::router([n; 8])
    }

    fn live_beat(from: &mut Membership, now_ms: u64) -> RouterBeat {
        from.beat(now_ms, RouterState::Live, (vec![], false), None)
    }

    /// Two routers that know each other, both live at 0.
    fn pair() -> (Membership, Membership) {
        let (mut a, mut b) = (Membership::new(router(1), Sections::ONE), Membership::new(router(2), Sections::ONE));
        for _ in 0..2 {
            let (beat_a, beat_b) = (live_beat(&mut a, 0), live_beat(&mut b, 0));
            for membership in [&mut a, &mut b] {
                membership.hear(0, &beat_a);
                membership.hear(0, &beat_b);
            }
        }
        (a, b)
    }

    #[test]
    fn our_own_beat_must_have_come_back() {
        let mut a = Membership::new(router(1), Sections::ONE);
        let beat = live_beat(&mut a, 100);
        assert!(!a.is_proven(100) && a.live().is_empty());

        let outcome = a.hear(150, &beat);

        assert_eq!(outcome.change, Some(Change::Orderly));
        assert_eq!((a.live(), a.term()), (vec![router(1)], 1));
        assert!(a.is_proven(599) && !a.is_proven(600), "counted from when it was sent");
    }

    #[test]
    fn beats_of_before_prove_nothing_after_a_restart() {
        let mut a = Membership::new(router(1), Sections::ONE);
        let old = live_beat(&mut a, 100);
        a.restart(1000);

        a.hear(1000, &old);
        assert!(!a.is_proven(1000) && a.live().is_empty());

        let fresh = a.beat(1001, RouterState::Joining, (vec![], false), None);
        a.hear(1002, &fresh);
        assert!(a.is_proven(1003));
    }

    #[test]
    fn routers_that_know_each_other_share_term_and_live_set() {
        let (a, b) = pair();
        let mut both = [router(1), router(2)];
        both.sort_unstable();
        assert_eq!(a.live(), both);
        assert_eq!((a.live(), a.term()), (b.live(), b.term()));
    }

    #[test]
    fn a_silent_router_is_fenced_at_a_higher_term() {
        let (mut a, _) = pair();
        let before = a.term();
        assert_eq!(a.tick(699), Outcome::default());

        let outcome = a.tick(700);

        assert_eq!((outcome.change, outcome.crashed_heard_ms), (Some(Change::Crash), Some(0)));
        assert_eq!((a.term(), a.live()), (before + 1, vec![router(1)]));
        assert_eq!(live_beat(&mut a, 700).fences, [Fence { router: router(2), term: before + 1 }]);
    }

    #[test]
    fn the_fenced_router_obeys_once_and_comes_back_with_the_term() {
        let (mut a, mut b) = pair();
        a.tick(700);

        let stale = live_beat(&mut b, 700);
        assert_eq!(a.hear(710, &stale), Outcome::default(), "of before the fence");
        assert_eq!(a.live(), [router(1)]);

        let beat = live_beat(&mut a, 720);
        assert!(b.hear(730, &beat).fenced);
        assert!(!b.hear(740, &beat).fenced, "obeyed already");
        b.restart(740);
        let joining = b.beat(740, RouterState::Joining, (vec![], false), None);
        assert_eq!(a.hear(750, &joining).change, None);
        assert!(live_beat(&mut a, 760).fences.is_empty());
        let live = live_beat(&mut b, 770);
        assert_eq!(a.hear(780, &live).change, Some(Change::Orderly));
    }

    #[test]
    fn what_a_node_knows_of_a_fence_is_obeyed_once_like_the_fence() {
        let (mut a, mut b) = pair();
        a.tick(700);
        let fence = live_beat(&mut a, 700).fences[0].term;

        assert!(b.obey(fence).fenced);
        assert_eq!(b.term(), fence);
        assert!(!b.obey(fence).fenced && !b.obey(fence - 1).fenced, "obeyed already");
        let beat = live_beat(&mut a, 710);
        assert!(!b.hear(710, &beat).fenced, "it is the same");
    }

    #[test]
    fn of_two_that_gave_each_other_up_the_first_stays() {
        let (mut a, mut b) = pair();
        let (stays, stops) = if a.me < b.me { (&mut a, &mut b) } else { (&mut b, &mut a) };
        stays.tick(700);
        stops.tick(700);
        let beat = live_beat(stops, 800);
        assert_eq!(stays.hear(810, &beat), Outcome::default(), "what it says is of before");

        let beat = live_beat(stays, 810);
        assert!(stops.hear(820, &beat).fenced);
        stops.restart(820);

        for now_ms in [820, 920] {
            let joining = stops.beat(now_ms, RouterState::Joining, (vec![], false), None);
            assert_eq!(stays.hear(now_ms, &joining), Outcome::default());
        }
        assert!(live_beat(stays, 930).fences.is_empty());
    }

    #[test]
    fn of_several_that_join_the_first_goes_first() {
        let (mut a, mut b) = (Membership::new(router(1), Sections::ONE), Membership::new(router(2), Sections::ONE));
        let (first, second) = if a.me < b.me { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let beats = [&mut *first, &mut *second].map(|it| it.beat(0, RouterState::Joining, (vec![], false), None));
        for beat in &beats {
            first.hear(0, beat);
            second.hear(0, beat);
        }
        assert!(second.joins_before_us(299) && !first.joins_before_us(299));
        assert!(!second.joins_before_us(300), "it is gone");
    }

    #[test]
    fn one_who_leaves_is_no_crash_and_leaves_no_fence() {
        let (mut a, mut b) = pair();
        let leaving = b.beat(10, RouterState::Leaving, (vec![], false), None);

        assert_eq!(a.hear(20, &leaving).change, Some(Change::Orderly));
        assert_eq!(a.tick(2000), Outcome { gone: vec![(router(2), false)], ..Outcome::default() });
        assert!(live_beat(&mut a, 2000).fences.is_empty() && a.peers.is_empty());
    }

    #[test]
    fn one_who_starts_over_is_out_at_once() {
        let (mut a, mut b) = pair();
        let joining = b.beat(10, RouterState::Joining, (vec![], false), None);
        assert_eq!(a.hear(20, &joining).change, Some(Change::Crash));
        assert_eq!(a.live(), [router(1)]);
    }

    #[test]
    fn routers_that_know_other_sections_do_not_count() {
        let several = Sections::new(2).expect("two");
        let (mut a, mut b) = (Membership::new(router(1), Sections::ONE), Membership::new(router(2), several));
        a.hear(0, &b.beat(0, RouterState::Joining, (vec![], false), None));
        assert!(!a.is_misfit(0), "it is the newcomer that does not fit");
        let outcome = a.hear(0, &live_beat(&mut b, 0));
        assert!(outcome == Outcome::default() && a.live().is_empty());
        assert!(a.is_misfit(ROUTER_SILENCE_MS - 1) && !a.is_misfit(ROUTER_SILENCE_MS));
    }
}
