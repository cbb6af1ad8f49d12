//! An orderly move of partitions among routers: what the router that comes or goes says in the streams of messages
//! themselves, and what a former owner tells its heirs.

use bytes::{Bytes, BytesMut};

use super::codec::{Reader, WireError, Writer};
use super::roster::Cause;
use super::text::Text;
use crate::id::NodeId;
use crate::subject::Subjects;

/// A kind of live messages. Each has an order of its own, hence moves by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Sends.
    Send,
    /// Commands.
    Ctl,
    /// Sends to users and rooms that NATS maps to the section of routers they belong to.
    Section,
}

impl Lane {
    /// Where routers in so many sections tell each other of orderly moves: among the messages that are moved.
    pub fn moves(self, subjects: &Subjects, sections: usize) -> Vec<String> {
        match self {
            Self::Send => vec![subjects.join("send.move")],
            Self::Ctl => vec![subjects.join("ctl.move")],
            Self::Section => (0..sections).map(|section| subjects.join(&format!("int.send.{section}.move"))).collect(),
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Send => 0,
            Self::Ctl => 1,
            Self::Section => 2,
        }
    }

    const fn from_code(code: u8) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::Send),
            1 => Ok(Self::Ctl),
            2 => Ok(Self::Section),
            _ => Err(WireError::Malformed("the kind of messages that move")),
        }
    }
}

/// How far a move has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveStep {
    /// Messages are counted from here on, by old and new owners alike.
    Count,
    /// The mover has seen nobody before it: it begins unless somebody was faster.
    Ready,
    /// New owners keep what they hear from here on.
    Start,
    /// Old owners handle nothing from here on.
    End,
    /// What was counted is forgotten: nothing that an old owner has handled comes any more.
    Close,
    /// The move does not take place.
    Cancel,
}

/// One step of a move, published among the messages that are moved: it stands at the same place for all who hear them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The router that comes or goes.
    pub mover: NodeId,
    /// Its number of the move.
    pub number: u64,
    /// Which step.
    pub step: MoveStep,
    /// Who shares the partitions before the move.
    pub before: Vec<NodeId>,
    /// Who does after it.
    pub after: Vec<NodeId>,
}

/// What a former owner has handled since a move's messages are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// The former owner.
    pub from: NodeId,
    /// Whose move.
    pub mover: NodeId,
    /// Its number.
    pub number: u64,
    /// Which messages.
    pub lane: Lane,
    /// Fingerprints of what was handled since the last report, each as often as it was.
    pub keys: Vec<u64>,
    /// Users that linger, where this is the first report: whoever has come since they went cannot know of them.
    pub lingering: Vec<Lingering>,
    /// The last report: it handles nothing any more.
    pub end: Option<HandedOver>,
}

/// A user without a connection, but not yet for the length of the linger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lingering {
    /// Who.
    pub user: Text,
    /// What is left of the linger, milliseconds.
    pub left_ms: u64,
    /// On which node the last connection was.
    pub node: NodeId,
    /// In which of its batches it went.
    pub seq: u64,
    /// Why.
    pub cause: Cause,
}

/// The end of a former owner's part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandedOver {
    /// The number of its last packet to each gateway.
    pub packets: Vec<(NodeId, u64)>,
    /// Hashes of the ids of facts that it published lately.
    pub facts: Vec<u64>,
}

impl Move {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.node(self.mover);
        w.u64(self.number);
        w.u8(match self.step {
            MoveStep::Count => 0,
            MoveStep::Ready => 1,
            MoveStep::Start => 2,
            MoveStep::End => 3,
            MoveStep::Close => 4,
            MoveStep::Cancel => 5,
        });
        w.list(&self.before, |w, router| w.node(*router));
        w.list(&self.after, |w, router| w.node(*router));
        buffer.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The bytes are no such message of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let (mover, number) = (r.node()?, r.u64()?);
        let step = match r.u8()? {
            0 => MoveStep::Count,
            1 => MoveStep::Ready,
            2 => MoveStep::Start,
            3 => MoveStep::End,
            4 => MoveStep::Close,
            5 => MoveStep::Cancel,
            _ => return Err(WireError::Malformed("the step of a move")),
        };
        let (before, after) = (r.list(Reader::node)?, r.list(Reader::node)?);
        r.end()?;
        Ok(Self { mover, number, step, before, after })
    }
}

impl Handled {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.node(self.from);
        w.node(self.mover);
        w.u64(self.number);
        w.u8(self.lane.code());
        w.list(&self.keys, |w, key| w.fixed_u64(*key));
        w.list(&self.lingering, |w, it| {
            w.text(it.user.as_str());
            w.u64(it.left_ms);
            w.node(it.node);
            w.u64(it.seq);
            w.u8(it.cause.code());
        });
        w.option(self.end.as_ref(), |w, end| {
            w.list(&end.packets, |w, (node, number)| {
                w.node(*node);
                w.u64(*number);
            });
            w.list(&end.facts, |w, fact| w.fixed_u64(*fact));
        });
    }

    pub(super) fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            from: r.node()?,
            mover: r.node()?,
            number: r.u64()?,
            lane: Lane::from_code(r.u8()?)?,
            keys: r.list(Reader::fixed_u64)?,
            lingering: r.list(|r| {
                let (user, left_ms, node, seq) = (r.text()?, r.u64()?, r.node()?, r.u64()?);
                Ok(Lingering { user, left_ms, node, seq, cause: Cause::from_code(r.u8()?)? })
            })?,
            end: r.option(|r| {
                Ok(HandedOver { packets: r.list(|r| Ok((r.node()?, r.u64()?)))?, facts: r.list(Reader::fixed_u64)? })
            })?,
        })
    }
}
