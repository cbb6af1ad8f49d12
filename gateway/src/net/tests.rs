//! Real sockets on loopback against a small host that echoes, with its clock in the test's hands.

mod client;
mod connections;
mod framing;
mod handshakes;
mod http2;
mod slow;
mod soak;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use holdfast_protocol::close::Close;
use hyper::body::Incoming as RequestBody;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use slab::Slab;

use super::*;
use crate::admission::{Door, DoorSettings, Provenance};
use crate::clock::Now;
use crate::metrics::{Handshake, Opcode, ShardCells};
use crate::net::certificates::tests::pair;
use crate::outbox::{Bounds, WhenFull};
use crate::session::Incoming;
use crate::shard::ClosedBy;
use crate::socket::{Class, Framing, Outgoing, Pushed, Run, Socket, Written};
use crate::ws::{self, frame};

use client::Client;

const HEARTBEAT_MS: u32 = 10_000;

const LIMITS: Limits = Limits {
    incoming: ws::Limits { message_bytes_max: 300_000, fragments_max: 16 },
    outgoing: Bounds { bytes_max: 1_000_000, age_max_ms: 30_000, when_full: WhenFull::Close },
    heartbeat_ms: HEARTBEAT_MS,
    framing: Framing::Plain,
};

#[derive(Default)]
struct Inner {
    ms: Cell<u64>,
    busy: Cell<bool>,
    connections: RefCell<Slab<Connection>>,
    received: RefCell<Vec<String>>,
    closed: RefCell<Vec<ClosedBy>>,
}

/// Echoes text and binary; `/ws` only. The query is the sub-protocol to choose.
#[derive(Clone, Default)]
struct TestHost(Rc<Inner>);

impl Host for TestHost {
    type Endpoint = ();
    type Page = ();
    type Admission = ();
    type Key = usize;

    fn now(&self) -> Now {
        let ms = self.0.ms.get();
        Now { ms, unix_ms: ms }
    }

    fn route(&self, head: &Parts) -> Route<(), ()> {
        match head.uri.path() {
            "/ws" => Route::Endpoint((), Framing::Plain),
            "/sockjs" => Route::Endpoint((), Framing::SockJs),
            "/page" | "/never" => Route::Page(()),
            "/echo" => Route::Echo,
            _ => Route::Refuse(Refused {
                status: StatusCode::NOT_FOUND,
                headers: Vec::new(),
                body: "not found",
                counted: Handshake::NotFound,
            }),
        }
    }

    async fn respond(&self, (): (), _: Guest, request: Request<RequestBody>) -> Response<Body> {
        if request.uri().path() == "/never" {
            self.0.received.borrow_mut().push("/never".to_owned());
            std::future::pending::<()>().await;
        }
        Response::new(Body::whole("a page"))
    }

    async fn admit(&self, (): &(), head: &Parts) -> Result<Admitted<()>, Refused> {
        match head.uri.query() {
            Some("unavailable") => Err(Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: vec![("retry-after", "2")],
                body: "not now",
                counted: Handshake::Unavailable,
            }),
            Some("json") => Ok(Admitted { admission: (), subprotocol: Some("holdfast.v1.json"), limits: LIMITS }),
            _ => Ok(Admitted { admission: (), subprotocol: None, limits: LIMITS }),
        }
    }

    fn open(&self, _: Now, (): (), connection: Connection, _: bool, _: Provenance) -> usize {
        self.0.connections.borrow_mut().insert(connection)
    }

    fn receive(&self, now: Now, key: usize, incoming: Incoming<'_>) {
        let (frame, told) = match incoming {
            Incoming::Text(text) => (frame::text(text.as_bytes()), text.to_owned()),
            Incoming::Binary(bytes) => (frame::binary(bytes), format!("{} bytes", bytes.len())),
        };
        self.0.received.borrow_mut().push(told);
        self.with(key, |connection| {
            connection.push(now, Outgoing { frame, class: Class::Control });
            connection.flush(now);
        });
    }

    fn fail(&self, now: Now, key: usize, close: Close) {
        self.with(key, |connection| connection.close(now, close.code(), close.reason()));
    }

    fn closed(&self, _: Now, key: usize, by: ClosedBy) {
        self.0.connections.borrow_mut().remove(key);
        self.0.closed.borrow_mut().push(by);
    }

    fn with<R>(&self, key: usize, work: impl FnOnce(&mut Connection) -> R) -> Option<R> {
        self.0.connections.borrow_mut().get_mut(key).map(work)
    }

    fn congested(&self) -> bool {
        self.0.busy.get()
    }

    fn finish_turn(&self, _: Now) {}
}

impl TestHost {
    /// The only connection.
    fn only<R>(&self, work: impl FnOnce(&mut Connection) -> R) -> R {
        self.with(0, work).expect("one connection")
    }

    /// What the passing of time does to it.
    fn tick(&self) -> Option<Close> {
        self.only(|connection| (connection.tick(self.now()), connection.flush(self.now())).0)
    }

    fn advance(&self, ms: u64) {
        self.0.ms.set(self.0.ms.get() + ms);
    }

    async fn until(&self, what: &str, condition: impl Fn(&Inner) -> bool) {
        let reached = async {
            while !condition(&self.0) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(10), reached).await.is_ok(), "never: {what}");
    }

    async fn closed_by(&self) -> ClosedBy {
        self.until("closed", |inner| !inner.closed.borrow().is_empty()).await;
        self.0.closed.borrow()[0]
    }
}

/// A shard's network side that listens in the clear and over TLS.
struct Scene {
    host: TestHost,
    cells: Arc<ShardCells>,
    plain: std::net::SocketAddr,
    tls: std::net::SocketAddr,
    certificate: Vec<u8>,
}

fn open_door() -> Arc<Door> {
    Arc::new(Door::new(DoorSettings::default()))
}

impl Scene {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self::behind(settings, open_door(), false)
    }

    /// One with a door of its own, and whether the PROXY protocol is spoken.
    fn behind(settings: Settings, door: Arc<Door>, proxied: bool) -> Self {
        let host = TestHost::default();
        let http2 = settings.http2;
        let cells = Arc::new(ShardCells::default());
        let net = Net::new(host.clone(), settings, Arc::clone(&cells), door);
        let pair = pair();
        let listen = |tls| {
            let socket = listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
            let address = socket.local_addr().unwrap();
            net.serve(Listening { socket, tls, proxied }).unwrap();
            address
        };
        let (plain, tls) = (listen(None), listen(Some(if http2 { pair.server_http2() } else { pair.server() })));
        Self { host, cells, plain, tls, certificate: pair.certificate }
    }

    fn counted(&self, handshake: Handshake) -> u64 {
        self.cells.handshake(handshake).value()
    }

    /// A connection in the clear, past its handshake.
    async fn open(&self) -> Client {
        let mut client = Client::connect(self.plain).await;
        client.upgrade("/ws").await;
        client
    }

    /// One in the clear and one over TLS, each in a scene of its own.
    async fn both() -> [(Self, Client); 2] {
        let plain = Self::new();
        let client = plain.open().await;
        let tls = Self::new();
        let mut secure = Client::connect_tls(tls.tls, &tls.certificate).await;
        secure.upgrade("/ws").await;
        [(plain, client), (tls, secure)]
    }
}

/// Runs a test as a shard's thread would.
fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs") });
}
