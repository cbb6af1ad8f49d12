//! What a router sends to one node: packets of deliveries, commands and questions, and the messages around them.

use bytes::{Bytes, BytesMut};

use super::codec::{Reader, WireError, Writer};
use super::delivery::{Delivery, ReceiptAsk, Target, TargetRef};
use super::text::Text;
use crate::id::{ConnectionId, NodeId};
use crate::position::Position;

/// One message on a node's own subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeBound {
    /// Numbered work.
    Packet(Packet),
    /// The router has applied the node's roster up to this sequence.
    RosterAck {
        /// Who says so.
        router: NodeId,
        /// The last sequence applied.
        seq: u64,
        /// How far the router had processed the stream of kept messages then.
        kept: Option<Position>,
    },
    /// The router wants the node's roster whole.
    SnapshotAsk {
        /// Where to send it.
        router: NodeId,
    },
    /// "Are you there?": answered with an empty message to the NATS reply subject.
    Ping,
}

/// Work for one node, packed per turn of the router's loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Who sends it.
    pub router: NodeId,
    /// Counts from 1 per router and node, without holes: a hole means packets were lost.
    pub number: u64,
    /// The sender's term; nodes drop packets from a router that was fenced at a higher one.
    pub term: u64,
    /// In the order the router took them.
    pub items: Vec<Item>,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a delivery is the common case; boxing it would cost each an allocation")]
pub enum Item {
    /// Deliver a message.
    Deliver(Delivery),
    /// Carry out a command.
    Command(CommandItem),
    /// Answer a question about connections.
    Ask {
        /// Returned with the answer.
        number: u64,
        /// What is asked.
        ask: Ask,
    },
    /// What follows was another router's: it comes after this packet of that one.
    After {
        /// The former owner.
        router: NodeId,
        /// The number of its last packet that matters.
        number: u64,
    },
}

/// A command and whom it applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandItem {
    /// Whom it is for; empty for a command to the node itself.
    pub targets: Vec<Target>,
    /// What to do.
    pub command: Command,
    /// The receipt to report for.
    pub receipt: Option<ReceiptAsk>,
}

/// What a gateway can be told to do (`hf.ctl.*`), already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make the connections members of a room.
    Join {
        /// The room.
        room: Text,
    },
    /// End their membership.
    Leave {
        /// The room.
        room: Text,
    },
    /// Close them.
    Disconnect {
        /// The close code.
        code: u16,
        /// The close reason.
        reason: Text,
        /// Only connections of this device.
        device: Option<Text>,
    },
    /// Close with 4003 what holds this token.
    Expire {
        /// The token's id.
        jti: Text,
    },
    /// Stop application messages.
    Pause,
    /// Let them flow again.
    Resume,
    /// Close one connection because a newer one of the same user replaced it (4001).
    Replace,
    /// To the node: stop accepting and close what is there, paced.
    Drain,
    /// To the node: accept again.
    Uncordon,
    /// To the node: close this share of the connections.
    Shed {
        /// 1–100.
        percent: u8,
    },
}

/// A question that only the nodes can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The connections of a user.
    User {
        /// The user.
        user: Text,
    },
    /// Members of a room, ordered by connection id.
    Room {
        /// The room.
        room: Text,
        /// Only ids after this one.
        after: Option<ConnectionId>,
        /// At most so many.
        limit: u32,
    },
    /// One connection.
    Connection {
        /// Which.
        connection: ConnectionId,
    },
    /// How many connections are bound: the answer's total, without entries.
    Count,
}

impl NodeBound {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        match self {
            Self::Packet(packet) => {
                let mut builder = PacketBuilder::default();
                for item in &packet.items {
                    builder.push(item);
                }
                return builder.finish(packet.router, packet.number, packet.term);
            }
            Self::RosterAck { router, seq, kept } => {
                w.u8(1);
                w.node(*router);
                w.u64(*seq);
                w.option(kept.as_ref(), Writer::position);
            }
            Self::SnapshotAsk { router } => {
                w.u8(2);
                w.node(*router);
            }
            Self::Ping => w.u8(3),
        }
        buffer.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The bytes are no such message of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let message = match r.u8()? {
            0 => {
                let (router, number, term) = (r.node()?, r.u64()?, r.u64()?);
                let mut items = Vec::new();
                while !r.is_empty() {
                    items.push(Item::read(&mut r)?);
                }
                Self::Packet(Packet { router, number, term, items })
            }
            1 => Self::RosterAck { router: r.node()?, seq: r.u64()?, kept: r.option(Reader::position)? },
            2 => Self::SnapshotAsk { router: r.node()? },
            3 => Self::Ping,
            _ => return Err(WireError::Malformed("the kind of a message to a node")),
        };
        r.end()?;
        Ok(message)
    }
}

/// Collects items for one node within a turn, encoded as they come.
#[derive(Debug, Default)]
pub struct PacketBuilder {
    items: BytesMut,
}

impl PacketBuilder {
    /// Appends an item.
    pub fn push(&mut self, item: &Item) {
        item.write(&mut Writer(&mut self.items));
    }

    /// Appends a delivery: its targets on this node, and what
    /// [`DeliveryRef::encode_into`](super::delivery::DeliveryRef::encode_into) wrote once for all nodes.
    pub fn push_delivery<'a>(
        &mut self,
        targets: impl IntoIterator<Item = TargetRef<'a>, IntoIter: ExactSizeIterator>,
        encoded: &[u8],
    ) {
        let targets = targets.into_iter();
        let mut w = Writer(&mut self.items);
        w.u8(0);
        w.u64(targets.len() as u64);
        for target in targets {
            target.write(&mut w);
        }
        self.items.extend_from_slice(encoded);
    }

    /// Bytes of the items so far; a packet adds at most [`PACKET_HEAD_BYTES_MAX`] to it.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing was appended since the last packet.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The packet's bytes; the builder is empty afterwards.
    pub fn finish(&mut self, router: NodeId, number: u64, term: u64) -> Bytes {
        let mut buffer = BytesMut::with_capacity(PACKET_HEAD_BYTES_MAX + self.items.len());
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.u8(0);
        w.node(router);
        w.u64(number);
        w.u64(term);
        buffer.extend_from_slice(&self.items);
        self.items.clear();
        buffer.freeze()
    }
}

/// Version, kind, router id and two integers.
pub const PACKET_HEAD_BYTES_MAX: usize = 2 + crate::id::NODE_ID_BYTES + 10 + 10;

impl Item {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Deliver(delivery) => {
                w.u8(0);
                delivery.write(w);
            }
            Self::Command(item) => {
                w.u8(1);
                w.list(&item.targets, |w, target| target.write(w));
                item.command.write(w);
                w.option(item.receipt, |w, receipt| receipt.write(w));
            }
            Self::Ask { number, ask } => {
                w.u8(2);
                w.u64(*number);
                ask.write(w);
            }
            Self::After { router, number } => {
                w.u8(3);
                w.node(*router);
                w.u64(*number);
            }
        }
    }

    fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Deliver(Delivery::read(r)?),
            1 => Self::Command(CommandItem {
                targets: r.list(Target::read)?,
                command: Command::read(r)?,
                receipt: r.option(ReceiptAsk::read)?,
            }),
            2 => Self::Ask { number: r.u64()?, ask: Ask::read(r)? },
            3 => Self::After { router: r.node()?, number: r.u64()? },
            _ => return Err(WireError::Malformed("the kind of an item")),
        })
    }
}

impl Command {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Join { room } => {
                w.u8(0);
                w.text(room);
            }
            Self::Leave { room } => {
                w.u8(1);
                w.text(room);
            }
            Self::Disconnect { code, reason, device } => {
                w.u8(2);
                w.u64(u64::from(*code));
                w.text(reason);
                w.option(device.as_ref(), |w, device| w.text(device));
            }
            Self::Expire { jti } => {
                w.u8(3);
                w.text(jti);
            }
            Self::Pause => w.u8(4),
            Self::Resume => w.u8(5),
            Self::Replace => w.u8(6),
            Self::Drain => w.u8(7),
            Self::Uncordon => w.u8(8),
            Self::Shed { percent } => {
                w.u8(9);
                w.u8(*percent);
            }
        }
    }

    fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Join { room: r.text()? },
            1 => Self::Leave { room: r.text()? },
            2 => Self::Disconnect {
                code: u16::try_from(r.u64()?).map_err(|_| WireError::Malformed("a close code"))?,
                reason: r.text()?,
                device: r.option(Reader::text)?,
            },
            3 => Self::Expire { jti: r.text()? },
            4 => Self::Pause,
            5 => Self::Resume,
            6 => Self::Replace,
            7 => Self::Drain,
            8 => Self::Uncordon,
            9 => Self::Shed { percent: r.u8()? },
            _ => return Err(WireError::Malformed("a command")),
        })
    }
}

impl Ask {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::User { user } => {
                w.u8(0);
                w.text(user);
            }
            Self::Room { room, after, limit } => {
                w.u8(1);
                w.text(room);
                w.option(*after, Writer::connection);
                w.u64(u64::from(*limit));
            }
            Self::Connection { connection } => {
                w.u8(2);
                w.connection(*connection);
            }
            Self::Count => w.u8(3),
        }
    }

    fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::User { user: r.text()? },
            1 => Self::Room {
                room: r.text()?,
                after: r.option(Reader::connection)?,
                limit: u32::try_from(r.u64()?).map_err(|_| WireError::Malformed("a page size"))?,
            },
            2 => Self::Connection { connection: r.connection()? },
            3 => Self::Count,
            _ => return Err(WireError::Malformed("a question")),
        })
    }
}
