//! What a client sends: messages to domain services, acknowledgements, and both in transactions.

use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::json::ErrorCode;
use holdfast_protocol::dialect::stomp::{Command, Frame};

use super::destination::Destination;
use super::{frame_bytes, without_scheme};
use crate::session::Session;
use crate::session::action::{Action, Actions};
use crate::session::id::Id;

/// Transactions that may be open at once.
const TRANSACTIONS_MAX: usize = 16;
/// Frames in one of them.
const FRAMES_MAX: usize = 1024;
/// Bytes in all of them.
const BYTES_MAX: usize = 1 << 20;

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
        let refusal = match frame.header("destination").map(Destination::parse) {
            Some(Some(Destination::Upstream(to))) => {
                let waiting = self.rare.as_ref().map_or(0, |rare| rare.publishes.len());
                if id.is_none() || waiting < self.endpoint.limits.publishes_max {
                    return self.send(to, frame.body.clone(), id, actions);
                }
                (ErrorCode::TooMany, "too many messages are not confirmed yet", Close::TooMany)
            }
            Some(Some(Destination::Auth)) => match frame.header("Authorization").map(without_scheme) {
                Some(_) if self.rare.as_ref().is_some_and(|rare| rare.refresh.is_some()) => {
                    (ErrorCode::TooMany, "another credential is being looked at", Close::TooMany)
                }
                Some(token) => return self.verify_refresh(token, id, actions),
                None => (ErrorCode::BadMessage, "the header Authorization is missing", Close::Protocol),
            },
            Some(_) => (ErrorCode::Forbidden, "nobody may send to this destination", Close::Policy),
            None => (ErrorCode::BadMessage, "SEND needs a destination", Close::Protocol),
        };
        let (code, message, close) = refusal;
        self.stomp_end(id.as_ref(), code, message, close, actions);
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
                acknowledge(frame, actions);
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
                _ => acknowledge(frame, actions),
            }
        }
        self.ok(id.as_ref(), actions);
    }
}

fn acknowledge(frame: &Frame, actions: &mut Actions) {
    let id = frame.header("id").or_else(|| frame.header("message-id"));
    if let Some(id) = id.filter(|_| frame.command == Command::Ack) {
        actions.push(Action::Acked { ids: vec![id.to_owned()] });
    }
}
