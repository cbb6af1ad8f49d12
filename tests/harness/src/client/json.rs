//! A client of dialect `json`.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::socket::{Data, Ended, Inbox, Socket};
use super::{Upgraded, text};
use crate::http::Response;

/// A delivery, as the client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The message id.
    pub id: String,
    /// The room, for room sends.
    pub room: Option<String>,
    /// `Hf-Type`.
    pub event: Option<String>,
    /// The payload: `data`, or `{"base64":…}` for binary.
    pub data: Value,
    /// Whether an acknowledgement is asked for.
    pub ack: bool,
    /// The whole frame as it was read.
    pub raw: String,
}

/// A `json` client. Everything it receives is kept; a test looks back as well as forward.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    response: Response,
    next_id: AtomicU64,
    /// Frames before this index were taken by [`Client::message`].
    taken: Mutex<usize>,
}

impl Client {
    pub(crate) fn start(upgraded: Upgraded) -> Self {
        let response = upgraded.response.clone();
        let socket = Socket::start(upgraded);
        Self { socket, response, next_id: AtomicU64::new(1), taken: Mutex::new(0) }
    }

    /// The answer to the handshake.
    pub const fn response(&self) -> &Response {
        &self.response
    }

    /// The `welcome`, once it is there.
    pub async fn welcomed(&self) -> Value {
        self.frame("welcome", 0, |frame| frame["type"] == "welcome").await
    }

    /// A field of the `welcome` that has come.
    ///
    /// # Panics
    /// If there was none, or it has no such text.
    pub fn welcome(&self, field: &str) -> String {
        let welcome = self.frames().into_iter().find(|frame| frame["type"] == "welcome").expect("a welcome");
        welcome[field].as_str().unwrap_or_else(|| panic!("{field} in {welcome}")).to_owned()
    }

    /// The connection's id.
    pub fn id(&self) -> String {
        self.welcome("connection")
    }

    /// Sends a message as it is.
    pub async fn tell(&self, message: Value) {
        self.tell_text(&text(&message)).await;
    }

    /// Sends any text.
    pub async fn tell_text(&self, text: &str) {
        self.socket.send(Data::Text(text.to_owned())).await;
    }

    /// Sends a binary message, which this dialect does not know.
    pub async fn tell_binary(&self, bytes: &[u8]) {
        self.socket.send(Data::Binary(bytes.to_vec())).await;
    }

    /// Sends a message, with a fresh id unless it has one, and returns the answer to it.
    pub async fn ask(&self, mut message: Value) -> Value {
        if message.get("id").is_none() {
            message["id"] = json!(self.next_id.fetch_add(1, Ordering::Relaxed));
        }
        let (id, mark) = (message["id"].clone(), self.mark());
        self.tell(message.clone()).await;
        let answers = |frame: &Value| frame["id"] == id && frame["type"] != "message";
        self.frame(&format!("the answer to {message}"), mark, answers).await
    }

    /// [`Client::ask`], to be answered by `ok`.
    pub async fn ok(&self, message: Value) -> Value {
        let answer = self.ask(message.clone()).await;
        assert_eq!(answer["type"], "ok", "the answer to {message}: {answer}");
        answer
    }

    /// [`Client::ask`], to be answered by `error` with this code; returns the error.
    pub async fn refused(&self, message: Value, code: &str) -> Value {
        let answer = self.ask(message.clone()).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "to {message}: {answer}");
        assert!(answer["message"].is_string() && answer["retry"].is_boolean(), "complete: {answer}");
        answer
    }

    /// Joins a room.
    pub async fn join(&self, room: &str) {
        self.ok(json!({"type": "join", "room": room})).await;
    }

    /// Leaves a room.
    pub async fn leave(&self, room: &str) {
        self.ok(json!({"type": "leave", "room": room})).await;
    }

    /// A round trip: what the gateway had for this client before the ping has been read when it returns.
    pub async fn ping(&self) {
        let answer = self.ask(json!({"type": "ping"})).await;
        assert_eq!(answer["type"], "pong", "{answer}");
    }

    /// How many frames have come; an index for [`Client::frame`].
    pub fn mark(&self) -> usize {
        self.socket.inbox().frames.len()
    }

    /// The first frame from index `from` on that `wanted` accepts, once it is there.
    pub async fn frame(&self, what: &str, from: usize, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let mut next = from;
        self.socket
            .until(what, |inbox| {
                while let Some(frame) = inbox.frames.get(next) {
                    next += 1;
                    let frame = parsed(frame);
                    if wanted(&frame) {
                        return Some(frame);
                    }
                }
                None
            })
            .await
    }

    /// All frames so far.
    pub fn frames(&self) -> Vec<Value> {
        self.socket.inbox().frames.iter().map(parsed).collect()
    }

    /// All frames of one type so far.
    pub fn frames_of(&self, kind: &str) -> Vec<Value> {
        self.frames().into_iter().filter(|frame| frame["type"] == kind).collect()
    }

    /// The next delivery nobody has taken yet, once it is there.
    pub async fn message(&self) -> Message {
        self.next_message("a message", |_| true).await
    }

    /// The next delivery to a room nobody has taken yet; those before it, to other targets, are passed over.
    pub async fn message_in(&self, room: &str) -> Message {
        self.next_message(&format!("a message in {room}"), |message| message.room.as_deref() == Some(room)).await
    }

    async fn next_message(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let mut next = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let message = self
            .socket
            .until(what, |inbox| {
                while let Some(Data::Text(frame)) = inbox.frames.get(next) {
                    next += 1;
                    if let Some(message) = message_of(frame).filter(&wanted) {
                        return Some(message);
                    }
                }
                None
            })
            .await;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = next;
        message
    }

    /// Checks that no delivery is left that was not taken, up to a round trip from now.
    pub async fn nothing_more(&self) {
        self.ping().await;
        let from = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left: Vec<_> = texts(&self.socket.inbox(), from).filter_map(message_of).collect();
        assert!(left.is_empty(), "deliveries nobody expected: {left:?}");
    }

    /// All deliveries so far.
    pub fn messages(&self) -> Vec<Message> {
        texts(&self.socket.inbox(), 0).filter_map(message_of).collect()
    }

    /// The payloads of all deliveries so far.
    pub fn data(&self) -> Vec<Value> {
        self.messages().into_iter().map(|message| message.data).collect()
    }

    /// Waits until `count` deliveries are here, from the first one on.
    pub async fn until_messages(&self, count: usize) -> Vec<Message> {
        let (mut next, mut seen) = (0, 0);
        self.socket
            .until(&format!("{count} messages"), |inbox| {
                while let Some(frame) = inbox.frames.get(next) {
                    next += 1;
                    seen += usize::from(matches!(frame, Data::Text(text) if is_message(text)));
                }
                (seen >= count).then_some(())
            })
            .await;
        self.messages()
    }

    /// Acknowledges messages.
    pub async fn ack(&self, ids: &[&str]) {
        self.tell(json!({"type": "ack", "ids": ids})).await;
    }

    /// Pings of the gateway so far (answered by themselves).
    pub fn pings(&self) -> u64 {
        self.socket.inbox().pings
    }

    /// Whether the connection stands, as far as has been read.
    pub fn is_open(&self) -> bool {
        self.socket.inbox().ended.is_none()
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self) -> Ended {
        self.socket.ended().await
    }

    /// Closes with 1000 and waits for the gateway's answer.
    pub async fn close(&self) {
        let ended = self.socket.close(1000, "").await;
        assert_eq!(ended.code, 1000, "{ended:?}");
    }
}

fn texts(inbox: &Inbox, from: usize) -> impl Iterator<Item = &str> {
    inbox.frames[from..].iter().filter_map(|frame| match frame {
        Data::Text(text) => Some(text.as_str()),
        Data::Binary(_) => None,
    })
}

fn parsed(frame: &Data) -> Value {
    match frame {
        Data::Text(text) => serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}")),
        Data::Binary(bytes) => panic!("a binary message on dialect json: {bytes:?}"),
    }
}

/// A glance, so that hundreds of thousands of frames need not be parsed to be counted.
fn is_message(frame: &str) -> bool {
    frame.starts_with("{\"type\":\"message\"")
}

fn message_of(frame: &str) -> Option<Message> {
    let value: Value = serde_json::from_str(frame).unwrap_or_else(|error| panic!("no JSON ({error}): {frame}"));
    if value["type"] != "message" {
        return None;
    }
    let string = |name: &str| value[name].as_str().map(str::to_owned);
    let (data, base64) = (value.get("data"), value.get("base64"));
    assert!(data.is_some() != base64.is_some(), "either data or base64: {frame}");
    Some(Message {
        id: string("id").unwrap_or_else(|| panic!("a message without id: {frame}")),
        room: string("room"),
        event: string("event"),
        data: data.cloned().unwrap_or_else(|| json!({"base64": base64})),
        ack: value["ack"] == true,
        raw: frame.to_owned(),
    })
}
