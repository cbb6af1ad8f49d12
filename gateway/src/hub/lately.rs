//! What this node told routers lately, for one that was not there to hear it: of what all routers died knowing, the next
//! one makes the facts nobody may have told.
//!
//! Remembers when batches were made and what they took off the roster; what they put there, the roster knows by itself.
//! Knows no keys and no routers: it is told what all of them have acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use holdfast_protocol::wire::{Cause, Change, SnapshotEntry};

use super::roster::Kind;

/// How long what routers have acknowledged is remembered: past the default linger of users, and much longer than
/// it takes routers to see that one of them is gone.
const REMEMBERED_MS: u64 = 10_000;
/// Batches that are remembered: a node makes 200 in a second. Of a longer time without any router the latest count.
const BATCHES_MAX: usize = 8_192;
/// Users and rooms gone that are remembered.
const GONE_MAX: usize = 16_384;

#[derive(Debug)]
struct Gone {
    kind: Kind,
    name: Arc<str>,
    /// The batch that had put it there.
    came_seq: u64,
    /// The batch that took it off.
    seq: u64,
    cause: Cause,
}

/// The last batches.
#[derive(Debug, Default)]
pub(super) struct Lately {
    /// When each was made, in order, without a hole.
    batches: VecDeque<u64>,
    /// The number of the first of them.
    first_seq: u64,
    gone: VecDeque<Gone>,
    /// What was forgotten because there was too much, and not taken yet.
    dropped: u64,
}

impl Lately {
    /// A batch was made; numbers have no holes.
    pub(super) fn made(&mut self, seq: u64, now_ms: u64) {
        if self.batches.is_empty() {
            self.first_seq = seq;
        }
        self.batches.push_back(now_ms);
        if self.batches.len() > BATCHES_MAX {
            self.batches.pop_front();
            self.first_seq += 1;
            self.dropped += 1;
        }
    }

    /// The batch `seq` took off what `came_seq` had put there.
    pub(super) fn gone(&mut self, kind: Kind, name: &Arc<str>, came_seq: u64, seq: u64, cause: Cause) {
        if self.gone.len() == GONE_MAX {
            self.gone.pop_front();
            self.dropped += 1;
        }
        self.gone.push_back(Gone { kind, name: Arc::clone(name), came_seq, seq, cause });
    }

    /// Forgets what is old and acknowledged by every router up to this batch.
    pub(super) fn forget(&mut self, now_ms: u64, acked: u64) {
        while self.first_seq <= acked && self.batches.front().is_some_and(|at| at + REMEMBERED_MS < now_ms) {
            self.batches.pop_front();
            self.first_seq += 1;
        }
        while self.gone.front().is_some_and(|gone| gone.seq < self.first_seq) {
            self.gone.pop_front();
        }
        if self.gone.is_empty() && self.gone.capacity() > 64 {
            self.gone.shrink_to_fit();
        }
    }

    /// How long ago the batch was made; `None` where that is forgotten.
    fn age_ms(&self, seq: u64, now_ms: u64) -> Option<u64> {
        let index = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        self.batches.get(index).map(|at| now_ms.saturating_sub(*at))
    }

    /// The entry that tells of a target's coming with this batch, where that is remembered.
    pub(super) fn came(&self, kind: Kind, name: &str, seq: u64, now_ms: u64) -> Option<SnapshotEntry> {
        let age_ms = self.age_ms(seq, now_ms)?;
        Some(SnapshotEntry::Lately(change(kind, name, true, Cause::Connect), seq, age_ms))
    }

    /// Entries that tell of what is gone, each with its coming where that is remembered too.
    pub(super) fn went(&self, now_ms: u64) -> impl Iterator<Item = SnapshotEntry> + '_ {
        self.gone.iter().flat_map(move |Gone { kind, name, came_seq, seq, cause }| {
            let went = self
                .age_ms(*seq, now_ms)
                .map(|age_ms| SnapshotEntry::Lately(change(*kind, name, false, *cause), *seq, age_ms));
            self.came(*kind, name, *came_seq, now_ms).into_iter().chain(went)
        })
    }

    /// Takes the number of what was forgotten for want of room.
    pub(super) const fn take_dropped(&mut self) -> u64 {
        std::mem::replace(&mut self.dropped, 0)
    }
}

fn change(kind: Kind, name: &str, is_there: bool, cause: Cause) -> Change {
    match (kind, is_there) {
        (Kind::User, true) => Change::UserUp { user: name.into(), cause },
        (Kind::User, false) => Change::UserDown { user: name.into(), cause },
        (Kind::Room, _) => Change::Room { room: name.into(), count: u64::from(is_there), cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lately: &Lately, now_ms: u64) -> Vec<(String, u64, u64)> {
        lately
            .went(now_ms)
            .map(|entry| match entry {
                SnapshotEntry::Lately(Change::Room { room, count, .. }, seq, age) => {
                    (format!("{} {count}", &*room), seq, age)
                }
                other => panic!("not of a room: {other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_went_is_told_with_its_coming_and_how_long_ago_it_was() {
        let mut lately = Lately::default();
        lately.made(7, 1_000);
        lately.made(8, 3_000);
        lately.gone(Kind::Room, &"r".into(), 7, 8, Cause::Close);
        lately.gone(Kind::Room, &"old".into(), 2, 8, Cause::Close);

        assert_eq!(
            told(&lately, 3_500),
            [("r 1".to_owned(), 7, 2_500), ("r 0".to_owned(), 8, 500), ("old 0".to_owned(), 8, 500)]
        );
        assert_eq!(lately.came(Kind::User, "u", 6, 3_500), None, "before all that is remembered");
        assert_eq!(lately.came(Kind::User, "u", 9, 3_500), None, "not made yet");
    }

    #[test]
    fn only_what_every_router_has_had_for_a_while_is_forgotten() {
        let mut lately = Lately::default();
        for seq in 1..=3 {
            lately.made(seq, seq * 1_000);
            lately.gone(Kind::Room, &"r".into(), 0, seq, Cause::Close);
        }

        lately.forget(60_000, 1);
        assert_eq!(told(&lately, 60_000).len(), 2, "nobody has had the others");
        lately.forget(12_500, 3);
        assert_eq!(told(&lately, 60_000), [("r 0".to_owned(), 3, 57_000)], "the last is not old enough");
    }

    #[test]
    fn there_is_a_bound_and_what_it_takes_is_counted() {
        let mut lately = Lately::default();
        for seq in 0..BATCHES_MAX as u64 + 2 {
            lately.made(seq, 0);
        }
        assert_eq!(lately.take_dropped(), 2);
        for _ in 0..=GONE_MAX {
            lately.gone(Kind::User, &"u".into(), 0, 5, Cause::Close);
        }
        assert_eq!((lately.take_dropped(), lately.take_dropped()), (1, 0));
        assert!(lately.age_ms(1, 0).is_none() && lately.age_ms(2, 0).is_some());
    }
}
