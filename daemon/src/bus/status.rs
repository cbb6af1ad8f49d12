//! What the client reports about its connection, as a state others can watch.

use super::outbox::Outbox;
use super::subscription::Classes;
use super::version::{self, TooOld};
use super::{BusMetrics, BusServer};
use async_nats::connection::State;
use async_nats::{ClientError, ConnectOptions, Event, ServerError};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusStatus {
    /// Whether it stands.
    pub connected: bool,
    /// How often it has been lost so far. A change means that messages may have been missed.
    pub losses: u64,
    /// Whether the server is about to stop; it will close the connection soon.
    pub lame_duck: bool,
    /// The server, where there is a connection to one that is too old to be used; it counts as none.
    pub too_old: Option<TooOld>,
}

impl BusStatus {
    /// Why there is no connection, in a few words for `/readyz`; none where there is one.
    pub fn unmet(&self) -> Option<String> {
        (!self.connected).then(|| self.too_old.map_or_else(|| "not connected".to_owned(), |error| error.to_string()))
    }
}

/// The events that change the status: sent by the client's callback, received by the watcher; where it is full the
/// watcher has not kept up for thousands of changes, and its next look at the client repairs the state.
#[derive(Debug)]
pub(super) struct Events {
    tx: mpsc::Sender<Event>,
    rx: mpsc::Receiver<Event>,
}

const EVENTS_MAX: usize = 4096;

/// How often the state is compared with the client's own, should an event have been lost on the way.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Default for Events {
    fn default() -> Self {
        let (tx, rx) = mpsc::channel(EVENTS_MAX);
        Self { tx, rx }
    }
}

impl Events {
    /// Hooks into the client's events. Losses are counted right there: the client's own queue of events is short.
    pub(super) fn attach(&self, options: ConnectOptions, metrics: &BusMetrics) -> (ConnectOptions, Classes) {
        let classes = Classes::default();
        let (known, metrics, tx) = (Arc::clone(&classes), metrics.clone(), self.tx.clone());
        let options = options.event_callback(move |event| {
            metrics.event(&event);
            if let Event::SlowConsumer(number) = event {
                let class = known.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
                metrics.dropped(class);
            } else {
                // See the field's comment for what happens where it is full.
                drop(tx.try_send(event));
            }
            std::future::ready(())
        });
        (options, classes)
    }
}

/// Follows the client's events until `end`.
pub(super) fn watch(
    events: Events,
    servers: &[BusServer],
    client: async_nats::Client,
    metrics: BusMetrics,
    outbox: Arc<Outbox>,
    end: CancellationToken,
) -> watch::Receiver<BusStatus> {
    let (tx, rx) = watch::channel(BusStatus::default());
    let Events { rx: mut events, tx: callback } = events;
    drop(callback);
    let servers = format!("{servers:?}");
    let mut follower = Follower { client, servers, metrics, outbox, status: tx, last_error: None };
    let following = async move {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => follower.on_event(event),
                    None => return,
                },
                _ = look.tick() => follower.compare(),
            }
        }
    };
    super::spawn_until(end, following);
    rx
}

struct Follower {
    client: async_nats::Client,
    /// For the log: the client does not tell which one an error is about.
    servers: String,
    metrics: BusMetrics,
    outbox: Arc<Outbox>,
    status: watch::Sender<BusStatus>,
    last_error: Option<String>,
}

impl Follower {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                if self.connected() {
                    self.last_error = None;
                    tracing::info!("Bus connected");
                }
            }
            Event::Disconnected => {
                let lost = self.outbox.forget();
                self.metrics.lost(lost);
                self.metrics.connected.set(0);
                self.change(|status| {
                    status.connected = false;
                    status.losses += 1;
                });
                tracing::warn!(messages_lost = lost, "Bus connection lost");
            }
            Event::LameDuckMode => {
                self.change(|status| status.lame_duck = true);
                tracing::info!("The bus server is about to stop");
            }
            Event::ServerError(error) => self.on_server_error(&error),
            Event::ClientError(ClientError::Other(error)) => self.complain(error),
            Event::ClientError(error) => self.complain(error.to_string()),
            Event::Draining | Event::Closed => self.change(|status| status.connected = false),
            Event::SlowConsumer(_) => {}
        }
    }

    /// Says once per outage and reason why the connection does not come about; attempts go on for ever.
    fn complain(&mut self, error: String) {
        if self.last_error.as_ref() != Some(&error) {
            tracing::warn!(%error, servers = %self.servers, "Cannot connect to the bus, retrying");
            self.last_error = Some(error);
        }
    }

    fn on_server_error(&mut self, error: &ServerError) {
        match error {
            ServerError::AuthorizationViolation => self.complain("the server refused our credentials".to_owned()),
            // Permission violations and the like: the subject is in the text, payloads never are.
            other => tracing::error!(error = %other, "The bus server reported an error"),
        }
    }

    /// Whether the server will do. One that is too old counts as none: readiness stays away, and the log says why.
    fn connected(&mut self) -> bool {
        if let Err(why) = version::check(&self.client.server_info().version) {
            let said = why.to_string();
            if self.last_error.as_ref() != Some(&said) {
                tracing::error!(error = %said, servers = %self.servers, "The bus is not used");
                self.last_error = Some(said);
            }
            self.change(|status| status.too_old = Some(why));
            return false;
        }
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        let again = connects.saturating_sub(1);
        self.metrics.reconnects.inc_by(again.saturating_sub(self.metrics.reconnects.get()));
        self.metrics.connected.set(1);
        self.change(|status| {
            status.connected = true;
            status.lame_duck = false;
            status.too_old = None;
            status.losses = status.losses.max(again);
        });
        true
    }

    /// Repairs what a lost event left wrong.
    fn compare(&mut self) {
        let connected = self.client.connection_state() == State::Connected;
        if connected != self.status.borrow().connected {
            if connected {
                self.connected();
            } else {
                self.metrics.connected.set(0);
                self.change(|status| status.connected = false);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut BusStatus)) {
        self.status.send_if_modified(|status| {
            let before = *status;
            change(status);
            before != *status
        });
    }
}
