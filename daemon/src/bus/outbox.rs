//! Publishing that never waits.
//!
//! The client takes a message at once while its own channel has room. Else messages line up here, in order, and a
//! task of ours feeds them in as room comes; what exceeds the bounds is refused, and what still waits when the
//! connection is lost is dropped, both counted. After an outage nobody wants the oldest messages first.

use super::{BusMetrics, Outgoing, PublishError};
use async_nats::connection::State;
use async_nats::message::OutboundMessage;
use async_nats::{Client, HeaderMap};
use futures_util::Sink;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio::task::coop;
use tokio_util::sync::CancellationToken;

/// Bounds of what may wait here: a second or two of the fastest traffic.
pub(super) const MESSAGES_MAX: usize = 262_144;
const BYTES_MAX: usize = 64 << 20;

pub(super) struct Outbox {
    client: Client,
    metrics: BusMetrics,
    queue: Mutex<Queue>,
    /// Notified when the overflow becomes empty.
    drained: Notify,
}

/// Held only for the hand-over of a message, never across a wait.
struct Queue {
    /// The client's sending half, with at most one place in its channel reserved.
    sink: Client,
    overflow: VecDeque<OutboundMessage>,
    overflow_bytes: usize,
    /// The writer, where it waits for the overflow to begin.
    writer: Option<Waker>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    pub(super) fn new(client: Client, metrics: BusMetrics) -> Self {
        let sink = client.clone();
        let queue = Queue { sink, overflow: VecDeque::new(), overflow_bytes: 0, writer: None };
        Self { client, metrics, queue: Mutex::new(queue), drained: Notify::new() }
    }

    pub(super) fn try_publish(&self, message: Outgoing) -> Result<(), PublishError> {
        if !is_subject(&message.subject) || !message.reply.as_deref().is_none_or(is_subject) {
            return Err(PublishError::Subject);
        }
        let bytes = message.payload.len() + message.headers.as_ref().map_or(0, header_bytes);
        if bytes > self.client.max_payload() {
            return Err(PublishError::TooBig);
        }
        if self.client.connection_state() != State::Connected {
            return Err(PublishError::Disconnected);
        }
        let message = OutboundMessage {
            subject: message.subject.into(),
            reply: message.reply.map(Into::into),
            headers: message.headers,
            payload: message.payload,
        };
        self.lock().take(message)?;
        self.metrics.messages_out.inc();
        self.metrics.bytes_out.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Messages that wait here.
    pub(super) fn len(&self) -> usize {
        self.lock().overflow.len()
    }

    /// Drops what waits, and tells how much that was.
    pub(super) fn forget(&self) -> usize {
        let mut queue = self.lock();
        queue.overflow_bytes = 0;
        let forgotten = std::mem::take(&mut queue.overflow).len();
        drop(queue);
        self.metrics.overflow.set(0);
        self.drained.notify_waiters();
        forgotten
    }

    /// Completes when nothing waits here. Cancel-safe.
    pub(super) async fn drained(&self) {
        loop {
            let mut notified = pin!(self.drained.notified());
            // Registered before the look, so that no notification falls between.
            notified.as_mut().enable();
            if self.lock().overflow.is_empty() {
                return;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, message: OutboundMessage) -> Result<(), PublishError> {
        if self.overflow.is_empty() {
            match self.has_room() {
                Poll::Ready(Ok(())) => return self.hand_over(message),
                Poll::Ready(Err(closed)) => return Err(closed),
                Poll::Pending => {}
            }
        }
        let bytes = self.overflow_bytes + message.payload.len();
        if self.overflow.len() >= MESSAGES_MAX || bytes > BYTES_MAX {
            return Err(PublishError::Full);
        }
        self.overflow_bytes = bytes;
        self.overflow.push_back(message);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Ok(())
    }

    /// Whether the client takes a message now. Outside the caller's cooperative budget: a caller that has used it up
    /// must not be told that a channel with room is full.
    fn has_room(&mut self) -> Poll<Result<(), PublishError>> {
        let sink = &mut self.sink;
        let ready = poll_fn(|cx| Pin::new(&mut *sink).poll_ready(cx));
        let polled = pin!(coop::unconstrained(ready)).poll(&mut Context::from_waker(Waker::noop()));
        polled.map_err(|_| PublishError::Disconnected)
    }

    fn hand_over(&mut self, message: OutboundMessage) -> Result<(), PublishError> {
        Pin::new(&mut self.sink).start_send(message).map_err(|_| PublishError::Disconnected)
    }

    /// Feeds the overflow in until there is neither overflow nor room.
    fn poll_write(&mut self, cx: &mut Context<'_>, metrics: &BusMetrics) -> Poll<()> {
        loop {
            if self.overflow.is_empty() {
                self.writer = Some(cx.waker().clone());
                return Poll::Ready(());
            }
            match Pin::new(&mut self.sink).poll_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => self.overflow.clear(),
                Poll::Ready(Ok(())) => {
                    if let Some(message) = self.overflow.pop_front() {
                        self.overflow_bytes = self.overflow_bytes.saturating_sub(message.payload.len());
                        // The client refuses only what is too big, and that was checked on the way in; the server's
                        // limit may have shrunk since, with a reconnect to another server.
                        if self.hand_over(message).is_err() {
                            metrics.lost(1);
                        }
                    }
                }
            }
        }
    }
}

/// Runs the writer until `end`.
pub(super) fn write(outbox: Arc<Outbox>, end: CancellationToken) {
    let writing = poll_fn(move |cx| {
        let mut queue = outbox.lock();
        let empty = queue.poll_write(cx, &outbox.metrics).is_ready();
        outbox.metrics.overflow.set(i64::try_from(queue.overflow.len()).unwrap_or(i64::MAX));
        drop(queue);
        if empty {
            outbox.drained.notify_waiters();
        }
        Poll::<()>::Pending
    });
    super::spawn_until(end, writing);
}

/// What NATS can carry in one protocol line; wildcards and empty tokens are the caller's mistake to make.
fn is_subject(subject: &str) -> bool {
    !subject.is_empty() && subject.bytes().all(|byte| byte > b' ' && byte != 0x7F)
}

/// The size of headers on the wire: a version line, `name: value` lines, an empty line.
fn header_bytes(headers: &HeaderMap) -> usize {
    const FRAME: usize = "NATS/1.0\r\n\r\n".len();
    let line = |name: &str, value: &str| name.len() + value.len() + ": \r\n".len();
    let lines = headers.iter().flat_map(|(name, values)| values.iter().map(move |v| line(name.as_ref(), v.as_str())));
    FRAME + lines.sum::<usize>()
}
