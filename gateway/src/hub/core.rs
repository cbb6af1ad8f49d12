//! The hub's core: ties roster, routers, receipts and upstream together. Synchronous; time is a parameter.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::fact::Transition;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::position::Position;
use holdfast_protocol::subject::{InboxSubjects, Subjects};
use holdfast_protocol::wire::{Cause, Discover, NodeState, RouterBeat, RouterBound, RouterState};

use super::departure::Departure;
use super::edge::{Edge, Publication, Unsent};
use super::handover::Handovers;
use super::held::Held;
use super::kept::{Kept, Resumer};
use super::receipts::Receipts;
use super::roster::{Kind, Roster};
use super::routers::Routers;
use super::sessions::Sessions;
use super::upstream::{Purpose, Upstream};
use super::waiting::{Waiter, Waiting};
use crate::clock::Now;
use crate::link::{ConnRef, JoinFor, ToHub, ToShard};
use crate::metrics::{HubCells, ShardCells};
use crate::session::Failure;

/// How often a node beats.
const BEAT_MS: u64 = 500;
/// How long a join or bind waits for routers, and handshakes for a first router.
pub(super) const ROUTERS_MS: u64 = 2000;
/// How long a callout may take.
pub(super) const CALLOUT_MS: u64 = 2000;
/// Bytes of a large internal message, where the bus would take more: several of them mix better with others.
const PART_BYTES_MAX: usize = 512 * 1024;
/// More than any head of an internal message takes, and the smallest part that is made.
const HEAD_BYTES: usize = 1024;
/// How often time-outs are looked at.
const HOUSEKEEPING_MS: u64 = 100;

/// What the hub is told at its start.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The process.
    pub node: NodeId,
    /// How many shards there are.
    pub shards: u16,
    /// Prefix of all subjects.
    pub prefix: String,
    /// Prefix of subjects for answers.
    pub inbox_prefix: String,
    /// The stream of kept messages, where they are on.
    pub kept_stream: Option<String>,
    /// Over how long a drain closes.
    pub drain_window_ms: u64,
    /// The longest it may take where the fleet cannot take them so fast.
    pub drain_deadline_ms: u64,
    /// Handshakes per second offered to clients of nodes that drain.
    pub spare_handshakes: u64,
    /// Bytes of clients' messages that are held while the bus is away.
    pub hold_bytes_max: usize,
    /// How long each.
    pub hold_timeout_ms: u64,
}

impl HubSettings {
    const fn held(&self) -> Held {
        Held::new(self.hold_bytes_max, self.hold_timeout_ms)
    }
}

/// The hub's state.
#[derive(Debug)]
pub struct Hub {
    pub(super) settings: HubSettings,
    pub(super) subjects: Subjects,
    pub(super) inbox: InboxSubjects,
    pub(super) cells: Arc<HubCells>,
    /// What each shard counts, for reading.
    pub(super) shard_cells: Vec<Arc<ShardCells>>,
    pub(super) departure: Departure,
    pub(super) roster: Roster,
    pub(super) routers: Routers,
    pub(super) handovers: Handovers,
    pub(super) receipts: Receipts,
    pub(super) upstream: Upstream,
    pub(super) kept: Kept,
    /// The HTTP sessions of this node, by name.
    pub(super) sessions: Sessions,
    /// By the batch they wait for; those of the batch under collection apart. Bounded by connections and their joins.
    pub(super) waiting: BTreeMap<u64, Vec<Waiter>>,
    pub(super) waiting_next: Vec<Waiter>,
    /// Bytes of changes in a batch, and of entries in a part of a snapshot: what the bus takes, within reason.
    pub(super) part_bytes_max: usize,
    pub(super) connected: bool,
    /// Connected at least once: a return is not the first time.
    had_bus: bool,
    /// Since when no live router was there, in monotonic milliseconds.
    pub(super) routerless_since: Option<u64>,
    pub(super) was_served: bool,
    pub(super) state: NodeState,
    /// No more connections are taken.
    pub(super) closed: bool,
    pub(super) empty: Vec<bool>,
    pub(super) beat_ms: u64,
    housekept_ms: u64,
}

impl Hub {
    /// A hub that has heard nothing yet. Of the shards' cells it reads how many connections are to go, and handshakes.
    pub fn new(settings: HubSettings, cells: Arc<HubCells>, shard_cells: Vec<Arc<ShardCells>>) -> Self {
        let subjects = Subjects::new(&settings.prefix);
        let inbox = InboxSubjects::new(&settings.inbox_prefix, settings.node);
        Self {
            roster: Roster::new(settings.node, settings.shards),
            routers: Routers::default(),
            handovers: Handovers::default(),
            receipts: Receipts::new(PART_BYTES_MAX),
            kept: Kept::new(settings.kept_stream.clone()),
            sessions: Sessions::new(subjects.exchange(settings.node)),
            upstream: Upstream::new(settings.node, subjects.clone(), inbox.clone(), settings.held()),
            waiting: BTreeMap::new(),
            waiting_next: Vec::new(),
            part_bytes_max: PART_BYTES_MAX,
            connected: false,
            had_bus: false,
            routerless_since: Some(0),
            was_served: false,
            state: NodeState::Live,
            closed: false,
            empty: vec![false; usize::from(settings.shards)],
            beat_ms: 0,
            housekept_ms: 0,
            subjects,
            inbox,
            cells,
            shard_cells,
            departure: Departure::default(),
            settings,
        }
    }

    /// The largest message the bus takes, as its server says on each connection.
    pub fn limit_payload(&mut self, bytes: usize) {
        self.part_bytes_max = bytes.saturating_sub(HEAD_BYTES).clamp(HEAD_BYTES, PART_BYTES_MAX);
        self.receipts.bytes_max = self.part_bytes_max;
    }

    /// The node.
    pub const fn node(&self) -> NodeId {
        self.settings.node
    }

    // --- from shards ---

    /// A shard says something.
    pub fn on_shard(&mut self, now: Now, edge: &mut dyn Edge, message: ToHub) {
        match message {
            ToHub::Bind { conn, id, user, since_ms, newest, since } => {
                let known = self.roster.enter(now, Kind::User, &user, conn.shard);
                if newest {
                    self.roster.claim(now, &user, id, since_ms);
                }
                // A claim goes out with the next batch; the welcome need not wait for it.
                self.wait(now, edge, known, Waiting::Bind { conn, id, user, since });
            }
            ToHub::Opened { id, user } => {
                self.publish_fact(now, edge, Transition::ConnectionOpened, id, &user, Cause::Connect);
            }
            ToHub::Unbind { id, user, shard, cause, opened } => {
                self.roster.exit(now, Kind::User, &user, shard, cause);
                self.roster.unclaim(now, &user, id);
                if opened {
                    self.publish_fact(now, edge, Transition::ConnectionClosed, id, &user, cause);
                }
            }
            ToHub::Join { conn, on_behalf, room, callout, since } => match callout {
                Some(sender) => {
                    let purpose = Purpose::Join { conn, on_behalf, room: Arc::clone(&room), since };
                    self.ask_before_join(now, edge, purpose, &room, &sender);
                }
                None => self.join(now, edge, conn, on_behalf, room, since),
            },
            ToHub::Replay { conn, room, user, since } => {
                let target = room.as_ref().map_or((Kind::User, user), |room| (Kind::Room, Arc::clone(room)));
                self.catch_up(now, edge, target, Resumer::Replay { conn, room, since, asked: since });
            }
            ToHub::History { conn, ticket, room, from, limit, callout } => match callout {
                Some(sender) => {
                    let purpose = Purpose::History { conn, ticket, room: Arc::clone(&room), from, limit };
                    self.ask_before_join(now, edge, purpose, &room, &sender);
                }
                None => self.start_history(now, edge, (conn, ticket), &room, from, limit),
            },
            ToHub::Leave { shard, room, cause } => self.roster.exit(now, Kind::Room, &room, shard, cause),
            ToHub::Publish { conn, ticket, sender, to, said, payload } => {
                // What is held goes first.
                let away_ms = (!self.connected || self.upstream.holds()).then_some(now.ms);
                let out = (&to, said.as_deref());
                let result = self.upstream.publish(edge, away_ms, (conn, ticket), &sender, out, payload);
                self.published(edge, (conn, ticket), result);
            }
            ToHub::Request { conn, ticket, sender, to, said, payload, timeout } => {
                self.cells.requests.add(1);
                let deadline_ms = now.ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
                let asked =
                    self.upstream.request(edge, (conn, ticket), &sender, (&to, said.as_deref()), payload, deadline_ms);
                if let Err((purpose, failure)) = asked {
                    self.replied(now, edge, purpose, Err(failure));
                }
            }
            ToHub::Session(message) => self.on_session(now, edge, message),
            ToHub::Verify { conn, ticket, endpoint, token } => edge.verify(conn, ticket, endpoint, token),
            ToHub::Receipt { receipt, part } => self.receipts.part(receipt, part, self.settings.node),
            ToHub::Acked { receipt, acked, gone } => self.receipts.acked(receipt, acked, gone, self.settings.node),
            ToHub::Answered { question, part } => self.receipts.answered(question, part, self.settings.node),
            ToHub::Empty { shard } => {
                if let Some(empty) = self.empty.get_mut(usize::from(shard)) {
                    *empty = true;
                }
            }
        }
    }

    pub(super) fn join(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        conn: ConnRef,
        on_behalf: JoinFor,
        room: Arc<str>,
        since: Option<Position>,
    ) {
        let known = self.roster.enter(now, Kind::Room, &room, conn.shard);
        self.wait(now, edge, known, Waiting::Join { conn, on_behalf, room, since });
    }

    // --- from the bus ---

    /// A router's beat.
    pub fn on_router_beat(&mut self, now: Now, edge: &mut dyn Edge, payload: Bytes) {
        match RouterBeat::decode(payload) {
            Ok(beat) => {
                if self.routers.beat(&beat, now.ms) {
                    tracing::warn!(router = %beat.router, "A router was not heard for a while");
                    self.tell_lost(now, edge);
                }
                self.on_beat_mark(now, edge, &beat);
                self.go_on(now, edge);
                if beat.state != RouterState::Joining {
                    self.departure.hear(now.ms, beat.capacity);
                    self.note_routers(now, edge);
                }
            }
            Err(error) => self.malformed("beat", error),
        }
    }

    /// A cold router asks for everybody's roster.
    pub fn on_discover(&mut self, now: Now, edge: &mut dyn Edge, payload: Bytes) {
        match Discover::decode(payload) {
            Ok(discover) => self.send_snapshot(now, edge, discover.router),
            Err(error) => self.malformed("discover", error),
        }
    }

    /// The bus came or went. Coming also means: it may have been away in between.
    pub fn on_bus(&mut self, now: Now, edge: &mut dyn Edge, connected: bool) {
        if !connected || self.connected {
            self.fail_reads(now, edge, &Failure::BusUnavailable);
            for purpose in self.upstream.bus_lost(edge) {
                self.replied(now, edge, purpose, Err(Failure::BusUnavailable));
            }
            self.refuse_all(now, edge, &Failure::BusUnavailable);
        }
        if connected {
            if std::mem::replace(&mut self.had_bus, true) {
                self.tell_lost(now, edge);
            }
            self.routers.bus_returned(now.ms);
            self.routerless_since = Some(now.ms);
            self.beat_ms = 0;
        }
        self.connected = connected;
        self.note_routers(now, edge);
    }

    /// A request of the process itself; ends with [`Edge::answer`].
    pub fn request(&mut self, now: Now, edge: &mut dyn Edge, caller: u64, message: Publication, timeout_ms: u64) {
        if message.subject == self.sessions.own_subject {
            return self.ask_own(edge, caller, message.payload);
        }
        let deadline_ms = now.ms.saturating_add(timeout_ms);
        if let Err(failure) = self.upstream.ask(edge, Purpose::Caller(caller), message, deadline_ms) {
            edge.answer(caller, Err(failure));
        }
    }

    // --- time ---

    /// What time brings. Followed by [`Self::finish_turn`].
    pub fn tick(&mut self, now: Now, edge: &mut dyn Edge) {
        if self.connected && now.ms >= self.beat_ms + BEAT_MS {
            self.beat_ms = now.ms;
            self.beat(now, edge);
        }
        if now.ms >= self.housekept_ms + HOUSEKEEPING_MS {
            self.housekept_ms = now.ms;
            for purpose in self.upstream.expire(edge, now.ms) {
                self.cells.request_timeouts.add(1);
                self.replied(now, edge, purpose, Err(Failure::Timeout));
            }
            let (requests, markers) = self.upstream.waiting();
            self.cells.requests_waiting.set(requests as u64);
            self.cells.markers_waiting.set(markers as u64);
            self.refuse_late(now, edge);
            self.tick_kept(now, edge);
            self.tick_departure(now, edge);
            self.go_on(now, edge);
            self.cells.receipts_expired.add(self.receipts.expire(now.ms));
            let forgotten = self.roster.forget_lately(now.ms, self.routers.acked_by_all(now.ms));
            self.cells.recent_changes_dropped.add(forgotten);
            self.routers.forget_silent(now.ms);
            self.note_routers(now, edge);
            self.release_waiters(now, edge);
        }
    }

    /// When [`Self::tick`] and [`Self::finish_turn`] have something to do next, in monotonic milliseconds.
    pub fn next_wake_ms(&self) -> u64 {
        if self.connected && self.upstream.holds() {
            return 0;
        }
        let mut wake = self.housekept_ms + HOUSEKEEPING_MS;
        if self.connected {
            wake = wake.min(self.beat_ms + BEAT_MS);
            wake = wake.min(self.roster.due_ms().unwrap_or(u64::MAX));
        }
        wake.min(self.upstream.next_deadline_ms().unwrap_or(u64::MAX).max(self.housekept_ms + 1))
    }

    /// Ends a turn: roster changes that are due, one marker, one report per router.
    pub fn finish_turn(&mut self, now: Now, edge: &mut dyn Edge) {
        if self.connected && self.upstream.holds() {
            self.cells.published.add(self.upstream.send_held(edge));
        }
        self.cells.upstream_held_bytes.set(self.upstream.held_bytes() as u64);
        if self.connected && self.roster.due_ms().is_some_and(|due_ms| due_ms <= now.ms) {
            self.flush_roster(now, edge);
        }
        self.upstream.finish_turn(edge, now.ms);
        for (router, report) in self.receipts.take_reports() {
            let payload = RouterBound::Report(report).encode();
            // A router that misses a report counts this node as late.
            self.note_unsent(edge.publish(Publication::plain(self.subjects.router(router), payload)));
        }
    }

    pub(super) fn flush_roster(&mut self, now: Now, edge: &mut dyn Edge) {
        for batch in self.roster.flush(now.ms, self.part_bytes_max) {
            self.cells.roster_batches.add(1);
            self.cells.roster_changes.add(batch.changes.len() as u64);
            let message = Publication::plain(self.subjects.roster(self.settings.node), batch.encode());
            // Routers see the hole in the numbers and ask for the whole.
            self.note_unsent(edge.publish(message));
        }
        let seq = self.roster.seq();
        self.cells.roster_seq.set(seq);
        if !self.waiting_next.is_empty() {
            self.waiting.entry(seq).or_default().append(&mut self.waiting_next);
            self.release_waiters(now, edge);
        }
    }

    // --- small ---

    pub(super) fn to_all_shards(&self, edge: &mut dyn Edge, message: &ToShard) {
        for shard in 0..self.settings.shards {
            edge.to_shard(shard, message.clone());
        }
    }

    /// Counts an internal message that did not leave; the protocol heals each of them by itself.
    pub(super) fn note_unsent(&self, sent: Result<(), Unsent>) {
        if let Err(unsent) = sent {
            self.cells.internal_unsent.add(1);
            if unsent == Unsent::TooBig {
                tracing::warn!("An internal message is larger than the bus takes");
            }
        }
    }
}
