//! A domain service: a plain NATS client that sends, commands, asks, answers and listens. Knows nothing of clients.

mod facts;
mod sending;

pub use facts::{Fact, Facts};
pub use sending::{Sending, To, checked};

use std::time::Duration;

use async_nats::{HeaderMap, Message, RequestErrorKind, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use holdfast_protocol::receipt::Receipt;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::wait::{bounded, eventually};

/// How long an attempt that may be repeated waits.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

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
    prefix: String,
}

impl Service {
    /// Over this connection, to the fleet with this prefix.
    pub fn new(client: async_nats::Client, prefix: &str) -> Self {
        Self { client, prefix: prefix.to_owned() }
    }

    /// A subject of the fleet.
    pub fn subject(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// The NATS client itself.
    pub const fn bus(&self) -> &async_nats::Client {
        &self.client
    }

    /// `hf.send.*` with payload `{"n":1}` until another is given.
    pub fn send(&self, to: To) -> Sending<'_> {
        self.prepare("send", to, Bytes::from_static(b"{\"n\":1}"))
    }

    /// `hf.ctl.*`.
    pub fn ctl(&self, to: To, command: &Value) -> Sending<'_> {
        self.prepare("ctl", to, Bytes::from(command.to_string()))
    }

    fn prepare(&self, kind: &'static str, to: To, payload: Bytes) -> Sending<'_> {
        let mut headers = HeaderMap::new();
        if let To::Many(text) = &to {
            headers.insert("Hf-To", text.as_str());
        }
        Sending { service: self, kind, to, headers, payload }
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
        let subject = self.subject(&format!("query.{what}"));
        let query = self.request(subject, HeaderMap::new(), Bytes::from(body.to_owned()));
        match tokio::time::timeout(ATTEMPT_TIMEOUT, query).await.unwrap_or(Answer::Silence) {
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
    pub async fn serve<F>(&self, subject: &str, mut answer: impl FnMut(Message) -> F + Send + 'static) -> Responder
    where
        F: Future<Output = Option<(HeaderMap, Bytes)>> + Send + 'static,
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
        let start = self.subject("event.");
        Facts { listener: self.listen(&format!("{start}>")).await, seen: Vec::new(), start }
    }

    /// Waits until a send to `to` finds this many connections.
    pub async fn until_matched(&self, to: &To, wanted: u64) -> Receipt {
        eventually(&format!("{to:?} has {wanted} connections"), async || match self.send(to.clone()).attempt().await {
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

    /// The next message, however long it takes; `None` when the subscription has ended.
    pub async fn take(&mut self) -> Option<Message> {
        self.subscriber.next().await
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
        // Unconstrained: a task's budget would make a long queue look empty after 128 messages.
        let mut next = || tokio::task::coop::unconstrained(self.subscriber.next()).now_or_never();
        while let Some(Some(message)) = next() {
            messages.push(message);
        }
        messages
    }
}

/// The text of a header, if it is there.
pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}
