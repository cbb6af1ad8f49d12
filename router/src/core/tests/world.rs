//! A small world: routers, nodes that say what they are told to, and a bus that delivers at once and in order.

mod services;

use std::collections::HashMap;

use bytes::Bytes;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::token::partition_of_key;
use holdfast_protocol::wire::{
    Change, Item, NodeBeat, NodeBound, NodeState, ReceiptPart, Report, RosterBatch, RouterBeat, RouterBound, Snapshot,
    SnapshotEntry, digest_of_claim, digest_of_room, digest_of_user,
};

use crate::core::Router;
use crate::core::event::{Action, Event, Now, Request, ServiceError};
use crate::core::settings::Settings;

/// What a router wanted, but for what the world does itself.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) answers: Vec<(String, Result<Bytes, ServiceError>)>,
    pub(super) facts: Vec<(String, serde_json::Value)>,
    pub(super) pings: Vec<NodeId>,
    pub(super) left: bool,
    pub(super) works: bool,
    /// Looks at the stream that it asked for.
    pub(super) looks: usize,
    /// Reads of the stream that it asked for: number, first and last sequence.
    pub(super) reads: Vec<(u64, u64, u64)>,
    /// Beats that came while it was frozen: they wait in its socket.
    missed: Vec<RouterBeat>,
    /// Facts that came meanwhile.
    missed_facts: Vec<(String, Bytes)>,
    /// Messages that came while the router took none.
    unread: Vec<Message>,
}

/// A message of a domain service.
#[derive(Debug, Clone)]
struct Message {
    subject: String,
    headers: Vec<(String, String)>,
    payload: Vec<u8>,
    reply: Option<String>,
}

/// One router and its connection.
pub(super) struct Member {
    pub(super) router: Router,
    pub(super) seen: Seen,
    /// Hears and says nothing, and does not run: frozen, or cut off.
    pub(super) frozen: bool,
    /// Runs, but the bus carries nothing to or from it.
    pub(super) deaf: bool,
}

/// A node that only keeps its roster.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) seq: u64,
    pub(super) state: NodeState,
    pub(super) silent: bool,
    users: Vec<String>,
    rooms: HashMap<String, u64>,
    claims: Vec<(String, ConnectionId, u64)>,
    /// What its snapshots say happened lately, and at which batch.
    pub(super) lately: Vec<(Change, u64)>,
    /// Items of packets, in order of arrival.
    pub(super) items: Vec<Item>,
    pub(super) packets: Vec<(NodeId, u64, u64)>,
    pub(super) acked: HashMap<NodeId, u64>,
    pub(super) snapshots_asked: u64,
    /// Answers receipts with one connection that was written to.
    pub(super) reports: bool,
    /// Sends snapshots when asked.
    pub(super) answers_asks: bool,
}

pub(super) struct World {
    pub(super) ms: u64,
    /// The bus is in parts: no router hears another.
    pub(super) apart: bool,
    pub(super) members: Vec<Member>,
    pub(super) nodes: Vec<Node>,
}

pub(super) fn gateway(n: u8) -> NodeId {
    NodeId::gateway([n; 8])
}

pub(super) fn connection(n: u8, member: u8) -> ConnectionId {
    ConnectionId::new(gateway(n), [member; 16])
}

pub(super) const UNIX: u64 = 1_700_000_000_000;
pub(super) const STEP: u64 = 10;

impl World {
    /// Routers and nodes, none of them started.
    pub(super) fn new(routers: u8, nodes: u8) -> Self {
        let mut world = Self { ms: 1_000, apart: false, members: Vec::new(), nodes: Vec::new() };
        (1..=nodes).for_each(|n| world.add_node(n));
        (1..=routers).for_each(|n| world.add_router(n, Settings::default()));
        world
    }

    /// The same, all live.
    pub(super) fn live(routers: u8, nodes: u8) -> Self {
        let mut world = Self::new(routers, nodes);
        world.run(1_000);
        assert!(world.members.iter().all(|member| member.router.is_live()), "live after a second");
        world.run_until_settled();
        // What changed hands until then is nobody's business here.
        world.nodes.iter_mut().for_each(|node| node.items.clear());
        world
    }

    pub(super) fn add_router(&mut self, n: u8, settings: Settings) {
        let router = Router::new(NodeId::router([n; 8]), settings);
        self.members.push(Member { router, seen: Seen::default(), frozen: false, deaf: false });
        let at = self.members.len() - 1;
        self.apply(at, Event::BusUp { max_payload: 1 << 20 });
        self.turn(at);
    }

    pub(super) fn add_node(&mut self, n: u8) {
        self.nodes.push(Node {
            id: gateway(n),
            seq: 0,
            state: NodeState::Live,
            silent: false,
            users: Vec::new(),
            rooms: HashMap::new(),
            claims: Vec::new(),
            lately: Vec::new(),
            items: Vec::new(),
            packets: Vec::new(),
            acked: HashMap::new(),
            snapshots_asked: 0,
            reports: true,
            answers_asks: true,
        });
    }

    pub(super) fn now(&self) -> Now {
        Now { ms: self.ms, unix_ms: UNIX + self.ms }
    }

    pub(super) fn apply(&mut self, at: usize, event: Event<'_>) {
        let now = self.now();
        let member = &mut self.members[at];
        if !member.frozen {
            for beat in std::mem::take(&mut member.seen.missed) {
                member.router.apply(now, Event::RouterBeat(beat));
            }
            for (subject, body) in std::mem::take(&mut member.seen.missed_facts) {
                member.router.apply(now, Event::Fact { subject: &subject, body: &body });
            }
            member.router.apply(now, event);
        }
    }

    /// Lets time pass: each step ticks each router, and each half second nodes beat.
    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms / STEP {
            self.ms += STEP;
            if self.ms.is_multiple_of(500) {
                (0..self.nodes.len()).for_each(|node| self.beat(node));
            }
            for at in 0..self.members.len() {
                self.apply(at, Event::Tick);
                self.turn(at);
                self.read(at);
            }
        }
    }

    /// Lets time pass until each router has its share.
    pub(super) fn run_until_settled(&mut self) {
        let until = self.ms + 10_000;
        while !self.members.iter().all(|member| member.router.is_settled() || member.seen.left) {
            assert!(self.ms < until, "not settled");
            self.run(STEP);
        }
    }

    /// Lets a router take what waits for it.
    fn read(&mut self, at: usize) {
        let now = self.now();
        let member = &mut self.members[at];
        if member.frozen || !member.router.takes_work(now) {
            return;
        }
        for message in std::mem::take(&mut member.seen.unread) {
            let headers: Vec<(&str, &str)> = message.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let headers: &[(&str, &str)] = &headers;
            let subject = &*message.subject;
            let request =
                Request { subject, reply: message.reply.as_deref(), headers: &headers, payload: &message.payload };
            let event = match subject.split('.').nth(1) {
                Some("send") => Event::Send(request),
                Some("ctl") => Event::Ctl(request),
                _ => Event::Query(request),
            };
            self.apply(at, event);
            self.turn(at);
        }
    }

    pub(super) fn beat(&mut self, node: usize) {
        let node = &self.nodes[node];
        if node.silent {
            return;
        }
        let beat = NodeBeat {
            node: node.id,
            state: node.state,
            version: "test".into(),
            connections: node.users.len() as u64,
            spare_handshakes: 1,
            leaving: None,
            seq: node.seq,
            digests: node.digests(),
        };
        for at in 0..self.members.len() {
            if !self.members[at].deaf {
                self.apply(at, Event::NodeBeat(beat.clone()));
                self.turn(at);
            }
        }
    }

    /// Ends a router's turn and carries what it wanted to whom it concerns.
    pub(super) fn turn(&mut self, at: usize) {
        let now = self.now();
        let member = &mut self.members[at];
        if member.frozen {
            return;
        }
        let mut actions = Vec::new();
        member.router.end_turn(now, usize::MAX, &mut actions);
        for action in actions {
            self.perform(at, action);
        }
    }

    fn perform(&mut self, at: usize, action: Action) {
        let member = &mut self.members[at];
        let deaf = member.deaf;
        let seen = &mut member.seen;
        match action {
            Action::Answer { to, body } => seen.answers.push((to.into(), body)),
            Action::Fact { subject, body } => {
                seen.facts.push((subject.clone(), serde_json::from_slice(&body).expect("JSON")));
                self.tell(at, &subject, &body);
            }
            Action::Ping(node) => seen.pings.push(node),
            Action::Publish { .. } if deaf => {}
            Action::Publish { subject, payload } => self.carry(at, &subject, payload),
            Action::OpenWork => seen.works = true,
            Action::CloseWork => {
                seen.works = false;
                seen.unread.clear();
            }
            Action::LookAtStream => seen.looks += 1,
            Action::ReadKept { number, from, to } => seen.reads.push((number, from, to)),
            Action::Left => seen.left = true,
            Action::ToNode(..) | Action::Beat(_) | Action::Discover(_) if deaf => {}
            Action::ToNode(node, payload) => self.deliver(at, node, payload),
            Action::Beat(payload) => {
                let beat = RouterBeat::decode(payload).expect("a beat");
                for other in 0..self.members.len() {
                    if self.apart && other != at {
                        continue;
                    }
                    let listener = &mut self.members[other];
                    if listener.frozen && !listener.deaf {
                        listener.seen.missed.push(beat.clone());
                    } else if !listener.deaf {
                        self.apply(other, Event::RouterBeat(beat.clone()));
                    }
                }
            }
            Action::Discover(_) => {
                for node in 0..self.nodes.len() {
                    self.snapshot(at, node);
                }
            }
        }
    }

    /// A fact, as every router hears it that may.
    fn tell(&mut self, from: usize, subject: &str, body: &Bytes) {
        if self.members[from].deaf {
            return;
        }
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            if member.frozen {
                member.seen.missed_facts.push((subject.to_owned(), body.clone()));
            } else if !member.deaf && (!self.apart || at == from) {
                self.apply(at, Event::Fact { subject, body });
            }
        }
    }

    /// Carries what routers tell each other.
    fn carry(&mut self, from: usize, subject: &str, payload: Bytes) {
        if let Some(router) = subject.strip_prefix("hf.int.router.") {
            let at = self.members.iter().position(|it| it.router.id().as_str() == router && !it.deaf && !it.frozen);
            if let Some(at) = at.filter(|at| !self.apart || *at == from) {
                self.apply(at, Event::Told(RouterBound::decode(payload).expect("a message to a router")));
                self.turn(at);
            }
        } else {
            self.publish_from(subject, &[], &payload, None);
        }
    }

    fn deliver(&mut self, at: usize, id: NodeId, payload: Bytes) {
        let Some(index) = self.nodes.iter().position(|node| node.id == id && !node.silent) else { return };
        let node = &mut self.nodes[index];
        match NodeBound::decode(payload).expect("a message to a node") {
            NodeBound::RosterAck { router, seq, .. } => drop(node.acked.insert(router, seq)),
            NodeBound::SnapshotAsk { .. } => {
                node.snapshots_asked += 1;
                self.snapshot(at, index);
            }
            NodeBound::Ping => {}
            NodeBound::Packet(packet) => {
                node.packets.push((packet.router, packet.number, packet.term));
                let mut report = Report { node: id, receipts: vec![], acks: vec![], answers: vec![] };
                for item in &packet.items {
                    let ask = match item {
                        Item::Deliver(delivery) => delivery.receipt,
                        Item::Command(command) => command.receipt,
                        Item::Ask { .. } | Item::After { .. } => None,
                    };
                    report.receipts.extend(ask.map(|ask| ReceiptPart {
                        number: ask.number,
                        matched: 1,
                        written: 1,
                        ..ReceiptPart::default()
                    }));
                }
                node.items.extend(packet.items);
                if node.reports && !report.receipts.is_empty() {
                    self.apply(at, Event::Told(RouterBound::Report(report)));
                    self.turn(at);
                }
            }
        }
    }

    fn snapshot(&mut self, at: usize, node: usize) {
        let node = &self.nodes[node];
        if node.silent || !node.answers_asks {
            return;
        }
        let mut entries: Vec<SnapshotEntry> =
            node.users.iter().map(|user| SnapshotEntry::User(user.as_str().into())).collect();
        entries.extend(node.rooms.iter().map(|(room, count)| SnapshotEntry::Room(room.as_str().into(), *count)));
        entries.extend(
            node.claims.iter().map(|(user, id, since)| SnapshotEntry::Claim(user.as_str().into(), *id, *since)),
        );
        entries.extend(node.lately.iter().map(|(change, seq)| SnapshotEntry::Lately(change.clone(), *seq, 3_000)));
        let snapshot = Snapshot { node: node.id, seq: node.seq, part: 0, last: true, entries };
        self.apply(at, Event::Told(RouterBound::Snapshot(snapshot)));
        self.turn(at);
    }

    /// A change of a node's roster, published in a batch of its own; `lost`: on the way to all.
    pub(super) fn change(&mut self, node: usize, change: Change, lost: bool) {
        let node = &mut self.nodes[node];
        node.keep(&change);
        node.seq += 1;
        let batch = RosterBatch { node: node.id, seq: node.seq, since_ms: UNIX, changes: vec![change] };
        for at in 0..self.members.len() {
            if !lost && !self.members[at].deaf {
                self.apply(at, Event::Roster(batch.clone()));
                self.turn(at);
            }
        }
    }

    pub(super) fn up(&mut self, node: usize, user: &str) {
        self.change(node, up(user), false);
    }

    pub(super) fn down(&mut self, node: usize, user: &str) {
        self.change(node, down(user), false);
    }

    pub(super) fn room(&mut self, node: usize, room: &str, count: u64) {
        self.change(node, members(room, count), false);
    }
}

impl Node {
    fn keep(&mut self, change: &Change) {
        match change {
            Change::UserUp { user, .. } => self.users.push(user.to_string()),
            Change::UserDown { user, .. } => self.users.retain(|other| **other != **user),
            Change::Room { room, count: 0, .. } => drop(self.rooms.remove(&**room)),
            Change::Room { room, count, .. } => drop(self.rooms.insert(room.to_string(), *count)),
            Change::Claim { user, connection, since_ms } => {
                self.claims.push((user.to_string(), *connection, *since_ms));
            }
            Change::Unclaim { connection, .. } => self.claims.retain(|(_, other, _)| other != connection),
        }
    }

    fn digests(&self) -> Box<[u64; PARTITIONS]> {
        let mut digests = Box::new([0_u64; PARTITIONS]);
        let mut add = |key: &str, digest: u64| {
            let sum = &mut digests[partition_of_key(key)];
            *sum = sum.wrapping_add(digest);
        };
        self.users.iter().for_each(|user| add(user, digest_of_user(user)));
        self.rooms.iter().for_each(|(room, count)| add(room, digest_of_room(room, *count)));
        self.claims.iter().for_each(|(user, id, _)| add(user, digest_of_claim(user, *id)));
        digests
    }

    /// Makes the node hold what no batch told of.
    pub(super) fn hold_silently(&mut self, user: &str) {
        self.users.push(user.to_owned());
    }
}

pub(super) fn up(user: &str) -> Change {
    Change::UserUp { user: user.into(), cause: holdfast_protocol::wire::Cause::Connect }
}

pub(super) fn down(user: &str) -> Change {
    Change::UserDown { user: user.into(), cause: holdfast_protocol::wire::Cause::Close }
}

pub(super) fn members(room: &str, count: u64) -> Change {
    Change::Room { room: room.into(), count, cause: holdfast_protocol::wire::Cause::Connect }
}
