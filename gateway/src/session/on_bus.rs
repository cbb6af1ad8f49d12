//! Answers from hub and domain services, and what they do to a connection.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::dialect::json::{self, ErrorCode, Gap};
use holdfast_protocol::position::{Position, Start};

use super::action::{Action, Actions};
use super::event::{Failure, GapScope, Outcome, Ticket};
use super::id::Id;
use super::rooms::JoinedBy;
use super::{Flow, Session, State};

impl GapScope {
    pub(super) fn is_room(&self, room: &str) -> bool {
        matches!(self, Self::Room(name) if **name == *room)
    }
}

impl Failure {
    /// Code and words for a client.
    pub(super) const fn words(&self) -> (ErrorCode, &'static str) {
        match self {
            Self::BusUnavailable => (ErrorCode::BusUnavailable, "the bus is not available"),
            Self::Unavailable => (ErrorCode::Unavailable, "not available now"),
            Self::NoResponders => (ErrorCode::NoResponder, "nobody serves this"),
            Self::Timeout => (ErrorCode::Timeout, "no answer in time"),
            Self::TooBig => (ErrorCode::TooBig, "larger than the bus carries"),
            Self::OtherEpoch => (ErrorCode::BadMessage, "the epoch has ended"),
            Self::Forbidden { .. } => (ErrorCode::Forbidden, "not allowed"),
            Self::Service { .. } => (ErrorCode::Service, "the service answered with an error"),
        }
    }
}

impl Session {
    pub(super) fn on_joined(&mut self, ticket: Ticket, room: &Arc<str>, result: Outcome<Start>, actions: &mut Actions) {
        let pending = self.rare.as_mut().and_then(|rare| {
            let at = rare.joins.iter().position(|join| join.ticket == ticket)?;
            Some(rare.joins.swap_remove(at))
        });
        let Some(pending) = pending else { return };
        let failure = match result {
            Ok(start) => {
                self.rooms.add(room, JoinedBy::Client);
                self.forget_room(room);
                for asked in &pending.asked {
                    self.joined(asked, &start, actions);
                }
                return;
            }
            Err(failure) => failure,
        };
        if pending.rejoin && self.rooms.remove(room).is_some() {
            self.forget_room(room);
            actions.push(Action::Leave { room: room.clone() });
        }
        match self.dialect {
            Dialect::Json => {
                for asked in &pending.asked {
                    self.fail(asked.id.as_ref(), failure.clone(), actions);
                }
            }
            Dialect::Stomp => self.stomp_join_failed(&pending.asked, failure, actions),
            // A room of the URL, and no way to say that it is missing.
            Dialect::Bare => {
                let forbidden = matches!(failure, Failure::Forbidden { .. });
                self.close(if forbidden { Close::Policy } else { Close::BusGone }, actions);
            }
        }
    }

    pub(super) fn on_entered(&mut self, room: &Arc<str>, position: Option<&Position>, actions: &mut Actions) {
        self.rooms.add(room, JoinedBy::Service);
        self.tell(|| json::joined(room, position), actions);
    }

    pub(super) fn on_removed(&mut self, room: &Arc<str>, actions: &mut Actions) {
        self.rooms.remove(room);
        self.forget_room(room);
        self.tell(|| json::left(room), actions);
    }

    pub(super) fn on_published(&mut self, ticket: Ticket, result: Outcome<()>, actions: &mut Actions) {
        let id = self.rare.as_mut().and_then(|rare| {
            let at = rare.publishes.iter().position(|(known, _)| *known == ticket)?;
            rare.publishes.remove(at)
        });
        let Some((_, id)) = id else { return };
        match result {
            Ok(()) => self.ok(Some(&id), actions),
            Err(failure) => self.fail_or_end(Some(&id), failure, actions),
        }
        self.finish_disconnect(false, actions);
    }

    pub(super) fn on_replied(&mut self, ticket: Ticket, result: Outcome<Bytes>, actions: &mut Actions) {
        let id = self.rare.as_mut().and_then(|rare| {
            let at = rare.requests.iter().position(|(known, _)| *known == ticket)?;
            Some(rare.requests.swap_remove(at).1)
        });
        let Some(id) = id else { return };
        match &id {
            Some(Id::Once(once)) => return self.answer_once(once, result, actions),
            Some(Id::Asked(asked)) => return self.answer_asked(asked, result, actions),
            Some(Id::Json(_) | Id::Receipt(_)) | None => {}
        }
        match result {
            Ok(payload) => self.tell(|| json::reply(id.as_ref().and_then(Id::as_json), &payload), actions),
            Err(failure) => self.fail(id.as_ref(), failure, actions),
        }
    }

    /// A `stomp` client that asked for no receipt may listen to its errors: an ERROR would end its connection.
    pub(super) fn on_unpublished(&mut self, failure: Failure, actions: &mut Actions) {
        match self.dialect {
            Dialect::Json => self.fail(None, failure, actions),
            Dialect::Stomp => self.tell_error(failure, None, actions),
            Dialect::Bare => {}
        }
    }

    /// Says why something asked of the bus did not work.
    pub(super) fn fail(&self, id: Option<&Id>, failure: Failure, actions: &mut Actions) {
        match failure {
            Failure::Forbidden { reason } if !reason.is_empty() => {
                self.error(id, ErrorCode::Forbidden, &reason, actions);
            }
            Failure::Service { status, message } => {
                self.tell(|| json::service_error(id.and_then(Id::as_json), status, &message), actions);
            }
            failure => {
                let (code, message) = failure.words();
                self.error(id, code, message, actions);
            }
        }
    }

    /// The same; a client that can be told in no other way is sent away, to come again.
    fn fail_or_end(&mut self, id: Option<&Id>, failure: Failure, actions: &mut Actions) {
        self.fail(id, failure, actions);
        if self.dialect == Dialect::Stomp {
            self.close(Close::BusGone, actions);
        }
    }

    pub(super) fn on_missed(&mut self, room: Option<Arc<str>>) {
        if self.flow == Flow::Paused && self.dialect == Dialect::Json {
            let missed = &mut self.rare().missed;
            if !missed.contains(&room) {
                missed.push(room);
            }
        }
    }

    pub(super) fn on_resume(&mut self, actions: &mut Actions) {
        self.flow = Flow::Running;
        let missed = self.rare.as_mut().map(|rare| std::mem::take(&mut rare.missed));
        for room in missed.unwrap_or_default() {
            self.on_gap(room.map_or(GapScope::Own, GapScope::Room), actions);
        }
    }

    /// Live messages were dropped. A gap for everything that is still in the client's queue tells of them as well.
    pub(super) fn on_gap(&mut self, scope: GapScope, actions: &mut Actions) {
        let is_covered = self.rare.as_ref().is_some_and(|rare| rare.gaps.contains(&GapScope::All));
        if !is_covered {
            self.tell_gap(scope, actions);
        }
    }

    /// Kept messages are lost. Each stream is named: a gap for everything is about live messages alone, kept ones come all the
    /// same.
    pub(super) fn on_kept_gap(&mut self, scope: GapScope, actions: &mut Actions) {
        if scope != GapScope::All {
            return self.tell_gap(scope, actions);
        }
        let rooms: Vec<_> = self.rooms.iter().cloned().map(GapScope::Room).collect();
        for scope in std::iter::once(GapScope::Own).chain(rooms) {
            self.tell_gap(scope, actions);
        }
    }

    /// Tells of a gap, unless the client is about to read of the same one: a gap that is still in its queue covers all
    /// that is dropped until it is sent.
    fn tell_gap(&mut self, scope: GapScope, actions: &mut Actions) {
        let concerns_it = match &scope {
            GapScope::Room(room) => self.rooms.contains(room),
            GapScope::All | GapScope::Own => true,
        };
        if !matches!(self.state, State::Open) || self.dialect != Dialect::Json || !concerns_it {
            return;
        }
        let gaps = &mut self.rare().gaps;
        if gaps.contains(&scope) {
            return;
        }
        let payload = match &scope {
            GapScope::All => json::gap(Gap::All),
            GapScope::Own => json::gap(Gap::Own),
            GapScope::Room(room) => json::gap(Gap::Room(room)),
        };
        gaps.push(scope);
        actions.push(Action::Gap(Bytes::from(payload)));
    }

    pub(super) fn on_gaps_written(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.gaps = Vec::new();
        }
    }

    /// Says once that the node will close the connection.
    pub(super) fn on_go_away(&mut self, retry_after_ms: u64, reason: &str, actions: &mut Actions) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.tell(|| json::goaway(retry_after_ms, reason), actions);
        }
    }

    /// It may stay after all. What it was told holds no more; the next time it is told anew.
    pub(super) const fn on_stay(&mut self) {
        self.leaving = false;
    }
}
