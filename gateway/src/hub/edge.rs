//! What the hub's core can make happen outside itself, and what reaches it from there.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_daemon::config::Secret;

use crate::handshake::Endpoint;
use crate::link::{ConnRef, ToShard};
use crate::session::{Failure, Outcome, Ticket};

/// A message for the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub subject: String,
    /// Where an answer goes.
    pub reply: Option<String>,
    /// Names and values, in order.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes.
    pub payload: Bytes,
}

impl Publication {
    /// A message without headers and reply.
    pub const fn plain(subject: String, payload: Bytes) -> Self {
        Self { subject, reply: None, headers: Vec::new(), payload }
    }
}

/// Why a message did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// No connection, or no place in its queue.
    Away,
    /// Larger than the bus carries.
    TooBig,
}

impl From<Unsent> for Failure {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Away => Self::BusUnavailable,
            Unsent::TooBig => Self::TooBig,
        }
    }
}

/// A message in the process's inbox.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Its subject.
    pub subject: String,
    /// Its bytes.
    pub payload: Bytes,
    /// The status NATS gave it, where it is no ordinary message.
    pub status: Option<u16>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// NATS itself answered: nobody serves the subject.
    pub no_responders: bool,
    /// A service error: its code and text.
    pub error: Option<(u16, String)>,
}

/// The way out of the core. No call waits.
pub trait Edge {
    /// Hands a message to the bus, in order.
    ///
    /// # Errors
    /// It cannot leave; nothing was queued.
    fn publish(&mut self, message: Publication) -> Result<(), Unsent>;

    /// Tells a shard, in order.
    fn to_shard(&mut self, shard: u16, message: ToShard);

    /// Answers a request of the process itself ([`Hub::request`](super::Hub::request)).
    fn answer(&mut self, caller: u64, result: Outcome<Bytes>);

    /// Starts a verification that needs the network; it ends with [`ToShard::Verified`] to the connection's shard.
    fn verify(&mut self, conn: ConnRef, ticket: Ticket, endpoint: Arc<Endpoint>, token: Secret);
}
