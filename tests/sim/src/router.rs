//! One router on the simulated bus: what the real shell does with NATS, done with the simulated one.

use std::collections::VecDeque;

use holdfast_protocol::id::NodeId;
use holdfast_protocol::kept;
use holdfast_protocol::send::Headers;
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::wire::{NodeBeat, RosterBatch, RouterBeat, RouterBound};
use holdfast_router::core::Router;
use holdfast_router::core::event::{Action, Event, Now, Request};
use holdfast_router::core::settings::Settings;

use serde_json::Value;

use crate::bus::{Bus, Link, Message, matches};
use crate::jetstream::{CREATE, STREAM};
use crate::rng::Rng;

/// What the bus calls the largest message.
const MAX_PAYLOAD: usize = 1 << 20;
/// How often the real shell ticks at least.
const TICK_MS: u64 = 50;
/// How often the real keeper looks at the stream.
const LOOK_EVERY_MS: u64 = 2_000;
/// How long a read may take in all.
const READ_WITHIN_MS: u64 = 1_000;
/// The keeper's queue: what it heard is told once the copies that came before have been read.
const KEEPER: usize = 7;

struct MessageHeaders<'a>(&'a Message);

impl Headers for MessageHeaders<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        for (name, value) in &self.0.headers {
            visit(name, value);
        }
    }
}

/// Who looks at the stream of kept messages, as the real keeper does beside the loop.
#[derive(Debug, Default)]
struct Keeper {
    /// Counts the times that the router began to listen.
    listening: u64,
    next_look_ms: u64,
    made: u64,
    /// Looks that were asked for besides.
    again: u64,
    read: Option<ReadBack>,
}

/// A read of messages whose copies did not come, as the real shell does it: one by one from the leader.
#[derive(Debug)]
struct ReadBack {
    number: u64,
    from: u64,
    next: u64,
    to: u64,
    until_ms: u64,
    /// Subject, sequence and copy.
    found: Vec<(String, u64, Message)>,
}

/// A router process.
#[derive(Debug)]
pub struct RouterProcess {
    /// Its connection to the bus.
    pub link: Link,
    /// The router.
    pub core: Router,
    subjects: Subjects,
    inbox: String,
    /// One queue per priority, as the shell polls its subscriptions. The last is the keeper's.
    queues: [VecDeque<Message>; KEEPER + 1],
    working: bool,
    keeper: Keeper,
    next_tick_ms: u64,
    /// Stopped by a signal until this moment.
    pub frozen_until_ms: u64,
    /// Has left in order.
    pub left: bool,
}

impl RouterProcess {
    /// Starts a router.
    pub fn start(bus: &mut Bus, rng: &mut Rng, now: Now) -> Self {
        let link = bus.connect();
        let subjects = Subjects::new("hf");
        let me = NodeId::router(rng.bytes8());
        let settings = Settings { hash_seed: rng.next(), ..Settings::default() };
        let inbox = format!("_INBOX.{me}");
        for subject in [
            subjects.beat_routers(),
            subjects.beat_nodes(),
            subjects.roster_all(),
            subjects.router(me),
            subjects.event_users(),
            subjects.event_rooms(),
            format!("{inbox}.>"),
        ] {
            bus.subscribe(link, subject);
        }
        let mut core = Router::new(me, settings);
        core.apply(now, Event::BusUp { max_payload: MAX_PAYLOAD });
        Self {
            link,
            core,
            subjects,
            inbox,
            queues: Default::default(),
            working: false,
            keeper: Keeper::default(),
            next_tick_ms: now.ms,
            frozen_until_ms: 0,
            left: false,
        }
    }

    /// The bus delivers.
    pub fn receive(&mut self, message: Message) {
        let s = &message.subject;
        let queue = if *s == self.subjects.beat_routers() {
            0
        } else if *s == self.subjects.beat_nodes() || matches(&self.subjects.roster_all(), s) {
            1
        } else if matches(&self.subjects.ctl_all(), s) {
            3
        } else if matches(&self.subjects.send_all(), s) {
            4
        } else if matches(&self.subjects.kept_all(), s) {
            5
        } else if self.subjects.strip(s, "query").is_some() {
            6
        } else if s.strip_prefix(&self.inbox).is_some_and(|rest| rest.starts_with(".look")) {
            KEEPER
        } else {
            2
        };
        self.queues[queue].push_back(message);
    }

    /// The connection to the bus broke or came back.
    pub fn bus_changed(&mut self, now: Now, up: bool) {
        if !up {
            self.queues = Default::default();
        }
        self.core.apply(now, if up { Event::BusUp { max_payload: MAX_PAYLOAD } } else { Event::BusDown });
    }

    /// Whether it has anything to do at `now`.
    pub fn is_due(&self, now: Now) -> bool {
        now.ms >= self.frozen_until_ms
            && (now.ms >= self.next_tick_ms
                || now.ms >= self.keeper.next_look_ms
                || self.keeper.read.as_ref().is_some_and(|read| now.ms >= read.until_ms)
                || self.queues.iter().any(|queue| !queue.is_empty()))
    }

    /// One turn of its loop. Returns how many events it took.
    pub fn turn(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now) -> u64 {
        let mut events = 0;
        if now.ms >= self.next_tick_ms {
            self.next_tick_ms = now.ms + TICK_MS;
            self.core.apply(now, Event::Tick);
        }
        if now.ms >= self.keeper.next_look_ms {
            self.look(bus, rng, now);
        }
        if self.keeper.read.as_ref().is_some_and(|read| now.ms >= read.until_ms) {
            self.end_read(now, false);
        }
        for priority in 0..self.queues.len() {
            if (3..KEEPER).contains(&priority) && !self.core.takes_work(now) {
                continue;
            }
            while let Some(message) = self.queues[priority].pop_front() {
                events += 1;
                if priority == KEEPER {
                    self.looked(bus, rng, now, &message);
                } else {
                    self.take(now, priority, &message);
                }
            }
        }
        let mut actions = Vec::new();
        self.core.end_turn(now, 1024, &mut actions);
        for action in actions {
            self.perform(bus, rng, now, action);
        }
        events
    }

    fn take(&mut self, now: Now, priority: usize, message: &Message) {
        let payload = message.payload.clone();
        let headers = MessageHeaders(message);
        let request = Request {
            subject: &message.subject,
            reply: message.reply.as_deref(),
            headers: &headers,
            payload: &message.payload,
        };
        let event = match priority {
            0 => RouterBeat::decode(payload).map(Event::RouterBeat).ok(),
            1 if message.subject == self.subjects.beat_nodes() => NodeBeat::decode(payload).map(Event::NodeBeat).ok(),
            1 => RosterBatch::decode(payload).map(Event::Roster).ok(),
            2 if self.subjects.strip(&message.subject, "event").is_some() => {
                Some(Event::Fact { subject: &message.subject, body: &message.payload })
            }
            2 => match message.subject.strip_prefix(&self.inbox) {
                Some(node) => NodeId::parse(node.trim_start_matches('.')).map(|node| {
                    if message.no_responders { Event::NodeMissing(node) } else { Event::NodeAnswered(node) }
                }),
                None => RouterBound::decode(payload).map(Event::Told).ok(),
            },
            3 => Some(Event::Ctl(request)),
            4 => Some(Event::Send(request)),
            5 => Some(Event::Kept(request)),
            _ => Some(Event::Query(request)),
        };
        if let Some(event) = event {
            self.core.apply(now, event);
        }
    }

    fn perform(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now, action: Action) {
        let mut publish = |message: Message| {
            bus.publish(now.ms, rng, self.link, message);
        };
        match action {
            Action::ToNode(node, bytes) => publish(Message::new(self.subjects.node(node), bytes)),
            Action::Ping(node) => {
                let ping = holdfast_protocol::wire::NodeBound::Ping.encode();
                let mut message = Message::new(self.subjects.node(node), ping);
                message.reply = Some(format!("{}.{node}", self.inbox));
                publish(message);
            }
            Action::Beat(bytes) => publish(Message::new(self.subjects.beat_routers(), bytes)),
            Action::Discover(bytes) => publish(Message::new(self.subjects.discover(), bytes)),
            Action::Publish { subject, payload } => publish(Message::new(subject, payload)),
            Action::Answer { to, body } => {
                let mut message = Message::new(to, body.clone().unwrap_or_default());
                if let Err(error) = body {
                    message.headers.push(("Nats-Service-Error-Code".to_owned(), error.code.to_string()));
                }
                publish(message);
            }
            Action::Fact { subject, body } => publish(Message::new(subject, body)),
            Action::OpenWork => {
                self.working = true;
                bus.subscribe(self.link, self.subjects.send_all());
                bus.subscribe(self.link, self.subjects.ctl_all());
                bus.subscribe(self.link, self.subjects.kept_all());
                self.keeper.listening += 1;
                self.keeper.next_look_ms = now.ms;
            }
            Action::CloseWork => {
                self.working = false;
                bus.unsubscribe(self.link, &self.subjects.send_all());
                bus.unsubscribe(self.link, &self.subjects.ctl_all());
                bus.unsubscribe(self.link, &self.subjects.kept_all());
                for queue in &mut self.queues[3..6] {
                    queue.clear();
                }
            }
            Action::LookAtStream => {
                self.keeper.again += 1;
                self.keeper.next_look_ms = now.ms;
            }
            Action::ReadKept { number, from, to } => {
                let until_ms = now.ms + READ_WITHIN_MS;
                self.keeper.read = Some(ReadBack { number, from, next: from, to, until_ms, found: Vec::new() });
                self.read_on(bus, rng, now);
            }
            Action::Left => self.left = true,
        }
    }

    /// Asks the leader for the next message of a read.
    fn read_on(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now) {
        let Some(ReadBack { number, next, .. }) = self.keeper.read else { return };
        let body = serde_json::json!({ "seq": next, "next_by_subj": self.subjects.keep_all() });
        let mut message = Message::new(kept::leader_get(STREAM), body.to_string().into());
        message.reply = Some(format!("{}.look.read.{number}", self.inbox));
        bus.publish(now.ms, rng, self.link, message);
    }

    /// What the leader said: a message, or that there is none.
    fn read_came(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now, message: &Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let Some(read) = self.keeper.read.as_mut().filter(|read| Some(read.number) == number) else { return };
        let answer: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let found = &answer["message"];
        let Some(seq) = found["seq"].as_u64().filter(|seq| *seq <= read.to) else {
            self.end_read(now, true);
            return;
        };
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let before = read.found.iter().rfind(|(subject, ..)| *subject == text("subject"));
        let before = before.map_or(read.from - 1, |(_, seq, _)| *seq);
        let mut copy = Message::new(text("subject"), text("data").into());
        copy.headers = serde_json::from_value(found["hdrs"].clone()).unwrap_or_default();
        copy.headers.extend([
            (kept::SUBJECT.to_owned(), text("subject")),
            (kept::SEQUENCE.to_owned(), seq.to_string()),
            (kept::LAST_SEQUENCE.to_owned(), before.to_string()),
            (kept::TIME_STAMP.to_owned(), text("time")),
        ]);
        read.found.push((text("subject"), seq, copy));
        read.next = seq + 1;
        if read.next > read.to {
            self.end_read(now, true);
        } else {
            self.read_on(bus, rng, now);
        }
    }

    fn end_read(&mut self, now: Now, whole: bool) {
        let Some(read) = self.keeper.read.take() else { return };
        let headers: Vec<_> = read.found.iter().map(|(.., it)| MessageHeaders(it)).collect();
        let copies: Vec<_> = read
            .found
            .iter()
            .zip(&headers)
            .map(|((.., it), headers)| Request { subject: &it.subject, reply: None, headers, payload: &it.payload })
            .collect();
        self.core.apply(now, Event::KeptRead { number: read.number, whole, copies: &copies });
    }

    /// Asks the stream about itself.
    fn look(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now) {
        self.keeper.next_look_ms = now.ms + LOOK_EVERY_MS;
        self.ask_stream(bus, rng, now, kept::stream_info(STREAM), String::new());
    }

    fn ask_stream(&self, bus: &mut Bus, rng: &mut Rng, now: Now, subject: String, body: String) {
        let mut message = Message::new(subject, body.into());
        let Keeper { listening, again, .. } = self.keeper;
        message.reply = Some(format!("{}.look.{}", self.inbox, listening + again));
        bus.publish(now.ms, rng, self.link, message);
    }

    /// What it said; where there is no stream, one is made.
    fn looked(&mut self, bus: &mut Bus, rng: &mut Rng, now: Now, message: &Message) {
        if message.subject.contains(".look.read.") {
            self.read_came(bus, rng, now, message);
            return;
        }
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let Ok(info) = serde_json::from_slice::<Value>(&message.payload) else { return };
        match (info["config"]["metadata"][kept::EPOCH_METADATA].as_str(), info["state"]["last_seq"].as_u64()) {
            (Some(epoch), Some(last)) => {
                let heard = number == Some(self.keeper.listening + self.keeper.again);
                let created_ms = info["created"].as_str().and_then(kept::unix_ms).unwrap_or(0);
                self.core.apply(now, Event::Stream { epoch, last, created_ms, heard });
            }
            _ => {
                self.keeper.made += 1;
                let epoch = format!("{}-{}", self.core.id(), self.keeper.made);
                self.ask_stream(bus, rng, now, CREATE.to_owned(), epoch);
            }
        }
    }

    /// Begins to leave in order.
    pub fn leave(&mut self, now: Now) {
        self.core.apply(now, Event::Leave);
    }
}
