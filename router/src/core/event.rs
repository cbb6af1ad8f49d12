//! What can happen to a router, and what it then wants done. Closed lists: the shell translates both ways.

use bytes::Bytes;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::send::Headers;
use holdfast_protocol::wire::{NodeBeat, RosterBatch, RouterBeat, RouterBound};

/// The time an event happens at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds: all durations.
    pub ms: u64,
    /// Unix milliseconds: what others are told.
    pub unix_ms: u64,
}

impl Now {
    /// The moment when the monotonic clock said `ms`, which is not after this one.
    pub(super) const fn back_to(self, ms: u64) -> Self {
        Self { ms, unix_ms: self.unix_ms.saturating_sub(self.ms.saturating_sub(ms)) }
    }
}

/// A message of a domain service.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The subject it came on.
    pub subject: &'a str,
    /// Where an answer goes.
    pub reply: Option<&'a str>,
    /// Its headers.
    pub headers: &'a dyn Headers,
    /// Its payload.
    pub payload: &'a [u8],
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither payload nor headers: they are the applications'.
        f.debug_struct("Request").field("subject", &self.subject).field("bytes", &self.payload.len()).finish()
    }
}

/// What can happen.
#[derive(Debug)]
pub enum Event<'a> {
    /// The bus is connected, for the first time or again.
    BusUp {
        /// The largest message it takes.
        max_payload: usize,
    },
    /// The bus is gone.
    BusDown,
    /// A router's beat, our own among them.
    RouterBeat(RouterBeat),
    /// A node's beat.
    NodeBeat(NodeBeat),
    /// Roster changes of a node.
    Roster(RosterBatch),
    /// Something for this router alone.
    Told(RouterBound),
    /// A node answered a ping.
    NodeAnswered(NodeId),
    /// NATS says that nobody listens on the node's subject.
    NodeMissing(NodeId),
    /// A message for connections.
    Send(Request<'a>),
    /// The same, mapped by NATS to our section; named as it was published.
    SectionSend(Request<'a>),
    /// A command.
    Ctl(Request<'a>),
    /// A query.
    Query(Request<'a>),
    /// A fact about a user or room, our own among them.
    Fact {
        /// Its subject.
        subject: &'a str,
        /// Its body.
        body: &'a [u8],
    },
    /// A copy of a kept message, as the stream republishes it.
    Kept(Request<'a>),
    /// What the stream of kept messages says of itself.
    Stream {
        /// Its incarnation.
        epoch: &'a str,
        /// The sequence of its last message.
        last: u64,
        /// When it was made, Unix milliseconds by its own clock.
        created_ms: u64,
        /// Whether it was asked after the last [`Action::OpenWork`] and [`Action::LookAtStream`] were done.
        heard: bool,
    },
    /// The read that [`Action::ReadKept`] asked for has ended.
    KeptRead {
        /// Which one.
        number: u64,
        /// Whether all was read that is there.
        whole: bool,
        /// What was found, in order, with the headers of copies.
        copies: &'a [Request<'a>],
    },
    /// Time has passed; expected at least every 50 ms.
    Tick,
    /// Leave in order.
    Leave,
}

/// An error for a publisher: the micro-service headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// `Nats-Service-Error-Code`.
    pub code: u16,
    /// `Nats-Service-Error`.
    pub text: String,
}

/// What the router wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Publish on a node's own subject.
    ToNode(NodeId, Bytes),
    /// Ask a node whether it is there, as a request: the answer or "no responders" comes back as an event.
    Ping(NodeId),
    /// Publish our beat.
    Beat(Bytes),
    /// Publish our discovery.
    Discover(Bytes),
    /// Publish something for other routers.
    Publish {
        /// Its subject.
        subject: String,
        /// Its payload.
        payload: Bytes,
    },
    /// Answer a publisher.
    Answer {
        /// Its reply subject.
        to: Box<str>,
        /// The answer's body, or the error.
        body: Result<Bytes, ServiceError>,
    },
    /// Publish a fact.
    Fact {
        /// Its subject.
        subject: String,
        /// Its body.
        body: Bytes,
    },
    /// Subscribe to sends, commands, queries and kept messages, before anything that follows is published.
    OpenWork,
    /// Drop those subscriptions with what they hold.
    CloseWork,
    /// Look at the stream of kept messages at once.
    LookAtStream,
    /// Read stored messages back from the stream. Takes the place of a read that is under way.
    ReadKept {
        /// Names the read.
        number: u64,
        /// The first sequence.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The router has left: nothing follows.
    Left,
}
