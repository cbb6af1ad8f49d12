//! HTTP sessions of this node: where requests for them go, from this process and from other nodes.
//!
//! A session's place is a fact of the roster, under a name that no room can have: so it is acknowledged, mirrored and
//! forgotten as rooms are, and any router can say where it is.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use holdfast_protocol::wire::{Cause, Exchange, Exchanged};

use super::core::Hub;
use super::edge::{Edge, Publication};
use super::roster::Kind;
use super::waiting::Waiting;
use crate::clock::Now;
use crate::link::{Asker, ConnRef, ToHubOfSession, ToShard, ToShardOfSession};

/// Sessions by name.
#[derive(Debug)]
pub(super) struct Sessions {
    /// What this node itself is asked on.
    pub(super) own_subject: String,
    here: HashMap<Arc<str>, Hosted>,
}

#[derive(Debug)]
struct Hosted {
    conn: ConnRef,
    /// In the roster.
    shared: bool,
}

impl Sessions {
    pub(super) fn new(own_subject: String) -> Self {
        Self { own_subject, here: HashMap::new() }
    }
}

impl Hub {
    /// A shard says something of its sessions.
    pub(super) fn on_session(&mut self, now: Now, edge: &mut dyn Edge, message: ToHubOfSession) {
        match message {
            ToHubOfSession::Host { conn, session, shared } => self.host(now, edge, conn, session, shared),
            ToHubOfSession::Unhost { conn, session } => self.unhost(now, conn, &session),
            ToHubOfSession::Exchanged { asker, answer } => self.answer_exchange(edge, asker, &answer),
        }
    }

    /// A shard has a session. Of two with one name the first stays.
    fn host(&mut self, now: Now, edge: &mut dyn Edge, conn: ConnRef, session: Arc<str>, shared: bool) {
        if self.sessions.here.contains_key(&session) {
            edge.to_shard(conn.shard, hosted(conn, false));
            return;
        }
        self.sessions.here.insert(Arc::clone(&session), Hosted { conn, shared });
        if shared {
            let known = self.roster.enter(now, Kind::Room, &session, conn.shard);
            self.wait(now, edge, known, Waiting::Host { conn, session });
        } else {
            edge.to_shard(conn.shard, hosted(conn, true));
        }
    }

    /// It is gone.
    pub(super) fn unhost(&mut self, now: Now, conn: ConnRef, session: &Arc<str>) {
        if self.sessions.here.get(session).is_some_and(|hosted| hosted.conn == conn)
            && let Some(hosted) = self.sessions.here.remove(session)
            && hosted.shared
        {
            self.roster.exit(now, Kind::Room, session, conn.shard, Cause::Close);
        }
    }

    /// Routers could not be told of it.
    pub(super) fn refuse_host(&mut self, now: Now, edge: &mut dyn Edge, conn: ConnRef, session: &Arc<str>) {
        self.unhost(now, conn, session);
        edge.to_shard(conn.shard, hosted(conn, false));
    }

    /// A request for a session that may be here.
    pub(super) fn on_exchange(&mut self, edge: &mut dyn Edge, exchange: Exchange, asker: Asker) {
        let Exchange { session, caller, ask } = exchange;
        match self.sessions.here.get(&*session) {
            Some(Hosted { conn, .. }) => {
                let message = ToShardOfSession::Exchange { conn: *conn, asker, caller, ask };
                edge.to_shard(conn.shard, ToShard::Session(message));
            }
            None => self.answer_exchange(edge, asker, &Exchanged::Unknown),
        }
    }

    /// A request from another node.
    pub fn on_exchange_message(&mut self, edge: &mut dyn Edge, payload: Bytes, reply: Option<String>) {
        match (Exchange::decode(payload), reply) {
            (Ok(exchange), Some(reply)) => self.on_exchange(edge, exchange, Asker::There(reply.into())),
            (Ok(_), None) => {}
            (Err(error), _) => self.malformed("http", error),
        }
    }

    /// A request of this process to this node: nothing of it needs the bus.
    pub(super) fn ask_own(&mut self, edge: &mut dyn Edge, caller: u64, question: Bytes) {
        match Exchange::decode(question) {
            Ok(exchange) => self.on_exchange(edge, exchange, Asker::Here(caller)),
            Err(_) => edge.answer(caller, Ok(Exchanged::Unknown.encode())),
        }
    }

    /// What a session answered.
    fn answer_exchange(&mut self, edge: &mut dyn Edge, asker: Asker, answer: &Exchanged) {
        match asker {
            Asker::Here(caller) => edge.answer(caller, Ok(answer.encode())),
            // Whoever misses it asks again.
            Asker::There(reply) => {
                self.note_unsent(edge.publish(Publication::plain(reply.into_string(), answer.encode())));
            }
        }
    }
}

/// Whether routers know of a session.
pub(super) const fn hosted(conn: ConnRef, ok: bool) -> ToShard {
    ToShard::Session(ToShardOfSession::Hosted { conn, ok })
}
