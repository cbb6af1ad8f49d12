//! The listener for back ends that speak STOMP over TCP, as Spring's `enableStompBrokerRelay` does: what they SEND is
//! published as a domain service would, what they SUBSCRIBE to is what is published.
//!
//! `session` decides, `connection` does the I/O of one of them; this file accepts. Knows no client, no roster: to the
//! rest of the fleet a back end here is a program on the bus.

mod connection;
mod session;
mod transactions;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast_daemon::bus::Bus;
use holdfast_daemon::config::Secret;
use holdfast_daemon::shutdown::Tasks;
use holdfast_protocol::subject::Subjects;
use prometheus::{IntCounter, IntGauge, Registry};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::connection::Ended;
use crate::handshake::Destinations;

/// For a TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after an error of the listener it is tried again.
const BACKOFF: Duration = Duration::from_millis(200);

/// What a relay is made of.
#[derive(Debug)]
pub struct Relay {
    bus: Bus,
    subjects: Subjects,
    destinations: Destinations,
    login: String,
    passcode: Secret,
    tls: Option<Arc<ServerConfig>>,
    sessions: Arc<Semaphore>,
    sessions_max: u32,
    leaving: Leaving,
    /// Sessions that have their slot.
    slots: AtomicU32,
    metrics: Metrics,
}

/// How the back ends of a node that drains leave it.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// Cancelled when the drain begins.
    pub accepting: CancellationToken,
    /// Over how long they are sent away, one after the other.
    pub window: Duration,
}

/// Tells when all sessions have ended.
#[derive(Debug)]
pub struct Sessions {
    all: Arc<Semaphore>,
    sessions_max: u32,
}

impl Sessions {
    /// Completes when there is none. Cancel-safe.
    pub async fn gone(&self) {
        drop(self.all.acquire_many(self.sessions_max).await);
    }
}

/// What it counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    sessions: IntGauge,
    refused: IntCounter,
    published: IntCounter,
    publish_failed: IntCounter,
    delivered: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let sessions = IntGauge::new("holdfast_relay_sessions", "Back ends connected by STOMP over TCP.")?;
        registry.register(Box::new(sessions.clone()))?;
        Ok(Self {
            sessions,
            refused: counter("holdfast_relay_refused_total", "Sessions of back ends refused or ended by an error.")?,
            published: counter("holdfast_relay_published_total", "Messages that back ends published.")?,
            publish_failed: counter(
                "holdfast_relay_publish_failed_total",
                "Messages of back ends the bus did not take.",
            )?,
            delivered: counter("holdfast_relay_delivered_total", "Messages handed to back ends that subscribed.")?,
        })
    }
}

/// Credentials and bounds.
#[derive(Debug)]
pub struct RelaySettings {
    /// What back ends log in as.
    pub login: String,
    /// Their passcode.
    pub passcode: Secret,
    /// TLS, where it is spoken.
    pub tls: Option<Arc<ServerConfig>>,
    /// Sessions at once.
    pub sessions_max: u32,
    /// What destinations mean.
    pub destinations: Destinations,
    /// The fleet's prefix.
    pub subjects: Subjects,
    /// How they end.
    pub leaving: Leaving,
}

impl Relay {
    /// A relay over this bus.
    ///
    /// # Errors
    /// A metric was declared twice.
    pub fn new(settings: RelaySettings, bus: Bus, registry: &Registry) -> Result<Self, prometheus::Error> {
        let RelaySettings { login, passcode, tls, sessions_max, destinations, subjects, leaving } = settings;
        let sessions = Arc::new(Semaphore::new(usize::try_from(sessions_max).unwrap_or(Semaphore::MAX_PERMITS)));
        let (slots, metrics) = (AtomicU32::new(0), Metrics::new(registry)?);
        Ok(Self { bus, subjects, destinations, login, passcode, tls, sessions, sessions_max, leaving, slots, metrics })
    }

    /// Tells when all sessions have ended.
    pub fn sessions(&self) -> Sessions {
        Sessions { all: Arc::clone(&self.sessions), sessions_max: self.sessions_max }
    }

    /// Completes when it is one session's turn to go: those that are there when the drain begins share its window.
    async fn slot(&self) {
        self.leaving.accepting.cancelled().await;
        let place = self.slots.fetch_add(1, Ordering::Relaxed);
        let free = u32::try_from(self.sessions.available_permits()).unwrap_or(u32::MAX);
        let there = self.sessions_max.saturating_sub(free).max(place + 1);
        tokio::time::sleep(self.leaving.window * place / there).await;
    }

    /// Accepts back ends until the tasks are told to stop. Must be called in the runtime that shall do it.
    ///
    /// # Errors
    /// A socket the runtime cannot take.
    pub fn serve(self, listener: TcpListener, tasks: &Tasks) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tasks.spawn("relay", accept(Arc::new(self), listener, tasks.clone()));
        Ok(())
    }
}

/// Binds the listener.
///
/// # Errors
/// An address that is not ours, or taken.
pub fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// One back end, from its first byte.
async fn serve(relay: &Relay, stream: TcpStream) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let Some(tls) = &relay.tls else { return connection::run(relay, stream).await };
    let stream = tokio::time::timeout(TLS_TIMEOUT, TlsAcceptor::from(Arc::clone(tls)).accept(stream))
        .await
        .map_err(|_| Ended::NoTls)??;
    connection::run(relay, stream).await
}

async fn accept(relay: Arc<Relay>, listener: tokio::net::TcpListener, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = relay.leaving.accepting.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "Accepting a back end failed");
                tokio::time::sleep(BACKOFF).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&relay.sessions).try_acquire_owned() else {
            relay.metrics.refused.inc();
            tracing::warn!(%peer, "Too many back ends by STOMP over TCP");
            continue;
        };
        let relay = Arc::clone(&relay);
        tasks.spawn("relay session", async move {
            relay.metrics.sessions.inc();
            let ended = serve(&relay, stream).await;
            relay.metrics.sessions.dec();
            match ended {
                Ok(()) => tracing::debug!(%peer, "A back end left"),
                Err(error) => {
                    relay.metrics.refused.inc();
                    tracing::info!(%peer, %error, "A back end's session ended");
                }
            }
            drop(permit);
        });
    }
}
