//! The nodes: who they are, when they were heard, where their roster stands, and what is being packed for them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{
    Capacity, Leaving, NodeBeat, NodeBound, NodeState, PACKET_HEAD_BYTES_MAX, PacketBuilder,
};

use super::event::Action;
use super::settings::{NODE_LATE_MS, NODE_OVERDUE_MS, PACKET_SILENCE_MS, PING_INTERVAL_MS};
use super::sync::Sync;
use super::table::Slot;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    /// Its id.
    pub(super) id: NodeId,
    /// What it says of itself.
    pub(super) state: NodeState,
    /// Its build.
    pub(super) version: Box<str>,
    /// Its connections at its last beat.
    pub(super) connections: u64,
    /// Handshakes per second it could take on top of its load.
    pub(super) spare_handshakes: u64,
    /// What it sends away.
    pub(super) leaving: Option<Leaving>,
    /// When it was last heard.
    pub(super) heard_ms: u64,
    /// Whether it was heard since we last joined.
    pub(super) heard_since_join: bool,
    /// Where the mirror of its roster stands.
    pub(super) sync: Sync,
    /// The last of its batches that is in the tables.
    pub(super) applied: u64,
    /// Digests of what the tables hold for it.
    pub(super) digests: Box<[u64; PARTITIONS]>,
    /// How much the tables hold for it.
    pub(super) entries: u64,
    ack_due: bool,
    is_dirty: bool,
    pinged_ms: u64,
    builder: PacketBuilder,
    number: u64,
    /// Whether it was sent a packet since that was last looked at.
    has_sent: bool,
}

impl Node {
    /// Asks for an acknowledgement at the end of the turn.
    pub(super) const fn owe_ack(&mut self) {
        self.ack_due = true;
    }

    /// Whether it has been silent for so long that receipts need not count on it.
    pub(super) const fn is_late(&self, now_ms: u64) -> bool {
        now_ms >= self.heard_ms + NODE_LATE_MS
    }
}

/// What time did to the nodes.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// To be asked whether they are there.
    pub(super) ping: Vec<NodeId>,
    /// Silent beyond the time-out.
    pub(super) lost: Vec<Slot>,
}

/// Nodes whose numbers are remembered after they went.
const RETIRED_MAX: usize = 1_024;

/// All nodes.
#[derive(Debug)]
pub(super) struct Fleet {
    me: NodeId,
    nodes: Vec<Option<Node>>,
    free: Vec<u32>,
    slots: BTreeMap<NodeId, Slot>,
    /// Nodes with something to send at the end of the turn.
    dirty: Vec<Slot>,
    /// The last packet numbers of nodes that were taken out: one that comes back sees no hole and no start from 1.
    retired: VecDeque<(NodeId, u64)>,
    /// The largest packet.
    packet_bytes_max: usize,
    /// When nodes without a packet were last sent an empty one.
    shown_ms: u64,
}

impl Fleet {
    /// No nodes yet.
    pub(super) const fn new(me: NodeId) -> Self {
        Self {
            me,
            nodes: Vec::new(),
            free: Vec::new(),
            slots: BTreeMap::new(),
            dirty: Vec::new(),
            retired: VecDeque::new(),
            packet_bytes_max: 0,
            shown_ms: 0,
        }
    }

    /// Sets the largest message the bus takes.
    pub(super) const fn set_max_payload(&mut self, bytes: usize) {
        self.packet_bytes_max = bytes;
    }

    /// The largest message the bus takes.
    pub(super) const fn max_payload(&self) -> usize {
        self.packet_bytes_max
    }

    /// The room for items in one packet.
    pub(super) const fn items_bytes_max(&self) -> usize {
        self.packet_bytes_max.saturating_sub(PACKET_HEAD_BYTES_MAX)
    }

    /// Where a node is.
    pub(super) fn slot(&self, id: NodeId) -> Option<Slot> {
        self.slots.get(&id).copied()
    }

    /// A node by its place.
    pub(super) fn get(&self, slot: Slot) -> Option<&Node> {
        self.nodes.get(slot.0 as usize)?.as_ref()
    }

    /// A node by its place.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Node> {
        self.nodes.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Each node, ordered by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Node)> {
        self.slots.values().filter_map(|slot| Some((*slot, self.get(*slot)?)))
    }

    /// Each node, ordered by place.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut().flatten()
    }

    /// The number of the last packet to each node.
    pub(super) fn packets(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.nodes.iter().flatten().map(|node| (node.id, node.number))
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Connections at the last beats.
    pub(super) fn connections(&self) -> u64 {
        self.nodes.iter().flatten().map(|node| node.connections).sum()
    }

    /// What nodes that send connections away may count on.
    pub(super) fn capacity(&self, now_ms: u64) -> Capacity {
        let mut capacity = Capacity::default();
        for node in self.nodes.iter().flatten().filter(|node| !node.is_late(now_ms)) {
            if node.state == NodeState::Live {
                capacity.takers += 1;
                capacity.spare_handshakes = capacity.spare_handshakes.saturating_add(node.spare_handshakes);
            }
            if let Some(leaving) = node.leaving {
                capacity.leaving = capacity.leaving.saturating_add(leaving.left);
                capacity.rate_milli = capacity.rate_milli.saturating_add(leaving.rate_milli);
            }
        }
        capacity
    }

    /// Adds a node that was not known.
    pub(super) fn add(&mut self, now_ms: u64, id: NodeId, sync: Sync) -> Slot {
        let retired = self.retired.iter().position(|(retired, _)| *retired == id);
        let number = retired.and_then(|at| self.retired.remove(at)).map_or(0, |(_, number)| number);
        let node = Node {
            id,
            state: NodeState::Live,
            version: Box::default(),
            connections: 0,
            spare_handshakes: 0,
            leaving: None,
            heard_ms: now_ms,
            heard_since_join: true,
            sync,
            applied: 0,
            digests: Box::new([0; PARTITIONS]),
            entries: 0,
            ack_due: false,
            is_dirty: false,
            pinged_ms: 0,
            builder: PacketBuilder::default(),
            number,
            has_sent: false,
        };
        let slot = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = Some(node);
                Slot(index)
            }
            None => {
                // Nodes that exist at the same time: thousands at the very most.
                let index = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
                self.nodes.push(Some(node));
                Slot(index)
            }
        };
        self.slots.insert(id, slot);
        slot
    }

    /// Takes a node out. Its place may be given to another: nothing may refer to it any more.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Node> {
        let node = self.nodes.get_mut(slot.0 as usize)?.take()?;
        self.slots.remove(&node.id);
        self.free.push(slot.0);
        self.dirty.retain(|dirty| *dirty != slot);
        if self.retired.len() == RETIRED_MAX {
            self.retired.pop_front();
        }
        self.retired.push_back((node.id, node.number));
        Some(node)
    }

    /// Notes a beat.
    pub(super) fn note_beat(&mut self, now_ms: u64, slot: Slot, beat: &NodeBeat) {
        let Some(node) = self.get_mut(slot) else { return };
        node.heard_ms = now_ms;
        node.heard_since_join = true;
        node.state = beat.state;
        node.connections = beat.connections;
        node.spare_handshakes = beat.spare_handshakes;
        node.leaving = beat.leaving;
        if *node.version != *beat.version {
            node.version = Box::from(&*beat.version);
        }
    }

    /// Notes any other sign of life.
    pub(super) fn note_life(&mut self, now_ms: u64, slot: Slot) {
        if let Some(node) = self.get_mut(slot) {
            node.heard_ms = now_ms;
            node.heard_since_join = true;
        }
    }

    /// Silence so far was ours: nobody is judged for it.
    pub(super) fn pardon(&mut self, now_ms: u64) {
        for node in self.nodes.iter_mut().flatten() {
            node.heard_ms = now_ms;
        }
    }

    /// Who is there is to be heard anew.
    pub(super) fn forget_heard(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            node.heard_since_join = false;
        }
    }

    /// Who must be pinged, and who has been silent beyond `timeout_ms`.
    pub(super) fn silence(&mut self, now_ms: u64, timeout_ms: u64) -> Silence {
        let mut silence = Silence::default();
        for slot in self.slots.values() {
            let Some(node) = self.nodes.get_mut(slot.0 as usize).and_then(Option::as_mut) else { continue };
            if now_ms >= node.heard_ms + timeout_ms {
                silence.lost.push(*slot);
            } else if now_ms >= node.heard_ms + NODE_OVERDUE_MS && now_ms >= node.pinged_ms + PING_INTERVAL_MS {
                node.pinged_ms = now_ms;
                silence.ping.push(node.id);
            }
        }
        silence
    }

    /// Whether the node's beat is overdue.
    pub(super) fn is_overdue(&self, now_ms: u64, slot: Slot) -> bool {
        self.get(slot).is_some_and(|node| now_ms >= node.heard_ms + NODE_OVERDUE_MS)
    }

    /// Something is owed to the node at the end of the turn.
    pub(super) fn touch(&mut self, slot: Slot) {
        if let Some(node) = self.get_mut(slot)
            && !std::mem::replace(&mut node.is_dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    /// Packs an item of at most `bytes` for a node; a packet that would get too large is sent first.
    pub(super) fn pack(
        &mut self,
        slot: Slot,
        bytes: usize,
        term: u64,
        actions: &mut Vec<Action>,
        write: impl FnOnce(&mut PacketBuilder),
    ) {
        let (me, items_bytes_max) = (self.me, self.items_bytes_max());
        let Some(node) = self.get_mut(slot) else { return };
        if !node.builder.is_empty() && node.builder.len() + bytes > items_bytes_max {
            actions.push(node.finish(me, term));
        }
        if node.builder.is_empty() {
            self.touch(slot);
        }
        if let Some(node) = self.get_mut(slot) {
            write(&mut node.builder);
        }
    }

    /// Sends what was packed and owed in this turn.
    /// Acknowledgements say up to where the stream of kept messages
    /// was processed.
    pub(super) fn flush(&mut self, term: u64, kept: Option<Position>, actions: &mut Vec<Action>) {
        let me = self.me;
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(node) = self.get_mut(slot) else { continue };
            node.is_dirty = false;
            if !node.builder.is_empty() {
                actions.push(node.finish(me, term));
            }
            if std::mem::take(&mut node.ack_due) {
                let ack = NodeBound::RosterAck { router: me, seq: node.applied, kept: kept.clone() };
                actions.push(Action::ToNode(node.id, ack.encode()));
            }
        }
        self.dirty = dirty;
    }

    /// Sends an empty packet to each node that had none for a while: a packet that was lost shows by its number, also
    /// where nothing else follows it, and what this router says of the stream counts up to such a packet.
    pub(super) fn show_numbers(&mut self, now_ms: u64, term: u64, actions: &mut Vec<Action>) {
        if now_ms < self.shown_ms + PACKET_SILENCE_MS {
            return;
        }
        self.shown_ms = now_ms;
        let me = self.me;
        for node in self.nodes.iter_mut().flatten() {
            if !std::mem::take(&mut node.has_sent) && node.builder.is_empty() {
                actions.push(node.finish(me, term));
                node.has_sent = false;
            }
        }
    }

    /// Leaves out one number for each node: it tells that something was lost.
    pub(super) fn skip_packet(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            node.number += 1;
        }
    }

    /// Forgets what was packed: bytes that will not be sent.
    pub(super) fn discard(&mut self) -> usize {
        let mut bytes = 0;
        for node in self.nodes.iter_mut().flatten() {
            bytes += node.builder.len();
            node.builder = PacketBuilder::default();
            node.ack_due = false;
            node.is_dirty = false;
        }
        self.dirty.clear();
        bytes
    }
}

impl Node {
    /// Whether something was packed for it that is not sent yet.
    pub(super) fn has_packed(&self) -> bool {
        !self.builder.is_empty()
    }

    fn finish(&mut self, me: NodeId, term: u64) -> Action {
        self.has_sent = true;
        self.number += 1;
        let payload: Bytes = self.builder.finish(me, self.number, term);
        Action::ToNode(self.id, payload)
    }
}
