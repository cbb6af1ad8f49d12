//! A listener to public facts: who is online and which rooms are occupied, as a domain service would believe it.

use std::collections::BTreeMap;

use holdfast_protocol::subject::Subjects;
use holdfast_protocol::token;

use crate::bus::{Bus, Link, Message};

/// What the facts say.
#[derive(Debug, Default)]
pub struct Facts {
    /// Its connection.
    pub link: Link,
    /// By user: online or not, as last heard.
    pub online: BTreeMap<String, bool>,
    /// By room: occupied or not, as last heard.
    pub occupied: BTreeMap<String, bool>,
    /// The last few facts, for the story of a failure.
    pub recent: std::collections::VecDeque<String>,
}

impl Facts {
    /// Connects and listens.
    pub fn subscribe(&mut self, bus: &mut Bus, subjects: &Subjects) {
        self.link = bus.connect();
        bus.subscribe(self.link, format!("{}.event.>", subjects.prefix()));
    }

    /// A fact.
    pub fn receive(&mut self, message: &Message) {
        let mut parts = message.subject.split('.').skip(2);
        let (Some(what), Some(how), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return };
        let key = token::decode(key).unwrap_or_default();
        if self.recent.len() == 64 {
            self.recent.pop_front();
        }
        self.recent.push_back(format!("{what}.{how} {key} {}", String::from_utf8_lossy(&message.payload)));
        match (what, how) {
            ("user", "online") => self.online.insert(key, true),
            ("user", "offline") => self.online.insert(key, false),
            ("room", "occupied") => self.occupied.insert(key, true),
            ("room", "vacated") => self.occupied.insert(key, false),
            _ => None,
        };
    }
}
