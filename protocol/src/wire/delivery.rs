//! One message on its way down: whom it is for, its bytes, and what the headers of the send asked for, already parsed.

use bytes::{Bytes, BytesMut};

use super::codec::{Reader, WireError, Writer};
use super::text::Text;
use crate::id::ConnectionId;

/// Whom a delivery or command is for, on the node that gets it. Keys are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Each connection of the user.
    User(Text),
    /// Each member of the room.
    Room(Text),
    /// One connection.
    Connection(ConnectionId),
    /// Each connection.
    All,
}

/// What the payload is, decided once by the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Parses as JSON: inserted byte for byte.
    Json,
    /// UTF-8 text.
    Text,
    /// Anything else.
    Binary,
}

/// One `name=value` of `Hf-Only`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// A key of the token's attributes, or `device`, `user`, `endpoint`.
    pub name: Text,
    /// What it must be, exactly.
    pub value: Text,
}

/// A receipt that the router waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptAsk {
    /// The router's own number of the receipt, returned in the report.
    pub number: u64,
    /// Whether client acknowledgements are asked for and counted.
    pub acked: bool,
    /// How long the router waits, in milliseconds from its receipt; the node forgets the number afterwards.
    pub timeout_ms: u64,
}

/// W3C trace context, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Text,
    /// `tracestate`, empty where there was none.
    pub state: Text,
}

/// Where a kept message stands in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The stream's incarnation.
    pub epoch: Text,
    /// The message's sequence.
    pub seq: u64,
    /// The previous sequence of the same subject, 0 where there was none.
    pub previous: u64,
}

/// One message for the connections of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Whom it is for. Several only for `many`: each connection gets one copy.
    pub targets: Vec<Target>,
    /// `Hf-Id`, or what the router made.
    pub id: Text,
    /// `Hf-Type`.
    pub event: Option<Text>,
    /// What the payload is.
    pub content: Content,
    /// The application's bytes, untouched.
    pub payload: Bytes,
    /// The router's receipt (kept: the stream's timestamp) in Unix milliseconds.
    pub received_ms: u64,
    /// Not written to a socket after this Unix millisecond (`Hf-Ttl`).
    pub expires_ms: Option<u64>,
    /// `Hf-Key`.
    pub key: Option<Text>,
    /// `Hf-Destination`.
    pub destination: Option<Text>,
    /// `Hf-Only`, all of which must match.
    pub only: Vec<Condition>,
    /// `Hf-Except-Connection`.
    pub except_connections: Vec<ConnectionId>,
    /// `Hf-Except-User`.
    pub except_users: Vec<Text>,
    /// The receipt to report for.
    pub receipt: Option<ReceiptAsk>,
    /// The sender's trace.
    pub trace: Option<TraceContext>,
    /// Where it stands in the stream, if it is a kept message.
    pub kept: Option<Kept>,
}

/// A [`Target`] that borrows its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRef<'a> {
    /// Each connection of the user.
    User(&'a str),
    /// Each member of the room.
    Room(&'a str),
    /// One connection.
    Connection(ConnectionId),
    /// Each connection.
    All,
}

/// A [`Delivery`] without its targets, borrowed: what a router encodes once and appends to each node's packet.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields are those of Delivery")]
pub struct DeliveryRef<'a> {
    pub id: &'a str,
    pub event: Option<&'a str>,
    pub content: Content,
    pub payload: &'a [u8],
    pub received_ms: u64,
    pub expires_ms: Option<u64>,
    pub key: Option<&'a str>,
    pub destination: Option<&'a str>,
    pub only: &'a [Condition],
    pub except_connections: &'a [ConnectionId],
    pub except_users: &'a [Text],
    pub receipt: Option<ReceiptAsk>,
    pub trace: Option<(&'a str, &'a str)>,
    pub kept: Option<&'a Kept>,
}

impl TargetRef<'_> {
    pub(super) fn write(self, w: &mut Writer<'_>) {
        match self {
            Self::User(key) => {
                w.u8(0);
                w.text(key);
            }
            Self::Room(key) => {
                w.u8(1);
                w.text(key);
            }
            Self::Connection(id) => {
                w.u8(2);
                w.connection(id);
            }
            Self::All => w.u8(3),
        }
    }
}

impl Target {
    /// The same, borrowed.
    pub fn as_ref(&self) -> TargetRef<'_> {
        match self {
            Self::User(key) => TargetRef::User(key),
            Self::Room(key) => TargetRef::Room(key),
            Self::Connection(id) => TargetRef::Connection(*id),
            Self::All => TargetRef::All,
        }
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        self.as_ref().write(w);
    }

    pub(super) fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::User(r.text()?),
            1 => Self::Room(r.text()?),
            2 => Self::Connection(r.connection()?),
            3 => Self::All,
            _ => return Err(WireError::Malformed("a target")),
        })
    }
}

impl Content {
    const fn code(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Text => 1,
            Self::Binary => 2,
        }
    }

    const fn from_code(code: u8) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::Json),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            _ => Err(WireError::Malformed("a content kind")),
        }
    }
}

impl ReceiptAsk {
    pub(super) fn write(self, w: &mut Writer<'_>) {
        w.u64(self.number);
        w.bool(self.acked);
        w.u64(self.timeout_ms);
    }

    pub(super) fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { number: r.u64()?, acked: r.bool()?, timeout_ms: r.u64()? })
    }
}

impl DeliveryRef<'_> {
    /// Appends the encoded form to `buffer`.
    pub fn encode_into(&self, buffer: &mut BytesMut) {
        self.write(&mut Writer(buffer));
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.text(self.id);
        w.option(self.event, Writer::text);
        w.u8(self.content.code());
        w.bytes(self.payload);
        w.u64(self.received_ms);
        w.option(self.expires_ms, Writer::u64);
        w.option(self.key, Writer::text);
        w.option(self.destination, Writer::text);
        w.list(self.only, |w, condition| {
            w.text(&condition.name);
            w.text(&condition.value);
        });
        w.list(self.except_connections, |w, id| w.connection(*id));
        w.list(self.except_users, |w, user| w.text(user));
        w.option(self.receipt, |w, receipt| receipt.write(w));
        w.option(self.trace, |w, (parent, state)| {
            w.text(parent);
            w.text(state);
        });
        w.option(self.kept, |w, kept| {
            w.text(&kept.epoch);
            w.u64(kept.seq);
            w.u64(kept.previous);
        });
    }
}

impl Delivery {
    /// All but the targets, borrowed.
    pub fn as_ref(&self) -> DeliveryRef<'_> {
        DeliveryRef {
            id: &self.id,
            event: self.event.as_deref(),
            content: self.content,
            payload: &self.payload,
            received_ms: self.received_ms,
            expires_ms: self.expires_ms,
            key: self.key.as_deref(),
            destination: self.destination.as_deref(),
            only: &self.only,
            except_connections: &self.except_connections,
            except_users: &self.except_users,
            receipt: self.receipt,
            trace: self.trace.as_ref().map(|trace| (&*trace.parent, &*trace.state)),
            kept: self.kept.as_ref(),
        }
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.list(&self.targets, |w, target| target.write(w));
        self.as_ref().write(w);
    }

    pub(super) fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            targets: r.list(Target::read)?,
            id: r.text()?,
            event: r.option(Reader::text)?,
            content: Content::from_code(r.u8()?)?,
            payload: r.bytes()?,
            received_ms: r.u64()?,
            expires_ms: r.option(Reader::u64)?,
            key: r.option(Reader::text)?,
            destination: r.option(Reader::text)?,
            only: r.list(|r| Ok(Condition { name: r.text()?, value: r.text()? }))?,
            except_connections: r.list(Reader::connection)?,
            except_users: r.list(Reader::text)?,
            receipt: r.option(ReceiptAsk::read)?,
            trace: r.option(|r| Ok(TraceContext { parent: r.text()?, state: r.text()? }))?,
            kept: r.option(|r| Ok(Kept { epoch: r.text()?, seq: r.u64()?, previous: r.u64()? }))?,
        })
    }
}
