//! The hub's core with shards, routers and bus played by the test.

mod drain;
mod kept;
mod outside;
mod packets;
mod roster;
mod sessions;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_daemon::config::Secret;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token::partition_of_key;
use holdfast_protocol::wire::{
    Capacity, Cause, Change, Content, Delivery, Discover, Fence, Item, NodeBeat, NodeBound, Packet, ReceiptAsk,
    ReceiptPart, Report, RosterBatch, RouterBeat, RouterBound, RouterState, Snapshot, SnapshotEntry, Target,
    digest_of_claim, digest_of_room, digest_of_user,
};

use super::edge::{Edge, Publication, Received, Unsent};
use super::{Hub, HubSettings, Serving};
use crate::clock::Now;
use crate::handshake::{Endpoint, Rules};
use crate::link::{ConnRef, JoinFor, Key, ReceiptRef, Sender, ToHub, ToShard};
use crate::metrics::ShardCells;
use crate::session::{Failure, Outcome, Outward, Ticket};

const SHARDS: u16 = 2;

#[derive(Default)]
struct FakeEdge {
    published: Vec<Publication>,
    to_shards: Vec<(u16, ToShard)>,
    answers: Vec<(u64, Outcome<Bytes>)>,
    away: bool,
}

impl Edge for FakeEdge {
    fn publish(&mut self, message: Publication) -> Result<(), Unsent> {
        if self.away {
            return Err(Unsent::Away);
        }
        self.published.push(message);
        Ok(())
    }

    fn to_shard(&mut self, shard: u16, message: ToShard) {
        self.to_shards.push((shard, message));
    }

    fn answer(&mut self, caller: u64, result: Outcome<Bytes>) {
        self.answers.push((caller, result));
    }

    fn verify(&mut self, _: ConnRef, _: Ticket, _: Arc<Endpoint>, _: Secret) {}
}

struct Scene {
    hub: Hub,
    /// What the shards that are not there have counted.
    shard_cells: Vec<Arc<ShardCells>>,
    edge: FakeEdge,
    now: Now,
}

fn router(number: u8) -> NodeId {
    NodeId::router([number; 8])
}

fn conn(shard: u16, index: u32) -> ConnRef {
    ConnRef { shard, key: Key { index, generation: 1 } }
}

impl Scene {
    fn new(routers: &[u8]) -> Self {
        let shard_cells: Vec<Arc<ShardCells>> = (0..SHARDS).map(|_| Arc::default()).collect();
        let settings = HubSettings {
            node: NodeId::gateway([1; 8]),
            shards: SHARDS,
            prefix: "hf".into(),
            inbox_prefix: "_INBOX".into(),
            kept_stream: Some("HF_KEPT".into()),
            drain_window_ms: 1000,
            drain_deadline_ms: 4000,
            spare_handshakes: 500,
            hold_bytes_max: 0,
            hold_timeout_ms: 0,
        };
        let hub = Hub::new(settings, Arc::default(), shard_cells.clone());
        let mut scene =
            Self { hub, shard_cells, edge: FakeEdge::default(), now: Now { ms: 10_000, unix_ms: 1_700_000_000_000 } };
        scene.hub.on_bus(scene.now, &mut scene.edge, true);
        for number in routers {
            scene.beats(*number, RouterState::Live, &[]);
        }
        scene.passes(0);
        scene.edge.published.clear();
        scene
    }

    fn beats(&mut self, number: u8, state: RouterState, fences: &[Fence]) {
        self.beats_at(1, number, state, fences);
    }

    fn beats_at(&mut self, term: u64, number: u8, state: RouterState, fences: &[Fence]) {
        let (live, fences) = (vec![router(number)], fences.to_vec());
        let beat = RouterBeat {
            router: router(number),
            state,
            number: 1,
            term,
            live,
            moving: false,
            fences,
            kept: None,
            capacity: Capacity::default(),
            sections: 1,
        };
        self.hub.on_router_beat(self.now, &mut self.edge, beat.encode());
    }

    fn passes(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_ms += ms;
        self.hub.tick(self.now, &mut self.edge);
        self.hub.finish_turn(self.now, &mut self.edge);
    }

    fn says(&mut self, message: ToHub) {
        self.hub.on_shard(self.now, &mut self.edge, message);
        self.hub.finish_turn(self.now, &mut self.edge);
    }

    fn joins(&mut self, index: u32, room: &str) {
        let on_behalf = JoinFor::Client(index);
        self.says(ToHub::Join { conn: conn(0, index), on_behalf, room: room.into(), callout: None, since: None });
    }

    fn binds(&mut self, index: u32, user: &str, newest: bool) -> ConnectionId {
        let id = ConnectionId::new(self.hub.node(), [u8::try_from(index).expect("small"); 16]);
        self.says(ToHub::Bind { conn: conn(0, index), id, user: user.into(), since_ms: 7, newest, since: None });
        id
    }

    fn acks(&mut self, number: u8, seq: u64) {
        self.bound(&NodeBound::RosterAck { router: router(number), seq, kept: None });
    }

    fn bound(&mut self, message: &NodeBound) {
        self.hub.on_node_message(self.now, &mut self.edge, message.encode(), None);
        self.hub.finish_turn(self.now, &mut self.edge);
    }

    fn packet(&mut self, number: u64, term: u64, items: Vec<Item>) {
        self.bound(&NodeBound::Packet(Packet { router: router(1), number, term, items }));
    }

    fn told_shards(&mut self) -> Vec<(u16, ToShard)> {
        std::mem::take(&mut self.edge.to_shards)
    }

    /// The answers to joins: the connections, and whether they are in.
    fn joined(&mut self) -> Vec<(u32, bool)> {
        let told = self.told_shards();
        let joined = told.iter().filter_map(|(_, message)| match message {
            ToShard::Joined { conn, result, .. } => Some((conn.key.index, result.is_ok())),
            _ => None,
        });
        joined.collect()
    }

    fn published(&mut self, subject: &str) -> Vec<Publication> {
        let (wanted, rest) =
            std::mem::take(&mut self.edge.published).into_iter().partition(|it| it.subject.starts_with(subject));
        self.edge.published = rest;
        wanted
    }

    fn batches(&mut self) -> Vec<RosterBatch> {
        let published = self.published("hf.int.roster.");
        published.into_iter().map(|it| RosterBatch::decode(it.payload).expect("a batch")).collect()
    }

    fn reports(&mut self, number: u8) -> Vec<Report> {
        let reports = self.told_router(number).into_iter().map(|it| match it {
            RouterBound::Report(report) => report,
            other => panic!("{other:?}"),
        });
        reports.collect()
    }

    /// What a router is told on its own subject.
    fn told_router(&mut self, number: u8) -> Vec<RouterBound> {
        let published = self.published(&format!("hf.int.router.{}", router(number)));
        published.into_iter().map(|it| RouterBound::decode(it.payload).expect("ours")).collect()
    }

    fn snapshot(&mut self) -> Vec<Snapshot> {
        self.hub.on_discover(self.now, &mut self.edge, Discover { router: router(1) }.encode());
        let parts = self.told_router(1).into_iter().map(|it| match it {
            RouterBound::Snapshot(snapshot) => snapshot,
            other => panic!("{other:?}"),
        });
        parts.collect()
    }

    fn beat(&mut self) -> NodeBeat {
        self.passes(500);
        let beats = self.published("hf.int.beat.node");
        NodeBeat::decode(beats.last().expect("beats each 500 ms").payload.clone()).expect("a beat")
    }
}

fn delivery(targets: Vec<Target>, receipt: u64) -> Item {
    Item::Deliver(Delivery {
        targets,
        id: "m".into(),
        event: None,
        content: Content::Json,
        payload: Bytes::from_static(b"1"),
        received_ms: 0,
        expires_ms: None,
        key: None,
        destination: None,
        only: Vec::new(),
        except_connections: Vec::new(),
        except_users: Vec::new(),
        receipt: Some(ReceiptAsk { number: receipt, acked: false, timeout_ms: 400 }),
        trace: None,
        kept: None,
    })
}
