//! HTTP/2 (RFC 9113), for pages: the requests of one client share a connection. No WebSocket: that is HTTP/1.1's.
//!
//! hyper and `h2` keep to the protocol and to bounds of their own for what a peer may make them do (headers in endless
//! pieces, resets of streams that nobody has seen yet); here is what a connection may hold, and who abuses it.

use std::future::Future;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio_util::task::TaskTracker;

use super::Net;
use super::host::Host;
use super::http::{Handler, Pages};
use super::http_io::HttpIo;

/// Requests of one connection at once: what browsers have at most.
const STREAMS_MAX: u32 = 100;
/// What one request's body may have on its way to us, and all of a connection's together.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// What may wait to be written for one request.
const SEND_BYTES_MAX: usize = 16 * 1024;
/// A connection that says nothing is asked for a sign of life this often, and has this long for it.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until it ends; how long it may be idle is the caller's business.
pub(super) async fn serve<H: Host>(net: &Rc<Net<H>>, io: HttpIo, handler: Handler<H>, pages: &Rc<Pages>) {
    let mut connection = std::pin::pin!(
        http2::Builder::new(OnThisThread(net.tasks.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(net.settings.head_bytes_max).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(io, handler)
    );
    let served = std::future::poll_fn(|cx| {
        if pages.are_abused() {
            return Poll::Ready(None);
        }
        connection.as_mut().poll(cx).map(Some)
    });
    match served.await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "HTTP/2 ended"),
        None => tracing::debug!("HTTP/2 ended: requests are given up faster than they can be answered"),
    }
}

/// Requests stay on the shard's thread.
#[derive(Debug, Clone)]
struct OnThisThread(TaskTracker);

impl<F: Future<Output: 'static> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        drop(self.0.spawn_local(future));
    }
}
