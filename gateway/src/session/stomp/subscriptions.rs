//! Who listens to what: SUBSCRIBE, UNSUBSCRIBE, and what is owed for what was heard.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::json::ErrorCode;
use holdfast_protocol::dialect::stomp::{Command, Frame, Version};
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::Delivery;

use super::destination::Destination;
use super::listener::{Ack, Heard, Hears, Listener, Variant};
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

/// One SUBSCRIBE.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) listener: Listener,
    /// Acknowledgements that senders wait for, oldest first, where one acknowledges all before it.
    owed: VecDeque<Box<str>>,
}

impl Session {
    /// The client's subscriptions, in dialect `stomp`: what a delivery may become a frame for.
    pub fn variants(&self) -> impl Iterator<Item = Variant<'_>> {
        let (version, subscriptions) = match (&self.stomp, &self.state) {
            (Some(stomp), State::Open) => (stomp.version, stomp.subscriptions.as_slice()),
            _ => (Version::V1_2, &[][..]),
        };
        subscriptions.iter().map(move |subscription| Variant { version, listener: &subscription.listener })
    }

    /// The delivery's sender waits for an acknowledgement of this client's.
    pub fn owes(&mut self, delivery: &Delivery, target: usize) {
        let heard = Heard::of(delivery, target);
        let subscriptions = self.stomp.iter_mut().flat_map(|stomp| &mut stomp.subscriptions);
        for subscription in subscriptions.filter(|subscription| subscription.listener.ack() == Ack::Cumulative) {
            if heard.by(&subscription.listener) {
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
        for subscription in subscriptions.filter(|known| named.is_none_or(|named| *known.listener.id() == *named)) {
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
        match stomp.subscriptions.iter().find(|known| *known.listener.id() == *id) {
            Some(known) if *known.listener.destination() == *destination => return self.ok(receipt, actions),
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
        let is_heard = stomp.subscriptions.iter().any(|known| known.listener.hears() == (hears, &*name));
        let listener = Listener::new(id, destination, hears, &name, Ack::read(frame.header("ack")));
        if let Some(stomp) = &mut self.stomp {
            stomp.subscriptions.push(Subscription { listener, owed: VecDeque::new() });
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
            (Some(id), _) => stomp.subscriptions.iter().position(|known| *known.listener.id() == *id),
            (None, Some(name)) => stomp.subscriptions.iter().position(|known| *known.listener.destination() == *name),
            (None, None) => {
                let message = "UNSUBSCRIBE needs an id";
                return self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
            }
        };
        let ended = at.map(|at| stomp.subscriptions.remove(at));
        if let Some(ended) = ended
            && stomp.subscriptions.iter().all(|other| other.listener.hears() != ended.listener.hears())
            && let (Hears::Room, room) = ended.listener.hears()
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
