//! What looks at the stream found before: the present incarnation and some that were there earlier, for one may be put back.
//! Knows no JetStream.

use std::collections::VecDeque;

/// Incarnations that are remembered. A new one comes when somebody deletes the stream: not often.
const SEEN_MAX: usize = 16;

/// An incarnation of the stream as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) epoch: String,
    /// The sequence of its last message.
    pub(super) last: u64,
    pub(super) created_ns: i128,
}

/// The incarnations that were seen, the present one last.
#[derive(Debug, Default)]
pub(super) struct Incarnations {
    seen: VecDeque<Seen>,
}

impl Incarnations {
    /// The stream is as a look found it; of more than are remembered, what was seen longest ago is forgotten.
    pub(super) fn note(&mut self, seen: Seen) {
        self.seen.retain(|other| other.epoch != seen.epoch);
        if self.seen.len() >= SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    /// The incarnation of this epoch, where more of it was seen than up to `last`.
    pub(super) fn with_more(&self, epoch: &str, last: u64) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.epoch == epoch && last < seen.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(epoch: &str, last: u64) -> Seen {
        Seen { epoch: epoch.to_owned(), last, created_ns: 1 }
    }

    #[test]
    fn one_that_is_put_back_with_less_is_known_though_another_was_there_meanwhile() {
        let mut incarnations = Incarnations::default();
        incarnations.note(seen("first", 5));
        incarnations.note(seen("second", 0));

        assert_eq!(incarnations.with_more("first", 0), Some(&seen("first", 5)));
        assert_eq!(incarnations.with_more("first", 5), None, "all of it is there again");
        assert_eq!(incarnations.with_more("second", 0), None);
        assert_eq!(incarnations.with_more("third", 0), None);

        incarnations.note(seen("first", 7));
        assert_eq!(incarnations.with_more("first", 6), Some(&seen("first", 7)));
    }

    #[test]
    fn what_was_seen_longest_ago_is_forgotten_first() {
        let mut incarnations = Incarnations::default();
        for number in 0..=SEEN_MAX {
            incarnations.note(seen(&number.to_string(), 5));
        }
        assert_eq!(incarnations.with_more("0", 1), None);
        assert_eq!(incarnations.with_more("1", 1), Some(&seen("1", 5)));
    }
}
