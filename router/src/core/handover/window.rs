//! One move as one router sees it: who owns what before and after, what was counted, and what old owners have handled.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::wire::Move;
use smallvec::SmallVec;

use super::MoveId;
use crate::core::sections::Sections;

/// Different messages that are counted, and that are noted as handled, in one move. What is beyond is taken for new.
const COUNTED_MAX: usize = 1 << 20;

/// How far a move has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Counting,
    Started,
    Ended,
}

/// How often each fingerprint was met.
#[derive(Debug)]
pub(super) struct Counts(HashMap<u64, u32, FixedState>);

impl Counts {
    fn new() -> Self {
        Self(HashMap::with_hasher(FixedState::with_seed(0)))
    }

    /// Counts one; how many that makes.
    pub(super) fn add(&mut self, key: u64) -> u32 {
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(&key) {
            return u32::MAX;
        }
        let count = self.0.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    pub(super) fn get(&self, key: u64) -> u32 {
        self.0.get(&key).copied().unwrap_or(0)
    }
}

/// One move.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) id: MoveId,
    sections: Sections,
    pub(super) before: Vec<NodeId>,
    pub(super) after: Vec<NodeId>,
    pub(super) step: Step,
    pub(super) since_ms: u64,
    /// Partitions that change hands, that we lose, and that we get: one bit each.
    pub(super) moving: u64,
    pub(super) losing: u64,
    pub(super) gaining: u64,
    /// What was heard of moving partitions.
    pub(super) heard: Counts,
    /// What former owners have handled.
    pub(super) told: Counts,
    /// What we have handled of what we lose, and not told yet.
    pub(super) handled: Vec<u64>,
    /// Former owners that handle nothing any more.
    pub(super) over: SmallVec<[NodeId; 4]>,
    /// We have to tell our heirs what they cannot know of before.
    pub(super) first_due: bool,
    /// We have to tell our heirs that our part is over.
    pub(super) mark_due: bool,
    /// Nothing is counted any more; it goes when nobody needs it.
    pub(super) closed: bool,
    /// When the mover went without having said how it ends.
    pub(super) orphaned_ms: Option<u64>,
}

impl Window {
    pub(super) fn new((me, sections): (NodeId, Sections), step: &Move, now_ms: u64) -> Self {
        let mut window = Self {
            id: (step.mover, step.number),
            sections,
            before: Vec::new(),
            after: Vec::new(),
            step: Step::Counting,
            since_ms: now_ms,
            moving: 0,
            losing: 0,
            gaining: 0,
            heard: Counts::new(),
            told: Counts::new(),
            handled: Vec::new(),
            over: SmallVec::new(),
            first_due: false,
            mark_due: false,
            closed: false,
            orphaned_ms: None,
        };
        window.set(me, &step.before, &step.after);
        window
    }

    /// Who owns what before and after.
    pub(super) fn set(&mut self, me: NodeId, before: &[NodeId], after: &[NodeId]) {
        (self.before, self.after) = (before.to_vec(), after.to_vec());
        (self.moving, self.losing, self.gaining) = (0, 0, 0);
        for partition in 0..PARTITIONS {
            let (old, new) = (self.sections.owner_of(partition, before), self.sections.owner_of(partition, after));
            if old == new {
                continue;
            }
            let bit = 1 << partition;
            self.moving |= bit;
            if old == Some(me) {
                self.losing |= bit;
            } else if new == Some(me) && old.is_some() {
                self.gaining |= bit;
            }
        }
    }

    /// Whom we get partitions from, and which.
    pub(super) fn formers(&self) -> SmallVec<[(NodeId, u64); 4]> {
        let mut formers: SmallVec<[(NodeId, u64); 4]> = SmallVec::new();
        for partition in 0..PARTITIONS {
            let bit = 1 << partition;
            if self.gaining & bit == 0 {
                continue;
            }
            let Some(old) = self.sections.owner_of(partition, &self.before) else { continue };
            match formers.iter_mut().find(|(former, _)| *former == old) {
                Some((_, partitions)) => *partitions |= bit,
                None => formers.push((old, bit)),
            }
        }
        formers
    }

    /// What was ours before.
    pub(super) fn ours_before(&self, me: NodeId) -> u64 {
        let ours = |partition: &usize| self.sections.owner_of(*partition, &self.before) == Some(me);
        (0..PARTITIONS).filter(ours).fold(0, |bits, partition| bits | 1 << partition)
    }

    /// Counts a message of a moving partition.
    pub(super) fn count(&mut self, key: u64) -> u32 {
        if self.closed { u32::MAX } else { self.heard.add(key) }
    }

    /// Notes what we have handled.
    pub(super) fn note(&mut self, key: u64) {
        if self.handled.len() < COUNTED_MAX {
            self.handled.push(key);
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.step, Step::Counting | Step::Started)
    }
}
