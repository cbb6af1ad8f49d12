//! Messages from clients, judged field by field so that an error can name the message it is about.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{ErrorCode, MessageId};
use crate::dialect::{is_device, split_to};
use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX, SEQUENCE_END};
use crate::position::{Position, is_epoch};
use crate::token::check_key;
use crate::wire::Text;

/// The field `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A credential: the first one, or a refresh.
    Auth,
    /// Become a member of a room.
    Join,
    /// Be one no longer.
    Leave,
    /// A message to a domain service.
    Send,
    /// A request to a domain service.
    Request,
    /// A page of a room's kept messages.
    History,
    /// Messages that arrived.
    Ack,
    /// "Are you there?"
    Ping,
}

/// A message with its `id` and `type` read, and the rest still as it came.
#[derive(Debug)]
pub struct Head<'a> {
    /// The field `id`.
    pub id: Option<MessageId>,
    /// The field `type`.
    pub kind: Kind,
    fields: Fields<'a>,
}

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// `auth`
    Auth {
        /// The credential.
        token: Cow<'a, str>,
        /// What the client calls itself.
        device: Option<Cow<'a, str>>,
        /// Where the user's stream resumes.
        since: Option<Position>,
    },
    /// `join`
    Join {
        /// The room: a valid key.
        room: Cow<'a, str>,
        /// Where to resume.
        since: Option<Position>,
    },
    /// `leave`
    Leave {
        /// The room: a valid key.
        room: Cow<'a, str>,
    },
    /// `send`
    Send {
        /// The segments of `to`, not encoded.
        to: Vec<String>,
        /// The bytes of `data` as written; none where there is no `data`.
        data: &'a str,
    },
    /// `request`
    Request {
        /// The segments of `to`, not encoded.
        to: Vec<String>,
        /// The bytes of `data` as written; none where there is no `data`.
        data: &'a str,
        /// How long to wait, in milliseconds, where the client said so.
        timeout_ms: Option<u64>,
    },
    /// `history`
    History {
        /// The room: a valid key.
        room: Cow<'a, str>,
        /// Which part of it.
        cursor: Cursor,
        /// How many messages at most, 1–500.
        limit: u16,
    },
    /// `ack`
    Ack {
        /// Ids of messages.
        ids: Vec<String>,
    },
    /// `ping`
    Ping,
}

/// Which messages of a room's history: the nearest to a mark, which itself is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// Older ones.
    Before(Mark),
    /// Newer ones.
    After(Mark),
}

impl Cursor {
    /// The newest page.
    pub const NEWEST: Self = Self::Before(Mark { epoch: None, seq: SEQUENCE_END });
}

/// A sequence, perhaps of a certain epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The epoch, where the client named it; else the stream's present one is meant.
    pub epoch: Option<Text>,
    /// The sequence.
    pub seq: u64,
}

/// A message that cannot be followed, and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which message, where it had a valid id.
    pub id: Option<MessageId>,
    /// What is wrong.
    pub code: ErrorCode,
    /// The same in words.
    pub message: &'static str,
}

/// Every field that any message knows, in JSON text. Unknown fields are skipped without being built.
#[derive(Debug, Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type", deserialize_with = "present")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    token: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    device: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    room: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    since: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    to: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    timeout: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    ids: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    before: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    after: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    limit: Option<&'a RawValue>,
}

/// Tells a field that is `null` from one that is not there, which serde alone does not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads `id` and `type` of a message. Costs no stack however deep the text nests, and no memory but the `id`.
///
/// # Errors
/// No JSON object, an `id` that is none, or a `type` that is missing or unknown.
pub fn read(text: &str) -> Result<Head<'_>, Rejection> {
    let bad = |message| Rejection { id: None, code: ErrorCode::BadMessage, message };
    // Derived structs also read arrays.
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Err(bad("the message is not a JSON object"));
    }
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|_| bad("the message is not a JSON object"))?;
    let id = match fields.id {
        None => None,
        Some(raw) => match MessageId::parse(raw.get()) {
            Some(id) => Some(id),
            None => return Err(bad("id is not an integer below 2^53 or a string of at most 64 bytes")),
        },
    };
    let Some(name) = fields.kind.and_then(text_of) else {
        return Err(Rejection { id, code: ErrorCode::BadMessage, message: "type is missing or not a string" });
    };
    let kind = match name.as_ref() {
        "auth" => Kind::Auth,
        "join" => Kind::Join,
        "leave" => Kind::Leave,
        "send" => Kind::Send,
        "request" => Kind::Request,
        "history" => Kind::History,
        "ack" => Kind::Ack,
        "ping" => Kind::Ping,
        _ => return Err(Rejection { id, code: ErrorCode::UnknownType, message: "there is no such type" }),
    };
    Ok(Head { id, kind, fields })
}

impl<'a> Head<'a> {
    /// Reads the fields that this type of message has.
    ///
    /// # Errors
    /// A field is missing, of the wrong type, or out of bounds: always `bad_message`, with the id.
    pub fn body(&self) -> Result<ClientMessage<'a>, Rejection> {
        self.fields.body(self.kind).map_err(|message| Rejection {
            id: self.id.clone(),
            code: ErrorCode::BadMessage,
            message,
        })
    }
}

impl<'a> Fields<'a> {
    fn body(&self, kind: Kind) -> Result<ClientMessage<'a>, &'static str> {
        Ok(match kind {
            Kind::Auth => ClientMessage::Auth {
                token: self.token.and_then(text_of).ok_or("token is missing or not a string")?,
                device: self.device()?,
                since: self.since()?,
            },
            Kind::Join => ClientMessage::Join { room: self.room()?, since: self.since()? },
            Kind::Leave => ClientMessage::Leave { room: self.room()? },
            Kind::Send => ClientMessage::Send { to: self.to()?, data: self.data() },
            Kind::Request => {
                ClientMessage::Request { to: self.to()?, data: self.data(), timeout_ms: self.timeout_ms()? }
            }
            Kind::History => {
                ClientMessage::History { room: self.room()?, cursor: self.cursor()?, limit: self.limit()? }
            }
            Kind::Ack => {
                let ids = self.ids.and_then(|raw| serde_json::from_str(raw.get()).ok());
                ClientMessage::Ack { ids: ids.ok_or("ids is not a list of strings")? }
            }
            Kind::Ping => ClientMessage::Ping,
        })
    }

    fn device(&self) -> Result<Option<Cow<'a, str>>, &'static str> {
        let Some(raw) = optional(self.device) else { return Ok(None) };
        text_of(raw)
            .filter(|device| is_device(device))
            .map(Some)
            .ok_or("device is not a string of 1 to 64 bytes without control characters and edge white space")
    }

    fn room(&self) -> Result<Cow<'a, str>, &'static str> {
        self.room
            .and_then(text_of)
            .filter(|room| check_key(room).is_ok())
            .ok_or("room is not a string of 1 to 200 bytes")
    }

    fn since(&self) -> Result<Option<Position>, &'static str> {
        let Some(raw) = optional(self.since) else { return Ok(None) };
        let position = mark_of(raw).and_then(|mark| Some(Position { epoch: mark.epoch?, seq: mark.seq }));
        position.map(Some).ok_or("since is not an object of epoch and seq")
    }

    fn cursor(&self) -> Result<Cursor, &'static str> {
        let cursor = match (optional(self.before), optional(self.after)) {
            (Some(before), None) => mark_of(before).map(Cursor::Before),
            (None, Some(after)) => mark_of(after).map(Cursor::After),
            (None, None) => Some(Cursor::NEWEST),
            (Some(_), Some(_)) => None,
        };
        cursor.ok_or("history takes one of before and after: a seq, or an object of epoch and seq")
    }

    fn limit(&self) -> Result<u16, &'static str> {
        let Some(raw) = optional(self.limit) else { return Ok(HISTORY_MESSAGES_DEFAULT) };
        let limit = raw.get().parse().ok().filter(|limit| (1..=HISTORY_MESSAGES_MAX).contains(limit));
        limit.ok_or("limit is not an integer from 1 to 500")
    }

    fn to(&self) -> Result<Vec<String>, &'static str> {
        self.to
            .and_then(text_of)
            .and_then(|to| split_to(&to))
            .ok_or("to is not a string of 1 to 16 segments of 1 to 64 bytes")
    }

    fn data(&self) -> &'a str {
        self.data.map_or("", RawValue::get)
    }

    fn timeout_ms(&self) -> Result<Option<u64>, &'static str> {
        let Some(raw) = optional(self.timeout) else { return Ok(None) };
        raw.get()
            .parse()
            .ok()
            .filter(|timeout_ms| (1..=REQUEST_TIMEOUT_MS_MAX).contains(timeout_ms))
            .map(Some)
            .ok_or("timeout is not an integer from 1 to 30000 (milliseconds)")
    }
}

/// The longest that a client may ask a request to wait.
const REQUEST_TIMEOUT_MS_MAX: u64 = 30_000;

fn optional(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// The text of a JSON string, borrowed where nothing is escaped.
fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

    serde_json::from_str::<Borrowed<'_>>(raw.get()).ok().map(|text| text.0)
}

/// A sequence, or an object with one and its epoch.
fn mark_of(raw: &RawValue) -> Option<Mark> {
    #[derive(Deserialize)]
    struct Full<'a> {
        #[serde(borrow)]
        epoch: Cow<'a, str>,
        seq: u64,
    }

    let mark = if raw.get().starts_with('{') {
        let full: Full<'_> = serde_json::from_str(raw.get()).ok()?;
        is_epoch(&full.epoch).then(|| Mark { epoch: Some(Text::from(&*full.epoch)), seq: full.seq })?
    } else {
        Mark { epoch: None, seq: serde_json::from_str(raw.get()).ok()? }
    };
    (mark.seq < SEQUENCE_END).then_some(mark)
}
