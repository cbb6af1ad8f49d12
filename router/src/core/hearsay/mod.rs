//! What was told of users and rooms and is not so: whoever told it saw other things than we see, or was gone before it told
//! what we saw.
//!
//! Sparse: a key is here from the moment when what was told last and what we see differ, until they agree again. Nearly
//! always that is a millisecond, the way of a fact through the bus. Knows no tables and no ownership: who may speak of a
//! key it is told.

mod lately;
#[cfg(test)]
mod tests;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use holdfast_protocol::id::NodeId;

use self::lately::Lately;
use super::presence::Position;
use super::recall::Kind;

/// How long what was told and what we see may differ before it counts: mirrors, and routers about who owns what, agree
/// again within a second.
const SETTLED_MS: u64 = 1_500;
/// After so long the owner does not know it, or does not suspect it: whoever does tells it.
const OWNER_SILENT_MS: u64 = 5_000;
/// Who told it in an owner's stead does not contradict that one again before: their views differ for good.
const CONTRADICTED_MS: u64 = 60_000;
/// Between two looks at all that differs.
const LOOK_INTERVAL_MS: u64 = 500;
/// What is told in one look.
const AMENDED_MAX: usize = 4_096;
/// Keys of a kind that differ; of those that were not told yet, half as many.
const WRONG_MAX: usize = 65_536;
/// Keys of a kind of which we told in their owners' stead; of others we stay silent until one of these is old.
const STOOD_IN_MAX: usize = 4_096;

/// A key of which something else was told than is so.
#[derive(Debug)]
struct Wrong {
    /// What was told last: that it is there, or that it is not; `None` where that is not known.
    is_told_there: Option<bool>,
    since_ms: u64,
    /// Our own fact that says otherwise, where we saw it happen: where, and its time.
    ours: Option<(Position, u64)>,
    /// The node that was named when it was told.
    node: Option<NodeId>,
}

/// What our mirror says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// It is on this node, and perhaps on others.
    There(NodeId),
    /// It is nowhere.
    Gone,
    /// That will be known later.
    Unsure,
}

/// Whether we may speak of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// It is ours.
    Owner,
    /// Another's, who may know less.
    Witness,
    /// We may not speak at all now.
    None,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Amendment {
    /// A user's or a room's.
    pub(super) kind: Kind,
    /// The user or room.
    pub(super) key: Box<str>,
    /// What our mirror says; never [`View::Unsure`].
    pub(super) view: View,
    /// Our own fact that was never told: where, and its time.
    pub(super) ours: Option<(Position, u64)>,
    /// The node that was named when the contrary was told.
    pub(super) node: Option<NodeId>,
}

/// All that differs.
#[derive(Debug)]
pub(super) struct Hearsay {
    wrong: [HashMap<Box<str>, Wrong, FixedState>; 2],
    /// What came or went before we followed.
    lately: Lately,
    /// What we told in an owner's stead, and when.
    stood_in: [HashMap<Box<str>, u64, FixedState>; 2],
    /// Whether facts are heard at all: a router that may not listen to them waits for none.
    hears: bool,
    /// Whether what we see just happened, so that it is told from now on or never.
    sees: bool,
    /// Since when we listen without a break.
    since_ms: u64,
    /// Nothing counts before.
    not_before_ms: u64,
    looked_ms: u64,
    dropped: u64,
}

impl Hearsay {
    /// Has heard nothing.
    pub(super) fn new(hash_seed: u64) -> Self {
        let hasher = FixedState::with_seed(hash_seed);
        Self {
            wrong: std::array::from_fn(|_| HashMap::with_hasher(hasher.clone())),
            lately: Lately::new(hash_seed),
            stood_in: std::array::from_fn(|_| HashMap::with_hasher(hasher.clone())),
            hears: false,
            sees: false,
            since_ms: 0,
            not_before_ms: 0,
            looked_ms: 0,
            dropped: 0,
        }
    }

    /// What is told may be missed from now on, and what is seen is not seen as it happens.
    pub(super) const fn begin_anew(&mut self, now_ms: u64) {
        self.sees = false;
        self.since_ms = now_ms;
    }

    /// The mirror is whole. With another router there (`others`), what was told before we listened is known to that one, unless
    /// it is lost soon.
    pub(super) fn follow(&mut self, now_ms: u64, others: bool) {
        self.sees = true;
        self.lately.follow(now_ms);
        if !others {
            self.suspect_lately(now_ms);
        }
    }

    /// A node says of a key that it came or went `then_ms`: where that was before we listened, another knows what was told.
    pub(super) fn note_lately(&mut self, (now_ms, then_ms): (u64, u64), kind: Kind, key: &str) {
        if then_ms < self.since_ms + SETTLED_MS {
            self.lately.note(now_ms, kind, key);
        }
    }

    /// A router is lost that may have been the only one who knew what was told before we followed: of what came or went then,
    /// it is told how it stands, unless that is heard.
    pub(super) fn suspect_lately(&mut self, now_ms: u64) {
        let (keys, dropped) = self.lately.take();
        self.dropped += if self.hears { dropped } else { 0 };
        for (kind, key) in keys {
            self.suspect(now_ms, kind, &key, None);
        }
    }

    /// Whether what is seen next just happened; returns what held before.
    pub(super) const fn see(&mut self, sees: bool) -> bool {
        std::mem::replace(&mut self.sees, sees)
    }

    /// Something else may have been told of a key while we could not hear it (`None`: we know nothing of it): what is so is
    /// told anew, unless it is heard.
    pub(super) fn suspect(&mut self, now_ms: u64, kind: Kind, key: &str, is_told_there: Option<bool>) {
        let wrong = &mut self.wrong[kind as usize];
        if wrong.contains_key(key) {
            // Known, or suspected already.
        } else if wrong.len() < WRONG_MAX / 2 {
            wrong.insert(Box::from(key), Wrong { is_told_there, since_ms: now_ms, ours: None, node: None });
        } else {
            self.dropped += 1;
        }
    }

    /// Whether what is seen just happened and what is told of it is heard.
    pub(super) const fn follows(&self) -> bool {
        self.sees && self.hears
    }

    /// We saw a key come or go when we did not follow yet: the contrary may be what was told last.
    pub(super) fn doubt(&mut self, now_ms: u64, kind: Kind, key: &str, is_there: bool, at: (Position, u64)) {
        let wrong = &mut self.wrong[kind as usize];
        let has_room = wrong.len() < WRONG_MAX / 2;
        match wrong.get_mut(key) {
            // What was heard since is surer.
            Some(it) if it.ours.is_none() => {}
            Some(it) => (it.is_told_there, it.since_ms, it.ours) = (Some(!is_there), now_ms, Some(at)),
            None if has_room => {
                let it = Wrong { is_told_there: Some(!is_there), since_ms: now_ms, ours: Some(at), node: None };
                wrong.insert(Box::from(key), it);
            }
            None => {}
        }
    }

    /// Lets nothing count before then.
    pub(super) const fn hold_off(&mut self, until_ms: u64) {
        self.not_before_ms = until_ms;
    }

    /// We saw a key come or go: until that is heard, the contrary is what was told.
    pub(super) fn saw(&mut self, now_ms: u64, kind: Kind, key: &str, is_there: bool, at: (Position, u64)) {
        if !self.follows() {
            self.lately.note(now_ms, kind, key);
            return;
        }
        let wrong = &mut self.wrong[kind as usize];
        let has_room = wrong.len() < WRONG_MAX / 2;
        match wrong.get_mut(key) {
            Some(it) if it.is_told_there == Some(is_there) => drop(wrong.remove(key)),
            Some(it) => (it.is_told_there, it.since_ms, it.ours) = (Some(!is_there), now_ms, Some(at)),
            None if has_room => {
                let it = Wrong { is_told_there: Some(!is_there), since_ms: now_ms, ours: Some(at), node: None };
                wrong.insert(Box::from(key), it);
            }
            // It is told by whoever owns it, in all likelihood.
            None => {}
        }
    }

    /// A fact was heard, our own among them. `node` is asked for where it is needed.
    pub(super) fn heard(
        &mut self,
        now_ms: u64,
        kind: Kind,
        key: &str,
        (is_told_there, is_there): (bool, bool),
        node: impl FnOnce() -> Option<NodeId>,
    ) {
        self.hears = true;
        self.lately.forget(kind, key);
        let wrong = &mut self.wrong[kind as usize];
        if is_told_there == is_there {
            if !wrong.is_empty() {
                wrong.remove(key);
            }
        } else if wrong.get(key).is_some_and(|it| it.is_told_there == Some(is_told_there)) {
            // Known.
        } else if wrong.len() < WRONG_MAX || wrong.contains_key(key) {
            let it = Wrong { is_told_there: Some(is_told_there), since_ms: now_ms, ours: None, node: node() };
            wrong.insert(Box::from(key), it);
        } else {
            self.dropped += 1;
        }
    }

    /// Facts of ours wait to be published: what they say was not told yet.
    pub(super) fn wait(&mut self, now_ms: u64) {
        self.hold_off(self.not_before_ms.max(now_ms + SETTLED_MS));
    }

    /// Looks, once in a while, at all that has differed for long enough: what agrees by now is forgotten, and what we may
    /// speak of is to be told.
    pub(super) fn settle(
        &mut self,
        now_ms: u64,
        view: impl Fn(Kind, &str) -> View,
        voice: impl Fn(&str) -> Voice,
    ) -> Vec<Amendment> {
        let mut amendments = Vec::new();
        if !self.hears || now_ms < self.not_before_ms.max(self.looked_ms + LOOK_INTERVAL_MS) {
            return amendments;
        }
        self.looked_ms = now_ms;
        self.lately.fade(now_ms, self.sees);
        for kind in [Kind::User, Kind::Room] {
            let stood_in = &mut self.stood_in[kind as usize];
            stood_in.retain(|_, at_ms| now_ms < *at_ms + CONTRADICTED_MS);
            self.wrong[kind as usize].retain(|key, wrong| {
                let age_ms = now_ms.saturating_sub(wrong.since_ms);
                if age_ms < SETTLED_MS {
                    return true;
                }
                let view = view(kind, key);
                if view == View::Unsure {
                    return true;
                }
                if wrong.is_told_there == Some(matches!(view, View::There(_))) {
                    return false;
                }
                let voice = voice(key);
                let stands_in = voice == Voice::Witness
                    && age_ms >= OWNER_SILENT_MS
                    && (stood_in.len() < STOOD_IN_MAX && !stood_in.contains_key(key));
                if amendments.len() >= AMENDED_MAX || (voice != Voice::Owner && !stands_in) {
                    return true;
                }
                if stands_in {
                    stood_in.insert(key.clone(), now_ms);
                }
                let Wrong { ours, node, .. } = *wrong;
                amendments.push(Amendment { kind, key: key.clone(), view, ours, node });
                false
            });
        }
        amendments
    }

    /// Takes the number of facts whose contrary was not noted, because too much differed.
    pub(super) const fn take_dropped(&mut self) -> u64 {
        std::mem::replace(&mut self.dropped, 0)
    }
}
