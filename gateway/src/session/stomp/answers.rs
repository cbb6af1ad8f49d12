//! What a client hears that no delivery brings: answers of domain services, and errors that must not end the
//! connection, as an ERROR would.

use bytes::Bytes;
use holdfast_protocol::content;
use holdfast_protocol::dialect::stomp::{Body, Message, message};
use holdfast_protocol::wire::Content;
use serde_json::json;

use super::listener::Hears;
use crate::session::Session;
use crate::session::action::{Action, Actions};
use crate::session::event::{Failure, Outcome};
use crate::session::id::{Asked, Once};

/// Where a client listens to its errors, without `/user`.
const ERRORS: &str = "/queue/errors";

impl Session {
    /// The answer to a SUBSCRIBE that asks. Where there is none, nothing comes but the error.
    pub(in crate::session) fn answer_once(&mut self, once: &Once, result: Outcome<Bytes>, actions: &mut Actions) {
        match result {
            Ok(payload) => self.say((&once.subscription, &once.destination), &payload, None, actions),
            Err(failure) => self.tell_error(failure, Some(&once.destination), actions),
        }
        self.receipt(once.receipt.as_deref(), actions);
    }

    /// The answer to a SEND that asks.
    pub(in crate::session) fn answer_asked(&mut self, asked: &Asked, result: Outcome<Bytes>, actions: &mut Actions) {
        match result {
            Ok(payload) => self.say_to_own(&asked.reply_to, &payload, None, actions),
            Err(failure) => self.tell_error(failure, Some(&asked.destination), actions),
        }
        self.receipt(asked.receipt.as_deref(), actions);
    }

    /// Says what did not work to those subscriptions that listen for it.
    pub(in crate::session) fn tell_error(
        &mut self,
        failure: Failure,
        destination: Option<&str>,
        actions: &mut Actions,
    ) {
        let (code, words) = failure.words();
        let mut error = json!({"code": code.as_str(), "message": words, "retry": code.retry()});
        match failure {
            Failure::Service { status, message } => {
                error["status"] = status.into();
                error["message"] = message.into();
                error["retry"] = (status == 429 || status >= 500).into();
            }
            Failure::Forbidden { reason } if !reason.is_empty() => error["message"] = reason.into(),
            _ => {}
        }
        if let Some(destination) = destination {
            error["destination"] = destination.into();
        }
        self.say_to_own(ERRORS, &Bytes::from(error.to_string()), Some(Content::Json), actions);
    }

    /// Says something to each subscription that hears the user's own messages of this name.
    fn say_to_own(&mut self, name: &str, payload: &Bytes, content: Option<Content>, actions: &mut Actions) {
        let Some(stomp) = &self.stomp else { return };
        let heard =
            stomp.subscriptions.iter().filter(|subscription| subscription.listener.hears() == (Hears::Own, name));
        let heard: Vec<_> = heard
            .map(|subscription| (subscription.listener.id().to_owned(), subscription.listener.destination().to_owned()))
            .collect();
        for (id, destination) in &heard {
            self.say((id, destination), payload, content, actions);
        }
    }

    fn say(
        &mut self,
        (subscription, destination): (&str, &str),
        payload: &Bytes,
        content: Option<Content>,
        actions: &mut Actions,
    ) {
        let number = self.ticket();
        let Some(stomp) = &self.stomp else { return };
        let written = message(&Message {
            version: stomp.version,
            subscription,
            destination,
            id: &format!("{}-{number}", self.connection),
            ack: false,
            event: None,
            kept: None,
            content: content.unwrap_or_else(|| content::detect(None, payload)),
            payload,
        });
        actions.push(match written {
            Body::Text(frame) => Action::Reply(frame.into()),
            Body::Binary(frame) => Action::ReplyBinary(frame.into()),
        });
    }
}
