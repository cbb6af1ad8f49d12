//! Messages of a client that speaks `json`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_protocol::dialect::json::{self, ClientMessage, ErrorCode, Head, Kind, Rejection};
use holdfast_protocol::position::{Position, Start};

use super::action::{Action, Actions, Outward, Said};
use super::id::Id;
use super::on_auth::{First, for_client};
use super::rare::{JoinAsked, PendingJoin};
use super::{Session, State};
use crate::clock::Now;

impl Session {
    /// A text message, while the session is pending or open.
    pub(super) fn on_json(&mut self, now: Now, text: &str, actions: &mut Actions) {
        let pending = matches!(self.state, State::Pending { .. });
        match json::read(text) {
            Ok(head) if pending && head.kind != Kind::Auth => {
                self.unauthenticated(head.id.map(Id::Json).as_ref(), actions)
            }
            Err(rejection) if pending && rejection.code == ErrorCode::UnknownType => {
                self.unauthenticated(rejection.id.map(Id::Json).as_ref(), actions);
            }
            Err(rejection) => self.reject(&rejection, actions),
            Ok(head) => self.on_head(now, head, pending, actions),
        }
    }

    fn unauthenticated(&self, id: Option<&Id>, actions: &mut Actions) {
        self.error(id, ErrorCode::Unauthenticated, "the first message must be auth", actions);
    }

    pub(super) fn reject(&self, rejection: &Rejection, actions: &mut Actions) {
        self.error(rejection.id.clone().map(Id::Json).as_ref(), rejection.code, rejection.message, actions);
    }

    fn on_head(&mut self, now: Now, head: Head<'_>, pending: bool, actions: &mut Actions) {
        let body = match head.body() {
            Ok(body) => body,
            Err(rejection) => return self.reject(&rejection, actions),
        };
        let id = head.id.map(Id::Json);
        match body {
            ClientMessage::Auth { token, device, since } if pending => {
                self.verify_first(now, &token, First { id, device: device.as_deref(), since, user: None }, actions);
            }
            ClientMessage::Auth { since: Some(_), .. } => {
                self.error(id.as_ref(), ErrorCode::BadMessage, "since belongs in the first auth", actions);
            }
            ClientMessage::Auth { token, .. } => self.verify_refresh(&token, id, actions),
            ClientMessage::Join { room, since } => self.join(&room, since, id, actions),
            ClientMessage::Leave { room } => self.leave(&room, id.as_ref(), actions),
            ClientMessage::Send { to, data } => {
                self.send(Outward::Service(to), None, Bytes::copy_from_slice(data.as_bytes()), id, actions);
            }
            ClientMessage::Request { to, data, timeout_ms } => self.request(to, data, timeout_ms, id, actions),
            ClientMessage::History { room, cursor, limit } => self.history(&room, cursor, limit, id, actions),
            ClientMessage::Ack { ids } => {
                actions.push(Action::Acked { ids });
                self.ok(id.as_ref(), actions);
            }
            ClientMessage::Ping => self.tell(|| json::pong(id.as_ref().and_then(Id::as_json)), actions),
        }
    }

    pub(super) fn join(&mut self, room: &str, since: Option<Position>, id: Option<Id>, actions: &mut Actions) {
        let limits = &self.endpoint.limits;
        let joins = self.rare.as_ref().map_or(&[][..], |rare| &rare.joins);
        let waiting: usize = joins.iter().map(|join| join.asked.len()).sum();
        let is_pending = joins.iter().any(|join| *join.room == *room);
        let is_member = self.rooms.contains(room);
        let rooms = self.rooms.by_client() + joins.iter().filter(|join| !join.rejoin).count();
        let asked = JoinAsked { id, since: since.is_some() };
        let id = asked.id.as_ref();

        if is_member && !is_pending && !asked.since {
            return self.joined(&asked, &Start::default(), actions);
        }
        if !is_member && !self.endpoint.join_callout && !self.is_allowed(room) {
            return self.error(id, ErrorCode::Forbidden, "the credential does not allow this room", actions);
        }
        if waiting >= limits.rooms_max {
            return self.too_many_now(id, "too many joins at once", actions);
        }
        if is_pending && !asked.since {
            let pending = self.rare().joins.iter_mut().find(|join| *join.room == *room);
            if let Some(pending) = pending {
                pending.asked.push(asked);
            }
            return;
        }
        if !is_member && !is_pending && rooms >= limits.rooms_max {
            return self.error(id, ErrorCode::TooMany, "too many rooms", actions);
        }
        if is_pending {
            // Where to begin is another place now: this is a leave and a join.
            self.end_membership(room, actions);
        }
        let rejoin = self.rooms.contains(room);
        self.start_join(room.into(), since, rejoin, vec![asked], actions);
    }

    /// Whether the credential allows a room.
    pub(super) fn is_allowed(&self, room: &str) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.rooms.allow(room))
    }

    /// Asks for a membership. With `rejoin` there is one, which ends in the same step.
    pub(super) fn start_join(
        &mut self,
        room: Arc<str>,
        since: Option<Position>,
        rejoin: bool,
        asked: Vec<JoinAsked>,
        actions: &mut Actions,
    ) {
        let ticket = self.ticket();
        self.rare().joins.push(PendingJoin { ticket, room: room.clone(), rejoin, asked });
        let callout = self.endpoint.join_callout;
        actions.push(Action::Join { ticket, room, since, leave_first: rejoin, callout });
    }

    /// Answers a `join`.
    pub(super) fn joined(&self, asked: &JoinAsked, start: &Start, actions: &mut Actions) {
        let Some(id) = &asked.id else { return };
        if let Some(id) = id.as_json() {
            self.tell(|| json::ok_joined(id, &for_client(start.clone(), asked.since)), actions);
        }
        self.receipt_at(id.as_receipt(), &for_client(start.clone(), asked.since), actions);
    }

    fn leave(&mut self, room: &str, id: Option<&Id>, actions: &mut Actions) {
        self.end_membership(room, actions);
        self.ok(id, actions);
    }

    pub(super) fn end_membership(&mut self, room: &str, actions: &mut Actions) {
        if let Some(room) = self.rooms.remove(room) {
            self.forget_room(&room);
            actions.push(Action::Leave { room });
        }
        // A join under way is overtaken: it is answered now, and `is_in` takes it back when it comes.
        let overtaken = self.rare.as_mut().and_then(|rare| {
            let at = rare.joins.iter().position(|join| *join.room == *room)?;
            Some(rare.joins.swap_remove(at))
        });
        for asked in overtaken.iter().flat_map(|join| &join.asked) {
            self.joined(asked, &Start::default(), actions);
        }
    }

    /// A room left behind owes no gaps.
    pub(super) fn forget_room(&mut self, room: &str) {
        if let Some(rare) = &mut self.rare {
            rare.missed.retain(|missed| missed.as_deref() != Some(room));
            rare.gaps.retain(|gap| !gap.is_room(room));
        }
    }

    pub(super) fn send(
        &mut self,
        to: Outward,
        said: Option<Box<Said>>,
        payload: Bytes,
        id: Option<Id>,
        actions: &mut Actions,
    ) {
        let ticket = match id {
            None => None,
            Some(id) => {
                if self.rare().publishes.len() >= self.endpoint.limits.publishes_max {
                    return self.too_many_now(Some(&id), "too many messages are not confirmed yet", actions);
                }
                let ticket = self.ticket();
                self.rare().publishes.push_back((ticket, id));
                Some(ticket)
            }
        };
        actions.push(Action::Publish { ticket, to, said, payload });
    }

    fn request(&mut self, to: Vec<String>, data: &str, timeout_ms: Option<u64>, id: Option<Id>, actions: &mut Actions) {
        let requests_max = self.endpoint.limits.requests_max;
        let rare = self.rare();
        if rare.requests.len() + rare.histories.len() >= requests_max {
            return self.too_many_now(id.as_ref(), "too many requests at once", actions);
        }
        let ticket = self.ticket();
        self.rare().requests.push((ticket, id));
        let timeout = timeout_ms.map_or(self.endpoint.limits.request_timeout, Duration::from_millis);
        let payload = Bytes::copy_from_slice(data.as_bytes());
        actions.push(Action::Request { ticket, to, said: None, payload, timeout });
    }
}
