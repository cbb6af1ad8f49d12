//! A SockJS client over WebSocket: frames as they come, or the messages in them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::bare::{BareClient, Payload};
use super::{Connect, Ended};

/// A client whose WebSocket speaks in SockJS frames, after the `o`.
#[derive(Debug)]
pub struct SockJsClient {
    socket: BareClient,
    messages: Mutex<VecDeque<String>>,
}

impl Connect {
    /// A framed WebSocket at the base path that this connection names, as sockjs-client opens it: no sub-protocol, a
    /// session of its own.
    ///
    /// # Panics
    /// If the first frame is not `o`.
    pub async fn sockjs(mut self) -> SockJsClient {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let question = if query.is_empty() { "" } else { "?" };
        self.path = format!("{path}/000/{}/websocket{question}{query}", crate::unique("session"));
        let socket = self.protocols(&[]).endpoint_default().await;
        let client = SockJsClient { socket, messages: Mutex::default() };
        assert_eq!(client.frame().await, "o");
        client
    }
}

impl SockJsClient {
    /// The next frame.
    ///
    /// # Panics
    /// If it is not text.
    pub async fn frame(&self) -> String {
        match self.socket.payload().await {
            Payload::Text(text) => text,
            Payload::Binary(bytes) => panic!("a binary frame: {bytes:?}"),
        }
    }

    /// The next message. Heart-beats are passed over.
    ///
    /// # Panics
    /// If a frame comes that has no messages.
    pub async fn message(&self) -> String {
        loop {
            if let Some(message) = self.messages.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return message;
            }
            let frame = self.frame().await;
            if frame == "h" {
                continue;
            }
            let messages = messages(&frame).unwrap_or_else(|| panic!("no messages: {frame}"));
            self.messages.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
        }
    }

    /// The next message, which is JSON.
    ///
    /// # Panics
    /// If it is not.
    pub async fn json(&self) -> Value {
        let message = self.message().await;
        serde_json::from_str(&message).unwrap_or_else(|error| panic!("{error}: {message}"))
    }

    /// Sends one message.
    pub async fn tell(&self, message: &str) {
        self.tell_raw(&Value::from(vec![message]).to_string()).await;
    }

    /// Sends a frame as it is.
    pub async fn tell_raw(&self, frame: &str) {
        self.socket.tell(frame).await;
    }

    /// Waits for the end of the WebSocket.
    pub async fn ended(&self) -> Ended {
        self.socket.ended().await
    }
}

/// The messages of a frame `a[…]`.
pub fn messages(frame: &str) -> Option<Vec<String>> {
    serde_json::from_str(frame.strip_prefix('a')?).ok()
}
