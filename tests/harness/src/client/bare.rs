//! A client of dialect `bare`, and of the echo route: payloads and nothing else.

use std::sync::{Mutex, PoisonError};

use super::Upgraded;
use super::socket::{Data, Ended, Socket};
use crate::http::Response;

/// What one WebSocket message carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl Payload {
    /// A text message.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A client that sends and receives payloads.
#[derive(Debug)]
pub struct BareClient {
    socket: Socket,
    response: Response,
    taken: Mutex<usize>,
}

impl BareClient {
    pub(crate) fn start(upgraded: Upgraded) -> Self {
        let response = upgraded.response.clone();
        Self { socket: Socket::start(upgraded), response, taken: Mutex::new(0) }
    }

    /// The answer to the handshake.
    pub const fn response(&self) -> &Response {
        &self.response
    }

    /// Sends a text message.
    pub async fn tell(&self, text: &str) {
        self.socket.send(Data::Text(text.to_owned())).await;
    }

    /// Sends a binary message.
    pub async fn tell_binary(&self, bytes: &[u8]) {
        self.socket.send(Data::Binary(bytes.to_vec())).await;
    }

    /// The next payload nobody has taken, once it is there.
    pub async fn payload(&self) -> Payload {
        let next = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.socket.until("a payload", |inbox| inbox.frames.get(next).cloned()).await;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = next + 1;
        match data {
            Data::Text(text) => Payload::Text(text),
            Data::Binary(bytes) => Payload::Binary(bytes),
        }
    }

    /// Payloads that nobody has taken.
    pub fn left(&self) -> usize {
        self.socket.inbox().frames.len() - *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
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
