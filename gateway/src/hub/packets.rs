//! Work from routers: packets to the shards that hold their targets, and the small messages around them.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_daemon::spans::Span;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{
    Ask, Command, CommandItem, Delivery, Item, NodeBound, Packet, ReceiptPart, RouterBound, Target, WireError,
};

use super::core::Hub;
use super::edge::{Edge, Publication};
use super::roster::{Kind, Shards};
use super::routers::Verdict;
use crate::clock::Now;
use crate::link::{ReceiptRef, SharedCommand, SharedDelivery, ToShard, shard_of};
use crate::traces;

/// Of messages that cannot be read, each so many-th is logged.
const MALFORMED_TOLD_EACH: u64 = 1000;

impl Hub {
    /// A message on the node's own subject.
    pub fn on_node_message(&mut self, now: Now, edge: &mut dyn Edge, payload: Bytes, reply: Option<String>) {
        match NodeBound::decode(payload) {
            Ok(NodeBound::Packet(packet)) => self.on_packet(now, edge, packet),
            Ok(NodeBound::RosterAck { router, seq, kept }) => {
                self.on_mark(now, edge, kept.as_ref());
                self.routers.ack(router, seq, kept, now.ms);
                self.release_waiters(now, edge);
            }
            Ok(NodeBound::SnapshotAsk { router }) => self.send_snapshot(now, edge, router),
            Ok(NodeBound::Ping) => {
                if let Some(reply) = reply {
                    // A lost answer is asked for again.
                    self.note_unsent(edge.publish(Publication::plain(reply, Bytes::new())));
                }
            }
            Err(error) => self.malformed("node", error),
        }
    }

    fn on_packet(&mut self, now: Now, edge: &mut dyn Edge, packet: Packet) {
        self.cells.packets.add(1);
        match self.routers.packet(packet.router, packet.number, packet.term, now.ms) {
            Verdict::Take => {}
            Verdict::TakeAfterHole => {
                self.cells.packet_holes.add(1);
                tracing::warn!(router = %packet.router, number = packet.number, "Packets of a router were lost");
                self.tell_lost(now, edge);
            }
            Verdict::Duplicate => return,
            Verdict::Fenced(term) => {
                self.cells.packets_fenced.add(1);
                self.tell_fenced(edge, packet.router, term);
                return;
            }
        }
        let Packet { router, mut items, .. } = packet;
        if self.routers.is_given_up(router, now.ms) {
            let before = items.len();
            items.retain(is_from_anybody);
            if items.len() < before {
                self.cells.packets_fenced.add(1);
                if self.routers.drops(router) {
                    tracing::warn!(%router, "Messages of a router that another has given up are dropped");
                    self.tell_lost(now, edge);
                }
            }
        }
        self.take_items(now, edge, router, items);
    }

    /// Packets to this node were lost: clients are told, and kept messages read back.
    pub(super) fn tell_lost(&mut self, now: Now, edge: &mut dyn Edge) {
        self.to_all_shards(edge, &ToShard::Lost);
        self.doubt_safe(now);
        self.start_reconcile(now, edge);
    }

    pub(super) fn malformed(&self, what: &'static str, error: WireError) {
        // A fleet of mixed versions makes each beat such a message: counted all, told now and then.
        let before = self.cells.packets_malformed.value();
        self.cells.packets_malformed.add(1);
        if before.is_multiple_of(MALFORMED_TOLD_EACH) {
            tracing::warn!(%error, what, count = before + 1, "Could not read an internal message");
        }
    }

    pub(super) fn on_delivery(&mut self, now: Now, edge: &mut dyn Edge, router: NodeId, delivery: Delivery) {
        let span = traces::passing(&delivery);
        let shared = SharedDelivery::new(delivery, router).traced(span.as_ref().map(Span::context));
        self.pass_delivery(now, edge, shared);
        if let Some(span) = span {
            span.finish();
        }
    }

    fn pass_delivery(&mut self, now: Now, edge: &mut dyn Edge, shared: SharedDelivery) {
        if shared.delivery.kept.is_some() {
            self.on_kept(now, edge, Arc::new(shared));
            return;
        }
        let shards = self.shards_of(&shared.delivery.targets);
        if let Some(receipt) = shared.receipt {
            self.receipts.expect(receipt, count(&shards), self.settings.node, now.ms);
        }
        let shared = Arc::new(shared);
        for shard in shards {
            edge.to_shard(shard, ToShard::Deliver(Arc::clone(&shared)));
        }
    }

    pub(super) fn on_command(&mut self, now: Now, edge: &mut dyn Edge, router: NodeId, item: CommandItem) {
        let receipt = item.receipt.map(|ask| ReceiptRef { router, number: ask.number });
        if let Command::Drain | Command::Uncordon | Command::Shed { .. } = item.command {
            let part = self.on_node_command(now, edge, &item.command);
            if let Some(receipt) = receipt {
                self.receipts.settle(receipt, part, self.settings.node);
            }
            return;
        }
        let shards = self.shards_of(&item.targets);
        if let Some(receipt) = receipt {
            self.receipts.expect(receipt, count(&shards), self.settings.node, now.ms);
        }
        let shared =
            Arc::new(SharedCommand { targets: item.targets, command: item.command, ask: item.receipt, receipt });
        for shard in shards {
            edge.to_shard(shard, ToShard::Command(Arc::clone(&shared)));
        }
    }

    /// An operator's order; how many connections it concerns.
    pub fn on_order(&mut self, now: Now, edge: &mut dyn Edge, command: &Command) -> u64 {
        self.on_node_command(now, edge, command).matched
    }

    fn on_node_command(&mut self, now: Now, edge: &mut dyn Edge, command: &Command) -> ReceiptPart {
        let all = self.roster.connections();
        let affected = match command {
            Command::Drain => {
                self.start_drain(now, edge);
                all
            }
            Command::Shed { percent } => self.start_shed(now, edge, *percent),
            Command::Uncordon => {
                self.uncordon(edge);
                all
            }
            Command::Join { .. }
            | Command::Leave { .. }
            | Command::Disconnect { .. }
            | Command::Expire { .. }
            | Command::Pause
            | Command::Resume
            | Command::Replace => 0,
        };
        ReceiptPart { matched: affected, written: affected, ..ReceiptPart::default() }
    }

    pub(super) fn on_question(&mut self, now: Now, edge: &mut dyn Edge, router: NodeId, number: u64, ask: Ask) {
        let (target, limit) = match &ask {
            Ask::User { user } => (Target::User(user.clone()), usize::MAX),
            Ask::Room { room, limit, .. } => (Target::Room(room.clone()), *limit as usize),
            Ask::Connection { connection } => (Target::Connection(*connection), 1),
            Ask::Count => {
                let total = self.roster.connections();
                self.receipts.answer_at_once(router, number, total, self.settings.node);
                return;
            }
        };
        let shards = self.shards_of(&[target]);
        if shards.is_empty() {
            self.receipts.answer_at_once(router, number, 0, self.settings.node);
            return;
        }
        let question = self.receipts.ask(router, number, count(&shards), limit, now.ms);
        let ask = Arc::new(ask);
        for shard in shards {
            edge.to_shard(shard, ToShard::Ask { question, ask: Arc::clone(&ask) });
        }
    }

    /// The shards that may hold any of the targets.
    fn shards_of(&self, targets: &[Target]) -> Shards {
        let mut shards = Shards::new();
        for target in targets {
            match target {
                Target::User(user) => self.roster.shards_of(Kind::User, user, &mut shards),
                Target::Room(room) => self.roster.shards_of(Kind::Room, room, &mut shards),
                Target::Connection(id) => {
                    let shard = shard_of(*id, self.settings.shards);
                    if id.node() == self.settings.node && !shards.contains(&shard) {
                        shards.push(shard);
                    }
                }
                Target::All => shards = (0..self.settings.shards).collect(),
            }
        }
        shards
    }

    /// Tells a router that it was given up. Whoever did may have died since: then nobody but the nodes knows of it.
    fn tell_fenced(&self, edge: &mut dyn Edge, router: NodeId, term: u64) {
        let payload = RouterBound::Fenced(term).encode();
        // A lost word is said again with the next packet.
        self.note_unsent(edge.publish(Publication::plain(self.subjects.router(router), payload)));
    }

    /// Sends the roster whole, as of now. A router that was given up hears of that first.
    pub(super) fn send_snapshot(&mut self, now: Now, edge: &mut dyn Edge, router: NodeId) {
        self.flush_roster(now, edge);
        if let Some(term) = self.routers.fence(router) {
            self.tell_fenced(edge, router, term);
        }
        self.cells.snapshots.add(1);
        for part in self.roster.snapshot(now.ms, self.part_bytes_max) {
            let payload = RouterBound::Snapshot(part).encode();
            let sent = edge.publish(Publication::plain(self.subjects.router(router), payload));
            if sent.is_err() {
                // The router misses the rest and asks again.
                self.note_unsent(sent);
                tracing::warn!(%router, "Could not send all of a snapshot");
                return;
            }
        }
    }
}

/// Whether an item does no harm where two routers send it: kept messages are known by their sequence.
const fn is_from_anybody(item: &Item) -> bool {
    match item {
        Item::Deliver(delivery) => delivery.kept.is_some(),
        Item::Command(_) => false,
        Item::Ask { .. } | Item::After { .. } => true,
    }
}

fn count(shards: &Shards) -> u16 {
    u16::try_from(shards.len()).unwrap_or(u16::MAX)
}
