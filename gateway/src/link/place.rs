//! Which shard holds a connection: told by its id alone. Knows no connections.

use holdfast_protocol::id::{ConnectionId, NodeId};

/// The shard that holds a connection, from its id alone: ids are made so ([`id_for_shard`]).
pub fn shard_of(id: ConnectionId, shards: u16) -> u16 {
    let random = id.random();
    u16::from_le_bytes([random[14], random[15]]) % shards.max(1)
}

/// A connection id on `node` whose last bytes name `shard` modulo the number of shards. Of the 128 random bits that
/// costs log2(shards), so that no process-wide table of connections is needed.
pub fn id_for_shard(node: NodeId, mut random: [u8; 16], shard: u16, shards: u16) -> ConnectionId {
    let shards = shards.max(1);
    let drawn = u16::from_le_bytes([random[14], random[15]]);
    let base = drawn - drawn % shards;
    let tail = base.checked_add(shard).unwrap_or(shard);
    random[14..16].copy_from_slice(&tail.to_le_bytes());
    ConnectionId::new(node, random)
}
