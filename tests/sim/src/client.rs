//! One simulated client: what it believes, and the promises it checks on each frame it gets.
//!
//! It behaves as a client should: it resumes behind the last kept message it has, after a loss of its connection and
//! after each `gap`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use holdfast_gateway::link::Key;
use holdfast_protocol::subject::Target;
use serde_json::Value;

use crate::acks::Owed;
use crate::diary::Diary;
use crate::follow::{Follow, Truth, place_of};
use crate::history::{Page, check_page};
use crate::jetstream::JetStream;
use crate::log::Place;
use crate::slow::Doubts;
use crate::socket::{Wire, text_of};

/// A client's view of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Asked, not answered.
    Joining,
    /// A member that asked to resume, not answered.
    Rejoining,
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

/// What a client asked, and waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Join { room: String, since: Option<Place> },
    Leave { room: String },
    History { room: String, page: Page },
}

/// What a client keeps when its connection is gone.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Whose.
    pub user: String,
    /// Where the user's own stream resumes.
    pub own: Option<Place>,
    /// Where rooms resume.
    pub rooms: BTreeMap<String, Option<Place>>,
    /// When it comes back.
    pub due_ms: u64,
}

impl Memory {
    /// A client that was never there.
    pub const fn of(user: String) -> Self {
        Self { user, own: None, rooms: BTreeMap::new(), due_ms: 0 }
    }
}

/// A connection's slot in a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoAway {
    /// When the client was told.
    pub told_ms: u64,
    /// When it shall be closed, from then.
    pub after_ms: u64,
}

/// The own stream among [`Client::follows`].
pub const OWN: &str = "";
/// Between two attempts of a client to resume.
const RETRY_MS: u64 = 200;

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
    pending: BTreeMap<u64, Asked>,
    next_id: u64,
    /// `gap`s it was told.
    pub gaps: u64,
    /// By room, and [`OWN`]: kept messages. A room that is not among [`Self::rooms`] is one to come back to.
    pub follows: BTreeMap<String, Follow>,
    /// Asked to resume its own stream behind this.
    since: Option<Place>,
    tried_ms: u64,
    /// A service has paused it, until then.
    pub paused_until_ms: Option<u64>,
    /// Live messages sent before then may not have reached it: it was paused, or did not read.
    pub unsteady_until_ms: u64,
    /// What is not settled of messages that did not come.
    pub doubts: Doubts,
    /// It reads slowly until then; 0 where it does not.
    pub slow_until_ms: u64,
    /// Old messages give way where too many wait for it; otherwise it is closed.
    pub drops_oldest: bool,
    /// It was paused once.
    pub was_paused: bool,
    /// It was told to go away.
    pub goaway: Option<GoAway>,
    /// Its gateway was taken back into service: it may be told another time.
    pub recalled: bool,
    /// What it has yet to acknowledge.
    pub owed: Owed,
    /// Live messages that it read since the world last looked.
    pub heard: Vec<Number>,
    /// What happened to it lately, for the story of a failure.
    pub diary: Diary,
    /// Kept messages that came.
    pub kept: u64,
    /// How often it resumed, and was told that something is lost.
    pub resumed: u64,
    /// How often it was told that something is lost.
    pub unrecovered: u64,
    /// Pages of history it got.
    pub pages: u64,
}

impl Client {
    /// A client whose connection was just opened, with what it remembers of the one before.
    pub fn new(memory: Memory, gateway: u64, shard: usize, key: Key, wire: Rc<RefCell<Wire>>) -> Self {
        let mut follows: BTreeMap<_, _> =
            memory.rooms.into_iter().map(|(room, place)| (room, Follow::behind(place))).collect();
        follows.insert(OWN.to_owned(), Follow::behind(memory.own.clone()));
        Self {
            user: memory.user,
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
            follows,
            since: memory.own,
            tried_ms: 0,
            paused_until_ms: None,
            unsteady_until_ms: 0,
            doubts: Doubts::default(),
            slow_until_ms: 0,
            drops_oldest: false,
            was_paused: false,
            goaway: None,
            recalled: false,
            owed: Owed::default(),
            heard: Vec::new(),
            diary: Diary::default(),
            kept: 0,
            resumed: 0,
            unrecovered: 0,
            pages: 0,
        }
    }

    /// What stays of it when the connection is gone.
    pub fn memory(&self, due_ms: u64) -> Memory {
        let place = |name: &str| self.follows.get(name).and_then(|follow| follow.place.clone());
        let leaving = |room: &str| self.rooms.get(room) == Some(&Membership::Leaving);
        let rooms = self.follows.keys().chain(self.rooms.keys()).filter(|room| *room != OWN && !leaving(room));
        let rooms = rooms.map(|room| (room.clone(), place(room))).collect();
        Memory { user: self.user.clone(), own: place(OWN), rooms, due_ms }
    }

    /// Asks to join or leave; returns what to send.
    pub fn ask(&mut self, room: &str, join: bool) -> String {
        self.next_id += 1;
        let id = self.next_id;
        if join {
            let since = self.follows.get(room).and_then(|follow| follow.place.clone());
            let is_member = self.rooms.contains_key(room);
            let state = if is_member { Membership::Rejoining } else { Membership::Joining };
            self.rooms.insert(room.to_owned(), state);
            let text = match &since {
                Some(Place { epoch, seq }) => format!(r#","since":{{"epoch":"{epoch}","seq":{seq}}}"#),
                None => String::new(),
            };
            self.pending.insert(id, Asked::Join { room: room.to_owned(), since });
            format!(r#"{{"type":"join","id":{id},"room":"{room}"{text}}}"#)
        } else {
            self.rooms.insert(room.to_owned(), Membership::Leaving);
            self.pending.insert(id, Asked::Leave { room: room.to_owned() });
            format!(r#"{{"type":"leave","id":{id},"room":"{room}"}}"#)
        }
    }

    /// Asks for a page of a room's past; returns what to send.
    pub fn ask_history(&mut self, room: &str, page: Page) -> String {
        self.next_id += 1;
        let (id, seq, limit) = (self.next_id, page.seq, page.limit);
        let side = if page.before { "before" } else { "after" };
        self.pending.insert(id, Asked::History { room: room.to_owned(), page });
        format!(r#"{{"type":"history","id":{id},"room":"{room}","{side}":{seq},"limit":{limit}}}"#)
    }

    /// A room to come back to, or to resume in after a gap: what a client does by itself.
    pub fn wants_to_resume(&mut self, now_ms: u64) -> Option<String> {
        if now_ms < self.tried_ms + RETRY_MS || self.welcomed_ms.is_none() {
            return None;
        }
        let broken = self.follows.iter().filter(|(room, follow)| follow.broken && *room != OWN);
        let room = broken.map(|(room, _)| room).find(|room| self.is_settled(room)).cloned()?;
        self.tried_ms = now_ms;
        Some(room)
    }

    /// Whether only a new connection helps: a gap in its own stream.
    pub fn wants_to_reconnect(&self) -> bool {
        self.welcomed_ms.is_some() && self.follows.get(OWN).is_some_and(|follow| follow.broken)
    }

    /// Whether it may ask anything about this room now: one question at a time.
    pub fn is_settled(&self, room: &str) -> bool {
        let about = |asked: &Asked| match asked {
            Asked::Join { room, .. } | Asked::Leave { room } | Asked::History { room, .. } => room.clone(),
        };
        self.welcomed_ms.is_some() && !self.pending.values().any(|asked| about(asked) == room)
    }

    /// Whether it was a member, by its own lights, since before `ms`.
    pub fn is_member_since(&self, room: &str, ms: u64) -> bool {
        matches!(self.rooms.get(room), Some(Membership::In { since_ms }) if *since_ms <= ms)
    }

    /// Reads what has come. `lenient` tells by a message's sending time whether it may come twice or swapped.
    ///
    /// # Errors
    /// A promise is broken.
    pub fn read(&mut self, now_ms: u64, stream: &JetStream, lenient: &dyn Fn(u64) -> bool) -> Result<u64, Violation> {
        let mut read = 0;
        loop {
            let Some(frame) = self.wire.borrow_mut().frames.pop_front() else { return Ok(read) };
            read += 1;
            self.diary.note(now_ms, frame.clone());
            let Some(text) = text_of(&frame) else { continue };
            let value: Value =
                serde_json::from_str(text).map_err(|error| Violation(format!("unreadable {text}: {error}")))?;
            self.take(now_ms, stream, lenient, &value)
                .map_err(|what| Violation(format!("{}: {what} ({text})\n{}", self.user, self.diary)))?;
        }
    }

    fn take(
        &mut self,
        now_ms: u64,
        stream: &JetStream,
        lenient: &dyn Fn(u64) -> bool,
        frame: &Value,
    ) -> Result<(), String> {
        let kind = frame["type"].as_str().unwrap_or("");
        if self.connection.is_none() && !matches!(kind, "welcome" | "error" | "goaway") {
            return Err("something before the welcome".to_owned());
        }
        match kind {
            "welcome" => {
                self.connection = frame["connection"].as_str().map(str::to_owned);
                self.welcomed_ms = Some(now_ms);
                let since = self.since.take();
                self.begin(now_ms, stream, OWN, since, frame)?;
            }
            "ok" | "error" | "history" => self.answered(now_ms, stream, kind, frame)?,
            "message" if frame["seq"].is_u64() => self.kept_message(now_ms, stream, frame)?,
            "message" => self.message(lenient, frame)?,
            "gap" => self.told_gap(now_ms, frame),
            "goaway" => {
                let after_ms = frame["retry_after"].as_u64().ok_or("a goaway without a time")?;
                let before = self.goaway.replace(GoAway { told_ms: now_ms, after_ms });
                if before.is_some() && !std::mem::take(&mut self.recalled) {
                    return Err("told to go away twice".to_owned());
                }
            }
            other => return Err(format!("unexpected {other:?}")),
        }
        Ok(())
    }

    /// All live ones may be among what was lost, and kept ones are not; of one target both may be.
    fn told_gap(&mut self, now_ms: u64, frame: &Value) {
        self.gaps += 1;
        self.doubts.gap_ms.insert(frame["room"].as_str().unwrap_or(OWN).to_owned(), now_ms);
        if frame["all"].as_bool() != Some(true) {
            let room = frame["room"].as_str().unwrap_or(OWN);
            if room == OWN || self.rooms.contains_key(room) {
                self.follows.entry(room.to_owned()).or_default().broken = true;
            }
        }
    }

    /// Where the client begins to follow a target.
    fn begin(
        &mut self,
        now_ms: u64,
        stream: &JetStream,
        name: &str,
        since: Option<Place>,
        answer: &Value,
    ) -> Result<(), String> {
        let subject = stream.subject_of(&self.target(name));
        let truth = Truth { log: &stream.log, subject: &subject, user: &self.user, now_ms };
        let asked = since.clone();
        let lost = self.follows.entry(name.to_owned()).or_default().begin(truth, since, answer)?;
        if let Some(since) = asked {
            self.resumed += 1;
            self.unrecovered += u64::from(lost);
            // A stream that is young may not be known for what it is everywhere, nor a stream to a node that is young.
            let is_young = now_ms < stream.born_ms + YOUNG_MS || answer["position"].is_null();
            if lost && !is_young && !stream.may_have_lost(&subject, &since) {
                return Err(format!("not recovered from {since:?}, and all is there"));
            }
        }
        Ok(())
    }

    fn target(&self, name: &str) -> Target {
        if name == OWN { Target::User(self.user.clone()) } else { Target::Room(name.to_owned()) }
    }

    fn answered(&mut self, now_ms: u64, stream: &JetStream, kind: &str, frame: &Value) -> Result<(), String> {
        let Some(asked) = frame["id"].as_u64().and_then(|id| self.pending.remove(&id)) else { return Ok(()) };
        match (asked, kind) {
            (Asked::Join { room, since }, "ok") => {
                self.rooms.insert(room.clone(), Membership::In { since_ms: now_ms });
                self.begin(now_ms, stream, &room, since, frame)?;
            }
            (Asked::Join { room, since }, _) => {
                self.rooms.remove(&room);
                // It tries again, from where it was.
                self.follows.insert(room, Follow::behind(since));
            }
            (Asked::Leave { room }, _) => {
                self.rooms.remove(&room);
                self.follows.remove(&room);
            }
            (Asked::History { room, page }, "history") => {
                self.pages += 1;
                check_page(stream, now_ms, &self.user, &stream.subject_of(&self.target(&room)), &page, frame)?;
            }
            (Asked::History { .. }, _) => {}
        }
        Ok(())
    }

    fn kept_message(&mut self, now_ms: u64, stream: &JetStream, frame: &Value) -> Result<(), String> {
        let room = frame["room"].as_str().unwrap_or(OWN).to_owned();
        self.expect_member(&room)?;
        let (Some(number), Some(place)) = (number_of(frame), place_of(frame)) else {
            return Err("a kept message nobody sent".to_owned());
        };
        self.kept += 1;
        let subject = stream.subject_of(&self.target(&room));
        let truth = Truth { log: &stream.log, subject: &subject, user: &self.user, now_ms };
        self.follows.entry(room).or_default().take(truth, number, place)
    }

    fn expect_member(&self, room: &str) -> Result<(), String> {
        if room == OWN {
            return Ok(());
        }
        match self.rooms.get(room) {
            Some(Membership::In { .. } | Membership::Rejoining | Membership::Leaving) => Ok(()),
            Some(Membership::Joining) | None => Err(format!("a message of {room:?} outside of a membership")),
        }
    }

    fn message(&mut self, lenient: &dyn Fn(u64) -> bool, frame: &Value) -> Result<(), String> {
        let Some(Number { sender, number }) = number_of(frame) else {
            return Err("a message nobody sent".to_owned());
        };
        self.heard.push(Number { sender, number });
        if frame["ack"] == true {
            let id = frame["id"].as_str().ok_or("nothing to acknowledge it by")?;
            self.owed.fresh.push((id.to_owned(), frame["room"].is_string()));
        }
        let lenient = lenient(frame["data"]["at"].as_u64().unwrap_or(0));
        let target = frame["data"]["target"].as_str().unwrap_or("").to_owned();
        let room = frame["room"].as_str().unwrap_or("").to_owned();
        if let Some(key) = frame["data"]["key"].as_str() {
            let newest = self.doubts.newest.entry((room.clone(), key.to_owned())).or_default();
            *newest = number.max(*newest);
        }
        self.expect_member(&room)?;
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

    /// A kept message that it should have by now, and where.
    pub fn owed(&self, now_ms: u64, stream: &JetStream) -> Option<(String, u64)> {
        self.follows.iter().find_map(|(name, follow)| {
            let is_there = name == OWN || matches!(self.rooms.get(name), Some(Membership::In { .. }));
            let subject = stream.subject_of(&self.target(name));
            let truth = Truth { log: &stream.log, subject: &subject, user: &self.user, now_ms };
            Some((subject.clone(), follow.owed(truth).filter(|_| is_there)?))
        })
    }
}

/// For how long after its making gateways may take the stream for the one before.
const YOUNG_MS: u64 = 6_000;

/// The number that a service gave the message.
pub fn number_of(frame: &Value) -> Option<Number> {
    Some(Number { sender: frame["data"]["sender"].as_u64()?, number: frame["data"]["number"].as_u64()? })
}
