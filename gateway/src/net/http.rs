//! The HTTP side: from an accepted socket to a WebSocket connection, or to an answer that says why not.
//!
//! One task per accepted socket, with a deadline for all of it. On success it makes the connection's own small task
//! and ends, so that nothing of HTTP stays in memory.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::arrival::{Arrival, Guest};
use super::body::Body;
use super::connection::Connection;
use super::driver::Driver;
use super::host::{Admitted, Host, Refused, Route};
use super::http_io::HttpIo;
use super::transport::{HandshakeError, Transport};
use super::{Net, http2, proxied, upgrade};
use crate::admission::{Provenance, Turned};
use crate::echo;
use crate::metrics::{Handshake, Stage};
use crate::socket::Framing;

/// What a successful handshake leads to.
enum Upgraded<A> {
    Echo,
    Open(Admitted<A>),
}

/// What the pages of one socket mean for how long it may stay.
#[derive(Default)]
pub(super) struct Pages {
    /// Under way.
    open: Cell<u32>,
    /// One was asked for since somebody looked.
    asked: Cell<bool>,
    /// The place among handshakes, then that among sockets with pages.
    permit: RefCell<Option<OwnedSemaphorePermit>>,
    /// It is among the latter.
    moved: Cell<bool>,
    /// How many were answered, and how many the client gave up before that.
    answered: Cell<u32>,
    abandoned: Cell<u32>,
}

/// A page that is being made, or read.
struct OpenPage {
    pages: Rc<Pages>,
    answered: bool,
}

impl Drop for OpenPage {
    fn drop(&mut self) {
        self.pages.open.set(self.pages.open.get() - 1);
        let count = if self.answered { &self.pages.answered } else { &self.pages.abandoned };
        count.set(count.get().saturating_add(1));
    }
}

/// Pages that a client may give up before their answer, beyond as many as it has waited for.
const ABANDONED_MAX: u32 = 100;

impl Pages {
    /// `None` where there are too many sockets with pages.
    fn open<H: Host>(this: &Rc<Self>, net: &Net<H>) -> Option<OpenPage> {
        if !this.moved.get() {
            let permit = Arc::clone(&net.pages).try_acquire_owned().ok()?;
            *this.permit.borrow_mut() = Some(permit);
            this.moved.set(true);
        }
        this.asked.set(true);
        this.open.set(this.open.get() + 1);
        Some(OpenPage { pages: Rc::clone(this), answered: false })
    }

    /// Whether the client asks only to make us work (CVE-2023-44487).
    pub(super) fn are_abused(&self) -> bool {
        self.abandoned.get() > self.answered.get().saturating_add(ABANDONED_MAX)
    }

    /// Whether there were any since the last call.
    fn were_used(&self) -> bool {
        self.asked.take() || self.open.get() > 0
    }
}

/// Serves one accepted socket until it is a WebSocket connection or has ended.
pub(super) async fn serve<H: Host>(
    net: Rc<Net<H>>,
    tcp: TcpStream,
    arrival: Arrival,
    tls: Option<Arc<ServerConfig>>,
    permit: OwnedSemaphorePermit,
) {
    let accepted = Instant::now();
    let arrival = Rc::new(RefCell::new(arrival));
    let pages = Rc::new(Pages { permit: RefCell::new(Some(permit)), ..Pages::default() });
    let mut phase = Box::pin(http_phase(&net, tcp, &arrival, tls, &pages));
    let served = loop {
        match tokio::time::timeout(net.settings.http_timeout, &mut phase).await {
            Ok(served) => break served,
            Err(_) if pages.were_used() => {}
            Err(_) => {
                if !pages.moved.get() {
                    net.cells.handshake(Handshake::Timeout).add(1);
                }
                return;
            }
        }
    };
    drop(phase);
    match served {
        None => {}
        Some((transport, _, None)) => net.linger(transport),
        Some((transport, early, Some(Upgraded::Echo))) => {
            net.cells.handshake(Handshake::Ok).add(1);
            let provenance = std::mem::take(&mut arrival.borrow_mut().provenance);
            drop(net.tasks.spawn_local(async move {
                echo::run(transport, early).await;
                drop(provenance);
            }));
        }
        Some((transport, early, Some(Upgraded::Open(admitted)))) => {
            net.cells.handshake(Handshake::Ok).add(1);
            net.cells.took(Stage::Total, accepted.elapsed());
            let provenance = std::mem::take(&mut arrival.borrow_mut().provenance);
            open(&net, transport, &early, admitted, provenance);
        }
    }
}

/// Hands the connection to the host and starts its driver, beginning with the bytes that came behind the request.
fn open<H: Host>(
    net: &Rc<Net<H>>,
    transport: Transport,
    early: &[u8],
    admitted: Admitted<H::Admission>,
    provenance: Provenance,
) {
    let now = net.host.now();
    let secure = transport.is_secure();
    let connection = Connection::new(transport, net.terms(admitted.limits), now);
    let key = net.host.open(now, admitted.admission, connection, secure, provenance);
    let mut driver = Driver::new(Rc::clone(net), key);
    if !early.is_empty() {
        driver.take(now, &mut early.to_vec());
    }
    net.host.finish_turn(now);
    drop(net.tasks.spawn_local(driver));
}

type Served<A> = (Transport, Bytes, Option<Upgraded<A>>);

/// TLS and HTTP. `None`: the socket is gone.
async fn http_phase<H: Host>(
    net: &Rc<Net<H>>,
    mut tcp: TcpStream,
    arrival: &Rc<RefCell<Arrival>>,
    tls: Option<Arc<ServerConfig>>,
    pages: &Rc<Pages>,
) -> Option<Served<H::Admission>> {
    if arrival.borrow().proxied
        && let Err(counted) = learn_peer(net, &mut tcp, arrival).await
    {
        net.cells.handshake(counted).add(1);
        return None;
    }
    let mut transport = match tls {
        None => Transport::plain(tcp),
        Some(config) => {
            Transport::tls(tcp, config).inspect_err(|error| tracing::warn!(%error, "Starting TLS failed")).ok()?
        }
    };
    let started = Instant::now();
    match tokio::time::timeout(net.settings.tls_timeout, transport.handshake()).await {
        Ok(Ok(())) if transport.is_secure() => net.cells.took(Stage::Tls, started.elapsed()),
        Ok(Ok(())) => {}
        Ok(Err(HandshakeError::PlainHttp)) => {
            net.cells.handshake(Handshake::Tls).add(1);
            return Some((transport, Bytes::new(), None));
        }
        Ok(Err(HandshakeError::Failed(error))) => {
            tracing::debug!(%error, "TLS handshake failed");
            net.cells.handshake(Handshake::Tls).add(1);
            return Some((transport, Bytes::new(), None));
        }
        Err(_) => {
            net.cells.handshake(Handshake::Timeout).add(1);
            return None;
        }
    }

    let http2 = net.settings.http2
        && tokio::time::timeout(net.settings.head_timeout, transport.begins_http2()).await.ok()?.ok()?;
    let upgraded = Rc::new(RefCell::new(None));
    let handler = Handler {
        net: Rc::clone(net),
        arrival: Rc::clone(arrival),
        upgraded: Rc::clone(&upgraded),
        pages: Rc::clone(pages),
    };
    if http2 {
        http2::serve(net, HttpIo(transport), handler, pages).await;
        return None;
    }
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(net.settings.head_timeout)
        .max_header_size(net.settings.head_bytes_max)
        .max_buf_size(net.settings.head_bytes_max.max(8192))
        .serve_connection(HttpIo(transport), handler);
    let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if let Err(error) = &ended {
        tracing::debug!(%error, "HTTP ended");
    }
    if let Err(error) = ended
        && !pages.moved.get()
    {
        let result = if error.is_timeout() { Handshake::Timeout } else { Handshake::BadRequest };
        net.cells.handshake(result).add(1);
    }
    let parts = connection.into_parts();
    let upgraded = upgraded.take();
    Some((parts.io.0, parts.read_buf, upgraded))
}

/// Answers the requests of one socket.
pub(super) struct Handler<H: Host> {
    net: Rc<Net<H>>,
    /// From where.
    arrival: Rc<RefCell<Arrival>>,
    /// Set with the 101.
    upgraded: Rc<RefCell<Option<Upgraded<H::Admission>>>>,
    pages: Rc<Pages>,
}

impl<H: Host> Service<Request<Incoming>> for Handler<H> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let net = Rc::clone(&self.net);
        let (upgraded, arrival) = (Rc::clone(&self.upgraded), Rc::clone(&self.arrival));
        let pages = Rc::clone(&self.pages);
        Box::pin(async move {
            let wants_upgrade = request.headers().contains_key(UPGRADE);
            let (head, body) = request.into_parts();
            let result = match net.host.route(&head) {
                Route::Page(page) => match Pages::open(&pages, &net) {
                    Some(mut open) => {
                        let guest = Guest::new(&net, &arrival);
                        let mut response = net.host.respond(page, guest, Request::from_parts(head, body)).await;
                        open.answered = true;
                        response.body_mut().hold(open);
                        return Ok(response);
                    }
                    None => Err(TOO_MANY_PAGES),
                },
                Route::Refuse(refused) => Err(refused),
                Route::Endpoint(endpoint, framing) => {
                    answer(&net, &arrival, Some((endpoint, framing)), head, body).await
                }
                Route::Echo => answer(&net, &arrival, None, head, body).await,
            };
            let answer = match result {
                Ok((response, then)) => {
                    *upgraded.borrow_mut() = Some(then);
                    response
                }
                Err(refused) => {
                    net.cells.handshake(refused.counted).add(1);
                    refusal(&refused, wants_upgrade)
                }
            };
            Ok(answer)
        })
    }
}

/// Whom a balancer speaks for, and that client's place.
async fn learn_peer<H: Host>(net: &Net<H>, tcp: &mut TcpStream, arrival: &RefCell<Arrival>) -> Result<(), Handshake> {
    let read = tokio::time::timeout(net.settings.proxy_timeout, proxied::read(tcp)).await;
    let client = read.map_err(|_| Handshake::Timeout)?.map_err(|error| {
        tracing::debug!(%error, "Head of the PROXY protocol refused");
        Handshake::Proxy
    })?;
    let mut arrival = arrival.borrow_mut();
    arrival.peer = client.unwrap_or(arrival.peer);
    arrival.provenance.client = client;
    // A balancer that speaks for itself looks after our health: its place is not counted.
    if client.is_some() { arrival.take_seat(net).map_err(Turned::counted) } else { Ok(()) }
}

const TOO_MANY_PAGES: Refused = Refused {
    status: StatusCode::SERVICE_UNAVAILABLE,
    headers: Vec::new(),
    body: "too many connections",
    counted: Handshake::LimitNode,
};

/// An upgrade to an endpoint, or to the echo route.
async fn answer<H: Host>(
    net: &Net<H>,
    arrival: &RefCell<Arrival>,
    endpoint: Option<(H::Endpoint, Framing)>,
    head: Parts,
    body: Incoming,
) -> Result<(Response<Body>, Upgraded<H::Admission>), Refused> {
    upgrade::check(&head).map_err(|refusal| Refused {
        status: refusal.status,
        headers: refusal.header.into_iter().collect(),
        body: refusal.body,
        counted: Handshake::BadRequest,
    })?;
    arrival.borrow_mut().take_seat_for(net, &head.headers).map_err(turned)?;
    net.door.handshake(net.host.now().ms).map_err(turned)?;
    let then = match endpoint {
        Some((endpoint, framing)) => {
            let mut admitted = net.host.admit(&endpoint, &head).await?;
            admitted.limits.framing = framing;
            Upgraded::Open(admitted)
        }
        None => Upgraded::Echo,
    };
    let (response, _never_polled) =
        fastwebsockets::upgrade::upgrade(Request::from_parts(head, body)).map_err(|error| {
            tracing::debug!(%error, "Handshake failed after its checks");
            Refused {
                status: StatusCode::BAD_REQUEST,
                headers: Vec::new(),
                body: "not a WebSocket handshake",
                counted: Handshake::BadRequest,
            }
        })?;
    let mut response = response.map(|_| Body::empty());
    if let Upgraded::Open(Admitted { subprotocol: Some(subprotocol), .. }) = &then {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
    }
    Ok((response, then))
}

/// What somebody is told who is turned away after the request was read.
pub(crate) fn turned(turned: Turned) -> Refused {
    let (status, retry_after, body) = match turned {
        Turned::AddressConnections => (StatusCode::TOO_MANY_REQUESTS, "10", "too many connections from this address"),
        Turned::AddressRate => (StatusCode::TOO_MANY_REQUESTS, "2", "too many attempts from this address"),
        Turned::UserConnections => (StatusCode::TOO_MANY_REQUESTS, "10", "too many connections of this user"),
        Turned::NodeRate => (StatusCode::SERVICE_UNAVAILABLE, "2", "too many attempts"),
        Turned::Memory => (StatusCode::SERVICE_UNAVAILABLE, "10", "overloaded"),
    };
    Refused { status, headers: vec![("retry-after", retry_after)], body, counted: turned.counted() }
}

/// A refused upgrade closes the connection: a proxy on the way that believed in the upgrade would take what the client
/// sends next for frames, and we for requests.
fn refusal(refused: &Refused, close: bool) -> Response<Body> {
    let mut response = Response::new(Body::whole(format!("{}\n", refused.body.trim_end())));
    *response.status_mut() = refused.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    for (name, value) in &refused.headers {
        headers.append(*name, HeaderValue::from_static(value));
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
