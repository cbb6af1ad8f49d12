//! The HTTP side: from an accepted socket to a WebSocket connection, or to an answer that says why not.
//!
//! One task per accepted socket, with a deadline for all of it. On success it makes the connection's own small task
//! and ends, so that nothing of HTTP stays in memory.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::driver::Driver;
use super::host::{Admitted, Host, Refused, Route};
use super::transport::{HandshakeError, Transport};
use super::{Net, scratch, upgrade};
use crate::echo;
use crate::metrics::Handshake;

/// What a successful handshake leads to.
enum Upgraded<A> {
    Echo,
    Open(Admitted<A>),
}

/// Serves one accepted socket until it is a WebSocket connection or has ended.
pub(super) async fn serve<H: Host>(net: Rc<Net<H>>, tcp: TcpStream, tls: Option<Arc<ServerConfig>>) {
    let phase = http_phase(&net, tcp, tls);
    let Ok(served) = tokio::time::timeout(net.settings.http_timeout, Box::pin(phase)).await else {
        net.cells.handshake(Handshake::Timeout).add(1);
        return;
    };
    match served {
        None => {}
        Some((transport, _, None)) => net.linger(transport),
        Some((transport, early, Some(Upgraded::Echo))) => {
            net.cells.handshake(Handshake::Ok).add(1);
            drop(net.tasks.spawn_local(echo::run(transport, early)));
        }
        Some((transport, early, Some(Upgraded::Open(admitted)))) => {
            net.cells.handshake(Handshake::Ok).add(1);
            open(&net, transport, &early, admitted);
        }
    }
}

/// Hands the connection to the host and starts its driver, beginning with the bytes that came behind the request.
fn open<H: Host>(net: &Rc<Net<H>>, transport: Transport, early: &[u8], admitted: Admitted<H::Admission>) {
    let now = net.host.now();
    let secure = transport.is_secure();
    let connection = Connection::new(transport, admitted.limits, Arc::clone(&net.cells), now);
    let key = net.host.open(now, admitted.admission, connection, secure);
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
    tcp: TcpStream,
    tls: Option<Arc<ServerConfig>>,
) -> Option<Served<H::Admission>> {
    let mut transport = match tls {
        None => Transport::plain(tcp),
        Some(config) => {
            Transport::tls(tcp, config).inspect_err(|error| tracing::warn!(%error, "Starting TLS failed")).ok()?
        }
    };
    match tokio::time::timeout(net.settings.tls_timeout, transport.handshake()).await {
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

    let upgraded = Rc::new(RefCell::new(None));
    let handler = Handler { net: Rc::clone(net), upgraded: Rc::clone(&upgraded) };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(net.settings.head_timeout)
        .max_header_size(net.settings.head_bytes_max)
        .max_buf_size(net.settings.head_bytes_max.max(8192))
        .serve_connection(HttpIo(transport), handler);
    let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP ended");
        let result = if error.is_timeout() { Handshake::Timeout } else { Handshake::BadRequest };
        net.cells.handshake(result).add(1);
    }
    let parts = connection.into_parts();
    let upgraded = upgraded.take();
    Some((parts.io.0, parts.read_buf, upgraded))
}

/// Answers the requests of one socket.
struct Handler<H: Host> {
    net: Rc<Net<H>>,
    /// Set with the 101.
    upgraded: Rc<RefCell<Option<Upgraded<H::Admission>>>>,
}

impl<H: Host> Service<Request<Incoming>> for Handler<H> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let net = Rc::clone(&self.net);
        let upgraded = Rc::clone(&self.upgraded);
        Box::pin(async move {
            let wants_upgrade = request.headers().contains_key(UPGRADE);
            let answer = match answer(&net, request).await {
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

async fn answer<H: Host>(
    net: &Net<H>,
    request: Request<Incoming>,
) -> Result<(Response<Full<Bytes>>, Upgraded<H::Admission>), Refused> {
    let (head, body) = request.into_parts();
    let route = match net.host.route(head.uri.path()) {
        Route::Refuse(refused) => return Err(refused),
        route => route,
    };
    upgrade::check(&head).map_err(|refusal| Refused {
        status: refusal.status,
        headers: refusal.header.into_iter().collect(),
        body: refusal.body,
        counted: Handshake::BadRequest,
    })?;
    let then = match &route {
        Route::Endpoint(endpoint) => Upgraded::Open(net.host.admit(endpoint, &head).await?),
        Route::Echo | Route::Refuse(_) => Upgraded::Echo,
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
    let mut response = response.map(|_| Full::default());
    if let Upgraded::Open(Admitted { subprotocol: Some(subprotocol), .. }) = &then {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
    }
    Ok((response, then))
}

/// A refused upgrade closes the connection: a proxy on the way that believed in the upgrade would take what the client
/// sends next for frames, and we for requests.
fn refusal(refused: &Refused, close: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", refused.body.trim_end()))));
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

/// A transport as hyper wants it.
struct HttpIo(Transport);

impl Read for HttpIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        scratch::lend(|scratch| {
            let room = buffer.remaining().min(scratch.len());
            let out = scratch.get_mut(..room).unwrap_or_default();
            let bytes = ready!(self.0.poll_read(cx, out))?;
            buffer.put_slice(out.get(..bytes).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }
}

impl Write for HttpIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write(&[IoSlice::new(bytes)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_flush(cx))?;
        Poll::Ready(self.0.finish())
    }
}
