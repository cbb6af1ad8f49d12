//! Beats: how nodes and routers know of each other.

use bytes::{Bytes, BytesMut};

use super::codec::{Reader, WireError, Writer};
use super::text::Text;
use crate::id::NodeId;
use crate::limits::PARTITIONS;
use crate::position::Position;

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Serving.
    Live,
    /// Closing its connections, paced; still serving those it has.
    Draining,
    /// The last beat of a node that left in order: take it off the roster.
    Gone,
}

/// Connections that a node sends away, paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// How many are still to be closed.
    pub left: u64,
    /// Closes per second, in thousandths.
    pub rate_milli: u64,
    /// When the last of them is to be closed at this rate, Unix milliseconds.
    pub until_unix_ms: u64,
}

/// What the fleet can take from a node that sends connections away, as a router adds it up from the nodes' beats: nodes
/// do not hear each other's, which would grow with the square of their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Nodes that are live and heard.
    pub takers: u64,
    /// The sum of their spare handshakes per second.
    pub spare_handshakes: u64,
    /// The sum of the connections that all nodes send away.
    pub leaving: u64,
    /// The sum of the rates at which they do, in thousandths of a close per second.
    pub rate_milli: u64,
}

/// A node's beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeBeat {
    /// Who.
    pub node: NodeId,
    /// What it does.
    pub state: NodeState,
    /// Its build's version.
    pub version: Text,
    /// Bound connections.
    pub connections: u64,
    /// Handshakes per second it could take on top of its present load.
    pub spare_handshakes: u64,
    /// What it sends away, where it does.
    pub leaving: Option<Leaving>,
    /// The last roster batch it published.
    pub seq: u64,
    /// Per partition, the wrapping sum of its roster's entries at that batch.
    pub digests: Box<[u64; PARTITIONS]>,
}

/// What a router says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterState {
    /// Its mirror is not whole yet: it owns nothing and acknowledges, but nobody waits for it.
    Joining,
    /// Owns its share.
    Live,
    /// Hands over its share in order.
    Leaving,
}

/// A router that others gave up, and the term from which on its packets count again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Who was given up.
    pub router: NodeId,
    /// Packets of a lower term are dropped.
    pub term: u64,
}

/// A router's beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterBeat {
    /// Who.
    pub router: NodeId,
    /// What it does.
    pub state: RouterState,
    /// Counts from 1: a router hears its own beats and knows by them that it is not cut off.
    pub number: u64,
    /// The highest term it knows.
    pub term: u64,
    /// Who shares the partitions as it sees it, itself included where it has a share: moves are through.
    pub live: Vec<NodeId>,
    /// Whether it knows of a move that is under way.
    pub moving: bool,
    /// Whom it gave up, until they are heard again.
    pub fences: Vec<Fence>,
    /// How far it has processed the stream of kept messages: packets of messages before went out before this beat.
    pub kept: Option<Position>,
    /// What the fleet can take, as far as this router knows.
    pub capacity: Capacity,
    /// Into how many sections the routers are split, as it was told: all must say the same.
    pub sections: u64,
}

/// A cold router asks all nodes for their rosters; they answer on its own subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discover {
    /// Who asks.
    pub router: NodeId,
}

impl NodeBeat {
    /// The beat's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.node(self.node);
        w.u8(match self.state {
            NodeState::Live => 0,
            NodeState::Draining => 1,
            NodeState::Gone => 2,
        });
        w.text(&self.version);
        w.u64(self.connections);
        w.u64(self.spare_handshakes);
        w.option(self.leaving.as_ref(), |w, leaving| {
            w.u64(leaving.left);
            w.u64(leaving.rate_milli);
            w.u64(leaving.until_unix_ms);
        });
        w.u64(self.seq);
        for digest in self.digests.iter() {
            w.fixed_u64(*digest);
        }
        buffer.freeze()
    }

    /// Reads a beat.
    ///
    /// # Errors
    /// The bytes are no beat of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let node = r.node()?;
        let state = match r.u8()? {
            0 => NodeState::Live,
            1 => NodeState::Draining,
            2 => NodeState::Gone,
            _ => return Err(WireError::Malformed("a node's state")),
        };
        let (version, connections, spare_handshakes) = (r.text()?, r.u64()?, r.u64()?);
        let leaving = r.option(|r| Ok(Leaving { left: r.u64()?, rate_milli: r.u64()?, until_unix_ms: r.u64()? }))?;
        let seq = r.u64()?;
        let mut digests = Box::new([0; PARTITIONS]);
        for digest in digests.iter_mut() {
            *digest = r.fixed_u64()?;
        }
        r.end()?;
        Ok(Self { node, state, version, connections, spare_handshakes, leaving, seq, digests })
    }
}

impl RouterBeat {
    /// The beat's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.node(self.router);
        w.u8(match self.state {
            RouterState::Joining => 0,
            RouterState::Live => 1,
            RouterState::Leaving => 2,
        });
        w.u64(self.number);
        w.u64(self.term);
        w.list(&self.live, |w, router| w.node(*router));
        w.bool(self.moving);
        w.list(&self.fences, |w, fence| {
            w.node(fence.router);
            w.u64(fence.term);
        });
        w.option(self.kept.as_ref(), Writer::position);
        w.u64(self.capacity.takers);
        w.u64(self.capacity.spare_handshakes);
        w.u64(self.capacity.leaving);
        w.u64(self.capacity.rate_milli);
        w.u64(self.sections);
        buffer.freeze()
    }

    /// Reads a beat.
    ///
    /// # Errors
    /// The bytes are no beat of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let router = r.node()?;
        let state = match r.u8()? {
            0 => RouterState::Joining,
            1 => RouterState::Live,
            2 => RouterState::Leaving,
            _ => return Err(WireError::Malformed("a router's state")),
        };
        let (number, term) = (r.u64()?, r.u64()?);
        let live = r.list(Reader::node)?;
        let moving = r.bool()?;
        let fences = r.list(|r| Ok(Fence { router: r.node()?, term: r.u64()? }))?;
        let kept = r.option(Reader::position)?;
        let capacity =
            Capacity { takers: r.u64()?, spare_handshakes: r.u64()?, leaving: r.u64()?, rate_milli: r.u64()? };
        let sections = r.u64()?;
        r.end()?;
        Ok(Self { router, state, number, term, live, moving, fences, kept, capacity, sections })
    }
}

impl Discover {
    /// The message's bytes.
    pub fn encode(self) -> Bytes {
        let mut buffer = BytesMut::new();
        let mut w = Writer(&mut buffer);
        w.u8(super::VERSION);
        w.node(self.router);
        buffer.freeze()
    }

    /// Reads the message.
    ///
    /// # Errors
    /// The bytes are no such message of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut r = Reader::versioned(bytes)?;
        let discover = Self { router: r.node()? };
        r.end()?;
        Ok(discover)
    }
}
