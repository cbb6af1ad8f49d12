//! Who is ahead of the other members in kept messages: a client that resumed behind a place that its node has not reached,
//! and cannot tell any more what lies before. What then comes late is news for the others alone.
//!
//! Rare: a node in doubt, and a stream that has been cut meanwhile. Nothing of it is looked at while nobody is ahead.

use hashbrown::HashMap;
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{Kept, Text};
use rustc_hash::FxBuildHasher;

/// Connections that are noted, by slot and scope. Beyond that somebody gets a message twice.
const FLOORS_MAX: usize = 65_536;

/// Where those begin who are ahead.
#[derive(Debug, Default)]
pub(super) struct Floors {
    /// The stream's incarnation that they are of.
    epoch: Text,
    by_connection: HashMap<(u32, u32), u64, FxBuildHasher>,
}

impl Floors {
    /// The connection has everything of this scope up to there.
    pub(super) fn note(&mut self, index: u32, scope: u32, position: &Position) {
        if self.epoch != position.epoch {
            *self = Self { epoch: position.epoch.clone(), ..Self::default() };
        }
        if self.by_connection.len() < FLOORS_MAX {
            self.by_connection.insert((index, scope), position.seq);
        }
    }

    /// Whether the connection has this message. The first that it has not ends it.
    pub(super) fn covers(&mut self, index: u32, scope: u32, kept: Option<&Kept>) -> bool {
        let Some(kept) = kept.filter(|_| !self.by_connection.is_empty()) else { return false };
        let Some(floor) = self.by_connection.get(&(index, scope)) else { return false };
        let is_covered = kept.epoch == self.epoch && kept.seq <= *floor;
        if !is_covered {
            self.by_connection.remove(&(index, scope));
        }
        is_covered
    }

    /// The connection is not in that scope any more; `None` is in none.
    pub(super) fn forget(&mut self, index: u32, scope: Option<u32>) {
        if !self.by_connection.is_empty() {
            self.by_connection.retain(|(at, of), _| *at != index || scope.is_some_and(|scope| scope != *of));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_ahead_is_spared_until_the_first_message_that_is_news() {
        let mut floors = Floors::default();
        let position = Position::new("e", 20).expect("within bounds");
        let mut covers = |index, scope, epoch: &str, seq| {
            floors.note(2, 7, &position);
            floors.covers(index, scope, Some(&Kept { epoch: epoch.into(), seq, previous: 0 }))
        };

        assert!(covers(2, 7, "e", 15) && covers(2, 7, "e", 20));
        assert!(!covers(3, 7, "e", 15) && !covers(2, 8, "e", 15) && !covers(2, 7, "e2", 15));
        assert!(!covers(2, 7, "e", 21));
    }

    #[test]
    fn it_ends_with_the_first_news_and_with_the_membership() {
        let position = Position::new("e", 20).expect("within bounds");
        let kept = |seq| Kept { epoch: "e".into(), seq, previous: 0 };
        let mut floors = Floors::default();
        floors.note(1, 7, &position);
        floors.note(2, 7, &position);

        assert!(!floors.covers(1, 7, Some(&kept(21))));
        assert!(!floors.covers(1, 7, Some(&kept(15))));
        floors.forget(2, Some(8));
        assert!(floors.covers(2, 7, Some(&kept(15))));
        floors.forget(2, Some(7));
        assert!(!floors.covers(2, 7, Some(&kept(15))));
    }
}
