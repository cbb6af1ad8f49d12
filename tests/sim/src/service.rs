//! A domain service: sends numbered messages, asks for receipts, and knows what it was promised.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::subject::{Kind, Subjects, Target};
use holdfast_protocol::token;

use crate::bus::{Bus, Link, Message};
use crate::client::Number;
use crate::rng::Rng;

/// A message that certain clients must get.
#[derive(Debug, Clone)]
pub struct Promise {
    /// Which.
    pub number: Number,
    /// When it was sent.
    pub sent_ms: u64,
    /// The target, or several.
    pub targets: Vec<Target>,
    /// The room, or empty for messages to users and connections.
    pub room: String,
    /// A newer one of this key may take its place.
    pub key: Option<&'static str>,
    /// Who must get it, as long as nothing changes for them.
    pub sure: Vec<u64>,
}

/// A receipt that was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When.
    pub sent_ms: u64,
    /// The target, or several.
    pub targets: Vec<Target>,
    /// Clients that surely belonged to them then.
    pub sure: Vec<u64>,
    /// How long it may take.
    pub timeout_ms: u64,
    /// It waits for acknowledgements of clients.
    pub acked: bool,
    /// Copies that clients were handed so far.
    pub heard: u64,
    /// Answers so far, and when they came.
    pub answers: Vec<(u64, Receipt)>,
}

/// How a live message is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendOptions {
    /// A receipt is asked for.
    pub ask: bool,
    /// It shall wait for acknowledgements, for so long.
    pub acked_ms: Option<u64>,
    /// `Hf-Key`
    pub key: Option<&'static str>,
}

/// How long a receipt takes at most where nobody says.
const TIMEOUT_MS: u64 = 400;

/// A kept message whose acknowledgement has not come.
#[derive(Debug, Clone)]
struct Unacknowledged {
    sent_ms: u64,
    tries: u64,
    message: Message,
}

/// How a kept message is sent.
#[derive(Debug, Clone, Default)]
pub struct KeepOptions {
    /// `Hf-Key`
    pub key: Option<&'static str>,
    /// `Hf-Ttl`
    pub ttl_ms: Option<u64>,
    /// `Hf-Except-User`
    pub except: Option<String>,
}

/// How long a service waits for an acknowledgement.
const ACKNOWLEDGED_MS: u64 = 800;
/// How often it sends.
const TRIES: u64 = 8;

/// A domain service.
#[derive(Debug)]
pub struct Service {
    /// Its connection.
    pub link: Link,
    /// Its number among services.
    pub sender: u64,
    sent: u64,
    subjects: Subjects,
    /// Open promises, oldest first.
    pub promises: VecDeque<Promise>,
    /// Receipts asked for, by the number of their message.
    pub asked: BTreeMap<u64, Asked>,
    unacknowledged: BTreeMap<u64, Unacknowledged>,
}

impl Service {
    /// A service on the bus.
    pub fn new(bus: &mut Bus, sender: u64) -> Self {
        let link = bus.connect();
        bus.subscribe(link, format!("_INBOX.service{sender}.>"));
        Self {
            link,
            sender,
            sent: 0,
            subjects: Subjects::new("hf"),
            promises: VecDeque::new(),
            asked: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
        }
    }

    /// Sends the next message to `target`.
    pub fn send(
        &mut self,
        bus: &mut Bus,
        rng: &mut Rng,
        now_ms: u64,
        target: &Target,
        sure: Vec<u64>,
        options: SendOptions,
    ) {
        let subject = self.subjects.to(Kind::Send, target);
        let name = subject.clone();
        let message = self.next_message(now_ms, (subject, &name), vec![target.clone()], sure, options);
        bus.publish(now_ms, rng, self.link, message);
    }

    /// Sends the next message to users and connections at once: each connection gets it once, however often it is meant.
    pub fn send_many(
        &mut self,
        bus: &mut Bus,
        rng: &mut Rng,
        now_ms: u64,
        targets: Vec<Target>,
        sure: Vec<u64>,
        options: SendOptions,
    ) {
        let names: Vec<String> = targets.iter().map(name_of).collect();
        let to = names.join(", ");
        let subject = format!("{}.send.many", self.subjects.prefix());
        let mut message = self.next_message(now_ms, (subject, &to), targets, sure, options);
        message.headers.push(("Hf-To".to_owned(), to));
        bus.publish(now_ms, rng, self.link, message);
    }

    fn next_message(
        &mut self,
        now_ms: u64,
        (subject, name): (String, &str),
        targets: Vec<Target>,
        sure: Vec<u64>,
        options: SendOptions,
    ) -> Message {
        self.sent += 1;
        let number = Number { sender: self.sender, number: self.sent };
        let SendOptions { ask, acked_ms, key } = options;
        let named = key.map_or_else(String::new, |key| format!(r#","key":"{key}""#));
        let payload = format!(
            r#"{{"sender":{},"number":{},"target":"{name}","at":{now_ms}{named}}}"#,
            number.sender, number.number
        );
        let mut message = Message::new(subject, Bytes::from(payload));
        message.headers.extend(key.map(|key| ("Hf-Key".to_owned(), key.to_owned())));
        if ask {
            message.reply = Some(format!("_INBOX.service{}.{}", self.sender, self.sent));
            let asked = Asked {
                sent_ms: now_ms,
                targets: targets.clone(),
                sure: sure.clone(),
                timeout_ms: acked_ms.unwrap_or(TIMEOUT_MS),
                acked: acked_ms.is_some(),
                heard: 0,
                answers: Vec::new(),
            };
            if let Some(acked_ms) = acked_ms {
                message.headers.push(("Hf-Receipt".to_owned(), "acked".to_owned()));
                message.headers.push(("Hf-Timeout".to_owned(), acked_ms.to_string()));
            }
            self.asked.insert(self.sent, asked);
        }
        let room = match &targets[..] {
            [Target::Room(room)] => room.clone(),
            _ => String::new(),
        };
        self.promises.push_back(Promise { number, sent_ms: now_ms, targets, room, key, sure });
        message
    }

    /// Publishes a kept message to `target`, and again until it is acknowledged.
    pub fn keep(&mut self, bus: &mut Bus, rng: &mut Rng, now_ms: u64, target: &Target, options: &KeepOptions) {
        self.sent += 1;
        let (sender, number) = (self.sender, self.sent);
        let body = format!(r#"{{"sender":{sender},"number":{number}}}"#);
        let mut message = Message::new(self.subjects.to(Kind::Keep, target), Bytes::from(body));
        message.reply = Some(format!("_INBOX.service{sender}.kept.{number}"));
        message.headers.push(("Nats-Msg-Id".to_owned(), format!("{sender}-{number}")));
        let options = [
            ("Hf-Key", options.key.map(str::to_owned)),
            ("Hf-Ttl", options.ttl_ms.map(|ttl_ms| ttl_ms.to_string())),
            ("Hf-Except-User", options.except.as_deref().map(token::encode)),
        ];
        message.headers.extend(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        self.unacknowledged.insert(number, Unacknowledged { sent_ms: now_ms, tries: 1, message: message.clone() });
        bus.publish(now_ms, rng, self.link, message);
    }

    /// Sends again what was not acknowledged.
    pub fn turn(&mut self, bus: &mut Bus, rng: &mut Rng, now_ms: u64) {
        for late in self.unacknowledged.values_mut().filter(|it| it.sent_ms + ACKNOWLEDGED_MS <= now_ms) {
            late.sent_ms = now_ms;
            late.tries += 1;
            bus.publish(now_ms, rng, self.link, late.message.clone());
        }
        self.unacknowledged.retain(|_, it| it.tries < TRIES);
    }

    /// Tells the gateway of a connection something.
    pub fn command(&self, bus: &mut Bus, rng: &mut Rng, now_ms: u64, connection: &str, what: &str) {
        let subject = self.subjects.to(Kind::Ctl, &Target::Connection(connection.to_owned()));
        let body = format!(r#"{{"do":"{what}"}}"#);
        bus.publish(now_ms, rng, self.link, Message::new(subject, Bytes::from(body)));
    }

    /// Tells a node something.
    pub fn command_node(&self, bus: &mut Bus, rng: &mut Rng, now_ms: u64, node: &str, body: &str) {
        let subject = format!("{}.ctl.node.{node}", self.subjects.prefix());
        bus.publish(now_ms, rng, self.link, Message::new(subject, Bytes::from(body.to_owned())));
    }

    /// An answer.
    pub fn receive(&mut self, now_ms: u64, message: &Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        if message.subject.contains(".kept.") {
            // Nobody listens where the stream's server is away: it is tried again in time.
            let acknowledged = number.filter(|_| !message.no_responders);
            acknowledged.and_then(|number| self.unacknowledged.remove(&number));
            return;
        }
        let Some(asked) = number.and_then(|number| self.asked.get_mut(&number)) else { return };
        if let Ok(receipt) = serde_json::from_slice(&message.payload) {
            asked.answers.push((now_ms, receipt));
        }
    }
}

/// How `Hf-To` names a target.
fn name_of(target: &Target) -> String {
    match target {
        Target::User(user) => format!("user:{}", token::encode(user)),
        Target::Room(room) => format!("room:{}", token::encode(room)),
        Target::Connection(connection) => format!("connection:{connection}"),
        Target::All => "all".to_owned(),
    }
}
