//! Sends and commands: whom they are for, what they carry, what comes back.

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::token;
use serde_json::Value;

use super::{ATTEMPT_TIMEOUT, Answer, Service, ServiceError};

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
    /// Whatever stands behind `send.` or `ctl.`, right or wrong.
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

    /// The subject behind the prefix.
    fn subject(&self, kind: &str) -> String {
        match self {
            Self::User(key) => format!("{kind}.user.{}", token::encode(key)),
            Self::Room(key) => format!("{kind}.room.{}", token::encode(key)),
            Self::Connection(key) => format!("{kind}.connection.{}", token::encode(key)),
            Self::All => format!("{kind}.all"),
            Self::Many(_) => format!("{kind}.many"),
            Self::Node(node) => format!("{kind}.node.{node}"),
            Self::Raw(rest) => format!("{kind}.{rest}"),
        }
    }
}

/// How long a receipt may take.
const TIMEOUT: &str = "Hf-Timeout";
/// As long as may be, short of what a request waits.
const NODES_TIMEOUT_MS: &str = "15000";

/// A send or a command being put together.
#[derive(Debug)]
pub struct Sending<'a> {
    pub(super) service: &'a Service,
    pub(super) kind: &'static str,
    pub(super) to: To,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Sending<'_> {
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
        let subject = self.service.subject(&self.to.subject(self.kind));
        let published = self.service.client.publish_with_headers(subject, self.headers, self.payload).await;
        published.unwrap_or_else(|error| panic!("publish: {error}"));
    }

    /// Publishes it with this reply subject.
    pub async fn publish_with_reply(self, reply: &str) {
        let (client, subject) = (&self.service.client, self.service.subject(&self.to.subject(self.kind)));
        let published =
            client.publish_with_reply_and_headers(subject, reply.to_owned(), self.headers, self.payload).await;
        published.unwrap_or_else(|error| panic!("publish: {error}"));
    }

    /// Sends it as a request.
    pub async fn answer(self) -> Answer {
        let subject = self.service.subject(&self.to.subject(self.kind));
        self.service.request(subject, self.headers, self.payload).await
    }

    /// Sends it as a request that is given up soon: for those who ask again until they like the answer, while a fault may
    /// swallow any of them.
    pub async fn attempt(self) -> Answer {
        tokio::time::timeout(ATTEMPT_TIMEOUT, self.answer()).await.unwrap_or(Answer::Silence)
    }

    /// Sends it and returns the receipt, whose sums are checked. Where `Hf-Timeout` is not said, it waits for every node
    /// that is there: on a machine that is busy the default leaves some out, and the counts are short of those.
    ///
    /// # Panics
    /// If anything else is the answer.
    pub async fn receipt(mut self) -> Receipt {
        let what = format!("{} to {:?}", self.kind, self.to);
        if self.headers.get(TIMEOUT).is_none() {
            self.headers.insert(TIMEOUT, NODES_TIMEOUT_MS);
        }
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
