//! What happened shortly before this router's mirror was whole, as the nodes tell it: where all routers that saw it died
//! before they told it, the facts are made here, with the same ids.
//!
//! Knows no tables and no ownership: it is told on how many nodes a key is now, and goes back from there.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use holdfast_protocol::id::NodeId;
use smallvec::SmallVec;

use super::presence::Position;

/// What is remembered of all nodes: as much as of facts of other routers.
const STEPS_MAX: usize = 65_536;

/// Users or rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    User,
    Room,
}

/// A key came to a node that did not have it, or went from it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// When, by our clock.
    pub(super) at_ms: u64,
    /// A user's or a room's.
    pub(super) kind: Kind,
    /// The user or room.
    pub(super) key: Box<str>,
    /// It is there since; else it is gone.
    pub(super) is_there: bool,
    /// Where.
    pub(super) position: Position,
}

/// The steps of all nodes.
#[derive(Debug, Default)]
pub(super) struct Recall {
    steps: Vec<Step>,
    /// Steps beyond the bound.
    dropped: u64,
    /// Rooms that are gone as far as we know, and until when that is doubted.
    doubted: Option<(u64, Vec<Step>)>,
}

/// A node that a key came to or went from.
#[derive(Debug)]
struct Moved {
    node: NodeId,
    /// Whether it has the key, going forward through the steps.
    has: bool,
    /// Whether it has it after the last of them.
    ends_with: bool,
}

/// Where a key was, going forward through its steps.
#[derive(Debug, Default)]
struct Whereabouts {
    moved: SmallVec<[Moved; 1]>,
    /// Nodes that had it all the time.
    others: usize,
}

impl Whereabouts {
    /// Of the first step on a node follows what was before it.
    fn meet(&mut self, step: &Step) {
        match self.moved.iter_mut().find(|moved| moved.node == step.position.node) {
            Some(moved) => moved.ends_with = step.is_there,
            None => self.moved.push(Moved { node: step.position.node, has: !step.is_there, ends_with: step.is_there }),
        }
    }

    /// Goes on by a step; whether the key came to the first node by it, or went from the last.
    fn pass(&mut self, step: &Step) -> bool {
        let before = self.count();
        if let Some(moved) = self.moved.iter_mut().find(|moved| moved.node == step.position.node) {
            moved.has = step.is_there;
        }
        (before == 0) != (self.count() == 0)
    }

    fn count(&self) -> usize {
        self.others + self.moved.iter().filter(|moved| moved.has).count()
    }
}

impl Recall {
    /// A newer snapshot of the node tells all of it again.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.steps.retain(|step| step.position.node != node);
    }

    /// Notes a step. What is beyond the bound is dropped: its fact may be missing.
    pub(super) fn note(&mut self, step: Step) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(step);
        } else {
            self.dropped += 1;
        }
    }

    /// Takes the number of steps that were dropped.
    pub(super) const fn take_dropped(&mut self) -> u64 {
        std::mem::replace(&mut self.dropped, 0)
    }

    /// The mirror is whole: the steps by which a key came to its first node or went from its last, in order of time.
    /// `nodes_now` says how many nodes have a key now; `met` is told each key of which there is a step. Nothing is
    /// remembered any more.
    pub(super) fn take(
        &mut self,
        nodes_now: impl Fn(Kind, &str) -> usize,
        mut met: impl FnMut(Kind, &str),
    ) -> Vec<Step> {
        let mut steps = std::mem::take(&mut self.steps);
        // By number too: a clock may say the same of two.
        steps.sort_by_key(|step| (step.at_ms, step.position.node, step.position.seq));
        let mut keys: HashMap<(Kind, Box<str>), Whereabouts, FixedState> = HashMap::default();
        for step in &steps {
            keys.entry((step.kind, step.key.clone())).or_default().meet(step);
        }
        for ((kind, key), whereabouts) in &mut keys {
            let moved = whereabouts.moved.iter().filter(|moved| moved.ends_with).count();
            let nodes = nodes_now(*kind, key);
            met(*kind, key);
            whereabouts.others = nodes.saturating_sub(moved);
        }
        steps.retain(|step| {
            keys.get_mut(&(step.kind, step.key.clone())).is_some_and(|whereabouts| whereabouts.pass(step))
        });
        steps
    }

    /// Doubts until then that these rooms are gone.
    pub(super) fn doubt(&mut self, until_ms: u64, gone: Vec<Step>) {
        self.doubted = (!gone.is_empty()).then_some((until_ms, gone));
    }

    /// Rooms whose time of doubt is over; once.
    pub(super) fn undoubted(&mut self, now_ms: u64) -> Vec<Step> {
        self.doubted.take_if(|(until_ms, _)| now_ms >= *until_ms).map(|(_, gone)| gone).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::wire::Cause;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::gateway([n; 8])
    }

    fn step(at_ms: u64, on: u8, seq: u64, is_there: bool) -> Step {
        let position = Position { node: node(on), seq, cause: Cause::Connect };
        Step { at_ms, kind: Kind::Room, key: "r".into(), is_there, position }
    }

    fn told(steps: &[Step], nodes_now: usize) -> Vec<(u64, bool)> {
        let mut recall = Recall::default();
        for step in steps {
            recall.note(step.clone());
        }
        let told = recall.take(|_, _| nodes_now, |_, _| ()).iter().map(|step| (step.at_ms, step.is_there)).collect();
        assert!(recall.take(|_, _| nodes_now, |_, _| ()).is_empty(), "once");
        told
    }

    #[test]
    fn a_room_that_came_while_nobody_watched_is_told_by_its_first_node() {
        assert_eq!(told(&[step(200, 2, 5, true), step(100, 1, 9, true)], 2), [(100, true)]);
    }

    #[test]
    fn a_room_that_was_on_another_node_all_the_time_is_no_news() {
        assert!(told(&[step(100, 1, 9, true), step(200, 1, 10, false), step(300, 1, 11, true)], 2).is_empty());
        assert!(told(&[step(100, 1, 9, false)], 1).is_empty());
    }

    #[test]
    fn a_room_that_moved_from_node_to_node_was_there_all_the_time_or_not() {
        assert!(told(&[step(100, 1, 9, true), step(200, 2, 5, false)], 1).is_empty());
        assert_eq!(told(&[step(100, 2, 5, false), step(200, 1, 9, true)], 1), [(100, false), (200, true)]);
    }

    #[test]
    fn steps_of_one_moment_are_in_the_order_of_their_numbers() {
        assert_eq!(told(&[step(100, 1, 10, false), step(100, 1, 9, true)], 0), [(100, true), (100, false)]);
    }

    #[test]
    fn there_is_a_bound_and_what_is_beyond_it_is_counted() {
        let mut recall = Recall::default();
        for number in 0..=STEPS_MAX as u64 {
            recall.note(step(number, 1, number, number % 2 == 0));
        }
        assert_eq!((recall.take_dropped(), recall.take_dropped()), (1, 0));
        assert_eq!(recall.take(|_, _| 0, |_, _| ()).len(), STEPS_MAX);
    }

    #[test]
    fn a_newer_snapshot_replaces_what_its_node_told() {
        let mut recall = Recall::default();
        recall.note(step(100, 1, 9, true));
        recall.note(step(100, 2, 5, true));
        recall.forget(node(1));
        assert_eq!(recall.take(|_, _| 1, |_, _| ()).len(), 1);
    }
}
