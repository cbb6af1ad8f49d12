//! Roster changes: what nodes tell routers about who is connected.
//!
//! Each node numbers its batches from 1, one stream per node for all partitions; a beat carries one digest per partition
//! at a batch number, so that a router sees both a hole and a silent difference (`docs/decisions/`).

use bytes::{Bytes, BytesMut};

use super::codec::{Reader, WireError, Writer};
use super::text::Text;
use crate::id::{ConnectionId, NodeId};

/// Why something came or went; the `cause` of the public facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A connection came, or a client joined.
    Connect,
    /// A connection went by itself, or a client left.
    Close,
    /// Its node was lost.
    NodeLost,
    /// Its node drains.
    Drain,
    /// Its token expired.
    Expired,
    /// A newer connection of the user replaced it.
    Replaced,
    /// A domain service said so.
    Ctl,
}

impl Cause {
    /// The word in public facts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Close => "close",
            Self::NodeLost => "node_lost",
            Self::Drain => "drain",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Ctl => "ctl",
        }
    }

    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn from_code(code: u8) -> Result<Self, WireError> {
        [Self::Connect, Self::Close, Self::NodeLost, Self::Drain, Self::Expired, Self::Replaced, Self::Ctl]
            .get(usize::from(code))
            .copied()
            .ok_or(WireError::Malformed("a cause"))
    }
}

/// One change of a node's roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The user's first connection on the node.
    UserUp {
        /// The user.
        user: Text,
        /// Why.
        cause: Cause,
    },
    /// The user's last connection on the node is gone.
    UserDown {
        /// The user.
        user: Text,
        /// Why.
        cause: Cause,
    },
    /// The room has so many members on the node now; 0 takes it off the roster.
    Room {
        /// The room.
        room: Text,
        /// Members on the node.
        count: u64,
        /// Why the last of the changes folded into this one happened.
        cause: Cause,
    },
    /// Under the policy `newest`: a connection of the user is there.
    Claim {
        /// The user.
        user: Text,
        /// The connection.
        connection: ConnectionId,
        /// When it was accepted, Unix milliseconds: decides only between connections met in a snapshot.
        since_ms: u64,
    },
    /// Under the policy `newest`: it is gone.
    Unclaim {
        /// The user.
        user: Text,
        /// The connection.
        connection: ConnectionId,
    },
}

/// Changes of one node, batched for at most a few milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterBatch {
    /// Whose roster.
    pub node: NodeId,
    /// Counts from 1 without holes.
    pub seq: u64,
    /// When the first change of the batch happened, Unix milliseconds.
    pub since_ms: u64,
    /// In order; a later change of the same key overrides an earlier one.
    pub changes: Vec<Change>,
}

impl Change {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::UserUp { user, cause } => {
                w.u8(0);
                w.text(user);
                w.u8(cause.code());
            }
            Self::UserDown { user, cause } => {
                w.u8(1);
                w.text(user);
                w.u8(cause.code());
            }
            Self::Room { room, count, cause } => {
                w.u8(2);
                w.text(room);
                w.u64(*count);
                w.u8(cause.code());
            }
            Self::Claim { user, connection, since_ms } => {
                w.u8(3);
                w.text(user);
                w.connection(*connection);
                w.u64(*since_ms);
            }
            Self::Unclaim { user, connection } => {
                w.u8(4);
                w.text(user);
                w.connection(*connection);
            }
        }
    }

    pub(super) fn read(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::UserUp { user: r.text()?, cause: Cause::from_code(r.u8()?)? },
            1 => Self::UserDown { user: r.text()?, cause: Cause::from_code(r.u8()?)? },
            2 => Self::Room { room: r.text()?, count: r.u64()?, cause: Cause::from_code(r.u8()?)? },
            3 => Self::Claim { user: r.text()?, connection: r.connection()?, since_ms: r.u64()? },
            4 => Self::Unclaim { user: r.text()?, connection: r.connection()? },
            _ => return Err(WireError::Malformed("a roster change")),
        })
    }
}

impl RosterBatch {
    /// The batch's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.node(self.node);
        w.u64(self.seq);
        w.u64(self.since_ms);
        w.list(&self.changes, |w, change| change.write(w));
        buffer.freeze()
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// The bytes are no batch of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let batch = Self { node: r.node()?, seq: r.u64()?, since_ms: r.u64()?, changes: r.list(Change::read)? };
        r.end()?;
        Ok(batch)
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn hash(kind: u8, parts: [&[u8]; 2]) -> u64 {
    let mut hash = FNV_OFFSET;
    for part in [&[kind][..], parts[0], &[0xFF], parts[1]] {
        for &byte in part {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }
    // FNV's high bits are weak and digests are sums of hashes: finish with a mix (the constants of splitmix64).
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// What a present user adds (wrapping) to the digest of its partition.
pub fn digest_of_user(user: &str) -> u64 {
    hash(0, [user.as_bytes(), b""])
}

/// What a room with so many members adds to the digest of its partition.
pub fn digest_of_room(room: &str, count: u64) -> u64 {
    hash(1, [room.as_bytes(), &count.to_le_bytes()])
}

/// What a claim adds to the digest of its user's partition.
pub fn digest_of_claim(user: &str, connection: ConnectionId) -> u64 {
    hash(2, [user.as_bytes(), connection.random()])
}
