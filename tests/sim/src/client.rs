//! One simulated client: what it believes, and the promises it checks on each frame it gets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use holdfast_gateway::link::Key;
use serde_json::Value;

use crate::socket::{Wire, text_of};

/// A client's view of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Asked, not answered.
    Joining,
    /// A member since the `ok` came.
    In {
        /// When it came.
        since_ms: u64,
    },
    /// Asked to leave, not answered.
    Leaving,
}

/// One message as the services number them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Which service sent it.
    pub sender: u64,
    /// Counts over all of that service's messages.
    pub number: u64,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// A client and its connection.
#[derive(Debug)]
pub struct Client {
    /// Whose.
    pub user: String,
    /// Which gateway process holds it, by the world's numbering.
    pub gateway: u64,
    /// Which shard of it.
    pub shard: usize,
    /// And where there.
    pub key: Key,
    /// The connection.
    pub wire: Rc<RefCell<Wire>>,
    /// The public id, once welcomed.
    pub connection: Option<String>,
    /// When the welcome came.
    pub welcomed_ms: Option<u64>,
    /// Where it thinks it is.
    pub rooms: BTreeMap<String, Membership>,
    /// What it got: the room (empty for the own stream) and the message.
    pub seen: BTreeSet<(String, Number)>,
    last: BTreeMap<(String, u64, String), u64>,
    pending: BTreeMap<u64, (String, bool)>,
    next_id: u64,
    /// `gap`s it was told.
    pub gaps: u64,
}

impl Client {
    /// A client whose connection was just opened.
    pub fn new(user: String, gateway: u64, shard: usize, key: Key, wire: Rc<RefCell<Wire>>) -> Self {
        Self {
            user,
            gateway,
            shard,
            key,
            wire,
            connection: None,
            welcomed_ms: None,
            rooms: BTreeMap::new(),
            seen: BTreeSet::new(),
            last: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_id: 0,
            gaps: 0,
        }
    }

    /// Asks to join or leave; returns what to send.
    pub fn ask(&mut self, room: &str, join: bool) -> String {
        self.next_id += 1;
        self.pending.insert(self.next_id, (room.to_owned(), join));
        let state = if join { Membership::Joining } else { Membership::Leaving };
        self.rooms.insert(room.to_owned(), state);
        let verb = if join { "join" } else { "leave" };
        format!(r#"{{"type":"{verb}","id":{},"room":"{room}"}}"#, self.next_id)
    }

    /// Whether it may ask anything about this room now: one question at a time.
    pub fn is_settled(&self, room: &str) -> bool {
        self.welcomed_ms.is_some() && !self.pending.values().any(|(pending, _)| pending == room)
    }

    /// Whether it was a member, by its own lights, since before `ms`.
    pub fn is_member_since(&self, room: &str, ms: u64) -> bool {
        matches!(self.rooms.get(room), Some(Membership::In { since_ms }) if *since_ms <= ms)
    }

    /// Reads what has come. `lenient` tells by a message's sending time whether it may come twice or swapped: an orderly
    /// change of owner was under way.
    ///
    /// # Errors
    /// A promise is broken.
    pub fn read(&mut self, now_ms: u64, lenient: &dyn Fn(u64) -> bool) -> Result<u64, Violation> {
        let mut read = 0;
        loop {
            let Some(frame) = self.wire.borrow_mut().frames.pop_front() else { return Ok(read) };
            read += 1;
            let Some(text) = text_of(&frame) else { continue };
            let value: Value =
                serde_json::from_str(text).map_err(|error| Violation(format!("unreadable {text}: {error}")))?;
            self.take(now_ms, lenient, &value).map_err(|what| Violation(format!("{}: {what} ({text})", self.user)))?;
        }
    }

    fn take(&mut self, now_ms: u64, lenient: &dyn Fn(u64) -> bool, frame: &Value) -> Result<(), String> {
        let kind = frame["type"].as_str().unwrap_or("");
        if self.connection.is_none() && kind != "welcome" && kind != "error" {
            return Err("something before the welcome".to_owned());
        }
        match kind {
            "welcome" => {
                self.connection = frame["connection"].as_str().map(str::to_owned);
                self.welcomed_ms = Some(now_ms);
            }
            "ok" | "error" => self.answered(now_ms, kind == "ok", frame["id"].as_u64()),
            "message" => self.message(lenient, frame)?,
            "gap" => self.gaps += 1,
            "goaway" => {}
            other => return Err(format!("unexpected {other:?}")),
        }
        Ok(())
    }

    fn answered(&mut self, now_ms: u64, ok: bool, id: Option<u64>) {
        let Some((room, join)) = id.and_then(|id| self.pending.remove(&id)) else { return };
        if join && ok {
            self.rooms.insert(room, Membership::In { since_ms: now_ms });
        } else {
            self.rooms.remove(&room);
        }
    }

    fn message(&mut self, lenient: &dyn Fn(u64) -> bool, frame: &Value) -> Result<(), String> {
        let (Some(sender), Some(number)) = (frame["data"]["sender"].as_u64(), frame["data"]["number"].as_u64()) else {
            return Err("a message nobody sent".to_owned());
        };
        let lenient = lenient(frame["data"]["at"].as_u64().unwrap_or(0));
        let target = frame["data"]["target"].as_str().unwrap_or("").to_owned();
        let room = frame["room"].as_str().unwrap_or("").to_owned();
        if !room.is_empty() && !matches!(self.rooms.get(&room), Some(Membership::In { .. } | Membership::Leaving)) {
            return Err(format!("a message of {room:?} outside of a membership"));
        }
        let fresh = self.seen.insert((room.clone(), Number { sender, number }));
        if !fresh && !lenient {
            return Err("a message twice".to_owned());
        }
        let last = self.last.entry((room, sender, target)).or_default();
        if fresh && number <= *last && !lenient {
            return Err(format!("out of order after {last}"));
        }
        *last = number.max(*last);
        Ok(())
    }
}
