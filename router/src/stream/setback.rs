//! When a stream is believed to have lost its end, so that its sequences are given a second time: a leader that was cut
//! off, or an answer that was long under way, says the same for a moment. Knows no JetStream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Looks in a row that must tell of the loss.
const LOOKS: u8 = 3;
/// Between two that count.
const APART: Duration = Duration::from_millis(1_500);

/// The copies that the routing has heard so far, shared with who looks at the stream.
#[derive(Debug, Default)]
pub(super) struct Heard {
    copies: AtomicU64,
    last: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HeardBefore {
    /// How many.
    copies: u64,
    /// The sequence of the last one.
    last: u64,
}

impl Heard {
    /// So many copies were heard, the last with this sequence.
    pub(super) fn note(&self, copies: u64, last: u64) {
        self.last.store(last, Ordering::Relaxed);
        self.copies.store(copies, Ordering::Relaxed);
    }

    /// What was heard until now.
    pub(super) fn so_far(&self) -> HeardBefore {
        HeardBefore { copies: self.copies.load(Ordering::Relaxed), last: self.last.load(Ordering::Relaxed) }
    }
}

/// Looks in a row that all told of less than was seen before.
#[derive(Debug, Default)]
pub(super) struct Setback {
    looks: u8,
    last_counted: Option<Instant>,
    copies: u64,
}

impl Setback {
    /// A look found the stream as it was, or grown.
    pub(super) fn refuted(&mut self) {
        *self = Self::default();
    }

    /// A look, asked at `asked_at` and after `heard`, found that the stream ends at `last`, before what was seen. True
    /// where that is to be believed: several looks in a row said so, apart from each other, and no copy came meanwhile
    /// that lies behind the end they tell of.
    pub(super) fn told(&mut self, asked_at: Instant, heard: HeardBefore, last: u64) -> bool {
        if self.looks > 0 && heard.copies != self.copies && heard.last > last {
            self.refuted();
        }
        if self.last_counted.is_some_and(|counted| asked_at < counted + APART) {
            return false;
        }
        self.looks += 1;
        self.last_counted = Some(asked_at);
        self.copies = heard.copies;
        self.looks >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(copies: u64, last: u64) -> HeardBefore {
        HeardBefore { copies, last }
    }

    #[test]
    fn one_look_that_tells_of_less_is_not_believed_and_three_apart_are() {
        let (mut setback, begin) = (Setback::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        assert!(!setback.told(at(0), heard(9, 100), 90));
        assert!(!setback.told(at(2_000), heard(9, 100), 90));
        setback.refuted();
        assert!(!setback.told(at(4_000), heard(9, 100), 90), "one in between found it whole");
        assert!(!setback.told(at(4_100), heard(9, 100), 90), "at once again proves no more than before");
        assert!(!setback.told(at(6_000), heard(9, 100), 90));
        assert!(setback.told(at(8_000), heard(9, 100), 90));
    }

    #[test]
    fn a_copy_behind_the_end_that_is_told_of_refutes_it_and_one_before_it_does_not() {
        let (mut setback, begin) = (Setback::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        for look in 0..6 {
            let grows = 100 + look;
            assert!(!setback.told(at(2_000 * look), heard(grows, grows), 90), "its leader knows less than others say");
        }

        let mut setback = Setback::default();
        let believed: Vec<_> =
            (0..3).map(|look| setback.told(at(2_000 * look), heard(9 + look, 60 + look), 60 + look)).collect();
        assert_eq!(believed, [false, false, true], "its copies are counted from there too");
    }

    #[test]
    fn what_was_heard_is_seen_by_who_looks() {
        let shared = Heard::default();
        shared.note(3, 7);
        assert_eq!(shared.so_far(), heard(3, 7));
    }
}
