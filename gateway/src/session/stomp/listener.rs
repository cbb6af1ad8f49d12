//! What a delivery is compared with, and by what it is heard: what the frames of a subscription depend on.
//!
//! Knows no connection: listeners of many connections are alike, and share their frames.

use holdfast_protocol::dialect::stomp::Version;
use holdfast_protocol::wire::{Delivery, Target};

/// Where a message of the user's own is heard that names no destination.
const OWN_DEFAULT: &str = "/queue/messages";

/// What a subscription listens to, and as what. All its names lie in one piece: it is compared for each member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    hears: Hears,
    ack: Ack,
    destination_at: usize,
    heard_at: usize,
    /// The subscription's id, and behind it the destination as the client named it, whose end says what is heard.
    names: Box<str>,
}

/// What a subscription hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    /// A room.
    Room,
    /// The user's own messages of one name.
    Own,
}

/// How the client acknowledges messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    Auto,
    /// Each ACK is for all messages up to that one.
    Cumulative,
    Individual,
}

impl Ack {
    pub(super) fn read(header: Option<&str>) -> Self {
        match header {
            Some("client") => Self::Cumulative,
            Some("client-individual") => Self::Individual,
            _ => Self::Auto,
        }
    }
}

impl Listener {
    /// To the room or the user's own messages of this name, with which the destination ends.
    pub(super) fn new(id: &str, destination: &str, hears: Hears, name: &str, ack: Ack) -> Self {
        let names: Box<str> = [id, destination].concat().into();
        let heard_at = names.len().saturating_sub(name.len());
        Self { hears, ack, destination_at: id.len(), heard_at, names }
    }

    /// The subscription's id.
    pub fn id(&self) -> &str {
        self.names.get(..self.destination_at).unwrap_or_default()
    }

    /// As the client named it.
    pub fn destination(&self) -> &str {
        self.names.get(self.destination_at..).unwrap_or_default()
    }

    /// Whether the client acknowledges what it hears.
    pub fn acknowledges(&self) -> bool {
        self.ack != Ack::Auto
    }

    pub(super) const fn ack(&self) -> Ack {
        self.ack
    }

    /// What it hears, and by which name.
    pub(super) fn hears(&self) -> (Hears, &str) {
        (self.hears, self.names.get(self.heard_at..).unwrap_or_default())
    }
}

/// One kind of MESSAGE that a delivery may become. Clients number their subscriptions alike, so that few differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant<'a> {
    /// What the client speaks.
    pub version: Version,
    /// Who hears it.
    pub listener: &'a Listener,
}

/// By what a delivery is heard, by way of one of its targets: looked up once for all who are offered it.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    room: Option<&'a str>,
    /// To everybody: also by whoever has subscribed to exactly its destination.
    all: bool,
    /// The destination that the sender names.
    named: Option<&'a str>,
}

impl<'a> Heard<'a> {
    /// By way of the target with this index.
    pub fn of(delivery: &'a Delivery, target: usize) -> Self {
        let (room, all) = match delivery.targets.get(target) {
            Some(Target::Room(room)) => (Some(room.as_str()), false),
            Some(Target::All) => (None, true),
            _ => (None, false),
        };
        Self { room, all, named: delivery.destination.as_deref() }
    }

    /// Whether this listener hears it.
    pub fn by(&self, listener: &Listener) -> bool {
        match (listener.hears(), self.room) {
            ((Hears::Room, name), Some(room)) => *name == *room,
            ((Hears::Own, name), None) => *name == *self.own(),
            ((Hears::Room, _), None) => self.all && self.named == Some(listener.destination()),
            ((Hears::Own, _), Some(_)) => false,
        }
    }

    /// The destination that a listener who hears it is shown: by whatever target it is heard, the same.
    pub fn shown<'b>(&self, listener: &'b Listener) -> &'b str
    where
        'a: 'b,
    {
        self.named.filter(|_| self.room.is_some()).unwrap_or_else(|| listener.destination())
    }

    fn own(&self) -> &'a str {
        self.named.map_or(OWN_DEFAULT, |name| name.strip_prefix("/user").unwrap_or(name))
    }
}
