//! Who listens to what: SUBSCRIBE, UNSUBSCRIBE, and which frames a delivery becomes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::json::ErrorCode;
use holdfast_protocol::dialect::stomp::{Command, Frame, Version};
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::{Delivery, Target};

use super::destination::Destination;
use crate::clock::Now;
use crate::session::action::{Action, Actions};
use crate::session::event::Failure;
use crate::session::id::{Id, Once};
use crate::session::rare::JoinAsked;
use crate::session::{Session, State};

/// Subscriptions per connection.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Messages of a subscription that may wait for a cumulative ACK; older ones are acknowledged by nobody.
const OWED_MAX: usize = 1024;
/// Headers by which clients of other brokers ask for a subscription that outlives the connection.
const DURABLE: [&str; 5] =
    ["durable", "x-durable", "durable-subscription-name", "activemq.subscriptionName", "persistent"];
/// Where a message of the user's own is heard that names no destination.
const OWN_DEFAULT: &str = "/queue/messages";

/// One SUBSCRIBE. All that a delivery is compared with lies in one piece: this is walked for each member of a room.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Its id, and behind it the destination as the client named it, whose end says what is heard.
    names: Box<str>,
    destination_at: usize,
    heard_at: usize,
    hears: Hears,
    ack: Ack,
    /// Acknowledgements that senders wait for, oldest first, where one acknowledges all before it.
    owed: VecDeque<Box<str>>,
}

/// What a subscription hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    /// A room.
    Room,
    /// The user's own messages of one name.
    Own,
}

impl Subscription {
    /// To the room or the user's own messages of this name, with which the destination ends.
    fn new(id: &str, destination: &str, hears: Hears, name: &str, ack: Ack) -> Self {
        let names: Box<str> = [id, destination].concat().into();
        let heard_at = names.len().saturating_sub(name.len());
        Self { destination_at: id.len(), heard_at, names, hears, ack, owed: VecDeque::new() }
    }

    pub(super) fn id(&self) -> &str {
        self.names.get(..self.destination_at).unwrap_or_default()
    }

    /// As the client named it.
    pub(super) fn destination(&self) -> &str {
        self.names.get(self.destination_at..).unwrap_or_default()
    }

    /// What it hears, and by which name.
    pub(super) fn hears(&self) -> (Hears, &str) {
        (self.hears, self.names.get(self.heard_at..).unwrap_or_default())
    }
}

/// How the client acknowledges messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ack {
    Auto,
    /// Each ACK is for all messages up to that one.
    Cumulative,
    Individual,
}

impl Ack {
    fn read(header: Option<&str>) -> Self {
        match header {
            Some("client") => Self::Cumulative,
            Some("client-individual") => Self::Individual,
            _ => Self::Auto,
        }
    }
}

/// One MESSAGE that a delivery becomes for a client. Clients number their subscriptions alike, so that few differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant<'a> {
    /// What the client speaks.
    pub version: Version,
    /// The subscription's id.
    pub subscription: &'a str,
    /// The destination the client sees.
    pub destination: &'a str,
    /// The client acknowledges it.
    pub ack: bool,
}

/// By what a delivery is heard.
#[derive(Clone, Copy)]
struct Heard<'a> {
    room: Option<&'a str>,
    /// To everybody: also by whoever has subscribed to exactly its destination.
    all: bool,
    /// The destination that the sender names.
    named: Option<&'a str>,
}

impl<'a> Heard<'a> {
    fn of(delivery: &'a Delivery, target: usize) -> Self {
        let (room, all) = match delivery.targets.get(target) {
            Some(Target::Room(room)) => (Some(room.as_str()), false),
            Some(Target::All) => (None, true),
            _ => (None, false),
        };
        Self { room, all, named: delivery.destination.as_deref() }
    }

    fn by(self, subscription: &Subscription) -> bool {
        match (subscription.hears(), self.room) {
            ((Hears::Room, name), Some(room)) => *name == *room,
            ((Hears::Own, name), None) => *name == *self.own(),
            ((Hears::Room, _), None) => self.all && self.named == Some(subscription.destination()),
            ((Hears::Own, _), Some(_)) => false,
        }
    }

    fn own(self) -> &'a str {
        self.named.map_or(OWN_DEFAULT, |name| name.strip_prefix("/user").unwrap_or(name))
    }
}

impl Session {
    /// The frames that a delivery becomes, in dialect `stomp`, by way of its target with this index: one for each
    /// subscription that hears it.
    pub fn variants<'a>(&'a self, delivery: &'a Delivery, target: usize) -> impl Iterator<Item = Variant<'a>> + 'a {
        let heard = Heard::of(delivery, target);
        let (version, subscriptions) = match (&self.stomp, &self.state) {
            (Some(stomp), State::Open) => (stomp.version, stomp.subscriptions.as_slice()),
            _ => (Version::V1_2, &[][..]),
        };
        let hearing = subscriptions.iter().filter(move |subscription| heard.by(subscription));
        hearing.map(move |subscription| Variant {
            version,
            subscription: subscription.id(),
            destination: heard.named.filter(|_| heard.room.is_some()).unwrap_or_else(|| subscription.destination()),
            ack: subscription.ack != Ack::Auto,
        })
    }

    /// The delivery's sender waits for an acknowledgement of this client's.
    pub fn owes(&mut self, delivery: &Delivery, target: usize) {
        let heard = Heard::of(delivery, target);
        let subscriptions = self.stomp.iter_mut().flat_map(|stomp| &mut stomp.subscriptions);
        for subscription in subscriptions.filter(|subscription| subscription.ack == Ack::Cumulative) {
            if heard.by(subscription) {
                if subscription.owed.len() >= OWED_MAX {
                    subscription.owed.pop_front();
                }
                subscription.owed.push_back(delivery.id.as_str().into());
            }
        }
    }

    /// The messages that an ACK or NACK is for, as far as anybody waits for them: those before it in its subscription
    /// too, where that is how the client acknowledges.
    pub(super) fn settled(&mut self, frame: &Frame) -> Vec<String> {
        let Some(id) = frame.header("id").or_else(|| frame.header("message-id")) else { return Vec::new() };
        let named = frame.header("subscription");
        let subscriptions = self.stomp.iter_mut().flat_map(|stomp| &mut stomp.subscriptions);
        let mut settled = Vec::new();
        for subscription in subscriptions.filter(|known| named.is_none_or(|named| *known.id() == *named)) {
            if let Some(at) = subscription.owed.iter().position(|owed| **owed == *id) {
                settled.extend(subscription.owed.drain(..=at).map(String::from));
            }
            if subscription.owed.is_empty() {
                subscription.owed = VecDeque::new();
            }
        }
        if frame.command == Command::Nack {
            return Vec::new();
        }
        if settled.is_empty() {
            settled.push(id.to_owned());
        }
        settled
    }

    pub(super) fn on_subscribe(&mut self, now: Now, frame: &Frame, receipt: Option<&Id>, actions: &mut Actions) {
        let Some(stomp) = &self.stomp else { return };
        let destination = frame.header("destination");
        let id = frame.header("id").or_else(|| destination.filter(|_| stomp.version == Version::V1_0));
        let (Some(destination), Some(id)) = (destination, id) else {
            let message = "SUBSCRIBE needs a destination and an id";
            return self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
        };
        match stomp.subscriptions.iter().find(|known| *known.id() == *id) {
            Some(known) if *known.destination() == *destination => return self.ok(receipt, actions),
            Some(_) => {
                let message = "the id has another destination";
                return self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
            }
            None => {}
        }
        if stomp.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return self.stomp_end(receipt, ErrorCode::TooMany, "too many subscriptions", Close::TooMany, actions);
        }
        if let Some((message, close)) = unsupported(frame) {
            return self.stomp_end(receipt, ErrorCode::BadMessage, message, close, actions);
        }
        let (hears, name) = match Destination::parse(destination, &self.endpoint.destinations) {
            Some(Destination::Upstream(to) | Destination::Request(to)) => {
                return self.ask_once(id, destination, to, receipt, actions);
            }
            Some(Destination::Room(room)) => (Hears::Room, room),
            Some(Destination::Own(name)) => (Hears::Own, name),
            Some(Destination::Auth) | None => {
                let message = "there is nothing to subscribe to at this destination";
                return self.stomp_end(receipt, ErrorCode::Forbidden, message, Close::Policy, actions);
            }
        };
        let since = frame.header("since");
        // Only the first subscription to a room can begin in the past: others have heard what came since.
        let is_heard = stomp.subscriptions.iter().any(|known| known.hears() == (hears, &*name));
        let subscription = Subscription::new(id, destination, hears, &name, Ack::read(frame.header("ack")));
        if let Some(stomp) = &mut self.stomp {
            stomp.subscriptions.push(subscription);
        }
        let room = (hears == Hears::Room).then_some(name);
        let lost = Start { position: None, recovery: Some(Recovery::Lost { first: None }) };
        match (room, since.map(Position::parse)) {
            (_, Some(None)) => {
                let message = "since is no position";
                self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
            }
            (Some(room), since) if since.is_none() || !is_heard => {
                self.hear_room(&room, since.flatten(), receipt.cloned(), actions);
            }
            (None, None) if self.heard_own(now) || is_heard => self.ok(receipt, actions),
            (None, None) => self.receipt_at(receipt.and_then(Id::as_receipt), &lost, actions),
            (_, Some(_)) => self.receipt_at(receipt.and_then(Id::as_receipt), &lost, actions),
            (Some(_), None) => self.ok(receipt, actions),
        }
    }

    fn hear_room(&mut self, room: &Arc<str>, since: Option<Position>, receipt: Option<Id>, actions: &mut Actions) {
        self.join(room, since, receipt, actions);
        let joins = self.rare.as_ref().is_some_and(|rare| rare.joins.iter().any(|join| join.room == *room));
        if !joins && !self.rooms.contains(room) {
            // Refused, and told so.
            self.close(Close::Policy, actions);
        }
    }

    /// A SUBSCRIBE to a domain service is a question: its answer is one MESSAGE.
    fn ask_once(&mut self, id: &str, destination: &str, to: Vec<String>, receipt: Option<&Id>, actions: &mut Actions) {
        if self.rare().requests.len() >= self.endpoint.limits.requests_max {
            return self.stomp_end(receipt, ErrorCode::TooMany, "too many requests at once", Close::TooMany, actions);
        }
        let once = Once {
            subscription: id.into(),
            destination: destination.into(),
            receipt: receipt.and_then(Id::as_receipt).map(Into::into),
        };
        let ticket = self.ticket();
        self.rare().requests.push((ticket, Some(Id::Once(Box::new(once)))));
        let timeout = self.endpoint.limits.request_timeout;
        actions.push(Action::Request { ticket, to, said: None, payload: Bytes::new(), timeout });
    }

    pub(super) fn on_unsubscribe(&mut self, frame: &Frame, receipt: Option<&Id>, actions: &mut Actions) {
        let Some(stomp) = &mut self.stomp else { return };
        let (id, destination) = (frame.header("id"), frame.header("destination"));
        let at = match (id, destination) {
            (Some(id), _) => stomp.subscriptions.iter().position(|known| *known.id() == *id),
            (None, Some(name)) => stomp.subscriptions.iter().position(|known| *known.destination() == *name),
            (None, None) => {
                let message = "UNSUBSCRIBE needs an id";
                return self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
            }
        };
        let ended = at.map(|at| stomp.subscriptions.remove(at));
        if let Some(ended) = ended
            && stomp.subscriptions.iter().all(|other| other.hears() != ended.hears())
            && let (Hears::Room, room) = ended.hears()
        {
            self.end_membership(room, actions);
        }
        self.ok(receipt, actions);
    }

    /// A room that a client subscribed to cannot be joined.
    pub(in crate::session) fn stomp_join_failed(
        &mut self,
        asked: &[JoinAsked],
        failure: Failure,
        actions: &mut Actions,
    ) {
        let close = if matches!(failure, Failure::Forbidden { .. }) { Close::Policy } else { Close::BusGone };
        let id = asked.iter().find_map(|asked| asked.id.as_ref());
        self.fail(id, failure, actions);
        self.close(close, actions);
    }
}

/// What a SUBSCRIBE asks for that does not exist here: said at once rather than left to be found out.
fn unsupported(frame: &Frame) -> Option<(&'static str, Close)> {
    let asks = |name: &str| frame.header(name).is_some_and(|value| value != "false");
    DURABLE.into_iter().any(asks).then_some(("durable subscriptions are not supported", Close::Policy))
}
