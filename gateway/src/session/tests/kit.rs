//! A session on a bench: events in, actions out as text, one line each.

use std::sync::Arc;
use std::time::Duration;

use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::dialect::json::Cursor;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::position::{Position, Start};

use crate::auth::{Identity, Refusal, RoomPatterns};
use crate::clock::Now;
use crate::handshake::{Admission, Endpoint, Limits, Rules};
use crate::session::{Action, Actions, Event, Failure, Incoming, Outcome, Outward, Said, Session};
use crate::socket::Framing;

/// The wall clock when the bench starts, Unix seconds.
pub(super) const START_S: u64 = 1_000_000;

pub(super) struct Bench {
    pub(super) session: Session,
    now: Now,
    actions: Actions,
}

/// Somebody who may join `chat/*`, for ten minutes.
pub(super) fn ana() -> Identity {
    Identity {
        user: "ana".into(),
        device: None,
        attributes: None,
        roles: None,
        rooms: RoomPatterns::new(vec!["chat/*".to_owned()]),
        expires: Some(START_S + 600),
        jti: None,
    }
}

/// An admission by these rules, of nobody yet.
pub(super) fn nobody(dialect: Dialect, rules: Rules) -> Admission {
    let endpoint = Arc::new(Endpoint { name: "chat".into(), rules: Arc::new(rules) });
    Admission {
        endpoint,
        dialect,
        subprotocol: (dialect == Dialect::Stomp).then_some("v12.stomp"),
        identity: None,
        unsigned: false,
        device: None,
        since: None,
        rooms: Vec::new(),
    }
}

impl Bench {
    pub(super) fn open(admission: Admission) -> Self {
        Self::open_in(Framing::Plain, admission)
    }

    pub(super) fn open_in(framing: Framing, admission: Admission) -> Self {
        let now = Now { ms: 5000, unix_ms: START_S * 1000 };
        let connection = ConnectionId::new(NodeId::gateway([7; 8]), [1; 16]);
        let mut actions = Vec::new();
        let session = Session::open(now, connection, admission, framing, &mut actions);
        Self { session, now, actions }
    }

    /// A `json` client whom nobody knows yet.
    pub(super) fn pending() -> Self {
        Self::open(nobody(Dialect::Json, Rules::json()))
    }

    /// A welcomed `json` client with this identity, on an endpoint with these limits.
    pub(super) fn welcomed(identity: Identity, limits: Limits) -> Self {
        Self::welcomed_by(identity, Rules { limits, ..Rules::json() })
    }

    /// The same, by these rules.
    pub(super) fn welcomed_by(identity: Identity, rules: Rules) -> Self {
        let mut bench = Self::open(Admission { identity: Some(identity), ..nobody(Dialect::Json, rules) });
        bench.bound(Ok(()));
        bench.take();
        bench
    }

    /// A welcomed `json` client.
    pub(super) fn ana() -> Self {
        Self::welcomed(ana(), Limits::default())
    }

    /// A welcomed member of `chat/1`.
    pub(super) fn member() -> Self {
        let mut bench = Self::ana();
        bench.text(r#"{"type":"join","room":"chat/1"}"#);
        bench.joined(0, "chat/1", Ok(()));
        bench.take();
        bench
    }

    pub(super) fn apply(&mut self, event: Event<'_>) {
        self.session.apply(self.now, event, &mut self.actions);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.apply(Event::Message(Incoming::Text(text)));
    }

    pub(super) fn binary(&mut self, data: &[u8]) {
        self.apply(Event::Message(Incoming::Binary(data)));
    }

    pub(super) fn verified(&mut self, ticket: u32, result: Result<Identity, Refusal>) {
        self.apply(Event::Verified { ticket, result });
    }

    /// The answer to a bind, where kept messages are off.
    pub(super) fn bound(&mut self, result: Outcome<()>) {
        self.apply(Event::Bound(result.map(|()| Start::default())));
    }

    /// The answer to a join, where kept messages are off.
    pub(super) fn joined(&mut self, ticket: u32, room: &str, result: Outcome<()>) {
        self.apply(Event::Joined { ticket, room: room.into(), result: result.map(|()| Start::default()) });
    }

    /// The answer to a join, where they are on.
    pub(super) fn joined_at(&mut self, ticket: u32, room: &str, start: Start) {
        self.apply(Event::Joined { ticket, room: room.into(), result: Ok(start) });
    }

    pub(super) fn tick_after(&mut self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.now.ms += ms;
        self.now.unix_ms += ms;
        self.apply(Event::Tick);
    }

    /// What was done since the last look.
    pub(super) fn take_actions(&mut self) -> Actions {
        std::mem::take(&mut self.actions)
    }

    /// The same as text.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.actions.drain(..).map(|action| show(&action)).collect()
    }

    /// What was done since the last look is this.
    #[track_caller]
    pub(super) fn expect(&mut self, expected: &[&str]) {
        assert_eq!(self.take(), expected);
    }

    /// The client says something, and this is done.
    #[track_caller]
    pub(super) fn check(&mut self, text: &str, expected: &[&str]) {
        self.text(text);
        assert_eq!(self.take(), expected, "{text}");
    }
}

fn show(action: &Action) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match action {
        Action::Reply(payload) => text(payload),
        Action::ReplyBinary(payload) => format!("binary {}", text(payload)),
        Action::Gap(payload) => format!("gap {}", text(payload)),
        Action::Verify { ticket, token, device } => {
            format!(
                "verify #{ticket} {}{}",
                token.expose(),
                device.as_ref().map_or(String::new(), |d| format!(" as {d}"))
            )
        }
        Action::Bind { identity, since } => format!("bind {}{}", who(identity), after(since.as_ref())),
        Action::Rebind(identity) => format!("rebind {}", who(identity)),
        Action::Join { ticket, room, since, leave_first, callout } => {
            let how = [(*leave_first, " leave_first"), (*callout, " callout")];
            let how: String = how.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            format!("join #{ticket} {room}{}{how}", after(since.as_ref()))
        }
        Action::Leave { room } => format!("leave {room}"),
        Action::Publish { ticket, to, said, payload } => {
            let ticket = ticket.map_or(String::new(), |ticket| format!(" #{ticket}"));
            let to = match to {
                Outward::Service(path) => path.join("|"),
                Outward::Room(room) => format!("to room {room}"),
            };
            format!("publish{ticket} {to} {}{}", text(payload), besides(said.as_deref()))
        }
        Action::Request { ticket, to, said, payload, timeout } => {
            let besides = besides(said.as_deref());
            format!("request #{ticket} {} {} {timeout:?}{besides}", to.join("|"), text(payload))
        }
        Action::History { ticket, room, cursor, limit, callout } => {
            let callout = if *callout { " callout" } else { "" };
            let (which, mark) = match cursor {
                Cursor::Before(mark) => ("before", mark),
                Cursor::After(mark) => ("after", mark),
            };
            let epoch = mark.epoch.as_ref().map_or(String::new(), |epoch| format!("{epoch}."));
            format!("history #{ticket} {room} {limit} {which} {epoch}{}{callout}", mark.seq)
        }
        Action::Acked { ids } => format!("acked {}", ids.join(" ")),
        Action::Close { code, reason, close } => {
            format!("close {code} {}", if close.is_some() { "" } else { reason }).trim_end().to_owned()
        }
    }
}

fn besides(said: Option<&Said>) -> String {
    let parts = said.into_iter().flat_map(|said| [&said.content_type, &said.headers]);
    parts.flatten().map(|part| format!(" ({part})")).collect()
}

fn after(since: Option<&Position>) -> String {
    since.map_or(String::new(), |since| format!(" after {}.{}", since.epoch, since.seq))
}

fn who(identity: &Identity) -> String {
    match &identity.device {
        Some(device) => format!("{} on {device}", identity.user),
        None => identity.user.to_string(),
    }
}

/// The welcome of the bench's connection.
pub(super) fn welcome(user: &str, expires: &str, tail: &str) -> String {
    let node = NodeId::gateway([7; 8]);
    let connection = ConnectionId::new(node, [1; 16]);
    format!(
        r#"{{"type":"welcome","connection":"{connection}","user":"{user}","node":"{node}","heartbeat":25,"expires":{expires}{tail}}}"#
    )
}

pub(super) fn forbidden(reason: &str) -> Outcome<()> {
    Err(Failure::Forbidden { reason: reason.to_owned() })
}
