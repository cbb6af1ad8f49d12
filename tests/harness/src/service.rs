//! A domain service: a plain NATS client that sends, commands, asks, answers and listens. Knows nothing of clients.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{HeaderMap, Message, RequestErrorKind, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::token;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::wait::{bounded, eventually};

/// Whom a send or a command is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// A user.
    User(String),
    /// A room.
    Room(String),
    /// A connection.
    Connection(String),
    /// Everybody.
    All,
    /// Targets in `Hf-To`, as text.
    Many(String),
    /// A gateway, for commands.
    Node(String),
    /// Whatever stands behind `hf.send.` or `hf.ctl.`, right or wrong.
    Raw(String),
}

impl To {
    /// A user.
    pub fn user(key: &str) -> Self {
        Self::User(key.to_owned())
    }

    /// A room.
    pub fn room(key: &str) -> Self {
        Self::Room(key.to_owned())
    }

    /// A connection.
    pub fn connection(id: &str) -> Self {
        Self::Connection(id.to_owned())
    }

    /// Several targets.
    pub fn many<'a>(targets: impl IntoIterator<Item = &'a Self>) -> Self {
        let text: Vec<_> = targets.into_iter().map(Self::entry).collect();
        Self::Many(text.join(", "))
    }

    /// Anything behind the kind.
    pub fn raw(rest: &str) -> Self {
        Self::Raw(rest.to_owned())
    }

    fn entry(&self) -> String {
        match self {
            Self::User(key) => format!("user:{}", token::encode(key)),
            Self::Room(key) => format!("room:{}", token::encode(key)),
            Self::Connection(key) => format!("connection:{}", token::encode(key)),
            Self::All | Self::Many(_) | Self::Node(_) | Self::Raw(_) => panic!("{self:?} has no place in Hf-To"),
        }
    }

    fn subject(&self, kind: &str) -> String {
        match self {
            Self::User(key) => format!("hf.{kind}.user.{}", token::encode(key)),
            Self::Room(key) => format!("hf.{kind}.room.{}", token::encode(key)),
            Self::Connection(key) => format!("hf.{kind}.connection.{}", token::encode(key)),
            Self::All => format!("hf.{kind}.all"),
            Self::Many(_) => format!("hf.{kind}.many"),
            Self::Node(node) => format!("hf.{kind}.node.{node}"),
            Self::Raw(rest) => format!("hf.{kind}.{rest}"),
        }
    }
}

/// An error answer by the micro-service headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// `Nats-Service-Error-Code`.
    pub code: String,
    /// `Nats-Service-Error`.
    pub text: String,
}

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    /// A reply without error headers.
    Reply(Message),
    /// A reply with them.
    Error(ServiceError),
    /// NATS said that nobody listens.
    NoResponders,
    /// Nobody said anything for as long as the client waits.
    Silence,
}

/// One connection to the bus.
#[derive(Debug, Clone)]
pub struct Service {
    client: async_nats::Client,
}

/// A send or a command being put together.
#[derive(Debug)]
pub struct Send<'a> {
    service: &'a Service,
    kind: &'static str,
    to: To,
    headers: HeaderMap,
    payload: Bytes,
}

impl Service {
    /// Over this connection.
    pub const fn new(client: async_nats::Client) -> Self {
        Self { client }
    }

    /// The NATS client itself.
    pub const fn bus(&self) -> &async_nats::Client {
        &self.client
    }

    /// `hf.send.*` with payload `{"n":1}` until another is given.
    pub fn send(&self, to: To) -> Send<'_> {
        self.prepare("send", to, Bytes::from_static(b"{\"n\":1}"))
    }

    /// `hf.ctl.*`.
    pub fn ctl(&self, to: To, command: &Value) -> Send<'_> {
        self.prepare("ctl", to, Bytes::from(command.to_string()))
    }

    fn prepare(&self, kind: &'static str, to: To, payload: Bytes) -> Send<'_> {
        let mut headers = HeaderMap::new();
        if let To::Many(text) = &to {
            headers.insert("Hf-To", text.as_str());
        }
        Send { service: self, kind, to, headers, payload }
    }

    /// A query that is to be answered; `what` is the rest of the subject, e.g. `nodes` or `user.42`.
    ///
    /// # Panics
    /// If it is not answered, or with an error.
    pub async fn query(&self, what: &str, body: &str) -> Value {
        match self.try_query(what, body).await {
            Ok(value) => value,
            Err(error) => panic!("query {what}: {error}"),
        }
    }

    /// A query whose answer may be an error.
    ///
    /// # Errors
    /// What came instead, as text; a service error as `404: …`.
    pub async fn try_query(&self, what: &str, body: &str) -> Result<Value, String> {
        match self.request(format!("hf.query.{what}"), HeaderMap::new(), Bytes::from(body.to_owned())).await {
            Answer::Reply(message) => serde_json::from_slice(&message.payload).map_err(|error| error.to_string()),
            Answer::Error(error) => Err(format!("{}: {}", error.code, error.text)),
            other => Err(format!("{other:?}")),
        }
    }

    /// Any request.
    pub async fn request(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Answer {
        match self.client.request_with_headers(subject, headers, payload).await {
            Ok(message) => {
                let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.to_string());
                match header("Nats-Service-Error-Code") {
                    None => Answer::Reply(message),
                    Some(code) => {
                        Answer::Error(ServiceError { code, text: header("Nats-Service-Error").unwrap_or_default() })
                    }
                }
            }
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Answer::NoResponders,
            Err(_) => Answer::Silence,
        }
    }

    /// Listens to a subject; what is published after this returns is heard.
    pub async fn listen(&self, subject: &str) -> Listener {
        let subscriber = self.client.subscribe(subject.to_owned()).await.expect("subscribe");
        self.settle().await;
        Listener { service: self.clone(), subscriber }
    }

    /// Answers requests on a subject until the responder is dropped.
    pub async fn serve<F>(&self, subject: &str, mut answer: impl FnMut(Message) -> F + Send2) -> Responder
    where
        F: Future<Output = Option<(HeaderMap, Bytes)>> + Send2,
    {
        let mut subscriber = self.client.subscribe(subject.to_owned()).await.expect("subscribe");
        self.settle().await;
        let client = self.client.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(message) = subscriber.next().await {
                let Some(reply) = message.reply.clone() else { continue };
                if let Some((headers, payload)) = answer(message).await {
                    client.publish_with_headers(reply, headers, payload).await.expect("answer");
                }
            }
        });
        Responder { _task: task }
    }

    /// A round trip through the bus: all that was sent to us before has been taken from the socket when it returns.
    pub async fn settle(&self) {
        let inbox = self.client.new_inbox();
        let mut echo = self.client.subscribe(inbox.clone()).await.expect("subscribe");
        eventually("a round trip through the bus", async || {
            self.client.publish(inbox.clone(), Bytes::new()).await.map_err(|error| error.to_string())?;
            match tokio::time::timeout(Duration::from_secs(1), echo.next()).await {
                Ok(Some(_)) => Ok(()),
                _ => Err("nothing came back".to_owned()),
            }
        })
        .await;
    }

    /// Facts from now on.
    pub async fn facts(&self) -> Facts {
        Facts { listener: self.listen("hf.event.>").await, seen: Vec::new() }
    }

    /// Waits until a send to `to` finds this many connections.
    pub async fn until_matched(&self, to: &To, wanted: u64) -> Receipt {
        eventually(&format!("{to:?} has {wanted} connections"), async || match self.send(to.clone()).answer().await {
            Answer::Reply(message) => {
                let receipt = checked(&message);
                if receipt.matched == wanted && receipt.late_nodes == 0 {
                    Ok(receipt)
                } else {
                    Err(format!("{receipt:?}"))
                }
            }
            other => Err(format!("{other:?}")),
        })
        .await
    }
}

/// [`std::marker::Send`] and `'static`: this file has a [`Send`] of its own.
pub trait Send2: std::marker::Send + 'static {}
impl<T: std::marker::Send + 'static> Send2 for T {}

impl Send<'_> {
    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Another payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// A JSON payload.
    #[must_use]
    pub fn json(self, payload: &Value) -> Self {
        self.payload(payload.to_string())
    }

    /// Publishes it with no reply subject.
    pub async fn publish(self) {
        let subject = self.to.subject(self.kind);
        let published = self.service.client.publish_with_headers(subject, self.headers, self.payload).await;
        published.unwrap_or_else(|error| panic!("publish: {error}"));
    }

    /// Publishes it with this reply subject.
    pub async fn publish_with_reply(self, reply: &str) {
        let (client, subject) = (&self.service.client, self.to.subject(self.kind));
        let published =
            client.publish_with_reply_and_headers(subject, reply.to_owned(), self.headers, self.payload).await;
        published.unwrap_or_else(|error| panic!("publish: {error}"));
    }

    /// Sends it as a request.
    pub async fn answer(self) -> Answer {
        self.service.request(self.to.subject(self.kind), self.headers, self.payload).await
    }

    /// Sends it and returns the receipt, whose sums are checked.
    ///
    /// # Panics
    /// If anything else is the answer.
    pub async fn receipt(self) -> Receipt {
        let what = format!("{} to {:?}", self.kind, self.to);
        match self.answer().await {
            Answer::Reply(message) => checked(&message),
            other => panic!("{what}: {other:?} instead of a receipt"),
        }
    }

    /// Sends it and returns the error, which is to come.
    ///
    /// # Panics
    /// If anything else is the answer.
    pub async fn refused(self) -> ServiceError {
        let what = format!("{} to {:?} with {:?}", self.kind, self.to, self.headers);
        match self.answer().await {
            Answer::Error(error) => {
                assert!(!error.text.is_empty(), "{what}: an error says why: {error:?}");
                error
            }
            other => panic!("{what}: {other:?} instead of an error"),
        }
    }
}

/// The receipt in a reply: each field there, and the sums right.
pub fn checked(message: &Message) -> Receipt {
    let text = String::from_utf8_lossy(&message.payload);
    let receipt: Receipt = serde_json::from_str(&text).unwrap_or_else(|error| panic!("no receipt ({error}): {text}"));
    let Receipt { matched, written, queued, dropped, filtered, late_nodes, offline, .. } = receipt;
    assert_eq!(matched, written + queued + dropped, "matched = written + queued + dropped: {text}");
    assert_eq!(offline, matched + filtered == 0 && late_nodes == 0, "offline = nobody there: {text}");
    receipt
}

/// Serves while it lives.
#[derive(Debug)]
pub struct Responder {
    _task: JoinSet<()>,
}

/// A subscription.
#[derive(Debug)]
pub struct Listener {
    service: Service,
    subscriber: Subscriber,
}

impl Listener {
    /// The next message.
    ///
    /// # Panics
    /// If none comes.
    pub async fn next(&mut self) -> Message {
        bounded("a message on the bus", self.subscriber.next()).await.expect("the subscription stands")
    }

    /// The next message that `wanted` accepts; others are passed over.
    pub async fn next_where(&mut self, mut wanted: impl FnMut(&Message) -> bool) -> Message {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    /// All that has come so far and was not taken; complete up to a round trip from now.
    pub async fn so_far(&mut self) -> Vec<Message> {
        self.service.settle().await;
        let mut messages = Vec::new();
        while let Some(Some(message)) = futures_util::FutureExt::now_or_never(self.subscriber.next()) {
            messages.push(message);
        }
        messages
    }
}

/// The text of a header, if it is there.
pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}

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
    listener: Listener,
    seen: Vec<Fact>,
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
            let waited = tokio::time::timeout(crate::wait::PATIENCE, self.listener.subscriber.next()).await;
            let Ok(Some(message)) = waited else { panic!("no {what} of {key}; seen: {:#?}", self.seen) };
            self.seen.push(fact(&message));
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
        self.seen.extend(messages.iter().map(fact));
    }
}

fn fact(message: &Message) -> Fact {
    let rest = message.subject.strip_prefix("hf.event.").expect("a fact's subject");
    let (what, token) = rest.rsplit_once('.').expect("a fact is about a key");
    let body: Value = serde_json::from_slice(&message.payload).expect("a fact is JSON");
    for field in ["id", "time", "cause"] {
        assert!(body[field].is_string(), "{field} of {}: {body}", message.subject);
    }
    assert!(body.get("node").is_some(), "node, if only null: {body}");
    Fact { what: what.to_owned(), token: token.to_owned(), body }
}
