//! The router's subscriptions, and the one order in which they are read.
//!
//! Each subscription has its own queue, filled in the order in which the server sent things on the one connection. Read
//! from the top until there is nothing, then the next, with nobody filling meanwhile (one thread, no wait between):
//! what reached us before a send has been applied before that send.

use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Message, StatusCode};
use holdfast_daemon::bus::{Bus, BusError, Outgoing, Subscription};
use holdfast_protocol::id::NodeId;
use holdfast_protocol::kept::SUBJECT;
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::token;
use holdfast_protocol::wire::{NodeBeat, RosterBatch, RouterBeat, RouterBound, Whereabouts};

use tokio::time::Instant;

use crate::core::Router;
use crate::core::event::{Event, Now, Request};
use crate::metrics::Metrics;
use crate::service::{MicroService, QUEUE_GROUP};
use crate::traces::{self, Continued, Handled, Traces};

/// Sends taken in one turn: a millisecond's work, then packets leave.
const SENDS_PER_TURN: usize = 256;
/// What a turn may take besides, so that beats come and go in time whatever the messages are like.
const BYTES_PER_TURN: usize = 1 << 20;
const TIME_PER_TURN: Duration = Duration::from_millis(10);
/// Commands and queries taken in one turn.
const REQUESTS_PER_TURN: usize = 64;
/// Internal messages taken in one turn. Far more than come in one; a bound all the same.
const INTERNAL_PER_TURN: usize = 65_536;
/// Messages that wait for the bus before no more work is taken.
const BACKLOG_MAX: usize = 4_096;

/// What a router always listens to.
#[derive(Debug)]
pub struct Inlets {
    router_beats: Subscription,
    rosters: Subscription,
    node_beats: Subscription,
    told: Subscription,
    /// Facts of all routers, about users and about rooms.
    facts: [Subscription; 2],
    pings: Subscription,
    ping_inbox: String,
    discovery: Vec<Subscription>,
}

/// What a router listens to while it handles things. Dropped with all it holds when it stops.
#[derive(Debug)]
pub struct Work {
    commands: Subscription,
    sends: Subscription,
    /// Sends that NATS maps to our section; `None` where there is only one.
    section: Option<Subscription>,
    /// The subject on which one of those was published.
    published: String,
    subjects: Subjects,
    queries: Subscription,
    find: Subscription,
    /// `None` where nothing is kept.
    kept: Option<Subscription>,
}

/// What a turn of reading found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Anything at all.
    pub any: bool,
    /// More may be there than was taken.
    pub more: bool,
    /// The client has ended: nothing will ever come again.
    pub ended: bool,
}

/// What reading needs besides the subscriptions.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Where it goes.
    pub router: &'a mut Router,
    /// Where the time of each turn comes from.
    pub now: Now,
    /// What is counted.
    pub metrics: &'a Metrics,
    /// Who answers discovery.
    pub service: &'a mut MicroService,
    /// Where discovery is answered.
    pub bus: &'a Bus,
    /// Spans of what is handled.
    pub traces: &'a mut Traces,
}

impl Inlets {
    /// Subscribes. `me` and the service's names are this incarnation's.
    ///
    /// # Errors
    /// The client takes no more subscriptions.
    pub async fn open(bus: &Bus, subjects: &Subjects, me: NodeId, service: &MicroService) -> Result<Self, BusError> {
        let ping_inbox = bus.new_inbox();
        let mut discovery = Vec::new();
        for subject in service.discovery_subjects() {
            discovery.push(bus.subscribe(subject, "discovery").await?);
        }
        Ok(Self {
            router_beats: bus.subscribe(subjects.beat_routers(), "router_beats").await?,
            rosters: bus.subscribe(subjects.roster_all(), "rosters").await?,
            node_beats: bus.subscribe(subjects.beat_nodes(), "node_beats").await?,
            told: bus.subscribe(subjects.router(me), "reports").await?,
            facts: [
                bus.subscribe(subjects.event_users(), "facts").await?,
                bus.subscribe(subjects.event_rooms(), "facts").await?,
            ],
            pings: bus.subscribe(format!("{ping_inbox}.*"), "pings").await?,
            ping_inbox,
            discovery,
        })
    }

    /// Where the answer to a ping of `node` shall go.
    pub fn ping_reply(&self, node: NodeId) -> String {
        format!("{}.{node}", self.ping_inbox)
    }

    /// Takes what is there, in order.
    pub fn poll(&mut self, cx: &mut Context<'_>, reading: &mut Reading<'_>, work: Option<&mut Work>) -> Found {
        let mut found = Found::default();
        let internal = INTERNAL_PER_TURN;
        take(&mut self.router_beats, cx, internal, &mut found, |message| {
            reading.decoded("router_beats", RouterBeat::decode(message.payload), Event::RouterBeat);
        });
        take(&mut self.rosters, cx, internal, &mut found, |message| {
            let batch = RosterBatch::decode(message.payload);
            if let Ok(batch) = &batch {
                reading.note_lag(batch.since_ms);
            }
            reading.decoded("rosters", batch, Event::Roster);
        });
        take(&mut self.node_beats, cx, internal, &mut found, |message| {
            reading.decoded("node_beats", NodeBeat::decode(message.payload), Event::NodeBeat);
        });
        let mut budget = Budget::new();
        budget.take(&mut self.told, cx, internal, &mut found, |message| {
            reading.decoded("reports", RouterBound::decode(message.payload), Event::Told);
        });
        take(&mut self.pings, cx, internal, &mut found, |message| reading.pinged(&message));
        budget = Budget::new();
        for facts in &mut self.facts {
            budget.take(facts, cx, internal, &mut found, |message| reading.told(&message));
        }
        if let Some(work) = work
            && reading.bus.backlog() <= BACKLOG_MAX
        {
            work.poll(cx, reading, &mut budget, &mut found);
        }
        for subscription in &mut self.discovery {
            take(subscription, cx, REQUESTS_PER_TURN, &mut found, |message| reading.discovered(&message));
        }
        found
    }
}

impl Work {
    /// Subscribes to sends, commands, queries, and where there are any to `kept` messages.
    ///
    /// # Errors
    /// The client takes no more subscriptions.
    pub async fn open(bus: &Bus, subjects: &Subjects, section: Option<usize>, kept: bool) -> Result<Self, BusError> {
        let section = match section {
            Some(section) => Some(bus.subscribe(subjects.section_all(section), "send").await?),
            None => None,
        };
        let kept = if kept { Some(bus.subscribe(subjects.kept_all(), "kept").await?) } else { None };
        Ok(Self {
            kept,
            section,
            published: String::new(),
            subjects: subjects.clone(),
            commands: bus.subscribe(subjects.ctl_all(), "ctl").await?,
            sends: bus.subscribe(subjects.send_all(), "send").await?,
            queries: bus.queue_subscribe(subjects.query(">"), QUEUE_GROUP.to_owned(), "query").await?,
            find: bus.queue_subscribe(subjects.find(), QUEUE_GROUP.to_owned(), "find").await?,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>, reading: &mut Reading<'_>, budget: &mut Budget, found: &mut Found) {
        let Self { commands, sends, section, published, subjects, queries, find, kept } = self;
        budget.take(commands, cx, REQUESTS_PER_TURN, found, |message| reading.requested(&message, Traffic::Ctl));
        budget.take(sends, cx, SENDS_PER_TURN, found, |message| reading.requested(&message, Traffic::Send));
        if let Some(section) = section {
            *budget = Budget::new();
            budget.take(section, cx, SENDS_PER_TURN, found, |message| {
                if subjects.published(&message.subject, published) {
                    reading.requested_on(&message, published, Traffic::SectionSend);
                }
            });
        }
        // The others have a share of their own: a flood of sends must not shut them out.
        *budget = Budget::new();
        if let Some(kept) = kept {
            budget.take(kept, cx, SENDS_PER_TURN, found, |message| reading.requested(&message, Traffic::Kept));
        }
        *budget = Budget::new();
        budget.take(queries, cx, REQUESTS_PER_TURN, found, |message| {
            let started = Instant::now();
            reading.service.note_query(&message.subject, message.reply.as_deref(), started);
            reading.requested(&message, Traffic::Query);
        });
        budget.take(find, cx, REQUESTS_PER_TURN, found, |message| reading.asked_where(&message));
    }
}

/// What is left of a turn.
struct Budget {
    until: Instant,
    bytes: usize,
}

impl Budget {
    fn new() -> Self {
        Self { until: Instant::now() + TIME_PER_TURN, bytes: BYTES_PER_TURN }
    }

    /// Takes at most `limit` messages, and none once the budget is used up.
    fn take(
        &mut self,
        subscription: &mut Subscription,
        cx: &mut Context<'_>,
        limit: usize,
        found: &mut Found,
        mut handle: impl FnMut(Message),
    ) {
        for _ in 0..limit {
            if self.bytes == 0 || Instant::now() >= self.until {
                break;
            }
            let Some(message) = next(subscription, cx, found) else { return };
            self.bytes = self.bytes.saturating_sub(message.payload.len());
            handle(message);
        }
        // What may be left over is looked for in the next turn, which does not wait.
        found.any = true;
        found.more = true;
    }
}

/// Takes at most `limit` messages of one subscription.
fn take(
    subscription: &mut Subscription,
    cx: &mut Context<'_>,
    limit: usize,
    found: &mut Found,
    mut handle: impl FnMut(Message),
) {
    for _ in 0..limit {
        let Some(message) = next(subscription, cx, found) else { return };
        handle(message);
    }
    found.more = true;
}

/// The next message that is there.
fn next(subscription: &mut Subscription, cx: &mut Context<'_>, found: &mut Found) -> Option<Message> {
    match subscription.poll_next(cx) {
        Poll::Ready(Some(message)) => {
            found.any = true;
            Some(message)
        }
        Poll::Ready(None) => {
            found.ended = true;
            None
        }
        Poll::Pending => None,
    }
}

/// What domain services send us.
#[derive(Debug, Clone, Copy)]
enum Traffic {
    Ctl,
    Send,
    SectionSend,
    Query,
    Kept,
}

/// The subject a stored message was published on.
fn kept_subject(message: &Message) -> &str {
    let stored = message.headers.as_ref().and_then(|headers| headers.get(SUBJECT));
    stored.map_or(&message.subject, |subject| subject.as_str())
}

impl Reading<'_> {
    fn decoded<T>(
        &mut self,
        class: &'static str,
        message: Result<T, holdfast_protocol::wire::WireError>,
        event: impl FnOnce(T) -> Event<'static>,
    ) {
        match message {
            Ok(message) => self.router.apply(self.now, event(message)),
            Err(error) => {
                self.metrics.malformed(class);
                tracing::debug!(%error, class, "Internal message is not readable");
            }
        }
    }

    fn note_lag(&self, since_ms: u64) {
        let lag = self.now.unix_ms.saturating_sub(since_ms);
        self.metrics.lag.observe(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)) / 1000.0);
    }

    fn requested(&mut self, message: &Message, traffic: Traffic) {
        self.requested_on(message, &message.subject, traffic);
    }

    /// `subject` is that on which it was published.
    fn requested_on(&mut self, message: &Message, subject: &str, traffic: Traffic) {
        let span = match traffic {
            Traffic::Ctl | Traffic::Send | Traffic::SectionSend => traces::begin(message, subject),
            Traffic::Kept => traces::begin(message, kept_subject(message)),
            Traffic::Query => None,
        };
        let before = span.as_ref().map(|_| Handled::by(self.router));
        let headers = Continued::new(message.headers.as_ref(), span.as_ref());
        let request =
            Request { subject, reply: message.reply.as_deref(), headers: &headers, payload: &message.payload };
        let event = match traffic {
            Traffic::Ctl => Event::Ctl(request),
            Traffic::Send => Event::Send(request),
            Traffic::SectionSend => Event::SectionSend(request),
            Traffic::Query => Event::Query(request),
            Traffic::Kept => Event::Kept(request),
        };
        self.router.apply(self.now, event);
        if let (Some(span), Some(before)) = (span, before) {
            self.traces.keep(span, before, self.router);
        }
    }

    fn told(&mut self, fact: &Message) {
        self.router.apply(self.now, Event::Fact { subject: &fact.subject, body: &fact.payload });
    }

    fn pinged(&mut self, message: &Message) {
        let Some(node) = message.subject.rsplit('.').next().and_then(NodeId::parse) else { return };
        let missing = message.status == Some(StatusCode::NO_RESPONDERS);
        let event = if missing { Event::NodeMissing(node) } else { Event::NodeAnswered(node) };
        self.router.apply(self.now, event);
    }

    /// A gateway wants to know where a session over HTTP is.
    fn asked_where(&self, message: &Message) {
        let (Some(reply), Ok(name)) = (&message.reply, std::str::from_utf8(&message.payload)) else { return };
        if !token::is_reserved(name) {
            self.metrics.malformed("find");
            return;
        }
        let (subject, places) = (reply.as_str().to_owned(), Whereabouts { nodes: self.router.places_of(name) });
        let answer = Outgoing { subject, payload: places.encode(), ..Default::default() };
        if let Err(error) = self.bus.try_publish(answer) {
            tracing::debug!(%error, "A gateway is not told where a session is");
        }
    }

    fn discovered(&self, message: &Message) {
        let Some((reply, payload)) = message.reply.as_ref().zip(self.service.discover(&message.subject)) else {
            return;
        };
        let subject = reply.as_str().to_owned();
        if let Err(error) = self.bus.try_publish(Outgoing { subject, payload, ..Default::default() }) {
            tracing::debug!(%error, "Discovery is not answered");
        }
    }
}
