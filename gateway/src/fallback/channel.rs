//! The socket of a session over HTTP: a bounded queue that receiving requests empty, one at a time.
//!
//! Pure: knows no HTTP, no bus and no clock. What it hands out are answers to exchanges, in a list that the shard's
//! runtime empties. A receiver asks for the next piece when it has written the last: that is the flow control.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::wire::{Caller, Exchanged};

use super::form::Form;
use super::receiver::{PIECE_BYTES_MAX, REFRESH_MS, Receiver, SILENT_MS};
use crate::admission::Provenance;
use crate::clock::Now;
use crate::link::Asker;
use crate::metrics::{Drop as DropReason, ShardCells};
use crate::net::count_lost;
use crate::outbox::{Bounds, Lost, Outbox};
use crate::shard::ClosedBy;
use crate::socket::{Class, Framing, Outgoing, Pushed, Socket};

/// Answers on their way to who asked.
pub type Answers = Rc<RefCell<VecDeque<(Asker, Exchanged)>>>;

/// How long a session that was closed says so to those who ask.
const FAREWELL_MS: u64 = 5_000;
/// How long routers may take to know of the session.
const OPENING_MS: u64 = 5_000;
/// How long a session may be without a receiver: a SockJS client comes back at once, others may have to find a network.
const ALONE_SOCKJS_MS: u64 = 5_000;
const ALONE_NATIVE_MS: u64 = 15_000;

/// What a session is made with.
#[derive(Debug)]
pub struct ChannelSettings {
    /// Its name among the nodes.
    pub name: Arc<str>,
    /// Who may use it.
    pub caller: Caller,
    /// How its messages travel.
    pub framing: Framing,
    /// Bounds of what waits.
    pub bounds: Bounds,
    /// Between signs of life.
    pub heartbeat_ms: u64,
    /// Where it counts.
    pub cells: Arc<ShardCells>,
    /// Where its answers go.
    pub answers: Answers,
    /// Its client's address when it began, and that one's place, given back when it ends.
    pub from: Provenance,
}

/// A session's socket.
#[derive(Debug)]
pub struct Channel {
    settings: ChannelSettings,
    outbox: Outbox,
    receiver: Option<Receiver>,
    /// The last one, which may not have got its last piece.
    before: Option<Receiver>,
    /// Since when there is no receiver.
    alone_ms: u64,
    /// The greeting has not been handed out.
    greet: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Routers are being told of it.
    Opening {
        until_ms: u64,
    },
    Open,
    /// Says so until then.
    Closed {
        by: ClosedBy,
        code: u16,
        reason: Box<str>,
        until_ms: u64,
    },
}

impl Channel {
    /// A session that nobody knows of yet.
    pub fn new(now: Now, settings: ChannelSettings) -> Self {
        Self {
            settings,
            outbox: Outbox::default(),
            receiver: None,
            before: None,
            alone_ms: now.ms,
            greet: true,
            state: State::Opening { until_ms: now.ms + OPENING_MS },
        }
    }

    /// What it was made with.
    pub const fn settings(&self) -> &ChannelSettings {
        &self.settings
    }

    /// Routers know of it.
    pub fn opened(&mut self, now: Now) {
        if matches!(self.state, State::Opening { .. }) {
            self.state = State::Open;
            self.alone_ms = now.ms;
            self.serve(now);
        }
    }

    /// Whether whoever sent a request is the session's client: by the same credential, or as the same user. The name of
    /// a native session is a secret, and says enough.
    pub fn is_of(&self, caller: &Caller) -> bool {
        if self.settings.framing == Framing::Plain {
            return true;
        }
        let known = &self.settings.caller;
        known.credential == caller.credential || (known.user.is_some() && known.user == caller.user)
    }

    /// Whether what the client sends still matters.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// A receiver asks for more.
    pub fn receive(&mut self, now: Now, asker: Asker, id: u64, form: Form, have: u64) {
        if form.framing() != self.settings.framing {
            return self.say(asker, Exchanged::Unknown);
        }
        if let Some(before) = self.before.take_if(|before| before.id != id || have < before.number)
            && before.id == id
        {
            let piece = before.last_piece(true);
            self.before = Some(before);
            return self.say(asker, piece);
        }
        match &mut self.receiver {
            Some(receiver) if receiver.id == id => {
                receiver.asked_ms = now.ms;
                let (given_up, number) = (receiver.waiting.replace((asker, now.ms)), receiver.number);
                if let Some((given_up, _)) = given_up {
                    self.say(given_up, Exchanged::Piece { number, bytes: Bytes::new(), end: false });
                }
                if have < number {
                    self.repeat();
                } else if let Some(receiver) = &mut self.receiver {
                    receiver.piece = Bytes::new();
                }
                self.serve(now);
            }
            Some(_) => self.say(asker, Exchanged::Taken),
            None => {
                self.receiver = Some(Receiver::new(now, asker, id, form));
                self.serve(now);
                // At once, so that its answer can begin.
                self.hand_out(now, true);
            }
        }
    }

    /// A receiver is gone before its end. True if that ends the session.
    pub fn leave(&mut self, now: Now, id: u64) -> bool {
        if self.receiver.as_ref().is_none_or(|receiver| receiver.id != id) {
            return false;
        }
        self.interrupt(now)
    }

    fn interrupt(&mut self, now: Now) -> bool {
        if let Some(Receiver { waiting: Some((asker, _)), .. }) = self.receiver.take() {
            self.say(asker, Exchanged::Unknown);
        }
        self.alone_ms = now.ms;
        if matches!(self.state, State::Closed { .. }) {
            return false;
        }
        self.settings.from.seat = None;
        let (code, reason) = (1002, "Connection interrupted".into());
        self.state = State::Closed { by: ClosedBy::Network, code, reason, until_ms: now.ms + FAREWELL_MS };
        true
    }

    /// What time brings, looked at a few times a second. True if the session ends by it.
    pub fn pass(&mut self, now: Now) -> bool {
        let Some(receiver) = &self.receiver else { return false };
        match &receiver.waiting {
            None => now.ms.saturating_sub(receiver.asked_ms) >= SILENT_MS && self.interrupt(now),
            Some((_, since_ms)) => {
                let refresh = now.ms.saturating_sub(*since_ms) >= REFRESH_MS;
                if now.ms.saturating_sub(receiver.said_ms) >= self.settings.heartbeat_ms && self.is_open() {
                    self.beat(now);
                } else if refresh {
                    self.hand_out(now, true);
                }
                false
            }
        }
    }

    /// Whether it can be forgotten, and whose doing its end is.
    pub fn is_over(&self, now: Now) -> Option<ClosedBy> {
        let alone_max = match self.settings.framing {
            Framing::SockJs => ALONE_SOCKJS_MS,
            Framing::Plain => ALONE_NATIVE_MS,
        };
        match &self.state {
            State::Opening { until_ms } if now.ms >= *until_ms => Some(ClosedBy::Network),
            State::Open if self.receiver.is_none() && now.ms >= self.alone_ms + alone_max => Some(ClosedBy::Network),
            State::Closed { by, until_ms, .. } if now.ms >= *until_ms => Some(*by),
            State::Opening { .. } | State::Open | State::Closed { .. } => None,
        }
    }

    fn beat(&mut self, now: Now) {
        let Some(receiver) = &mut self.receiver else { return };
        let mut beat = Vec::new();
        receiver.form.heartbeat_into(&mut beat);
        receiver.said_ms = now.ms;
        receiver.give(beat);
        receiver.ending |= receiver.form.is_once();
        self.hand_out(now, true);
    }

    /// Gives the receiver that waits what there is for it.
    fn serve(&mut self, now: Now) {
        if matches!(self.state, State::Opening { .. }) {
            return;
        }
        let Some(mut receiver) = self.receiver.take() else { return };
        if receiver.waiting.is_some() && receiver.rest.is_empty() && !receiver.ending {
            let mut out = Vec::new();
            self.fill(now, &mut receiver, &mut out);
            receiver.give(out);
        }
        self.receiver = Some(receiver);
        self.hand_out(now, false);
    }

    /// What is to be written next: the greeting, what waits, the last words.
    fn fill(&mut self, now: Now, receiver: &mut Receiver, out: &mut Vec<u8>) {
        let form = receiver.form;
        if std::mem::take(&mut self.greet) {
            form.greeting_into(out);
            if form.is_once() && !out.is_empty() {
                return;
            }
        }
        let mut lost = Lost::default();
        let mut frames = Vec::new();
        let mut bytes = 0;
        while bytes < PIECE_BYTES_MAX.min(receiver.room) {
            let mut slices = [IoSlice::new(&[])];
            if self.outbox.fill(now, &mut slices, &mut lost) == 0 {
                break;
            }
            let length = slices[0].len();
            self.outbox.advance(length, |frame| frames.push(frame.clone()));
            bytes += length;
        }
        count_lost(&self.settings.cells, lost);
        if !frames.is_empty() {
            form.messages_into(&frames, out);
        }
        if let State::Closed { code, reason, .. } = &self.state
            && self.outbox.is_empty()
            && (!form.is_once() || out.is_empty())
        {
            form.farewell_into(*code, reason, out);
            receiver.ending = true;
        }
    }

    /// Answers the receiver that waits: the next piece, or `anyway` that there is none yet.
    fn hand_out(&mut self, now: Now, anyway: bool) {
        let Some(receiver) = &mut self.receiver else { return };
        if receiver.rest.is_empty() && !receiver.ending && !anyway {
            return;
        }
        let Some((asker, _)) = receiver.waiting.take() else { return };
        let (piece, end, bytes) = receiver.next_piece(now);
        if bytes > 0 {
            self.settings.cells.writes.add(1);
            self.settings.cells.sent_bytes.add(bytes as u64);
        }
        if end {
            self.before = self.receiver.take();
            self.alone_ms = now.ms;
        }
        self.say(asker, piece);
    }

    /// The last piece again: its answer was lost on the way.
    fn repeat(&mut self) {
        let Some(receiver) = &mut self.receiver else { return };
        let piece = receiver.last_piece(false);
        if let Some((asker, _)) = receiver.waiting.take() {
            self.say(asker, piece);
        }
    }

    fn say(&self, asker: Asker, answer: Exchanged) {
        self.settings.answers.borrow_mut().push_back((asker, answer));
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(Receiver { waiting: Some((asker, _)), .. }) = self.receiver.take() {
            self.say(asker, Exchanged::Unknown);
        }
    }
}

impl Socket for Channel {
    fn push(&mut self, now: Now, outgoing: Outgoing) -> Pushed {
        if matches!(self.state, State::Closed { .. }) {
            if matches!(outgoing.class, Class::Message { .. }) {
                self.settings.cells.dropped(DropReason::Closing).add(1);
            }
            return Pushed::Dropped;
        }
        if !self.outbox.fits(outgoing.frame.len(), &self.settings.bounds) {
            self.serve(now);
        }
        let mut lost = Lost::default();
        let pushed = self.outbox.push(now, outgoing, &self.settings.bounds, &mut lost);
        count_lost(&self.settings.cells, lost);
        pushed
    }

    fn flush(&mut self, now: Now) -> u64 {
        self.serve(now);
        self.outbox.passed()
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
        count_lost(&self.settings.cells, self.outbox.forget(scope));
    }

    fn has_room(&mut self, now: Now, frame_bytes: usize) -> bool {
        if !self.outbox.fits(frame_bytes, &self.settings.bounds) {
            self.serve(now);
        }
        self.outbox.fits(frame_bytes, &self.settings.bounds)
    }

    fn close(&mut self, now: Now, code: u16, reason: &str) {
        if matches!(self.state, State::Closed { .. }) {
            return;
        }
        if code == Close::SlowConsumer.code() {
            self.outbox.clear();
        }
        self.settings.from.seat = None;
        let by = ClosedBy::Server(code);
        // SockJS clients know this one from other servers.
        let (code, reason) = match (code == Close::Drain.code(), self.settings.framing) {
            (true, Framing::SockJs) => (1001, "Going away"),
            _ => (code, reason),
        };
        self.state = State::Closed { by, code, reason: reason.into(), until_ms: now.ms + FAREWELL_MS };
    }

    fn tick(&mut self, now: Now) -> Option<Close> {
        let mut lost = Lost::default();
        let too_old = self.is_open() && self.outbox.is_too_old(now, &self.settings.bounds, &mut lost);
        count_lost(&self.settings.cells, lost);
        too_old.then_some(Close::SlowConsumer)
    }

    fn queued_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    fn framing(&self) -> Framing {
        self.settings.framing
    }
}

#[cfg(test)]
mod tests;
