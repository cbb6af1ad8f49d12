//! A shard's thread: one single-threaded runtime that owns the shard, its sockets and their tasks.
//!
//! The loop takes what the hub says and what time brings; drivers call into the same shard between its turns. The shard
//! is borrowed for one synchronous call at a time, never across a wait.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast_daemon::spans::Span;
use holdfast_protocol::close::Close;
use hyper::body::Incoming as RequestBody;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::capacity::Capacity;
mod turns;

use self::turns::{Provenances, end_turn, turns};
use super::port::ChannelPort;
use super::randomness::Pool;
use super::{ClosedBy, Shard, ShardSettings};
use crate::admission::{Door, Provenance};
use crate::auth::Verifier;
use crate::clock::{Clock, Now};
use crate::fallback::{self, Client, Desk, Front, FrontParts, NativePage, Sessions};
use crate::handshake::{Admission, Endpoint, Gatekeeper, Lookup, WhenFull};
use crate::link::{Key, ToHub, ToShard};
use crate::metrics::{ShardCells, Stage, Transport};
use crate::net::{self, Admitted, Body, Connection, Guest, Host, Limits, Listening, Net, Refused, Route};
use crate::outbox::{self, Bounds};
use crate::session::Incoming;
use crate::socket::Framing;
use crate::sockjs::{self, Valve};
use crate::traces;
use crate::ws;

/// How often the shard looks at the time.
const TICK: Duration = Duration::from_millis(50);
/// Messages of the hub between two ends of a turn: sockets are written at least so often.
const TURN_MESSAGES: usize = 256;
/// Most frames in one message of a client.
const FRAGMENTS_MAX: u32 = 1024;
/// How long connections may take to end once the hub is gone.
const END_GRACE: Duration = Duration::from_secs(2);

/// What a shard's thread is made of.
#[derive(Debug)]
pub struct ShardParts {
    /// Who it is.
    pub settings: ShardSettings,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Decides about handshakes.
    pub gatekeeper: Arc<Gatekeeper>,
    /// Asks other nodes for their sessions over HTTP.
    pub desk: Arc<Desk>,
    /// Who may take a place at all.
    pub door: Arc<Door>,
    /// What each shard counts; this one's is at its number.
    pub cells: Vec<Arc<ShardCells>>,
    /// The process's clock.
    pub clock: Clock,
    /// Its listening sockets.
    pub listening: Vec<Listening>,
    /// Bounds of the HTTP phase.
    pub net: net::Settings,
    /// Connections the whole process may hold.
    pub connections_max: u64,
    /// Cancelled when no more connections are to be accepted.
    pub accepting: CancellationToken,
    /// This shard sends, the hub receives. When full, the shard keeps its batch and reads no more from clients.
    pub to_hub: mpsc::Sender<Vec<ToHub>>,
    /// The hub sends, this shard receives. When full, the hub keeps a backlog. Its end is the shard's end.
    pub from_hub: mpsc::Receiver<Vec<ToShard>>,
}

/// Runs the shard on this thread until the hub is gone.
///
/// # Errors
/// The runtime or a listening socket cannot be set up.
pub fn run(parts: ShardParts) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(serve(parts))
}

async fn serve(parts: ShardParts) -> io::Result<()> {
    let ShardParts { settings, verifier, gatekeeper, door, desk, cells, clock, listening, net, .. } = parts;
    let (accepting, mut from_hub) = (parts.accepting, parts.from_hub);
    let own = Arc::clone(&cells[usize::from(settings.number)]);
    let capacity = Capacity::new(cells, parts.connections_max);
    let port = Box::new(ChannelPort(parts.to_hub));
    let random = Box::new(Pool::default());
    let shard = Shard::new(settings, Arc::clone(&verifier), Arc::clone(&door), Arc::clone(&own), random, port);
    let shard = Rc::new(RefCell::new(shard));
    let turn = Rc::new(Notify::new());
    let sessions: Rc<RefCell<Sessions>> = Rc::default();
    let (front, leaving) = Front::new(FrontParts {
        desk,
        door: Arc::clone(&door),
        capacity: capacity.clone(),
        gatekeeper: Arc::clone(&gatekeeper),
        verifier,
        clock,
        shard: Rc::clone(&shard),
        sessions: Rc::clone(&sessions),
        turn: Rc::clone(&turn),
    });
    let tellers = TaskTracker::new();
    drop(tellers.spawn_local(leaving));
    let provenances = Provenances::default();
    let host = ShardHost {
        shard: Rc::clone(&shard),
        front,
        turn: Rc::clone(&turn),
        gatekeeper,
        door: Arc::clone(&door),
        provenances: Rc::clone(&provenances),
        clock,
        own: Arc::clone(&own),
        capacity,
    };
    let net = Net::new(host, net, own, door);
    for listening in listening {
        net.serve(listening)?;
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            batch = from_hub.recv() => {
                let Some(mut batch) = batch else { break };
                // What came meanwhile belongs to the same turn: it leaves in the same writes.
                while batch.len() < TURN_MESSAGES && let Ok(more) = from_hub.try_recv() {
                    batch.extend(more);
                }
                turns(clock, &shard, &sessions, &provenances, batch);
            }
            () = turn.notified() => end_turn(&mut shard.borrow_mut(), &sessions.borrow(), clock.now()),
            () = accepting.cancelled(), if open => {
                open = false;
                net.stop_accepting();
            }
            _ = tick.tick() => {
                let (now, mut shard, mut sessions) = (clock.now(), shard.borrow_mut(), sessions.borrow_mut());
                shard.tick(now);
                sessions.tick(&mut shard, now);
                end_turn(&mut shard, &sessions, now);
            }
        }
    }
    end(&net).await;
    Ok(())
}

/// Sockets that linger have had their last frame; what is left after the grace is dropped with the runtime.
async fn end(net: &Net<ShardHost>) {
    net.stop_accepting();
    if tokio::time::timeout(END_GRACE, net.ended()).await.is_err() {
        tracing::debug!("Dropped sockets that would not end");
    }
}

/// What is no WebSocket.
enum Page {
    SockJs(sockjs::Page),
    SockJsSession(Arc<Endpoint>, Arc<str>, sockjs::Transport),
    Native(Arc<Endpoint>, NativePage),
}

/// The shard as the network side sees it.
#[derive(Clone)]
struct ShardHost {
    shard: Rc<RefCell<Shard<Client>>>,
    front: Rc<Front>,
    turn: Rc<Notify>,
    gatekeeper: Arc<Gatekeeper>,
    door: Arc<Door>,
    provenances: Provenances,
    clock: Clock,
    own: Arc<ShardCells>,
    capacity: Capacity,
}

impl ShardHost {
    fn page(&self, head: &Parts, page: Page) -> Route<Arc<Endpoint>, Page> {
        match self.gatekeeper.check_origin(head) {
            Ok(()) => Route::Page(page),
            Err(refusal) => Route::Refuse(refusal.into()),
        }
    }

    /// Whether a handshake that comes next would succeed, and soon.
    async fn valve(&self) -> Valve {
        let full = self.capacity.is_full() || self.congested() || self.door.is_pressed();
        if full || !self.gatekeeper.authenticator().served().await { Valve::Shut } else { Valve::Open }
    }
}

impl Host for ShardHost {
    type Endpoint = Arc<Endpoint>;
    type Page = Page;
    /// With the span of its handshake, where that is traced.
    type Admission = (Box<Admission>, Option<Span>);
    type Key = Key;

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn route(&self, head: &Parts) -> Route<Self::Endpoint, Self::Page> {
        match self.gatekeeper.lookup(head) {
            Lookup::Endpoint(endpoint, framing) => Route::Endpoint(endpoint, framing),
            Lookup::SockJs(page) => self.page(head, Page::SockJs(page)),
            Lookup::SockJsSession(endpoint, name, transport) => {
                self.page(head, Page::SockJsSession(endpoint, name, transport))
            }
            Lookup::Native(endpoint, page) => self.page(head, Page::Native(endpoint, page)),
            Lookup::Echo => Route::Echo,
            Lookup::Refuse(refusal) => Route::Refuse(refusal.into()),
        }
    }

    async fn respond(&self, page: Page, guest: Guest, request: Request<RequestBody>) -> Response<Body> {
        match page {
            Page::SockJs(page) => {
                let (head, _) = request.into_parts();
                let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.now().unix_ms);
                sockjs::answer(page, &head, self.valve().await, wall)
            }
            Page::SockJsSession(endpoint, name, transport) => {
                sockjs::transports::respond(&self.front, &endpoint, &guest, name, transport, request).await
            }
            Page::Native(endpoint, page) => fallback::respond(&self.front, &endpoint, &guest, page, request).await,
        }
    }

    async fn admit(&self, endpoint: &Self::Endpoint, head: &Parts) -> Result<Admitted<Self::Admission>, Refused> {
        self.capacity.check()?;
        let span = traces::handshake(&endpoint.name);
        let asked = Instant::now();
        let now_unix_s = self.clock.now().unix_ms / 1000;
        let admitted = self.gatekeeper.admit(endpoint, head, now_unix_s).await;
        self.own.took(Stage::Admit, asked.elapsed());
        let admitted =
            admitted.map_err(|refusal| (refusal.status, refusal.label, refusal.into())).and_then(|admission| {
                let has_place = admission.identity.as_ref().map_or(Ok(()), |who| self.door.has_place_for(&who.user));
                has_place.map(|()| admission).map_err(|turned| (429, turned.counted().label(), net::turned(turned)))
            });
        match admitted {
            Ok(admission) => {
                let limits = limits(&admission.endpoint);
                Ok(Admitted { subprotocol: admission.subprotocol, limits, admission: (Box::new(admission), span) })
            }
            Err((status, label, refused)) => {
                if let Some(span) = span {
                    traces::refused(span, status, label);
                }
                Err(refused)
            }
        }
    }

    fn open(
        &self,
        now: Now,
        admission: Self::Admission,
        connection: Connection,
        secure: bool,
        provenance: Provenance,
    ) -> Key {
        let transport = if secure { Transport::Wss } else { Transport::Ws };
        let (admission, span) = admission;
        let mut shard = self.shard.borrow_mut();
        let key = shard.open(now, admission, Client::WebSocket(connection), transport);
        if let Some(span) = span {
            shard.trace(key, span);
        }
        drop(shard);
        if !provenance.is_plain() {
            self.provenances.borrow_mut().insert(key, provenance);
        }
        key
    }

    fn receive(&self, now: Now, key: Key, incoming: Incoming<'_>) {
        self.shard.borrow_mut().receive(now, key, incoming);
    }

    fn fail(&self, now: Now, key: Key, close: Close) {
        self.shard.borrow_mut().fail(now, key, close);
    }

    fn closed(&self, now: Now, key: Key, by: ClosedBy) {
        self.shard.borrow_mut().closed(now, key, by);
        drop(self.provenances.borrow_mut().remove(&key));
    }

    fn with<R>(&self, key: Key, work: impl FnOnce(&mut Connection) -> R) -> Option<R> {
        self.shard.borrow_mut().socket(key).and_then(Client::web_socket).map(work)
    }

    fn congested(&self) -> bool {
        self.shard.borrow().congested()
    }

    /// Once for all drivers that are ready now: one batch for the hub, one write per socket.
    fn finish_turn(&self, _: Now) {
        self.turn.notify_one();
    }
}

fn limits(endpoint: &Endpoint) -> Limits {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Limits {
        incoming: ws::Limits { message_bytes_max: endpoint.limits.message_bytes_max, fragments_max: FRAGMENTS_MAX },
        outgoing: Bounds {
            bytes_max: endpoint.outbox.bytes_max,
            age_max_ms: millis(endpoint.outbox.age_max),
            when_full: match endpoint.outbox.when_full {
                WhenFull::Close => outbox::WhenFull::Close,
                WhenFull::DropOldest => outbox::WhenFull::DropOldest,
            },
        },
        heartbeat_ms: u32::try_from(millis(endpoint.limits.heartbeat)).unwrap_or(u32::MAX),
        framing: Framing::Plain,
    }
}
