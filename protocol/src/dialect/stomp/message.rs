//! MESSAGE frames of deliveries.

use super::encode::{MessageTail, message_frame};
use super::version::Version;
use crate::wire::{Content, Delivery, Kept};

/// What a MESSAGE says.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What the client speaks.
    pub version: Version,
    /// The subscription that hears it.
    pub subscription: &'a str,
    /// The destination the client sees.
    pub destination: &'a str,
    /// The message's id.
    pub id: &'a str,
    /// The client acknowledges it.
    pub ack: bool,
    /// The sender's word for what happened.
    pub event: Option<&'a str>,
    /// Where it stands in the stream, if it is kept.
    pub kept: Option<&'a Kept>,
    /// What the payload is.
    pub content: Content,
    /// The payload.
    pub payload: &'a [u8],
}

/// A frame, by the kind of WebSocket message that carries it: old clients read binary ones as Latin-1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// UTF-8.
    Text(Vec<u8>),
    /// Anything.
    Binary(Vec<u8>),
}

impl<'a> Message<'a> {
    /// The message that a delivery becomes.
    pub fn of(
        delivery: &'a Delivery,
        version: Version,
        subscription: &'a str,
        destination: &'a str,
        ack: bool,
    ) -> Self {
        Self {
            version,
            subscription,
            destination,
            id: &delivery.id,
            ack,
            event: delivery.event.as_deref(),
            kept: delivery.kept.as_ref(),
            content: delivery.content,
            payload: &delivery.payload,
        }
    }
}

/// A MESSAGE frame.
pub fn message(message: &Message<'_>) -> Body {
    let is_text = simdutf8::basic::from_utf8(message.payload).is_ok();
    let content_type = match message.content {
        Content::Json => "application/json",
        Content::Text => "text/plain;charset=UTF-8",
        Content::Binary => "application/octet-stream",
    };
    let seq = message.kept.map(|kept| kept.seq.to_string());
    let mut others = Vec::new();
    others.extend(message.event.map(|event| ("event", event)));
    if let (Some(kept), Some(seq)) = (message.kept, &seq) {
        others.extend([("epoch", kept.epoch.as_str()), ("seq", seq)]);
    }
    let tail = MessageTail::new(
        message.version,
        message.destination,
        message.id,
        Some(content_type),
        &others,
        message.payload,
    );
    let ack = message.ack.then_some(message.id);
    let frame = message_frame(message.version, message.subscription, ack, &tail);
    if is_text && message.content != Content::Binary { Body::Text(frame) } else { Body::Binary(frame) }
}
