//! One gateway process on the simulated bus: its hub and shards, and between them queues that drain at their own pace.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_daemon::config::Secret;
use holdfast_gateway::admission::{Door, DoorSettings};
use holdfast_gateway::auth::{Identity, JwtSettings, Verifier};
use holdfast_gateway::clock::Now;
use holdfast_gateway::handshake::{Admission, Endpoint, OutboxRules, Rules, WhenFull};
use holdfast_gateway::hub::{Edge, Hub, HubSettings, Publication, Received, Serving, Unsent};
use holdfast_gateway::link::{ConnRef, Key, ToHub, ToShard};
use holdfast_gateway::metrics::{HubCells, ShardCells, Transport};
use holdfast_gateway::outbox::{self, Bounds};
use holdfast_gateway::session::{Incoming, Outcome, Ticket};
use holdfast_gateway::shard::{ClosedBy, HubPort, Randomness, Shard, ShardSettings};
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::position::Position;
use holdfast_protocol::subject::{InboxSubjects, Subjects};

use crate::bus::{Bus, Link, Message};
use crate::log::Place;
use crate::rng::Rng;
use crate::socket::{SimSocket, Wire};

/// How often the real shard ticks.
const TICK_MS: u64 = 50;
/// What subjects for answers begin with.
const INBOX: &str = "_INBOX";
/// What may wait for a client: little, so that it is used up.
const OUTBOX_BYTES_MAX: usize = 12 << 10;
/// And not for long.
const OUTBOX_AGE_MAX_MS: u64 = 1_500;
/// Shards of each process.
const SHARDS: u16 = 2;

/// A shard's end of the channel to the hub.
#[derive(Debug, Clone, Default)]
struct Port(Rc<RefCell<VecDeque<ToHub>>>);

impl HubPort for Port {
    fn offer(&mut self, messages: &mut Vec<ToHub>) {
        self.0.borrow_mut().extend(messages.drain(..));
    }
}

struct SeededIds(Rng);

impl Randomness for SeededIds {
    fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.0.bytes8());
        id[8..].copy_from_slice(&self.0.bytes8());
        id
    }
}

/// What the hub wants done, collected for a turn.
#[derive(Debug, Default)]
struct Collected {
    connected: bool,
    publications: Vec<Publication>,
    to_shards: Vec<(u16, ToShard)>,
}

impl Edge for Collected {
    fn publish(&mut self, message: Publication) -> Result<(), Unsent> {
        if !self.connected {
            return Err(Unsent::Away);
        }
        self.publications.push(message);
        Ok(())
    }

    fn to_shard(&mut self, shard: u16, message: ToShard) {
        self.to_shards.push((shard, message));
    }

    fn answer(&mut self, _caller: u64, _result: Outcome<Bytes>) {}

    fn verify(&mut self, _conn: ConnRef, _ticket: Ticket, _endpoint: Arc<Endpoint>, _token: Secret) {}
}

fn endpoint(when_full: WhenFull) -> Arc<Endpoint> {
    let outbox = OutboxRules { when_full, ..OutboxRules::default() };
    Arc::new(Endpoint { name: "chat".into(), rules: Arc::new(Rules { outbox, ..Rules::json() }) })
}

struct ShardThread {
    shard: Shard<SimSocket>,
    port: Port,
    inbox: VecDeque<ToShard>,
}

/// A gateway process.
pub struct GatewayProcess {
    /// Its connection to the bus.
    pub link: Link,
    /// Its node id.
    pub node: NodeId,
    /// Stopped by a signal until this moment.
    pub frozen_until_ms: u64,
    /// Its shards do not keep up until then.
    pub behind_until_ms: u64,
    subjects: Subjects,
    hub: Hub,
    shards: Vec<ShardThread>,
    /// One for each policy for clients that do not read.
    endpoints: [Arc<Endpoint>; 2],
    edge: Collected,
    /// Beats, discover, the node's own subject, the inbox: polled in this order.
    queues: [VecDeque<Message>; 4],
    next_tick_ms: u64,
}

impl std::fmt::Debug for GatewayProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayProcess").field("node", &self.node).finish_non_exhaustive()
    }
}

impl GatewayProcess {
    /// Starts a gateway.
    ///
    /// # Panics
    /// Where no verifier can be made without keys, which is a bug.
    pub fn start(bus: &mut Bus, rng: &mut Rng, now: Now, policies: [WhenFull; 2]) -> Self {
        let link = bus.connect();
        let subjects = Subjects::new("hf");
        let node = NodeId::gateway(rng.bytes8());
        let inbox = InboxSubjects::new(INBOX, node);
        for subject in [subjects.beat_routers(), subjects.discover(), subjects.node(node), inbox.all()] {
            bus.subscribe(link, subject);
        }
        let verifier = Arc::new(Verifier::new(&JwtSettings::default()).expect("no key is needed"));
        let door = Arc::new(Door::new(DoorSettings::default()));
        let shard_cells: Vec<Arc<ShardCells>> = (0..SHARDS).map(|_| Arc::default()).collect();
        let shards = (0..SHARDS).zip(&shard_cells).map(|(number, cells)| {
            let port = Port::default();
            let settings = ShardSettings { node, number, shards: SHARDS, age: None };
            let ids = Box::new(SeededIds(Rng::new(rng.next())));
            let cells = Arc::clone(cells);
            let shard =
                Shard::new(settings, Arc::clone(&verifier), Arc::clone(&door), cells, ids, Box::new(port.clone()));
            ShardThread { shard, port, inbox: VecDeque::new() }
        });
        let shards = shards.collect();
        let settings = HubSettings {
            node,
            shards: SHARDS,
            prefix: "hf".to_owned(),
            inbox_prefix: INBOX.to_owned(),
            kept_stream: Some(crate::jetstream::STREAM.to_owned()),
            drain_window_ms: 2000,
            drain_deadline_ms: 10_000,
            spare_handshakes: 500,
            hold_bytes_max: 0,
            hold_timeout_ms: 0,
        };
        let mut gateway = Self {
            link,
            node,
            frozen_until_ms: 0,
            behind_until_ms: 0,
            hub: Hub::new(settings, Arc::new(HubCells::default()), shard_cells),
            subjects,
            shards,
            endpoints: policies.map(endpoint),
            edge: Collected { connected: true, ..Collected::default() },
            queues: Default::default(),
            next_tick_ms: now.ms,
        };
        gateway.hub.on_bus(now, &mut gateway.edge, true);
        gateway
    }

    /// The bus delivers.
    pub fn receive(&mut self, message: Message) {
        let queue = if message.subject == self.subjects.beat_routers() {
            0
        } else if message.subject == self.subjects.discover() {
            1
        } else if message.subject == self.subjects.node(self.node) {
            2
        } else {
            3
        };
        self.queues[queue].push_back(message);
    }

    /// The connection to the bus broke or came back.
    pub fn bus_changed(&mut self, now: Now, up: bool) {
        self.edge.connected = up;
        if !up {
            self.queues = Default::default();
        }
        self.hub.on_bus(now, &mut self.edge, up);
    }

    /// Whether a load balancer sends clients here.
    pub fn is_ready(&self, now: Now) -> bool {
        self.frozen_until_ms <= now.ms && self.hub.serving(now) == Serving::Yes && !self.hub.is_draining()
    }

    /// Whether it was told to drain.
    pub fn is_draining(&self) -> bool {
        self.hub.is_draining()
    }

    /// A client connects as `user`; its `welcome` comes over `wire`. Returns where it is, and its policy.
    pub fn open(
        &mut self,
        now: Now,
        rng: &mut Rng,
        user: &str,
        since: Option<&Place>,
        wire: Rc<RefCell<Wire>>,
    ) -> (usize, Key, WhenFull) {
        let index = rng.index(self.shards.len());
        let endpoint = Arc::clone(&self.endpoints[rng.index(self.endpoints.len())]);
        let policy = endpoint.rules.outbox.when_full;
        let when_full = match policy {
            WhenFull::Close => outbox::WhenFull::Close,
            WhenFull::DropOldest => outbox::WhenFull::DropOldest,
        };
        let bounds = Bounds { bytes_max: OUTBOX_BYTES_MAX, age_max_ms: OUTBOX_AGE_MAX_MS, when_full };
        let admission = Admission {
            endpoint,
            dialect: Dialect::Json,
            subprotocol: None,
            identity: Some(Identity::unsigned(user, None)),
            unsigned: false,
            device: None,
            since: since.and_then(|place| Position::new(&place.epoch, place.seq)),
            rooms: Vec::new(),
        };
        let shard = &mut self.shards[index].shard;
        let key = shard.open(now, Box::new(admission), SimSocket::new(wire, bounds), Transport::Ws);
        shard.finish_turn(now);
        (index, key, policy)
    }

    /// A client sends a text message.
    pub fn client_says(&mut self, now: Now, shard: usize, key: Key, text: &str) {
        let shard = &mut self.shards[shard].shard;
        shard.receive(now, key, Incoming::Text(text));
        shard.finish_turn(now);
    }

    /// A client's socket takes bytes again.
    pub fn unstalled(&mut self, now: Now, shard: usize, key: Key) {
        use holdfast_gateway::socket::Socket as _;
        if let Some(socket) = self.shards[shard].shard.socket(key) {
            socket.flush(now);
        }
    }

    /// A client's socket has ended.
    pub fn client_gone(&mut self, now: Now, shard: usize, key: Key) {
        let shard = &mut self.shards[shard].shard;
        shard.closed(now, key, ClosedBy::Client(1000));
        shard.finish_turn(now);
    }

    /// Whether it has anything to do at `now`.
    pub fn is_due(&self, now: Now) -> bool {
        now.ms >= self.frozen_until_ms
            && (now.ms >= self.next_tick_ms
                || now.ms >= self.hub.next_wake_ms()
                || self.queues.iter().any(|queue| !queue.is_empty())
                || self.shards.iter().any(|s| !s.inbox.is_empty() || !s.port.0.borrow().is_empty()))
    }

    /// One turn of hub and shards. Threads run at their own pace: what a turn leaves in a queue, a later one takes.
    pub fn turn(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now) -> u64 {
        let mut events = 0;
        if now.ms >= self.next_tick_ms {
            self.next_tick_ms = now.ms + TICK_MS;
            for thread in &mut self.shards {
                thread.shard.tick(now);
                thread.shard.finish_turn(now);
            }
        }
        for thread in &mut self.shards {
            let take = if rng.chance(700) { usize::MAX } else { rng.index(4) };
            let batch: Vec<ToShard> = thread.inbox.drain(..take.min(thread.inbox.len())).collect();
            events += batch.len() as u64;
            let lone = batch.len() == 1;
            for message in batch {
                if lone {
                    thread.shard.handle_lone(now, message);
                } else {
                    thread.shard.handle(now, message);
                }
            }
            thread.shard.finish_turn(now);
        }
        for index in 0..self.shards.len() {
            let port = self.shards[index].port.clone();
            let take = if rng.chance(700) { usize::MAX } else { rng.index(4) };
            let messages: Vec<ToHub> = {
                let mut queue = port.0.borrow_mut();
                let count = take.min(queue.len());
                queue.drain(..count).collect()
            };
            for message in messages {
                events += 1;
                self.hub.on_shard(now, &mut self.edge, message);
            }
        }
        events += self.read_bus(now);
        self.hub.tick(now, &mut self.edge);
        if !self.is_behind(now) {
            self.hub.note_safe(now);
        }
        self.hub.finish_turn(now, &mut self.edge);
        self.hand_over(bus, rng, now);
        events
    }

    /// Whether shards are so far behind that no more packets are taken.
    const fn is_behind(&self, now: Now) -> bool {
        now.ms < self.behind_until_ms
    }

    fn read_bus(&mut self, now: Now) -> u64 {
        let mut events = 0;
        for priority in 0..self.queues.len() {
            if priority == 2 && self.is_behind(now) {
                continue;
            }
            while let Some(message) = self.queues[priority].pop_front() {
                events += 1;
                match priority {
                    0 => self.hub.on_router_beat(now, &mut self.edge, message.payload),
                    1 => self.hub.on_discover(now, &mut self.edge, message.payload),
                    2 => self.hub.on_node_message(now, &mut self.edge, message.payload, message.reply),
                    _ => {
                        let received = Received {
                            subject: message.subject,
                            payload: message.payload,
                            no_responders: message.no_responders,
                            error: None,
                            status: message.status,
                            headers: message.headers,
                        };
                        self.hub.on_inbox(now, &mut self.edge, received);
                    }
                }
            }
        }
        events
    }

    fn hand_over(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now) {
        for publication in std::mem::take(&mut self.edge.publications) {
            let mut message = Message::new(publication.subject, publication.payload);
            message.reply = publication.reply;
            message.headers = publication.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            bus.publish(now.ms, rng, self.link, message);
        }
        for (shard, message) in std::mem::take(&mut self.edge.to_shards) {
            self.shards[usize::from(shard)].inbox.push_back(message);
        }
    }
}
