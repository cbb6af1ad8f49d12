//! Queries: answered from the mirror where it knows, else by asking the nodes concerned. Any live router answers.

use holdfast_protocol::fact::rfc3339;
use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::query::{DrainingAnswer, NodeAnswer, NodesAnswer, Page, StatsAnswer};
use holdfast_protocol::subject::{Query, SubjectError};
use holdfast_protocol::token;
use holdfast_protocol::wire::{Ask, Item, NodeState};

use super::Router;
use super::event::{Action, Now, Request, ServiceError};
use super::fleet::Node;
use super::questions::{Asked, Subject, json, unknown_connection};
use super::settings::QUERY_TIMEOUT_MS;
use super::tally::Dropped;

/// A bound on an encoded question.
const ASK_BYTES_MAX: usize = 320;

/// What a node is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Live,
    Draining,
    Late,
}

pub(super) const fn state_of(node: &Node, now_ms: u64) -> State {
    if node.is_late(now_ms) {
        State::Late
    } else {
        match node.state {
            NodeState::Live => State::Live,
            NodeState::Draining | NodeState::Gone => State::Draining,
        }
    }
}

impl Router {
    pub(super) fn on_query(&mut self, now: Now, request: Request<'_>) {
        if !self.may_handle(now) {
            return;
        }
        // A question without somebody to answer asks nothing.
        let Some(reply) = request.reply else { return };
        if self.questions.len() >= self.settings.queries_max {
            self.tally.drop(Dropped::QueryRefused, 1);
            return self.refuse(Some(reply), 503, "too many queries, please try again".to_owned());
        }
        let done = match self.settings.subjects.parse_query(request.subject) {
            Ok(query) => self.ask(now, reply, query, request.payload),
            Err(error @ SubjectError::Unknown) => Some(Err(ServiceError { code: 404, text: error.to_string() })),
            Err(error @ SubjectError::Token(cause)) => {
                Some(Err(ServiceError { code: 400, text: format!("{error}: {cause}") }))
            }
        };
        let Some(body) = done else { return };
        self.tally.queries += 1;
        self.actions.push(Action::Answer { to: Box::from(reply), body });
    }

    /// Answers at once, or asks the nodes (`None`).
    fn ask(&mut self, now: Now, reply: &str, query: Query, payload: &[u8]) -> Option<Body> {
        match query {
            Query::User(user) => {
                let slots = self.table.nodes_of_user(token::partition_of_key(&user), &user);
                let asked: Vec<Asked> = slots.iter().filter_map(|slot| self.asked(*slot, 1)).collect();
                // Where a node is asked and then names none, the last connection went just now.
                let lingering = self.settings.linger_ms > 0 && !asked.is_empty() || self.presence.is_lingering(&user);
                let ask = Ask::User { user: user.as_str().into() };
                self.ask_nodes(now, reply, Subject::User { user: user.into(), lingering }, asked, ask)
            }
            Query::Room(room) => {
                let page = match Page::parse(payload) {
                    Ok(page) => page,
                    Err(error) => return Some(Err(ServiceError { code: 400, text: error.to_string() })),
                };
                let nodes = self.table.nodes_of_room(token::partition_of_key(&room), &room);
                let asked = nodes.iter().filter_map(|(slot, count)| self.asked(*slot, u64::from(*count))).collect();
                // One more than the page holds tells whether there is a next.
                let ask = Ask::Room { room: room.as_str().into(), after: page.after, limit: page.limit + 1 };
                self.ask_nodes(now, reply, Subject::Room { room: room.into(), limit: page.limit as usize }, asked, ask)
            }
            Query::Connection(text) => {
                let connection = ConnectionId::parse(&text);
                let slot = connection.and_then(|connection| self.fleet.slot(connection.node()));
                match (connection, slot.and_then(|slot| self.asked(slot, 1))) {
                    (Some(connection), Some(asked)) => {
                        let ask = Ask::Connection { connection };
                        self.ask_nodes(now, reply, Subject::Connection, vec![asked], ask)
                    }
                    _ => Some(Err(unknown_connection())),
                }
            }
            Query::Nodes => {
                let nodes = self.fleet.iter().map(|(_, node)| answer_of(node, now.ms)).collect();
                Some(json(&NodesAnswer { nodes }, self.fleet.max_payload()))
            }
            Query::Stats => {
                let stats = StatsAnswer {
                    connections: 0,
                    users: self.table.users() as u64,
                    rooms: self.table.rooms() as u64,
                    nodes: self.fleet.len() as u64,
                    routers: self.membership.live().len() as u64,
                };
                let asked = self.fleet.iter().filter_map(|(slot, node)| self.asked(slot, node.connections)).collect();
                self.ask_nodes(now, reply, Subject::Stats(stats), asked, Ask::Count)
            }
        }
    }

    fn asked(&self, slot: super::table::Slot, mirrored: u64) -> Option<Asked> {
        self.fleet.get(slot).map(|node| Asked { slot, node: node.id, mirrored })
    }

    fn ask_nodes(&mut self, now: Now, reply: &str, subject: Subject, asked: Vec<Asked>, ask: Ask) -> Option<Body> {
        let number = self.next_number();
        let item = Item::Ask { number, ask };
        let term = self.membership.term();
        for Asked { slot, .. } in &asked {
            self.fleet.pack(*slot, ASK_BYTES_MAX, term, &mut self.actions, |packet| packet.push(&item));
        }
        self.questions.open(number, reply, subject, asked, now.ms + QUERY_TIMEOUT_MS);
        if self.questions.close_if_complete(number, self.fleet.max_payload(), &mut self.actions) {
            self.tally.queries += 1;
        }
        None
    }
}

type Body = Result<bytes::Bytes, ServiceError>;

fn answer_of(node: &Node, now_ms: u64) -> NodeAnswer<'_> {
    let state = match state_of(node, now_ms) {
        State::Live => "live",
        State::Draining => "draining",
        State::Late => "late",
    };
    let draining = node.leaving.map(|leaving| DrainingAnswer {
        left: leaving.left,
        rate: per_second(leaving.rate_milli),
        until: rfc3339(leaving.until_unix_ms),
    });
    NodeAnswer { node: node.id, state, connections: node.connections, version: &node.version, draining }
}

fn per_second(milli: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "rates stay far below 2^53")]
    let milli = milli as f64;
    milli / 1000.0
}
