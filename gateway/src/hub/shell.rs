//! The asynchronous side of the hub: subscriptions, channels and timers around the synchronous core.
//!
//! One task polls everything in a fixed order and to the end (`coop::unconstrained`): what routers said of themselves
//! before what they send, acknowledgements before what depends on them. Each subscription is filled in the order of the
//! wire, so whatever reached us before a packet has been applied before it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use holdfast_daemon::bus::{Bus, BusError, Subscription};
use holdfast_daemon::shutdown::Shutdown;
use holdfast_protocol::close::Close;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::core::Hub;
use super::edge::{Edge, Publication};
use super::ending::{Push, Stage};
use super::life::Serving;
use super::memory::Guard;
use super::orders::Order;
pub use super::orders::{Given, Orders, orders};
use super::outside::{Outside, received};
pub use super::readiness::Conditions;
use super::requests::{Asked, BusRequests, QUEUE};
use super::subscriptions::Subscriptions;
use crate::admission::Door;
use crate::auth::Authenticator;
use crate::clock::{Clock, Now};
use crate::link::{ToHub, ToShard};
use crate::metrics::HubCells;

/// Batches of one shard's turn that may wait for the hub; a shard that finds no place keeps its own and reads no more
/// from clients.
pub const TO_HUB_QUEUE: usize = 256;
/// Batches that may wait for a shard; what is beyond stays in the hub's backlog.
pub const TO_SHARD_QUEUE: usize = 64;
/// Messages taken from one subscription in a turn: a bound on the work between two flushes.
const TAKE_MAX: usize = 2048;
/// How long connections may take to close after the order to close at once.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// The hub's ends of the channels.
#[derive(Debug)]
pub struct Channels {
    /// All shards send here, one batch per turn.
    pub from_shards: mpsc::Receiver<Vec<ToHub>>,
    /// One per shard.
    pub to_shards: Vec<mpsc::Sender<Vec<ToShard>>>,
}

/// What the shell needs beside the core.
#[derive(Debug)]
pub struct Parts {
    /// The core.
    pub hub: Hub,
    /// The bus, connecting or connected.
    pub bus: Bus,
    /// Counters of the hub's thread.
    pub cells: Arc<HubCells>,
    /// Channels.
    pub channels: Channels,
    /// The process's clock.
    pub clock: Clock,
    /// Verifies what shards cannot; set once it exists.
    pub authenticator: Authenticator,
    /// The other end of [`requests`].
    pub requests: Requests,
    /// The other end of [`orders`].
    pub orders: Given,
    /// `/readyz`.
    pub conditions: Conditions,
    /// Cancelled to stop accepting.
    pub accepting: CancellationToken,
    /// Closed to newcomers while the node is short of memory.
    pub door: Arc<Door>,
    /// Memory that the process may use; 0 is no bound.
    pub memory_bytes_max: u64,
    /// How a shutdown goes.
    pub drain: DrainSettings,
}

/// How an orderly shutdown goes.
#[derive(Debug, Clone, Copy)]
pub struct DrainSettings {
    /// Unready, but still accepting.
    pub delay: Duration,
    /// How long closing, paced, may take at the most; what is left then is closed at once.
    pub closing: Duration,
}

/// The hub's end of [`BusRequests`].
#[derive(Debug)]
pub struct Requests {
    /// Handshakes send, the hub receives.
    asked: mpsc::Receiver<Asked>,
    serving: watch::Sender<Serving>,
}

/// A handle for handshakes, and the hub's end of it.
pub fn requests() -> (BusRequests, Requests) {
    let (sender, asked) = mpsc::channel(QUEUE);
    let (serving, receiver) = watch::channel(Serving::NoBus);
    (BusRequests::new(sender, receiver), Requests { asked, serving })
}

/// The running hub.
struct Shell {
    hub: Hub,
    outside: Outside,
    subscriptions: Subscriptions,
    from_shards: mpsc::Receiver<Vec<ToHub>>,
    requests: Requests,
    orders: Given,
    conditions: Conditions,
    guard: Guard,
    clock: Clock,
    timer: Pin<Box<Sleep>>,
    stalled: bool,
}

/// Subscribes and serves until a shutdown is through: everybody closed, or out of patience. `ready` is called once, when
/// the bus stands and all subscriptions are made.
///
/// # Errors
/// A subscription could not be made, which only a wrong prefix brings about.
pub async fn run(parts: Parts, shutdown: &Shutdown, ready: impl FnOnce()) -> Result<(), BusError> {
    let (accepting, drain, mut status) = (parts.accepting.clone(), parts.drain, parts.bus.status());
    let mut shell = Shell::new(parts).await?;
    let mut ready = Some(ready);
    let mut seen = (false, 0);
    let mut stage = Stage::Serving;
    while stage != Stage::Over {
        let present = {
            let status = status.borrow_and_update();
            (status.connected, status.losses)
        };
        if present != seen {
            shell.bus_changed(seen, present);
            seen = present;
            if let Some(ready) = ready.take_if(|_| present.0) {
                ready();
            }
        }
        let push = tokio::select! {
            biased;
            changed = status.changed() => {
                if changed.is_err() { break }
                continue;
            }
            () = shutdown.second(), if !matches!(stage, Stage::Closing(_)) => Push::SecondSignal,
            () = shutdown.first(), if stage == Stage::Serving => Push::FirstSignal,
            () = at(stage.until()) => Push::TimeOver,
            () = shell.turns(stage.is_closing()) => Push::AllGone,
        };
        stage = shell.push(stage, push, drain, &accepting);
    }
    shell.leave().await;
    Ok(())
}

async fn at(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl Shell {
    async fn new(parts: Parts) -> Result<Self, BusError> {
        let Parts { hub, bus, cells, channels, clock, authenticator, requests, orders, conditions, .. } = parts;
        let guard = Guard::new(parts.memory_bytes_max, parts.door);
        let subscriptions = Subscriptions::open(&bus, &hub).await?;
        let outside = Outside {
            bus,
            cells,
            backlogs: channels.to_shards.iter().map(|_| Vec::new()).collect(),
            to_shards: channels.to_shards,
            callers: HashMap::new(),
            next_caller: 0,
            authenticator,
            clock,
            verifying: FuturesUnordered::new(),
        };
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let from_shards = channels.from_shards;
        Ok(Self {
            hub,
            outside,
            subscriptions,
            from_shards,
            requests,
            orders,
            conditions,
            guard,
            clock,
            timer,
            stalled: false,
        })
    }

    /// The next stage of a shutdown.
    fn push(&mut self, stage: Stage, push: Push, drain: DrainSettings, accepting: &CancellationToken) -> Stage {
        match (push, stage) {
            (Push::AllGone, _) | (Push::TimeOver, Stage::Serving | Stage::Closing(_) | Stage::Over) => Stage::Over,
            (Push::FirstSignal, _) => {
                self.announce_drain();
                Stage::Announced(Instant::now() + drain.delay)
            }
            (Push::TimeOver, Stage::Announced(_)) => {
                accepting.cancel();
                self.start_drain();
                Stage::Draining(Instant::now() + drain.closing)
            }
            (Push::SecondSignal, _) | (Push::TimeOver, Stage::Draining(_)) => {
                accepting.cancel();
                self.close_all();
                Stage::Closing(Instant::now() + CLOSE_GRACE)
            }
        }
    }

    fn bus_changed(&mut self, before: (bool, u64), after: (bool, u64)) {
        let now = self.clock.now();
        self.hub.limit_payload(self.outside.bus.max_payload());
        // A loss between two looks is still a loss.
        if before.0 && after.1 != before.1 {
            tracing::warn!("The bus is away");
            self.hub.on_bus(now, &mut self.outside, false);
        }
        if before.0 != after.0 || after.1 != before.1 {
            self.hub.on_bus(now, &mut self.outside, after.0);
        }
        self.end_turn(now);
    }

    fn announce_drain(&mut self) {
        let now = self.clock.now();
        self.hub.announce_drain(now, &mut self.outside);
        self.end_turn(now);
    }

    fn start_drain(&mut self) {
        let now = self.clock.now();
        tracing::info!("Closing connections");
        self.hub.start_drain(now, &mut self.outside);
        self.end_turn(now);
    }

    fn close_all(&mut self) {
        let now = self.clock.now();
        tracing::info!("Closing all connections at once");
        self.hub.close_all(&mut self.outside, Close::Drain);
        self.end_turn(now);
    }

    /// The last words, and a moment for them to leave.
    async fn leave(&mut self) {
        let now = self.clock.now();
        while let Ok(batch) = self.from_shards.try_recv() {
            for message in batch {
                self.hub.on_shard(now, &mut self.outside, message);
            }
        }
        self.hub.leave(now, &mut self.outside);
        self.end_turn(now);
        if let Err(error) = self.outside.bus.flush(Duration::from_secs(2)).await {
            tracing::warn!(%error, "Could not take leave of the bus");
        }
    }

    /// Turns for ever, or while a shutdown closes, until every shard is empty. Cancel safe: a turn is never left half way.
    async fn turns(&mut self, closing: bool) {
        let all = poll_fn(|cx| {
            self.turn(cx);
            if closing && self.hub.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::task::coop::unconstrained(all).await;
    }

    /// One turn: everything that is there, in order. The task is woken for the next.
    fn turn(&mut self, cx: &mut Context<'_>) {
        let now = self.clock.now();
        let mut more = self.read_bus(cx, now);
        more |= self.read_process(cx, now);
        if self.timer.as_mut().poll(cx).is_ready() || now.ms >= self.hub.next_wake_ms() {
            self.hub.tick(now, &mut self.outside);
        }
        self.guard.look(now, &mut self.hub, &mut self.outside);
        if !more && !self.stalled {
            self.hub.note_safe(now);
        }
        self.end_turn(now);
        // A shard without place for its backlog is asked again in a moment; it never waits for the hub.
        let wake_ms = if self.outside.is_waiting() { 0 } else { self.hub.next_wake_ms() };
        let wake = self.clock.instant(wake_ms.max(now.ms + 1));
        self.timer.as_mut().reset(wake.into());
        if self.timer.as_mut().poll(cx).is_ready() || more {
            cx.waker().wake_by_ref();
        }
    }

    /// True where a subscription may have more.
    fn read_bus(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        let (hub, edge, subscriptions) = (&mut self.hub, &mut self.outside, &mut self.subscriptions);
        let mut more = take(&mut subscriptions.beats, cx, |message| hub.on_router_beat(now, edge, message.payload));
        more |= take(&mut subscriptions.discover, cx, |message| hub.on_discover(now, edge, message.payload));
        if edge.is_behind() {
            if !std::mem::replace(&mut self.stalled, true) {
                edge.cells.bus_stalls.add(1);
            }
        } else {
            self.stalled = false;
            more |= take(&mut subscriptions.node, cx, |message| {
                let reply = message.reply.map(|reply| reply.to_string());
                hub.on_node_message(now, edge, message.payload, reply);
            });
        }
        more |= take(&mut subscriptions.inbox, cx, |message| hub.on_inbox(now, edge, received(message)));
        more |= take(&mut subscriptions.exchanges, cx, |message| {
            let reply = message.reply.map(|reply| reply.to_string());
            hub.on_exchange_message(edge, message.payload, reply);
        });
        more
    }

    fn read_process(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        let mut more = true;
        for _ in 0..TAKE_MAX {
            let Poll::Ready(Some(batch)) = self.from_shards.poll_recv(cx) else {
                more = false;
                break;
            };
            for message in batch {
                self.hub.on_shard(now, &mut self.outside, message);
            }
        }
        while let Poll::Ready(Some(asked)) = self.requests.asked.poll_recv(cx) {
            let caller = self.outside.next_caller;
            self.outside.next_caller += 1;
            self.outside.callers.insert(caller, asked.answer);
            let message = Publication::plain(asked.subject, asked.payload);
            let timeout_ms = u64::try_from(asked.timeout.as_millis()).unwrap_or(u64::MAX);
            self.hub.request(now, &mut self.outside, caller, message, timeout_ms);
        }
        while let Poll::Ready(Some(Order { command, affected })) = self.orders.0.poll_recv(cx) {
            // Nobody may wait any more: it is carried out all the same.
            affected.send(self.hub.on_order(now, &mut self.outside, &command)).unwrap_or_default();
        }
        while let Poll::Ready(Some((conn, ticket, result))) = self.outside.verifying.poll_next_unpin(cx) {
            self.outside.to_shard(conn.shard, ToShard::Verified { conn, ticket, result });
        }
        more
    }

    fn end_turn(&mut self, now: Now) {
        self.hub.finish_turn(now, &mut self.outside);
        self.outside.hand_over();
        let serving = self.hub.serving(now);
        self.requests.serving.send_if_modified(|before| std::mem::replace(before, serving) != serving);
        let bus = || *self.outside.bus.status().borrow();
        self.conditions.show(serving, self.hub.is_draining(), self.guard.is_pressed(), bus);
    }
}

/// Gives each message that is there to `apply`, up to a bound; true if that was reached.
fn take(subscription: &mut Subscription, cx: &mut Context<'_>, mut apply: impl FnMut(Message)) -> bool {
    for _ in 0..TAKE_MAX {
        match subscription.poll_next(cx) {
            Poll::Ready(Some(message)) => apply(message),
            Poll::Ready(None) | Poll::Pending => return false,
        }
    }
    true
}
