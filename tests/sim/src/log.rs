//! What the simulated stream ever stored: the truth that clients' views of kept messages are compared with.
//!
//! Knows what excuses a message that a client never sees: its time was over, a newer one of its key took its place, or
//! it was not for that user.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::client::Number;

/// A place in the stream as a client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The stream's incarnation.
    pub epoch: String,
    /// The sequence.
    pub seq: u64,
}

/// A message that was stored once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Which.
    pub number: Number,
    /// When, in the world's milliseconds.
    pub stored_ms: u64,
    /// From when on nobody needs it, in the world's milliseconds.
    pub expires_ms: Option<u64>,
    /// Its conflation key.
    pub key: Option<String>,
    /// The user it is not for.
    pub except: Option<String>,
}

/// For how long entries stay: longer than any client is away.
const REMEMBERED_MS: u64 = 600_000;

#[derive(Debug, Default)]
struct Epoch {
    name: String,
    subjects: BTreeMap<String, BTreeMap<u64, Logged>>,
}

/// Every message of every incarnation of the stream, the latest last.
#[derive(Debug, Default)]
pub struct Log {
    epochs: Vec<Epoch>,
}

impl Log {
    /// The stream begins anew.
    pub fn begin(&mut self, epoch: String) {
        self.epochs.push(Epoch { name: epoch, ..Epoch::default() });
    }

    /// A message was stored.
    pub fn store(&mut self, subject: &str, seq: u64, logged: Logged) {
        let stored_ms = logged.stored_ms;
        let Some(epoch) = self.epochs.last_mut() else { return };
        let messages = epoch.subjects.entry(subject.to_owned()).or_default();
        messages.insert(seq, logged);
        while messages.first_key_value().is_some_and(|(_, first)| first.stored_ms + REMEMBERED_MS < stored_ms) {
            messages.pop_first();
        }
    }

    /// Which incarnation this is, counted from 0.
    pub fn age(&self, epoch: &str) -> Option<usize> {
        self.epochs.iter().position(|known| known.name == epoch)
    }

    /// The message at a place.
    pub fn at(&self, subject: &str, place: &Place) -> Option<&Logged> {
        let epoch = self.epochs.iter().find(|known| known.name == place.epoch)?;
        epoch.subjects.get(subject)?.get(&place.seq)
    }

    /// The first message that `user` should have had between two places (`until` excluded; `None` for the end), and had
    /// not. What was stored in an incarnation that is no more went with it.
    pub fn missed(&self, subject: &str, after: &Place, until: Option<&Place>, user: &str, now_ms: u64) -> Option<u64> {
        let from = self.age(&after.epoch)?;
        let to = until.map_or(Some(self.epochs.len().checked_sub(1)?), |until| self.age(&until.epoch))?;
        let begin = if from == to { Bound::Excluded(after.seq) } else { Bound::Unbounded };
        let end = until.map_or(Bound::Unbounded, |until| Bound::Excluded(until.seq));
        if let (Bound::Excluded(begin), Bound::Excluded(end)) = (begin, end)
            && begin >= end
        {
            return None;
        }
        let messages = self.epochs.get(to)?.subjects.get(subject)?;
        let is_excused = |seq: u64, logged: &Logged| {
            logged.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
                || logged.except.as_deref() == Some(user)
                || (logged.key.is_some() && self.newer(to, subject, seq).any(|other| other.key == logged.key))
        };
        let mut between = messages.range((begin, end));
        between.find(|(seq, logged)| !is_excused(**seq, logged)).map(|(seq, _)| *seq)
    }

    /// What was stored after that, in the same incarnation or a later one: it may wait for the client in the same queue.
    fn newer(&self, age: usize, subject: &str, seq: u64) -> impl Iterator<Item = &Logged> {
        let since = self.epochs.iter().skip(age).filter_map(move |epoch| epoch.subjects.get(subject));
        since.enumerate().flat_map(move |(later, messages)| {
            let begin = if later == 0 { Bound::Excluded(seq) } else { Bound::Unbounded };
            messages.range((begin, Bound::Unbounded)).map(|(_, logged)| logged)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(key: Option<&str>, expires_ms: Option<u64>) -> Logged {
        let number = Number { sender: 1, number: 1 };
        Logged { number, stored_ms: 0, expires_ms, key: key.map(str::to_owned), except: None }
    }

    fn place(epoch: &str, seq: u64) -> Place {
        Place { epoch: epoch.to_owned(), seq }
    }

    #[test]
    fn only_what_nothing_excuses_was_missed() {
        let mut log = Log::default();
        log.begin("a".to_owned());
        log.store("s", 3, logged(Some("k"), None));
        log.store("s", 5, logged(None, Some(10)));
        log.store("s", 7, logged(Some("k"), None));
        let missed = |from, until: Option<u64>, now_ms| {
            let until = until.map(|seq| place("a", seq));
            log.missed("s", &place("a", from), until.as_ref(), "u", now_ms)
        };

        assert_eq!(missed(0, None, 9), Some(5), "3 was replaced by 7");
        assert_eq!(missed(0, None, 10), Some(7));
        assert_eq!(missed(0, Some(7), 10), None);
        assert_eq!(missed(7, None, 0), None);
    }

    #[test]
    fn a_message_of_the_key_in_the_stream_that_followed_replaces_an_older_one() {
        let mut log = Log::default();
        log.begin("a".to_owned());
        log.store("s", 3, logged(Some("k"), None));
        log.store("s", 5, logged(None, None));
        let missed = |log: &Log| log.missed("s", &place("a", 0), Some(&place("a", 5)), "u", 0);
        assert_eq!(missed(&log), Some(3));

        log.begin("b".to_owned());
        log.store("s", 1, logged(Some("other"), None));
        assert_eq!(missed(&log), Some(3));
        log.store("s", 2, logged(Some("k"), None));

        assert_eq!(missed(&log), None);
    }

    #[test]
    fn a_stream_made_anew_is_news_from_its_beginning() {
        let mut log = Log::default();
        log.begin("a".to_owned());
        log.store("s", 9, logged(None, None));
        log.begin("b".to_owned());
        log.store("s", 2, logged(None, None));

        assert_eq!(log.missed("s", &place("a", 3), None, "u", 0), Some(2));
        assert_eq!(log.missed("s", &place("a", 3), Some(&place("b", 2)), "u", 0), None);
    }
}
