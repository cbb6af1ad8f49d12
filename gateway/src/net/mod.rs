//! Sockets: listeners, TLS, the HTTP side of a handshake, and one small task per connection.
//!
//! Everything here runs on a shard's thread and only moves bytes, frames and time to the [`Host`] and back; it knows
//! no session, no dialect and no bus. An idle connection is a slab entry of the shard and a parked task here: no read
//! or write buffer, no timer, no channel.
//!
//! Reading order: listener (sockets that listen), arrival and proxied (who is it that comes), certificates (TLS settings), http (a request and its answer; http2 with many of them, http_io below both),
//! upgrade (what a handshake must look like), connection (a socket with its queue), driver (the task that reads),
//! transport and tls (bytes), body (what other answers carry).

mod arrival;
mod body;
pub mod certificates;
mod connection;
mod counts;
mod driver;
mod host;
mod http;
mod http2;
mod http_io;
pub mod listener;
mod proxied;
mod scratch;
mod tls;
mod transport;
pub mod upgrade;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use arrival::{Guest, Place};
pub use body::Body;
pub use connection::{CLOSE_WAIT_MS, Connection, Limits, Terms};
pub(crate) use counts::count_lost;
pub use host::{Admitted, Host, Refused, Route};
pub(crate) use http::turned;
pub use transport::{HandshakeError, Transport};

use arrival::Arrival;

use crate::admission::Door;
use crate::metrics::ShardCells;

/// How long a closed socket may take to read our last bytes before it is dropped with whatever it still sends.
const LINGER: Duration = Duration::from_secs(2);
/// How often a congested shard is asked whether reading may go on.
const RESUME_INTERVAL: Duration = Duration::from_millis(5);

/// What the HTTP side allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For the head of the PROXY protocol.
    pub proxy_timeout: Duration,
    /// For a TLS handshake.
    pub tls_timeout: Duration,
    /// For a request's head; also how long a kept-alive connection may idle.
    pub head_timeout: Duration,
    /// From accept to the end of the HTTP phase, whatever happens in between but pages: so long one may be awaited.
    pub http_timeout: Duration,
    /// Whether HTTP/2 is spoken too: where there are pages to be served.
    pub http2: bool,
    /// Largest head of a request.
    pub head_bytes_max: usize,
    /// Connections of a shard that are in the HTTP phase; beyond that the listener's backlog holds them.
    pub handshakes_max: usize,
    /// Connections of a shard on which pages are served; beyond that pages are refused.
    pub pages_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxy_timeout: Duration::from_secs(5),
            tls_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            http_timeout: Duration::from_secs(60),
            http2: false,
            head_bytes_max: 32 * 1024,
            handshakes_max: 8192,
            pages_max: 65_536,
        }
    }
}

/// The network side of one shard.
#[derive(Debug)]
pub struct Net<H> {
    host: H,
    settings: Settings,
    cells: Arc<ShardCells>,
    /// What connections are held to: one for each kind that there is.
    terms: RefCell<Vec<Arc<Terms>>>,
    /// Every task of this shard's sockets. A connection's ends with its socket; all have deadlines for ending.
    tasks: TaskTracker,
    /// Cancelled when no more connections are to be accepted.
    accepting: CancellationToken,
    handshakes: Arc<Semaphore>,
    /// Sockets on which pages are served: they may stay long, and must not keep handshakes out.
    pages: Arc<Semaphore>,
    /// Who may come in at all.
    door: Arc<Door>,
    /// Drivers that wait for the host to be less busy. One entry per wake of a paused driver, gone within
    /// [`RESUME_INTERVAL`] of the end of the congestion.
    paused: RefCell<Vec<Waker>>,
}

/// A socket that listens, and whether it speaks TLS.
#[derive(Debug)]
pub struct Listening {
    /// Bound and listening.
    pub socket: std::net::TcpListener,
    /// TLS if set.
    pub tls: Option<Arc<ServerConfig>>,
    /// Each connection begins with a head of the PROXY protocol.
    pub proxied: bool,
}

impl<H: Host> Net<H> {
    /// The network side of a shard, with no socket yet. What it counts goes into the shard's cells.
    pub fn new(host: H, settings: Settings, cells: Arc<ShardCells>, door: Arc<Door>) -> Rc<Self> {
        let handshakes = Arc::new(Semaphore::new(settings.handshakes_max));
        let pages = Arc::new(Semaphore::new(settings.pages_max));
        Rc::new(Self {
            host,
            settings,
            cells,
            terms: RefCell::default(),
            tasks: TaskTracker::new(),
            accepting: CancellationToken::new(),
            handshakes,
            pages,
            door,
            paused: RefCell::default(),
        })
    }

    /// The terms of connections with these limits, shared by all that have the same.
    fn terms(&self, limits: Limits) -> Arc<Terms> {
        let mut all = self.terms.borrow_mut();
        if let Some(known) = all.iter().find(|terms| terms.limits == limits) {
            return Arc::clone(known);
        }
        // As many as there are endpoints and framings; those of nobody go whenever another comes.
        all.retain(|terms| Arc::strong_count(terms) > 1);
        let terms = Arc::new(Terms { limits, cells: Arc::clone(&self.cells) });
        all.push(Arc::clone(&terms));
        terms
    }

    /// Accepts connections from now on. Must be called on the shard's runtime.
    ///
    /// # Errors
    /// A socket the runtime cannot take.
    pub fn serve(self: &Rc<Self>, listening: Listening) -> std::io::Result<()> {
        listening.socket.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listening.socket)?;
        drop(self.tasks.spawn_local(listener::accept(Rc::clone(self), listener, listening.tls, listening.proxied)));
        Ok(())
    }

    /// Closes the listeners. Connections that are there stay.
    pub fn stop_accepting(&self) {
        self.accepting.cancel();
    }

    /// Waits until every connection and listener has ended. Cancel-safe.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends a socket on which our last byte was written: what the client still sends is read and thrown away for a
    /// while, since closing on unread bytes makes the kernel reset the connection, and our last frame be lost.
    fn linger(&self, mut transport: Transport) {
        if transport.finish().is_err() {
            return;
        }
        drop(self.tasks.spawn_local(async move {
            let drained = std::future::poll_fn(|cx| transport.poll_discard(cx));
            let mut drained = std::pin::pin!(drained);
            let end = tokio::time::sleep(LINGER);
            let mut end = std::pin::pin!(end);
            loop {
                tokio::select! {
                    read = &mut drained => if read.map_or(true, |bytes| bytes == 0) { break },
                    () = &mut end => break,
                }
            }
        }));
    }

    /// Whether a driver must not read now; it is woken when it may.
    fn is_paused(this: &Rc<Self>, cx: &Context<'_>) -> bool {
        if !this.host.congested() {
            return false;
        }
        let mut paused = this.paused.borrow_mut();
        paused.push(cx.waker().clone());
        if paused.len() == 1 {
            // Ends once nobody is paused.
            let net = Rc::clone(this);
            drop(this.tasks.spawn_local(async move {
                while net.host.congested() {
                    tokio::time::sleep(RESUME_INTERVAL).await;
                    net.host.finish_turn(net.host.now());
                }
                net.paused.take().into_iter().for_each(Waker::wake);
            }));
        }
        true
    }
}

#[cfg(test)]
mod tests;
