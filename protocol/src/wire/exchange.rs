//! What gateways say to each other about an HTTP session: the node that got a request asks the one that has the session.
//!
//! A question is an [`Exchange`] with a NATS reply subject, an [`Exchanged`] the one reply to it. Where a session is,
//! routers say: [`Whereabouts`] is their reply to its name on the subject for that.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::codec::{Reader, WireError, Writer};
use super::text::Text;
use crate::id::NodeId;

/// A request of a client, for the node that has its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The session's name.
    pub session: Text,
    /// Who asks.
    pub caller: Caller,
    /// What is asked.
    pub ask: ExchangeAsk,
}

/// What a request shows of who sent it: enough to tell whether it is the session's own client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// A hash of the credential as it came; 0 for none.
    pub credential: u64,
    /// The user that the credential names, where it is valid.
    pub user: Option<Text>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeAsk {
    /// Bytes for the client: answered at once the first time, later when there are some, or after a few seconds.
    Receive {
        /// The HTTP request behind it: one at a time may receive.
        receiver: u64,
        /// What its bytes look like; the gateway's own numbers.
        form: u8,
        /// The last piece that it has; 0 for none.
        have: u64,
    },
    /// The receiver is gone before its end.
    Leave {
        /// Which.
        receiver: u64,
    },
    /// The client sends.
    Send {
        /// As it came.
        body: Bytes,
    },
}

/// The answer to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchanged {
    /// No such session, or not this client's.
    Unknown,
    /// Bytes for the client, perhaps none yet.
    Piece {
        /// Counts from 1 for each receiver.
        number: u64,
        /// The bytes.
        bytes: Bytes,
        /// Nothing more comes for this receiver.
        end: bool,
    },
    /// Another request receives already.
    Taken,
    /// What the client sent is accepted.
    Accepted,
    /// What the client sent cannot be read.
    Malformed,
    /// What the client sent is too large.
    TooBig,
    /// Too much is under way: try again.
    Busy,
}

/// The nodes that have a session, of which there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Nodes.
    pub nodes: Vec<NodeId>,
}

impl Exchange {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.text(&self.session);
        w.fixed_u64(self.caller.credential);
        w.option(self.caller.user.as_ref(), |w, user| w.text(user));
        match &self.ask {
            ExchangeAsk::Receive { receiver, form, have } => {
                w.u8(0);
                w.fixed_u64(*receiver);
                w.u8(*form);
                w.u64(*have);
            }
            ExchangeAsk::Leave { receiver } => {
                w.u8(1);
                w.fixed_u64(*receiver);
            }
            ExchangeAsk::Send { body } => {
                w.u8(2);
                w.bytes(body);
            }
        }
        buffer.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let session = r.text()?;
        let caller = Caller { credential: r.fixed_u64()?, user: r.option(Reader::text)? };
        let ask = match r.u8()? {
            0 => ExchangeAsk::Receive { receiver: r.fixed_u64()?, form: r.u8()?, have: r.u64()? },
            1 => ExchangeAsk::Leave { receiver: r.fixed_u64()? },
            2 => ExchangeAsk::Send { body: r.bytes()? },
            _ => return Err(WireError::Malformed("the kind of an exchange")),
        };
        r.end()?;
        Ok(Self { session, caller, ask })
    }
}

impl Exchanged {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        match self {
            Self::Unknown => w.u8(0),
            Self::Piece { number, bytes, end } => {
                w.u8(1);
                w.u64(*number);
                w.bool(*end);
                buffer.put_slice(bytes);
            }
            Self::Taken => w.u8(2),
            Self::Accepted => w.u8(3),
            Self::Malformed => w.u8(4),
            Self::TooBig => w.u8(5),
            Self::Busy => w.u8(6),
        }
        buffer.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let message = match r.u8()? {
            0 => Self::Unknown,
            1 => return Ok(Self::Piece { number: r.u64()?, end: r.bool()?, bytes: r.0 }),
            2 => Self::Taken,
            3 => Self::Accepted,
            4 => Self::Malformed,
            5 => Self::TooBig,
            6 => Self::Busy,
            _ => return Err(WireError::Malformed("the kind of an answer")),
        };
        r.end()?;
        Ok(message)
    }
}

impl Whereabouts {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.list(&self.nodes, |w, node| w.node(*node));
        buffer.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let nodes = r.list(Reader::node)?;
        r.end()?;
        Ok(Self { nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_wire() {
        let caller = Caller { credential: 7, user: Some("ana".into()) };
        for ask in [
            ExchangeAsk::Receive { receiver: u64::MAX, form: 3, have: 300 },
            ExchangeAsk::Leave { receiver: 1 },
            ExchangeAsk::Send { body: Bytes::from_static(b"[\"x\"]") },
        ] {
            let message = Exchange { session: "s".into(), caller: caller.clone(), ask };
            assert_eq!(Exchange::decode(message.encode()), Ok(message));
        }
        for answer in [
            Exchanged::Unknown,
            Exchanged::Piece { number: 1, bytes: Bytes::from_static(b"o\n"), end: true },
            Exchanged::Piece { number: 2, bytes: Bytes::new(), end: false },
            Exchanged::Taken,
            Exchanged::Accepted,
            Exchanged::Malformed,
            Exchanged::TooBig,
            Exchanged::Busy,
        ] {
            assert_eq!(Exchanged::decode(answer.encode()), Ok(answer));
        }
        let nodes = Whereabouts { nodes: vec![NodeId::gateway([1; 8]), NodeId::gateway([2; 8])] };
        assert_eq!(Whereabouts::decode(nodes.encode()), Ok(nodes));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let nodes = Whereabouts { nodes: vec![NodeId::gateway([1; 8])] }.encode();
        for end in 0..nodes.len() {
            assert!(Whereabouts::decode(nodes.slice(..end)).is_err(), "{end}");
        }
        assert!(Exchanged::decode(Bytes::from_static(&[super::super::VERSION, 9])).is_err());
        assert!(Exchanged::decode(Bytes::from_static(&[super::super::VERSION, 0, 0])).is_err());
    }
}
