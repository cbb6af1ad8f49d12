//! One client's socket as shard and session see it: a bounded queue of complete frames that drains by itself.
//!
//! Knows neither TCP nor TLS; `net` implements it for real sockets and the simulation for scripted clients.

use std::num::NonZeroU64;

use bytes::Bytes;
use holdfast_protocol::close::Close;

use crate::clock::Now;

/// What a queued frame is for; decides what may be done with it while it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Answers, `welcome`, `gap`, `goaway`, …: never dropped or replaced. Still counts against the bounds.
    Control,
    /// An application message.
    Message {
        /// Whose message it is on this connection: a room's number in the shard, or [`OWN_STREAM`]. Named in `gap`.
        scope: u32,
        /// Not written after this Unix millisecond. A message whose writing has begun is finished.
        expires_ms: Option<u64>,
        /// A newer message of the same scope and key replaces this one while unsent, and goes to the tail.
        key: Option<u64>,
        /// The position of a kept message: where it must give way, the socket says from where the stream is to be read
        /// again ([`Socket::take_behind`]), and takes no later one of the scope until it was asked.
        kept: Option<NonZeroU64>,
    },
}

/// The scope of messages that are not a room's.
pub const OWN_STREAM: u32 = u32::MAX;

/// The scope of messages of a room that the client has left.
pub const LEFT: u32 = u32::MAX - 1;

/// A complete, unmasked WebSocket frame on its way out, shared between all sockets that get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Frame head and payload.
    pub frame: Bytes,
    /// What may be done with it while it waits.
    pub class: Class,
}

/// How messages travel inside a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// As they are: one message, one WebSocket message.
    #[default]
    Plain,
    /// In SockJS frames (`a["…"]`), text only.
    SockJs,
}

/// What became of a frame offered to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the queue; [`Socket::flush`] may write it at once. Its number in this socket's queue, counted from 1.
    Queued(u64),
    /// Refused by policy (expired, or the queue is full of what may not be dropped, or the socket is closing).
    Dropped,
    /// The bound was hit under the policy `close`: close with 4008. The frame is not queued.
    Overflow,
}

/// What became of a frame that was to be written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The kernel has all of it.
    Whole,
    /// A part of it has left; the rest waits as this number of the queue and leaves with the next [`Socket::flush`].
    Begun(u64),
    /// None of it was taken: something waits already, or the socket takes nothing now. It has to be queued.
    Not,
}

/// Frames that many sockets get in a row, and the same bytes one behind another, so that a socket needs one plain write
/// for all of them.
#[derive(Debug, Default)]
pub struct Run {
    frames: Vec<Outgoing>,
    joined: Vec<u8>,
}

impl Run {
    /// Adds one behind the others.
    pub fn push(&mut self, outgoing: Outgoing) {
        self.joined.extend_from_slice(&outgoing.frame);
        self.frames.push(outgoing);
    }

    /// The frames in order.
    pub fn frames(&self) -> &[Outgoing] {
        &self.frames
    }

    /// Their bytes.
    pub fn joined(&self) -> &[u8] {
        &self.joined
    }
}

/// How much of a [`Run`] a socket took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// So many frames from the front: the others have to be queued.
    pub frames: usize,
    /// Some of what was taken has not left and waits for the next [`Socket::flush`].
    pub waits: bool,
}

/// A socket with its queue. All calls return at once.
pub trait Socket {
    /// Writes a frame past the queue where nothing waits in it: what a lone message needs, without a place in a queue
    /// for the moment in between.
    fn write_now(&mut self, _now: Now, _outgoing: &Outgoing) -> Written {
        Written::Not
    }

    /// Whether [`Self::write_run`] may take something now: nothing waits.
    fn takes_runs(&self) -> bool {
        false
    }

    /// Writes frames past the queue where nothing waits in it, all in one call.
    fn write_run(&mut self, _now: Now, _run: &Run) -> Taken {
        Taken::default()
    }

    /// Queues a frame within the endpoint's bounds. Under the policy "drop oldest" this may drop older messages:
    /// their scopes are then in [`Socket::take_gaps`].
    fn push(&mut self, now: Now, outgoing: Outgoing) -> Pushed;

    /// Writes what the kernel takes, all ready frames in one call; wakes the driver for the rest. Returns the number
    /// (see [`Pushed::Queued`]) of the last frame handed to the kernel whole; replaced and expired frames count as passed.
    fn flush(&mut self, now: Now) -> u64;

    /// Scopes that lost a message to "drop oldest" since the last call, each once.
    fn take_gaps(&mut self) -> Vec<u32>;

    /// Scopes whose kept messages gave way since the last call, each once, with the position of the first: none from
    /// there on is in the queue any more.
    fn take_behind(&mut self) -> Vec<(u32, NonZeroU64)> {
        Vec::new()
    }

    /// Numbers of frames queued since the last call that were taken back and never leave, though they count as passed:
    /// replaced, expired, given way, or cleared by a close.
    fn take_withdrawn(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// The client is in this scope no more, or begins anew there: kept messages of it that wait go, all of them, and what
    /// else waits may still leave, but takes nobody's place, and where it gives way nothing is told of it.
    fn forget(&mut self, _scope: u32) {}

    /// Whether a frame of so many bytes can be queued without anything giving way.
    fn has_room(&mut self, _now: Now, _frame_bytes: usize) -> bool {
        true
    }

    /// Starts the close handshake: what is queued may still go out, then a close frame, then a bounded wait for the
    /// client's. Further pushes are dropped. The first call counts.
    fn close(&mut self, now: Now, code: u16, reason: &str);

    /// Called about once a second: sends pings, and tells if nothing was heard for too long, or the queue's oldest
    /// message is older than the bound.
    fn tick(&mut self, now: Now) -> Option<Close>;

    /// Bytes that wait.
    fn queued_bytes(&self) -> usize;

    /// How the frames that it wants are framed.
    fn framing(&self) -> Framing {
        Framing::Plain
    }
}
