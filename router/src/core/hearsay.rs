//! What was told of users and rooms and is not so: whoever told it saw other things than we see, or was gone before it told
//! what we saw.
//!
//! Sparse: a key is here from the moment when what was told last and what we see differ, until they agree again. Nearly
//! always that is a millisecond, the way of a fact through the bus. Knows no tables and no ownership.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use holdfast_protocol::id::NodeId;

use super::presence::Position;
use super::recall::Kind;

/// How long what was told and what we see may differ before it counts: mirrors, and routers about who owns what, agree
/// again within a second.
const SETTLED_MS: u64 = 1_500;
/// Between two looks at all that differs.
const LOOK_INTERVAL_MS: u64 = 500;
/// What is told in one look.
const AMENDED_MAX: usize = 4_096;
/// Keys of a kind that differ; of those that were not told yet, half as many.
const WRONG_MAX: usize = 65_536;

/// A key of which something else was told than is so.
#[derive(Debug)]
struct Wrong {
    /// What was told last: that it is there, or that it is not.
    is_told_there: bool,
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
            wrong: [HashMap::with_hasher(hasher.clone()), HashMap::with_hasher(hasher)],
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

    /// The mirror is whole. With another router there (`others`), what was told before we listened is known to that one, and
    /// what we believed of it counts for nothing.
    pub(super) fn follow(&mut self, others: bool) {
        self.sees = true;
        if others {
            let since_ms = self.since_ms;
            for wrong in &mut self.wrong {
                wrong.retain(|_, it| it.since_ms >= since_ms);
            }
        }
    }

    /// Whether what is seen next just happened; returns what held before.
    pub(super) const fn see(&mut self, sees: bool) -> bool {
        std::mem::replace(&mut self.sees, sees)
    }

    /// Something else may have been told of a key while we could not hear it: it is told anew, unless what is so is heard.
    pub(super) fn suspect(&mut self, now_ms: u64, kind: Kind, key: &str, is_told_there: bool) {
        let wrong = &mut self.wrong[kind as usize];
        if wrong.len() < WRONG_MAX / 2 {
            let it = || Wrong { is_told_there, since_ms: now_ms, ours: None, node: None };
            wrong.entry_ref(key).or_insert_with(it);
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
            Some(it) => (it.is_told_there, it.since_ms, it.ours) = (!is_there, now_ms, Some(at)),
            None if has_room => {
                let it = Wrong { is_told_there: !is_there, since_ms: now_ms, ours: Some(at), node: None };
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
            return;
        }
        let wrong = &mut self.wrong[kind as usize];
        let has_room = wrong.len() < WRONG_MAX / 2;
        match wrong.get_mut(key) {
            Some(it) if it.is_told_there == is_there => drop(wrong.remove(key)),
            Some(it) => (it.since_ms, it.ours) = (now_ms, Some(at)),
            None if has_room => {
                let it = Wrong { is_told_there: !is_there, since_ms: now_ms, ours: Some(at), node: None };
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
        let wrong = &mut self.wrong[kind as usize];
        if is_told_there == is_there {
            if !wrong.is_empty() {
                wrong.remove(key);
            }
        } else if wrong.get(key).is_some_and(|it| it.is_told_there == is_told_there) {
            // Known.
        } else if wrong.len() < WRONG_MAX || wrong.contains_key(key) {
            let it = Wrong { is_told_there, since_ms: now_ms, ours: None, node: node() };
            wrong.insert(Box::from(key), it);
        } else {
            self.dropped += 1;
        }
    }

    /// Facts of ours wait to be published: what they say was not told yet.
    pub(super) fn wait(&mut self, now_ms: u64) {
        self.hold_off(self.not_before_ms.max(now_ms + SETTLED_MS));
    }

    /// Looks, once in a while, at all that has differed for long enough: what agrees by now is forgotten, and what is `ours`
    /// to tell is to be told.
    pub(super) fn settle(
        &mut self,
        now_ms: u64,
        view: impl Fn(Kind, &str) -> View,
        ours: impl Fn(&str) -> bool,
    ) -> Vec<Amendment> {
        let mut amendments = Vec::new();
        if !self.hears || now_ms < self.not_before_ms.max(self.looked_ms + LOOK_INTERVAL_MS) {
            return amendments;
        }
        self.looked_ms = now_ms;
        for kind in [Kind::User, Kind::Room] {
            self.wrong[kind as usize].retain(|key, wrong| {
                if now_ms < wrong.since_ms + SETTLED_MS {
                    return true;
                }
                let view = view(kind, key);
                if view == View::Unsure {
                    return true;
                }
                if matches!(view, View::There(_)) == wrong.is_told_there {
                    return false;
                }
                if amendments.len() >= AMENDED_MAX || !ours(key) {
                    return true;
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

#[cfg(test)]
mod tests {
    use holdfast_protocol::wire::Cause;

    use super::*;

    fn node() -> NodeId {
        NodeId::gateway([1; 8])
    }

    fn at(seq: u64) -> (Position, u64) {
        (Position { node: node(), seq, cause: Cause::Connect }, seq)
    }

    /// One that listens and follows.
    fn hearsay() -> Hearsay {
        let mut hearsay = Hearsay::new(1);
        hearsay.heard(0, Kind::Room, "another", (true, true), || None);
        hearsay.follow(false);
        hearsay
    }

    fn hear(hearsay: &mut Hearsay, now_ms: u64, is_told_there: bool, is_there: bool) {
        hearsay.heard(now_ms, Kind::Room, "r", (is_told_there, is_there), || Some(node()));
    }

    fn settle(hearsay: &mut Hearsay, now_ms: u64, view: View, ours: bool) -> Vec<Amendment> {
        hearsay.settle(now_ms, |_, _| view, |_| ours)
    }

    fn amended(view: View, ours: Option<(Position, u64)>, node: Option<NodeId>) -> Vec<Amendment> {
        vec![Amendment { kind: Kind::Room, key: "r".into(), view, ours, node }]
    }

    #[test]
    fn what_was_told_and_is_not_so_is_amended_by_its_owner_once() {
        let mut hearsay = hearsay();
        hear(&mut hearsay, 1_000, false, true);
        let there = View::There(node());
        assert_eq!(settle(&mut hearsay, 2_499, there, true), [], "it may settle");
        assert_eq!(settle(&mut hearsay, 3_000, there, false), [], "another's");
        assert_eq!(settle(&mut hearsay, 3_500, View::Unsure, true), []);
        assert_eq!(settle(&mut hearsay, 4_000, there, true), amended(there, None, Some(node())));
        assert_eq!(settle(&mut hearsay, 9_000, there, true), []);
    }

    #[test]
    fn what_agrees_by_the_time_it_counts_is_forgotten() {
        for settles_by_itself in [false, true] {
            let mut hearsay = hearsay();
            hear(&mut hearsay, 1_000, true, false);
            if settles_by_itself {
                assert_eq!(settle(&mut hearsay, 3_000, View::There(node()), true), []);
            } else {
                hear(&mut hearsay, 1_100, false, false);
            }
            assert_eq!(settle(&mut hearsay, 4_000, View::Gone, true), [], "{settles_by_itself}");
        }
    }

    #[test]
    fn what_was_seen_and_not_heard_is_told_as_it_was_seen() {
        let mut hearsay = hearsay();
        hearsay.saw(1_000, Kind::Room, "r", false, at(7));
        assert_eq!(settle(&mut hearsay, 3_000, View::Gone, true), amended(View::Gone, Some(at(7)), None));

        hearsay.saw(4_000, Kind::Room, "r", true, at(8));
        hear(&mut hearsay, 4_001, true, true);
        hearsay.saw(5_000, Kind::Room, "r", false, at(9));
        hearsay.saw(5_000, Kind::Room, "r", true, at(10));
        assert_eq!(settle(&mut hearsay, 9_000, View::Gone, true), [], "heard, or taken back before it was told");
    }

    #[test]
    fn a_fact_that_is_heard_before_we_see_why_agrees_when_we_do() {
        let mut hearsay = hearsay();
        hear(&mut hearsay, 1_000, true, false);
        hearsay.saw(1_001, Kind::Room, "r", true, at(7));
        assert_eq!(settle(&mut hearsay, 9_000, View::Gone, true), []);
    }

    #[test]
    fn who_hears_no_facts_or_is_not_whole_waits_for_none() {
        let mut deaf = Hearsay::new(1);
        deaf.follow(false);
        deaf.saw(1_000, Kind::Room, "r", true, at(7));
        assert_eq!(settle(&mut deaf, 3_000, View::There(node()), true), []);

        let mut joining = hearsay();
        joining.begin_anew(500);
        joining.saw(1_000, Kind::Room, "r", true, at(7));
        assert_eq!(settle(&mut joining, 3_000, View::There(node()), true), []);
        assert!(!joining.see(true), "a batch that comes meanwhile");
        joining.saw(1_000, Kind::Room, "r", true, at(7));
        joining.follow(true);
        assert_eq!(settle(&mut joining, 4_000, View::There(node()), true).len(), 1);
    }

    #[test]
    fn what_is_suspected_is_told_unless_it_is_heard() {
        for hears in [false, true] {
            let mut hearsay = hearsay();
            hearsay.suspect(1_000, Kind::Room, "r", false);
            if hears {
                hear(&mut hearsay, 1_100, true, true);
            }
            let told = settle(&mut hearsay, 3_000, View::There(node()), true);
            assert_eq!(told, if hears { vec![] } else { amended(View::There(node()), None, None) });
        }
    }

    #[test]
    fn who_was_away_leaves_what_was_told_before_to_others_that_were_there() {
        for (others, amended) in [(false, 1), (true, 0)] {
            let mut hearsay = hearsay();
            hear(&mut hearsay, 1_000, false, true);
            hearsay.begin_anew(2_000);
            hearsay.follow(others);
            assert_eq!(settle(&mut hearsay, 5_000, View::There(node()), true).len(), amended);
            hearsay.begin_anew(6_000);
            hear(&mut hearsay, 6_001, false, true);
            hearsay.follow(others);
            assert_eq!(settle(&mut hearsay, 9_000, View::There(node()), true).len(), 1, "heard since");
        }
    }

    #[test]
    fn nothing_counts_while_facts_of_ours_wait() {
        let mut hearsay = hearsay();
        hear(&mut hearsay, 1_000, false, true);
        hearsay.wait(3_000);
        assert_eq!(settle(&mut hearsay, 4_400, View::There(node()), true), []);
        assert_eq!(settle(&mut hearsay, 4_500, View::There(node()), true).len(), 1);
    }

    #[test]
    fn what_differs_is_bounded_and_what_is_beyond_is_counted() {
        let mut hearsay = hearsay();
        for n in 0..=WRONG_MAX {
            hearsay.saw(1_000, Kind::User, &format!("s{n}"), true, at(7));
        }
        assert_eq!(hearsay.take_dropped(), 0, "its owner tells it");
        for n in 0..=WRONG_MAX / 2 {
            hearsay.heard(1_000, Kind::User, &format!("u{n}"), (true, false), || None);
        }
        assert_eq!((hearsay.take_dropped(), hearsay.take_dropped()), (1, 0));
        let told = (0..9).map(|n| settle(&mut hearsay, 3_000 + n * LOOK_INTERVAL_MS, View::Gone, true).len());
        assert_eq!(told.collect::<Vec<_>>(), [4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 0]);
    }
}
