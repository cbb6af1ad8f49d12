//! The router process on a real bus, with a node that only keeps its side of the internal protocol: what is said on which
//! subject, and how the process starts and ends. What whole fleets do is tested in `tests/e2e`.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{Client, HeaderMap, Message};
use futures_util::StreamExt as _;
use holdfast_harness::nats::NatsServer;
use holdfast_harness::process::Process;
use holdfast_harness::wait::{bounded, eventually};
use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::token::partition_of_key;
use holdfast_protocol::wire::{
    Answer, Cause, Change, Delivery, Item, NodeBeat, NodeBound, NodeState, ReceiptPart, Report, RosterBatch,
    RouterBeat, RouterBound, RouterState, digest_of_user,
};
use serde_json::Value;

/// What a node has seen.
#[derive(Debug, Default)]
struct Seen {
    acked: u64,
    deliveries: Vec<Delivery>,
    packet_numbers: Vec<u64>,
}

/// A node with the users it was given.
struct Node {
    id: NodeId,
    client: Client,
    subjects: Subjects,
    seq: u64,
    digests: Box<[u64; PARTITIONS]>,
    seen: Arc<Mutex<Seen>>,
}

impl Node {
    async fn start(client: Client, prefix: &str) -> Self {
        let (id, subjects) = (NodeId::gateway([7; 8]), Subjects::new(prefix));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut inbox = client.subscribe(subjects.node(id)).await.expect("subscribe");
        client.flush().await.expect("flush");
        let (replier, replies, noted) = (client.clone(), subjects.clone(), Arc::clone(&seen));
        spawn(async move {
            while let Some(message) = inbox.next().await {
                let bound = NodeBound::decode(message.payload.clone()).expect("a message to a node");
                if let Some((router, report)) = handle(id, bound, &noted) {
                    let report = RouterBound::Report(report).encode();
                    replier.publish(replies.router(router), report).await.expect("publish");
                }
            }
        });
        Self { id, client, subjects, seq: 0, digests: Box::new([0; PARTITIONS]), seen }
    }

    async fn beat(&self, state: NodeState) {
        let beat = NodeBeat {
            node: self.id,
            state,
            version: "9.9.9".into(),
            connections: 3,
            spare_handshakes: 1,
            leaving: None,
            seq: self.seq,
            digests: self.digests.clone(),
        };
        self.client.publish(self.subjects.beat_nodes(), beat.encode()).await.expect("publish");
    }

    async fn up(&mut self, user: &str) {
        self.seq += 1;
        let sum = &mut self.digests[partition_of_key(user)];
        *sum = sum.wrapping_add(digest_of_user(user));
        let changes = vec![Change::UserUp { user: user.into(), cause: Cause::Connect }];
        let batch = RosterBatch { node: self.id, seq: self.seq, since_ms: 1, changes };
        self.client.publish(self.subjects.roster(self.id), batch.encode()).await.expect("publish");
        eventually("the router acknowledges", async || {
            let acked = self.seen().acked;
            if acked >= self.seq { Ok(()) } else { Err(format!("{acked} of {}", self.seq)) }
        })
        .await;
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's task ends with its runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// Does what a node with one connection of each user would do.
fn handle(id: NodeId, bound: NodeBound, seen: &Mutex<Seen>) -> Option<(NodeId, Report)> {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match bound {
        NodeBound::RosterAck { seq, .. } => seen.acked = seq,
        NodeBound::Packet(packet) => {
            seen.packet_numbers.push(packet.number);
            let mut report = Report { node: id, receipts: vec![], acks: vec![], answers: vec![] };
            for item in packet.items {
                match item {
                    Item::Deliver(delivery) => {
                        let part = |number| ReceiptPart { number, matched: 1, written: 1, ..ReceiptPart::default() };
                        report.receipts.extend(delivery.receipt.map(|ask| part(ask.number)));
                        seen.deliveries.push(delivery);
                    }
                    Item::Ask { number, .. } => report.answers.push(Answer { number, total: 3, entries: vec![] }),
                    Item::Command(_) | Item::After { .. } => {}
                }
            }
            return Some((packet.router, report));
        }
        NodeBound::SnapshotAsk { .. } | NodeBound::Ping => {}
    }
    None
}

fn router(server: &NatsServer, prefix: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-router"));
    command.env_clear();
    command.env("HOLDFAST_BUS__SERVERS", format!("nats://{}", server.address()));
    command.env("HOLDFAST_BUS__PREFIX", prefix);
    command.env("HOLDFAST_ADMIN__ADDRESS", "127.0.0.1:0");
    Process::spawn("router", command)
}

async fn ask(client: &Client, subject: &str, headers: &[(&str, &str)], payload: &str) -> Message {
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| map.insert(*name, *value));
    let request = client.request_with_headers(subject.to_owned(), map, payload.to_owned().into());
    bounded(subject, request).await.unwrap_or_else(|error| panic!("{subject}: {error}"))
}

fn code(message: &Message) -> Option<String> {
    let headers = message.headers.as_ref()?;
    Some(headers.get("Nats-Service-Error-Code")?.as_str().to_owned())
}

fn receipt(message: &Message) -> Receipt {
    serde_json::from_slice(&message.payload).expect("a receipt")
}

fn json(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).expect("JSON")
}

#[tokio::test]
async fn a_router_routes_answers_and_leaves_in_order() {
    let server = NatsServer::start("").await;
    let client = server.connect().await;
    let process = router(&server, "fleet.one");
    let ready = process.ready().await.expect("ready");
    assert_eq!(ready["service"], "router");
    let mut node = Node::start(server.connect().await, "fleet.one").await;
    node.beat(NodeState::Live).await;
    let mut events = client.subscribe("fleet.one.event.>").await.expect("subscribe");
    client.flush().await.expect("flush");

    node.up("ana").await;
    let sent = ask(&client, "fleet.one.send.user.ana", &[("hf-id", "m1"), ("HF-TYPE", "t")], "[1]").await;
    assert_eq!((&*receipt(&sent).id, receipt(&sent).matched, receipt(&sent).nodes), ("m1", 1, 1));
    let delivery = node.seen().deliveries.first().cloned().expect("a delivery");
    assert_eq!((delivery.event.as_deref(), &delivery.payload[..]), (Some("t"), &b"[1]"[..]));
    assert!(receipt(&ask(&client, "fleet.one.send.user.nobody", &[], "1").await).offline);

    for (subject, headers, payload, wanted) in [
        ("fleet.one.send.bogus.x", &[][..], "1", "404"),
        ("fleet.one.send.user.a=zz", &[], "1", "400"),
        ("fleet.one.send.user.ana", &[("Hf-Ttl", "soon")], "1", "400"),
        ("fleet.one.ctl.user.ana", &[], "{", "400"),
        ("fleet.one.query.connection.stranger", &[], "", "404"),
        ("fleet.one.query.bogus", &[], "", "404"),
    ] {
        let answer = ask(&client, subject, headers, payload).await;
        assert_eq!((code(&answer).as_deref(), answer.payload.len()), (Some(wanted), 0), "{subject}");
    }
    let large = "x".repeat(server.connect().await.max_payload() - 100);
    assert_eq!(code(&ask(&client, "fleet.one.send.user.ana", &[], &large).await).as_deref(), Some("413"));

    let stats = json(&ask(&client, "fleet.one.query.stats", &[], "").await);
    assert_eq!((&stats["connections"], &stats["users"], &stats["routers"]), (&3.into(), &1.into(), &1.into()));
    let info = json(&ask(&client, "$SRV.INFO.holdfast", &[], "").await);
    assert_eq!((&info["id"], &info["endpoints"][0]["subject"]), (&ready["node"], &"fleet.one.query.user.*".into()));
    let fact = bounded("a fact", events.next()).await.expect("a fact");
    assert_eq!(fact.subject.as_str(), "fleet.one.event.user.online.ana");

    let mut beats = client.subscribe(node.subjects.beat_routers()).await.expect("subscribe");
    client.flush().await.expect("flush");
    process.terminate();
    assert!(process.ended().await.success(), "{}", process.tail(20));
    let numbers = node.seen().packet_numbers.clone();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    // The last word: nobody need wait for its acknowledgements.
    bounded("a last beat", async {
        while let Some(beat) = beats.next().await {
            if RouterBeat::decode(beat.payload).expect("a beat").state == RouterState::Joining {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_whose_process_is_gone_is_off_the_roster_at_once() {
    let server = NatsServer::start("").await;
    let client = server.connect().await;
    let process = router(&server, "hf");
    process.ready().await.expect("ready");
    let connection = server.connect().await;
    let mut node = Node::start(connection.clone(), "hf").await;
    node.beat(NodeState::Live).await;
    node.up("ana").await;
    let mut lost = client.subscribe(format!("hf.event.node.lost.{}", node.id)).await.expect("subscribe");
    client.flush().await.expect("flush");
    assert!(!receipt(&ask(&client, "hf.send.user.ana", &[], "1").await).offline);

    connection.drain().await.expect("drain");

    drop(bounded("the fact that it is lost", lost.next()).await);
    assert!(receipt(&ask(&client, "hf.send.user.ana", &[], "1").await).offline);
}
