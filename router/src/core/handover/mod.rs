//! Orderly moves of partitions: each live message is handled once, in order, while routers come and go as planned.
//!
//! The router that comes or goes (the mover) says so *in the streams of messages themselves*, so that each step stands at
//! the same place for all who hear them, however late they read. From `Count` on old and new owners count what they
//! hear; from `Start` on new owners keep what they hear, while old owners go on handling and tell what they have handled;
//! at `End` old owners stop, and tell their heirs after which of their packets these may go on; what was kept and
//! not handled by the old owner is handled then. `Close` ends the counting.
//!
//! Two views of one stream differ by what was under way when a step passed, and by nothing else: messages between
//! `Start` and `End` are with both, so none is lost; the second copy is known by its fingerprint and its occurrence since
//! `Count`.
//!
//! Reading order: fingerprint, inheritance (what is kept), window (one move as one router sees it), lane (all of it for one
//! kind of messages), mover (our own coming or going). Knows no bus, no packets and no beats.

mod fingerprint;
mod inheritance;
mod lane;
mod mover;
mod window;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::Lane as Kind;

pub(super) use fingerprint::{fingerprint, hash_of_text};
pub(super) use inheritance::Message;
pub(super) use lane::{Counted, Decision, Lane};
pub(super) use mover::Mover;

use super::sections::Sections;
use super::settings::Settings;

/// Whose move, and its number there.
pub(super) type MoveId = (NodeId, u64);

/// What one router knows of moves.
#[derive(Debug)]
pub(super) struct Handover {
    /// One for each kind of messages, as they are numbered.
    lanes: Vec<Lane>,
    /// Where steps are told, for each.
    subjects: Vec<Vec<String>>,
    /// Our own coming or going, while it is under way.
    pub(super) mover: Option<Mover>,
    /// The number of our last move.
    pub(super) number: u64,
    /// Since when we want to come or go.
    pub(super) wanted_since_ms: Option<u64>,
    /// After somebody was faster: not before this.
    pub(super) not_before_ms: u64,
    /// Since when the others name other owners than we know.
    pub(super) differs_since_ms: Option<u64>,
    /// What was kept and is to be handled now, in order.
    pub(super) released: VecDeque<(Kind, Message)>,
    /// What is handled at the moment was kept: whose it is has been decided.
    pub(super) replaying: bool,
}

impl Handover {
    /// Nobody owns anything.
    pub(super) fn new(me: NodeId, settings: &Settings) -> Self {
        let sections = settings.sections;
        let kinds = kinds(sections);
        Self {
            lanes: kinds.iter().map(|_| Lane::new(me, sections)).collect(),
            subjects: kinds.iter().map(|kind| kind.moves(&settings.subjects, sections.count())).collect(),
            mover: None,
            number: 0,
            wanted_since_ms: None,
            not_before_ms: 0,
            differs_since_ms: None,
            released: VecDeque::new(),
            replaying: false,
        }
    }

    /// Those of one kind of messages.
    pub(super) fn lane(&self, kind: Kind) -> &Lane {
        &self.lanes[kind as usize]
    }

    /// Those of one kind of messages.
    pub(super) fn lane_mut(&mut self, kind: Kind) -> &mut Lane {
        &mut self.lanes[kind as usize]
    }

    /// Which kinds of messages this fleet has.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        &KINDS[..self.lanes.len()]
    }

    /// Whether steps are told on the subject, as it is read: what was mapped to a section is named as it was published.
    pub(super) fn is_step(&self, kind: Kind, subject: &str) -> bool {
        let read_as = if kind == Kind::Section { Kind::Send } else { kind };
        self.subjects[read_as as usize].iter().any(|step| step == subject)
    }

    /// Where steps of this kind are told: for all to hear.
    pub(super) fn subjects(&self, kind: Kind) -> &[String] {
        &self.subjects[kind as usize]
    }

    /// Who shares the partitions, in all lanes.
    pub(super) fn owners(&self) -> Vec<NodeId> {
        let in_all = |owner: &NodeId| self.lanes.iter().all(|lane| lane.owners().contains(owner));
        self.lane(Kind::Send).owners().iter().copied().filter(in_all).collect()
    }

    /// Whether no move is under way, as far as we have heard.
    pub(super) fn is_quiet(&self) -> bool {
        self.mover.is_none() && self.lanes.iter().all(Lane::is_quiet)
    }

    /// Whether our own move is through, and all is told that others wait for.
    pub(super) fn is_told(&self) -> bool {
        self.mover.is_none() && self.lanes.iter().all(Lane::has_told)
    }

    /// Takes the owners as told, without a move.
    pub(super) fn set_owners(&mut self, owners: &[NodeId]) {
        for lane in &mut self.lanes {
            lane.set_owners(owners);
        }
    }

    /// What was counted so far.
    pub(super) fn counted(&self) -> Counted {
        self.lanes.iter().map(|lane| lane.counted).fold(Counted::default(), |sum, it| Counted {
            kept: sum.kept + it.kept,
            seconds: sum.seconds + it.seconds,
            impatient: sum.impatient + it.impatient,
        })
    }

    /// Forgets everything; how many kept messages were thrown away.
    pub(super) fn discard(&mut self) -> usize {
        let kept = self.released.len() + self.lanes.iter().map(Lane::kept).sum::<usize>();
        self.released.clear();
        for lane in &mut self.lanes {
            lane.discard();
        }
        (self.mover, self.wanted_since_ms, self.differs_since_ms, self.not_before_ms) = (None, None, None, 0);
        kept
    }
}

/// All kinds of messages, as they are numbered.
const KINDS: [Kind; 3] = [Kind::Send, Kind::Ctl, Kind::Section];

/// Those that a fleet has.
fn kinds(sections: Sections) -> &'static [Kind] {
    if sections.are_several() { &KINDS } else { &KINDS[..2] }
}
