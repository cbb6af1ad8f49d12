//! The router without its I/O: events in, actions out; no clock, no bus, no runtime. Deterministic, so that a simulation
//! can drive several of them over a bus of its own.
//!
//! Reading order: what can happen and what is wanted then, the pure parts (who owns what, who is live, the tables, the
//! nodes, their sync, facts, receipts, queries), and last how events move them: the life of a router, its mirror, and
//! the messages of domain services.

pub mod announce;
pub mod event;
pub mod sections;
pub mod settings;
pub mod tally;

mod fleet;
mod handover;
mod hearsay;
mod membership;
mod newest;
mod ownership;
mod presence;
mod questions;
mod recall;
mod receipts;
mod sync;
mod table;

mod amend;
mod commands;
mod kept;
mod life;
mod moves;
mod queries;
mod recollect;
mod reports;
mod roster;
mod route;

#[cfg(test)]
mod tests;

use bytes::BytesMut;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{Lane, RouterState};

use event::{Action, Event, Now, ServiceError};
use fleet::Fleet;
use handover::Handover;
use membership::Membership;
use newest::Contested;
use ownership::Ownership;
use presence::{Duty, Presence};
use questions::Questions;
use recall::Recall;
use receipts::Receipts;
use settings::Settings;
pub use sync::Reason;
use table::{Slot, Table};
use tally::Tally;

/// Where a router is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Without a bus.
    Away,
    /// Listens and gathers rosters; handles nothing.
    Joining {
        /// Since when.
        since_ms: u64,
    },
    /// Handles what it owns.
    Live,
    /// Hands over.
    Leaving {
        /// Since when.
        since_ms: u64,
    },
    /// Has handed over: nothing is done any more.
    Left,
}

/// Buffers that are used anew for each message, so that handling one allocates nothing.
#[derive(Debug, Default)]
struct Scratch {
    slots: Vec<Slot>,
    body: BytesMut,
    id: String,
}

/// One router.
#[derive(Debug)]
pub struct Router {
    me: NodeId,
    settings: Settings,
    phase: Phase,
    /// Whether the mirror was whole once: changes seen before that are no news.
    was_whole: bool,
    beat_ms: u64,
    /// Since when nothing is handled because our own voice has not come back; what is in hand is held.
    holding_since_ms: Option<u64>,
    membership: Membership,
    ownership: Ownership,
    handover: Handover,
    fleet: Fleet,
    table: Table,
    presence: Presence,
    /// Until the mirror is whole: what happened shortly before.
    recall: Recall,
    contested: Contested,
    receipts: Receipts,
    questions: Questions,
    /// Numbers receipts and questions.
    number: u64,
    /// Numbers the message ids we make.
    made: u64,
    scratch: Scratch,
    stream: kept::Stream,
    tally: Tally,
    actions: Vec<Action>,
}

/// What a router can tell of itself at a moment, for metrics and readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Whether it handles what it owns.
    pub live: bool,
    /// Whether it must not, for others say that there are more or fewer sections.
    pub misfit: bool,
    /// Nodes that serve, that drain, and that are late.
    pub nodes: [u64; 3],
    /// Connections at the nodes' last beats.
    pub connections: u64,
    /// Users with a connection.
    pub users: u64,
    /// Rooms with a member.
    pub rooms: u64,
    /// Partitions owned.
    pub partitions: u64,
    /// Live routers, this one included where it is.
    pub routers: u64,
    /// The highest term known.
    pub term: u64,
    /// Receipts in flight.
    pub receipts: u64,
    /// Queries in flight.
    pub queries: u64,
}

impl Router {
    /// A router that has no bus yet.
    pub fn new(me: NodeId, settings: Settings) -> Self {
        Self {
            me,
            phase: Phase::Away,
            was_whole: false,
            beat_ms: 0,
            holding_since_ms: None,
            membership: Membership::new(me, settings.sections),
            ownership: Ownership::new(me, settings.sections),
            handover: Handover::new(me, &settings),
            fleet: Fleet::new(me),
            table: Table::new(settings.hash_seed),
            presence: Presence::new(settings.linger_ms, settings.facts_max, settings.hash_seed),
            recall: Recall::default(),
            contested: Contested::default(),
            receipts: Receipts::new(settings.receipts_max),
            questions: Questions::default(),
            number: 0,
            made: 0,
            scratch: Scratch::default(),
            stream: kept::Stream::default(),
            tally: Tally::default(),
            actions: Vec::new(),
            settings,
        }
    }

    /// Its id.
    pub const fn id(&self) -> NodeId {
        self.me
    }

    /// Its section, where there are several.
    pub fn section(&self) -> Option<usize> {
        let sections = self.settings.sections;
        sections.are_several().then(|| sections.of_router(self.me))
    }

    /// The nodes that have what a reserved name stands for.
    pub fn places_of(&self, name: &str) -> Vec<NodeId> {
        let places = self.table.nodes_of_room(holdfast_protocol::token::partition_of_key(name), name);
        places.iter().filter_map(|(slot, _)| self.fleet.get(*slot).map(|node| node.id)).collect()
    }

    /// Takes an event. What follows from it is kept until [`end_turn`](Self::end_turn), and packed with what follows
    /// from others.
    pub fn apply(&mut self, now: Now, event: Event<'_>) {
        if self.phase == Phase::Left {
            return;
        }
        match event {
            Event::BusUp { max_payload } => self.bus_up(now, max_payload),
            Event::BusDown => self.bus_down(now),
            Event::RouterBeat(beat) => self.on_router_beat(now, &beat),
            Event::NodeBeat(beat) => self.on_node_beat(now, &beat),
            Event::Roster(batch) => self.on_roster(now, batch),
            Event::Told(message) => self.on_told(now, message),
            Event::NodeAnswered(node) => self.on_node_answered(now, node),
            Event::NodeMissing(node) => self.on_node_missing(now, node),
            Event::Send(request) => self.on_send(now, Lane::Send, request),
            Event::SectionSend(request) => self.on_section_send(now, request),
            Event::Ctl(request) => self.on_ctl(now, request),
            Event::Query(request) => self.on_query(now, request),
            Event::Fact { subject, body } => self.on_fact(now, subject, body),
            Event::Kept(request) => self.on_kept(now, request),
            Event::Stream { epoch, last, created_ms, heard } => self.on_stream(now, epoch, (last, created_ms), heard),
            Event::KeptRead { number, whole, copies } => self.on_kept_read(now, number, whole, copies),
            Event::Tick => self.on_tick(now),
            Event::Leave => self.on_leave(now),
        }
    }

    /// Whether it takes messages of domain services at `now_ms`. Where it does not, they are to be left unread: they are
    /// thrown away by [`Action::CloseWork`], or taken when this is true again.
    pub fn takes_work(&self, now: Now) -> bool {
        self.is_able(now)
    }

    /// Ends a turn: all that was packed goes out, at most `facts_max` facts with it. Actions are appended to `actions`,
    /// to be done in order.
    pub fn end_turn(&mut self, now: Now, facts_max: usize, actions: &mut Vec<Action>) {
        if self.phase != Phase::Left {
            self.listen_for_ourselves(now);
            if self.holding_since_ms.is_some() {
                // Our beats must go out, all else waits.
                actions.extend(self.actions.extract_if(.., |action| matches!(action, Action::Beat(_))));
                return;
            }
            self.fleet.flush(self.membership.term(), self.stream.processed(), &mut self.actions);
            self.tell_heirs(now);
            self.stream.note_sent();
            if self.is_proven(now) {
                let sent = self.presence.drain(&self.settings.subjects, facts_max, &mut self.actions);
                self.tally.facts += sent as u64;
            }
        }
        actions.append(&mut self.actions);
    }

    /// Whether facts wait for another turn.
    pub fn has_facts(&self) -> bool {
        self.presence.has_waiting()
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        let counted = self.handover.counted();
        Tally {
            inherited: counted.kept,
            inherited_seconds: counted.seconds,
            inherited_early: counted.impatient,
            ..self.tally.clone()
        }
    }

    /// Whether it handles what it owns.
    pub const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// Whether it is live, has its share, and knows of no move that is under way.
    pub fn is_settled(&self) -> bool {
        self.is_live() && self.handover.is_quiet() && self.handover.owners().contains(&self.me)
    }

    /// What there is at `now_ms`.
    pub fn gauges(&self, now_ms: u64) -> Gauges {
        let mut nodes = [0; 3];
        for (_, node) in self.fleet.iter() {
            nodes[queries::state_of(node, now_ms) as usize] += 1;
        }
        Gauges {
            live: self.is_live(),
            misfit: self.membership.is_misfit(now_ms),
            nodes,
            connections: self.fleet.connections(),
            users: self.table.users() as u64,
            rooms: self.table.rooms() as u64,
            partitions: u64::from(self.handover.lane(Lane::Send).mine().count_ones()),
            routers: self.membership.live().len() as u64,
            term: self.membership.term(),
            receipts: self.receipts.len() as u64,
            queries: self.questions.len() as u64,
        }
    }

    /// What is to be done about a transition of a key in this partition.
    fn duty(&self, now: Now, partition: usize) -> Duty {
        let ours = self.is_able(now) && self.handover.lane(Lane::Ctl).speaks(partition);
        if ours { Duty::Publish } else { Duty::Remember }
    }

    /// Whether messages may be handled: whole, announced, and not cut off.
    fn is_able(&self, now: Now) -> bool {
        matches!(self.phase, Phase::Live | Phase::Leaving { .. })
            && self.holding_since_ms.is_none()
            && self.is_proven(now)
    }

    fn is_proven(&self, now: Now) -> bool {
        self.membership.is_proven(now.ms)
    }

    const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Refuses a request, where there is somebody to tell and it is ours to tell.
    fn refuse(&mut self, reply: Option<&str>, code: u16, text: String) {
        if let Some(to) = reply {
            self.actions.push(Action::Answer { to: Box::from(to), body: Err(ServiceError { code, text }) });
        }
    }

    const fn announced_state(&self) -> RouterState {
        match self.phase {
            Phase::Away | Phase::Joining { .. } | Phase::Left => RouterState::Joining,
            Phase::Live => RouterState::Live,
            Phase::Leaving { .. } => RouterState::Leaving,
        }
    }
}
