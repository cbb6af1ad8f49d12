//! The sessions over HTTP of one shard: made, fed with what other threads and nodes ask, and forgotten in time.
//!
//! Synchronous; the shard's runtime calls it between two turns. What sessions answer is collected here and goes to the
//! hub, which knows the way back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::sockjs;
use holdfast_protocol::wire::{Caller, ExchangeAsk, Exchanged};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::channel::{Answers, Channel, ChannelSettings};
use super::client::Client;
use super::form::Form;
use crate::admission::Provenance;
use crate::clock::Now;
use crate::handshake::{Admission, WhenFull};
use crate::link::{Asker, ConnRef, Key, ToHub, ToHubOfSession};
use crate::metrics::Transport;
use crate::outbox::{self, Bounds};
use crate::session::Incoming;
use crate::shard::{ClosedBy, Shard};
use crate::socket::{Framing, Socket as _};

/// How often each session looks at the time.
const PASS_MS: u64 = 250;
/// Bytes that may wait for a session; the endpoint's own bound where that is smaller.
const BUFFER_BYTES_MAX: usize = 512 * 1024;

/// What a session is made with besides its admission.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Its name among the nodes.
    pub name: &'a Arc<str>,
    /// Whose it is.
    pub caller: Caller,
    /// How its messages travel.
    pub framing: Framing,
    /// Its client's address, and that one's place.
    pub from: Provenance,
}

/// The sessions of a shard.
#[derive(Debug, Default)]
pub struct Sessions {
    keys: Vec<Key>,
    /// Those whose routers do not know of them yet, and who waits for that.
    opening: HashMap<Key, oneshot::Sender<bool>>,
    answers: Answers,
    passed_ms: u64,
}

impl Sessions {
    /// Makes a session; the receiver hears whether routers know of it, and nothing if it ended before.
    pub fn open(
        &mut self,
        shard: &mut Shard<Client>,
        now: Now,
        admission: Box<Admission>,
        new: NewSession<'_>,
    ) -> oneshot::Receiver<bool> {
        let NewSession { name, caller, framing, from } = new;
        let endpoint = Arc::clone(&admission.endpoint);
        let channel = Channel::new(
            now,
            ChannelSettings {
                name: Arc::clone(name),
                caller,
                framing,
                bounds: Bounds {
                    bytes_max: endpoint.outbox.bytes_max.min(BUFFER_BYTES_MAX),
                    age_max_ms: millis(endpoint.outbox.age_max),
                    when_full: match endpoint.outbox.when_full {
                        WhenFull::Close => outbox::WhenFull::Close,
                        WhenFull::DropOldest => outbox::WhenFull::DropOldest,
                    },
                },
                heartbeat_ms: millis(endpoint.limits.heartbeat),
                cells: Arc::clone(shard.cells()),
                answers: Answers::clone(&self.answers),
                from,
            },
        );
        let key = shard.open(now, admission, Client::Http(Box::new(channel)), Transport::Http);
        self.keys.push(key);
        let (tell, opened) = oneshot::channel();
        self.opening.insert(key, tell);
        let conn = ConnRef { shard: shard.number(), key };
        let (session, shared) = (Arc::clone(name), framing == Framing::SockJs);
        shard.say(ToHub::Session(ToHubOfSession::Host { conn, session, shared }));
        opened
    }

    /// Routers know of a session, or it cannot be: there is one of that name, or no router.
    pub fn hosted(&mut self, shard: &mut Shard<Client>, now: Now, conn: ConnRef, ok: bool) {
        if let Some(tell) = self.opening.remove(&conn.key) {
            // Whoever waited may be gone; the session then ends for want of a receiver.
            let _gone = tell.send(ok);
        }
        if ok && let Some(channel) = shard.socket(conn.key).and_then(Client::channel) {
            channel.opened(now);
        } else {
            self.keys.retain(|key| *key != conn.key);
            shard.closed(now, conn.key, ClosedBy::Network);
        }
    }

    /// A request for a session, from here or another node.
    pub fn exchange(
        &mut self,
        shard: &mut Shard<Client>,
        now: Now,
        conn: ConnRef,
        asker: Asker,
        caller: &Caller,
        ask: ExchangeAsk,
    ) {
        let channel = shard.socket(conn.key).and_then(Client::channel).filter(|channel| channel.is_of(caller));
        let Some(channel) = channel else { return self.say(asker, Exchanged::Unknown) };
        match ask {
            ExchangeAsk::Receive { receiver, form, have } => match Form::from_code(form) {
                Some(form) => channel.receive(now, asker, receiver, form, have),
                None => self.say(asker, Exchanged::Unknown),
            },
            ExchangeAsk::Leave { receiver } => {
                if channel.leave(now, receiver) {
                    shard.fail(now, conn.key, Close::Protocol);
                }
                self.say(asker, Exchanged::Accepted);
            }
            ExchangeAsk::Send { body } => {
                let answer = if channel.is_open() {
                    let framing = channel.framing();
                    take_in(shard, now, conn.key, framing, &body)
                } else {
                    Exchanged::Unknown
                };
                self.say(asker, answer);
            }
        }
    }

    /// What time brings; called about every 50 ms.
    pub fn tick(&mut self, shard: &mut Shard<Client>, now: Now) {
        if now.ms < self.passed_ms + PASS_MS {
            return;
        }
        self.passed_ms = now.ms;
        let mut kept = Vec::with_capacity(self.keys.len());
        for key in std::mem::take(&mut self.keys) {
            let Some(channel) = shard.socket(key).and_then(Client::channel) else { continue };
            let interrupted = channel.pass(now);
            let over = channel.is_over(now);
            let name = Arc::clone(&channel.settings().name);
            if interrupted {
                shard.fail(now, key, Close::Protocol);
            }
            match over {
                Some(by) => {
                    self.opening.remove(&key);
                    let conn = ConnRef { shard: shard.number(), key };
                    shard.say(ToHub::Session(ToHubOfSession::Unhost { conn, session: name }));
                    shard.closed(now, key, by);
                }
                None => kept.push(key),
            }
        }
        self.keys = kept;
    }

    /// Hands the hub what sessions answered; true if there was something.
    pub fn hand_over(&self, shard: &mut Shard<Client>) -> bool {
        let answers = self.answers.take();
        let any = !answers.is_empty();
        for (asker, answer) in answers {
            shard.say(ToHub::Session(ToHubOfSession::Exchanged { asker, answer }));
        }
        any
    }

    fn say(&self, asker: Asker, answer: Exchanged) {
        self.answers.borrow_mut().push_back((asker, answer));
    }
}

/// Gives the session what its client sent in one request: all of it or nothing.
fn take_in(shard: &mut Shard<Client>, now: Now, key: Key, framing: Framing, body: &Bytes) -> Exchanged {
    if shard.congested() {
        return Exchanged::Busy;
    }
    let Ok(text) = simdutf8::basic::from_utf8(body) else { return Exchanged::Malformed };
    let message_bytes_max = shard.message_bytes_max(key);
    match framing {
        Framing::SockJs => match sockjs::read(text) {
            Ok(messages) => receive_all(shard, now, key, message_bytes_max, messages.iter().map(AsRef::as_ref)),
            Err(_) => Exchanged::Malformed,
        },
        Framing::Plain => {
            let messages: Result<Vec<&RawValue>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
            match messages {
                Ok(messages) => receive_all(shard, now, key, message_bytes_max, messages.iter().map(|raw| raw.get())),
                Err(_) => Exchanged::Malformed,
            }
        }
    }
}

fn receive_all<'a>(
    shard: &mut Shard<Client>,
    now: Now,
    key: Key,
    message_bytes_max: usize,
    messages: impl Iterator<Item = &'a str> + Clone,
) -> Exchanged {
    if messages.clone().any(|message| message.len() > message_bytes_max) {
        return Exchanged::TooBig;
    }
    for message in messages {
        shard.receive(now, key, Incoming::Text(message));
    }
    Exchanged::Accepted
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
