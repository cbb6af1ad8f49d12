//! A simulated JetStream with the one stream of kept messages: acknowledges, numbers, republishes, forgets and is read as
//! the real one does, and fails as it does.
//!
//! Speaks the API as gateways and the routers' keeper use it (stream info, direct get by batches; making and marking the
//! stream is one request of our own). Its clock is the world's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use holdfast_protocol::fact::rfc3339;
use holdfast_protocol::kept;
use holdfast_protocol::subject::{Kind, Subjects, Target};
use holdfast_protocol::token;
use serde_json::{Value, json};

use crate::bus::{Bus, Link, Message};
use crate::client::Number;
use crate::log::{Log, Logged, Place};
use crate::rng::Rng;

/// The stream's name.
pub const STREAM: &str = "HF_KEPT";
/// Where the routers' keeper asks for a stream to be made. Its payload is the epoch.
pub const CREATE: &str = "$JS.API.STREAM.CREATE.HF_KEPT";
/// Unix milliseconds at the world's 0.
pub const UNIX_MS: u64 = 1_700_000_000_000;

/// Messages of one subject that stay.
const PER_SUBJECT_MAX: usize = 25;
/// Messages that stay in all.
const MESSAGES_MAX: usize = 600;
/// How long they stay.
const AGE_MAX_MS: u64 = 40_000;
/// How long an id is known.
const DUPLICATES_MS: u64 = 60_000;
/// How far a replica lags behind.
const LAG_MAX_MS: u64 = 600;
/// End of a batch, and nothing there.
const END_OF_BATCH: u16 = 204;
const NOT_FOUND: u16 = 404;

#[derive(Debug)]
struct Stored {
    subject: String,
    headers: Vec<(String, String)>,
    payload: Bytes,
    stored_ms: u64,
}

#[derive(Debug, Default)]
struct Stream {
    epoch: String,
    messages: BTreeMap<u64, Stored>,
    subjects: BTreeMap<String, BTreeSet<u64>>,
    last: u64,
    /// When which id was stored, and as what.
    ids: BTreeMap<String, (u64, u64)>,
}

/// The server.
#[derive(Debug)]
pub struct JetStream {
    /// Its connection.
    pub link: Link,
    subjects: Subjects,
    stream: Option<Stream>,
    asked: VecDeque<(u64, Message)>,
    /// Neither stores nor answers until then.
    pub away_until_ms: u64,
    /// Takes its time to answer until then.
    pub slow_until_ms: u64,
    /// Some of its replicas lag behind until then.
    pub lagging_until_ms: u64,
    /// When the present stream was made.
    pub born_ms: u64,
    /// All that was ever stored.
    pub log: Log,
}

impl JetStream {
    /// A server without a stream.
    pub fn new(bus: &mut Bus) -> Self {
        let (link, subjects) = (bus.connect(), Subjects::new("hf"));
        for subject in [subjects.keep_all(), "$JS.API.>".to_owned()] {
            bus.subscribe(link, subject);
        }
        Self {
            link,
            subjects,
            stream: None,
            asked: VecDeque::new(),
            away_until_ms: 0,
            slow_until_ms: 0,
            lagging_until_ms: 0,
            born_ms: 0,
            log: Log::default(),
        }
    }

    /// Somebody deletes the stream.
    pub fn delete(&mut self) {
        self.stream = None;
    }

    /// Publishes and requests of others.
    pub fn receive(&mut self, bus: &mut Bus, rng: &mut Rng, now_ms: u64, message: Message) {
        if now_ms < self.away_until_ms {
            return;
        }
        if message.subject.starts_with("$JS.") {
            let slow = now_ms < self.slow_until_ms;
            let after_ms = if slow { rng.below(3_000) } else { rng.below(5) };
            let at = self.asked.partition_point(|(due_ms, _)| *due_ms <= now_ms + after_ms);
            self.asked.insert(at, (now_ms + after_ms, message));
        } else {
            self.store(bus, rng, now_ms, message);
        }
    }

    /// What time brings: old messages go, requests are answered.
    pub fn turn(&mut self, bus: &mut Bus, rng: &mut Rng, now_ms: u64) {
        if let Some(stream) = &mut self.stream {
            stream.forget_old(now_ms);
        }
        while self.asked.front().is_some_and(|(due_ms, _)| *due_ms <= now_ms) {
            let Some((_, request)) = self.asked.pop_front() else { return };
            if now_ms >= self.away_until_ms {
                self.answer(bus, rng, now_ms, &request);
            }
        }
    }

    fn store(&mut self, bus: &mut Bus, rng: &mut Rng, now_ms: u64, message: Message) {
        let Some(stream) = &mut self.stream else { return };
        let header = |name: &str| message.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
        stream.ids.retain(|_, (at_ms, _)| *at_ms + DUPLICATES_MS > now_ms);
        let id = header("Nats-Msg-Id");
        let known = id.as_ref().and_then(|id| stream.ids.get(id)).map(|(_, seq)| *seq);
        if let Some(seq) = known {
            let ack = json!({ "stream": STREAM, "seq": seq, "duplicate": true });
            reply(bus, rng, (now_ms, self.link), &message, ack.to_string());
            return;
        }
        stream.last += 1;
        let seq = stream.last;
        let previous = stream.subjects.get(&message.subject).and_then(BTreeSet::last).copied().unwrap_or(0);
        stream.ids.extend(id.map(|id| (id, (now_ms, seq))));
        let sent: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let logged = Logged {
            number: Number {
                sender: sent["sender"].as_u64().unwrap_or(u64::MAX),
                number: sent["number"].as_u64().unwrap_or(u64::MAX),
            },
            stored_ms: now_ms,
            expires_ms: header("Hf-Ttl").and_then(|ttl| ttl.parse::<u64>().ok()).map(|ttl| now_ms + ttl),
            key: header("Hf-Key"),
            except: header("Hf-Except-User").and_then(|user| token::decode(&user).ok()),
        };
        self.log.store(&message.subject, seq, logged);
        stream.subjects.entry(message.subject.clone()).or_default().insert(seq);
        reply(bus, rng, (now_ms, self.link), &message, json!({ "stream": STREAM, "seq": seq }).to_string());
        let (subject, headers, payload) = (message.subject, message.headers, message.payload);
        let rest = self.subjects.strip(&subject, "keep").unwrap_or_default();
        let kept_all = self.subjects.kept_all();
        let mut copy = Message::new(format!("{}{rest}", kept_all.trim_end_matches('>')), payload.clone());
        copy.headers.clone_from(&headers);
        copy.headers.extend(place_headers(&subject, seq, now_ms));
        copy.headers.push((kept::LAST_SEQUENCE.to_owned(), previous.to_string()));
        stream.messages.insert(seq, Stored { subject, headers, payload, stored_ms: now_ms });
        stream.forget_excess(seq);
        bus.publish(now_ms, rng, self.link, copy);
    }

    fn answer(&mut self, bus: &mut Bus, rng: &mut Rng, now_ms: u64, request: &Message) {
        let (at, body) = ((now_ms, self.link), serde_json::from_slice::<Value>(&request.payload).unwrap_or_default());
        if request.subject == CREATE {
            let epoch = String::from_utf8_lossy(&request.payload).into_owned();
            if self.stream.is_none() {
                self.born_ms = now_ms;
                self.log.begin(epoch.clone());
                self.stream = Some(Stream { epoch, ..Stream::default() });
            }
        }
        let Some(stream) = &self.stream else {
            let text = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
            reply(bus, rng, at, request, text.to_owned());
            return;
        };
        if request.subject == kept::direct_get(STREAM) {
            let lag_ms = if now_ms < self.lagging_until_ms && rng.chance(300) { rng.below(LAG_MAX_MS) } else { 0 };
            stream.read(bus, rng, at, request, &body, lag_ms);
        } else if request.subject == kept::leader_get(STREAM) && body["seq"].is_u64() {
            reply(bus, rng, at, request, stream.read_one(&body).to_string());
        } else if request.subject == kept::leader_get(STREAM) {
            let last = body["last_by_subj"].as_str().and_then(|subject| stream.subjects.get(subject)?.last());
            let answer = match last {
                Some(seq) => json!({ "message": { "seq": seq } }),
                None => json!({ "error": { "code": NOT_FOUND, "err_code": 10037 } }),
            };
            reply(bus, rng, at, request, answer.to_string());
        } else {
            reply(bus, rng, at, request, stream.info(body["subjects_filter"].as_str(), self.born_ms).to_string());
        }
    }

    /// Whether somebody who has everything up to `since` may be told that not all that followed is there.
    pub fn may_have_lost(&self, subject: &str, since: &Place) -> bool {
        let Some(stream) = &self.stream else { return true };
        let kept = stream.subjects.get(subject);
        let is_cut = kept.is_some_and(|kept| {
            kept.len() >= PER_SUBJECT_MAX && kept.first().is_some_and(|oldest| *oldest > since.seq)
        });
        since.epoch != stream.epoch || since.seq > stream.last || since.seq + 1 < stream.first() || is_cut
    }

    /// When a message of the present stream was stored.
    pub fn stored_ms(&self, subject: &str, seq: u64) -> Option<u64> {
        let epoch = self.stream.as_ref()?.epoch.clone();
        self.log.at(subject, &Place { epoch, seq }).map(|logged| logged.stored_ms)
    }

    /// Sequences of a subject that are there, with the stream's epoch.
    pub fn retained(&self, subject: &str) -> Option<(&str, Vec<u64>)> {
        let stream = self.stream.as_ref()?;
        let sequences = stream.subjects.get(subject).into_iter().flatten().copied().collect();
        Some((&stream.epoch, sequences))
    }

    /// The subject of a user's or a room's kept messages.
    pub fn subject_of(&self, target: &Target) -> String {
        self.subjects.to(Kind::Keep, target)
    }
}

impl Stream {
    fn first(&self) -> u64 {
        self.messages.first_key_value().map_or(self.last + 1, |(seq, _)| *seq)
    }

    fn remove(&mut self, seq: u64) {
        if let Some(stored) = self.messages.remove(&seq)
            && let Some(kept) = self.subjects.get_mut(&stored.subject)
        {
            kept.remove(&seq);
        }
    }

    fn forget_old(&mut self, now_ms: u64) {
        while let Some((&seq, oldest)) = self.messages.first_key_value()
            && oldest.stored_ms + AGE_MAX_MS < now_ms
        {
            self.remove(seq);
        }
    }

    /// Makes room for what was stored last.
    fn forget_excess(&mut self, stored: u64) {
        let subject = self.messages.get(&stored).and_then(|stored| self.subjects.get(&stored.subject));
        if let Some(kept) = subject
            && kept.len() > PER_SUBJECT_MAX
            && let Some(&oldest) = kept.first()
        {
            self.remove(oldest);
        }
        if self.messages.len() > MESSAGES_MAX {
            self.remove(self.first());
        }
    }

    fn info(&self, filter: Option<&str>, born_ms: u64) -> Value {
        let count = filter.and_then(|filter| self.subjects.get(filter)).map_or(0, BTreeSet::len);
        let mut state = json!({ "first_seq": self.first(), "last_seq": self.last });
        if let Some(filter) = filter.filter(|_| count > 0) {
            state["subjects"] = json!({ filter: count });
        }
        json!({
            "config": { "max_msgs_per_subject": PER_SUBJECT_MAX, "deny_delete": true, "deny_purge": true,
                        "metadata": { kept::EPOCH_METADATA: self.epoch } },
            "created": rfc3339(UNIX_MS + born_ms), "state": state,
        })
    }

    /// The leader's first message from there on, or that there is none. Headers and data are plain text here.
    fn read_one(&self, body: &Value) -> Value {
        let (from, filter) = (body["seq"].as_u64().unwrap_or(1), body["next_by_subj"].as_str().unwrap_or(">"));
        match self.messages.range(from..).find(|(_, stored)| crate::bus::matches(filter, &stored.subject)) {
            Some((seq, stored)) => json!({ "message": {
                "seq": seq, "subject": stored.subject, "time": rfc3339(UNIX_MS + stored.stored_ms),
                "hdrs": stored.headers, "data": String::from_utf8_lossy(&stored.payload),
            } }),
            None => json!({ "error": { "code": NOT_FOUND, "err_code": 10037 } }),
        }
    }

    /// A batch: fewer at once than asked for, as where a server looks at bytes.
    fn read(&self, bus: &mut Bus, rng: &mut Rng, at: (u64, Link), request: &Message, body: &Value, lag_ms: u64) {
        let Some(to) = request.reply.clone() else { return };
        let (from, filter) = (body["seq"].as_u64().unwrap_or(1), body["next_by_subj"].as_str().unwrap_or(">"));
        let wanted = usize::try_from(body["batch"].as_u64().unwrap_or(1)).unwrap_or(1).min(1 + rng.index(12));
        let found = self.messages.range(from..).filter(|(_, it)| crate::bus::matches(filter, &it.subject));
        let found: Vec<_> = found.filter(|(_, it)| it.stored_ms + lag_ms <= at.0).collect();
        let mut end = Message::new(to.clone(), Bytes::new());
        end.status = Some(if found.is_empty() { NOT_FOUND } else { END_OF_BATCH });
        for (place, (seq, stored)) in found.iter().take(wanted).enumerate() {
            let mut message = Message::new(to.clone(), stored.payload.clone());
            message.headers.clone_from(&stored.headers);
            message.headers.extend(place_headers(&stored.subject, **seq, stored.stored_ms));
            message.headers.push((kept::PENDING.to_owned(), (found.len() - place - 1).to_string()));
            bus.publish(at.0, rng, at.1, message);
        }
        bus.publish(at.0, rng, at.1, end);
    }
}

fn place_headers(subject: &str, seq: u64, stored_ms: u64) -> [(String, String); 3] {
    [
        (kept::SUBJECT.to_owned(), subject.to_owned()),
        (kept::SEQUENCE.to_owned(), seq.to_string()),
        (kept::TIME_STAMP.to_owned(), rfc3339(UNIX_MS + stored_ms)),
    ]
}

fn reply(bus: &mut Bus, rng: &mut Rng, at: (u64, Link), request: &Message, body: String) {
    if let Some(to) = request.reply.clone() {
        bus.publish(at.0, rng, at.1, Message::new(to, Bytes::from(body)));
    }
}
