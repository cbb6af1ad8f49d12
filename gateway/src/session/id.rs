//! What a client calls a message that waits for its answer, and the answers that every dialect has.

use bytes::Bytes;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::dialect::json::{self, ErrorCode, MessageId};
use holdfast_protocol::dialect::stomp;
use holdfast_protocol::position::{Recovery, Start};

use super::Session;
use super::action::{Action, Actions};

/// The client's name for one of its messages.
#[derive(Debug, Clone)]
pub(super) enum Id {
    /// Dialect `json`: the field `id`.
    Json(MessageId),
    /// Dialect `stomp`: the header `receipt`.
    Receipt(Box<str>),
    /// Dialect `stomp`: a SUBSCRIBE that asks once.
    Once(Box<Once>),
    /// Dialect `stomp`: a SEND that asks.
    Asked(Box<Asked>),
}

/// A SUBSCRIBE whose answer is one MESSAGE.
#[derive(Debug, Clone)]
pub(super) struct Once {
    pub(super) subscription: Box<str>,
    pub(super) destination: Box<str>,
    pub(super) receipt: Option<Box<str>>,
}

/// A SEND whose answer is a message of the client's own.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Where it was sent.
    pub(super) destination: Box<str>,
    /// Where the answer is heard, without `/user`.
    pub(super) reply_to: Box<str>,
    pub(super) receipt: Option<Box<str>>,
}

impl Id {
    /// The field `id`, in dialect `json`.
    pub(super) const fn as_json(&self) -> Option<&MessageId> {
        match self {
            Self::Json(id) => Some(id),
            Self::Receipt(_) | Self::Once(_) | Self::Asked(_) => None,
        }
    }

    /// The header `receipt`, in dialect `stomp`.
    pub(super) fn as_receipt(&self) -> Option<&str> {
        match self {
            Self::Json(_) => None,
            Self::Receipt(receipt) => Some(receipt),
            Self::Once(once) => once.receipt.as_deref(),
            Self::Asked(asked) => asked.receipt.as_deref(),
        }
    }
}

impl Session {
    /// It is done.
    pub(super) fn ok(&self, id: Option<&Id>, actions: &mut Actions) {
        let Some(id) = id else { return };
        if let Some(id) = id.as_json() {
            self.tell(|| json::ok(id), actions);
        }
        self.receipt(id.as_receipt(), actions);
    }

    /// A RECEIPT, if one was asked for.
    pub(super) fn receipt(&self, receipt: Option<&str>, actions: &mut Actions) {
        if let (Some(receipt), Some(stomp)) = (receipt, &self.stomp) {
            actions.push(Action::Reply(Bytes::from(stomp::receipt(stomp.version, receipt, &[]))));
        }
    }

    /// The same for a SUBSCRIBE to a room: where its kept messages begin.
    pub(super) fn receipt_at(&self, receipt: Option<&str>, start: &Start, actions: &mut Actions) {
        let (Some(receipt), Some(stomp)) = (receipt, &self.stomp) else { return };
        let more = said_of(start);
        actions.push(Action::Reply(Bytes::from(stomp::receipt(stomp.version, receipt, &more))));
    }

    /// It is not done. In dialect `stomp` that is an ERROR frame, which the connection's end must follow.
    pub(super) fn error(&self, id: Option<&Id>, code: ErrorCode, message: &str, actions: &mut Actions) {
        self.error_with(id, code, message, code.retry(), actions);
    }

    /// Too much is outstanding: unlike a limit on rooms, that passes.
    pub(super) fn too_many_now(&self, id: Option<&Id>, message: &str, actions: &mut Actions) {
        self.error_with(id, ErrorCode::TooMany, message, true, actions);
    }

    fn error_with(&self, id: Option<&Id>, code: ErrorCode, message: &str, retry: bool, actions: &mut Actions) {
        let payload = match (self.dialect, &self.stomp) {
            (Dialect::Json, _) => json::error(id.and_then(Id::as_json), code, message, retry),
            (Dialect::Stomp, Some(stomp)) => {
                stomp::error(stomp.version, message, id.and_then(Id::as_receipt), code.as_str())
            }
            (Dialect::Stomp, None) | (Dialect::Bare, _) => return,
        };
        actions.push(Action::Reply(Bytes::from(payload)));
    }
}

/// What a frame says of where kept messages begin.
pub(super) fn said_of(start: &Start) -> Vec<(&'static str, String)> {
    let position = start.position.as_ref().map(|position| ("position", position.to_string()));
    let recovery = start.recovery.as_ref().map(|recovery| match recovery {
        Recovery::Whole => ("recovered", "true".to_owned()),
        Recovery::Lost { .. } => ("recovered", "false".to_owned()),
    });
    let first = match &start.recovery {
        Some(Recovery::Lost { first: Some(first) }) => Some(("first", first.to_string())),
        _ => None,
    };
    position.into_iter().chain(recovery).chain(first).collect()
}
