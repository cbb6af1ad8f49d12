//! Receipts in flight: what nodes report is summed until all have, or time is up. Bounded.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use foldhash::fast::FixedState;
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::wire::{AckPart, ReceiptPart};
use smallvec::SmallVec;

use super::event::Action;
use super::table::Slot;

/// A receipt as it starts.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    /// Where it goes.
    pub(super) reply: &'a str,
    /// The message's id.
    pub(super) id: &'a str,
    /// Whether client acknowledgements are awaited.
    pub(super) acked: bool,
    /// When it is answered at the latest, monotonic milliseconds.
    pub(super) due_ms: u64,
    /// The nodes asked.
    pub(super) nodes: SmallVec<[Slot; 4]>,
}

#[derive(Debug)]
struct Pending {
    reply: Box<str>,
    acked: bool,
    due_ms: u64,
    /// Asked, and silent so far.
    silent: SmallVec<[Slot; 4]>,
    /// Nodes that have reported, and how many of their connections can acknowledge and have not; only where awaited.
    unacked: SmallVec<[(Slot, u64); 2]>,
    receipt: Receipt,
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// Whether a node was late.
    pub(super) late: bool,
}

/// All receipts in flight.
#[derive(Debug)]
pub(super) struct Receipts {
    pending: HashMap<u64, Pending, FixedState>,
    due: BTreeSet<(u64, u64)>,
    max: usize,
}

/// The answer to a message that nobody is there for.
pub(super) fn offline(id: &str) -> Receipt {
    Receipt {
        id: id.to_owned(),
        matched: 0,
        written: 0,
        queued: 0,
        filtered: 0,
        dropped: 0,
        acked: 0,
        nodes: 0,
        late_nodes: 0,
        offline: true,
    }
}

/// The answer as an action.
pub(super) fn answer(to: &str, receipt: &Receipt) -> Action {
    // Strings and numbers only: nothing in here can fail to serialise.
    let body = serde_json::to_vec(receipt).unwrap_or_default();
    Action::Answer { to: Box::from(to), body: Ok(Bytes::from(body)) }
}

impl Receipts {
    /// None in flight, at most `max` later.
    pub(super) fn new(max: usize) -> Self {
        Self { pending: HashMap::with_hasher(FixedState::with_seed(0)), due: BTreeSet::new(), max: max.max(1) }
    }

    /// Receipts in flight.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes up a receipt. Where there are too many, the one due next is answered now: `Some` then.
    pub(super) fn open(&mut self, number: u64, opening: Opening<'_>, actions: &mut Vec<Action>) -> Option<Closed> {
        let early = (self.pending.len() >= self.max).then(|| self.due.first().copied()).flatten();
        let closed = early.and_then(|(_, number)| self.close(number, actions));
        self.due.insert((opening.due_ms, number));
        let receipt = Receipt { nodes: opening.nodes.len() as u64, offline: false, ..offline(opening.id) };
        let pending = Pending {
            reply: Box::from(opening.reply),
            acked: opening.acked,
            due_ms: opening.due_ms,
            silent: opening.nodes,
            unacked: SmallVec::new(),
            receipt,
        };
        self.pending.insert(number, pending);
        closed
    }

    /// A node's share; `Some` if that was the last one.
    pub(super) fn report(&mut self, node: Slot, part: &ReceiptPart, actions: &mut Vec<Action>) -> Option<Closed> {
        let pending = self.pending.get_mut(&part.number)?;
        let at = pending.silent.iter().position(|slot| *slot == node)?;
        pending.silent.swap_remove(at);
        let receipt = &mut pending.receipt;
        receipt.matched += part.matched;
        receipt.written += part.written;
        receipt.queued += part.queued;
        receipt.filtered += part.filtered;
        receipt.dropped += part.dropped;
        if pending.acked && part.ackable > 0 {
            pending.unacked.push((node, part.ackable));
        }
        self.close_if_complete(part.number, actions)
    }

    /// Client acknowledgements on a node, and connections that went without; `Some` if they were the last ones.
    pub(super) fn acknowledge(&mut self, node: Slot, part: &AckPart, actions: &mut Vec<Action>) -> Option<Closed> {
        let pending = self.pending.get_mut(&part.number)?;
        let (_, unacked) = pending.unacked.iter_mut().find(|(slot, _)| *slot == node)?;
        // No more than it said there are.
        let acked = part.acked.min(*unacked);
        *unacked = unacked.saturating_sub(acked + part.gone);
        pending.receipt.acked += acked;
        self.close_if_complete(part.number, actions)
    }

    fn close_if_complete(&mut self, number: u64, actions: &mut Vec<Action>) -> Option<Closed> {
        let pending = self.pending.get(&number)?;
        if pending.silent.is_empty() && pending.unacked.iter().all(|(_, unacked)| *unacked == 0) {
            self.close(number, actions)
        } else {
            None
        }
    }

    fn close(&mut self, number: u64, actions: &mut Vec<Action>) -> Option<Closed> {
        let mut pending = self.pending.remove(&number)?;
        self.due.remove(&(pending.due_ms, number));
        let receipt = &mut pending.receipt;
        receipt.late_nodes = pending.silent.len() as u64;
        receipt.offline = receipt.matched + receipt.filtered == 0 && receipt.late_nodes == 0;
        actions.push(answer(&pending.reply, receipt));
        Some(Closed { late: receipt.late_nodes > 0 })
    }

    /// Answers one that is due; `None` when no more are.
    pub(super) fn expire(&mut self, now_ms: u64, actions: &mut Vec<Action>) -> Option<Closed> {
        let (due_ms, number) = *self.due.first()?;
        if due_ms > now_ms { None } else { self.close(number, actions) }
    }

    /// A node is gone: where it has not reported it counts as not asked, and its clients will not acknowledge any more.
    /// Returns what that completed.
    pub(super) fn node_gone(&mut self, node: Slot, actions: &mut Vec<Action>) -> Vec<Closed> {
        let mut affected = Vec::new();
        for (number, pending) in &mut self.pending {
            if let Some(at) = pending.silent.iter().position(|slot| *slot == node) {
                pending.silent.swap_remove(at);
                pending.receipt.nodes -= 1;
                affected.push(*number);
            } else if let Some(at) = pending.unacked.iter().position(|(slot, _)| *slot == node) {
                pending.unacked.swap_remove(at);
                affected.push(*number);
            }
        }
        affected.sort_unstable();
        affected.into_iter().filter_map(|number| self.close_if_complete(number, actions)).collect()
    }

    /// Forgets all without an answer; returns how many.
    pub(super) fn discard(&mut self) -> usize {
        self.due.clear();
        let count = self.pending.len();
        self.pending.clear();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    const A: Slot = Slot(0);
    const B: Slot = Slot(1);

    fn open(receipts: &mut Receipts, number: u64, acked: bool, nodes: SmallVec<[Slot; 4]>) -> Option<Closed> {
        let opening = Opening { reply: "inbox", id: "m", acked, due_ms: 400 + number, nodes };
        receipts.open(number, opening, &mut Vec::new())
    }

    fn part(number: u64, matched: u64, filtered: u64) -> ReceiptPart {
        ReceiptPart { number, matched, written: matched, filtered, ackable: matched, ..ReceiptPart::default() }
    }

    fn receipt_of(actions: &[Action]) -> Receipt {
        match actions {
            [Action::Answer { to, body: Ok(body) }] => {
                assert_eq!(&**to, "inbox");
                serde_json::from_slice(body).expect("a receipt")
            }
            other => panic!("not one answer: {other:?}"),
        }
    }

    #[test]
    fn shares_are_summed_and_answered_with_the_last() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, false, smallvec![A, B]);

        assert_eq!(receipts.report(A, &part(1, 2, 1), &mut actions), None);
        assert_eq!(receipts.report(A, &part(1, 2, 1), &mut actions), None, "counted once per node");
        assert_eq!(receipts.report(B, &part(1, 1, 0), &mut actions), Some(Closed { late: false }));

        let expected = Receipt { matched: 3, written: 3, filtered: 1, nodes: 2, offline: false, ..offline("m") };
        assert_eq!(receipt_of(&actions), expected);
        assert!(receipts.is_empty());
    }

    #[test]
    fn silent_nodes_are_late_and_keep_offline_false() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, false, smallvec![A]);

        assert_eq!(receipts.expire(400, &mut actions), None);
        assert_eq!(receipts.expire(401, &mut actions), Some(Closed { late: true }));

        assert_eq!(receipt_of(&actions), Receipt { nodes: 1, late_nodes: 1, offline: false, ..offline("m") });
    }

    #[test]
    fn nobody_on_any_node_is_offline() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, false, smallvec![A]);
        receipts.report(A, &part(1, 0, 0), &mut actions);
        assert_eq!(receipt_of(&actions), Receipt { nodes: 1, ..offline("m") });
    }

    #[test]
    fn acknowledgements_are_awaited_from_those_who_can() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, true, smallvec![A]);

        assert_eq!(receipts.report(A, &part(1, 2, 0), &mut actions), None);
        assert_eq!(receipts.acknowledge(A, &AckPart { number: 1, acked: 1, gone: 0 }, &mut actions), None);
        assert!(receipts.acknowledge(A, &AckPart { number: 1, acked: 1, gone: 0 }, &mut actions).is_some());

        assert_eq!(receipt_of(&actions).acked, 2);
    }

    #[test]
    fn acknowledgements_that_do_not_come_make_no_node_late() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, true, smallvec![A]);
        receipts.report(A, &part(1, 2, 0), &mut actions);
        assert_eq!(receipts.expire(1000, &mut actions), Some(Closed { late: false }));
        let receipt = receipt_of(&actions);
        assert_eq!((receipt.acked, receipt.late_nodes, receipt.matched), (0, 0, 2));
    }

    #[test]
    fn nobody_who_can_acknowledge_is_waited_for_by_nobody() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, true, smallvec![A]);
        let bare = ReceiptPart { ackable: 0, ..part(1, 2, 0) };
        assert!(receipts.report(A, &bare, &mut actions).is_some());
    }

    #[test]
    fn a_node_that_is_lost_meanwhile_was_not_asked() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, false, smallvec![A, B]);
        receipts.report(B, &part(1, 1, 0), &mut actions);

        assert_eq!(receipts.node_gone(A, &mut actions), [Closed { late: false }]);

        let receipt = receipt_of(&actions);
        assert_eq!((receipt.nodes, receipt.late_nodes, receipt.matched), (1, 0, 1));
    }

    #[test]
    fn connections_that_went_are_waited_for_no_more() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, true, smallvec![A]);
        receipts.report(A, &part(1, 3, 0), &mut actions);
        assert_eq!(receipts.acknowledge(A, &AckPart { number: 1, acked: 1, gone: 0 }, &mut actions), None);
        assert!(receipts.acknowledge(A, &AckPart { number: 1, acked: 0, gone: 2 }, &mut actions).is_some());
        let receipt = receipt_of(&actions);
        assert_eq!((receipt.acked, receipt.matched), (1, 3));
    }

    #[test]
    fn clients_of_a_node_that_is_lost_are_waited_for_no_more() {
        let mut receipts = Receipts::new(10);
        let mut actions = Vec::new();
        open(&mut receipts, 1, true, smallvec![A, B]);
        receipts.report(A, &part(1, 1, 0), &mut actions);
        receipts.report(B, &part(1, 2, 0), &mut actions);
        receipts.acknowledge(A, &AckPart { number: 1, acked: 1, gone: 0 }, &mut actions);
        assert_eq!(receipts.acknowledge(B, &AckPart { number: 1, acked: 1, gone: 0 }, &mut actions), None);

        assert_eq!(receipts.node_gone(B, &mut actions), [Closed { late: false }]);

        let receipt = receipt_of(&actions);
        assert_eq!((receipt.nodes, receipt.acked, receipt.matched), (2, 2, 3));
    }

    #[test]
    fn too_many_answer_the_one_due_next() {
        let mut receipts = Receipts::new(2);
        assert_eq!(open(&mut receipts, 1, false, smallvec![A]), None);
        assert_eq!(open(&mut receipts, 2, false, smallvec![A]), None);
        assert_eq!(open(&mut receipts, 3, false, smallvec![A]), Some(Closed { late: true }));
        assert_eq!(receipts.len(), 2);
        assert_eq!(receipts.report(A, &part(1, 1, 0), &mut Vec::new()), None, "number 1 is gone");
    }
}
