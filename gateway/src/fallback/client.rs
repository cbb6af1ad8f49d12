//! A client of either kind, as the shard holds it.

use std::net::IpAddr;
use std::num::NonZeroU64;

use holdfast_protocol::close::Close;

use super::channel::Channel;
use crate::clock::Now;
use crate::net::Connection;
use crate::socket::{Framing, Outgoing, Pushed, Run, Socket, Taken, Written};

/// A client's socket. Most are WebSockets: the others are boxed, so that they cost those nothing.
#[derive(Debug)]
pub enum Client {
    /// A WebSocket.
    WebSocket(Connection),
    /// A session over HTTP.
    Http(Box<Channel>),
}

const _: () = assert!(size_of::<Client>() == size_of::<Connection>());

impl Client {
    /// The WebSocket, if it is one.
    pub const fn web_socket(&mut self) -> Option<&mut Connection> {
        match self {
            Self::WebSocket(connection) => Some(connection),
            Self::Http(_) => None,
        }
    }

    /// The session over HTTP, if it is one.
    pub const fn channel(&mut self) -> Option<&mut Channel> {
        match self {
            Self::WebSocket(_) => None,
            Self::Http(channel) => Some(channel),
        }
    }

    /// Who the socket is connected to; of a session over HTTP, who began it.
    pub fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::WebSocket(connection) => connection.peer(),
            Self::Http(channel) => channel.settings().from.client,
        }
    }

    fn socket(&mut self) -> &mut dyn Socket {
        match self {
            Self::WebSocket(connection) => connection,
            Self::Http(channel) => &mut **channel,
        }
    }
}

impl Socket for Client {
    fn write_now(&mut self, now: Now, outgoing: &Outgoing) -> Written {
        match self {
            Self::WebSocket(connection) => connection.write_now(now, outgoing),
            // What a session holds goes out with the turn's answer.
            Self::Http(_) => Written::Not,
        }
    }

    fn takes_runs(&self) -> bool {
        match self {
            Self::WebSocket(connection) => connection.takes_runs(),
            Self::Http(_) => false,
        }
    }

    fn write_run(&mut self, now: Now, run: &Run) -> Taken {
        match self {
            Self::WebSocket(connection) => connection.write_run(now, run),
            Self::Http(_) => Taken::default(),
        }
    }

    fn push(&mut self, now: Now, outgoing: Outgoing) -> Pushed {
        match self {
            // Not by way of a table of functions: this is where fan-out spends its time.
            Self::WebSocket(connection) => connection.push(now, outgoing),
            Self::Http(channel) => channel.push(now, outgoing),
        }
    }

    fn flush(&mut self, now: Now) -> u64 {
        match self {
            Self::WebSocket(connection) => connection.flush(now),
            Self::Http(channel) => channel.flush(now),
        }
    }

    fn take_gaps(&mut self) -> Vec<u32> {
        self.socket().take_gaps()
    }

    fn take_behind(&mut self) -> Vec<(u32, NonZeroU64)> {
        self.socket().take_behind()
    }

    fn take_withdrawn(&mut self) -> Vec<u64> {
        self.socket().take_withdrawn()
    }

    fn forget(&mut self, scope: u32) {
        self.socket().forget(scope);
    }

    fn has_room(&mut self, now: Now, frame_bytes: usize) -> bool {
        self.socket().has_room(now, frame_bytes)
    }

    fn close(&mut self, now: Now, code: u16, reason: &str) {
        self.socket().close(now, code, reason);
    }

    fn tick(&mut self, now: Now) -> Option<Close> {
        self.socket().tick(now)
    }

    fn queued_bytes(&self) -> usize {
        match self {
            Self::WebSocket(connection) => connection.queued_bytes(),
            Self::Http(channel) => channel.queued_bytes(),
        }
    }

    fn framing(&self) -> Framing {
        match self {
            Self::WebSocket(connection) => connection.framing(),
            Self::Http(channel) => channel.framing(),
        }
    }
}
