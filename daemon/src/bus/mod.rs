//! The NATS connection: a thin, accounted shell over `async-nats`.
//!
//! What it adds: publishing that never waits, a bounded overflow that keeps the order, reconnects for ever with
//! spread-out delays, and a count for each message that was lost inside the client. Knows no subjects and no formats.
//!
//! What NATS itself loses while the connection is away is gone; [`BusStatus::losses`] tells that it happened.

mod identity;
mod metrics;
mod outbox;
mod settings;
mod status;
mod subscription;
mod version;

pub use metrics::BusMetrics;
pub use settings::{BusServer, BusSettings, BusTlsSettings, SettingsError};
pub use status::BusStatus;
pub use subscription::Subscription;
pub use version::TooOld;

use async_nats::HeaderMap;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A message on its way out.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// The subject; already encoded, without spaces or control characters.
    pub subject: String,
    /// Where answers shall go.
    pub reply: Option<String>,
    /// NATS headers; they cost three times the message, so only at the public edge.
    pub headers: Option<HeaderMap>,
    /// The payload.
    pub payload: Bytes,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection at the moment.
    #[error("the bus is not connected")]
    Disconnected,
    /// The connection is slower than what is published; both queues are full.
    #[error("the queue to the bus is full")]
    Full,
    /// Larger than the server takes; see [`Bus::max_payload`].
    #[error("the message is larger than the bus takes")]
    TooBig,
    /// The subject or reply subject would break the NATS protocol.
    #[error("the subject is malformed")]
    Subject,
}

/// Why there is no connection object, or no subscription.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Retrying would not help.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The client did not take the subscription: malformed subject, or the connection was closed for good.
    #[error("cannot subscribe to {subject}")]
    Subscribe {
        /// The subject.
        subject: String,
        /// The client's reason.
        source: async_nats::SubscribeError,
    },
    /// The client could not be made at all.
    #[error("cannot set up the bus client")]
    Client(#[source] async_nats::ConnectError),
    /// What was published has not reached the server in time.
    #[error("the bus did not take everything in time")]
    FlushTimeout,
}

/// The connection of this process. Cheap to clone; ends with its last clone.
#[derive(Clone)]
pub struct Bus {
    client: async_nats::Client,
    outbox: Arc<outbox::Outbox>,
    status: watch::Receiver<BusStatus>,
    classes: subscription::Classes,
    metrics: BusMetrics,
    _tasks: Arc<DropGuard>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Starts to connect and returns at once; the connection is tried for ever, and [`Bus::status`] tells when it
    /// stands. Subscriptions made before take effect with the first connection. Must be called in the runtime that
    /// shall do the bus's work. `name` is shown in the server's list of connections.
    ///
    /// # Errors
    /// [`BusError::Settings`] where the settings are unusable, such as an unreadable key.
    pub async fn connect(settings: &BusSettings, metrics: &BusMetrics, name: &str) -> Result<Self, BusError> {
        let events = status::Events::default();
        let options = settings.options(name)?;
        let (options, classes) = events.attach(options, metrics);
        let servers: Vec<_> = settings.servers.iter().map(|server| server.address().clone()).collect();
        let client = options.connect(servers).await.map_err(BusError::Client)?;
        let outbox = Arc::new(outbox::Outbox::new(client.clone(), metrics.clone()));

        let end = CancellationToken::new();
        let status =
            status::watch(events, &settings.servers, client.clone(), metrics.clone(), Arc::clone(&outbox), end.clone());
        outbox::write(Arc::clone(&outbox), end.clone());
        let tasks = Arc::new(end.drop_guard());
        Ok(Self { client, outbox, status, classes, metrics: metrics.clone(), _tasks: tasks })
    }

    /// Hands a message to the connection. Never waits: what the connection cannot take at once goes to a bounded
    /// queue behind which later messages line up, so the order of calls is the order on the wire.
    ///
    /// `Ok` means taken, not sent: what is under way when the connection breaks is lost, and counted where it can be.
    ///
    /// # Errors
    /// See [`PublishError`]; each is counted.
    pub fn try_publish(&self, message: Outgoing) -> Result<(), PublishError> {
        let taken = self.outbox.try_publish(message);
        if let Err(error) = taken {
            self.metrics.refused(error);
        }
        taken
    }

    /// Subscribes; `class` is the subject's kind, the label under which messages and losses are counted.
    ///
    /// # Errors
    /// [`BusError::Subscribe`] for a malformed subject.
    pub async fn subscribe(&self, subject: String, class: &'static str) -> Result<Subscription, BusError> {
        let made = self.client.subscribe(subject.clone()).await;
        self.subscription(subject, class, made)
    }

    /// Subscribes as one of a group of which one member gets each message.
    ///
    /// # Errors
    /// [`BusError::Subscribe`] for a malformed subject or group.
    pub async fn queue_subscribe(
        &self,
        subject: String,
        group: String,
        class: &'static str,
    ) -> Result<Subscription, BusError> {
        let made = self.client.queue_subscribe(subject.clone(), group).await;
        self.subscription(subject, class, made)
    }

    fn subscription(
        &self,
        subject: String,
        class: &'static str,
        made: Result<async_nats::Subscriber, async_nats::SubscribeError>,
    ) -> Result<Subscription, BusError> {
        let subscriber = made.map_err(|source| BusError::Subscribe { subject, source })?;
        Ok(Subscription::new(subscriber, class, &self.classes, &self.metrics))
    }

    /// Whether the connection stands and how often it has been lost.
    pub fn status(&self) -> watch::Receiver<BusStatus> {
        self.status.clone()
    }

    /// The largest message (headers and payload, in bytes) the server takes; 1 MiB before the first connection.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Waits until everything published so far has been written to the server.
    ///
    /// # Errors
    /// [`BusError::FlushTimeout`] where that takes longer than `deadline`, as it does without a connection.
    pub async fn flush(&self, deadline: Duration) -> Result<(), BusError> {
        let flushed = async {
            self.outbox.drained().await;
            self.client.flush().await
        };
        match tokio::time::timeout(deadline, flushed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(BusError::FlushTimeout),
        }
    }

    /// Messages that wait because the connection is slower than what is published: who reads more work from the bus
    /// should wait until this falls.
    pub fn backlog(&self) -> usize {
        self.outbox.len()
    }

    /// A fresh subject for answers to this process alone.
    pub fn new_inbox(&self) -> String {
        self.client.new_inbox()
    }

    /// The client itself, for JetStream and whatever else is not on a hot path. Nothing done with it is accounted.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }
}

/// Runs a task of the connection's own until the last clone of the bus is gone.
#[expect(clippy::disallowed_methods, reason = "it ends with the bus itself, which outlives no runtime")]
fn spawn_until(end: CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = task => {}
        }
    }));
}
