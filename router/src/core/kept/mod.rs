//! Kept messages: the stream's copies, forwarded as sends are, and how far it was read. Knows no JetStream: it is told the
//! stream's epoch and where it ends, hears what it republishes, and asks for what it missed.
//!
//! A copy that nobody forwarded because its owner died is in the hands of all others too: each keeps the last seconds of
//! them, and the heir of a partition forwards those again. What had to wait here goes out whoever owns it: meanwhile it
//! may have changed hands. Nodes drop what they have.

mod forward;
mod order;

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;
use holdfast_protocol::kept::{self, LAST_SEQUENCE, SEQUENCE, SUBJECT, Stored, TIME_STAMP};
use holdfast_protocol::position::Position;
use holdfast_protocol::send::Headers;
use holdfast_protocol::wire::{Target, Text};

use super::event::{Now, Request};
use super::settings::KEPT_RECENT_MS;
use super::tally::Dropped;
use super::{Action, Phase, Router};
use order::{Hole, Order, Verdict};

/// Copies that are remembered for heirs.
const RECENT_MAX: usize = 65_536;
/// Bytes of them.
const RECENT_BYTES_MAX: usize = 32 << 20;
/// Copies that wait to be told the stream's epoch, the oldest given up first.
const WAITING_MAX: usize = 4_096;
/// Bytes of them.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// A copy as it was, to be taken later.
#[derive(Debug)]
struct Waiting {
    subject: Box<str>,
    headers: Vec<(Box<str>, Box<str>)>,
    payload: Bytes,
}

/// A copy that was heard lately.
#[derive(Debug)]
struct Recent {
    at_ms: u64,
    partition: usize,
    target: Target,
    body: Bytes,
}

/// What is known of the stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    epoch: Option<Text>,
    /// When it was made: what was stored before is of another one.
    created_ms: u64,
    order: Order<Waiting>,
    /// The stream may be another one: copies wait until it was looked at again.
    is_doubted: bool,
    /// The read that is under way, and up to where.
    reading: Option<(u64, u64)>,
    /// Up to where what follows from copies has gone out, as of the last turn.
    sent: Option<u64>,
    /// Copies heard, and the last one's sequence, whatever became of them.
    heard: (u64, u64),
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// Copies that wait for a look at the stream, and the sequence of the first.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    waiting_from: Option<u64>,
}

impl Stream {
    fn position(&self, seq: Option<u64>) -> Option<Position> {
        Some(Position { epoch: self.epoch.clone()?, seq: seq? })
    }

    /// Up to where what follows from copies has been packed.
    pub(super) fn processed(&self) -> Option<Position> {
        self.position(self.order.processed())
    }

    /// Up to where what follows from copies has been handed to the bus.
    pub(super) fn sent(&self) -> Option<Position> {
        self.position(self.sent)
    }

    /// All that was packed has been handed over.
    pub(super) fn note_sent(&mut self) {
        self.sent = self.order.processed();
    }

    /// Nothing is heard any more: what was heard so far says nothing of what comes.
    pub(super) fn cut_off(&mut self) {
        *self = Self { epoch: self.epoch.take(), created_ms: self.created_ms, heard: self.heard, ..Self::default() };
    }

    /// Another stream: what was heard of the one before says nothing of it. What waits is for this one, unless it is the
    /// one before under another epoch: nobody can tell then, and it is read back where it still exists.
    fn begin_anew(&mut self, epoch: &str, created_ms: u64) {
        let is_renamed = self.epoch.is_some() && created_ms <= self.created_ms;
        *self = Self {
            epoch: Some(epoch.into()),
            created_ms,
            is_doubted: self.is_doubted,
            heard: self.heard,
            waiting: mem::take(&mut self.waiting),
            waiting_bytes: self.waiting_bytes,
            waiting_from: self.waiting_from,
            ..Self::default()
        };
        if is_renamed {
            self.waiting.clear();
        }
    }

    fn remember(&mut self, recent: Recent) {
        self.recent_bytes += recent.body.len();
        let now_ms = recent.at_ms;
        self.recent.push_back(recent);
        while let Some(oldest) = self.recent.front()
            && (oldest.at_ms + KEPT_RECENT_MS < now_ms
                || self.recent.len() > RECENT_MAX
                || self.recent_bytes > RECENT_BYTES_MAX)
        {
            self.recent_bytes -= oldest.body.len();
            self.recent.pop_front();
        }
    }

    /// Lets a copy wait for a look at the stream; returns how many were given up for it.
    fn wait(&mut self, seq: u64, request: &Request<'_>) -> u64 {
        self.waiting_from.get_or_insert(seq);
        let copy = Waiting::of(request);
        self.waiting_bytes += copy.payload.len();
        self.waiting.push_back(copy);
        let mut given_up = 0;
        while self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= oldest.payload.len();
            given_up += 1;
        }
        given_up
    }
}

impl Waiting {
    fn of(request: &Request<'_>) -> Self {
        let mut headers = Vec::new();
        request.headers.each(&mut |name, value| headers.push((name.into(), value.into())));
        // The block the client library received in would stay as long as this one message.
        let payload = Bytes::copy_from_slice(request.payload);
        Self { subject: request.subject.into(), headers, payload }
    }

    fn with_request<R>(&self, act: impl FnOnce(Request<'_>) -> R) -> R {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let headers: &[(&str, &str)] = &headers;
        act(Request { subject: &self.subject, reply: None, headers: &headers, payload: &self.payload })
    }
}

/// What the stream says of a copy in its headers.
fn place_of(headers: &dyn Headers) -> Option<(String, Stored)> {
    let (mut subject, mut seq, mut previous, mut stored_ms) = (None, None, None, None);
    headers.each(&mut |name, value| match name {
        SUBJECT => subject = Some(value.to_owned()),
        SEQUENCE => seq = value.parse::<u64>().ok(),
        LAST_SEQUENCE => previous = value.parse::<u64>().ok(),
        TIME_STAMP => stored_ms = kept::unix_ms(value),
        _ => {}
    });
    let stored = Stored { epoch: Text::default(), seq: seq?, previous: previous?, stored_ms: stored_ms? };
    Some((subject?, stored))
}

impl Router {
    /// How many copies of stored messages came so far, and the sequence of the last one.
    pub const fn copies_heard(&self) -> (u64, u64) {
        self.stream.heard
    }

    /// A copy of a stored message.
    pub(super) fn on_kept(&mut self, now: Now, request: Request<'_>) {
        if !self.may_handle(now) {
            return;
        }
        let Some((subject, stored)) = place_of(request.headers) else {
            self.tally.drop(Dropped::KeptUnreadable, 1);
            return;
        };
        self.stream.heard = (self.stream.heard.0 + 1, stored.seq);
        if self.stream.epoch.is_none() || !self.stream.order.has_begun() || self.stream.is_doubted {
            self.let_wait(stored.seq, &request);
            return;
        }
        self.take_or_hold(now, &subject, stored, &request, false);
    }

    fn let_wait(&mut self, seq: u64, request: &Request<'_>) {
        let given_up = self.stream.wait(seq, request);
        self.tally.drop(Dropped::KeptWaiting, given_up);
    }

    /// A copy that need not wait for a look. `is_late` where it has waited for one.
    fn take_or_hold(&mut self, now: Now, subject: &str, stored: Stored, request: &Request<'_>, is_late: bool) {
        let order = &mut self.stream.order;
        let is_late = is_late || order.is_read_back(stored.seq);
        if stored.stored_ms < self.stream.created_ms {
            self.tally.drop(Dropped::KeptOfBefore, 1);
            return;
        }
        match order.judge(now.ms, stored.seq, stored.stored_ms, is_late) {
            Verdict::Take => {
                self.take_copy(now, subject, stored, request, is_late);
                self.take_held(now);
            }
            Verdict::Hold => {
                order.hold(now.ms, stored.seq, Waiting::of(request), request.payload.len());
                self.see_to_holes(now);
            }
            Verdict::Twice => self.tally.kept_second += 1,
            Verdict::Doubt => {
                self.stream.is_doubted = true;
                self.stream.waiting_from = None;
                self.actions.push(Action::LookAtStream);
                self.let_wait(stored.seq, request);
            }
        }
    }

    /// Takes what waited behind a hole that is filled.
    fn take_held(&mut self, now: Now) {
        while let Some(copy) = self.stream.order.release() {
            copy.with_request(|request| {
                if let Some((subject, stored)) = place_of(request.headers) {
                    self.take_copy(now, &subject, stored, &request, true);
                }
            });
        }
        self.see_to_holes(now);
    }

    /// Has read back what is missing; where that cannot be, nodes are to read it for themselves.
    pub(super) fn see_to_holes(&mut self, now: Now) {
        if self.stream.is_doubted || !self.is_able(now) {
            return;
        }
        match self.stream.order.look_for_holes(now.ms) {
            Hole::Wait => {}
            Hole::Read { from, to } => {
                self.tally.kept_holes += 1;
                let number = self.next_number();
                self.stream.reading = Some((number, to));
                self.actions.push(Action::ReadKept { number, from, to });
            }
            Hole::GiveUp => {
                self.tally.kept_holes_left += 1;
                self.stream.order.give_up();
                // A packet that never comes: nodes miss it and reconcile with the stream.
                self.fleet.skip_packet();
                self.take_held(now);
            }
        }
    }

    /// What was asked for has been read back, or could not be.
    pub(super) fn on_kept_read(&mut self, now: Now, number: u64, whole: bool, copies: &[Request<'_>]) {
        let Some((_, to)) = self.stream.reading.take_if(|(asked, _)| *asked == number) else { return };
        if self.may_handle(now) {
            for request in copies {
                if let Some((subject, stored)) = place_of(request.headers) {
                    self.take_or_hold(now, &subject, stored, request, true);
                }
            }
            self.tally.kept_read_back += copies.len() as u64;
            self.stream.order.read_ended(now.ms, Some(to).filter(|_| whole));
            self.take_held(now);
        } else {
            self.stream.order.read_ended(now.ms, None);
        }
    }

    fn take_copy(&mut self, now: Now, subject: &str, stored: Stored, request: &Request<'_>, is_late: bool) {
        let Some(epoch) = self.stream.epoch.clone() else { return };
        self.stream.order.taken(stored.seq, stored.stored_ms);
        // The block the client library received in would stay as long as this one message.
        let payload = Bytes::copy_from_slice(request.payload);
        let stored = Stored { epoch, ..stored };
        match kept::delivery(&self.settings.subjects, subject, request.headers, payload, stored) {
            Some(kept::Read { delivery, ignored, receipt }) => {
                self.tally.kept_headers_ignored += ignored as u64;
                self.forward_kept(now, delivery, receipt, is_late);
            }
            None => self.tally.drop(Dropped::KeptUnreadable, 1),
        }
    }

    /// What the stream says of itself. `heard` tells that it was asked after we had begun to listen, or last asked for
    /// a look.
    pub(super) fn on_stream(&mut self, now: Now, epoch: &str, (last, created_ms): (u64, u64), heard: bool) {
        if self.stream.is_doubted && !heard {
            return;
        }
        if self.stream.epoch.as_deref() != Some(epoch) {
            self.stream.begin_anew(epoch, created_ms);
        }
        if !heard || !matches!(self.phase, Phase::Live | Phase::Leaving { .. }) {
            return;
        }
        self.stream.is_doubted = false;
        self.stream.order.note_end(now.ms, last, self.stream.waiting_from.take());
        self.stream.waiting_bytes = 0;
        for copy in mem::take(&mut self.stream.waiting) {
            copy.with_request(|request| {
                if let Some((subject, stored)) = place_of(request.headers) {
                    self.take_or_hold(now, &subject, stored, &request, true);
                }
            });
        }
    }
}
