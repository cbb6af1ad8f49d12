//! Facts as a domain service hears them.

use std::collections::BTreeMap;

use async_nats::Message;
use futures_util::StreamExt as _;
use holdfast_protocol::token;
use serde_json::Value;

use super::Listener;
use crate::wait::PATIENCE;

/// A fact, as published.
#[derive(Debug, Clone)]
pub struct Fact {
    /// `user.online`, `room.vacated`, ….
    pub what: String,
    /// The token behind it.
    pub token: String,
    /// The JSON.
    pub body: Value,
}

/// Collects facts.
#[derive(Debug)]
pub struct Facts {
    pub(super) listener: Listener,
    pub(super) seen: Vec<Fact>,
    /// What all subjects of facts begin with.
    pub(super) start: String,
}

impl Facts {
    /// Waits for a fact of this kind about this key, later than those already waited for or not.
    pub async fn until(&mut self, what: &str, key: &str) -> Fact {
        let token = token::encode(key);
        let mut next = 0;
        loop {
            while let Some(fact) = self.seen.get(next) {
                next += 1;
                if fact.what == what && fact.token == token {
                    return fact.clone();
                }
            }
            let waited = tokio::time::timeout(PATIENCE, self.listener.subscriber.next()).await;
            let Ok(Some(message)) = waited else { panic!("no {what} of {key}; seen: {:#?}", self.seen) };
            self.seen.push(fact(&self.start, &message));
        }
    }

    /// How often each kind of fact was published about these keys, up to a round trip from now.
    pub async fn counts(&mut self, keys: &[&str]) -> BTreeMap<(String, String), usize> {
        self.take().await;
        let tokens: BTreeMap<_, _> = keys.iter().map(|&key| (token::encode(key), key)).collect();
        let mut counts = BTreeMap::new();
        for fact in &self.seen {
            if let Some(&key) = tokens.get(&fact.token) {
                *counts.entry((fact.what.clone(), key.to_owned())).or_default() += 1;
            }
        }
        counts
    }

    /// All facts about a key so far.
    pub async fn about(&mut self, key: &str) -> Vec<Fact> {
        self.take().await;
        let token = token::encode(key);
        self.seen.iter().filter(|fact| fact.token == token).cloned().collect()
    }

    async fn take(&mut self) {
        let messages = self.listener.so_far().await;
        self.seen.extend(messages.iter().map(|message| fact(&self.start, message)));
    }
}

fn fact(start: &str, message: &Message) -> Fact {
    let rest = message.subject.strip_prefix(start).expect("a fact's subject");
    let (what, token) = rest.rsplit_once('.').expect("a fact is about a key");
    let body: Value = serde_json::from_slice(&message.payload).expect("a fact is JSON");
    for field in ["id", "time", "cause"] {
        assert!(body[field].is_string(), "{field} of {}: {body}", message.subject);
    }
    assert!(body.get("node").is_some(), "node, if only null: {body}");
    Fact { what: what.to_owned(), token: token.to_owned(), body }
}
