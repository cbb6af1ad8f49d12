//! Messages to clients, as the payload of one text frame.

use std::fmt::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ErrorCode, MessageId};
use crate::content;
use crate::id::{ConnectionId, NodeId};
use crate::position::{Position, Recovery, Start};
use crate::wire::{Content, Delivery};

/// What a client learns once it is somebody.
#[derive(Debug, Clone)]
pub struct Welcome<'a> {
    /// The id of the `auth` that did it, where one did.
    pub id: Option<&'a MessageId>,
    /// The connection.
    pub connection: ConnectionId,
    /// The user.
    pub user: &'a str,
    /// The node.
    pub node: NodeId,
    /// How often the node pings; written in seconds.
    pub heartbeat: Duration,
    /// When the credential ends, Unix seconds.
    pub expires: Option<u64>,
    /// The device, if it has a name.
    pub device: Option<&'a str>,
    /// Where the user's kept messages begin.
    pub start: &'a Start,
}

/// Where something was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap<'a> {
    /// Anywhere.
    All,
    /// In the user's own stream.
    Own,
    /// In a room.
    Room(&'a str),
}

/// `welcome`
pub fn welcome(welcome: &Welcome<'_>) -> Vec<u8> {
    let mut out = Object::new("welcome", 192 + welcome.user.len());
    out.display("connection", welcome.connection);
    out.text("user", welcome.user);
    out.display("node", welcome.node);
    // An integer where it is one: most are.
    if welcome.heartbeat.subsec_nanos() == 0 {
        out.number("heartbeat", welcome.heartbeat.as_secs());
    } else {
        out.number("heartbeat", welcome.heartbeat.as_secs_f64());
    }
    out.expires(welcome.expires);
    if let Some(device) = welcome.device {
        out.text("device", device);
    }
    out.start(welcome.start);
    out.id(welcome.id);
    out.end()
}

/// `ok` to anything that says no more than that.
pub fn ok(id: &MessageId) -> Vec<u8> {
    let mut out = Object::new("ok", 48);
    out.id(Some(id));
    out.end()
}

/// `ok` to an `auth` that refreshed.
pub fn ok_refreshed(id: &MessageId, expires: Option<u64>) -> Vec<u8> {
    let mut out = Object::new("ok", 64);
    out.id(Some(id));
    out.expires(expires);
    out.end()
}

/// `ok` to a `join`. Its recovery only answers a `since`.
pub fn ok_joined(id: &MessageId, start: &Start) -> Vec<u8> {
    let mut out = Object::new("ok", 128);
    out.id(Some(id));
    out.start(start);
    out.end()
}

/// `pong`
pub fn pong(id: Option<&MessageId>) -> Vec<u8> {
    let mut out = Object::new("pong", 48);
    out.id(id);
    out.end()
}

/// `error`
pub fn error(id: Option<&MessageId>, code: ErrorCode, message: &str, retry: bool) -> Vec<u8> {
    error_with(id, code, None, message, retry)
}

/// `error` that a domain service answered with. What is the service's fault or the hour's (429, 500 and above) may be
/// tried again.
pub fn service_error(id: Option<&MessageId>, status: u16, message: &str) -> Vec<u8> {
    error_with(id, ErrorCode::Service, Some(status), message, status == 429 || status >= 500)
}

fn error_with(id: Option<&MessageId>, code: ErrorCode, status: Option<u16>, message: &str, retry: bool) -> Vec<u8> {
    let mut out = Object::new("error", 96 + message.len());
    out.id(id);
    out.text("code", code.as_str());
    if let Some(status) = status {
        out.number("status", status);
    }
    out.text("message", message);
    out.number("retry", retry);
    out.end()
}

/// `reply`: the domain service's bytes, JSON where they are.
pub fn reply(id: Option<&MessageId>, payload: &[u8]) -> Vec<u8> {
    let mut out = Object::new("reply", 48 + payload.len());
    out.id(id);
    out.payload(content::detect(None, payload), payload);
    out.end()
}

/// `message`: a delivery, as a member of `room` or of the user's own stream sees it.
pub fn delivery(delivery: &Delivery, room: Option<&str>) -> Vec<u8> {
    message(delivery, room).end()
}

fn message(delivery: &Delivery, room: Option<&str>) -> Object {
    let mut out = Object::new("message", 128 + delivery.payload.len());
    out.text("id", &delivery.id);
    if let Some(room) = room {
        out.text("room", room);
    }
    if let Some(event) = &delivery.event {
        out.text("event", event);
    }
    out.payload(delivery.content, &delivery.payload);
    if let Some(kept) = &delivery.kept {
        out.number("seq", kept.seq);
        out.text("epoch", &kept.epoch);
    }
    if delivery.receipt.is_some_and(|receipt| receipt.acked) {
        out.number("ack", true);
    }
    out
}

/// `history`: messages of `room` as its members see them, oldest first.
///
/// There is more where `next` says where to ask on.
pub fn history(id: Option<&MessageId>, room: &str, messages: &[Delivery], next: Option<&Position>) -> Vec<u8> {
    let payloads: usize = messages.iter().map(|message| message.payload.len()).sum();
    let mut out = Object::new("history", 64 + payloads + messages.len() * (160 + room.len()));
    out.id(id);
    out.name("messages");
    out.0.push('[');
    for (at, delivery) in messages.iter().enumerate() {
        if at > 0 {
            out.0.push(',');
        }
        out.0.push_str(&message(delivery, Some(room)).0);
        out.0.push('}');
    }
    out.0.push(']');
    out.number("more", next.is_some());
    out.position("next", next);
    out.end()
}

/// `gap`
pub fn gap(gap: Gap<'_>) -> Vec<u8> {
    let mut out = Object::new("gap", 32);
    match gap {
        Gap::All => out.number("all", true),
        Gap::Own => {}
        Gap::Room(room) => out.text("room", room),
    }
    out.end()
}

/// `goaway`
pub fn goaway(retry_after_ms: u64, reason: &str) -> Vec<u8> {
    let mut out = Object::new("goaway", 64);
    out.number("retry_after", retry_after_ms);
    out.text("reason", reason);
    out.end()
}

/// `joined`: a domain service made the connection a member.
pub fn joined(room: &str, position: Option<&Position>) -> Vec<u8> {
    let mut out = Object::new("joined", 96 + room.len());
    out.text("room", room);
    out.position("position", position);
    out.end()
}

/// `left`: a domain service, or a loss of rights, ended the membership.
pub fn left(room: &str) -> Vec<u8> {
    let mut out = Object::new("left", 32 + room.len());
    out.text("room", room);
    out.end()
}

/// An object that is being written.
struct Object(String);

impl Object {
    fn new(kind: &str, bytes: usize) -> Self {
        let mut out = Self(String::with_capacity(bytes));
        out.0.push_str("{\"type\":\"");
        out.0.push_str(kind);
        out.0.push('"');
        out
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push('}');
        self.0.into_bytes()
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn id(&mut self, id: Option<&MessageId>) {
        if let Some(id) = id {
            self.name("id");
            self.0.push_str(id.as_json());
        }
    }

    fn start(&mut self, start: &Start) {
        self.position("position", start.position.as_ref());
        match &start.recovery {
            None => {}
            Some(Recovery::Whole) => self.number("recovered", true),
            Some(Recovery::Lost { first }) => {
                self.number("recovered", false);
                self.position("first", first.as_ref());
            }
        }
    }

    fn position(&mut self, name: &str, position: Option<&Position>) {
        if let Some(Position { epoch, seq }) = position {
            self.name(name);
            self.0.push_str("{\"epoch\":");
            self.string(epoch);
            self.write(format_args!(",\"seq\":{seq}}}"));
        }
    }

    fn expires(&mut self, expires: Option<u64>) {
        match expires {
            Some(at) => self.number("expires", at),
            None => self.number("expires", "null"),
        }
    }

    /// A value whose text form is JSON already.
    fn number(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        self.write(value);
    }

    /// A value whose text form needs no escapes.
    fn display(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        self.0.push('"');
        self.write(value);
        self.0.push('"');
    }

    fn write(&mut self, value: impl fmt::Display) {
        // A String takes everything; the values here do not fail either.
        write!(self.0, "{value}").unwrap_or_default();
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.string(text);
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            // The byte found is ASCII, so both cuts are between characters.
            let (plain, tail) = rest.split_at(at);
            let (special, after) = tail.split_at(1);
            self.0.push_str(plain);
            match special {
                "\"" => self.0.push_str("\\\""),
                "\\" => self.0.push_str("\\\\"),
                "\n" => self.0.push_str("\\n"),
                "\r" => self.0.push_str("\\r"),
                "\t" => self.0.push_str("\\t"),
                control => self.write(format_args!("\\u{:04x}", control.as_bytes().first().copied().unwrap_or(0))),
            }
            rest = after;
        }
        self.0.push_str(rest);
        self.0.push('"');
    }

    /// `data`, or `base64` for what is no text. Bytes that are not what `content` says are sent as `base64`: the frame
    /// stays readable whatever a peer claims.
    fn payload(&mut self, content: Content, payload: &[u8]) {
        match (content, simdutf8::basic::from_utf8(payload)) {
            (Content::Json, Ok(json)) if !json.is_empty() => {
                self.name("data");
                self.0.push_str(json);
            }
            (Content::Json | Content::Text, Ok(text)) => self.text("data", text),
            (Content::Binary, _) if payload.is_empty() => self.text("data", ""),
            (Content::Binary, _) | (_, Err(_)) => {
                self.name("base64");
                self.0.push('"');
                STANDARD.encode_string(payload, &mut self.0);
                self.0.push('"');
            }
        }
    }
}
