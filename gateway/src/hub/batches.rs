//! Batches of the roster's changes under construction, cut by size. Knows no entries and no digests.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{Change, RosterBatch, SnapshotEntry};

/// What a change or an entry takes beside its key, at most.
const ENTRY_BYTES: usize = 48;

/// What an entry of a snapshot takes, at most.
pub(super) fn bytes_of(entry: &SnapshotEntry) -> usize {
    let key = match entry {
        SnapshotEntry::User(key) | SnapshotEntry::Room(key, _) | SnapshotEntry::Claim(key, ..) => &**key,
        SnapshotEntry::Lately(change, ..) => key_of(change),
    };
    ENTRY_BYTES + key.len()
}

fn key_of(change: &Change) -> &str {
    match change {
        Change::UserUp { user, .. }
        | Change::UserDown { user, .. }
        | Change::Claim { user, .. }
        | Change::Unclaim { user, .. } => user,
        Change::Room { room, .. } => room,
    }
}

/// Batches under construction.
#[derive(Debug)]
pub(super) struct Batches {
    node: NodeId,
    since_ms: u64,
    seq: u64,
    bytes: usize,
    bytes_max: usize,
    done: Vec<RosterBatch>,
}

impl Batches {
    /// Batches of a node behind number `seq`, of so many bytes each, with changes since `since_ms` (Unix milliseconds).
    pub(super) const fn new(node: NodeId, seq: u64, since_ms: u64, bytes_max: usize) -> Self {
        Self { node, since_ms, seq, bytes: 0, bytes_max, done: Vec::new() }
    }

    /// All of them, and the number of the last.
    pub(super) fn take(self) -> (Vec<RosterBatch>, u64) {
        (self.done, self.seq)
    }

    /// Adds a change; the number of the batch it is in.
    pub(super) fn push(&mut self, change: Change) -> u64 {
        let change_bytes = ENTRY_BYTES + key_of(&change).len();
        self.bytes += change_bytes;
        if self.done.is_empty() || self.bytes > self.bytes_max {
            self.bytes = change_bytes;
            self.seq += 1;
            let (node, seq, since_ms) = (self.node, self.seq, self.since_ms);
            self.done.push(RosterBatch { node, seq, since_ms, changes: Vec::new() });
        }
        if let Some(batch) = self.done.last_mut() {
            batch.changes.push(change);
        }
        self.seq
    }
}
