//! Moves between lanes alone: each race of steps, messages, reports and losses.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{HandedOver, Handled, Lane as Kind, Move, MoveStep};

use super::lane::{Counted, Decision, Lane};
use super::{Message, fingerprint};
use crate::core::event::{Now, Request};
use crate::core::sections::Sections;

fn id(n: u8) -> NodeId {
    NodeId::router([n; 8])
}

fn owner_of(partition: usize, routers: &[NodeId]) -> Option<NodeId> {
    Sections::ONE.owner_of(partition, routers)
}

/// A partition that is `old`'s before and `new`'s after.
fn partition_between(before: &[NodeId], after: &[NodeId], old: NodeId, new: NodeId) -> usize {
    let moves = |p: &usize| owner_of(*p, before) == Some(old) && owner_of(*p, after) == Some(new);
    (0..64).find(moves).expect("some partition moves between the two")
}

/// A router as far as moves go: what it handled, in order.
struct Router {
    lane: Lane,
    partition: usize,
    handled: Vec<String>,
    ms: u64,
}

impl Router {
    fn new(me: NodeId, owners: &[NodeId], partition: usize) -> Self {
        let mut lane = Lane::new(me, Sections::ONE);
        lane.set_owners(owners);
        Self { lane, partition, handled: Vec::new(), ms: 1_000 }
    }

    fn hear(&mut self, text: &str) {
        let now = Now { ms: self.ms, unix_ms: self.ms };
        let none: &[(&str, &str)] = &[];
        let request = Request { subject: "hf.send.room.r", reply: None, headers: &none, payload: text.as_bytes() };
        match self.lane.decide(now, self.partition, &request, fingerprint) {
            Decision::Handle => self.handled.push(text.to_owned()),
            Decision::Keep { full: Some(former) } => {
                let mut released = Vec::new();
                self.lane.give_up_waiting(former, &mut released);
                self.take(released);
            }
            Decision::Ignore | Decision::Second | Decision::Keep { full: None } => {}
        }
    }

    fn take(&mut self, released: Vec<Message>) {
        let texts = released.into_iter().map(|message| String::from_utf8(message.payload.to_vec()).expect("text"));
        self.handled.extend(texts);
    }

    fn step(&mut self, plan: &Plan, step: MoveStep) {
        let mut released = Vec::new();
        self.lane.step(self.ms, &plan.step(step), &mut released);
        self.take(released);
    }

    fn on_handled(&mut self, handled: Handled) {
        let mut released = Vec::new();
        self.lane.on_handled(self.ms, handled, &mut released);
        self.take(released);
    }

    fn lose(&mut self, router: NodeId) {
        let mut released = Vec::new();
        self.lane.lose(self.ms, router, &mut released);
        self.take(released);
    }

    fn expire(&mut self, ms: u64) {
        self.ms = ms;
        let mut released = Vec::new();
        self.lane.expire(ms, &mut released);
        self.take(released);
    }

    /// Reports of a turn's end, for heirs.
    fn tell(&mut self, me: NodeId) -> Vec<Handled> {
        let told = self.lane.tell().into_iter();
        told.map(|told| Handled {
            lingering: Vec::new(),
            from: me,
            mover: told.id.0,
            number: told.id.1,
            lane: Kind::Send,
            keys: told.keys,
            end: told.is_last.then(HandedOver::default),
        })
        .collect()
    }
}

struct Plan {
    mover: NodeId,
    before: Vec<NodeId>,
    after: Vec<NodeId>,
}

impl Plan {
    /// The router with number `n` joins those with numbers `before`.
    fn join(n: u8, before: &[u8]) -> Self {
        let mut before: Vec<_> = before.iter().map(|n| id(*n)).collect();
        before.sort_unstable();
        let mut after = before.clone();
        after.push(id(n));
        after.sort_unstable();
        Self { mover: id(n), before, after }
    }

    fn step(&self, step: MoveStep) -> Move {
        Move { mover: self.mover, number: 1, step, before: self.before.clone(), after: self.after.clone() }
    }
}

/// What stands in a stream.
#[derive(Clone)]
enum Entry {
    Text(String),
    Step(MoveStep),
}

const STEPS: [MoveStep; 5] = [MoveStep::Count, MoveStep::Ready, MoveStep::Start, MoveStep::End, MoveStep::Close];

/// A stream of `count` messages with a step after each `apart` of them, all steps `shift` messages later.
fn stream(count: usize, apart: usize, shift: usize, text: impl Fn(usize) -> String) -> Vec<Entry> {
    let mut entries = Vec::new();
    for n in 0..count {
        if let Some(at) = (0..5).find(|step| n == (step + 1) * apart + shift) {
            entries.push(Entry::Step(STEPS[at]));
        }
        entries.push(Entry::Text(text(n)));
    }
    entries
}

/// Runs old and new owner over their views of one stream, the new one `lag` entries ahead (or behind).
fn run(old_view: &[Entry], new_view: &[Entry], lag: isize) -> (Router, Router) {
    let plan = Plan::join(2, &[1]);
    let partition = partition_between(&plan.before, &plan.after, id(1), id(2));
    let mut old = Router::new(id(1), &plan.before, partition);
    let mut new = Router::new(id(2), &plan.before, partition);
    let take = |router: &mut Router, entry: &Entry| match entry {
        Entry::Text(text) => router.hear(text),
        Entry::Step(step) => router.step(&plan, *step),
    };
    for at in 0..old_view.len() + lag.unsigned_abs() {
        let (first, second) = (at.checked_sub(lag.min(0).unsigned_abs()), at.checked_sub(lag.max(0).unsigned_abs()));
        if let Some(entry) = first.and_then(|at| new_view.get(at)) {
            take(&mut new, entry);
        }
        if let Some(entry) = second.and_then(|at| old_view.get(at)) {
            take(&mut old, entry);
            for handled in old.tell(id(1)) {
                new.on_handled(handled);
            }
        }
    }
    (old, new)
}

#[test]
fn wherever_the_steps_fall_each_message_is_handled_once_and_in_order() {
    let text = |n: usize| format!("{n}");
    for apart in [2, 3, 10] {
        for (old_shift, new_shift) in [(0, 0), (1, 0), (0, 1)] {
            for lag in -40..40 {
                let views = (stream(80, apart, old_shift, text), stream(80, apart, new_shift, text));
                let (old, new) = run(&views.0, &views.1, lag);
                let all: Vec<String> = old.handled.iter().chain(&new.handled).cloned().collect();
                let expected: Vec<String> = (0..80).map(text).collect();
                assert_eq!(all, expected, "{apart} apart, shifts {old_shift} {new_shift}, lag {lag}");
                assert!(new.lane.is_quiet() && old.lane.is_quiet());
            }
        }
    }
}

#[test]
fn messages_that_are_all_the_same_are_counted() {
    for lag in -20..20 {
        let view = stream(60, 10, 0, |_| "same".to_owned());
        let (old, new) = run(&view, &view, lag);
        assert_eq!(old.handled.len() + new.handled.len(), 60, "lag {lag}");
    }
}

/// A join that has come to its start: old owner, new owner, plan.
fn started() -> (Router, Router, Plan) {
    let plan = Plan::join(2, &[1]);
    let partition = partition_between(&plan.before, &plan.after, id(1), id(2));
    let mut routers = [1, 2].map(|n| Router::new(id(n), &plan.before, partition));
    for router in &mut routers {
        for step in [MoveStep::Count, MoveStep::Ready, MoveStep::Start] {
            router.step(&plan, step);
        }
    }
    let [old, new] = routers;
    (old, new, plan)
}

#[test]
fn the_old_owner_alone_handles_and_speaks_until_its_end() {
    let (mut old, mut new, plan) = started();
    for text in ["a", "b"] {
        old.hear(text);
        new.hear(text);
    }
    assert_eq!((&old.handled[..], new.handled.len()), (&["a".to_owned(), "b".to_owned()][..], 0));
    assert!(old.lane.speaks(old.partition) && !new.lane.speaks(new.partition));

    old.step(&plan, MoveStep::End);
    assert!(!old.lane.speaks(old.partition));
    new.step(&plan, MoveStep::End);
    assert!(!new.lane.speaks(new.partition), "not before it was handed over");
    for handled in old.tell(id(1)) {
        new.on_handled(handled);
    }
    assert!(new.lane.speaks(new.partition) && new.handled.is_empty());
    assert_eq!(new.lane.counted, Counted { kept: 2, seconds: 2, impatient: 0 });
}

#[test]
fn an_old_owner_that_crashes_leaves_what_it_has_not_told() {
    let (mut old, mut new, _) = started();
    for text in ["a", "b", "c"] {
        new.hear(text);
    }
    old.hear("a");
    for handled in old.tell(id(1)) {
        new.on_handled(handled);
    }
    new.lose(id(1));
    new.hear("d");
    assert_eq!(new.handled, ["b", "c", "d"]);
    assert!(new.lane.is_quiet() || new.lane.speaks(new.partition));
}

#[test]
fn a_new_owner_that_crashes_takes_nothing_with_it() {
    let (mut old, _, _) = started();
    old.hear("a");
    old.lose(id(2));
    old.hear("b");
    assert_eq!(old.handled, ["a", "b"]);
    assert!(old.lane.is_quiet() && old.lane.has_told());
}

#[test]
fn an_heir_that_crashes_is_replaced_by_the_next() {
    // 1 leaves 2 and 3; the partition would go to 2.
    let (before, after) = ([1, 2, 3].map(id), [2, 3].map(id));
    let plan = Plan { mover: id(1), before: sorted(&before), after: sorted(&after) };
    let partition = partition_between(&plan.before, &plan.after, id(1), id(2));
    let mut leaver = Router::new(id(1), &plan.before, partition);
    let mut other = Router::new(id(3), &plan.before, partition);
    for step in [MoveStep::Count, MoveStep::Ready, MoveStep::Start] {
        leaver.step(&plan, step);
        other.step(&plan, step);
    }
    for router in [&mut leaver, &mut other] {
        router.hear("a");
        router.lose(id(2));
        router.hear("b");
        router.step(&plan, MoveStep::End);
        router.hear("c");
    }
    for handled in leaver.tell(id(1)) {
        other.on_handled(handled);
    }
    assert_eq!((leaver.handled, other.handled), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
}

fn sorted(routers: &[NodeId]) -> Vec<NodeId> {
    let mut routers = routers.to_vec();
    routers.sort_unstable();
    routers
}

#[test]
fn a_leaver_that_crashes_leaves_what_it_has_not_told() {
    let plan = Plan { mover: id(1), before: sorted(&[id(1), id(2)]), after: vec![id(2)] };
    let partition = partition_between(&plan.before, &plan.after, id(1), id(2));
    let mut leaver = Router::new(id(1), &plan.before, partition);
    let mut heir = Router::new(id(2), &plan.before, partition);
    for router in [&mut leaver, &mut heir] {
        [MoveStep::Count, MoveStep::Ready, MoveStep::Start].into_iter().for_each(|step| router.step(&plan, step));
    }
    leaver.hear("a");
    heir.hear("a");
    leaver.tell(id(1)).into_iter().for_each(|handled| heir.on_handled(handled));
    heir.hear("b");
    heir.lose(id(1));
    heir.hear("c");
    assert_eq!(heir.handled, ["b", "c"]);
    assert!(heir.lane.speaks(partition));
}

#[test]
fn what_is_passed_on_twice_within_one_hand_over_keeps_its_order() {
    // 1 hands over to 2, late, and 2 to 3 meanwhile.
    let first = Plan::join(2, &[1]);
    let second = Plan::join(3, &[1, 2]);
    let (a, b, c) = (&first.before, &first.after, &second.after);
    let passes =
        |p: &usize| owner_of(*p, a) == Some(id(1)) && owner_of(*p, b) == Some(id(2)) && owner_of(*p, c) == Some(id(3));
    let partition = (0..64).find(passes).expect("a partition that moves twice");
    let mut routers = [1, 2, 3].map(|n| Router::new(id(n), a, partition));
    let texts: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let mut texts_left = texts.iter();
    for (plan, step) in STEPS.map(|step| (&first, step)).into_iter().chain(STEPS.map(|step| (&second, step))) {
        let text = texts_left.next().expect("enough");
        for router in &mut routers {
            router.step(plan, step);
            router.hear(text);
        }
    }
    let [one, two, three] = &mut routers;
    assert!(two.tell(id(2)).iter().all(|handled| handled.end.is_none()), "it has not got it itself");
    one.tell(id(1)).into_iter().for_each(|handled| two.on_handled(handled));
    two.tell(id(2)).into_iter().for_each(|handled| three.on_handled(handled));
    for text in texts_left {
        [&mut *one, &mut *two, &mut *three].into_iter().for_each(|router| router.hear(text));
    }
    let all: Vec<_> = [&one.handled[..], &two.handled, &three.handled].concat();
    assert_eq!(all, texts);
    assert!(!one.handled.is_empty() && !two.handled.is_empty() && !three.handled.is_empty());
}

#[test]
fn nobody_is_waited_for_for_ever() {
    let (_, mut new, plan) = started();
    new.hear("a");
    new.step(&plan, MoveStep::End);
    new.hear("b");
    new.expire(5_999);
    assert!(new.handled.is_empty());
    new.expire(6_000);
    new.hear("c");
    assert_eq!(new.handled, ["a", "b", "c"]);
    assert_eq!(new.lane.counted.impatient, 1);
}

#[test]
fn too_much_is_released_early_and_counted() {
    let (_, mut new, _) = started();
    for n in 0..262_144 {
        new.hear(&n.to_string());
    }
    assert_eq!((new.handled.len(), new.lane.counted.impatient), (262_144, 1));
}

#[test]
fn a_mover_that_is_through_is_waited_for_until_its_steps_are_read() {
    let plan = Plan { mover: id(1), before: sorted(&[id(1), id(2)]), after: vec![id(2)] };
    let partition = partition_between(&plan.before, &plan.after, id(1), id(2));
    let mut heir = Router::new(id(2), &plan.before, partition);
    for step in [MoveStep::Count, MoveStep::Ready, MoveStep::Start] {
        heir.step(&plan, step);
    }
    heir.hear("a");
    assert!(heir.lane.orphan(heir.ms, id(1)), "its last beat overtook its steps");
    heir.expire(1_699);
    assert!(heir.handled.is_empty());
    heir.expire(1_700);
    assert_eq!(heir.handled, ["a"], "it said nothing more");
    assert!(!heir.lane.orphan(heir.ms, id(9)));
}

#[test]
fn of_two_that_want_to_move_one_yields() {
    let (low, high) = if id(2) < id(3) { (2, 3) } else { (3, 2) };
    let mut lane = Lane::new(id(1), Sections::ONE);
    lane.set_owners(&[id(1)]);
    for n in [high, low] {
        lane.step(1_000, &Plan::join(n, &[1]).step(MoveStep::Count), &mut Vec::new());
    }
    assert!(lane.yields((id(high), 1)) && !lane.yields((id(low), 1)));
    lane.step(1_000, &Plan::join(high, &[1]).step(MoveStep::Cancel), &mut Vec::new());
    lane.step(1_000, &Plan::join(low, &[1]).step(MoveStep::Start), &mut Vec::new());
    lane.step(1_000, &Plan::join(high, &[1]).step(MoveStep::Count), &mut Vec::new());
    assert!(lane.yields((id(high), 1)), "the other has begun");
}
