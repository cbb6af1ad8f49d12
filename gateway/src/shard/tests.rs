//! A shard with scripted sockets and a hub played by the test.

mod history;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::{Ask, Command, Condition, Content, Delivery, Kept, ReceiptAsk, ReceiptPart, Target};
use serde_json::{Value, json};

use super::{ClosedBy, HubPort, Randomness, Shard, ShardSettings};
use crate::auth::{Identity, JwtSettings, Verifier};
use crate::clock::Now;
use crate::handshake::{Admission, Endpoint, Rules};
use crate::link::{Granted, JoinFor, Key, ReceiptRef, Replay, SharedCommand, SharedDelivery, ToHub, ToShard};
use crate::metrics::{Drop as DropReason, Transport};
use crate::session::Incoming;
use crate::socket::{Outgoing, Pushed, Socket, Written};

/// What a client has got, and how much its socket takes.
#[derive(Debug, Default)]
struct Wire {
    queued: Vec<Bytes>,
    written: Vec<Bytes>,
    passed: u64,
    clogged: bool,
    queue_max: usize,
    flushes: usize,
    closed: Option<(u16, String)>,
}

#[derive(Debug, Clone)]
struct FakeSocket(Rc<RefCell<Wire>>);

impl Socket for FakeSocket {
    fn write_now(&mut self, _: Now, outgoing: &Outgoing) -> Written {
        let mut wire = self.0.borrow_mut();
        if wire.clogged || wire.closed.is_some() || !wire.queued.is_empty() {
            return Written::Not;
        }
        wire.passed += 1;
        wire.written.push(outgoing.frame.clone());
        Written::Whole
    }

    fn push(&mut self, _: Now, outgoing: Outgoing) -> Pushed {
        let mut wire = self.0.borrow_mut();
        if wire.closed.is_some() {
            return Pushed::Dropped;
        }
        if wire.queued.len() >= wire.queue_max {
            return Pushed::Overflow;
        }
        wire.queued.push(outgoing.frame);
        Pushed::Queued(wire.passed + wire.queued.len() as u64)
    }

    fn flush(&mut self, _: Now) -> u64 {
        let mut wire = self.0.borrow_mut();
        wire.flushes += 1;
        if !wire.clogged {
            let frames = std::mem::take(&mut wire.queued);
            wire.passed += frames.len() as u64;
            wire.written.extend(frames);
        }
        wire.passed
    }

    fn take_gaps(&mut self) -> Vec<u32> {
        Vec::new()
    }

    fn close(&mut self, _: Now, code: u16, reason: &str) {
        self.0.borrow_mut().closed.get_or_insert((code, reason.to_owned()));
    }

    fn tick(&mut self, _: Now) -> Option<Close> {
        None
    }

    fn queued_bytes(&self) -> usize {
        self.0.borrow().queued.iter().map(Bytes::len).sum()
    }
}

struct Counting(u8);

impl Randomness for Counting {
    fn id(&mut self) -> [u8; 16] {
        self.0 += 1;
        [self.0; 16]
    }
}

#[derive(Clone, Default)]
struct Port(Rc<RefCell<Vec<ToHub>>>);

impl HubPort for Port {
    fn offer(&mut self, messages: &mut Vec<ToHub>) {
        self.0.borrow_mut().append(messages);
    }
}

struct Scene {
    shard: Shard<FakeSocket>,
    port: Port,
    now: Now,
    router: NodeId,
}

#[derive(Clone)]
struct Client {
    key: Key,
    wire: Rc<RefCell<Wire>>,
}

impl Client {
    /// Payloads of the text frames written since the last call.
    fn seen(&self) -> Vec<Value> {
        let frames = std::mem::take(&mut self.wire.borrow_mut().written);
        frames.iter().map(|frame| serde_json::from_slice(payload(frame)).expect("JSON in a text frame")).collect()
    }

    fn types(&self) -> Vec<String> {
        self.seen().iter().map(|frame| frame["type"].as_str().unwrap_or("?").to_owned()).collect()
    }

    fn closed_with(&self) -> Option<u16> {
        self.wire.borrow().closed.as_ref().map(|(code, _)| *code)
    }
}

fn payload(frame: &Bytes) -> &[u8] {
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    &frame[head..]
}

impl Scene {
    fn new() -> Self {
        let port = Port::default();
        let settings = ShardSettings { node: NodeId::gateway([1; 8]), number: 0, shards: 1 };
        let verifier = Arc::new(Verifier::new(&JwtSettings::default()).expect("no keys to get wrong"));
        let shard = Shard::new(settings, verifier, Arc::default(), Box::new(Counting(0)), Box::new(port.clone()));
        let now = Now { ms: 1000, unix_ms: 1_700_000_000_000 };
        Self { shard, port, now, router: NodeId::router([2; 8]) }
    }

    /// A connection that is welcome already.
    fn client(&mut self, user: &str, device: Option<&str>) -> Client {
        let client = self.pending(Some(Identity::unsigned(user, device.map(Arc::from))));
        self.hub_agrees();
        assert_eq!(client.types(), ["welcome"]);
        client
    }

    fn pending(&mut self, identity: Option<Identity>) -> Client {
        self.pending_in(Dialect::Json, identity)
    }

    fn pending_in(&mut self, dialect: Dialect, identity: Option<Identity>) -> Client {
        let wire = Rc::new(RefCell::new(Wire { queue_max: 100, ..Wire::default() }));
        let admission = Admission {
            endpoint: Arc::new(Endpoint { name: "chat".into(), rules: Arc::new(Rules::json()) }),
            dialect,
            subprotocol: None,
            identity,
            unsigned: false,
            device: None,
            since: None,
            rooms: Vec::new(),
        };
        let key = self.shard.open(self.now, Box::new(admission), FakeSocket(Rc::clone(&wire)), Transport::Ws);
        self.shard.finish_turn(self.now);
        Client { key, wire }
    }

    fn says(&mut self, client: &Client, message: &Value) {
        self.shard.receive(self.now, client.key, Incoming::Text(&message.to_string()));
        self.shard.finish_turn(self.now);
    }

    fn hears(&mut self, message: ToShard) {
        self.shard.handle(self.now, message);
        self.shard.finish_turn(self.now);
    }

    fn told(&self) -> Vec<ToHub> {
        std::mem::take(&mut self.port.0.borrow_mut())
    }

    /// The hub grants every bind and join asked for, until none is left; the rest of what it was told.
    fn hub_agrees(&mut self) -> Vec<ToHub> {
        let mut rest = Vec::new();
        loop {
            let before = rest.len();
            let told = self.told();
            let asked = told.len();
            for message in told {
                match message {
                    ToHub::Bind { conn, id, user, .. } => {
                        self.hears(ToShard::Bound { conn, id, user, result: Ok(Granted::default()) });
                    }
                    ToHub::Join { conn, on_behalf, room, .. } => {
                        self.hears(ToShard::Joined { conn, on_behalf, room, result: Ok(Granted::default()) });
                    }
                    other => rest.push(other),
                }
            }
            if rest.len() == before + asked {
                return rest;
            }
        }
    }

    fn joined(&mut self, client: &Client, room: &str) {
        self.says(client, &json!({"type": "join", "id": 1, "room": room}));
        self.hub_agrees();
        assert_eq!(client.types(), ["ok"]);
    }

    fn delivery(&self, targets: Vec<Target>) -> Delivery {
        Delivery {
            targets,
            id: "m1".into(),
            event: None,
            content: Content::Json,
            payload: Bytes::from_static(b"7"),
            received_ms: self.now.unix_ms,
            expires_ms: None,
            key: None,
            destination: None,
            only: Vec::new(),
            except_connections: Vec::new(),
            except_users: Vec::new(),
            receipt: Some(ReceiptAsk { number: 5, acked: false, timeout_ms: 400 }),
            trace: None,
            kept: None,
        }
    }

    /// Delivers, and returns the receipt's part.
    fn deliver(&mut self, delivery: Delivery) -> ReceiptPart {
        self.hears(ToShard::Deliver(Arc::new(SharedDelivery::new(delivery, self.router))));
        self.receipt()
    }

    fn command(&mut self, targets: Vec<Target>, command: Command) {
        let receipt = Some(ReceiptRef { router: self.router, number: 6 });
        self.hears(ToShard::Command(Arc::new(SharedCommand { targets, command, ask: None, receipt })));
    }

    fn receipt(&mut self) -> ReceiptPart {
        let told = self.hub_agrees();
        let parts: Vec<_> =
            told.iter().filter_map(|m| if let ToHub::Receipt { part, .. } = m { Some(*part) } else { None }).collect();
        assert_eq!(parts.len(), 1, "one part per receipt: {told:?}");
        parts[0]
    }

    fn id(&self, client: &Client) -> ConnectionId {
        self.shard.table.get(client.key.index).expect("connected").id
    }
}

fn user(name: &str) -> Target {
    Target::User(name.into())
}

fn room(name: &str) -> Target {
    Target::Room(name.into())
}

#[test]
fn deliveries_begin_with_the_welcome_and_not_before() {
    let mut scene = Scene::new();
    let client = scene.pending(Some(Identity::unsigned("ana", None)));
    scene.hears(ToShard::Deliver(Arc::new(SharedDelivery::new(scene.delivery(vec![user("ana")]), scene.router))));
    assert!(client.seen().is_empty());

    scene.hub_agrees();
    let part = scene.deliver(scene.delivery(vec![user("ana")]));

    assert_eq!(client.types(), ["welcome", "message"]);
    assert_eq!((part.number, part.matched, part.written), (5, 1, 1));
}

#[test]
fn a_rooms_messages_come_between_the_ok_to_join_and_the_ok_to_leave() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r"}));
    scene.hears(ToShard::Deliver(Arc::new(SharedDelivery::new(scene.delivery(vec![room("r")]), scene.router))));
    scene.hub_agrees();

    assert_eq!(scene.deliver(scene.delivery(vec![room("r")])).written, 1);
    scene.says(&client, &json!({"type": "leave", "id": 2, "room": "r"}));
    let told = scene.told();

    assert_eq!(client.types(), ["ok", "message", "ok"]);
    assert!(matches!(&told[..], [ToHub::Leave { room, .. }] if &**room == "r"), "{told:?}");
    assert_eq!(scene.deliver(scene.delivery(vec![room("r")])).matched, 0);
}

#[test]
fn a_join_that_comes_too_late_is_given_back() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r"}));
    let told = scene.told();
    let [ToHub::Join { conn, on_behalf, room, .. }] = &told[..] else { panic!("{told:?}") };
    scene.shard.closed(scene.now, client.key, ClosedBy::Network);
    scene.shard.finish_turn(scene.now);
    let told_at_end = scene.told();
    assert!(matches!(&told_at_end[..], [ToHub::Unbind { opened: true, .. }]), "{told_at_end:?}");

    scene.hears(ToShard::Joined {
        conn: *conn,
        on_behalf: *on_behalf,
        room: Arc::clone(room),
        result: Ok(Granted::default()),
    });

    assert!(matches!(&scene.told()[..], [ToHub::Leave { .. }]));
    assert!(scene.shard.is_empty());
}

#[test]
fn many_gives_each_connection_one_copy_of_the_same_frame() {
    let mut scene = Scene::new();
    let (a, b) = (scene.client("ana", None), scene.client("bob", None));
    scene.joined(&a, "r");
    scene.joined(&b, "r");
    let id = scene.id(&a);

    let part = scene.deliver(scene.delivery(vec![user("ana"), room("r"), Target::Connection(id), user("nobody")]));

    assert_eq!((part.matched, part.written), (2, 2));
    assert_eq!((a.seen().len(), b.seen().len()), (1, 1));
    scene.deliver(scene.delivery(vec![room("r")]));
    let frame = |client: &Client| client.wire.borrow().written[0].as_ptr();
    assert_eq!(frame(&a), frame(&b), "encoded once");
}

#[test]
fn a_receipt_tells_written_queued_dropped_and_filtered_apart() {
    let mut scene = Scene::new();
    let [fine, clogged, full, other] =
        [Some("ios"), Some("ios"), Some("ios"), Some("web")].map(|device| scene.client("ana", device));
    clogged.wire.borrow_mut().clogged = true;
    *full.wire.borrow_mut() = Wire { clogged: true, queue_max: 0, ..Wire::default() };
    let mut delivery = scene.delivery(vec![user("ana")]);
    delivery.only = vec![Condition { name: "device".into(), value: "ios".into() }];

    let part = scene.deliver(delivery);

    let wanted = ReceiptPart { number: 5, matched: 3, written: 1, queued: 1, filtered: 1, dropped: 1, ackable: 0 };
    assert_eq!(part, wanted);
    assert_eq!(full.closed_with(), Some(Close::SlowConsumer.code()));
    assert_eq!(scene.shard.cells().dropped(DropReason::Overflow).value(), 1);
    assert_eq!((fine.seen().len(), other.seen().len()), (1, 0));
}

#[test]
fn the_only_message_of_a_turn_is_written_past_the_queue_where_nothing_waits() {
    let mut scene = Scene::new();
    let [fine, clogged] = ["ana", "bob"].map(|user| scene.client(user, None));
    scene.joined(&fine, "r");
    scene.joined(&clogged, "r");
    clogged.wire.borrow_mut().clogged = true;
    let flushes = fine.wire.borrow().flushes;

    let delivery = SharedDelivery::new(scene.delivery(vec![room("r")]), scene.router);
    scene.shard.handle_lone(scene.now, ToShard::Deliver(Arc::new(delivery)));
    assert_eq!(fine.types(), ["message"], "before the turn ends");
    scene.shard.finish_turn(scene.now);

    let part = scene.receipt();
    assert_eq!((part.matched, part.written, part.queued), (2, 1, 1));
    assert_eq!(fine.wire.borrow().flushes, flushes, "nothing was left to write");
    assert_eq!(clogged.wire.borrow().queued.len(), 1);
}

#[test]
fn the_only_message_of_a_turn_waits_behind_what_the_turn_has_queued() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.shard.receive(scene.now, client.key, Incoming::Text(r#"{"type":"ping","id":1}"#));

    let delivery = SharedDelivery::new(scene.delivery(vec![user("ana")]), scene.router);
    scene.shard.handle_lone(scene.now, ToShard::Deliver(Arc::new(delivery)));
    scene.shard.finish_turn(scene.now);

    assert_eq!(client.types(), ["pong", "message"]);
    assert_eq!(scene.receipt().written, 1);
}

#[test]
fn one_turn_writes_each_socket_once() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    let before = client.wire.borrow().flushes;

    for _ in 0..10 {
        let delivery = SharedDelivery::new(scene.delivery(vec![user("ana")]), scene.router);
        scene.shard.handle(scene.now, ToShard::Deliver(Arc::new(delivery)));
    }
    scene.shard.finish_turn(scene.now);

    assert_eq!(client.wire.borrow().flushes - before, 1);
    assert_eq!(client.seen().len(), 10);
}

#[test]
fn acknowledgements_are_counted_once_each() {
    let mut scene = Scene::new();
    let (a, b) = (scene.client("ana", None), scene.client("ana", None));
    let mut delivery = scene.delivery(vec![user("ana")]);
    delivery.receipt = Some(ReceiptAsk { number: 5, acked: true, timeout_ms: 5000 });
    assert_eq!(scene.deliver(delivery).ackable, 2);
    assert_eq!(a.seen()[0]["ack"], json!(true));

    for _ in 0..2 {
        scene.says(&a, &json!({"type": "ack", "ids": ["m1", "unknown"]}));
    }
    scene.says(&b, &json!({"type": "ack", "ids": ["m1"]}));

    let acked: Vec<_> = scene
        .told()
        .iter()
        .filter_map(|m| if let ToHub::Acked { acked, .. } = m { Some(*acked) } else { None })
        .collect();
    assert_eq!(acked, [1, 1]);
}

#[test]
fn a_paused_client_gets_nothing_and_a_gap_on_resume() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    scene.command(vec![user("ana")], Command::Pause);
    assert_eq!(scene.receipt().written, 1);

    let part = scene.deliver(scene.delivery(vec![room("r")]));
    assert_eq!((part.matched, part.dropped), (1, 1));
    assert!(client.seen().is_empty());
    scene.command(vec![user("ana")], Command::Resume);

    assert_eq!(client.seen(), [json!({"type": "gap", "room": "r"})]);
}

#[test]
fn a_paused_client_gets_kept_messages_on_resume_before_live_ones() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    let kept = |scene: &Scene, seq: u64| {
        let kept = Some(Kept { epoch: "e".into(), seq, previous: seq - 1 });
        Delivery { kept, id: format!("m{seq}").into(), ..scene.delivery(vec![room("r")]) }
    };
    scene.command(vec![user("ana")], Command::Pause);
    scene.receipt();
    let part = scene.deliver(kept(&scene, 5));
    assert_eq!((part.queued, part.dropped), (1, 0));
    scene.command(vec![user("ana")], Command::Resume);
    let told = scene.told();
    let asked = told.iter().find_map(|m| match m {
        ToHub::Replay { conn, room, since, .. } => Some((*conn, room.clone(), *since)),
        _ => None,
    });
    let Some((conn, asked_room, 4)) = asked else { panic!("{told:?}") };
    assert_eq!(scene.deliver(kept(&scene, 7)).queued, 1, "behind what is being read");
    assert!(client.seen().is_empty());

    let messages = [5, 7].map(|seq| Arc::new(SharedDelivery::kept(kept(&scene, seq))));
    let start = Start { position: None, recovery: Some(Recovery::Whole) };
    let granted = Granted { start, replay: Replay { messages: messages.into(), skip: 0 } };
    scene.hears(ToShard::Replayed { conn, room: asked_room, result: Ok(granted) });
    assert_eq!(scene.deliver(kept(&scene, 9)).written, 1);

    let ids: Vec<_> = client.seen().iter().map(|message| message["id"].clone()).collect();
    assert_eq!(ids, ["m5", "m7", "m9"]);
}

#[test]
fn who_resumes_gets_the_answer_then_the_past_then_the_present() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r", "since": {"epoch": "e", "seq": 3}}));
    let told = scene.told();
    let [ToHub::Join { conn, on_behalf, room: name, since: Some(since), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(since.seq, 3);
    let old = Delivery { id: "old".into(), ..scene.delivery(vec![room("r")]) };
    let position = Position::new("e", 4);
    let granted = Granted {
        start: Start { position, recovery: Some(Recovery::Whole) },
        replay: Replay { messages: [Arc::new(SharedDelivery::kept(old))].into(), skip: 0 },
    };
    let (conn, on_behalf, room_name) = (*conn, *on_behalf, Arc::clone(name));
    scene.hears(ToShard::Joined { conn, on_behalf, room: room_name, result: Ok(granted) });
    scene.deliver(scene.delivery(vec![room("r")]));

    let seen = client.seen();
    assert_eq!((&seen[0]["recovered"], &seen[0]["position"]["seq"]), (&json!(true), &json!(4)));
    assert_eq!((&seen[1]["id"], &seen[2]["id"]), (&json!("old"), &json!("m1")));
}

#[test]
fn a_connection_that_ends_is_no_longer_waited_for() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    let mut delivery = scene.delivery(vec![user("ana")]);
    delivery.receipt = Some(ReceiptAsk { number: 5, acked: true, timeout_ms: 5000 });
    assert_eq!(scene.deliver(delivery).ackable, 1);

    scene.shard.closed(scene.now, client.key, ClosedBy::Network);
    scene.shard.finish_turn(scene.now);

    assert!(scene.told().iter().any(|m| matches!(m, ToHub::Acked { acked: 0, gone: 1, .. })));
}

#[test]
fn a_commands_join_is_reported_once_the_hub_has_confirmed_it() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.command(vec![user("ana")], Command::Join { room: "vip".into() });
    let told = scene.told();
    let [ToHub::Join { on_behalf: JoinFor::Command(_), .. }] = &told[..] else { panic!("no receipt yet: {told:?}") };
    scene.port.0.borrow_mut().extend(told);

    let part = scene.receipt();

    assert_eq!((part.matched, part.written), (1, 1));
    assert_eq!(client.seen()[0]["type"], json!("joined"));
    assert_eq!(scene.deliver(scene.delivery(vec![room("vip")])).written, 1);
}

#[test]
fn a_disconnect_takes_only_the_named_device_and_tells_the_hub_why() {
    let mut scene = Scene::new();
    let (ios, web) = (scene.client("ana", Some("ios")), scene.client("ana", Some("web")));
    let command = Command::Disconnect { code: 4001, reason: "bye".into(), device: Some("web".into()) };
    scene.command(vec![user("ana")], command);

    let told = scene.told();

    assert_eq!((ios.closed_with(), web.closed_with()), (None, Some(4001)));
    let unbound = |m: &ToHub| matches!(m, ToHub::Unbind { cause: holdfast_protocol::wire::Cause::Ctl, .. });
    assert_eq!(told.iter().filter(|m| unbound(m)).count(), 1, "{told:?}");
    assert_eq!(scene.deliver(scene.delivery(vec![user("ana")])).matched, 1);
}

#[test]
fn a_drain_tells_everybody_and_closes_each_at_its_time() {
    let mut scene = Scene::new();
    let (a, b) = (scene.client("ana", None), scene.client("bob", None));
    scene.hears(ToShard::Drain { window_ms: 1000 });
    assert_eq!((a.types(), b.types()), (vec!["goaway".to_owned()], vec!["goaway".to_owned()]));

    let mut closed = Vec::new();
    for ms in [1000, 1400, 1600] {
        scene.now.ms = ms;
        scene.shard.tick(scene.now);
        scene.shard.finish_turn(scene.now);
        closed.push([&a, &b].iter().filter(|client| client.closed_with() == Some(1012)).count());
    }
    assert_eq!(closed, [1, 1, 2]);
    for client in [&a, &b] {
        scene.shard.closed(scene.now, client.key, ClosedBy::Server(1012));
    }
    scene.shard.finish_turn(scene.now);

    let told = scene.told();
    assert_eq!(told.iter().filter(|m| matches!(m, ToHub::Empty { shard: 0 })).count(), 1, "{told:?}");
}

#[test]
fn connections_that_are_nobodys_go_when_the_bus_does() {
    let mut scene = Scene::new();
    let (somebody, nobody) = (scene.client("ana", None), scene.pending(None));

    scene.hears(ToShard::Unserved);

    assert_eq!((somebody.closed_with(), nobody.closed_with()), (None, Some(Close::BusGone.code())));
}

#[test]
fn questions_are_answered_as_the_public_sees_them() {
    let mut scene = Scene::new();
    let client = scene.client("ana", Some("ios"));
    scene.joined(&client, "q/1");
    let id = scene.id(&client);

    for (ask, wanted) in [
        (Ask::User { user: "ana".into() }, json!({"connection": id, "device": "ios", "endpoint": "chat", "rooms": 1})),
        (Ask::Room { room: "q/1".into(), after: None, limit: 10 }, json!({"user": "ana", "device": "ios"})),
        (Ask::Connection { connection: id }, json!({"rooms": ["q/1"], "since": "2023-11-14T22:13:20.000Z"})),
    ] {
        scene.hears(ToShard::Ask { question: 9, ask: Arc::new(ask) });
        let told = scene.told();
        let [ToHub::Answered { question: 9, part }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(part.total, 1);
        let entry: Value = serde_json::from_str(&part.entries[0].1).expect("JSON");
        for (field, value) in wanted.as_object().expect("an object") {
            assert_eq!(&entry[field], value, "{entry}");
        }
    }
    scene.hears(ToShard::Ask {
        question: 1,
        ask: Arc::new(Ask::Room { room: "q/1".into(), after: Some(id), limit: 10 }),
    });
    assert!(matches!(&scene.told()[..], [ToHub::Answered { part, .. }] if part.total == 1 && part.entries.is_empty()));
}

fn stomp_client(scene: &mut Scene, frames: &str) -> Client {
    let client = scene.pending_in(Dialect::Stomp, Some(Identity::unsigned("ana", None)));
    let text = format!("CONNECT\naccept-version:1.2\n\n\0{frames}");
    scene.shard.receive(scene.now, client.key, Incoming::Text(&text));
    scene.shard.finish_turn(scene.now);
    scene.hub_agrees();
    client.wire.borrow_mut().written.clear();
    client
}

#[test]
fn a_stomp_client_gets_a_frame_for_each_subscription_that_hears_the_message() {
    let mut scene = Scene::new();
    let subscribe = |id: &str, to: &str| format!("SUBSCRIBE\nid:{id}\ndestination:{to}\n\n\0");
    let two = subscribe("sub-0", "/topic/r")
        + &subscribe("sub-1", "/topic/r")
        + "SUBSCRIBE\nid:a\nack:client\ndestination:/user/queue/messages\n\n\0";
    let a = stomp_client(&mut scene, &two);
    let b = stomp_client(&mut scene, &subscribe("sub-0", "/topic/r"));
    let c = stomp_client(&mut scene, "");
    scene.command(vec![Target::Connection(scene.id(&c))], Command::Join { room: "r".into() });
    scene.receipt();

    let part = scene.deliver(Delivery { key: Some("k".into()), ..scene.delivery(vec![room("r")]) });

    assert_eq!((part.matched, part.written, part.filtered), (2, 2, 1), "{part:?}");
    let text = |client: &Client, at: usize| String::from_utf8(payload(&client.wire.borrow().written[at]).to_vec());
    let frame = |id: &str| {
        format!(
            "MESSAGE\nsubscription:{id}\ndestination:/topic/r\nmessage-id:m1\ncontent-type:application/json\ncontent-length:1\n\n7\0"
        )
    };
    assert_eq!((text(&a, 0), text(&a, 1)), (Ok(frame("sub-0")), Ok(frame("sub-1"))));
    assert_eq!(a.wire.borrow().written[0].as_ptr(), b.wire.borrow().written[0].as_ptr(), "encoded once");
    assert_eq!((b.wire.borrow().written.len(), c.wire.borrow().written.len()), (1, 0));
    for client in [&a, &b] {
        client.wire.borrow_mut().written.clear();
    }

    let both = scene.deliver(scene.delivery(vec![room("r"), user("ana")]));
    assert_eq!((both.matched, a.wire.borrow().written.len(), c.wire.borrow().written.len()), (2, 2, 0), "{both:?}");
    let mut asked = scene.delivery(vec![user("ana")]);
    asked.receipt = Some(ReceiptAsk { number: 5, acked: true, timeout_ms: 5000 });
    asked.payload = Bytes::from_static(b"\xff");
    asked.content = Content::Binary;
    let own = scene.deliver(asked);
    assert_eq!((own.matched, own.ackable), (1, 1), "{own:?}");
    assert_eq!(a.wire.borrow().written[2][0], 0x82, "binary");
}
