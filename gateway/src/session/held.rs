//! What a client sends ahead, while its credential is being looked at: held within bounds, then carried out in order.

use std::collections::VecDeque;

use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::{Dialect, json};

use super::action::Actions;
use super::event::Incoming;
use super::id::Id;
use super::{Session, State};
use crate::clock::Now;

/// Messages in the order they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    messages: VecDeque<Message>,
    bytes: usize,
}

#[derive(Debug)]
enum Message {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Message {
    fn as_incoming(&self) -> Incoming<'_> {
        match self {
            Self::Text(text) => Incoming::Text(text),
            Self::Binary(bytes) => Incoming::Binary(bytes),
        }
    }
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl Session {
    /// Holds a message; over the bounds it is refused: with an error in dialect `json`, else with 4429.
    pub(super) fn hold(&mut self, message: Incoming<'_>, actions: &mut Actions) {
        let (messages_max, bytes_max) = (self.endpoint.limits.held_max, self.endpoint.limits.held_bytes_max);
        let (bytes, owned) = match message {
            Incoming::Text(text) => (text.len(), Message::Text(text.into())),
            Incoming::Binary(data) => (data.len(), Message::Binary(data.into())),
        };
        let held = &mut self.rare().held;
        if held.messages.len() < messages_max && held.bytes + bytes <= bytes_max {
            held.bytes += bytes;
            held.messages.push_back(owned);
            return;
        }
        match (self.dialect, message) {
            (Dialect::Json, Incoming::Text(text)) => match json::read(text) {
                Ok(head) => {
                    self.too_many_now(head.id.map(Id::Json).as_ref(), "too many messages before the welcome", actions)
                }
                Err(rejection) => self.reject(&rejection, actions),
            },
            (Dialect::Json, Incoming::Binary(_)) => self.close(Close::UnsupportedData, actions),
            (Dialect::Bare | Dialect::Stomp, _) => self.close(Close::TooMany, actions),
        }
    }

    /// Carries out what was held, as far as the state now allows.
    pub(super) fn release(&mut self, now: Now, actions: &mut Actions) {
        while matches!(self.state, State::Pending { .. } | State::Open) {
            let Some(held) = self.rare.as_mut().map(|rare| &mut rare.held) else { return };
            let Some(message) = held.messages.pop_front() else { return };
            let incoming = message.as_incoming();
            held.bytes -= match incoming {
                Incoming::Text(text) => text.len(),
                Incoming::Binary(data) => data.len(),
            };
            self.on_message(now, incoming, actions);
        }
    }
}
