//! What shards and the hub say to each other about sessions over HTTP.

use std::sync::Arc;

use holdfast_protocol::wire::{Caller, ExchangeAsk, Exchanged};

use super::ConnRef;

/// Who waits for the answer to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// A request of this process; the hub's number of it.
    Here(u64),
    /// Another node; where the reply goes.
    There(Box<str>),
}

/// What a shard tells the hub of sessions over HTTP.
#[derive(Debug)]
pub enum ToHubOfSession {
    /// A connection is a session of that name; answered by [`ToShardOfSession::Hosted`].
    Host {
        /// Which.
        conn: ConnRef,
        /// Its name among the nodes.
        session: Arc<str>,
        /// Other nodes find it by its name: routers must know of it. Otherwise the name says where it is.
        shared: bool,
    },
    /// It is gone. Exactly one for each `Host` that was answered with success.
    Unhost {
        /// Which.
        conn: ConnRef,
        /// Its name.
        session: Arc<str>,
    },
    /// What a session answers.
    Exchanged {
        /// Whom.
        asker: Asker,
        /// What.
        answer: Exchanged,
    },
}

/// What the hub tells a shard of sessions over HTTP.
#[derive(Debug, Clone)]
pub enum ToShardOfSession {
    /// The answer to [`ToHubOfSession::Host`]: whether routers know of the session. On failure it does not exist.
    Hosted {
        /// Which.
        conn: ConnRef,
        /// Whether they do.
        ok: bool,
    },
    /// A request for a session; answered by [`ToHubOfSession::Exchanged`].
    Exchange {
        /// Which session.
        conn: ConnRef,
        /// Who asks.
        asker: Asker,
        /// As whom.
        caller: Caller,
        /// What.
        ask: ExchangeAsk,
    },
}
