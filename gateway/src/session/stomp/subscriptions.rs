//! Who listens to what: SUBSCRIBE, UNSUBSCRIBE, and which frames a delivery becomes.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::content;
use holdfast_protocol::dialect::json::ErrorCode;
use holdfast_protocol::dialect::stomp::{Body, Frame, Message, Version, message};
use holdfast_protocol::wire::Delivery;

use super::destination::Destination;
use crate::session::action::{Action, Actions};
use crate::session::event::{Failure, Outcome};
use crate::session::id::{Id, Once};
use crate::session::rare::JoinAsked;
use crate::session::{Session, State};

/// Subscriptions per connection.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Where a message of the user's own is heard that names no destination.
const OWN_DEFAULT: &str = "/queue/messages";

/// One SUBSCRIBE.
#[derive(Debug)]
pub(super) struct Subscription {
    id: Box<str>,
    /// As the client named it.
    destination: Box<str>,
    hears: Hears,
    /// The client acknowledges messages.
    ack: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Hears {
    Room(Arc<str>),
    Own(Box<str>),
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

impl Session {
    /// The frames that a delivery becomes, in dialect `stomp`: one for each subscription that hears it. `room` is none
    /// for the user's own messages.
    pub fn variants<'a>(
        &'a self,
        delivery: &'a Delivery,
        room: Option<&'a str>,
    ) -> impl Iterator<Item = Variant<'a>> + 'a {
        let named = delivery.destination.as_deref();
        let own = named.map_or(OWN_DEFAULT, |name| name.strip_prefix("/user").unwrap_or(name));
        let stomp = self.stomp.as_ref().filter(|_| matches!(self.state, State::Open));
        stomp.into_iter().flat_map(move |stomp| {
            let hearing = stomp.subscriptions.iter().filter(move |subscription| match (&subscription.hears, room) {
                (Hears::Room(name), Some(room)) => **name == *room,
                (Hears::Own(name), None) => **name == *own,
                _ => false,
            });
            hearing.map(move |subscription| Variant {
                version: stomp.version,
                subscription: &subscription.id,
                destination: named.filter(|_| room.is_some()).unwrap_or(&subscription.destination),
                ack: subscription.ack,
            })
        })
    }

    pub(super) fn on_subscribe(&mut self, frame: &Frame, receipt: Option<&Id>, actions: &mut Actions) {
        let Some(stomp) = &self.stomp else { return };
        let destination = frame.header("destination");
        let id = frame.header("id").or_else(|| destination.filter(|_| stomp.version == Version::V1_0));
        let (Some(destination), Some(id)) = (destination, id) else {
            let message = "SUBSCRIBE needs a destination and an id";
            return self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
        };
        match stomp.subscriptions.iter().find(|known| *known.id == *id) {
            Some(known) if *known.destination == *destination => return self.ok(receipt, actions),
            Some(_) => {
                let message = "the id has another destination";
                return self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
            }
            None => {}
        }
        if stomp.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return self.stomp_end(receipt, ErrorCode::TooMany, "too many subscriptions", Close::TooMany, actions);
        }
        let hears = match Destination::parse(destination) {
            Some(Destination::Upstream(to)) => return self.ask_once(id, destination, to, receipt, actions),
            Some(Destination::Room(room)) => Hears::Room(room),
            Some(Destination::Own(name)) => Hears::Own(name),
            Some(Destination::Auth) | None => {
                let message = "there is nothing to subscribe to at this destination";
                return self.stomp_end(receipt, ErrorCode::Forbidden, message, Close::Policy, actions);
            }
        };
        let room = match &hears {
            Hears::Room(room) => Some(Arc::clone(room)),
            Hears::Own(_) => None,
        };
        let ack = matches!(frame.header("ack"), Some("client" | "client-individual"));
        if let Some(stomp) = &mut self.stomp {
            stomp.subscriptions.push(Subscription { id: id.into(), destination: destination.into(), hears, ack });
        }
        match room {
            Some(room) => self.hear_room(&room, receipt.cloned(), actions),
            None => self.ok(receipt, actions),
        }
    }

    fn hear_room(&mut self, room: &Arc<str>, receipt: Option<Id>, actions: &mut Actions) {
        self.join(room, None, receipt, actions);
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
        actions.push(Action::Request { ticket, to, payload: Bytes::new(), timeout });
    }

    /// The answer to a question. A service that does not answer is no error of the client's: nothing comes.
    pub(in crate::session) fn answer_once(&mut self, once: &Once, result: Outcome<Bytes>, actions: &mut Actions) {
        let number = self.ticket();
        let Some(stomp) = &self.stomp else { return };
        if let Ok(payload) = result {
            let written = message(&Message {
                version: stomp.version,
                subscription: &once.subscription,
                destination: &once.destination,
                id: &format!("{}-{number}", self.connection),
                ack: false,
                event: None,
                kept: None,
                content: content::detect(None, &payload),
                payload: &payload,
            });
            actions.push(match written {
                Body::Text(frame) => Action::Reply(frame.into()),
                Body::Binary(frame) => Action::ReplyBinary(frame.into()),
            });
        }
        self.receipt(once.receipt.as_deref(), actions);
    }

    pub(super) fn on_unsubscribe(&mut self, frame: &Frame, receipt: Option<&Id>, actions: &mut Actions) {
        let Some(stomp) = &mut self.stomp else { return };
        let (id, destination) = (frame.header("id"), frame.header("destination"));
        let at = match (id, destination) {
            (Some(id), _) => stomp.subscriptions.iter().position(|known| *known.id == *id),
            (None, Some(name)) => stomp.subscriptions.iter().position(|known| *known.destination == *name),
            (None, None) => {
                let message = "UNSUBSCRIBE needs an id";
                return self.stomp_end(receipt, ErrorCode::BadMessage, message, Close::Protocol, actions);
            }
        };
        let ended = at.map(|at| stomp.subscriptions.remove(at));
        if let Some(ended) = ended
            && stomp.subscriptions.iter().all(|other| other.hears != ended.hears)
            && let Hears::Room(room) = ended.hears
        {
            self.end_membership(&room, actions);
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
