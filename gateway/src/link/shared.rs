//! What several shards get of one message, encoded once per node and form.

use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use holdfast_daemon::spans::Context;
use holdfast_protocol::dialect::stomp::Version;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{Command, Delivery, ReceiptAsk, Target};

use super::ReceiptRef;
use crate::session::Variant;

/// A delivery shared by the shards it is for, with each form of it encoded once per node.
#[derive(Debug)]
pub struct SharedDelivery {
    /// The message.
    pub delivery: Delivery,
    /// Where its receipt goes.
    pub receipt: Option<ReceiptRef>,
    /// Its place in a sampled trace.
    pub trace: Option<Context>,
    /// Complete frames for dialect `json`: the first without a room, then one per target.
    json: Box<[OnceLock<Bytes>]>,
    /// The complete frame for dialect `bare`.
    bare: OnceLock<Bytes>,
    /// Complete frames for dialect `stomp`. Held for a look-up or an encoding, never across a wait.
    stomp: Mutex<Vec<StompFrame>>,
    /// Frames from above, and the same in SockJS framing; none where it cannot be. Held like `stomp`.
    sockjs: Mutex<Vec<(Bytes, Option<Bytes>)>>,
}

/// A frame of dialect `stomp`, and what it was encoded for.
#[derive(Debug)]
struct StompFrame {
    version: Version,
    subscription: Box<str>,
    destination: Box<str>,
    ack: bool,
    frame: Bytes,
}

impl StompFrame {
    fn is(&self, variant: &Variant<'_>) -> bool {
        let Variant { version, subscription, destination, ack } = variant;
        self.version == *version
            && self.ack == *ack
            && *self.subscription == **subscription
            && *self.destination == **destination
    }
}

/// Most frames of one delivery that are kept for others who need the same; names of subscriptions are the clients' to
/// choose.
const FRAMES_MAX: usize = 32;

impl SharedDelivery {
    /// A delivery nobody has encoded yet.
    pub fn new(delivery: Delivery, router: NodeId) -> Self {
        let receipt = delivery.receipt.map(|ask| ReceiptRef { router, number: ask.number });
        let json = (0..=delivery.targets.len()).map(|_| OnceLock::new()).collect();
        Self {
            delivery,
            receipt,
            trace: None,
            json,
            bare: OnceLock::new(),
            stomp: Mutex::default(),
            sockjs: Mutex::default(),
        }
    }

    /// A kept message read from the stream: nobody waits for a receipt.
    pub fn kept(delivery: Delivery) -> Self {
        let json = (0..=delivery.targets.len()).map(|_| OnceLock::new()).collect();
        Self {
            delivery,
            receipt: None,
            trace: None,
            json,
            bare: OnceLock::new(),
            stomp: Mutex::default(),
            sockjs: Mutex::default(),
        }
    }

    /// The same, traced.
    #[must_use]
    pub fn traced(self, trace: Option<Context>) -> Self {
        Self { trace, ..self }
    }

    /// The frame for dialect `json`: of the target with this index where that is a room, else of the user's own
    /// stream. `encode` gets the room.
    pub fn json_frame(&self, target: usize, encode: impl FnOnce(&Delivery, Option<&str>) -> Bytes) -> Bytes {
        let (slot, room) = match self.delivery.targets.get(target) {
            Some(Target::Room(room)) => (target + 1, Some(room.as_str())),
            _ => (0, None),
        };
        self.json[slot].get_or_init(|| encode(&self.delivery, room)).clone()
    }

    /// The frame for dialect `bare`.
    pub fn bare_frame(&self, encode: impl FnOnce(&Delivery) -> Bytes) -> Bytes {
        self.bare.get_or_init(|| encode(&self.delivery)).clone()
    }

    /// The frame for dialect `stomp`, for subscriptions of this kind.
    pub fn stomp_frame(&self, variant: &Variant<'_>, encode: impl FnOnce(&Delivery, &Variant<'_>) -> Bytes) -> Bytes {
        let mut frames = self.stomp.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = frames.iter().find(|known| known.is(variant)) {
            return known.frame.clone();
        }
        let frame = encode(&self.delivery, variant);
        if frames.len() < FRAMES_MAX {
            let Variant { version, subscription, destination, ack } = *variant;
            let (subscription, destination) = (subscription.into(), destination.into());
            frames.push(StompFrame { version, subscription, destination, ack, frame: frame.clone() });
        }
        frame
    }

    /// One of the frames above in SockJS framing, which has text only: `None` for a binary one.
    pub fn sockjs_frame(&self, plain: &Bytes, encode: impl FnOnce(&Bytes) -> Option<Bytes>) -> Option<Bytes> {
        let mut frames = self.sockjs.lock().unwrap_or_else(PoisonError::into_inner);
        // The same bytes, not merely equal ones: each form of a delivery exists once.
        if let Some((_, framed)) = frames.iter().find(|(known, _)| known.as_ptr() == plain.as_ptr()) {
            return framed.clone();
        }
        let framed = encode(plain);
        if frames.len() < FRAMES_MAX {
            frames.push((plain.clone(), framed.clone()));
        }
        framed
    }
}

/// A command shared by the shards it is for.
#[derive(Debug)]
pub struct SharedCommand {
    /// Whom it is for.
    pub targets: Vec<Target>,
    /// What to do.
    pub command: Command,
    /// What its receipt asks for.
    pub ask: Option<ReceiptAsk>,
    /// Where its receipt goes.
    pub receipt: Option<ReceiptRef>,
}
