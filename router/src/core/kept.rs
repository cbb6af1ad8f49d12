//! Kept messages: the stream's copies, forwarded as sends are, and how far it was read. Knows no JetStream: it is told the
//! stream's epoch and where it ends, and hears what it republishes.
//!
//! A copy that nobody forwarded because its owner died is in the hands of all others too: each keeps the last seconds of
//! them, and the heir of a partition forwards those again. Nodes drop what they have.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::kept::{self, LAST_SEQUENCE, SEQUENCE, SUBJECT, Stored, TIME_STAMP};
use holdfast_protocol::position::Position;
use holdfast_protocol::send::Headers;
use holdfast_protocol::token;
use holdfast_protocol::wire::{Delivery, Target, TargetRef, Text};
use smallvec::SmallVec;

use super::event::{Now, Request};
use super::ownership::Gained;
use super::route::bytes_of_target;
use super::settings::KEPT_RECENT_MS;
use super::tally::{Dropped, Kind, Routed};
use super::{Phase, Router};

/// Copies that are remembered for heirs.
const RECENT_MAX: usize = 65_536;
/// Bytes of them.
const RECENT_BYTES_MAX: usize = 32 << 20;
/// Copies that wait to be told the stream's epoch, the oldest given up first.
const WAITING_MAX: usize = 4_096;
/// Bytes of them.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What an item's target adds to its bytes besides what [`bytes_of_target`] says.
const ITEM_BYTES_MAX: usize = 32;

/// A copy as it was, while the epoch is not known.
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
    /// All copies up to this sequence were heard, or stored before we listened.
    processed: Option<u64>,
    /// The same as of the last turn whose packets have gone out.
    sent: Option<u64>,
    /// The sequence of the last copy.
    last_copy: u64,
    /// Copies heard, and the last one's sequence, whatever became of them.
    heard: (u64, u64),
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

impl Stream {
    fn position(&self, seq: Option<u64>) -> Option<Position> {
        Some(Position { epoch: self.epoch.clone()?, seq: seq? })
    }

    /// Up to where what follows from copies has been packed.
    pub(super) fn processed(&self) -> Option<Position> {
        self.position(self.processed)
    }

    /// Up to where what follows from copies has been handed to the bus.
    pub(super) fn sent(&self) -> Option<Position> {
        self.position(self.sent)
    }

    /// All that was packed has been handed over.
    pub(super) const fn note_sent(&mut self) {
        self.sent = self.processed;
    }

    /// Nothing is heard any more: what was heard so far says nothing of what comes.
    pub(super) fn cut_off(&mut self) {
        let epoch = self.epoch.take();
        *self = Self { epoch, heard: self.heard, ..Self::default() };
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

    /// Lets a copy wait for the epoch; returns how many were given up for it.
    fn wait(&mut self, request: &Request<'_>) -> u64 {
        let mut headers = Vec::new();
        request.headers.each(&mut |name, value| headers.push((name.into(), value.into())));
        self.waiting_bytes += request.payload.len();
        let payload = Bytes::copy_from_slice(request.payload);
        self.waiting.push_back(Waiting { subject: request.subject.into(), headers, payload });
        let mut given_up = 0;
        while self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= oldest.payload.len();
            given_up += 1;
        }
        given_up
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

fn partition_of(target: &Target) -> Option<usize> {
    match target {
        Target::User(key) | Target::Room(key) => Some(token::partition_of_key(key)),
        Target::Connection(_) | Target::All => None,
    }
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
        if stored.seq <= self.stream.last_copy {
            // The stream counts from the beginning again: it is another one, and its epoch will be told.
            self.stream.cut_off();
            self.stream.epoch = None;
        }
        self.stream.last_copy = stored.seq;
        let Some(epoch) = self.stream.epoch.clone() else {
            let given_up = self.stream.wait(&request);
            self.tally.drop(Dropped::KeptWaiting, given_up);
            return;
        };
        if let Some(processed) = &mut self.stream.processed {
            *processed = (*processed).max(stored.seq);
        }
        // The block the client library received in would stay as long as this one message.
        let payload = Bytes::copy_from_slice(request.payload);
        let stored = Stored { epoch, ..stored };
        match kept::delivery(&self.settings.subjects, &subject, request.headers, payload, stored) {
            Some((delivery, ignored)) => {
                self.tally.kept_headers_ignored += ignored as u64;
                self.take_copy(now, delivery);
            }
            None => self.tally.drop(Dropped::KeptUnreadable, 1),
        }
    }

    fn take_copy(&mut self, now: Now, mut delivery: Delivery) {
        let Some(target) = delivery.targets.pop() else { return };
        let Some(partition) = partition_of(&target) else { return };
        let mut body = BytesMut::new();
        delivery.as_ref().encode_into(&mut body);
        let body = body.freeze();
        if self.ownership.handles(partition, now.ms) {
            self.forward_copy(&target, partition, &body);
        }
        if self.membership.has_live_peer() {
            self.stream.remember(Recent { at_ms: now.ms, partition, target, body });
        }
    }

    fn forward_copy(&mut self, target: &Target, partition: usize, body: &Bytes) {
        let (slots, reference): (SmallVec<[_; 8]>, _) = match target {
            Target::User(user) => {
                (self.table.nodes_of_user(partition, user).iter().copied().collect(), TargetRef::User(user))
            }
            Target::Room(room) => {
                let nodes = self.table.nodes_of_room(partition, room);
                (nodes.iter().map(|(slot, _)| *slot).collect(), TargetRef::Room(room))
            }
            Target::Connection(_) | Target::All => return,
        };
        let bytes = body.len() + bytes_of_target(reference) + ITEM_BYTES_MAX;
        let routed = if slots.is_empty() {
            Routed::Offline
        } else if bytes > self.fleet.items_bytes_max() {
            Routed::TooLarge
        } else {
            Routed::Forwarded
        };
        self.tally.route(Kind::Kept, routed);
        if routed == Routed::Forwarded {
            let term = self.membership.term();
            for slot in slots {
                self.fleet.pack(slot, bytes, term, &mut self.actions, |packet| {
                    packet.push_delivery(std::iter::once(reference), body);
                });
            }
        }
    }

    /// What the stream says of itself. `heard` tells that it said so after we had begun to listen.
    pub(super) fn on_stream(&mut self, now: Now, epoch: &str, last: u64, heard: bool) {
        if self.stream.epoch.as_deref() != Some(epoch) {
            if self.stream.epoch.is_some() {
                self.stream.cut_off();
            }
            self.stream.epoch = Some(epoch.into());
            self.stream.recent.clear();
            self.stream.recent_bytes = 0;
        }
        if heard && matches!(self.phase, Phase::Live | Phase::Leaving { .. }) {
            self.stream.processed.get_or_insert(last);
        }
        self.stream.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.stream.waiting);
        if !waiting.is_empty() {
            self.stream.last_copy = 0;
        }
        for Waiting { subject, headers, payload } in waiting {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let headers: &[(&str, &str)] = &headers;
            self.on_kept(now, Request { subject: &subject, reply: None, headers: &headers, payload: &payload });
        }
    }

    /// Forwards again what the former owner of our new partitions may not have.
    pub(super) fn forward_recent(&mut self, now: Now, gained: &[Gained]) {
        let recent = std::mem::take(&mut self.stream.recent);
        for copy in &recent {
            let is_gained = gained.iter().any(|gained| gained.partition == copy.partition);
            if is_gained && now.ms <= copy.at_ms + KEPT_RECENT_MS {
                self.forward_copy(&copy.target, copy.partition, &copy.body);
                self.tally.kept_repeated += 1;
            }
        }
        self.stream.recent = recent;
    }
}
