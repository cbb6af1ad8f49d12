//! Queries in flight: answers of nodes, collected until all have come or time is up. Bounded; the limit is the caller's.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::query::{RoomAnswer, StatsAnswer, UserAnswer, connection_of_entry};
use holdfast_protocol::wire::Answer;
use serde::Serialize;
use serde_json::value::RawValue;

use super::event::{Action, ServiceError};
use super::table::Slot;

/// What was asked.
#[derive(Debug)]
pub(super) enum Subject {
    /// A user's connections.
    User {
        /// Who.
        user: Box<str>,
        /// Whether the user lingers if no node names a connection.
        lingering: bool,
    },
    /// A page of a room's members.
    Room {
        /// Which.
        room: Box<str>,
        /// At most so many.
        limit: usize,
    },
    /// One connection.
    Connection,
    /// Connections of all nodes, in the answer about the fleet.
    Stats(StatsAnswer),
}

/// A node that was asked, and what the mirror says in case it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Where it is.
    pub(super) slot: Slot,
    /// Its id.
    pub(super) node: NodeId,
    /// What it holds by the mirror.
    pub(super) mirrored: u64,
}

#[derive(Debug)]
struct Pending {
    to: Box<str>,
    subject: Subject,
    silent: Vec<Asked>,
    answers: BTreeMap<NodeId, Answer>,
    due_ms: u64,
}

/// All queries in flight.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pending: BTreeMap<u64, Pending>,
}

/// An answer that a node's answers were put together to.
type Body = Result<Bytes, ServiceError>;

/// The body as JSON, unless the bus would not take it.
pub(super) fn json(value: &impl Serialize, bytes_max: usize) -> Body {
    match serde_json::to_vec(value) {
        Ok(body) if body.len() <= bytes_max => Ok(Bytes::from(body)),
        Ok(_) => Err(ServiceError { code: 413, text: "the answer is too large".to_owned() }),
        Err(_) => Err(ServiceError { code: 500, text: "a node's answer is not readable".to_owned() }),
    }
}

/// The answer about a connection that nobody knows.
pub(super) fn unknown_connection() -> ServiceError {
    ServiceError { code: 404, text: "unknown connection".to_owned() }
}

impl Questions {
    /// Queries in flight.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes up a query. Numbers must grow, and so must times: the first is always due first.
    pub(super) fn open(&mut self, number: u64, to: &str, subject: Subject, asked: Vec<Asked>, due_ms: u64) {
        let pending = Pending { to: Box::from(to), subject, silent: asked, answers: BTreeMap::new(), due_ms };
        self.pending.insert(number, pending);
    }

    /// A node's answer; `true` if that completed the query.
    pub(super) fn answer(&mut self, node: Slot, answer: Answer, bytes_max: usize, actions: &mut Vec<Action>) -> bool {
        let number = answer.number;
        let Some(pending) = self.pending.get_mut(&number) else { return false };
        let Some(at) = pending.silent.iter().position(|asked| asked.slot == node) else { return false };
        let asked = pending.silent.swap_remove(at);
        pending.answers.insert(asked.node, answer);
        self.close_if(number, |pending| pending.silent.is_empty(), bytes_max, actions)
    }

    /// Answers a query that waits for nobody; `false` where it does.
    pub(super) fn close_if_complete(&mut self, number: u64, bytes_max: usize, actions: &mut Vec<Action>) -> bool {
        self.close_if(number, |pending| pending.silent.is_empty(), bytes_max, actions)
    }

    /// Answers one that is due with what has come; `false` when no more are.
    pub(super) fn expire(&mut self, now_ms: u64, bytes_max: usize, actions: &mut Vec<Action>) -> bool {
        let Some(&number) = self.pending.keys().next() else { return false };
        self.close_if(number, |pending| pending.due_ms <= now_ms, bytes_max, actions)
    }

    /// A node is gone; returns how many queries that completed.
    pub(super) fn node_gone(&mut self, node: Slot, bytes_max: usize, actions: &mut Vec<Action>) -> usize {
        let mut affected = Vec::new();
        for (number, pending) in &mut self.pending {
            let before = pending.silent.len();
            pending.silent.retain(|asked| asked.slot != node);
            if pending.silent.len() < before {
                affected.push(*number);
            }
        }
        let complete = |pending: &Pending| pending.silent.is_empty();
        affected.into_iter().filter(|number| self.close_if(*number, complete, bytes_max, actions)).count()
    }

    /// Forgets all without an answer; returns how many.
    pub(super) fn discard(&mut self) -> usize {
        std::mem::take(&mut self.pending).len()
    }

    fn close_if(
        &mut self,
        number: u64,
        condition: impl Fn(&Pending) -> bool,
        bytes_max: usize,
        actions: &mut Vec<Action>,
    ) -> bool {
        if !self.pending.get(&number).is_some_and(condition) {
            return false;
        }
        if let Some(pending) = self.pending.remove(&number) {
            let body = pending.body(bytes_max);
            actions.push(Action::Answer { to: pending.to, body });
        }
        true
    }
}

impl Pending {
    fn body(&self, bytes_max: usize) -> Body {
        let late_nodes = self.silent.len() as u64;
        // By node, and each node's own by connection: so all are ordered by connection.
        let entries = self.answers.values().flat_map(|answer| &answer.entries);
        let raw = |text: &'_ str| serde_json::from_str::<&RawValue>(text).ok().map(ToOwned::to_owned);
        match &self.subject {
            Subject::User { user, lingering } => {
                let entries: Vec<_> = entries.filter_map(|entry| raw(entry)).collect();
                let connections: Vec<&RawValue> = entries.iter().map(|entry| &**entry).collect();
                let online = !connections.is_empty() || late_nodes > 0;
                let lingering = *lingering && !online;
                json(&UserAnswer { user, online, lingering, connections, late_nodes }, bytes_max)
            }
            Subject::Room { room, limit } => {
                let told: u64 = self.answers.values().map(|answer| answer.total).sum();
                let mirrored: u64 = self.silent.iter().map(|asked| asked.mirrored).sum();
                let mut page: Vec<&str> = entries.map(|entry| &**entry).collect();
                let next = if page.len() > *limit {
                    page.truncate(*limit);
                    page.last().and_then(|entry| connection_of_entry(entry)).as_ref().map(ConnectionId::to_string)
                } else {
                    None
                };
                let page: Vec<_> = page.into_iter().filter_map(raw).collect();
                let members = page.iter().map(|entry| &**entry).collect();
                json(&RoomAnswer { room, count: told + mirrored, members, next, late_nodes }, bytes_max)
            }
            Subject::Connection => match entries.into_iter().next() {
                Some(entry) => match raw(entry) {
                    Some(entry) => json(&entry, bytes_max),
                    None => Err(ServiceError { code: 500, text: "the node's answer is not readable".to_owned() }),
                },
                None if late_nodes > 0 => {
                    Err(ServiceError { code: 504, text: "the node did not answer in time".to_owned() })
                }
                None => Err(unknown_connection()),
            },
            Subject::Stats(stats) => {
                let told: u64 = self.answers.values().map(|answer| answer.total).sum();
                let mirrored: u64 = self.silent.iter().map(|asked| asked.mirrored).sum();
                json(&StatsAnswer { connections: told + mirrored, ..*stats }, bytes_max)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::wire::Text;

    fn node(n: u8) -> NodeId {
        NodeId::gateway([n; 8])
    }

    fn asked(n: u8) -> Asked {
        Asked { slot: Slot(u32::from(n)), node: node(n), mirrored: 7 }
    }

    fn entry(n: u8, member: u8) -> Text {
        format!(r#"{{"connection":"{}"}}"#, ConnectionId::new(node(n), [member; 16])).into()
    }

    fn answer(total: u64, entries: Vec<Text>) -> Answer {
        Answer { number: 1, total, entries }
    }

    fn body(actions: &[Action]) -> serde_json::Value {
        match actions {
            [Action::Answer { to, body: Ok(body) }] if &**to == "inbox" => serde_json::from_slice(body).expect("JSON"),
            other => panic!("not one answer: {other:?}"),
        }
    }

    fn code(actions: &[Action]) -> u16 {
        match actions {
            [Action::Answer { body: Err(error), .. }] => error.code,
            other => panic!("not one error: {other:?}"),
        }
    }

    #[test]
    fn a_page_is_merged_in_order_and_tells_what_comes_next() {
        let (mut questions, mut actions) = (Questions::default(), Vec::new());
        questions.open(1, "inbox", Subject::Room { room: "r".into(), limit: 2 }, vec![asked(1), asked(2)], 500);
        let mut nodes = [node(1), node(2)];
        nodes.sort_unstable();
        let first = if nodes[0] == node(1) { 1 } else { 2 };
        let second = 3 - first;

        assert!(!questions.answer(Slot(u32::from(second)), answer(1, vec![entry(second, 9)]), 10_000, &mut actions));
        let entries = vec![entry(first, 1), entry(first, 2)];
        assert!(questions.answer(Slot(u32::from(first)), answer(2, entries), 10_000, &mut actions));

        let body = body(&actions);
        assert_eq!((body["count"].as_u64(), body["members"].as_array().map(Vec::len)), (Some(3), Some(2)));
        assert_eq!(body["next"], ConnectionId::new(node(first), [2; 16]).to_string());
        assert_eq!(questions.len(), 0);
    }

    #[test]
    fn the_last_page_has_no_next() {
        let (mut questions, mut actions) = (Questions::default(), Vec::new());
        questions.open(1, "inbox", Subject::Room { room: "r".into(), limit: 2 }, vec![asked(1)], 500);
        questions.answer(Slot(1), answer(5, vec![entry(1, 1), entry(1, 2)]), 10_000, &mut actions);
        let body = body(&actions);
        assert_eq!((body["count"].as_u64(), body["next"].is_null()), (Some(5), true));
    }

    #[test]
    fn a_node_that_is_late_is_counted_as_mirrored() {
        let (mut questions, mut actions) = (Questions::default(), Vec::new());
        questions.open(1, "inbox", Subject::Room { room: "r".into(), limit: 2 }, vec![asked(1)], 500);
        assert!(!questions.expire(499, 10_000, &mut actions));
        assert!(questions.expire(500, 10_000, &mut actions));
        let body = body(&actions);
        assert_eq!((body["count"].as_u64(), body["late_nodes"].as_u64()), (Some(7), Some(1)));
    }

    #[test]
    fn a_user_is_online_with_a_connection_and_lingers_without() {
        for (entries, online) in [(vec![entry(1, 1)], true), (vec![], false)] {
            let (mut questions, mut actions) = (Questions::default(), Vec::new());
            questions.open(1, "inbox", Subject::User { user: "u".into(), lingering: true }, vec![asked(1)], 500);
            questions.answer(Slot(1), answer(1, entries), 10_000, &mut actions);
            let body = body(&actions);
            assert_eq!((body["online"].as_bool(), body["lingering"].as_bool()), (Some(online), Some(!online)));
        }
    }

    #[test]
    fn a_connection_is_shown_unknown_or_out_of_reach() {
        for (answers, wanted) in [(Some(vec![]), 404), (None, 504)] {
            let (mut questions, mut actions) = (Questions::default(), Vec::new());
            questions.open(1, "inbox", Subject::Connection, vec![asked(1)], 500);
            match answers {
                Some(entries) => assert!(questions.answer(Slot(1), answer(0, entries), 10_000, &mut actions)),
                None => assert!(questions.expire(500, 10_000, &mut actions)),
            }
            assert_eq!(code(&actions), wanted);
        }
        let (mut questions, mut actions) = (Questions::default(), Vec::new());
        questions.open(1, "inbox", Subject::Connection, vec![asked(1)], 500);
        assert_eq!(questions.node_gone(Slot(1), 10_000, &mut actions), 1);
        assert_eq!(code(&actions), 404, "gone with its node");
    }

    #[test]
    fn an_answer_that_does_not_fit_says_so() {
        let (mut questions, mut actions) = (Questions::default(), Vec::new());
        questions.open(1, "inbox", Subject::User { user: "u".into(), lingering: false }, vec![asked(1)], 500);
        questions.answer(Slot(1), answer(1, vec![entry(1, 1)]), 20, &mut actions);
        assert_eq!(code(&actions), 413);
    }
}
