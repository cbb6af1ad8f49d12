//! All that can happen to a session.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::position::{Position, Start};
use holdfast_protocol::wire::Delivery;

use crate::auth::Identity;

/// A whole message from the client. Text has been checked to be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> Incoming<'a> {
    /// Its bytes, whichever kind it is.
    pub const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// Names an operation the session waits for; its own numbering, echoed by the shard.
pub type Ticket = u32;

/// Why something asked of the bus did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No bus, or it did not confirm in time.
    BusUnavailable,
    /// No live router, or a callout that nobody answers.
    Unavailable,
    /// Nobody serves the subject.
    NoResponders,
    /// No answer in time.
    Timeout,
    /// The domain service answered with an error.
    Service {
        /// `Nats-Service-Error-Code`, 500 where it is no number.
        status: u16,
        /// `Nats-Service-Error`.
        message: String,
    },
    /// The callout said no.
    Forbidden {
        /// What it said.
        reason: String,
    },
    /// Larger than the bus carries.
    TooBig,
    /// The stream of kept messages is another one than the client means.
    OtherEpoch,
}

/// How an operation of a session ended.
pub type Outcome<T> = Result<T, Failure>;

/// A page of a room's kept messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Oldest first.
    pub messages: Vec<Delivery>,
    /// Where to ask on in the same direction, if there is more.
    pub next: Option<Position>,
}

/// All that can happen to a session after it was opened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A message came.
    Message(Incoming<'a>),
    /// A credential was verified (or not): the answer to [`Action::Verify`](super::Action::Verify).
    Verified {
        /// Whose answer.
        ticket: Ticket,
        /// Who it is, or why not.
        result: Result<Identity, crate::auth::Refusal>,
    },
    /// Hub and routers know the connection: the answer to [`Action::Bind`](super::Action::Bind). Where the user's
    /// stream is recovered, the missed messages follow the session's actions of this event (the `welcome`).
    Bound(Outcome<Start>),
    /// The answer to [`Action::Join`](super::Action::Join). On success the connection becomes a member right after
    /// the session's actions of this event are carried out (the `ok` goes out first), if
    /// [`Session::is_in`](super::Session::is_in) still says so: it may have left meanwhile. In between come the missed
    /// messages, where the room is recovered.
    Joined {
        /// Whose answer.
        ticket: Ticket,
        /// The room.
        room: Arc<str>,
        /// How it ended.
        result: Outcome<Start>,
    },
    /// A domain service made the connection a member; the shard has done it already.
    Entered {
        /// The room.
        room: Arc<str>,
        /// The last position when that happened, where kept messages are on.
        position: Option<Position>,
    },
    /// A domain service ended a membership; the shard has done it already.
    Removed {
        /// The room.
        room: Arc<str>,
    },
    /// The answer to [`Action::Publish`](super::Action::Publish) with a ticket.
    Published {
        /// Whose answer.
        ticket: Ticket,
        /// How it ended.
        result: Outcome<()>,
    },
    /// The answer to [`Action::Request`](super::Action::Request).
    Replied {
        /// Whose answer.
        ticket: Ticket,
        /// The service's bytes.
        result: Outcome<Bytes>,
    },
    /// The answer to [`Action::History`](super::Action::History).
    History {
        /// Whose answer.
        ticket: Ticket,
        /// The page.
        result: Outcome<HistoryPage>,
    },
    /// Stop application messages.
    Pause,
    /// Let them flow again.
    Resume,
    /// A live message was refused because the session is paused: remembered for one `gap` per scope on resume.
    /// `None` is the user's own stream.
    MissedWhilePaused {
        /// The room, if it is a room's message.
        room: Option<Arc<str>>,
    },
    /// A message without a ticket could not be published.
    Unpublished(Failure),
    /// Each [`Action::Gap`](super::Action::Gap) so far was handed to the kernel: what is dropped from now on is news.
    GapsWritten,
    /// Something live was dropped for this client.
    Gap {
        /// Where.
        scope: GapScope,
    },
    /// Kept messages are lost to this client.
    KeptGap {
        /// Where.
        scope: GapScope,
    },
    /// The node will close this connection in so many milliseconds.
    GoAway {
        /// When to come back.
        retry_after_ms: u64,
        /// Why: `drain`, `shed`, `age`.
        reason: &'static str,
    },
    /// It will not, after all: a drain was taken back.
    Stay,
    /// End it, from the catalogue.
    Close(Close),
    /// End it as a domain service said.
    Disconnect {
        /// The code.
        code: u16,
        /// The reason.
        reason: &'a str,
    },
    /// About once a second: expiry of tokens, the deadline for the first credential.
    Tick,
}

/// Where something was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapScope {
    /// Anywhere.
    All,
    /// In the user's own stream.
    Own,
    /// In one room.
    Room(Arc<str>),
}
