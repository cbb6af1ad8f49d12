//! The routers as this node hears them: who is live, what each has applied of the roster, and where each stands with
//! its packets.

use std::collections::BTreeMap;

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::position::Position;
use holdfast_protocol::token::partition_of_token;
use holdfast_protocol::wire::{RouterBeat, RouterState, Text};

/// A router silent for longer is not waited for.
const LIVE_MS: u64 = 1000;
/// A router heard within this time may still have copies of kept messages under way, or an heir that repeats them.
const RECENT_MS: u64 = 3000;
/// Beats come each 100 ms: after a silence of this length the beat tells of a loss.
const STALLED_MS: u64 = 2000;
/// A router silent for longer is forgotten, its packet numbers with it.
const FORGET_MS: u64 = 60_000;
/// Fences kept at once. Each comes from a router's beat; there are as many as routers given up lately.
const FENCES_MAX: usize = 1024;

/// A router that another one has given up and that has not come back since. What it forwards of live messages counts no
/// more: the other forwards them as well.
#[derive(Debug)]
struct GivenUp {
    /// Who gave it up says so with each beat; when it is not heard any more, nothing is left of it.
    until_ms: u64,
    /// It has said that it joins anew: it has stopped.
    has_stopped: bool,
    /// What was dropped of it was told.
    is_told: bool,
}

#[derive(Debug)]
struct Router {
    state: RouterState,
    heard_ms: u64,
    acked: u64,
    /// What it last said of the term.
    term: u64,
    /// Who shares the partitions, as it says.
    owners: Vec<NodeId>,
    /// Which partitions it may own: those that leave the second as remainder by the first.
    section: (usize, usize),
    /// How far it had processed the stream of kept messages when last heard.
    mark: Option<Position>,
    /// The same when it was first heard as live: it has processed everything since.
    begun: Option<Position>,
    /// The same as of the end of a turn in which all that had reached this node was applied.
    settled: Option<Position>,
    /// The settled mark before its last packet that came without a hole: no packet before that mark was lost. (A mark
    /// alone proves nothing: a packet can be lost where the beat behind it is not.)
    confirmed: Option<Position>,
    /// The number of its next packet.
    next_packet: u64,
    /// It was not heard for a while, or could not be: nothing has shown yet that its packets come through again. A beat
    /// does not: the way of packets may open later than that of beats.
    is_doubtful: bool,
    /// Packets of it were refused, and it has not joined anew since: they are missing in what comes next.
    is_refused: bool,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Carry it out.
    Take,
    /// Carry it out; packets before it were lost.
    TakeAfterHole,
    /// It came before.
    Duplicate,
    /// Its router was given up at this, higher term: drop it.
    Fenced(u64),
}

/// The routers by id.
#[derive(Debug, Default)]
pub(super) struct Routers {
    routers: BTreeMap<NodeId, Router>,
    fences: BTreeMap<NodeId, u64>,
    given_up: BTreeMap<NodeId, GivenUp>,
    /// A live router names an owner that this node has not heard at work: it may have gone before, and nobody has taken its
    /// share yet.
    misses_owner: bool,
    /// The highest of those that are heard: it rises with each change among the routers, and begins anew where all of
    /// them do.
    term: u64,
}

impl Router {
    /// What it says of the stream counts from where it went live.
    fn note_begun(&mut self) {
        if self.state == RouterState::Joining {
            self.begun = None;
        } else if self.begun.as_ref().map(|begun| &begun.epoch) != self.mark.as_ref().map(|mark| &mark.epoch) {
            self.begun.clone_from(&self.mark);
        }
    }

    /// Whether it is at work, or was before the bus went away: then it is waited for as well.
    fn was_live(&self) -> bool {
        self.state != RouterState::Joining || self.is_doubtful
    }

    /// Whether it has processed everything of this epoch from `from` on.
    fn has_processed(&self, epoch: &Text, from: u64) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.epoch == *epoch && begun.seq <= from)
    }
}

impl Routers {
    fn router(&mut self, id: NodeId, now_ms: u64) -> &mut Router {
        self.routers.entry(id).or_insert(Router {
            state: RouterState::Joining,
            heard_ms: now_ms,
            acked: 0,
            term: 0,
            owners: Vec::new(),
            section: (1, 0),
            mark: None,
            begun: None,
            settled: None,
            confirmed: None,
            next_packet: 1,
            is_doubtful: false,
            is_refused: false,
        })
    }

    /// Notes a beat; true where the router had been silent for so long that packets of it may be lost: it, the way from
    /// it, or this process stood still.
    pub(super) fn beat(&mut self, beat: &RouterBeat, now_ms: u64) -> bool {
        let router = self.router(beat.router, now_ms);
        let returned = now_ms.saturating_sub(router.heard_ms) >= STALLED_MS;
        if returned {
            router.is_doubtful = true;
            (router.settled, router.confirmed) = (None, None);
        }
        router.state = beat.state;
        router.is_refused &= beat.state != RouterState::Joining;
        router.heard_ms = now_ms;
        router.term = beat.term;
        if router.owners != beat.live {
            router.owners.clone_from(&beat.live);
        }
        let sections = usize::try_from(beat.sections).unwrap_or(1).clamp(1, PARTITIONS);
        router.section = (sections, partition_of_token(beat.router.as_str()) % sections);
        // What one that joins anew said before says nothing of what it forwards from now on.
        let known = router.mark.take().filter(|_| beat.state != RouterState::Joining);
        router.mark = beat.kept.clone().map(owned).or(known);
        router.note_begun();
        self.note_given_up(beat, now_ms);
        for fence in &beat.fences {
            if self.fences.len() < FENCES_MAX || self.fences.contains_key(&fence.router) {
                let term = self.fences.entry(fence.router).or_insert(0);
                *term = (*term).max(fence.term);
            }
        }
        let is_heard = |id: &NodeId| self.routers.get(id).is_some_and(Router::was_live);
        let misses_owner = self.live(now_ms).flat_map(|router| &router.owners).any(|id| !is_heard(id));
        self.misses_owner = misses_owner;
        returned
    }

    /// Two parts of the bus that come together have routers in each that gave up those of the other. Whom this node hears
    /// first counts until it stops, so that no message comes from both.
    fn note_given_up(&mut self, beat: &RouterBeat, now_ms: u64) {
        if let Some(it) = self.given_up.get_mut(&beat.router) {
            if beat.state == RouterState::Joining {
                it.has_stopped = true;
            } else if it.has_stopped || now_ms >= it.until_ms {
                self.given_up.remove(&beat.router);
            }
        }
        if beat.state == RouterState::Joining || self.given_up.contains_key(&beat.router) {
            return;
        }
        for fence in &beat.fences {
            if self.given_up.len() < FENCES_MAX || self.given_up.contains_key(&fence.router) {
                let fresh = GivenUp { until_ms: 0, has_stopped: false, is_told: false };
                self.given_up.entry(fence.router).or_insert(fresh).until_ms = now_ms + LIVE_MS;
            }
        }
    }

    /// Whether live messages from this router are to be dropped.
    pub(super) fn is_given_up(&self, id: NodeId, now_ms: u64) -> bool {
        self.given_up.get(&id).is_some_and(|it| now_ms < it.until_ms)
    }

    /// Something of a router that was given up is dropped; whether that was not told yet.
    pub(super) fn drops(&mut self, id: NodeId) -> bool {
        self.given_up.get_mut(&id).is_some_and(|it| !std::mem::replace(&mut it.is_told, true))
    }

    /// Whether the routers have changed since the last call. The first one tells of no change.
    pub(super) fn is_new_term(&mut self, now_ms: u64) -> bool {
        let heard = self.routers.values().filter(|router| now_ms.saturating_sub(router.heard_ms) <= LIVE_MS);
        let Some(term) = heard.map(|router| router.term).max() else { return false };
        let before = std::mem::replace(&mut self.term, term);
        before > 0 && term != before
    }

    pub(super) fn ack(&mut self, id: NodeId, seq: u64, mark: Option<Position>, now_ms: u64) {
        let router = self.router(id, now_ms);
        router.acked = router.acked.max(seq);
        if router.state != RouterState::Joining {
            router.mark = mark.map(owned).or(router.mark.take());
        }
    }

    /// The term from which on packets of this router count, where it was given up.
    pub(super) fn fence(&self, id: NodeId) -> Option<u64> {
        self.fences.get(&id).copied()
    }

    pub(super) fn packet(&mut self, id: NodeId, number: u64, term: u64, now_ms: u64) -> Verdict {
        let fence = self.fence(id).filter(|fence| term < *fence);
        let router = self.router(id, now_ms);
        let expected = router.next_packet;
        // A router that had taken this node for lost counts from 1 again; what it sent before then is gone.
        if number < expected && number != 1 {
            return Verdict::Duplicate;
        }
        router.next_packet = number + 1;
        router.is_doubtful = false;
        if let Some(fence) = fence {
            router.is_refused = true;
            Verdict::Fenced(fence)
        } else if std::mem::take(&mut router.is_refused) || number != expected {
            Verdict::TakeAfterHole
        } else {
            router.confirmed.clone_from(&router.settled);
            Verdict::Take
        }
    }

    /// All that had reached this node was applied.
    pub(super) fn settle(&mut self) {
        for router in self.routers.values_mut() {
            if router.settled != router.mark {
                router.settled.clone_from(&router.mark);
            }
        }
    }

    /// Up to where in this epoch every copy of a kept message has reached this node, whichever router forwarded it, where
    /// everything up to `from` has; `None` while a router that may have some under way cannot be counted on.
    pub(super) fn confirmed(&self, now_ms: u64, epoch: &Text, from: u64) -> Option<u64> {
        if self.misses_owner || self.live_count(now_ms) == 0 {
            return None;
        }
        let mut least = None;
        for (id, router) in &self.routers {
            let was_live = router.was_live();
            if was_live && now_ms.saturating_sub(router.heard_ms) > RECENT_MS {
                let is_owner = self.live(now_ms).any(|other| other.owners.contains(id));
                if is_owner || !self.has_heir(router, epoch, from) {
                    // Nobody has taken its share yet, nor forwarded again what it may have left.
                    return None;
                }
                continue;
            }
            if !was_live {
                continue;
            }
            let seq = router.confirmed.as_ref().filter(|confirmed| confirmed.epoch == *epoch)?.seq;
            least = Some(least.map_or(seq, |least: u64| least.min(seq)));
        }
        least
    }

    /// Whether a router that has processed everything from `from` on was there for long enough after this one was last
    /// heard to have taken its share.
    fn has_heir(&self, gone: &Router, epoch: &Text, from: u64) -> bool {
        self.routers.values().any(|router| {
            router.state != RouterState::Joining
                && router.section == gone.section
                && router.heard_ms >= gone.heard_ms + LIVE_MS
                && router.has_processed(epoch, from)
        })
    }

    /// Whether in each section a router has processed everything of this epoch from `from` on, so that what another
    /// leaves behind is in its hands.
    pub(super) fn has_followed(&self, now_ms: u64, epoch: &Text, from: u64) -> bool {
        self.each_section_has(now_ms, |router| router.has_processed(epoch, from))
    }

    /// Whether in each section a router follows the stream of this epoch.
    pub(super) fn follow(&self, now_ms: u64, epoch: &Text) -> bool {
        self.each_section_has(now_ms, |router| router.begun.as_ref().is_some_and(|begun| begun.epoch == *epoch))
    }

    fn each_section_has(&self, now_ms: u64, wanted: impl Fn(&Router) -> bool) -> bool {
        let heard = || self.routers.values().filter(|router| now_ms.saturating_sub(router.heard_ms) <= RECENT_MS);
        let sections = heard().map(|router| router.section.0).max().unwrap_or(1);
        (0..sections).all(|section| heard().any(|router| router.section == (sections, section) && wanted(router)))
    }

    /// Whether this packet of the router has come, or nothing of it counts any more.
    pub(super) fn has_passed(&self, id: NodeId, number: u64) -> bool {
        let fence = self.fence(id);
        let Some(router) = self.routers.get(&id) else { return fence.is_some() };
        router.is_doubtful || router.next_packet > number || fence.is_some_and(|fence| router.term < fence)
    }

    fn live(&self, now_ms: u64) -> impl Iterator<Item = &Router> {
        self.routers.values().filter(move |router| {
            router.state != RouterState::Joining && now_ms.saturating_sub(router.heard_ms) <= LIVE_MS
        })
    }

    pub(super) fn live_count(&self, now_ms: u64) -> usize {
        self.live(now_ms).count()
    }

    /// How far each live router has processed the stream of this epoch; those that say nothing of it are left out.
    pub(super) fn marks(&self, now_ms: u64, epoch: &Text) -> impl Iterator<Item = u64> {
        let marks = self.live(now_ms).filter_map(|router| router.mark.as_ref());
        marks.filter(move |mark| mark.epoch == *epoch).map(|mark| mark.seq)
    }

    /// How far any router, be it silent now, is known to have processed the stream of this epoch.
    pub(super) fn furthest(&self, epoch: &Text) -> u64 {
        let marks = self.routers.values().filter_map(|router| router.mark.as_ref());
        marks.filter(|mark| mark.epoch == *epoch).map(|mark| mark.seq).max().unwrap_or(0)
    }

    /// The last batch that every live router has applied; `None` where there is no live router.
    pub(super) fn acked_by_all(&self, now_ms: u64) -> Option<u64> {
        self.live(now_ms).map(|router| router.acked).min()
    }

    /// The bus was away: nobody is heard until heard again, and packets of that time are lost, which is told at once.
    pub(super) fn bus_returned(&mut self, now_ms: u64) {
        for router in self.routers.values_mut() {
            router.heard_ms = now_ms;
            router.state = RouterState::Joining;
            router.is_doubtful = true;
            router.begun = None;
            (router.settled, router.confirmed) = (None, None);
        }
    }

    pub(super) fn forget_silent(&mut self, now_ms: u64) {
        self.routers.retain(|_, router| now_ms.saturating_sub(router.heard_ms) <= FORGET_MS);
        self.given_up.retain(|_, it| now_ms < it.until_ms + FORGET_MS);
        if self.fences.len() >= FENCES_MAX {
            let routers = &self.routers;
            self.fences.retain(|id, _| routers.contains_key(id));
        }
    }
}

/// The mark without the buffer it came in.
fn owned(mark: Position) -> Position {
    Position { epoch: mark.epoch.as_str().into(), seq: mark.seq }
}
