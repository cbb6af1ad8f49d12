//! The loop between bus and core: reads what came, lets the core decide, does what it wants.
//!
//! Runs on a runtime of one thread, the one that reads the bus too: see [`inlets`](crate::inlets) for why.

mod perform;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use holdfast_daemon::admin::Condition;
use holdfast_daemon::bus::{Bus, BusError, BusStatus};
use holdfast_daemon::ready::Ready;
use holdfast_daemon::shutdown::Shutdown;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::subject::Subjects;
use tokio::sync::watch;
use tokio::task::{coop, yield_now};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::clock::Clock;
use crate::core::Router;
use crate::core::event::{Action, Event, Now};
use crate::inlets::{Found, Inlets, Reading, Work};
use crate::metrics::Metrics;
use crate::service::MicroService;
use crate::stream::KeptShell;
use crate::traces::Traces;

/// Time-outs are noticed this late at most.
const TICK: Duration = Duration::from_millis(20);
/// Ticks between two carry-overs into metrics.
const TICKS_PER_CARRY: u32 = 5;
/// Facts published in one turn: a storm of them must not hold up packets.
const FACTS_PER_TURN: usize = 512;

/// Where the ready line is. It comes when the router is live and no hand-over to it is under way: whoever waits for it
/// gets each message once. A gateway that does not tell its roster holds it up for a while only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announcement {
    /// The bus was not connected yet.
    AwaitsBus,
    /// It was, from this millisecond on.
    AwaitsRouter(u64),
    /// It is out.
    Made,
}

/// The longest that the ready line waits for the router once the bus is connected.
const ANNOUNCEMENT_DELAY_MAX_MS: u64 = 3_000;

/// Why a router stays out that was told another number of sections than those at work.
const MISFIT: &str = "others have more or fewer sections";

/// The parts of the loop.
pub struct Pump {
    bus: Bus,
    subjects: Subjects,
    router: Router,
    clock: Clock,
    inlets: Inlets,
    work: Option<Work>,
    service: MicroService,
    metrics: Metrics,
    conditions: Conditions,
    status: BoxStream<'static, BusStatus>,
    seen: BusStatus,
    kept: Option<KeptShell>,
    tick: Interval,
    ticks: u32,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    stopping: bool,
    admin: SocketAddr,
    announcement: Announcement,
    /// Subjects of nodes, so that each packet does not format its own.
    node_subjects: HashMap<NodeId, String>,
    actions: Vec<Action>,
    traces: Traces,
    left: bool,
    was_misfit: bool,
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("router", &self.router.id()).finish_non_exhaustive()
    }
}

/// What `/readyz` asks.
#[derive(Debug)]
pub struct Conditions {
    /// The bus is connected.
    pub bus: Condition,
    /// The mirror is whole and this router handles its share.
    pub live: Condition,
}

/// What the loop is made of.
#[derive(Debug)]
pub struct Parts {
    /// The connection.
    pub bus: Bus,
    /// Subjects of the fleet.
    pub subjects: Subjects,
    /// The core.
    pub router: Router,
    /// The queries' face.
    pub service: MicroService,
    /// Metrics.
    pub metrics: Metrics,
    /// Readiness.
    pub conditions: Conditions,
    /// The stream of kept messages, where there is one.
    pub kept: Option<KeptShell>,
    /// Tells when to leave.
    pub shutdown: Shutdown,
    /// What the ready line says of the admin listener.
    pub admin: SocketAddr,
}

impl Pump {
    /// Subscribes to what a router always listens to; takes effect with the connection.
    ///
    /// # Errors
    /// The client takes no more subscriptions.
    pub async fn open(parts: Parts) -> Result<Self, BusError> {
        let Parts { bus, subjects, router, service, metrics, conditions, kept, shutdown, admin } = parts;
        let inlets = Inlets::open(&bus, &subjects, router.id(), &service).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            status: follow(bus.status()),
            seen: BusStatus::default(),
            kept,
            inlets,
            bus,
            subjects,
            router,
            clock: Clock::default(),
            work: None,
            service,
            metrics,
            conditions,
            tick,
            ticks: 0,
            stop: Box::pin(async move { shutdown.first().await }),
            stopping: false,
            admin,
            announcement: Announcement::AwaitsBus,
            node_subjects: HashMap::new(),
            actions: Vec::new(),
            traces: Traces::default(),
            left: false,
            was_misfit: false,
        })
    }

    /// Runs until the router has left, which it does in order when the shutdown asks for it.
    ///
    /// # Errors
    /// The bus client has ended by itself.
    pub async fn run(mut self) -> Result<(), BusError> {
        while !self.left {
            let (started, found) = coop::unconstrained(poll_fn(|cx| self.poll_turn(cx))).await;
            self.end_turn().await?;
            self.metrics.turn.observe(started.elapsed().as_secs_f64());
            if found.ended {
                return Err(BusError::FlushTimeout);
            }
            // Lets the bus connection write what we published and read what comes next.
            yield_now().await;
        }
        Ok(())
    }

    /// One pass over all sources; pending only where there was nothing at all.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<(Instant, Found)> {
        let started = Instant::now();
        let now = self.clock.now();
        let status_changed = self.poll_status(cx, now);
        let takes_work = self.router.takes_work(now);
        let mut reading = Reading {
            router: &mut self.router,
            now,
            metrics: &self.metrics,
            service: &mut self.service,
            bus: &self.bus,
            traces: &mut self.traces,
        };
        let mut found = self.inlets.poll(cx, &mut reading, self.work.as_mut().filter(|_| takes_work));
        found.any |= self.poll_stream(cx, now, found.more);
        found.any |= status_changed | self.poll_stop(cx, now) | self.poll_tick(cx, now) | self.router.has_facts();
        if found.any || found.ended { Poll::Ready((started, found)) } else { Poll::Pending }
    }

    fn poll_status(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        let mut changed = false;
        while let Poll::Ready(Some(status)) = self.status.poll_next_unpin(cx) {
            changed = true;
            let before = std::mem::replace(&mut self.seen, status);
            // A loss between two looks is a loss too.
            if before.connected && (!status.connected || status.losses != before.losses) {
                self.router.apply(now, Event::BusDown);
            }
            if status.connected && (!before.connected || status.losses != before.losses) {
                self.router.apply(now, Event::BusUp { max_payload: self.bus.max_payload() });
            }
            match status.unmet() {
                None => self.conditions.bus.met(),
                Some(why) => self.conditions.bus.unmet(why),
            }
        }
        changed
    }

    /// Tells the core of the stream, once the copies that came before have been read.
    fn poll_stream(&mut self, cx: &mut Context<'_>, now: Now, more: bool) -> bool {
        self.kept.as_mut().is_some_and(|kept| kept.poll(cx, now, &mut self.router, more))
    }

    fn poll_stop(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        if self.stopping || self.stop.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.stopping = true;
        self.conditions.live.unmet("leaving");
        self.router.apply(now, Event::Leave);
        true
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        if self.tick.poll_tick(cx).is_pending() {
            return false;
        }
        self.router.apply(now, Event::Tick);
        self.announce(now);
        self.ticks += 1;
        if self.ticks >= TICKS_PER_CARRY {
            self.ticks = 0;
            self.carry(now);
        }
        true
    }

    fn announce(&mut self, now: Now) {
        match self.announcement {
            Announcement::AwaitsBus if self.seen.connected => {
                self.announcement = Announcement::AwaitsRouter(now.ms);
            }
            Announcement::AwaitsRouter(since_ms)
                if (self.router.is_settled() && self.kept.as_ref().is_none_or(|kept| kept.listening.has_looked()))
                    || now.ms >= since_ms + ANNOUNCEMENT_DELAY_MAX_MS =>
            {
                self.announcement = Announcement::Made;
                let node = self.router.id();
                let ready = Ready {
                    service: "router",
                    node: node.as_str(),
                    listen: None,
                    listen_tls: None,
                    listen_relay: None,
                    admin: self.admin,
                };
                if let Err(error) = ready.announce() {
                    tracing::warn!(%error, "Cannot print the ready line");
                }
            }
            Announcement::AwaitsBus | Announcement::AwaitsRouter(_) | Announcement::Made => {}
        }
    }

    fn carry(&mut self, now: Now) {
        let gauges = self.router.gauges(now.ms);
        self.metrics.carry(&self.router.tally(), &gauges);
        if !self.stopping {
            if gauges.live {
                self.conditions.live.met();
            } else {
                self.conditions.live.unmet(if gauges.misfit { MISFIT } else { "gathering rosters" });
                if gauges.misfit && !self.was_misfit {
                    tracing::warn!(reason = MISFIT, "Router stays out");
                }
                self.was_misfit = gauges.misfit;
            }
        }
        if self.node_subjects.len() > 4 * usize::try_from(gauges.nodes.iter().sum::<u64>()).unwrap_or(0) + 64 {
            self.node_subjects.clear();
        }
    }

    async fn end_turn(&mut self) -> Result<(), BusError> {
        let mut actions = std::mem::take(&mut self.actions);
        self.router.end_turn(self.clock.now(), FACTS_PER_TURN, &mut actions);
        for action in actions.drain(..) {
            self.perform(action).await?;
        }
        self.actions = actions;
        self.traces.finish();
        Ok(())
    }
}

/// The states of something, from the present one on.
pub(crate) fn follow<T: Clone + Send + Sync + 'static>(mut status: watch::Receiver<T>) -> BoxStream<'static, T> {
    status.mark_changed();
    stream::unfold(status, |mut status| async move {
        status.changed().await.ok()?;
        let now = status.borrow_and_update().clone();
        Some((now, status))
    })
    .boxed()
}
