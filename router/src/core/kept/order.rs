//! In which order copies of stored messages are taken. A router hears all of them, so their sequences are consecutive for
//! it: one that is missing is a loss, and what follows waits until it was read back. Knows sequences and times alone, not
//! what the copies are.

use std::collections::{BTreeMap, VecDeque};

/// Copies that wait behind a hole.
const HELD_MAX: usize = 16_384;
/// Bytes of them.
const HELD_BYTES_MAX: usize = 32 << 20;
/// Sequences that are read back for one hole.
const READ_MAX: u64 = 1_000;
/// How long a hole may hold up what follows.
const HOLE_MAX_MS: u64 = 2_000;
/// A read that came to nothing is tried again after so long.
const READ_AGAIN_MS: u64 = 200;
/// The stream may be ahead of the last copy for so long …
const TAIL_MS: u64 = 500;
/// … and longer while copies come: a queue that is still being read is no loss.
const QUIET_MS: u64 = 250;
/// The last copies, to know a second one.
const KNOWN_MAX: usize = 1_024;

/// What to do with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take it.
    Take,
    /// Some before it are missing.
    Hold,
    /// It came before.
    Twice,
    /// It is older than what came, or the first of all: the stream may be another one.
    Doubt,
}

/// What to do about what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hole {
    /// Nothing now.
    Wait,
    /// Read it back.
    Read {
        /// From this sequence on …
        from: u64,
        /// … up to this one.
        to: u64,
    },
    /// Too much is missing, or for too long.
    GiveUp,
}

#[derive(Debug)]
struct Held<T> {
    copy: T,
    bytes: usize,
    since_ms: u64,
}

/// Where the copies stand; `T` is one that waits.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// Everything before it was taken, or stored before we listened. `None` until that is known.
    next: Option<u64>,
    /// What is neither taken nor held up to here does not exist.
    passed: u64,
    /// Sequence and time of the last copies.
    known: VecDeque<(u64, u64)>,
    held: BTreeMap<u64, Held<T>>,
    held_bytes: usize,
    /// A last message that the stream told of before its copy came, and when it did.
    tail: Option<(u64, u64)>,
    heard_ms: u64,
    /// Up to where a read is under way.
    reading: Option<u64>,
    read_again_ms: u64,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            next: None,
            passed: 0,
            known: VecDeque::new(),
            held: BTreeMap::new(),
            held_bytes: 0,
            tail: None,
            heard_ms: 0,
            reading: None,
            read_again_ms: 0,
        }
    }
}

impl<T> Order<T> {
    /// Up to where everything was taken.
    pub(super) fn processed(&self) -> Option<u64> {
        self.next.map(|next| next - 1)
    }

    /// Whether it is known where to begin.
    pub(super) const fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    /// The stream ended at `last` after we had begun to listen; the first copy since then is `first`.
    pub(super) fn note_end(&mut self, now_ms: u64, last: u64, first: Option<u64>) {
        let next = *self.next.get_or_insert(first.map_or(last + 1, |first| first.min(last + 1)).max(1));
        if next <= last {
            self.tail.get_or_insert((last, now_ms));
        }
    }

    /// What a copy is. `is_sure` where the stream is known to be the same as before.
    pub(super) fn judge(&mut self, now_ms: u64, seq: u64, stored_ms: u64, is_sure: bool) -> Verdict {
        self.heard_ms = now_ms;
        let next = self.next.unwrap_or(0);
        if seq == next && (seq > 1 || is_sure) {
            Verdict::Take
        } else if seq > next {
            if self.held.contains_key(&seq) { Verdict::Twice } else { Verdict::Hold }
        } else if self.known.contains(&(seq, stored_ms)) {
            Verdict::Twice
        } else if is_sure {
            Verdict::Take
        } else {
            Verdict::Doubt
        }
    }

    /// Whether a copy is one of those that are being read back.
    pub(super) fn is_read_back(&self, seq: u64) -> bool {
        self.reading.is_some_and(|to| seq <= to)
    }

    /// A copy was taken.
    pub(super) fn taken(&mut self, seq: u64, stored_ms: u64) {
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back((seq, stored_ms));
        if self.next == Some(seq) {
            self.next = Some(seq + 1);
            self.tail = self.tail.filter(|(last, _)| *last > seq);
        }
    }

    /// Keeps a copy behind a hole.
    pub(super) fn hold(&mut self, now_ms: u64, seq: u64, copy: T, bytes: usize) {
        self.held.insert(seq, Held { copy, bytes, since_ms: now_ms });
        self.held_bytes += bytes;
    }

    /// The next of the copies that were held, where nothing before it is missing any more. To be called until there is
    /// none, each of them [`Self::taken`].
    pub(super) fn release(&mut self) -> Option<T> {
        let next = self.next?.max(self.passed + 1);
        let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() <= next) else {
            self.next = Some(next);
            self.tail = self.tail.filter(|(last, _)| *last >= next);
            return None;
        };
        self.next = self.next.map(|next| next.max(*entry.key()));
        let held = entry.remove();
        self.held_bytes -= held.bytes;
        Some(held.copy)
    }

    /// A read has ended; `to` where all up to there has come that exists.
    pub(super) fn read_ended(&mut self, now_ms: u64, to: Option<u64>) {
        self.reading = None;
        match to {
            Some(to) => self.passed = self.passed.max(to),
            None => self.read_again_ms = now_ms + READ_AGAIN_MS,
        }
    }

    /// Goes on behind everything that is known of.
    pub(super) fn give_up(&mut self) {
        let held = self.held.last_key_value().map_or(0, |(seq, _)| *seq);
        self.passed = self.passed.max(held).max(self.tail.map_or(0, |(last, _)| last));
    }

    /// What is to be done about what is missing.
    pub(super) fn look_for_holes(&mut self, now_ms: u64) -> Hole {
        let Some(from) = self.next else { return Hole::Wait };
        let behind = self.held.first_key_value().map(|(seq, held)| (seq - 1, held.since_ms));
        let is_quiet = now_ms >= self.heard_ms + QUIET_MS;
        let tail = self.tail.map(|(last, since_ms)| (last, since_ms + TAIL_MS));
        let Some((to, since_ms)) = behind.or(tail.filter(|(_, due_ms)| now_ms >= *due_ms && is_quiet)) else {
            return Hole::Wait;
        };
        let is_over = now_ms >= since_ms + HOLE_MAX_MS
            || to.saturating_sub(from) >= READ_MAX
            || self.held.len() > HELD_MAX
            || self.held_bytes > HELD_BYTES_MAX;
        if is_over {
            return Hole::GiveUp;
        }
        if self.reading.is_some() || now_ms < self.read_again_ms {
            return Hole::Wait;
        }
        self.reading = Some(to);
        Hole::Read { from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes copies as they come, all stored at 1; returns what is taken by that.
    fn come(order: &mut Order<u64>, now_ms: u64, seqs: &[u64]) -> Vec<u64> {
        let mut taken = Vec::new();
        for &seq in seqs {
            match order.judge(now_ms, seq, 1, false) {
                Verdict::Take => {
                    order.taken(seq, 1);
                    taken.push(seq);
                }
                Verdict::Hold => order.hold(now_ms, seq, seq, 1),
                Verdict::Twice | Verdict::Doubt => {}
            }
            taken.extend(released(order));
        }
        taken
    }

    fn released(order: &mut Order<u64>) -> Vec<u64> {
        let mut released = Vec::new();
        while let Some(seq) = order.release() {
            order.taken(seq, 1);
            released.push(seq);
        }
        released
    }

    fn begun(last: u64) -> Order<u64> {
        let mut order = Order::default();
        order.note_end(0, last, None);
        order
    }

    #[test]
    fn what_follows_a_hole_waits_until_it_was_read_back() {
        let mut order = begun(4);
        assert_eq!(come(&mut order, 0, &[5, 8, 9]), [5]);
        assert_eq!(order.processed(), Some(5));
        assert_eq!(order.look_for_holes(0), Hole::Read { from: 6, to: 7 });
        assert_eq!(order.look_for_holes(0), Hole::Wait, "it is being read");

        assert_eq!(come(&mut order, 1, &[7]), [0_u64; 0], "6 does not exist any more, but who knows");
        order.read_ended(1, Some(7));

        assert_eq!(released(&mut order), [7, 8, 9]);
        assert_eq!((order.processed(), order.look_for_holes(5_000)), (Some(9), Hole::Wait));
    }

    #[test]
    fn a_copy_that_was_late_fills_the_hole_as_well() {
        let mut order = begun(4);
        assert_eq!(come(&mut order, 0, &[6]), [0_u64; 0]);
        assert_eq!(order.look_for_holes(0), Hole::Read { from: 5, to: 5 });
        assert_eq!(come(&mut order, 1, &[5]), [5, 6]);
        order.read_ended(1, Some(5));
        assert_eq!(released(&mut order), [0_u64; 0]);
        assert_eq!(order.processed(), Some(6));
    }

    #[test]
    fn a_second_hole_is_read_when_the_first_is_filled() {
        let mut order = begun(0);
        order.taken(1, 1);
        assert_eq!(come(&mut order, 0, &[3, 5]), [0_u64; 0]);
        assert_eq!(order.look_for_holes(0), Hole::Read { from: 2, to: 2 });
        order.read_ended(1, Some(2));
        assert_eq!(released(&mut order), [3]);
        assert_eq!(order.look_for_holes(1), Hole::Read { from: 4, to: 4 });
    }

    #[test]
    fn a_read_that_fails_is_tried_again_and_a_hole_that_stays_is_given_up() {
        let mut order = begun(4);
        come(&mut order, 0, &[6, 9]);
        assert_eq!(order.look_for_holes(0), Hole::Read { from: 5, to: 5 });
        order.read_ended(100, None);
        assert_eq!(order.look_for_holes(100), Hole::Wait);
        assert_eq!(order.look_for_holes(300), Hole::Read { from: 5, to: 5 });
        assert_eq!(order.look_for_holes(2_000), Hole::GiveUp);

        order.give_up();
        assert_eq!(released(&mut order), [6, 9]);
        assert_eq!(order.processed(), Some(9));
    }

    #[test]
    fn more_than_is_read_back_is_given_up_at_once() {
        let mut order = begun(4);
        come(&mut order, 0, &[2_000]);
        assert_eq!(order.look_for_holes(0), Hole::GiveUp);
    }

    #[test]
    fn a_tail_that_the_stream_tells_of_and_that_does_not_come_is_missing() {
        let mut order = begun(4);
        order.note_end(1_000, 6, None);
        assert_eq!(order.look_for_holes(1_499), Hole::Wait);
        assert_eq!(come(&mut order, 1_499, &[5]), [5]);
        assert_eq!(order.look_for_holes(1_501), Hole::Wait, "copies are coming");
        assert_eq!(order.look_for_holes(1_750), Hole::Read { from: 6, to: 6 });
        order.read_ended(1_760, Some(6));
        assert_eq!(released(&mut order), [0_u64; 0]);
        assert_eq!((order.processed(), order.look_for_holes(9_000)), (Some(6), Hole::Wait), "it was deleted");
    }

    #[test]
    fn copies_that_came_before_the_stream_was_looked_at_are_not_taken_for_older_ones() {
        let mut order = Order::<u64>::default();
        order.note_end(0, 7, Some(6));
        assert_eq!(come(&mut order, 0, &[6, 7, 8]), [6, 7, 8]);
    }

    #[test]
    fn a_second_copy_is_known_and_an_older_or_the_first_one_is_doubted() {
        let mut order = begun(4);
        come(&mut order, 0, &[5]);
        assert_eq!(order.judge(0, 5, 1, false), Verdict::Twice);
        assert_eq!(order.judge(0, 5, 2, false), Verdict::Doubt);
        assert_eq!(order.judge(0, 3, 1, false), Verdict::Doubt);
        assert_eq!(order.judge(0, 3, 1, true), Verdict::Take, "late, but of the same stream");
        assert_eq!(begun(0).judge(0, 1, 1, false), Verdict::Doubt);
        assert_eq!(begun(0).judge(0, 1, 1, true), Verdict::Take);
    }
}
