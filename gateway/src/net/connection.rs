//! A real socket as shard and session see it: [`Socket`] over a [`Transport`] and an [`Outbox`].
//!
//! Writing happens from whoever calls [`Socket::flush`], mostly the shard's fan-out; only when the kernel takes no more
//! is the driver's task registered for the rest. Knows no session and no decoder; reading is the driver's.

mod past;

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::sockjs;

use super::counts::{count_lost, count_sent};
use super::transport::Transport;
use crate::clock::Now;
use crate::metrics::{Drop, ShardCells};
use crate::outbox::{Bounds, Lost, Outbox};
use crate::shard::ClosedBy;
use crate::socket::{Class, Framing, Outgoing, Pushed, Run, Socket, Taken, Written};
use crate::ws::{self, frame};

/// Frames in one write call.
const BATCH: usize = 64;

/// How long a close handshake may take, milliseconds; then the connection is dropped.
pub const CLOSE_WAIT_MS: u64 = 5_000;

/// A ping that is later than this, milliseconds, tells of a gateway that stood still: each connection is visited once a
/// second.
const LATE_MS: u64 = 1_500;

/// What an endpoint lets a connection do, as the socket needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For messages from the client.
    pub incoming: ws::Limits,
    /// For what waits to be written.
    pub outgoing: Bounds,
    /// Between pings, milliseconds. After two and a half of these without a byte the client is taken for gone.
    pub heartbeat_ms: u32,
    /// How messages travel.
    pub framing: Framing,
}

/// What connections of one kind share, so that none holds it by itself.
#[derive(Debug)]
pub struct Terms {
    /// What they may do.
    pub limits: Limits,
    /// What they count.
    pub cells: Arc<ShardCells>,
}

/// SockJS frames that are always the same, as complete WebSocket frames.
const SOCKJS_OPEN: Bytes = Bytes::from_static(&[0x81, 1, b'o']);
const SOCKJS_HEARTBEAT: Bytes = Bytes::from_static(&[0x81, 1, b'h']);

/// A client's socket with its queue. The shard owns it; the driver borrows it.
#[derive(Debug)]
pub struct Connection {
    /// `None` once the driver took it to end it.
    transport: Option<Transport>,
    outbox: Outbox,
    /// The driver's task, from its first poll on.
    driver: Option<Waker>,
    terms: Arc<Terms>,
    /// What [`Socket::flush`] said last while nothing was left over in TLS.
    passed: u64,
    heard_ms: u64,
    pinged_ms: u64,
    closing: Closing,
    /// Writing failed.
    broken: bool,
}

/// Where the close handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// Nobody wants to close.
    Open,
    /// Our close frame is queued or written, and the client's is awaited until then.
    Asked { code: u16, until_ms: u64 },
    /// Nothing is awaited from the client; what is queued has until then to leave.
    Ending { by: ClosedBy, until_ms: u64 },
    /// It took too long.
    Overdue { by: ClosedBy },
}

impl Connection {
    /// A connection that was just opened.
    pub fn new(transport: Transport, terms: Arc<Terms>, now: Now) -> Self {
        let mut outbox = Outbox::default();
        if terms.limits.framing == Framing::SockJs {
            outbox.push_last(now, SOCKJS_OPEN);
        }
        Self {
            transport: Some(transport),
            outbox,
            driver: None,
            terms,
            passed: 0,
            heard_ms: now.ms,
            pinged_ms: now.ms,
            closing: Closing::Open,
            broken: false,
        }
    }

    pub(super) fn limits(&self) -> &ws::Limits {
        &self.terms.limits.incoming
    }

    pub(super) fn is_open(&self) -> bool {
        self.closing == Closing::Open
    }

    /// The driver polls: from now on a write that would block wakes it.
    pub(super) fn attach(&mut self, driver: &Waker) {
        if self.driver.as_ref().is_none_or(|known| !known.will_wake(driver)) {
            self.driver = Some(driver.clone());
        }
    }

    /// Writes what waits; "pending" with the task registered while some still does.
    pub(super) fn poll_flush(&mut self, now: Now, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(transport) = self.transport.as_ref().filter(|_| !self.broken) else { return Poll::Ready(()) };
            if self.outbox.is_empty() && !transport.has_unsent() {
                return Poll::Ready(());
            }
            match transport.poll_write_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.broken = true,
            }
            self.write(now);
        }
    }

    /// Reads; every byte is a sign of life.
    pub(super) fn poll_read(&mut self, now: Now, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(transport) = &mut self.transport else { return Poll::Ready(Ok(0)) };
        let read = transport.poll_read(cx, out);
        if let Poll::Ready(Ok(bytes)) = &read {
            self.heard_ms = now.ms;
            self.terms.cells.received_bytes.add(*bytes as u64);
        }
        read
    }

    /// The client's close frame came: it is the answer to ours, or is answered with its own code.
    pub(super) fn closed_by_peer(&mut self, now: Now, code: Option<u16>) {
        let by = match self.closing {
            Closing::Open => {
                // Nobody reads what is queued any more (§5.5.1).
                self.outbox.clear();
                let answer = code.map_or(frame::CLOSE_EMPTY, |code| frame::close(code, ""));
                self.outbox.push_last(now, answer);
                ClosedBy::Client(code.unwrap_or(1005))
            }
            Closing::Asked { code, .. } => ClosedBy::Server(code),
            Closing::Ending { .. } | Closing::Overdue { .. } => return,
        };
        self.closing = Closing::Ending { by, until_ms: now.ms + CLOSE_WAIT_MS };
    }

    /// The client broke the protocol: after our close frame nothing is awaited from it (§7.1.7).
    pub(super) fn fail(&mut self, now: Now, close: Close) {
        self.close(now, close.code(), close.reason());
        if let Closing::Asked { code, .. } = self.closing {
            self.closing = Closing::Ending { by: ClosedBy::Server(code), until_ms: now.ms + CLOSE_WAIT_MS };
        }
    }

    /// Whether the socket is to be ended, and whose doing that is.
    pub(super) fn ended(&self) -> Option<ClosedBy> {
        let waits = !self.outbox.is_empty() || self.transport.as_ref().is_some_and(Transport::has_unsent);
        match self.closing {
            Closing::Overdue { by } => Some(by),
            Closing::Ending { by, .. } if !waits || self.broken => Some(by),
            Closing::Asked { code, .. } if self.broken => Some(ClosedBy::Server(code)),
            Closing::Open if self.broken => Some(ClosedBy::Network),
            Closing::Open | Closing::Asked { .. } | Closing::Ending { .. } => None,
        }
    }

    /// Whether nothing is awaited from the client any more, only that our last frames leave.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.closing, Closing::Ending { .. })
    }

    /// Whose doing it is when the stream ends or breaks now.
    pub(super) fn lost(&self) -> ClosedBy {
        match self.closing {
            Closing::Open => ClosedBy::Network,
            Closing::Asked { code, .. } => ClosedBy::Server(code),
            Closing::Ending { by, .. } | Closing::Overdue { by } => by,
        }
    }

    /// Takes the byte stream away, if it still is of use to say goodbye on.
    pub(super) fn take_transport(&mut self) -> Option<Transport> {
        let usable = !self.broken && !matches!(self.closing, Closing::Overdue { .. });
        self.transport.take().filter(|_| usable)
    }

    /// Who the socket is connected to, while it still is.
    pub fn peer(&self) -> Option<IpAddr> {
        self.transport.as_ref().and_then(Transport::peer)
    }

    /// Writes until nothing waits or the kernel takes no more.
    fn write(&mut self, now: Now) {
        let Some(transport) = self.transport.as_mut().filter(|_| !self.broken) else { return };
        let mut lost = Lost::default();
        let result = loop {
            let mut slices = [IoSlice::new(&[]); BATCH];
            let filled = self.outbox.fill(now, &mut slices, &mut lost);
            let ready = slices.get(..filled).unwrap_or_default();
            let written = if ready.is_empty() { transport.try_flush().map(|()| 0) } else { transport.try_write(ready) };
            match written {
                Ok(0) if ready.is_empty() => break Ok(()),
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.terms.cells.writes.add(1);
                    self.terms.cells.sent_bytes.add(bytes as u64);
                    self.outbox.advance(bytes, |frame| count_sent(&self.terms.cells, frame));
                }
                Err(error) => break Err(error),
            }
            if self.outbox.is_empty() && !transport.has_unsent() {
                break Ok(());
            }
        };
        count_lost(&self.terms.cells, lost);
        if !transport.has_unsent() {
            self.passed = self.outbox.passed();
        }
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let Some(driver) = &self.driver else { return };
                if transport.poll_write_ready(&mut Context::from_waker(driver)).is_ready() {
                    driver.wake_by_ref();
                }
            }
            Err(_) => {
                self.broken = true;
                self.wake();
            }
        }
    }

    fn wake(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    fn is_too_old(&mut self, now: Now) -> bool {
        let mut lost = Lost::default();
        let too_old = self.outbox.is_too_old(now, &self.terms.limits.outgoing, &mut lost);
        count_lost(&self.terms.cells, lost);
        too_old
    }
}

impl Socket for Connection {
    fn write_now(&mut self, now: Now, outgoing: &Outgoing) -> Written {
        self.write_past(now, outgoing)
    }

    fn takes_runs(&self) -> bool {
        self.takes_past()
    }

    fn write_run(&mut self, now: Now, run: &Run) -> Taken {
        self.write_run_past(now, run)
    }

    fn push(&mut self, now: Now, outgoing: Outgoing) -> Pushed {
        if !self.is_open() {
            if matches!(outgoing.class, Class::Message { .. }) {
                self.terms.cells.dropped(Drop::Closing).add(1);
            }
            return Pushed::Dropped;
        }
        // What piled up in this turn is not the client's fault: it may be able to take it.
        if !self.outbox.fits(outgoing.frame.len(), &self.terms.limits.outgoing) {
            self.write(now);
        }
        let mut lost = Lost::default();
        let pushed = self.outbox.push(now, outgoing, &self.terms.limits.outgoing, &mut lost);
        count_lost(&self.terms.cells, lost);
        pushed
    }

    fn flush(&mut self, now: Now) -> u64 {
        self.write(now);
        self.passed
    }

    fn take_gaps(&mut self) -> Vec<u32> {
        self.outbox.take_gaps()
    }

    fn take_behind(&mut self) -> Vec<(u32, NonZeroU64)> {
        self.outbox.take_behind()
    }

    fn take_withdrawn(&mut self) -> Vec<u64> {
        self.outbox.take_withdrawn()
    }

    fn forget(&mut self, scope: u32) {
        count_lost(&self.terms.cells, self.outbox.forget(scope));
    }

    fn has_room(&mut self, now: Now, frame_bytes: usize) -> bool {
        let fits = |outbox: &Outbox, limits: &Limits| outbox.fits(frame_bytes, &limits.outgoing);
        if !fits(&self.outbox, &self.terms.limits) {
            self.write(now);
        }
        fits(&self.outbox, &self.terms.limits)
    }

    fn close(&mut self, now: Now, code: u16, reason: &str) {
        if !self.is_open() {
            return;
        }
        if code == Close::SlowConsumer.code() {
            // It will not read the queue before the deadline; the reason should reach it rather.
            self.outbox.clear();
        }
        if self.terms.limits.framing == Framing::SockJs {
            self.outbox.push_last(now, frame::text(&sockjs::close(code, reason)));
        }
        self.outbox.push_last(now, frame::close(code, reason));
        self.closing = Closing::Asked { code, until_ms: now.ms + CLOSE_WAIT_MS };
        self.wake();
    }

    fn tick(&mut self, now: Now) -> Option<Close> {
        match self.closing {
            Closing::Open => {}
            Closing::Asked { code, until_ms } if now.ms >= until_ms => {
                self.closing = Closing::Overdue { by: ClosedBy::Server(code) };
                self.wake();
            }
            Closing::Ending { by, until_ms } if now.ms >= until_ms => {
                self.closing = Closing::Overdue { by };
                self.wake();
            }
            Closing::Asked { .. } | Closing::Ending { .. } | Closing::Overdue { .. } => {}
        }
        if !self.is_open() {
            return None;
        }
        let heartbeat_ms = u64::from(self.terms.limits.heartbeat_ms);
        if now.ms.saturating_sub(self.pinged_ms) > heartbeat_ms + LATE_MS {
            // No ping has left when it was due: it is we who stood still. What the client said meanwhile is not read
            // yet, and it could not answer what it was not asked.
            self.heard_ms = self.heard_ms.max(now.ms.saturating_sub(heartbeat_ms));
        }
        if now.ms.saturating_sub(self.heard_ms) > heartbeat_ms * 5 / 2 {
            return Some(Close::Silent);
        }
        if self.is_too_old(now) {
            return Some(Close::SlowConsumer);
        }
        if now.ms.saturating_sub(self.pinged_ms) >= heartbeat_ms {
            self.pinged_ms = now.ms;
            // A SockJS client cannot see pings; it and its proxies want the other, which it does not answer.
            let also = (self.terms.limits.framing == Framing::SockJs).then_some(SOCKJS_HEARTBEAT);
            for frame in [frame::PING].into_iter().chain(also) {
                if self.push(now, Outgoing { frame, class: Class::Control }) == Pushed::Overflow {
                    return Some(Close::SlowConsumer);
                }
            }
        }
        None
    }

    fn queued_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    fn framing(&self) -> Framing {
        self.terms.limits.framing
    }
}
