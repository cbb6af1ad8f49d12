//! Pages of a room's kept messages: who may ask, and what they are told.

use std::sync::Arc;

use holdfast_protocol::dialect::json::{self, Cursor, ErrorCode};

use super::Session;
use super::action::{Action, Actions};
use super::event::{HistoryPage, Outcome, Ticket};
use super::id::Id;
use super::rare::HistoryAsked;

impl Session {
    /// Asks for a page. Members may read, and those who may become one.
    pub(super) fn history(&mut self, room: &str, cursor: Cursor, limit: u16, id: Option<Id>, actions: &mut Actions) {
        let callout = self.endpoint.join_callout && !self.rooms.contains(room);
        if !callout && !self.may_read(room) {
            return self.error(id.as_ref(), ErrorCode::Forbidden, "the credential does not allow this room", actions);
        }
        let requests_max = self.endpoint.limits.requests_max;
        let rare = self.rare();
        if rare.requests.len() + rare.histories.len() >= requests_max {
            return self.too_many_now(id.as_ref(), "too many requests at once", actions);
        }
        let (ticket, room) = (self.ticket(), Arc::from(room));
        self.rare().histories.push(HistoryAsked { ticket, id, room: Arc::clone(&room), callout });
        actions.push(Action::History { ticket, room, cursor, limit, callout });
    }

    /// Without looking at callouts.
    fn may_read(&self, room: &str) -> bool {
        self.rooms.contains(room) || self.is_allowed(room)
    }

    pub(super) fn on_history(&mut self, ticket: Ticket, result: Outcome<HistoryPage>, actions: &mut Actions) {
        let asked = self.rare.as_mut().and_then(|rare| {
            let at = rare.histories.iter().position(|asked| asked.ticket == ticket)?;
            Some(rare.histories.swap_remove(at))
        });
        let Some(HistoryAsked { id, room, callout, .. }) = asked else { return };
        match result {
            // The rights may have ended while the page was read.
            Ok(_) if !callout && !self.may_read(&room) => {
                self.error(id.as_ref(), ErrorCode::Forbidden, "the credential does not allow this room", actions);
            }
            Ok(HistoryPage { messages, next }) => {
                let id = id.as_ref().and_then(Id::as_json);
                self.tell(|| json::history(id, &room, &messages, next.as_ref()), actions);
            }
            Err(failure) => self.fail(id.as_ref(), failure, actions),
        }
    }
}
