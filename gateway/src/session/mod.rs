//! One connection's protocol state: what the client may do now, and what each event makes happen.
//!
//! A session is synchronous and owns its state: [`Session::apply`] takes an event and appends actions. It knows no
//! socket, clock, bus, or other session; the shard carries its actions out and feeds it the answers. One file per source
//! of events: the client in `on_json`, `on_bare` and `stomp`, credentials in `on_auth`, hub and domain services in
//! `on_bus`, time in `on_tick`.

mod action;
mod event;
mod held;
mod history;
mod id;
mod matching;
mod on_auth;
mod on_bare;
mod on_bus;
mod on_json;
mod on_tick;
mod rare;
mod rooms;
mod stomp;
mod undecided;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::id::ConnectionId;

pub use action::{Action, Actions, Outward, Said};
pub use event::{Event, Failure, GapScope, HistoryPage, Incoming, Outcome, Ticket};

use self::on_auth::{Binding, Verifying};
use self::rare::Rare;
use self::rooms::Rooms;
use self::stomp::Stomp;
pub use self::stomp::{Heard, Listener, Variant};
use self::undecided::FIRST_MESSAGE_WAIT_MS;
use crate::auth::Identity;
use crate::clock::Now;
use crate::handshake::{Admission, Endpoint};
use crate::socket::Framing;

/// One connection's protocol state. Small: there is one per connection, and most are idle.
#[derive(Debug)]
pub struct Session {
    endpoint: Arc<Endpoint>,
    identity: Option<Arc<Identity>>,
    /// What few connections have, and those only for a while.
    rare: Option<Box<Rare>>,
    rooms: Rooms,
    /// What a client that speaks `stomp` has set up.
    stomp: Option<Box<Stomp>>,
    state: State,
    connection: ConnectionId,
    next_ticket: Ticket,
    dialect: Dialect,
    /// The first message tells which dialect it is.
    undecided: bool,
    /// The user is what the client merely said: the development profile.
    unsigned: bool,
    flow: Flow,
    /// `goaway` was sent.
    leaving: bool,
}

/// How far a connection has come.
#[derive(Debug)]
enum State {
    /// Nobody's: waits for the first credential until this monotonic millisecond.
    Pending { deadline_ms: u64 },
    /// The first credential is being looked at. What the client sends meanwhile is held.
    Verifying(Box<Verifying>),
    /// Somebody's, and hub and routers are being told. What the client sends meanwhile is held.
    Binding(Box<Binding>),
    /// In service.
    Open,
    /// The close handshake was started: nothing matters any more.
    Closing,
}

/// Whether application messages flow to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Running,
    Paused,
}

impl Session {
    /// A connection right after its upgrade, or a session over HTTP at its beginning.
    pub fn open(
        now: Now,
        connection: ConnectionId,
        admission: Admission,
        framing: Framing,
        actions: &mut Actions,
    ) -> Self {
        let Admission { endpoint, dialect, subprotocol, identity, unsigned, device, since, rooms } = admission;
        let deadline_ms = now.ms + on_tick::millis(endpoint.limits.credential_timeout);
        let offers_stomp = endpoint.dialects.contains(&Dialect::Stomp);
        let mut session = Self {
            endpoint,
            identity: None,
            rare: None,
            rooms: Rooms::default(),
            stomp: (dialect == Dialect::Stomp).then(Box::default),
            state: State::Pending { deadline_ms },
            connection,
            next_ticket: 0,
            dialect,
            undecided: subprotocol.is_none() && offers_stomp,
            unsigned,
            flow: Flow::Running,
            leaving: false,
        };
        if device.is_some() || since.is_some() || !rooms.is_empty() {
            let rare = session.rare();
            rare.device = device;
            rare.since = since.clone();
            rare.url_rooms = rooms;
        }
        match identity {
            // Nobody until CONNECT, which may name somebody else.
            Some(identity) if dialect == Dialect::Stomp => session.rare().handshake = Some(Box::new(identity)),
            // SockJS names no sub-protocol, and most who use it speak `stomp`: a `welcome` would break those.
            Some(identity) if session.undecided && framing == Framing::SockJs => {
                session.rare().handshake = Some(Box::new(identity));
                session.rare().since = since;
                session.state = State::Pending { deadline_ms: now.ms + FIRST_MESSAGE_WAIT_MS };
            }
            Some(identity) => {
                session.undecided = false;
                session.bind(now, identity, None, since, actions);
            }
            None => {}
        }
        session
    }

    /// What an event makes happen. A session that closes answers nothing any more.
    pub fn apply(&mut self, now: Now, event: Event<'_>, actions: &mut Actions) {
        if self.is_closing() {
            return;
        }
        match event {
            Event::Message(message) => self.on_message(now, message, actions),
            Event::Verified { ticket, result } => self.on_verified(now, ticket, result, actions),
            Event::Bound(result) => self.on_bound(now, result, actions),
            Event::Joined { ticket, room, result } => self.on_joined(ticket, &room, result, actions),
            Event::Entered { room, position } => self.on_entered(&room, position.as_ref(), actions),
            Event::Removed { room } => self.on_removed(&room, actions),
            Event::Published { ticket, result } => self.on_published(ticket, result, actions),
            Event::Unpublished(failure) => self.on_unpublished(failure, actions),
            Event::Replied { ticket, result } => self.on_replied(ticket, result, actions),
            Event::History { ticket, result } => self.on_history(ticket, result, actions),
            Event::Pause => self.flow = Flow::Paused,
            Event::Resume => self.on_resume(actions),
            Event::MissedWhilePaused { room } => self.on_missed(room),
            Event::Gap { scope } => self.on_gap(scope, actions),
            Event::KeptGap { scope } => self.on_kept_gap(scope, actions),
            Event::GapsWritten => self.on_gaps_written(),
            Event::GoAway { retry_after_ms, reason } => self.on_go_away(retry_after_ms, reason, actions),
            Event::Stay => self.on_stay(),
            Event::Close(close) => self.close(close, actions),
            Event::Disconnect { code, reason } => self.disconnect(code, reason, actions),
            Event::Tick => self.on_tick(now, actions),
        }
        self.tidy();
    }

    /// Who it is, once known. The identity's device is *the* device: that of the claim, else what the client said.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// The device, if it has a name.
    pub fn device(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()?.device.as_ref()
    }

    /// Where it came in.
    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Its public id.
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// What it speaks.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether live messages are refused for now.
    pub const fn is_paused(&self) -> bool {
        matches!(self.flow, Flow::Paused)
    }

    /// Whether it is in service: welcomed, and not closing.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether the close handshake was started.
    pub const fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// Whether the connection is to be a member of `room`.
    pub fn is_in(&self, room: &str) -> bool {
        !self.is_closing() && self.rooms.contains(room)
    }

    /// The rooms it is in.
    pub fn rooms(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rooms.iter()
    }

    fn on_message(&mut self, now: Now, message: Incoming<'_>, actions: &mut Actions) {
        if std::mem::take(&mut self.undecided) {
            self.decide(now, message.bytes(), actions);
        }
        match (self.dialect, message, &self.state) {
            (Dialect::Stomp, message, _) => self.on_stomp(now, message.bytes(), actions),
            (Dialect::Json, Incoming::Binary(_), _) => self.close(Close::UnsupportedData, actions),
            (_, message, State::Verifying(_) | State::Binding(_)) => self.hold(message, actions),
            (Dialect::Json, Incoming::Text(text), _) => self.on_json(now, text, actions),
            (Dialect::Bare, message, _) => self.on_bare(now, message, actions),
        }
    }

    fn close(&mut self, close: Close, actions: &mut Actions) {
        self.end(close.code(), close.reason(), Some(close), actions);
    }

    fn disconnect(&mut self, code: u16, reason: &str, actions: &mut Actions) {
        self.end(code, reason, None, actions);
    }

    fn end(&mut self, code: u16, reason: &str, close: Option<Close>, actions: &mut Actions) {
        self.state = State::Closing;
        self.rare = None;
        actions.push(Action::Close { code, reason: reason.to_owned(), close });
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        ticket
    }

    /// Says something to a client that speaks `json`; others are told nothing.
    fn tell(&self, payload: impl FnOnce() -> Vec<u8>, actions: &mut Actions) {
        match self.dialect {
            Dialect::Json => actions.push(Action::Reply(Bytes::from(payload()))),
            Dialect::Bare | Dialect::Stomp => {}
        }
    }
}

#[cfg(test)]
mod tests;
