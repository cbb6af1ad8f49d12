//! What an operator asks a shard, past the hub: which connections there are, and how the thread is.

use std::net::IpAddr;
use std::sync::Arc;

use holdfast_protocol::id::ConnectionId;
use serde::Serialize;
use tokio::sync::mpsc;

/// A question with the way for its answer, which has a place for each shard's: answering never waits.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// What is asked.
    pub ask: Arc<Inspect>,
    /// Where the answer goes.
    pub answer: mpsc::Sender<Inspected>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspect {
    /// Some of the connections, in order of their slots.
    List {
        /// Whose.
        of: Whose,
        /// Only those from this address.
        address: Option<IpAddr>,
        /// From this slot on.
        from: u32,
        /// At most so many.
        limit: usize,
    },
    /// One connection, with its rooms.
    Find(ConnectionId),
    /// Close one connection.
    Disconnect {
        /// Which.
        connection: ConnectionId,
        /// With this code.
        code: u16,
        /// And this reason.
        reason: String,
    },
    /// How the thread is.
    Profile,
}

/// Whose connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    All,
    /// A user's.
    User(String),
    /// A room's members'.
    Room(String),
}

/// An answer.
#[derive(Debug)]
pub enum Inspected {
    /// A page of connections.
    Page {
        /// Each as JSON.
        entries: Vec<Box<str>>,
        /// The slot to go on from; none where that was all.
        next: Option<u32>,
    },
    /// The connection as JSON, if it is here.
    Found(Option<Box<str>>),
    /// Whether there was such a connection.
    Disconnected(bool),
    /// How the thread is.
    Profile(ShardProfile),
}

/// How a shard's thread is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardProfile {
    /// Its number.
    pub shard: u16,
    /// Connections that are here, closing ones included.
    pub connections: usize,
    /// Users and rooms with somebody here.
    pub users: usize,
    /// The same of rooms.
    pub rooms: usize,
    /// What connections hold apart from their queues, without what their sockets cost the kernel.
    pub connections_bytes: usize,
    /// What waits for clients, by the last sweep.
    pub outbox_bytes: u64,
    /// Tasks of the thread: one per WebSocket, listener and request.
    pub tasks: usize,
    /// Seconds that the thread has worked since its start; what is missing to the time that passed it slept.
    pub busy_seconds: f64,
    /// Times that it went to sleep.
    pub parks: u64,
}
