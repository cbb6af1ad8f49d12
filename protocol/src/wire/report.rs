//! What is meant for one router: what became of its packets on a node, answers to its questions, whole rosters, that it
//! was given up, and what other routers hand over to it.

use bytes::{Bytes, BytesMut};

use super::codec::{Reader, WireError, Writer};
use super::moves::Handled;
use super::roster::Change;
use super::text::Text;
use crate::id::{ConnectionId, NodeId};

/// One message on a router's own subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterBound {
    /// Results of deliveries and commands, batched per turn.
    Report(Report),
    /// A part of a node's roster.
    Snapshot(Snapshot),
    /// What a former owner of our partitions has handled.
    Handled(Handled),
    /// A node refuses its packets of a lower term than this: it was given up, and who did that may be gone by now.
    Fenced(u64),
}

/// What became of a router's work on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who reports.
    pub node: NodeId,
    /// First results, one per receipt asked for.
    pub receipts: Vec<ReceiptPart>,
    /// Client acknowledgements that came since.
    pub acks: Vec<AckPart>,
    /// Answers to questions.
    pub answers: Vec<Answer>,
}

/// One node's share of a receipt. Always `matched = written + queued + dropped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiptPart {
    /// The router's number of the receipt.
    pub number: u64,
    /// Connections that pass the filters.
    pub matched: u64,
    /// Handed to the kernel.
    pub written: u64,
    /// Waiting in a client's queue.
    pub queued: u64,
    /// Left out by the filters.
    pub filtered: u64,
    /// Refused by policy.
    pub dropped: u64,
    /// Of the matched, those that can acknowledge and were asked to.
    pub ackable: u64,
}

/// Client acknowledgements for a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckPart {
    /// The router's number of the receipt.
    pub number: u64,
    /// Connections that acknowledged since the last report.
    pub acked: u64,
    /// Connections that went without having acknowledged: nobody need wait for them.
    pub gone: u64,
}

/// An answer to an [`Ask`](super::Ask).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The router's number of the question.
    pub number: u64,
    /// All that match on this node, also beyond the page.
    pub total: u64,
    /// Each a JSON object as the query's public answer shows it, ordered by connection id.
    pub entries: Vec<Text>,
}

/// A part of a node's roster at one batch number. Parts of one snapshot follow each other without others between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose roster.
    pub node: NodeId,
    /// The batch number it is at: later batches come on top.
    pub seq: u64,
    /// Counts from 0 within the snapshot.
    pub part: u64,
    /// Whether this is the last part.
    pub last: bool,
    /// What is there.
    pub entries: Vec<SnapshotEntry>,
}

/// One entry of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotEntry {
    /// A user with a connection on the node.
    User(Text),
    /// A room and its members on the node.
    Room(Text, u64),
    /// Under the policy `newest`: a user's connection and when it was accepted, Unix milliseconds.
    Claim(Text, ConnectionId, u64),
    /// What came to the node or left it lately (a room: its first member came, its last one left), the batch it was told
    /// in, and how long ago that was, in milliseconds. Nothing to apply: it is for who was not there to hear it.
    Lately(Change, u64, u64),
}

impl RouterBound {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        match self {
            Self::Report(report) => {
                w.u8(0);
                report.write(&mut w);
            }
            Self::Snapshot(snapshot) => {
                w.u8(1);
                snapshot.write(&mut w);
            }
            Self::Handled(handled) => {
                w.u8(2);
                handled.write(&mut w);
            }
            Self::Fenced(term) => {
                w.u8(3);
                w.u64(*term);
            }
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
            0 => Self::Report(Report::read(&mut r)?),
            1 => Self::Snapshot(Snapshot::read(&mut r)?),
            2 => Self::Handled(Handled::read(&mut r)?),
            3 => Self::Fenced(r.u64()?),
            _ => return Err(WireError::Malformed("the kind of a message to a router")),
        };
        r.end()?;
        Ok(message)
    }
}

impl Report {
    fn write(&self, w: &mut Writer<'_>) {
        w.node(self.node);
        w.list(&self.receipts, |w, part| {
            for value in
                [part.number, part.matched, part.written, part.queued, part.filtered, part.dropped, part.ackable]
            {
                w.u64(value);
            }
        });
        w.list(&self.acks, |w, part| {
            w.u64(part.number);
            w.u64(part.acked);
            w.u64(part.gone);
        });
        w.list(&self.answers, |w, answer| {
            w.u64(answer.number);
            w.u64(answer.total);
            w.list(&answer.entries, |w, entry| w.text(entry));
        });
    }

    fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            node: r.node()?,
            receipts: r.list(|r| {
                Ok(ReceiptPart {
                    number: r.u64()?,
                    matched: r.u64()?,
                    written: r.u64()?,
                    queued: r.u64()?,
                    filtered: r.u64()?,
                    dropped: r.u64()?,
                    ackable: r.u64()?,
                })
            })?,
            acks: r.list(|r| Ok(AckPart { number: r.u64()?, acked: r.u64()?, gone: r.u64()? }))?,
            answers: r.list(|r| Ok(Answer { number: r.u64()?, total: r.u64()?, entries: r.list(Reader::text)? }))?,
        })
    }
}

impl Snapshot {
    fn write(&self, w: &mut Writer<'_>) {
        w.node(self.node);
        w.u64(self.seq);
        w.u64(self.part);
        w.bool(self.last);
        w.list(&self.entries, |w, entry| match entry {
            SnapshotEntry::User(user) => {
                w.u8(0);
                w.text(user);
            }
            SnapshotEntry::Room(room, count) => {
                w.u8(1);
                w.text(room);
                w.u64(*count);
            }
            SnapshotEntry::Claim(user, connection, since_ms) => {
                w.u8(2);
                w.text(user);
                w.connection(*connection);
                w.u64(*since_ms);
            }
            SnapshotEntry::Lately(change, seq, age_ms) => {
                w.u8(3);
                change.write(w);
                w.u64(*seq);
                w.u64(*age_ms);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            node: r.node()?,
            seq: r.u64()?,
            part: r.u64()?,
            last: r.bool()?,
            entries: r.list(|r| {
                Ok(match r.u8()? {
                    0 => SnapshotEntry::User(r.text()?),
                    1 => SnapshotEntry::Room(r.text()?, r.u64()?),
                    2 => SnapshotEntry::Claim(r.text()?, r.connection()?, r.u64()?),
                    3 => SnapshotEntry::Lately(Change::read(r)?, r.u64()?, r.u64()?),
                    _ => return Err(WireError::Malformed("a roster entry")),
                })
            })?,
        })
    }
}
