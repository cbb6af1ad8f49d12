//! The connections of one thread: their sessions and sockets, who and where they are, and what is delivered to them.
//!
//! A shard is synchronous and owns all its state: drivers feed it what clients do, its runtime what the hub says, and
//! both end a turn with [`Shard::finish_turn`], which writes each dirty socket once and hands the hub one batch. It knows
//! no TCP, no NATS, no channel and no clock; tests and the simulation drive it with scripted sockets.
//!
//! Reading order: names and table (who is where), actions (what sessions want), fan-out, commands, questions, drain.

mod acks;
mod actions;
pub(crate) mod capacity;
mod commands;
mod dirty;
mod drain;
mod fanout;
mod floors;
mod frames;
mod inbox;
mod inspect;
mod names;
mod port;
mod questions;
mod randomness;
mod relief;
mod replay;
mod row;
pub mod runtime;
mod sweep;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use holdfast_daemon::spans::{Context, Span};
use holdfast_protocol::close::Close;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::Cause;
use rustc_hash::FxBuildHasher;

use crate::admission::Door;
use crate::auth::Verifier;
use crate::clock::Now;
use crate::handshake::Admission;
use crate::link::{ConnRef, Key, ToHub, id_for_shard};
use crate::metrics::{Initiator, ShardCells, Transport};
use crate::session::{Actions, Event, Incoming, Session};
use crate::socket::Socket;
use crate::traces;
use acks::Acks;
use commands::Operations;
use drain::Drain;
use fanout::Turn;
use floors::Floors;
use relief::Relief;
use replay::Lag;
pub use sweep::Age;
use table::{Connection, Table};

/// Where a shard leaves what the hub shall know.
pub trait HubPort {
    /// Takes from the front what it can; what stays is offered again in the next turn.
    fn offer(&mut self, messages: &mut Vec<ToHub>);
}

/// Random bytes for connection ids.
pub trait Randomness {
    /// 128 of them bits.
    fn id(&mut self) -> [u8; 16];
}

/// What a shard is told at its start.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// The process.
    pub node: NodeId,
    /// This shard's number, from 0.
    pub number: u16,
    /// How many shards the process has.
    pub shards: u16,
    /// How old a connection may become, where that is bounded.
    pub age: Option<Age>,
}

/// Who ended a socket, and with which code (1005 where a close frame had none, 1006 where there was no frame).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client's close frame came first.
    Client(u16),
    /// Ours did.
    Server(u16),
    /// Neither: the socket broke.
    Network,
}

/// Messages for the hub beyond which a shard reads no more from its clients.
pub(crate) const HUB_BACKLOG_MAX: usize = 4096;

/// The connections of one thread.
pub struct Shard<S> {
    settings: ShardSettings,
    verifier: Arc<Verifier>,
    door: Arc<Door>,
    random: Box<dyn Randomness>,
    port: Box<dyn HubPort>,
    cells: Arc<ShardCells>,
    table: Table<S>,
    turn: Turn,
    acks: Acks,
    operations: Operations,
    drain: Drain,
    relief: Relief,
    /// Where connections are behind in kept messages: only those that are or were paused.
    lags: HashMap<u32, Vec<Lag>, FxBuildHasher>,
    /// Where connections are ahead of others.
    floors: Floors,
    /// Handshakes that were traced, of connections that are here.
    lives: HashMap<u32, Context, FxBuildHasher>,
    /// Bounded by what one turn makes: beyond [`HUB_BACKLOG_MAX`] clients are not read ([`Self::congested`]).
    to_hub: Vec<ToHub>,
    /// Emptied by each feed; kept for its capacity.
    actions: Actions,
    /// Where the sweep goes on, and when it last did.
    sweep_next: usize,
    swept_ms: u64,
    /// What the wall clock is ahead of the monotonic one, as of the last tick: for what others are shown.
    wall_offset_ms: u64,
}

impl<S> std::fmt::Debug for Shard<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("number", &self.settings.number)
            .field("connections", &self.table.connections.len())
            .finish_non_exhaustive()
    }
}

impl<S: Socket> Shard<S> {
    /// A shard without connections.
    pub fn new(
        settings: ShardSettings,
        verifier: Arc<Verifier>,
        door: Arc<Door>,
        cells: Arc<ShardCells>,
        random: Box<dyn Randomness>,
        port: Box<dyn HubPort>,
    ) -> Self {
        Self {
            settings,
            verifier,
            door,
            random,
            port,
            cells,
            table: Table::new(),
            turn: Turn::default(),
            acks: Acks::default(),
            operations: Operations::default(),
            drain: Drain::default(),
            relief: Relief::default(),
            lags: HashMap::default(),
            floors: Floors::default(),
            lives: HashMap::default(),
            to_hub: Vec::new(),
            actions: Vec::new(),
            sweep_next: 0,
            swept_ms: 0,
            wall_offset_ms: 0,
        }
    }

    /// Its number, from 0.
    pub const fn number(&self) -> u16 {
        self.settings.number
    }

    /// Tells the hub something at the end of the turn.
    pub fn say(&mut self, message: ToHub) {
        self.to_hub.push(message);
    }

    /// The longest message that the connection's client may send.
    pub fn message_bytes_max(&self, key: Key) -> usize {
        let connection = self.table.slot(key).and_then(|index| self.table.get(index));
        connection.map_or(0, |connection| connection.session.endpoint().limits.message_bytes_max)
    }

    /// What this shard counts; drivers count into it too.
    pub fn cells(&self) -> &Arc<ShardCells> {
        &self.cells
    }

    /// Connections that are here, closing ones included.
    pub fn len(&self) -> usize {
        self.table.connections.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.table.connections.is_empty()
    }

    /// Takes an accepted connection in.
    pub fn open(&mut self, now: Now, admission: Box<Admission>, socket: S, transport: Transport) -> Key {
        let id = id_for_shard(self.settings.node, self.random.id(), self.settings.number, self.settings.shards);
        let mut actions = std::mem::take(&mut self.actions);
        let session = Session::open(now, id, *admission, socket.framing(), &mut actions);
        self.wall_offset_ms = now.unix_ms.saturating_sub(now.ms);
        let key = self.table.insert(session, socket, now.ms, transport);
        self.cells.connections[transport as usize].add(1);
        if self.table.get(key.index).is_some_and(|connection| connection.socket.queued_bytes() > 0) {
            self.mark_dirty(key.index);
        }
        self.carry_out(now, key.index, actions);
        self.drain.admit(key);
        key
    }

    /// A whole message came from the client.
    pub fn receive(&mut self, now: Now, key: Key, incoming: Incoming<'_>) {
        if let Some(index) = self.table.slot(key) {
            self.feed(now, index, Event::Message(incoming));
        }
    }

    /// The socket cannot go on: a broken frame, a message over the limit, silence.
    pub fn fail(&mut self, now: Now, key: Key, close: Close) {
        if let Some(index) = self.table.slot(key) {
            self.feed(now, index, Event::Close(close));
        }
    }

    /// The socket has ended; the connection is forgotten. A second call for the same key does nothing.
    pub fn closed(&mut self, now: Now, key: Key, by: ClosedBy) {
        let Some(index) = self.table.slot(key) else { return };
        self.end_presence(index, Cause::Close);
        let (code, initiator) = match by {
            ClosedBy::Client(code) => (code, Initiator::Client),
            ClosedBy::Server(code) => (code, Initiator::Server),
            ClosedBy::Network => (1006, Initiator::Network),
        };
        self.cells.closed(code, initiator).add(1);
        self.forget_dirty(index);
        self.forget_lag(index, None);
        self.floors.forget(index, None);
        self.acks.forget(key);
        self.drain.forget(key);
        if let Some(connection) = self.table.remove(index) {
            self.tell_end(now, index, &connection, code, initiator);
            self.cells.connections[connection.transport as usize].sub(1);
        }
        if self.drain.is_over(self.table.connections.is_empty()) {
            self.to_hub.push(ToHub::Empty { shard: self.settings.number });
        }
    }

    /// The connection's handshake was traced: what comes of it is tied to that.
    pub fn trace(&mut self, key: Key, handshake: Span) {
        if let Some(connection) = self.table.slot(key).and_then(|index| self.table.get(index)) {
            self.lives.insert(key.index, traces::opened(handshake, connection.id()));
        }
    }

    fn tell_end(&mut self, now: Now, index: u32, connection: &Connection<S>, code: u16, by: Initiator) {
        let lasted_ms = now.ms.saturating_sub(connection.since_ms);
        let life = if self.lives.is_empty() { None } else { self.lives.remove(&index) };
        tracing::debug!(
            connection = %connection.id(),
            code,
            initiator = by.label(),
            lasted_ms,
            trace_id = life.as_ref().map(Context::trace_id),
            "Connection closed"
        );
        if let Some(life) = life {
            traces::closed(&life, connection.id(), code, by, lasted_ms);
        }
    }

    /// The connection's socket, for its driver.
    pub fn socket(&mut self, key: Key) -> Option<&mut S> {
        let index = self.table.slot(key)?;
        self.table.get_mut(index).map(|connection| &mut connection.socket)
    }

    /// Whether drivers should stop reading for a while: the hub is behind.
    pub fn congested(&self) -> bool {
        self.to_hub.len() > HUB_BACKLOG_MAX
    }

    /// Ends a turn: writes every dirty socket once, counts what became of deliveries, and hands the hub its batch.
    pub fn finish_turn(&mut self, now: Now) {
        self.finish_row(now);
        self.flush_dirty(now);
        self.turn.finish_spans();
        self.settle_receipts();
        if !self.to_hub.is_empty() {
            self.port.offer(&mut self.to_hub);
        }
        self.cells.hub_backlog.set(self.to_hub.len() as u64);
        self.cells.users.set(self.table.users.len() as u64);
        self.cells.rooms.set(self.table.rooms.len() as u64);
    }

    /// The sockets were written, at `now`: what was delivered in this turn took until then.
    pub fn written(&mut self, now: Now) {
        for (reach, received_ms, copies) in self.turn.take_arrivals() {
            let took_ms = now.unix_ms.saturating_sub(received_ms);
            self.cells.delivery[reach as usize].observe(took_ms.saturating_mul(1000), copies);
        }
    }

    // --- the heart: events in, actions out ---

    /// Gives a session an event and carries out what it makes happen. Events for a closing connection are void.
    fn feed(&mut self, now: Now, index: u32, event: Event<'_>) {
        let Some(connection) = self.table.connections.get_mut(index as usize) else { return };
        if connection.closing {
            return;
        }
        let mut actions = std::mem::take(&mut self.actions);
        connection.session.apply(now, event, &mut actions);
        self.carry_out(now, index, actions);
    }

    /// Carries actions out in order, and the events that they answer at once after them.
    fn carry_out(&mut self, now: Now, index: u32, mut actions: Actions) {
        let mut follow = VecDeque::new();
        for action in actions.drain(..) {
            self.act(now, index, action, &mut follow);
        }
        self.actions = actions;
        for event in follow {
            self.feed(now, index, event);
        }
    }

    fn conn(&self, index: u32) -> Option<ConnRef> {
        self.table.key(index).map(|key| ConnRef { shard: self.settings.number, key })
    }

    /// Ends memberships and binding, and tells the hub. Idempotent.
    fn end_presence(&mut self, index: u32, cause: Cause) {
        while let Some(connection) = self.table.get(index)
            && !connection.memberships.is_empty()
        {
            let last = connection.memberships.len() - 1;
            self.end_membership(index, last, cause);
        }
        if let Some(connection) = self.table.get_mut(index) {
            let id = connection.id();
            if let Some(user) = self.table.unbind(index) {
                self.door.leave_user(&user);
                self.to_hub.push(ToHub::Unbind { id, user, shard: self.settings.number, cause, opened: true });
            }
        }
    }

    /// A connection that goes on is in the room no more, or begins anew there.
    fn leave_room(&mut self, index: u32, slot: usize, cause: Cause) {
        if let Some(connection) = self.table.get_mut(index)
            && let Some(room) = connection.memberships.get(slot).map(|membership| membership.room)
        {
            connection.socket.forget(room);
        }
        self.end_membership(index, slot, cause);
    }

    fn end_membership(&mut self, index: u32, slot: usize, cause: Cause) {
        let scope = self.table.get(index).and_then(|connection| connection.memberships.get(slot)).map(|it| it.room);
        if let Some(room) = self.table.leave(index, slot) {
            self.floors.forget(index, scope);
            self.forget_lag(index, Some(&room));
            self.cells.memberships.sub(1);
            self.to_hub.push(ToHub::Leave { shard: self.settings.number, room, cause });
        }
    }
}
