//! Keys that came or went shortly before this router followed: what was told of them others know, as long as one lives
//! who was there.
//!
//! Remembers keys and times alone. Knows no facts and no routers: it is told what was heard since, and asked for the rest
//! when one of those is lost.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::core::recall::Kind;

/// How long, from when we follow: much longer than it takes routers to see that one of them is gone, and its heir to tell
/// what that one did not.
const REMEMBERED_MS: u64 = 10_000;
/// Keys of a kind.
const KEYS_MAX: usize = 32_768;

/// The keys, by when they were noted.
#[derive(Debug)]
pub(super) struct Lately {
    keys: [HashMap<Box<str>, u64, FixedState>; 2],
    followed_ms: u64,
    /// Keys beyond the bound.
    dropped: u64,
}

impl Lately {
    /// Remembers nothing.
    pub(super) fn new(hash_seed: u64) -> Self {
        let hasher = FixedState::with_seed(hash_seed);
        let keys = [HashMap::with_hasher(hasher.clone()), HashMap::with_hasher(hasher)];
        Self { keys, followed_ms: 0, dropped: 0 }
    }

    /// We follow from now on.
    pub(super) const fn follow(&mut self, now_ms: u64) {
        self.followed_ms = now_ms;
    }

    /// A key came or went, and we may not have heard what was told of it. One beyond the bound is left to others.
    pub(super) fn note(&mut self, now_ms: u64, kind: Kind, key: &str) {
        let keys = &mut self.keys[kind as usize];
        if let Some(at_ms) = keys.get_mut(key) {
            *at_ms = now_ms;
        } else if keys.len() < KEYS_MAX {
            keys.insert(Box::from(key), now_ms);
        } else {
            self.dropped += 1;
        }
    }

    /// It was heard what is told of a key.
    pub(super) fn forget(&mut self, kind: Kind, key: &str) {
        let keys = &mut self.keys[kind as usize];
        if !keys.is_empty() {
            keys.remove(key);
        }
    }

    /// Forgets what others have told by now, if anything was to be told; nothing while we do not follow.
    pub(super) fn fade(&mut self, now_ms: u64, follows: bool) {
        if !follows || now_ms < self.followed_ms + REMEMBERED_MS {
            return;
        }
        for keys in &mut self.keys {
            keys.retain(|_, at_ms| now_ms < *at_ms + REMEMBERED_MS);
            if keys.is_empty() {
                keys.shrink_to_fit();
            }
        }
        if self.keys.iter().all(HashMap::is_empty) {
            self.dropped = 0;
        }
    }

    /// Takes all of them, and the number of those beyond the bound.
    pub(super) fn take(&mut self) -> (Vec<(Kind, Box<str>)>, u64) {
        let mut taken = Vec::new();
        for kind in [Kind::User, Kind::Room] {
            taken.extend(self.keys[kind as usize].drain().map(|(key, _)| (kind, key)));
        }
        (taken, std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lately: &mut Lately) -> Vec<(Kind, Box<str>)> {
        lately.take().0
    }

    #[test]
    fn what_was_heard_or_is_old_is_not_remembered() {
        for (at_ms, remembered) in [(11_599, true), (11_600, false)] {
            let mut lately = Lately::new(1);
            lately.note(1_000, Kind::Room, "r");
            lately.note(1_000, Kind::User, "r");
            lately.forget(Kind::User, "r");
            lately.fade(60_000, false);
            lately.follow(1_600);
            lately.fade(at_ms, true);
            let wanted: &[(Kind, Box<str>)] = if remembered { &[(Kind::Room, "r".into())] } else { &[] };
            assert_eq!(taken(&mut lately), wanted);
            assert_eq!(taken(&mut lately), [], "once");
        }
    }

    #[test]
    fn what_is_noted_while_we_follow_has_its_own_time() {
        let mut lately = Lately::new(1);
        lately.follow(0);
        lately.note(50_000, Kind::Room, "r");
        lately.fade(59_999, true);
        lately.note(59_999, Kind::Room, "r");
        lately.fade(69_998, true);
        assert_eq!(taken(&mut lately).len(), 1);
    }

    #[test]
    fn keys_are_bounded_and_those_beyond_are_counted_where_they_are_wanted() {
        let mut lately = Lately::new(1);
        for n in 0..=KEYS_MAX {
            lately.note(0, Kind::User, &format!("u{n}"));
        }
        let (keys, dropped) = lately.take();
        assert_eq!((keys.len(), dropped, lately.take().1), (KEYS_MAX, 1, 0));
    }
}
