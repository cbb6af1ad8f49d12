//! A shard with scripted sockets and a hub played by the test.

mod commands;
mod delivery;
mod drain;
mod history;
mod paused;
mod relief;
mod rooms;
mod row;
mod stomp;

use std::cell::RefCell;
use std::num::NonZeroU64;
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
use crate::admission::{Door, DoorSettings};
use crate::auth::{Identity, JwtSettings, Verifier};
use crate::clock::Now;
use crate::handshake::{Admission, Endpoint, Rules};
use crate::link::{ConnRef, Granted, JoinFor, Key, ReceiptRef, Replay, SharedCommand, SharedDelivery, ToHub, ToShard};
use crate::metrics::{Drop as DropReason, Transport};
use crate::session::Incoming;
use crate::socket::{Framing, Outgoing, Pushed, Run, Socket, Taken, Written};

/// What a client has got, and how much its socket takes.
#[derive(Debug, Default)]
struct Wire {
    queued: Vec<Bytes>,
    written: Vec<Bytes>,
    passed: u64,
    clogged: bool,
    queue_max: usize,
    flushes: usize,
    /// Runs that were written, and how many frames of one it takes at most, where that is bounded.
    runs: usize,
    run_max: Option<usize>,
    framing: Framing,
    /// What the queue says of kept messages that gave way.
    behind: Vec<(u32, NonZeroU64)>,
    /// Scopes that its client has left.
    forgotten: Vec<u32>,
    /// What it says of frames that were taken back.
    withdrawn: Vec<u64>,
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

    fn takes_runs(&self) -> bool {
        let wire = self.0.borrow();
        !wire.clogged && wire.closed.is_none() && wire.queued.is_empty()
    }

    fn write_run(&mut self, _: Now, run: &Run) -> Taken {
        let mut wire = self.0.borrow_mut();
        let joined: Vec<u8> = run.frames().iter().flat_map(|outgoing| outgoing.frame.to_vec()).collect();
        assert_eq!(run.joined(), joined);
        let frames = run.frames().len().min(wire.run_max.unwrap_or(usize::MAX));
        wire.runs += 1;
        wire.passed += frames as u64;
        wire.written.extend(run.frames().iter().take(frames).map(|outgoing| outgoing.frame.clone()));
        Taken { frames, waits: false }
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

    fn take_behind(&mut self) -> Vec<(u32, NonZeroU64)> {
        std::mem::take(&mut self.0.borrow_mut().behind)
    }

    fn take_withdrawn(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.0.borrow_mut().withdrawn)
    }

    fn forget(&mut self, scope: u32) {
        self.0.borrow_mut().forgotten.push(scope);
    }

    fn has_room(&mut self, _: Now, _: usize) -> bool {
        let wire = self.0.borrow();
        wire.queued.len() < wire.queue_max
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

    fn framing(&self) -> Framing {
        self.0.borrow().framing
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
        Self::behind(DoorSettings::default())
    }

    /// One whose node has such bounds.
    fn behind(door: DoorSettings) -> Self {
        let port = Port::default();
        let settings = ShardSettings { node: NodeId::gateway([1; 8]), number: 0, shards: 1, age: None };
        let verifier = Arc::new(Verifier::new(&JwtSettings::default()).expect("no keys to get wrong"));
        let door = Arc::new(Door::new(door));
        let shard = Shard::new(settings, verifier, door, Arc::default(), Box::new(Counting(0)), Box::new(port.clone()));
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
        self.shard.table.get(client.key.index).expect("connected").id()
    }
}

fn user(name: &str) -> Target {
    Target::User(name.into())
}

fn room(name: &str) -> Target {
    Target::Room(name.into())
}
