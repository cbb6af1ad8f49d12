//! The task of one connection: reads, decodes, and hands messages to the host; writes what others left over.
//!
//! It parks on the socket's readiness with no buffer and no timer of its own. Deadlines are the shard's sweep, which
//! wakes the task. Knows no session.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::sockjs;

use super::counts::opcode;
use super::host::Host;
use super::{Net, scratch};
use crate::clock::Now;
use crate::session::Incoming;
use crate::shard::ClosedBy;
use crate::socket::{Class, Framing, Outgoing, Pushed, Socket};
use crate::ws::{Decoder, Fault, Item, frame};

/// What a SockJS client may send in one frame (SockJS has no limit of its own; this is the one for its HTTP requests).
pub(super) const SOCKJS_BYTES_MAX: usize = 256 * 1024;
/// Reads before other connections get their turn.
const READS_PER_POLL: usize = 2;

/// The task. Ends when the socket has; the connection is forgotten by then.
pub(super) struct Driver<H: Host> {
    net: Rc<Net<H>>,
    key: H::Key,
    decoder: Decoder,
    /// What is done with bytes that come.
    reading: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Decoded.
    Frames,
    /// Thrown away: the client closed, or broke the protocol.
    Nothing,
    /// There are none: the client will send no more, and only waits for what is still to be written.
    Over,
}

impl<H: Host> Driver<H> {
    pub(super) fn new(net: Rc<Net<H>>, key: H::Key) -> Self {
        Self { net, key, decoder: Decoder::default(), reading: Reading::Frames }
    }

    /// Decodes bytes and hands on what is in them. Bytes after the client's close frame mean nothing.
    pub(super) fn take(&mut self, now: Now, mut input: &mut [u8]) {
        let host = &self.net.host;
        let Some((mut limits, framing)) =
            host.with(self.key, |connection| (*connection.limits(), connection.framing()))
        else {
            return;
        };
        let message_bytes_max = limits.message_bytes_max;
        if framing == Framing::SockJs {
            // Escapes make a message longer, and one frame may bring many.
            limits.message_bytes_max = limits.message_bytes_max.max(SOCKJS_BYTES_MAX);
        }
        while self.reading == Reading::Frames {
            match self.decoder.next(&limits, &mut input) {
                Ok(Some(Item::Text(text))) if framing == Framing::SockJs => {
                    self.reading = unframe(&self.net, now, self.key, text, message_bytes_max);
                }
                Ok(Some(item)) => self.reading = deliver(&self.net, now, self.key, &item),
                Ok(None) => break,
                Err(fault) => {
                    self.reading = Reading::Nothing;
                    fail(&self.net, now, self.key, fault);
                }
            }
        }
        if self.reading != Reading::Frames {
            self.decoder = Decoder::default();
        }
    }

    fn finish(&self, now: Now, by: ClosedBy) {
        let transport = self.net.host.with(self.key, |connection| connection.take_transport()).flatten();
        self.net.host.closed(now, self.key, by);
        self.net.host.finish_turn(now);
        if let Some(transport) = transport {
            self.net.linger(transport);
        }
    }

    /// The stream ended, or broke.
    fn lost(&self, now: Now) -> Poll<()> {
        if let Some(by) = self.net.host.with(self.key, |connection| connection.lost()) {
            self.finish(now, by);
        }
        Poll::Ready(())
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS_PER_POLL {
            let now = self.net.host.now();
            let ended = self.net.host.with(self.key, |connection| {
                connection.attach(cx.waker());
                // Registered for room if some waits; reading goes on meanwhile.
                let _pending = connection.poll_flush(now, cx);
                connection.ended()
            });
            match ended {
                // Forgotten by the host, which is ending itself.
                None => return Poll::Ready(()),
                Some(Some(by)) => {
                    self.finish(now, by);
                    return Poll::Ready(());
                }
                Some(None) => {}
            }
            if self.reading == Reading::Over || Net::is_paused(&self.net, cx) {
                return Poll::Pending;
            }
            let read = scratch::lend(|buffer| {
                let read = self.net.host.with(self.key, |connection| connection.poll_read(now, cx, buffer));
                let bytes = ready!(read.unwrap_or(Poll::Ready(Ok(0))))?;
                self.take(now, buffer.get_mut(..bytes).unwrap_or_default());
                Poll::Ready(io::Result::Ok(bytes))
            });
            match ready!(read) {
                Ok(0) if self.net.host.with(self.key, |connection| connection.is_ending()) == Some(true) => {
                    self.reading = Reading::Over;
                }
                Ok(0) => return self.lost(now),
                Ok(_) => self.net.host.finish_turn(now),
                Err(error) => {
                    tracing::debug!(key = ?self.key, %error, "Socket failed");
                    return self.lost(now);
                }
            }
        }
        // Others first, and not only those that are ready: a plain wake would be served many times before the runtime
        // looks at the other sockets again; this one comes after that look.
        pin!(tokio::task::yield_now()).poll(cx)
    }
}

impl<H: Host> Future for Driver<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_turn(cx)
    }
}

impl<H: Host> Unpin for Driver<H> {}

/// One thing a client said; says what to do with the bytes behind it.
fn deliver<H: Host>(net: &Net<H>, now: Now, key: H::Key, item: &Item<'_>) -> Reading {
    use fastwebsockets::OpCode::{Binary, Close, Ping, Pong, Text};
    let kind = match item {
        Item::Text(_) => Text,
        Item::Binary(_) => Binary,
        Item::Ping(_) => Ping,
        Item::Pong(_) => Pong,
        Item::Close { .. } => Close,
    };
    net.cells.frames_received[opcode(kind) as usize].add(1);
    match *item {
        Item::Text(text) => net.host.receive(now, key, Incoming::Text(text)),
        Item::Binary(bytes) => net.host.receive(now, key, Incoming::Binary(bytes)),
        Item::Ping(payload) => pong(net, now, key, payload),
        // A sign of life, which reading it was already.
        Item::Pong(_) => {}
        Item::Close { code, .. } => {
            net.host.with(key, |connection| connection.closed_by_peer(now, code));
            return Reading::Nothing;
        }
    }
    Reading::Frames
}

/// The messages in a SockJS frame; an empty frame has none.
fn unframe<H: Host>(net: &Net<H>, now: Now, key: H::Key, text: &str, message_bytes_max: usize) -> Reading {
    net.cells.frames_received[opcode(fastwebsockets::OpCode::Text) as usize].add(1);
    if text.is_empty() {
        return Reading::Frames;
    }
    let Ok(messages) = sockjs::read(text) else {
        tracing::debug!(?key, "Client broke the framing of SockJS");
        refuse(net, now, key, Close::Protocol);
        return Reading::Nothing;
    };
    for message in &messages {
        if message.len() > message_bytes_max {
            refuse(net, now, key, Close::TooBig);
            return Reading::Nothing;
        }
        net.host.receive(now, key, Incoming::Text(message));
    }
    Reading::Frames
}

fn pong<H: Host>(net: &Net<H>, now: Now, key: H::Key, payload: &[u8]) {
    let outgoing = Outgoing { frame: frame::pong(payload), class: Class::Control };
    // The driver writes it when all that came with the ping has been handled.
    let pushed = net.host.with(key, |connection| connection.push(now, outgoing));
    if pushed == Some(Pushed::Overflow) {
        net.host.fail(now, key, Close::SlowConsumer);
    }
}

fn fail<H: Host>(net: &Net<H>, now: Now, key: H::Key, fault: Fault) {
    tracing::debug!(?key, error = %fault, "Client broke the protocol");
    refuse(net, now, key, fault.close());
}

fn refuse<H: Host>(net: &Net<H>, now: Now, key: H::Key, close: Close) {
    net.host.fail(now, key, close);
    net.host.with(key, |connection| connection.fail(now, close));
}
