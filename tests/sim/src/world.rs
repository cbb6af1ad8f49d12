//! The world of one run: processes, clients and services on one bus, moved through virtual time millisecond by
//! millisecond. What happens is decided by the seed alone.
//!
//! A run goes in rounds: trouble (faults of every kind while work goes on), healing (none new), calm (each promise is
//! checked to the letter, while routers come and go in order), silence (mirror, facts and truth must agree).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use holdfast_gateway::clock;
use holdfast_gateway::handshake::WhenFull;
use holdfast_protocol::close::Close;
use holdfast_protocol::subject::Subjects;
use holdfast_router::core::event;

use crate::Plan;
use crate::acks::Acks;
use crate::bus::{Bus, Link, Weather};
use crate::client::{Client, Memory, Violation};
use crate::facts::Facts;
use crate::gateway::GatewayProcess;
use crate::jetstream::JetStream;
use crate::rng::Rng;
use crate::router::RouterProcess;
use crate::service::Service;
use crate::socket::Wire;

/// What a round is about at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Faults.
    Trouble,
    /// Getting over them.
    Healing,
    /// Promises are checked to the letter.
    Calm,
    /// Nobody does anything; then all views are compared.
    Silence,
}

/// How long each phase takes. Healing outlasts the node time-out, silence the linger.
const TROUBLE_MS: u64 = 12_000;
const HEALING_MS: u64 = 16_000;
const CALM_MS: u64 = 5_000;
const SILENCE_MS: u64 = 10_000;

/// What a run has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events taken by state machines, frames read by clients, operations and faults.
    pub steps: u64,
    /// Virtual milliseconds.
    pub elapsed_ms: u64,
    /// Rounds completed.
    pub rounds: u64,
    /// Messages that services sent.
    pub sent: u64,
    /// Messages that clients got.
    pub delivered: u64,
    /// Deliveries that were promised and checked.
    pub promised: u64,
    /// Receipts that came and were checked.
    pub receipts: u64,
    /// Faults made.
    pub faults: u64,
    /// Kept messages that clients got, …
    pub kept: u64,
    /// … which of them were owed at the end of a silence and looked for, by client and target, …
    pub followed: u64,
    /// … how often clients resumed, …
    pub resumed: u64,
    /// … how often they were told that something is lost …
    pub unrecovered: u64,
    /// … and pages of history.
    pub pages: u64,
    /// Messages that left in rows: several for one socket in one write past its queue, …
    pub in_rows: u64,
    /// … and how many such rows there were.
    pub rows: u64,
    /// Messages to several targets at once.
    pub many: u64,
    /// Messages that clients acknowledged, …
    pub acks: u64,
    /// … and acknowledgements that receipts told of.
    pub acked: u64,
    /// How often a client began to read slowly.
    pub slow: u64,
    /// Messages that clients were owed and did not get: a newer one of the key came, …
    pub replaced: u64,
    /// … or they were told of a gap.
    pub told: u64,
}

impl Totals {
    /// Adds what a client did whose connection has ended.
    pub(crate) fn note_client(&mut self, client: &Client) {
        let wire = client.wire.borrow();
        self.in_rows += wire.in_rows;
        self.rows += wire.rows;
        self.kept += client.kept;
        self.resumed += client.resumed;
        self.unrecovered += client.unrecovered;
        self.pages += client.pages;
    }
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub(crate) rng: Rng,
    /// Decides what only wide work does.
    pub(crate) extra: Rng,
    pub(crate) bus: Bus,
    pub(crate) now_ms: u64,
    pub(crate) phase: Phase,
    phase_ends_ms: u64,
    pub(crate) routers: BTreeMap<u64, RouterProcess>,
    pub(crate) gateways: BTreeMap<u64, GatewayProcess>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) services: Vec<Service>,
    pub(crate) facts: Facts,
    pub(crate) stream: JetStream,
    pub(crate) acks: Acks,
    /// Clients without a connection, that will come back.
    pub(crate) away: Vec<Memory>,
    /// Since when promises hold to the letter; `None` while they do not.
    pub(crate) calm_since_ms: Option<u64>,
    /// When orderly changes began, since calm came; for the story.
    pub(crate) handovers_ms: Vec<u64>,
    /// Links that are cut, and until when.
    pub(crate) cut_until: BTreeMap<Link, u64>,
    pub(crate) weather_until_ms: u64,
    /// When messages last came twice.
    pub(crate) doubled_ms: u64,
    /// The bus is in two parts until then.
    pub(crate) split_until_ms: Option<u64>,
    next_id: u64,
    pub(crate) plan: Plan,
    /// What was done so far.
    pub totals: Totals,
}

impl World {
    /// A world with two routers and three gateways, that begins calm enough to get going.
    pub fn new(plan: Plan) -> Self {
        let mut bus = Bus::new();
        let mut world = Self {
            rng: Rng::new(plan.seed),
            extra: Rng::new(!plan.seed),
            stream: JetStream::new(&mut bus),
            bus,
            acks: Acks::default(),
            away: Vec::new(),
            now_ms: 1000,
            phase: Phase::Healing,
            phase_ends_ms: 1000 + HEALING_MS,
            routers: BTreeMap::new(),
            gateways: BTreeMap::new(),
            clients: BTreeMap::new(),
            services: Vec::new(),
            facts: Facts::default(),
            calm_since_ms: None,
            handovers_ms: Vec::new(),
            cut_until: BTreeMap::new(),
            weather_until_ms: 0,
            doubled_ms: 0,
            split_until_ms: None,
            next_id: 0,
            plan,
            totals: Totals::default(),
        };
        world.facts.subscribe(&mut world.bus, &Subjects::new("hf"));
        for sender in 0..2 {
            let service = Service::new(&mut world.bus, sender);
            world.services.push(service);
        }
        for _ in 0..3 {
            world.start_gateway();
        }
        for _ in 0..2 {
            world.start_router();
        }
        world
    }

    pub(crate) const fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) const fn gateway_now(&self) -> clock::Now {
        clock::Now { ms: self.now_ms, unix_ms: 1_700_000_000_000 + self.now_ms }
    }

    pub(crate) const fn router_now(&self) -> event::Now {
        event::Now { ms: self.now_ms, unix_ms: 1_700_000_000_000 + self.now_ms }
    }

    pub(crate) fn start_router(&mut self) {
        let (id, now) = (self.id(), self.router_now());
        let router = RouterProcess::start(&mut self.bus, &mut self.rng, now);
        self.routers.insert(id, router);
    }

    pub(crate) fn start_gateway(&mut self) {
        let (id, now) = (self.id(), self.gateway_now());
        let other = if self.plan.wide { WhenFull::DropOldest } else { WhenFull::Close };
        let gateway = GatewayProcess::start(&mut self.bus, &mut self.rng, now, [WhenFull::Close, other]);
        self.gateways.insert(id, gateway);
    }

    /// One millisecond.
    ///
    /// # Errors
    /// A promise is broken.
    pub fn step(&mut self) -> Result<(), Violation> {
        self.now_ms += 1;
        self.totals.elapsed_ms += 1;
        self.deliver();
        self.stream.turn(&mut self.bus, &mut self.rng, self.now_ms);
        self.run_processes();
        if let Some(what) = self.plan.sabotage {
            self.sabotage(what);
        }
        self.read_clients()?;
        if self.plan.wide {
            self.acknowledge();
        }
        self.check_expectations()?;
        self.check_doubts()?;
        if self.phase != Phase::Silence {
            self.operate();
            if self.plan.wide {
                self.operate_widely();
            }
        }
        if self.phase == Phase::Trouble {
            self.trouble();
        } else if self.routers.is_empty() {
            self.start_router();
        }
        if self.phase == Phase::Calm && self.rng.below(600) == 0 {
            self.orderly_change();
        }
        if self.phase == Phase::Calm && self.rng.below(2_500) == 0 {
            self.drain();
        }
        self.maintain();
        self.mend();
        if self.now_ms >= self.phase_ends_ms {
            self.next_phase()?;
        }
        Ok(())
    }

    /// What a failure's reader wants to know of the moment.
    pub fn story(&self) -> String {
        let routers: Vec<String> = self
            .routers
            .iter()
            .map(|(id, r)| {
                let gauges = r.core.gauges(self.now_ms);
                format!(
                    "router {id} {} live {} owns {} term {}",
                    r.core.id(),
                    gauges.live,
                    gauges.partitions,
                    gauges.term
                )
            })
            .collect();
        let gateways: Vec<String> = self.gateways.iter().map(|(id, g)| format!("gateway {id} {}", g.node)).collect();
        format!(
            "now {} in {:?}, calm since {:?}, orderly changes at {:?}\n{}\n{}",
            self.now_ms,
            self.phase,
            self.calm_since_ms,
            self.handovers_ms,
            routers.join("\n"),
            gateways.join("\n")
        )
    }

    fn next_phase(&mut self) -> Result<(), Violation> {
        let (next, length_ms) = match self.phase {
            Phase::Trouble => (Phase::Healing, HEALING_MS),
            Phase::Healing => (Phase::Calm, CALM_MS),
            Phase::Calm => (Phase::Silence, SILENCE_MS),
            Phase::Silence => (Phase::Trouble, TROUBLE_MS),
        };
        match next {
            Phase::Healing => self.heal(),
            Phase::Calm => {
                self.calm_since_ms = Some(self.now_ms);
                self.handovers_ms.clear();
                for client in self.clients.values_mut() {
                    client.gaps = 0;
                }
            }
            Phase::Silence if self.plan.wide => self.read_all(),
            Phase::Silence => {}
            Phase::Trouble => {
                self.compare_views()?;
                self.check_kept()?;
                self.calm_since_ms = None;
                self.clients.values_mut().for_each(|client| client.doubts.clear());
                self.totals.rounds += 1;
            }
        }
        self.phase = next;
        self.phase_ends_ms = self.now_ms + length_ms;
        Ok(())
    }

    fn deliver(&mut self) {
        while let Some((link, message)) = self.bus.pop(self.now_ms) {
            if let Some(router) = self.routers.values_mut().find(|router| router.link == link) {
                router.receive(message);
            } else if let Some(gateway) = self.gateways.values_mut().find(|gateway| gateway.link == link) {
                gateway.receive(message);
            } else if let Some(service) = self.services.iter_mut().find(|service| service.link == link) {
                service.receive(self.now_ms, &message);
            } else if link == self.stream.link {
                self.stream.receive(&mut self.bus, &mut self.rng, self.now_ms, message);
            } else if link == self.facts.link {
                self.facts.receive(&message);
            }
        }
    }

    fn run_processes(&mut self) {
        let (router_now, gateway_now) = (self.router_now(), self.gateway_now());
        for router in self.routers.values_mut().filter(|router| router.is_due(router_now)) {
            self.totals.steps += 1 + router.turn(&mut self.bus, &mut self.rng, router_now);
        }
        for gateway in self.gateways.values_mut().filter(|gateway| gateway.is_due(gateway_now)) {
            self.totals.steps += 1 + gateway.turn(&mut self.bus, &mut self.rng, gateway_now);
        }
        let left: Vec<u64> = self.routers.iter().filter(|(_, r)| r.left).map(|(id, _)| *id).collect();
        for id in left {
            if let Some(router) = self.routers.remove(&id) {
                self.bus.disconnect(router.link);
            }
        }
    }

    fn read_clients(&mut self) -> Result<(), Violation> {
        let calm_ms = self.calm_since_ms.unwrap_or(u64::MAX);
        let lenient = move |sent_ms: u64| sent_ms < calm_ms;
        let (mut ended, mut drained, mut heard, mut gapped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, client) in &mut self.clients {
            let (seen, told) = (client.seen.len(), client.gaps);
            self.totals.steps += client.read(self.now_ms, &self.stream, &lenient)?;
            self.totals.delivered += (client.seen.len() - seen) as u64;
            heard.append(&mut client.heard);
            if client.gaps > told {
                gapped.push(*id);
            }
            let is_steady = self.now_ms > client.unsteady_until_ms;
            if !is_steady {
                client.gaps = 0;
            }
            if client.gaps > 0 && self.calm_since_ms.is_some() {
                return Err(Violation(format!("{}: a gap in calm\n{}", client.user, client.diary)));
            }
            let closed = client.wire.borrow().closed;
            if let Some(code) = closed {
                if is_steady && client.goaway.is_none() && self.calm_since_ms.is_some() {
                    return Err(Violation(format!("{}: closed with {code} in calm\n{}", client.user, client.diary)));
                }
                if code == Close::Drain.code() {
                    drained.push(*id);
                }
                ended.push(*id);
            }
        }
        for client in gapped.into_iter().filter_map(|id| self.clients.get(&id)) {
            self.check_gap(client)?;
        }
        for number in heard {
            self.note_heard(number);
        }
        for id in drained {
            self.check_drained(id)?;
        }
        for id in ended {
            self.end_client(id, true);
        }
        Ok(())
    }

    /// Opens a connection for a client that is new, or comes back.
    pub(crate) fn open_client(&mut self, memory: Memory) {
        let now = self.gateway_now();
        let ready = self.gateways.iter().filter(|(_, gateway)| gateway.is_ready(now));
        let ids: Vec<u64> = ready.map(|(id, _)| *id).collect();
        let gateway_id = self.rng.pick(&ids).copied();
        let Some((gateway_id, gateway)) = gateway_id.and_then(|id| Some((id, self.gateways.get_mut(&id)?))) else {
            self.away.push(memory);
            return;
        };
        let wire = Rc::new(RefCell::new(Wire::default()));
        let opened = gateway.open(now, &mut self.rng, &memory.user, memory.own.as_ref(), Rc::clone(&wire));
        let (shard, key, policy) = opened;
        let id = self.id();
        let what = format!("connects to gateway {gateway_id}: {memory:?}");
        let mut client = Client::new(memory, gateway_id, shard, key, wire);
        client.drops_oldest = policy == WhenFull::DropOldest;
        client.diary.note(now.ms, what);
        self.clients.insert(id, client);
    }

    /// Ends a connection; the client may come back.
    pub(crate) fn end_client(&mut self, id: u64, comes_back: bool) {
        let now = self.gateway_now();
        if let Some(client) = self.clients.remove(&id) {
            self.totals.note_client(&client);
            self.note_unread(&client);
            if let Some(gateway) = self.gateways.get_mut(&client.gateway) {
                gateway.client_gone(now, client.shard, client.key);
            }
            if comes_back {
                let wait_ms = if self.rng.chance(300) { self.rng.below(30_000) } else { self.rng.below(3_000) };
                self.away.push(client.memory(self.now_ms + wait_ms));
            }
        }
    }

    /// Makes the bad weather end, cut links whole, and stalled clients read again, each at its time.
    fn mend(&mut self) {
        if self.bus.weather.duplication > 0 {
            self.doubled_ms = self.now_ms;
        }
        if self.now_ms >= self.weather_until_ms {
            self.bus.weather = Weather::default();
        }
        if self.split_until_ms.take_if(|until_ms| *until_ms <= self.now_ms).is_some() {
            self.bus.split(|_| 0);
        }
        let due: Vec<Link> = self.cut_until.iter().filter(|(_, at)| **at <= self.now_ms).map(|(l, _)| *l).collect();
        for link in due {
            self.cut_until.remove(&link);
            self.bus.cut(link, false);
            self.bus_changed(link, true);
        }
    }

    pub(crate) fn bus_changed(&mut self, link: Link, up: bool) {
        let (router_now, gateway_now) = (self.router_now(), self.gateway_now());
        if let Some(router) = self.routers.values_mut().find(|router| router.link == link) {
            router.bus_changed(router_now, up);
        }
        if let Some(gateway) = self.gateways.values_mut().find(|gateway| gateway.link == link) {
            gateway.bus_changed(gateway_now, up);
        }
    }
}
