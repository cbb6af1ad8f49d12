//! The hub's core with shards, routers and bus played by the test.

mod kept;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_daemon::config::Secret;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token::partition_of_key;
use holdfast_protocol::wire::{
    Cause, Change, Content, Delivery, Discover, Fence, Item, NodeBeat, NodeBound, Packet, ReceiptAsk, ReceiptPart,
    Report, RosterBatch, RouterBeat, RouterBound, RouterState, Snapshot, SnapshotEntry, Target, digest_of_claim,
    digest_of_room, digest_of_user,
};

use super::edge::{Edge, Publication, Received, Unsent};
use super::{Hub, HubSettings, Serving};
use crate::clock::Now;
use crate::handshake::{Endpoint, Rules};
use crate::link::{ConnRef, JoinFor, Key, ReceiptRef, Sender, ToHub, ToShard};
use crate::session::{Failure, Outcome, Ticket};

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
        let settings = HubSettings {
            node: NodeId::gateway([1; 8]),
            shards: SHARDS,
            prefix: "hf".into(),
            inbox_prefix: "_INBOX".into(),
            kept_stream: Some("HF_KEPT".into()),
            drain_window_ms: 1000,
        };
        let hub = Hub::new(settings, Arc::default());
        let mut scene = Self { hub, edge: FakeEdge::default(), now: Now { ms: 10_000, unix_ms: 1_700_000_000_000 } };
        scene.hub.on_bus(scene.now, &mut scene.edge, true);
        for number in routers {
            scene.beats(*number, RouterState::Live, &[]);
        }
        scene.passes(0);
        scene.edge.published.clear();
        scene
    }

    fn beats(&mut self, number: u8, state: RouterState, fences: &[Fence]) {
        let (live, fences) = (vec![router(number)], fences.to_vec());
        let beat = RouterBeat { router: router(number), state, number: 1, term: 1, live, fences, kept: None };
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
        let published = self.published(&format!("hf.int.router.{}", router(number)));
        let reports = published.into_iter().map(|it| match RouterBound::decode(it.payload).expect("ours") {
            RouterBound::Report(report) => report,
            RouterBound::Snapshot(snapshot) => panic!("{snapshot:?}"),
        });
        reports.collect()
    }

    fn snapshot(&mut self) -> Vec<Snapshot> {
        self.hub.on_discover(self.now, &mut self.edge, Discover { router: router(1) }.encode());
        let published = self.published(&format!("hf.int.router.{}", router(1)));
        let parts = published.into_iter().map(|it| match RouterBound::decode(it.payload).expect("ours") {
            RouterBound::Snapshot(snapshot) => snapshot,
            RouterBound::Report(report) => panic!("{report:?}"),
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

#[test]
fn a_rooms_first_join_waits_for_each_live_router_and_later_ones_do_not() {
    let mut scene = Scene::new(&[1, 2]);
    scene.beats(3, RouterState::Joining, &[]);
    scene.joins(1, "r");
    let batches = scene.batches();
    assert_eq!((batches.len(), batches[0].seq), (1, 1), "an idle node does not wait for more changes");
    assert_eq!(scene.joined(), []);

    scene.acks(1, 1);
    assert_eq!(scene.joined(), []);
    scene.joins(2, "r");
    assert_eq!(scene.joined(), [], "the room is told, but not known everywhere yet");
    scene.acks(2, 1);

    assert_eq!(scene.joined(), [(1, true), (2, true)]);
    scene.joins(3, "r");
    assert_eq!(scene.joined(), [(3, true)]);
}

#[test]
fn a_router_that_falls_silent_is_not_waited_for() {
    let mut scene = Scene::new(&[1, 2]);
    scene.joins(1, "r");
    scene.acks(1, 1);

    scene.passes(900);
    scene.beats(1, RouterState::Live, &[]);
    assert_eq!(scene.joined(), []);
    scene.passes(200);

    assert_eq!(scene.joined(), [(1, true)]);
}

#[test]
fn a_join_nobody_confirms_is_refused_and_taken_back() {
    let mut scene = Scene::new(&[1]);
    scene.joins(1, "r");
    assert_eq!(scene.batches().len(), 1);

    for _ in 0..4 {
        scene.passes(500);
        scene.beats(1, RouterState::Live, &[]);
    }

    let told = scene.told_shards();
    let refused = |m: &ToShard| matches!(m, ToShard::Joined { result: Err(Failure::Unavailable), .. });
    assert_eq!(told.iter().filter(|(_, m)| refused(m)).count(), 1, "{told:?}");
    scene.passes(5);
    let changes: Vec<_> = scene.batches().into_iter().flat_map(|batch| batch.changes).collect();
    assert_eq!(changes, [Change::Room { room: "r".into(), count: 0, cause: Cause::Close }]);
}

#[test]
fn batches_tell_net_changes() {
    let mut scene = Scene::new(&[1]);
    scene.joins(1, "first");
    assert_eq!(scene.batches().len(), 1);

    for index in 2..12 {
        scene.joins(index, "r");
    }
    scene.joins(20, "brief");
    scene.says(ToHub::Leave { shard: 0, room: "brief".into(), cause: Cause::Close });
    assert_eq!(scene.batches().len(), 0, "the last batch is not 5 ms ago");
    scene.passes(5);

    let batches = scene.batches();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].changes, [Change::Room { room: "r".into(), count: 10, cause: Cause::Connect }]);
}

#[test]
fn digests_and_snapshots_are_the_roster_that_batches_told() {
    let mut scene = Scene::new(&[1]);
    let id = scene.binds(1, "ana", true);
    scene.binds(2, "bob", false);
    scene.joins(1, "r");
    scene.joins(2, "r");
    scene.joins(3, "gone");
    scene.passes(5);
    scene.says(ToHub::Leave { shard: 0, room: "gone".into(), cause: Cause::Close });
    let unbound = ToHub::Unbind { id, user: "bob".into(), shard: 0, cause: Cause::Close, opened: false };
    scene.says(unbound);

    let parts = scene.snapshot();
    let beat = scene.beat();

    assert_eq!((parts.len(), parts[0].last, parts[0].seq), (1, true, beat.seq));
    let mut entries = parts[0].entries.clone();
    entries.sort_by_key(|entry| format!("{entry:?}"));
    let wanted = [
        SnapshotEntry::Claim("ana".into(), id, 7),
        SnapshotEntry::Room("r".into(), 2),
        SnapshotEntry::User("ana".into()),
    ];
    assert_eq!(entries, wanted);
    let mut digests = [0_u64; PARTITIONS];
    for (key, digest) in
        [("ana", digest_of_claim("ana", id)), ("ana", digest_of_user("ana")), ("r", digest_of_room("r", 2))]
    {
        let sum = &mut digests[partition_of_key(key)];
        *sum = sum.wrapping_add(digest);
    }
    assert_eq!((*beat.digests, beat.connections), (digests, 1));
}

#[test]
fn large_rosters_go_in_parts() {
    let mut scene = Scene::new(&[1]);
    for index in 0..6000 {
        scene.joins(index, &format!("{index:0>180}"));
    }

    let parts = scene.snapshot();

    assert!(parts.len() > 1);
    assert_eq!(parts.iter().map(|part| part.entries.len()).sum::<usize>(), 6000);
    assert!(parts.iter().enumerate().all(|(i, part)| part.part == i as u64 && part.last == (i + 1 == parts.len())));
    assert!(parts.into_iter().all(|part| RouterBound::Snapshot(part).encode().len() <= 512 * 1024));
}

#[test]
fn packets_go_to_the_shards_that_hold_a_target() {
    let mut scene = Scene::new(&[1]);
    scene.joins(1, "r");
    let target = |name: &str| vec![Target::Room(name.into())];

    scene.packet(1, 1, vec![delivery(target("r"), 1), delivery(target("nobody"), 2), delivery(vec![Target::All], 3)]);

    let told = scene.told_shards();
    let shards: Vec<_> =
        told.iter().filter(|(_, m)| matches!(m, ToShard::Deliver(_))).map(|(shard, _)| *shard).collect();
    assert_eq!(shards, [0, 0, 1]);
    let reports = scene.reports(1);
    assert_eq!(reports[0].receipts, [ReceiptPart { number: 2, ..ReceiptPart::default() }], "nobody to ask");
}

#[test]
fn holes_are_told_and_packets_of_fenced_routers_dropped() {
    let mut scene = Scene::new(&[1]);
    let items = || vec![delivery(vec![Target::All], 1)];
    let mut outcome = |number, term| {
        scene.packet(number, term, items());
        let told = scene.told_shards();
        let count = |wanted: fn(&ToShard) -> bool| told.iter().filter(|(_, m)| wanted(m)).count();
        (count(|m| matches!(m, ToShard::Deliver(_))), count(|m| matches!(m, ToShard::Lost)))
    };
    assert_eq!(outcome(1, 1), (2, 0));
    assert_eq!(outcome(2, 1), (2, 0));
    assert_eq!(outcome(2, 1), (0, 0), "a second copy");
    assert_eq!(outcome(4, 1), (2, 2), "one was lost: each shard tells its clients");

    scene.beats(2, RouterState::Live, &[Fence { router: router(1), term: 3 }]);

    let mut outcome = |number, term| {
        scene.packet(number, term, items());
        scene.told_shards().len()
    };
    assert_eq!(outcome(5, 2), 0);
    assert_eq!(outcome(6, 3), 2);
}

#[test]
fn a_receipt_is_the_sum_over_shards_in_one_report() {
    let mut scene = Scene::new(&[1]);
    scene.packet(1, 1, vec![delivery(vec![Target::All], 8)]);
    let receipt = ReceiptRef { router: router(1), number: 8 };
    let part = ReceiptPart { number: 8, matched: 2, written: 1, queued: 1, filtered: 3, dropped: 0, ackable: 2 };

    scene.says(ToHub::Receipt { receipt, part });
    scene.says(ToHub::Acked { receipt, acked: 1, gone: 0 });
    assert!(scene.reports(1).is_empty(), "a shard is missing");
    scene.says(ToHub::Receipt { receipt, part });
    scene.says(ToHub::Acked { receipt, acked: 1, gone: 0 });

    let reports = scene.reports(1);
    let sum = ReceiptPart { number: 8, matched: 4, written: 2, queued: 2, filtered: 6, dropped: 0, ackable: 4 };
    assert_eq!(reports[0].receipts, [sum]);
    assert_eq!(reports.iter().flat_map(|report| &report.acks).map(|ack| ack.acked).sum::<u64>(), 2);
}

fn sender(scene: &Scene) -> Box<Sender> {
    Box::new(Sender {
        id: ConnectionId::new(scene.hub.node(), [3; 16]),
        endpoint: Arc::new(Endpoint { name: "crowd/location".into(), rules: Arc::new(Rules::json()) }),
        identity: Some(Arc::new(crate::auth::Identity::unsigned("ána", None))),
        device: None,
    })
}

fn publishes(scene: &mut Scene, ticket: u32) {
    let sender = sender(scene);
    let to = vec!["message".to_owned(), "new".to_owned()];
    let message =
        ToHub::Publish { conn: conn(0, 1), ticket: Some(ticket), sender, to, payload: Bytes::from_static(b"1") };
    scene.says(message);
}

fn inbox(subject: &str, error: Option<(u16, String)>, no_responders: bool) -> Received {
    Received {
        subject: subject.to_owned(),
        payload: Bytes::from_static(b"{}"),
        no_responders,
        error,
        ..Received::default()
    }
}

#[test]
fn a_message_upstream_is_confirmed_by_the_marker_behind_it() {
    let mut scene = Scene::new(&[1]);
    publishes(&mut scene, 4);
    let up = scene.published("hf.up.");
    let markers = scene.published("_INBOX.");
    assert_eq!(up[0].subject, "hf.up.crowd=2Flocation.message.new");
    let header = |name| up[0].headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str());
    assert_eq!((header("Hf-User"), header("Hf-Endpoint")), (Some("ána"), Some("crowd/location")));
    assert_eq!((header("Hf-Node"), header("Hf-Device")), (Some(scene.hub.node().as_str()), None));
    assert!(scene.told_shards().is_empty());

    scene.hub.on_inbox(scene.now, &mut scene.edge, inbox(&markers[0].subject, None, false));

    let told = scene.told_shards();
    assert!(matches!(&told[..], [(0, ToShard::Published { ticket: 4, result: Ok(()), .. })]), "{told:?}");
}

#[test]
fn a_message_that_nobody_can_vouch_for_is_an_error() {
    let unavailable = |told: &[(u16, ToShard)]| {
        matches!(told, [(0, ToShard::Published { result: Err(Failure::BusUnavailable), .. })])
    };
    let mut scene = Scene::new(&[1]);
    publishes(&mut scene, 1);
    scene.passes(2000);
    assert!(unavailable(&scene.told_shards()), "the marker did not come back");

    publishes(&mut scene, 2);
    scene.hub.on_bus(scene.now, &mut scene.edge, false);
    scene.edge.away = true;
    let told = scene.told_shards();
    assert!(unavailable(&told[..1]), "{told:?}");

    publishes(&mut scene, 3);
    assert!(unavailable(&scene.told_shards()));
}

#[test]
fn requests_end_with_a_reply_an_error_or_a_time_out() {
    let mut scene = Scene::new(&[1]);
    let mut replies = Vec::new();
    for ticket in 1..=4 {
        let (sender, timeout) = (sender(&scene), Duration::from_secs(5));
        let (to, payload) = (vec!["page".to_owned()], Bytes::new());
        scene.says(ToHub::Request { conn: conn(0, 1), ticket, sender, to, payload, timeout });
        let request = scene.published("hf.req.crowd=2Flocation.page").pop().expect("published");
        replies.push(request.reply.expect("an inbox"));
    }
    let error = Some((404, "no such page".to_owned()));

    for message in [inbox(&replies[0], None, false), inbox(&replies[1], error, false), inbox(&replies[2], None, true)] {
        scene.hub.on_inbox(scene.now, &mut scene.edge, message);
    }
    scene.passes(5000);

    let told = scene.told_shards();
    let results: Vec<_> = told
        .into_iter()
        .filter_map(
            |(_, m)| if let ToShard::Replied { ticket, result, .. } = m { Some((ticket, result)) } else { None },
        )
        .collect();
    let service = Failure::Service { status: 404, message: "no such page".into() };
    let wanted = [Ok(Bytes::from_static(b"{}")), Err(service), Err(Failure::NoResponders), Err(Failure::Timeout)];
    assert_eq!(results, (1..).zip(wanted).collect::<Vec<_>>());
    scene.hub.on_inbox(scene.now, &mut scene.edge, inbox(&replies[3], None, false));
    assert!(scene.told_shards().is_empty(), "too late");
}

#[test]
fn without_bus_or_router_nobody_new_is_served() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.hub.serving(scene.now), Serving::Soon);
    scene.passes(2000);
    assert_eq!(scene.hub.serving(scene.now), Serving::NoRouter);
    assert!(scene.told_shards().iter().any(|(_, m)| matches!(m, ToShard::Unserved)));

    scene.beats(1, RouterState::Live, &[]);
    assert_eq!(scene.hub.serving(scene.now), Serving::Yes);
    scene.hub.on_bus(scene.now, &mut scene.edge, false);

    assert_eq!(scene.hub.serving(scene.now), Serving::NoBus);
    assert!(scene.told_shards().iter().any(|(_, m)| matches!(m, ToShard::Unserved)));
    scene.hub.on_bus(scene.now, &mut scene.edge, true);
    assert!(scene.told_shards().iter().any(|(_, m)| matches!(m, ToShard::Lost)), "what came meanwhile is lost");
}

#[test]
fn connection_facts_name_the_user_and_the_cause() {
    let mut scene = Scene::new(&[1]);
    let id = scene.binds(1, "a.b", false);
    scene.says(ToHub::Opened { id, user: "a.b".into() });
    scene.says(ToHub::Unbind { id, user: "a.b".into(), shard: 0, cause: Cause::Expired, opened: true });

    let facts = scene.published("hf.event.");

    let subjects: Vec<_> = facts.iter().map(|fact| fact.subject.as_str()).collect();
    assert_eq!(subjects, ["hf.event.connection.opened.a=2Eb", "hf.event.connection.closed.a=2Eb"]);
    let body: serde_json::Value = serde_json::from_slice(&facts[1].payload).expect("JSON");
    assert_eq!((body["cause"].as_str(), body["user"].as_str()), (Some("expired"), Some("a.b")));
    assert_eq!(body["connection"], serde_json::json!(id));
}
