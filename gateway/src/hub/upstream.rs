//! Traffic of clients towards domain services: messages with a marker behind them, requests with an inbox of our own.
//!
//! A message is confirmed once a marker, published behind it on the same connection, has come back: a flush of the
//! client library proves only the write. Requests have their own table with time-outs, bounded, so that an answer that
//! never comes costs nothing for long. Knows the bus as an [`Edge`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use holdfast_daemon::spans::{Kind as SpanKind, Span};
use holdfast_protocol::dialect::json::Cursor;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::position::Position;
use holdfast_protocol::subject::{Inbox, InboxSubjects, Kind, Subjects, Target};
use rustc_hash::FxBuildHasher;

use super::edge::{Edge, Publication, Received};
use super::held::{From, Held};
use crate::link::{ConnRef, JoinFor, Sender, ToShard};
use crate::session::{Failure, Outcome, Outward, Said, Ticket};
use crate::traces;

/// How long a marker may take to come back.
const MARKER_MS: u64 = 2000;
/// Requests under way at once in the process; more are refused as unavailable.
pub(crate) const REQUESTS_MAX: usize = 1 << 17;
/// Markers under way at once. Each stands for a turn's messages; more means the bus is stuck.
pub(crate) const MARKERS_MAX: usize = 4096;
/// Messages sent in a turn of those that were held.
const HELD_PER_TURN: usize = 1024;

/// What a reply is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A client's request.
    Client { conn: ConnRef, ticket: Ticket, span: Option<Span> },
    /// The callout before a join.
    Join { conn: ConnRef, on_behalf: JoinFor, room: Arc<str>, since: Option<Position> },
    /// A request of the process itself.
    Caller(u64),
    /// The callout before a page of history.
    History { conn: ConnRef, ticket: Ticket, room: Arc<str>, from: Cursor, limit: u16 },
    /// A read of the stream for a target that catches up, or of a page of history.
    Read(u64),
    /// A read of what was lost for all targets.
    Reconcile(u64),
    /// The stream's epoch.
    Epoch,
}

#[derive(Debug)]
struct Marker {
    number: u64,
    deadline_ms: u64,
    waiters: Vec<(ConnRef, Ticket)>,
}

/// Messages and requests under way.
#[derive(Debug)]
pub(super) struct Upstream {
    node: NodeId,
    subjects: Subjects,
    inbox: InboxSubjects,
    next_id: u64,
    /// Published in this turn, not yet marked.
    unmarked: Vec<(ConnRef, Ticket)>,
    markers: VecDeque<Marker>,
    next_marker: u64,
    requests: HashMap<u64, Purpose, FxBuildHasher>,
    deadlines: BinaryHeap<Reverse<(u64, u64)>>,
    next_request: u64,
    held: Held,
}

impl Upstream {
    pub(super) fn new(node: NodeId, subjects: Subjects, inbox: InboxSubjects, held: Held) -> Self {
        Self {
            node,
            subjects,
            inbox,
            next_id: 0,
            unmarked: Vec::new(),
            markers: VecDeque::new(),
            next_marker: 0,
            requests: HashMap::default(),
            deadlines: BinaryHeap::new(),
            next_request: 0,
            held,
        }
    }

    /// The headers that only the gateway sets.
    fn headers(&mut self, sender: &Sender, said: Option<&Said>) -> Vec<(&'static str, String)> {
        let mut headers = identity_headers(sender, self.node);
        headers.push(self.id_header());
        if let Some(Said { content_type, headers: own }) = said {
            headers.extend(content_type.clone().map(|kind| ("Content-Type", kind)));
            headers.extend(own.clone().map(|own| ("Hf-Headers", own)));
        }
        headers
    }

    fn id_header(&mut self) -> (&'static str, String) {
        self.next_id += 1;
        ("Hf-Id", format!("{}-{:x}", self.node, self.next_id))
    }

    /// Publishes a client's message; while the bus is away it may be held instead. The time is that of the bus being away
    /// (`None`: it is there). Whether it was held. To a room it goes as a domain service's would.
    pub(super) fn publish(
        &mut self,
        edge: &mut dyn Edge,
        away_ms: Option<u64>,
        from: From,
        sender: &Sender,
        (out, said): (&Outward, Option<&Said>),
        payload: Bytes,
    ) -> Result<bool, Failure> {
        let (subject, mut headers) = match out {
            Outward::Service(path) => {
                let subject = self.subjects.up(&sender.endpoint.name, path.iter().map(String::as_str));
                (subject, self.headers(sender, said))
            }
            // Members of a room are told nothing of who sent it: that is the body's business.
            Outward::Room(room) => {
                let kind = said.and_then(|said| said.content_type.clone()).map(|kind| ("Content-Type", kind));
                let headers: Vec<_> = std::iter::once(self.id_header()).chain(kind).collect();
                (self.subjects.to(Kind::Send, &Target::Room(room.to_string())), headers)
            }
        };
        let what = if matches!(out, Outward::Room(_)) { "room" } else { "up" };
        let span = traces::sending(sender, SpanKind::Producer, what);
        headers.extend(span.as_ref().map(parent_header));
        let publication = Publication { subject, reply: None, headers, payload };
        let outcome = match away_ms {
            Some(now_ms) => self.held.hold(now_ms, from, publication).then_some(true).ok_or(Failure::BusUnavailable),
            None => self.send(edge, from, publication).map(|()| false),
        };
        end(span, outcome)
    }

    fn send(&mut self, edge: &mut dyn Edge, from: From, publication: Publication) -> Result<(), Failure> {
        edge.publish(publication)?;
        if let (conn, Some(ticket)) = from {
            self.unmarked.push((conn, ticket));
        }
        Ok(())
    }

    /// Sends what is held, in order, a bounded part of it; who could not be helped is answered. How many were sent.
    pub(super) fn send_held(&mut self, edge: &mut dyn Edge) -> u64 {
        let mut sent = 0;
        for _ in 0..HELD_PER_TURN {
            let Some((from, publication)) = self.held.next() else { break };
            match self.send(edge, from, publication) {
                Ok(()) => sent += 1,
                Err(failure) => {
                    // The bus is away again, or full: the rest is tried in the next turn.
                    refuse(edge, from, failure);
                    break;
                }
            }
        }
        sent
    }

    /// Whether messages are held: those that come go behind them.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Bytes that are held.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Publishes a client's request. Its purpose comes back with a failure.
    pub(super) fn request(
        &mut self,
        edge: &mut dyn Edge,
        (conn, ticket): (ConnRef, Ticket),
        sender: &Sender,
        (path, said): (&[String], Option<&Said>),
        payload: Bytes,
        deadline_ms: u64,
    ) -> Result<(), (Purpose, Failure)> {
        let subject = self.subjects.req(&sender.endpoint.name, path.iter().map(String::as_str));
        let mut headers = self.headers(sender, said);
        let span = traces::sending(sender, SpanKind::Client, "req");
        headers.extend(span.as_ref().map(parent_header));
        let purpose = Purpose::Client { conn, ticket, span };
        self.try_ask(edge, purpose, Publication { subject, reply: None, headers, payload }, deadline_ms)
    }

    /// The same, and the purpose comes back with the failure.
    pub(super) fn try_ask(
        &mut self,
        edge: &mut dyn Edge,
        purpose: Purpose,
        message: Publication,
        deadline_ms: u64,
    ) -> Result<(), (Purpose, Failure)> {
        let number = match self.send_request(edge, message) {
            Ok(number) => number,
            Err(failure) => return Err((purpose, failure)),
        };
        self.requests.insert(number, purpose);
        self.deadlines.push(Reverse((deadline_ms, number)));
        Ok(())
    }

    fn send_request(&mut self, edge: &mut dyn Edge, mut message: Publication) -> Result<u64, Failure> {
        if self.requests.len() >= REQUESTS_MAX {
            return Err(Failure::Unavailable);
        }
        self.next_request += 1;
        message.reply = Some(self.inbox.of(Inbox::Reply(self.next_request)));
        edge.publish(message)?;
        Ok(self.next_request)
    }

    /// Publishes any request; its reply subject is set here. On failure the purpose is gone: the caller answers.
    pub(super) fn ask(
        &mut self,
        edge: &mut dyn Edge,
        purpose: Purpose,
        message: Publication,
        deadline_ms: u64,
    ) -> Result<(), Failure> {
        self.try_ask(edge, purpose, message, deadline_ms).map_err(|(_, failure)| failure)
    }

    /// Ends the turn: one marker behind all that was published in it.
    pub(super) fn finish_turn(&mut self, edge: &mut dyn Edge, now_ms: u64) {
        if self.unmarked.is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut self.unmarked);
        self.next_marker += 1;
        let number = self.next_marker;
        let subject = self.inbox.of(Inbox::Marker(number));
        if self.markers.len() >= MARKERS_MAX || edge.publish(Publication::plain(subject, Bytes::new())).is_err() {
            settle(edge, waiters, &Err(Failure::BusUnavailable));
            return;
        }
        self.markers.push_back(Marker { number, deadline_ms: now_ms + MARKER_MS, waiters });
    }

    /// A message in the inbox: the number and purpose of the request it answers, where somebody still waits for it.
    pub(super) fn received(&mut self, edge: &mut dyn Edge, message: &Received) -> Option<(u64, Purpose)> {
        match self.inbox.parse(&message.subject)? {
            Inbox::Marker(number) => {
                while let Some(marker) = self.pop_marker_if(|marker| marker.number <= number) {
                    settle(edge, marker.waiters, &Ok(()));
                }
                None
            }
            Inbox::Reply(number) => Some((number, self.requests.remove(&number)?)),
        }
    }

    /// The request has more answers to come.
    pub(super) fn keep_waiting(&mut self, number: u64, purpose: Purpose) {
        self.requests.insert(number, purpose);
    }

    fn pop_marker_if(&mut self, wanted: impl Fn(&Marker) -> bool) -> Option<Marker> {
        self.markers.front().is_some_and(wanted).then(|| self.markers.pop_front()).flatten()
    }

    /// Requests whose time is over; markers and messages that are held are settled here.
    pub(super) fn expire(&mut self, edge: &mut dyn Edge, now_ms: u64) -> Vec<Purpose> {
        while let Some(from) = self.held.next_expired(now_ms) {
            refuse(edge, from, Failure::BusUnavailable);
        }
        while let Some(marker) = self.pop_marker_if(|marker| marker.deadline_ms <= now_ms) {
            settle(edge, marker.waiters, &Err(Failure::BusUnavailable));
        }
        let mut late = Vec::new();
        while let Some(Reverse((deadline_ms, number))) = self.deadlines.peek().copied()
            && deadline_ms <= now_ms
        {
            self.deadlines.pop();
            late.extend(self.requests.remove(&number));
        }
        late
    }

    /// Requests and markers under way.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.requests.len(), self.markers.len())
    }

    /// When [`Self::expire`] has something to do next.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let marker = self.markers.front().map(|marker| marker.deadline_ms);
        let request = self.deadlines.peek().map(|Reverse((deadline_ms, _))| *deadline_ms);
        marker.into_iter().chain(request).min()
    }

    /// The bus is away: nobody can tell what arrived. Markers are settled here, requests returned.
    pub(super) fn bus_lost(&mut self, edge: &mut dyn Edge) -> Vec<Purpose> {
        let unmarked = std::mem::take(&mut self.unmarked);
        let marked = std::mem::take(&mut self.markers).into_iter().flat_map(|marker| marker.waiters);
        settle(edge, marked.chain(unmarked), &Err(Failure::BusUnavailable));
        self.deadlines.clear();
        self.requests.drain().map(|(_, purpose)| purpose).collect()
    }
}

/// Tells a client that its message was not sent.
pub(super) fn refuse(edge: &mut dyn Edge, (conn, ticket): From, failure: Failure) {
    let message = match ticket {
        Some(ticket) => ToShard::Published { conn, ticket, result: Err(failure) },
        None => ToShard::Unpublished { conn, failure },
    };
    edge.to_shard(conn.shard, message);
}

fn parent_header(span: &Span) -> (&'static str, String) {
    ("traceparent", span.context().parent())
}

/// Ends a span as what it stands for ended.
pub(super) fn end<T>(span: Option<Span>, outcome: Outcome<T>) -> Outcome<T> {
    if let Some(mut span) = span {
        if let Err(failure) = &outcome {
            span.fail(kind_of(failure));
        }
        span.finish();
    }
    outcome
}

/// What the failure is called towards clients.
const fn kind_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::BusUnavailable => "bus_unavailable",
        Failure::Unavailable => "unavailable",
        Failure::NoResponders => "no_responder",
        Failure::Timeout => "timeout",
        Failure::Service { .. } => "service",
        Failure::Forbidden { .. } => "forbidden",
        Failure::TooBig => "too_big",
        Failure::OtherEpoch => "other_epoch",
    }
}

fn settle(edge: &mut dyn Edge, waiters: impl IntoIterator<Item = (ConnRef, Ticket)>, result: &Outcome<()>) {
    for (conn, ticket) in waiters {
        edge.to_shard(conn.shard, ToShard::Published { conn, ticket, result: result.clone() });
    }
}

/// What the gateway has verified about a sender, as NATS headers. Values hold no control characters: credentials that
/// do are refused where they are read.
pub(super) fn identity_headers(sender: &Sender, node: NodeId) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("Hf-Connection", sender.id.to_string()),
        ("Hf-Endpoint", sender.endpoint.name.to_string()),
        ("Hf-Node", node.to_string()),
    ];
    if let Some(identity) = &sender.identity {
        headers.push(("Hf-User", identity.user.to_string()));
        if let Some(roles) = &identity.roles {
            headers.push(("Hf-Roles", roles.to_string()));
        }
        if let Some(attributes) = &identity.attributes {
            // A map of JSON values: nothing in it can fail to serialise, and JSON escapes control characters.
            headers.push(("Hf-Attributes", serde_json::to_string(&**attributes).unwrap_or_default()));
        }
    }
    if let Some(device) = &sender.device {
        headers.push(("Hf-Device", device.to_string()));
    }
    headers
}
