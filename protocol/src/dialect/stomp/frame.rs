//! A client's frame.

use bytes::Bytes;

/// What a client can say. `STOMP` is read as `CONNECT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Log in.
    Connect,
    /// A message.
    Send,
    /// Ask for messages of a destination.
    Subscribe,
    /// No more of them.
    Unsubscribe,
    /// A message was processed.
    Ack,
    /// A message was not processed.
    Nack,
    /// Open a transaction.
    Begin,
    /// Carry it out.
    Commit,
    /// Forget it.
    Abort,
    /// Leave in order.
    Disconnect,
}

impl Command {
    /// The longest command is shorter; anything longer is garbage.
    pub(super) const BYTES_MAX: usize = 32;

    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        Some(match line {
            b"CONNECT" | b"STOMP" => Self::Connect,
            b"SEND" => Self::Send,
            b"SUBSCRIBE" => Self::Subscribe,
            b"UNSUBSCRIBE" => Self::Unsubscribe,
            b"ACK" => Self::Ack,
            b"NACK" => Self::Nack,
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ABORT" => Self::Abort,
            b"DISCONNECT" => Self::Disconnect,
            _ => return None,
        })
    }
}

/// One frame of a client, its headers decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub command: Command,
    /// In the order they came; of repeated ones the first counts ([`Frame::header`]).
    pub headers: Vec<(String, String)>,
    /// Only SEND has one.
    pub body: Bytes,
}

impl Frame {
    /// The first header of this name (1.2 §Repeated Header Entries).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
