//! A domain service: sends numbered messages, asks for receipts, and knows what it was promised.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::subject::{Kind, Subjects, Target};

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
    /// The target, for the story.
    pub target: Target,
    /// The room, or empty for messages to users and connections.
    pub room: String,
    /// Who must get it, as long as nothing changes for them.
    pub sure: Vec<u64>,
}

/// A receipt that was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When.
    pub sent_ms: u64,
    /// The target, for the story.
    pub target: Target,
    /// Clients that surely belonged to the target then.
    pub sure: Vec<u64>,
    /// Answers so far.
    pub answers: Vec<Receipt>,
    /// Whether they were checked.
    pub checked: bool,
}

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
}

impl Service {
    /// A service on the bus.
    pub fn new(bus: &mut Bus, sender: u64) -> Self {
        let link = bus.connect();
        bus.subscribe(link, format!("_INBOX.service{sender}.>"));
        Self { link, sender, sent: 0, subjects: Subjects::new("hf"), promises: VecDeque::new(), asked: BTreeMap::new() }
    }

    /// Sends the next message to `target`; with `ask` a receipt is asked for.
    pub fn send(&mut self, bus: &mut Bus, rng: &mut Rng, now_ms: u64, target: &Target, sure: Vec<u64>, ask: bool) {
        self.sent += 1;
        let number = Number { sender: self.sender, number: self.sent };
        let subject = self.subjects.to(Kind::Send, target);
        let payload =
            format!(r#"{{"sender":{},"number":{},"target":"{subject}","at":{now_ms}}}"#, number.sender, number.number);
        let mut message = Message::new(subject, Bytes::from(payload));
        if ask {
            message.reply = Some(format!("_INBOX.service{}.{}", self.sender, self.sent));
            let asked = Asked {
                sent_ms: now_ms,
                target: target.clone(),
                sure: sure.clone(),
                answers: Vec::new(),
                checked: false,
            };
            self.asked.insert(self.sent, asked);
        }
        let room = match target {
            Target::Room(room) => room.clone(),
            Target::User(_) | Target::Connection(_) | Target::All => String::new(),
        };
        self.promises.push_back(Promise { number, sent_ms: now_ms, target: target.clone(), room, sure });
        bus.publish(now_ms, rng, self.link, message);
    }

    /// An answer.
    pub fn receive(&mut self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let Some(asked) = number.and_then(|number| self.asked.get_mut(&number)) else { return };
        if let Ok(receipt) = serde_json::from_slice(&message.payload) {
            asked.answers.push(receipt);
        }
    }
}
