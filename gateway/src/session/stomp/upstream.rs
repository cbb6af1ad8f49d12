//! What a client sends: messages to domain services, acknowledgements, and both in transactions.

use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::json::ErrorCode;
use holdfast_protocol::dialect::stomp::{Command, Frame};

use super::destination::{Destination, forward_path};
use super::said::said;
use super::{frame_bytes, without_scheme};
use crate::handshake::Sending;
use crate::session::Session;
use crate::session::action::{Action, Actions, Outward};
use crate::session::id::{Asked, Id};

/// Transactions that may be open at once.
const TRANSACTIONS_MAX: usize = 16;
/// Frames in one of them.
const FRAMES_MAX: usize = 1024;
/// Bytes in all of them.
const BYTES_MAX: usize = 1 << 20;

/// Why a SEND is refused: what to say, and how to end.
type Refusal = (ErrorCode, &'static str, Close);

/// Where a SEND goes.
enum SendTo {
    /// A message.
    Out(Outward),
    /// A request.
    Ask(Vec<String>),
    /// A fresh credential.
    Auth,
}

/// Open transactions.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: Vec<(Box<str>, Vec<Frame>)>,
    bytes: usize,
}

impl Transactions {
    fn begin(&mut self, name: &str) -> Result<(), &'static str> {
        if self.open.iter().any(|(known, _)| **known == *name) {
            return Err("the transaction has begun already");
        }
        if self.open.len() >= TRANSACTIONS_MAX {
            return Err("too many transactions");
        }
        self.open.push((name.into(), Vec::new()));
        Ok(())
    }

    fn add(&mut self, name: &str, frame: &Frame) -> Result<(), &'static str> {
        let bytes = self.bytes + frame_bytes(frame);
        let Some((_, frames)) = self.open.iter_mut().find(|(known, _)| **known == *name) else {
            return Err("there is no such transaction");
        };
        if frames.len() >= FRAMES_MAX || bytes > BYTES_MAX {
            return Err("the transaction is too large");
        }
        frames.push(frame.clone());
        self.bytes = bytes;
        Ok(())
    }

    fn end(&mut self, name: &str) -> Result<Vec<Frame>, &'static str> {
        let at = self.open.iter().position(|(known, _)| **known == *name).ok_or("there is no such transaction")?;
        let (_, frames) = self.open.swap_remove(at);
        self.bytes -= frames.iter().map(frame_bytes).sum::<usize>();
        Ok(frames)
    }
}

impl Session {
    pub(super) fn on_send(&mut self, frame: &Frame, id: Option<Id>, actions: &mut Actions) {
        match frame.header("transaction") {
            Some(name) => self.add_to_transaction(name, frame, id.as_ref(), actions),
            None => self.carry_send(frame, id, actions),
        }
    }

    fn carry_send(&mut self, frame: &Frame, id: Option<Id>, actions: &mut Actions) {
        let refusal = match self.send_to(frame) {
            Ok(SendTo::Out(to)) => {
                let waiting = self.rare.as_ref().map_or(0, |rare| rare.publishes.len());
                let said = said(frame);
                match said {
                    Ok(said) if id.is_none() || waiting < self.endpoint.limits.publishes_max => {
                        return self.send(to, said, frame.body.clone(), id, actions);
                    }
                    Ok(_) => (ErrorCode::TooMany, "too many messages are not confirmed yet", Close::TooMany),
                    Err(message) => (ErrorCode::BadMessage, message, Close::Protocol),
                }
            }
            Ok(SendTo::Ask(to)) => match self.ask(to, frame, id.as_ref(), actions) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            Ok(SendTo::Auth) => match frame.header("Authorization").map(without_scheme) {
                Some(_) if self.rare.as_ref().is_some_and(|rare| rare.refresh.is_some()) => {
                    (ErrorCode::TooMany, "another credential is being looked at", Close::TooMany)
                }
                Some(token) => return self.verify_refresh(token, id, actions),
                None => (ErrorCode::BadMessage, "the header Authorization is missing", Close::Protocol),
            },
            Err(refusal) => refusal,
        };
        let (code, message, close) = refusal;
        self.stomp_end(id.as_ref(), code, message, close, actions);
    }

    /// Where a SEND goes, if the client may send there.
    fn send_to(&self, frame: &Frame) -> Result<SendTo, Refusal> {
        let Some(text) = frame.header("destination") else {
            return Err((ErrorCode::BadMessage, "SEND needs a destination", Close::Protocol));
        };
        let rules = &self.endpoint.destinations;
        let out = match Destination::parse(text, rules) {
            Some(Destination::Upstream(to)) => Some(SendTo::Out(Outward::Service(to))),
            Some(Destination::Request(to)) => Some(SendTo::Ask(to)),
            Some(Destination::Auth) => Some(SendTo::Auth),
            Some(Destination::Room(room)) => match rules.sending(text) {
                Sending::Relay => {
                    // Who may not hear a room may not speak there either.
                    let may = self.rooms.contains(&room) || (!self.endpoint.join_callout && self.is_allowed(&room));
                    may.then_some(SendTo::Out(Outward::Room(room)))
                }
                Sending::Forward => forward_path(text).map(|to| SendTo::Out(Outward::Service(to))),
                Sending::Denied => None,
            },
            Some(Destination::Own(_)) | None => None,
        };
        out.ok_or((ErrorCode::Forbidden, "nobody may send to this destination", Close::Policy))
    }

    /// A SEND that a domain service answers. The answer is a message of the client's own.
    fn ask(&mut self, to: Vec<String>, frame: &Frame, id: Option<&Id>, actions: &mut Actions) -> Result<(), Refusal> {
        let said = said(frame).map_err(|message| (ErrorCode::BadMessage, message, Close::Protocol))?;
        if self.rare().requests.len() >= self.endpoint.limits.requests_max {
            return Err((ErrorCode::TooMany, "too many requests at once", Close::TooMany));
        }
        let asked = Asked {
            destination: frame.header("destination").unwrap_or_default().into(),
            reply_to: format!("/queue/{}", to.join("/")).into(),
            receipt: id.and_then(Id::as_receipt).map(Into::into),
        };
        let ticket = self.ticket();
        self.rare().requests.push((ticket, Some(Id::Asked(Box::new(asked)))));
        let timeout = self.endpoint.limits.request_timeout;
        actions.push(Action::Request { ticket, to, said, payload: frame.body.clone(), timeout });
        Ok(())
    }

    /// ACK and NACK, by whichever header the client knows. What is not acknowledged is not sent again: both count for
    /// receipts alone.
    pub(super) fn on_ack(&mut self, frame: &Frame, id: Option<Id>, actions: &mut Actions) {
        if frame.header("id").or_else(|| frame.header("message-id")).is_none() {
            let message = "ACK and NACK need an id";
            return self.stomp_end(id.as_ref(), ErrorCode::BadMessage, message, Close::Protocol, actions);
        }
        match frame.header("transaction") {
            Some(name) => self.add_to_transaction(name, frame, id.as_ref(), actions),
            None => {
                self.acknowledge(frame, actions);
                self.ok(id.as_ref(), actions);
            }
        }
    }

    fn add_to_transaction(&mut self, name: &str, frame: &Frame, id: Option<&Id>, actions: &mut Actions) {
        let Some(stomp) = &mut self.stomp else { return };
        match stomp.transactions.add(name, frame) {
            Ok(()) => self.ok(id, actions),
            Err(message) => self.stomp_end(id, ErrorCode::BadMessage, message, Close::Protocol, actions),
        }
    }

    pub(super) fn on_transaction(&mut self, frame: &Frame, id: Option<Id>, actions: &mut Actions) {
        let Some(stomp) = &mut self.stomp else { return };
        let transactions = &mut stomp.transactions;
        let done = match (frame.header("transaction"), frame.command) {
            (None, _) => Err("the header transaction is missing"),
            (Some(name), Command::Begin) => transactions.begin(name).map(|()| Vec::new()),
            (Some(name), Command::Commit) => transactions.end(name),
            (Some(name), _) => transactions.end(name).map(|_| Vec::new()),
        };
        match done {
            Ok(frames) => self.commit(&frames, id, actions),
            Err(message) => self.stomp_end(id.as_ref(), ErrorCode::BadMessage, message, Close::Protocol, actions),
        }
    }

    /// Carries a transaction out in order. It is done when its last message is confirmed: messages are confirmed in
    /// order.
    fn commit(&mut self, frames: &[Frame], mut id: Option<Id>, actions: &mut Actions) {
        let last = frames.iter().rposition(|frame| frame.command == Command::Send);
        for (at, frame) in frames.iter().enumerate() {
            if self.is_closing() {
                return;
            }
            match frame.command {
                Command::Send => {
                    let id = if Some(at) == last { id.take() } else { None };
                    self.carry_send(frame, id, actions);
                }
                _ => self.acknowledge(frame, actions),
            }
        }
        self.ok(id.as_ref(), actions);
    }

    fn acknowledge(&mut self, frame: &Frame, actions: &mut Actions) {
        let ids = self.settled(frame);
        if !ids.is_empty() {
            actions.push(Action::Acked { ids });
        }
    }
}
