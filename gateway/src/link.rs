//! What shards and the hub say to each other: two closed enums over bounded channels, all of it `Send`.
//!
//! The hub never waits for a shard (it holds a bounded backlog and stops reading the bus while that is over its bound)
//! and always reads what shards send; a shard whose channel to the hub is full stops reading its sockets, but always
//! reads what the hub sends. So neither can wait for the other in a circle. Knows no channel: `hub::shell` and
//! `shard::runtime` hold those.

mod answer;
mod granted;
mod inspect;
mod place;
mod session;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_daemon::config::Secret;
use holdfast_daemon::spans::Context;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::json::Cursor;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{Ask, Cause, ReceiptPart, Target};

pub use self::answer::AnswerPart;
pub use self::granted::{Granted, Replay};
pub use self::inspect::{Inquiry, Inspect, Inspected, ShardProfile, Whose};
pub use self::place::{id_for_shard, shard_of};
pub use self::session::{Asker, ToHubOfSession, ToShardOfSession};
pub use self::shared::{Form, STOMP_FORMS_MAX, SharedCommand, SharedDelivery, StompForm};
use crate::auth::Identity;
use crate::handshake::Endpoint;
use crate::session::{Failure, HistoryPage, Outcome, Outward, Said, Ticket};

/// A connection within its shard. The generation tells a slot's present holder from earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The slot.
    pub index: u32,
    /// Counts the slot's holders.
    pub generation: u32,
}

/// A connection within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnRef {
    /// The shard's number, from 0.
    pub shard: u16,
    /// The connection there.
    pub key: Key,
}

/// Where a receipt's parts go: the router that asked, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiptRef {
    /// The router.
    pub router: NodeId,
    /// Its number of the receipt.
    pub number: u64,
}

/// The verified identity behind an upstream message, a request or a callout.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The connection.
    pub id: ConnectionId,
    /// The endpoint it came in by.
    pub endpoint: Arc<Endpoint>,
    /// Who it is, once known.
    pub identity: Option<Arc<Identity>>,
    /// The device, from whichever source named it.
    pub device: Option<Arc<str>>,
    /// The trace that its message began, where that is sampled.
    pub trace: Option<Context>,
}

/// On whose behalf a connection becomes a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinFor {
    /// The client asked; its session's ticket.
    Client(Ticket),
    /// A domain service's command; the shard's own number of it.
    Command(u32),
}

/// What a shard tells the hub.
#[derive(Debug)]
pub enum ToHub {
    /// A connection is a user's; answered by [`ToShard::Bound`].
    Bind {
        /// Which.
        conn: ConnRef,
        /// Its public id.
        id: ConnectionId,
        /// Whose.
        user: Arc<str>,
        /// When it was accepted, Unix milliseconds.
        since_ms: u64,
        /// Whether the newest connection of the user replaces others here.
        newest: bool,
        /// Resume the user's own stream behind this.
        since: Option<Position>,
    },
    /// A connection was told that it is there: the fact `connection.opened` may be published.
    Opened {
        /// Its public id.
        id: ConnectionId,
        /// Whose.
        user: Arc<str>,
    },
    /// A bound connection is gone, or a bind is taken back. Exactly one for each `Bind` that was answered with success.
    Unbind {
        /// Its public id.
        id: ConnectionId,
        /// Whose it was.
        user: Arc<str>,
        /// The shard.
        shard: u16,
        /// Why.
        cause: Cause,
        /// Whether it was ever told to be there: then the fact `connection.closed` is published.
        opened: bool,
    },
    /// A connection wants into a room; counted from now on, answered by [`ToShard::Joined`].
    Join {
        /// Which.
        conn: ConnRef,
        /// For whom.
        on_behalf: JoinFor,
        /// The room.
        room: Arc<str>,
        /// Ask `auth.join` first, as this sender.
        callout: Option<Box<Sender>>,
        /// Resume the room behind this.
        since: Option<Position>,
    },
    /// A connection that was paused wants what it missed; answered by [`ToShard::Replayed`].
    Replay {
        /// Which.
        conn: ConnRef,
        /// The room, or the user's own stream.
        room: Option<Arc<str>>,
        /// The user.
        user: Arc<str>,
        /// The last sequence that it has.
        since: u64,
    },
    /// A client asks for a room's past; answered by [`ToShard::History`].
    History {
        /// Whose.
        conn: ConnRef,
        /// Echoed.
        ticket: Ticket,
        /// The room.
        room: Arc<str>,
        /// Which part.
        from: Cursor,
        /// At most so many messages.
        limit: u16,
        /// Ask `auth.join` first, as this sender.
        callout: Option<Box<Sender>>,
    },
    /// A membership ended, or a join was taken back. Exactly one for each `Join` that was answered with success.
    Leave {
        /// The shard.
        shard: u16,
        /// The room.
        room: Arc<str>,
        /// Why.
        cause: Cause,
    },
    /// A client's message.
    Publish {
        /// Whose.
        conn: ConnRef,
        /// Answer with [`ToShard::Published`].
        ticket: Option<Ticket>,
        /// Who sends.
        sender: Box<Sender>,
        /// Where to.
        to: Outward,
        /// What the client says of it.
        said: Option<Box<Said>>,
        /// The payload.
        payload: Bytes,
    },
    /// A client's request; answered by [`ToShard::Replied`].
    Request {
        /// Whose.
        conn: ConnRef,
        /// Echoed.
        ticket: Ticket,
        /// Who asks.
        sender: Box<Sender>,
        /// The segments of `to`, not encoded.
        to: Vec<String>,
        /// What the client says of it.
        said: Option<Box<Said>>,
        /// The payload.
        payload: Bytes,
        /// How long to wait.
        timeout: Duration,
    },
    /// A credential that the shard cannot decide alone; answered by [`ToShard::Verified`].
    Verify {
        /// Whose.
        conn: ConnRef,
        /// Echoed.
        ticket: Ticket,
        /// Where.
        endpoint: Arc<Endpoint>,
        /// The credential.
        token: Secret,
    },
    /// Something about a session over HTTP.
    Session(ToHubOfSession),
    /// This shard's part of a receipt, exactly one for each that it was asked for.
    Receipt {
        /// Which receipt.
        receipt: ReceiptRef,
        /// What became of it here; `number` is the receipt's.
        part: ReceiptPart,
    },
    /// So many more connections acknowledged.
    Acked {
        /// Which receipt.
        receipt: ReceiptRef,
        /// How many.
        acked: u64,
        /// How many went without, and will not any more.
        gone: u64,
    },
    /// This shard's part of an answer.
    Answered {
        /// The hub's number of the question.
        question: u64,
        /// Entries with their connection ids, in order; `number` means nothing here.
        part: AnswerPart,
    },
    /// The answer to [`ToShard::Drain`] and [`ToShard::CloseAll`]: no connection is left.
    Empty {
        /// The shard.
        shard: u16,
    },
}

/// What the hub tells a shard.
#[derive(Debug, Clone)]
pub enum ToShard {
    /// Deliver a message to those of its targets that are here.
    Deliver(Arc<SharedDelivery>),
    /// Say in its receipt whom a kept message reaches that a read of the stream brings them, or has brought.
    Count(Arc<SharedDelivery>),
    /// Carry out a command on those of its targets that are here.
    Command(Arc<SharedCommand>),
    /// Answer a question; see [`ToHub::Answered`].
    Ask {
        /// The hub's number of it.
        question: u64,
        /// What is asked.
        ask: Arc<Ask>,
    },
    /// The answer to [`ToHub::Bind`]. On failure the hub counts the connection no longer.
    Bound {
        /// Whose.
        conn: ConnRef,
        /// Its public id.
        id: ConnectionId,
        /// The user.
        user: Arc<str>,
        /// How it ended.
        result: Outcome<Granted>,
    },
    /// The answer to [`ToHub::Join`]. On failure the hub counts the connection no longer.
    Joined {
        /// Whose.
        conn: ConnRef,
        /// For whom.
        on_behalf: JoinFor,
        /// The room.
        room: Arc<str>,
        /// How it ended.
        result: Outcome<Granted>,
    },
    /// The answer to [`ToHub::Replay`].
    Replayed {
        /// Whose.
        conn: ConnRef,
        /// The room, or the user's own stream.
        room: Option<Arc<str>>,
        /// The last sequence that it had, as it said.
        since: u64,
        /// What was missed.
        result: Outcome<Granted>,
    },
    /// The answer to [`ToHub::History`].
    History {
        /// Whose.
        conn: ConnRef,
        /// Echoed.
        ticket: Ticket,
        /// How it ended.
        result: Outcome<HistoryPage>,
    },
    /// Kept messages of the target are lost to those who are here: tell them. All targets where it is `All`.
    KeptGap {
        /// Which.
        target: Target,
    },
    /// The answer to [`ToHub::Publish`] with a ticket.
    Published {
        /// Whose.
        conn: ConnRef,
        /// Echoed.
        ticket: Ticket,
        /// How it ended.
        result: Outcome<()>,
    },
    /// A [`ToHub::Publish`] without a ticket failed at once.
    Unpublished {
        /// Whose.
        conn: ConnRef,
        /// Why.
        failure: Failure,
    },
    /// The answer to [`ToHub::Request`].
    Replied {
        /// Whose.
        conn: ConnRef,
        /// Echoed.
        ticket: Ticket,
        /// How it ended.
        result: Outcome<Bytes>,
    },
    /// The answer to [`ToHub::Verify`].
    Verified {
        /// Whose.
        conn: ConnRef,
        /// Echoed.
        ticket: Ticket,
        /// Who it is, or why not.
        result: Result<Identity, crate::auth::Refusal>,
    },
    /// Something about a session over HTTP.
    Session(ToShardOfSession),
    /// An operator asks.
    Inspect(Inquiry),
    /// Packets to this node were lost: tell each client that can be told.
    Lost,
    /// The bus is away, or there was no router for too long: connections that are nobody's yet are closed.
    Unserved,
    /// Close all connections, each at its own time.
    Drain {
        /// Over how many milliseconds, from now.
        window_ms: u64,
        /// No faster than this, closes per second in thousandths.
        rate_milli: Option<u64>,
    },
    /// The process is short of memory: give some back.
    Relieve {
        /// How much.
        bytes: u64,
    },
    /// How fast connections may go from now on that were told to.
    Pace {
        /// Closes per second in thousandths; `None` is as fast as their window wants it.
        rate_milli: Option<u64>,
    },
    /// Stop a drain or shed that is under way.
    Uncordon,
    /// Close so many bound connections.
    Shed {
        /// How many.
        count: u64,
        /// Over how many milliseconds, from now.
        window_ms: u64,
        /// No faster than this, closes per second in thousandths.
        rate_milli: Option<u64>,
    },
    /// Close what is left, now.
    CloseAll(Close),
}
