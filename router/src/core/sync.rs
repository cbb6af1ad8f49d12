//! How the mirror of one node's roster is kept whole: numbered batches, digests, and snapshots where something is missing.
//!
//! Decides only; the tables are changed by [`roster`](super::roster).

use std::collections::VecDeque;

use holdfast_protocol::wire::{RosterBatch, Snapshot, SnapshotEntry};

use super::settings::SNAPSHOT_RETRY_MS;

/// Batches held back while a snapshot is awaited. A node makes 200 in a second; what does not fit is fetched by another
/// snapshot.
const HELD_BATCHES_MAX: usize = 4_096;
/// Changes in those batches.
const HELD_CHANGES_MAX: usize = 2_000_000;
/// Entries of one snapshot: far more than one process can hold connections.
const SNAPSHOT_ENTRIES_MAX: usize = 16_000_000;

/// Why a snapshot is wanted; the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The node was not known, or we joined.
    New,
    /// A batch is missing.
    Gap,
    /// The node's digests are not ours.
    Digest,
}

/// Where the mirror of a node stands.
#[derive(Debug)]
pub(super) enum Sync {
    /// All batches so far are in the tables.
    Whole,
    /// A snapshot is awaited.
    Waiting(Box<Waiting>),
}

/// A snapshot under way.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Why.
    pub(super) reason: Reason,
    /// Since when.
    pub(super) since_ms: u64,
    asked_ms: u64,
    held: VecDeque<RosterBatch>,
    held_changes: usize,
    collected: Option<Collected>,
}

#[derive(Debug)]
struct Collected {
    seq: u64,
    parts: u64,
    entries: Vec<SnapshotEntry>,
}

/// A snapshot that has come whole, and the batches to put on top of it.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The batch number it is at.
    pub(super) seq: u64,
    /// What is there.
    pub(super) entries: Vec<SnapshotEntry>,
    /// Later batches, in order, without a hole.
    pub(super) later: VecDeque<RosterBatch>,
    /// Whether some later batch is missing, so that another snapshot must be asked for.
    pub(super) incomplete: bool,
    /// How long it took.
    pub(super) took_ms: u64,
    /// Why it was wanted.
    pub(super) reason: Reason,
}

impl Sync {
    /// Awaits a snapshot that was asked for at `asked_ms`.
    pub(super) fn wait(now_ms: u64, asked_ms: u64, reason: Reason) -> Self {
        Self::Waiting(Box::new(Waiting {
            reason,
            since_ms: now_ms,
            asked_ms,
            held: VecDeque::new(),
            held_changes: 0,
            collected: None,
        }))
    }

    /// Whether nothing is missing.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }
}

impl Waiting {
    /// Whether the snapshot must be asked for again; if so, it counts as asked.
    pub(super) const fn ask_again(&mut self, now_ms: u64) -> bool {
        let again = now_ms >= self.asked_ms + SNAPSHOT_RETRY_MS;
        if again {
            self.asked_ms = now_ms;
        }
        again
    }

    /// Holds a batch back. Where there are too many the oldest go: the hole is found when the snapshot has come.
    pub(super) fn hold(&mut self, batch: RosterBatch) {
        self.held_changes += batch.changes.len();
        self.held.push_back(batch);
        while self.held.len() > HELD_BATCHES_MAX || self.held_changes > HELD_CHANGES_MAX {
            let Some(oldest) = self.held.pop_front() else { break };
            self.held_changes -= oldest.changes.len();
        }
    }

    /// Takes a part of a snapshot; `Some` with the last one. A part out of turn starts over: it will be asked for again.
    pub(super) fn collect(&mut self, now_ms: u64, snapshot: Snapshot) -> Option<Arrived> {
        // Something comes: no reason to ask again meanwhile.
        self.asked_ms = now_ms;
        let collected = match &mut self.collected {
            Some(collected) if snapshot.part == collected.parts && snapshot.seq == collected.seq => collected,
            slot if snapshot.part == 0 => slot.insert(Collected { seq: snapshot.seq, parts: 0, entries: Vec::new() }),
            slot => {
                *slot = None;
                return None;
            }
        };
        collected.parts += 1;
        collected.entries.extend(snapshot.entries);
        if collected.entries.len() > SNAPSHOT_ENTRIES_MAX {
            self.collected = None;
            return None;
        }
        if !snapshot.last {
            return None;
        }
        let Collected { seq, entries, .. } = self.collected.take()?;
        let mut later = std::mem::take(&mut self.held);
        self.held_changes = 0;
        later.retain(|batch| batch.seq > seq);
        let mut whole = 0;
        for batch in &later {
            if batch.seq != seq + 1 + whole as u64 {
                break;
            }
            whole += 1;
        }
        let incomplete = whole < later.len();
        later.truncate(whole);
        let took_ms = now_ms.saturating_sub(self.since_ms);
        Some(Arrived { seq, entries, later, incomplete, took_ms, reason: self.reason })
    }
}

/// What to do with a batch that came while the mirror was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Apply it.
    Next,
    /// It is in the tables already.
    Known,
    /// Others are missing before it.
    Gap,
}

/// Places a batch after the last one applied.
pub(super) const fn order(applied: u64, seq: u64) -> Order {
    if seq <= applied {
        Order::Known
    } else if seq == applied + 1 {
        Order::Next
    } else {
        Order::Gap
    }
}

impl Reason {
    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gap => "gap",
            Self::Digest => "digest",
        }
    }

    /// Each reason, for counters that start at zero.
    pub const ALL: [Self; 3] = [Self::New, Self::Gap, Self::Digest];
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::id::NodeId;

    fn node() -> NodeId {
        NodeId::gateway([1; 8])
    }

    fn batch(seq: u64) -> RosterBatch {
        RosterBatch { node: node(), seq, since_ms: 0, changes: vec![] }
    }

    fn part(seq: u64, part: u64, last: bool) -> Snapshot {
        let entries = vec![SnapshotEntry::User(format!("u{part}").as_str().into())];
        Snapshot { node: node(), seq, part, last, entries }
    }

    fn waiting() -> Waiting {
        match Sync::wait(0, 0, Reason::New) {
            Sync::Waiting(waiting) => *waiting,
            Sync::Whole => unreachable!("waits by construction"),
        }
    }

    #[test]
    fn batches_are_placed_by_number() {
        assert_eq!([order(3, 3), order(3, 4), order(3, 5)], [Order::Known, Order::Next, Order::Gap]);
    }

    #[test]
    fn later_batches_go_on_top_of_a_snapshot() {
        let mut waiting = waiting();
        for seq in [4, 5, 6, 7] {
            waiting.hold(batch(seq));
        }

        assert!(waiting.collect(10, part(5, 0, false)).is_none());
        let arrived = waiting.collect(20, part(5, 1, true)).expect("whole");

        assert_eq!((arrived.seq, arrived.entries.len(), arrived.incomplete), (5, 2, false));
        assert_eq!(arrived.later.iter().map(|b| b.seq).collect::<Vec<_>>(), [6, 7]);
    }

    #[test]
    fn a_hole_behind_the_snapshot_is_seen() {
        let mut waiting = waiting();
        for seq in [6, 8] {
            waiting.hold(batch(seq));
        }

        let arrived = waiting.collect(1, part(5, 0, true)).expect("whole");

        assert!(arrived.incomplete);
        assert_eq!(arrived.later.len(), 1);
    }

    #[test]
    fn parts_out_of_turn_do_not_make_a_snapshot() {
        let mut waiting = waiting();
        assert!(waiting.collect(1, part(5, 0, false)).is_none());
        assert!(waiting.collect(1, part(5, 2, true)).is_none());
        assert!(waiting.collect(1, part(5, 3, true)).is_none());
        assert!(waiting.collect(1, part(6, 0, true)).is_some());
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut waiting = waiting();
        for seq in 1..=5000 {
            waiting.hold(batch(seq));
        }
        let arrived = waiting.collect(1, part(0, 0, true)).expect("whole");
        assert!(arrived.incomplete && arrived.later.is_empty());
    }

    #[test]
    fn a_snapshot_is_asked_for_again_only_while_nothing_comes() {
        let mut waiting = waiting();
        assert!(!waiting.ask_again(999) && waiting.ask_again(1000) && !waiting.ask_again(1999));
        waiting.collect(1500, part(5, 0, false));
        assert!(!waiting.ask_again(2499) && waiting.ask_again(2500));
    }
}
