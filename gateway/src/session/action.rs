//! All that a session can make happen. The shard carries actions out in order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_daemon::config::Secret;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::json::Cursor;
use holdfast_protocol::position::Position;

use super::event::Ticket;
use crate::auth::Identity;

/// Where a session leaves what it wants done.
pub type Actions = Vec<Action>;

/// Where a client's message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outward {
    /// To domain services: the segments of the path, checked, not encoded.
    Service(Vec<String>),
    /// To the members of a room, as if a domain service had sent it.
    Room(Arc<str>),
}

/// What a client says of its message besides the body: dialect `stomp` alone has such a thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// What the body is; printable ASCII.
    pub content_type: Option<String>,
    /// Headers of the client's own: a JSON array of pairs, in ASCII.
    pub headers: Option<String>,
}

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    /// Send this payload to the client in a text frame, as a control message of the dialect.
    Reply(Bytes),
    /// The same in a binary frame.
    ReplyBinary(Bytes),
    /// The same as a reply, for a `gap`: apply [`Event::GapsWritten`](super::Event::GapsWritten) once the latest of them was handed
    /// to the kernel. Until then no second one comes for the same scope.
    Gap(Bytes),
    /// Verify a token; answered by [`Event::Verified`](super::Event::Verified).
    Verify {
        /// Echoed.
        ticket: Ticket,
        /// The credential, as it came.
        token: Secret,
        /// The device the client named.
        device: Option<String>,
    },
    /// The connection is somebody's now: tell hub and routers, and answer with [`Event::Bound`](super::Event::Bound).
    /// Deliveries to the user begin right after the session's actions of that event.
    Bind {
        /// Whose.
        identity: Arc<Identity>,
        /// Resume the user's stream after this.
        since: Option<Position>,
    },
    /// New rights of the same user after a refresh: replaces what the shard shows others of this connection.
    Rebind(Arc<Identity>),
    /// Make the connection a member; answered by [`Event::Joined`](super::Event::Joined). With `leave_first` a
    /// membership that exists ends first, in the same step. No second one comes for a room while the first is
    /// unanswered, unless the client left in between.
    Join {
        /// Echoed.
        ticket: Ticket,
        /// The room.
        room: Arc<str>,
        /// Resume after this.
        since: Option<Position>,
        /// Re-join.
        leave_first: bool,
        /// Ask `auth.join` first, where the endpoint has that callout.
        callout: bool,
    },
    /// End a membership at once; nothing of the room comes after the actions that follow.
    Leave {
        /// The room.
        room: Arc<str>,
    },
    /// Publish a client's message upstream.
    Publish {
        /// Answer with [`Event::Published`](super::Event::Published) if the client asked.
        ticket: Option<Ticket>,
        /// Where to.
        to: Outward,
        /// What the client says of it.
        said: Option<Box<Said>>,
        /// The payload.
        payload: Bytes,
    },
    /// Ask a domain service; answered by [`Event::Replied`](super::Event::Replied).
    Request {
        /// Echoed.
        ticket: Ticket,
        /// The segments of `to`.
        to: Vec<String>,
        /// What the client says of it.
        said: Option<Box<Said>>,
        /// The payload.
        payload: Bytes,
        /// How long to wait.
        timeout: Duration,
    },
    /// Read kept messages of a room; answered by [`Event::History`](super::Event::History).
    History {
        /// Echoed.
        ticket: Ticket,
        /// The room.
        room: Arc<str>,
        /// Which part of it.
        cursor: Cursor,
        /// How many messages at most, 1–500.
        limit: u16,
        /// Ask `auth.join` first whether the client may be there.
        callout: bool,
    },
    /// The client acknowledged messages.
    Acked {
        /// Their ids.
        ids: Vec<String>,
    },
    /// Start the close handshake.
    Close {
        /// The code.
        code: u16,
        /// The reason.
        reason: String,
        /// The catalogue entry, for the metric and the facts' cause; `None` for a domain service's own code.
        close: Option<Close>,
    },
}
