//! What several shards get of one message, encoded once per node and form.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use holdfast_daemon::spans::Context;
use holdfast_protocol::dialect::stomp::Version;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{Command, Delivery, ReceiptAsk, Target, Text};

use super::ReceiptRef;
use crate::session::{Listener, Variant};
use crate::socket::Framing;

/// A delivery shared by the shards it is for, with each form of it encoded once per node.
#[derive(Debug)]
pub struct SharedDelivery {
    /// The message.
    pub delivery: Delivery,
    /// Where its receipt goes.
    pub receipt: Option<ReceiptRef>,
    /// Its place in a sampled trace.
    pub trace: Option<Context>,
    /// For dialect `json`: the first without a room, then one per target.
    json: Box<[OnceLock<Form>]>,
    /// For dialect `bare`.
    bare: OnceLock<Form>,
    /// For dialect `stomp`. Held for a look-up or an encoding, never across a wait.
    stomp: Mutex<Vec<Arc<StompForm>>>,
}

/// A delivery in one dialect: the complete frame as it is, and the same in SockJS framing once somebody needs that.
#[derive(Debug)]
pub struct Form {
    plain: Bytes,
    /// None where it cannot be.
    sockjs: OnceLock<Option<Bytes>>,
}

impl Form {
    const fn new(plain: Bytes) -> Self {
        Self { plain, sockjs: OnceLock::new() }
    }

    /// The frame for a socket of this framing. `wrap` puts a plain one into SockJS framing, which has text only: `None`
    /// for a binary one.
    pub fn frame(&self, framing: Framing, wrap: impl FnOnce(&Bytes) -> Option<Bytes>) -> Option<Bytes> {
        match framing {
            Framing::Plain => Some(self.plain.clone()),
            Framing::SockJs => self.sockjs.get_or_init(|| wrap(&self.plain)).clone(),
        }
    }
}

/// A form in dialect `stomp`, and what it was encoded for.
#[derive(Debug)]
pub struct StompForm {
    version: Version,
    listener: Listener,
    form: Form,
}

impl StompForm {
    /// Whether it is what such listeners hear.
    pub fn is(&self, variant: Variant<'_>) -> bool {
        self.version == variant.version && self.listener == *variant.listener
    }

    /// The form.
    pub const fn form(&self) -> &Form {
        &self.form
    }
}

/// Most forms of one delivery in dialect `stomp` that are kept for others who need the same; names of subscriptions are
/// the clients' to choose.
pub const STOMP_FORMS_MAX: usize = 32;

impl SharedDelivery {
    /// A delivery nobody has encoded yet.
    pub fn new(delivery: Delivery, router: NodeId) -> Self {
        let receipt = delivery.receipt.map(|ask| ReceiptRef { router, number: ask.number });
        Self { receipt, ..Self::kept(delivery) }
    }

    /// A kept message read from the stream: nobody waits for a receipt.
    pub fn kept(delivery: Delivery) -> Self {
        let json = (0..=delivery.targets.len()).map(|_| OnceLock::new()).collect();
        Self { delivery, receipt: None, trace: None, json, bare: OnceLock::new(), stomp: Mutex::default() }
    }

    /// The same, traced.
    #[must_use]
    pub fn traced(self, trace: Option<Context>) -> Self {
        Self { trace, ..self }
    }

    /// For dialect `json`: of the target with this index where that is a room, else of the user's own stream. `encode`
    /// gets the room.
    pub fn json(&self, target: usize, encode: impl FnOnce(&Delivery, Option<&str>) -> Bytes) -> &Form {
        let target_room = match self.delivery.targets.get(target) {
            Some(Target::Room(room)) => Some(room),
            _ => None,
        };
        let slot = target_room.map_or(0, |_| target + 1);
        // The room as text only now: to look at it as that is a pass over it, and most callers find the form made.
        self.json[slot].get_or_init(|| Form::new(encode(&self.delivery, target_room.map(Text::as_str))))
    }

    /// For dialect `bare`.
    pub fn bare(&self, encode: impl FnOnce(&Delivery) -> Bytes) -> &Form {
        self.bare.get_or_init(|| Form::new(encode(&self.delivery)))
    }

    /// For dialect `stomp`, for listeners of this kind, who hear it.
    pub fn stomp(&self, variant: Variant<'_>, encode: impl FnOnce(&Delivery) -> Bytes) -> Arc<StompForm> {
        let mut forms = self.stomp.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = forms.iter().find(|known| known.is(variant)) {
            return Arc::clone(known);
        }
        let Variant { version, listener } = variant;
        let form = Form::new(encode(&self.delivery));
        let form = Arc::new(StompForm { version, listener: listener.clone(), form });
        if forms.len() < STOMP_FORMS_MAX {
            forms.push(Arc::clone(&form));
        }
        form
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
