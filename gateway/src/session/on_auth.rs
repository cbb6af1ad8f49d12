//! Credentials: the first one, refreshes, and what comes of them.

use std::sync::Arc;
use std::time::Duration;

use holdfast_daemon::config::Secret;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::dialect::json::{self, ErrorCode};
use holdfast_protocol::position::{Position, Recovery, Start};

use super::action::{Action, Actions};
use super::event::{Outcome, Ticket};
use super::id::Id;
use super::on_tick::millis;
use super::rare::{PendingJoin, Refresh};
use super::{Session, State};
use crate::auth::{Identity, Refusal};
use crate::clock::Now;

/// The first credential, while it is being looked at.
#[derive(Debug)]
pub(super) struct Verifying {
    ticket: Ticket,
    /// Of the `auth`.
    id: Option<Id>,
    /// What the client calls itself: `auth.device` or INIT's, else `?device=`.
    device: Option<Arc<str>>,
    /// Where the user's stream is to resume: the `auth` says so, else `?since=`.
    since: Option<Position>,
    /// The user that an INIT named besides its token.
    user: Option<Box<str>>,
    /// When the wait for a credential ends, if this one cannot be looked at now.
    deadline_ms: u64,
    pub(super) answer_by_ms: u64,
}

/// A connection that is being made known.
#[derive(Debug)]
pub(super) struct Binding {
    /// Of the `auth` that the welcome answers.
    id: Option<Id>,
    /// The client asked to resume.
    resume: bool,
    pub(super) answer_by_ms: u64,
}

/// Longer than any answer takes; see [`Session::on_tick`].
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// What a first credential comes with.
#[derive(Debug, Default)]
pub(super) struct First<'a> {
    pub(super) id: Option<Id>,
    pub(super) device: Option<&'a str>,
    pub(super) since: Option<Position>,
    pub(super) user: Option<&'a str>,
}

impl Session {
    /// Has the first credential looked at.
    pub(super) fn verify_first(&mut self, now: Now, token: &str, first: First<'_>, actions: &mut Actions) {
        let State::Pending { deadline_ms } = self.state else { return };
        let ticket = self.ticket();
        let (url_device, url_since) = self.said_in_url();
        self.state = State::Verifying(Box::new(Verifying {
            ticket,
            id: first.id,
            device: first.device.map(Arc::from).or(url_device),
            since: first.since.or(url_since),
            user: first.user.map(Box::from),
            deadline_ms,
            answer_by_ms: now.ms + millis(ANSWER_WAIT),
        }));
        actions.push(Action::Verify { ticket, token: Secret::new(token), device: first.device.map(str::to_owned) });
    }

    /// What the URL says of the device, and of where to resume.
    pub(super) fn said_in_url(&self) -> (Option<Arc<str>>, Option<Position>) {
        self.rare.as_ref().map(|rare| (rare.device.clone(), rare.since.clone())).unwrap_or_default()
    }

    /// Has a later credential looked at, in dialect `json`.
    pub(super) fn verify_refresh(&mut self, token: &str, id: Option<Id>, actions: &mut Actions) {
        if self.rare.as_ref().is_some_and(|rare| rare.refresh.is_some()) {
            self.too_many_now(id.as_ref(), "another credential is being looked at", actions);
            return;
        }
        let ticket = self.ticket();
        self.rare().refresh = Some(Refresh { ticket, id });
        actions.push(Action::Verify { ticket, token: Secret::new(token), device: None });
    }

    pub(super) fn on_verified(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<Identity, Refusal>,
        actions: &mut Actions,
    ) {
        match std::mem::replace(&mut self.state, State::Closing) {
            State::Verifying(verifying) if verifying.ticket == ticket => {
                self.on_first_verified(now, *verifying, result, actions);
            }
            state => {
                self.state = state;
                let refresh = self.rare.as_mut().and_then(|rare| rare.refresh.take_if(|one| one.ticket == ticket));
                if let Some(refresh) = refresh {
                    self.on_refresh_verified(refresh, result, actions);
                }
            }
        }
    }

    fn on_first_verified(
        &mut self,
        now: Now,
        verifying: Verifying,
        result: Result<Identity, Refusal>,
        actions: &mut Actions,
    ) {
        let Verifying { id, device, since, user, deadline_ms, .. } = verifying;
        match result {
            Ok(identity) if identity.is_expired(now.unix_ms) => self.refuse_first(id, Refusal::Expired, actions),
            Ok(mut identity) => {
                let claimed = user.is_none_or(|claimed| *claimed == *identity.user);
                if !(claimed && self.may_join_url_rooms(&identity)) {
                    self.close(Close::Policy, actions);
                    return;
                }
                identity.device = identity.device.or(device);
                self.bind(now, identity, id, since, actions);
            }
            Err(Refusal::Unavailable) if self.dialect == Dialect::Json => {
                self.state = State::Pending { deadline_ms };
                self.error(id.as_ref(), ErrorCode::Unavailable, "credentials cannot be checked now", actions);
                self.release(now, actions);
            }
            Err(refusal) => self.refuse_first(id, refusal, actions),
        }
    }

    fn refuse_first(&mut self, id: Option<Id>, refusal: Refusal, actions: &mut Actions) {
        let (close, code) = match refusal {
            Refusal::Expired => (Close::Expired, ErrorCode::BadCredential),
            Refusal::Invalid | Refusal::UnknownKey => (Close::BadCredential, ErrorCode::BadCredential),
            Refusal::Forbidden => (Close::Policy, ErrorCode::Forbidden),
            Refusal::Unavailable => (Close::BusGone, ErrorCode::Unavailable),
        };
        self.error(id.as_ref(), code, &refusal.to_string(), actions);
        self.close(close, actions);
    }

    fn may_join_url_rooms(&self, identity: &Identity) -> bool {
        let rooms = self.rare.as_ref().map_or(&[][..], |rare| &rare.url_rooms);
        self.endpoint.join_callout || rooms.iter().all(|room| identity.rooms.allow(room))
    }

    /// The connection is somebody's. `id` is that of the `auth` that did it.
    pub(super) fn bind(
        &mut self,
        now: Now,
        identity: Identity,
        id: Option<Id>,
        since: Option<Position>,
        actions: &mut Actions,
    ) {
        let identity = Arc::new(identity);
        self.identity = Some(identity.clone());
        let (resume, answer_by_ms) = (since.is_some(), now.ms + millis(ANSWER_WAIT));
        self.state = State::Binding(Box::new(Binding { id, resume, answer_by_ms }));
        actions.push(Action::Bind { identity, since });
    }

    pub(super) fn on_bound(&mut self, now: Now, result: Outcome<Start>, actions: &mut Actions) {
        let (State::Binding(binding), Some(identity)) = (&mut self.state, self.identity.clone()) else { return };
        let Ok(start) = result else { return self.close(Close::BusGone, actions) };
        let (id, start) = (binding.id.take(), for_client(start, binding.resume));
        self.state = State::Open;
        let welcome = json::Welcome {
            id: id.as_ref().and_then(Id::as_json),
            connection: self.connection,
            user: &identity.user,
            node: self.connection.node(),
            heartbeat: self.endpoint.limits.heartbeat,
            expires: identity.expires,
            device: identity.device.as_deref(),
            start: &start,
        };
        self.tell(|| json::welcome(&welcome), actions);
        self.stomp_connected(now, &start, actions);
        let url_rooms = self.rare.as_mut().map(|rare| {
            rare.device = None;
            rare.since = None;
            rare.handshake = None;
            std::mem::take(&mut rare.url_rooms)
        });
        for room in url_rooms.unwrap_or_default() {
            self.start_join(room, None, false, Vec::new(), actions);
        }
        self.release(now, actions);
        self.run_frames(now, actions);
    }

    fn on_refresh_verified(&mut self, refresh: Refresh, result: Result<Identity, Refusal>, actions: &mut Actions) {
        let Some(current) = self.identity.clone() else { return };
        let id = refresh.id.as_ref();
        let mut identity = match result {
            Ok(identity) if identity.user == current.user => identity,
            Ok(_) => {
                return self.refuse_refresh(id, ErrorCode::BadCredential, "the credential is another user's", actions);
            }
            Err(refusal) => {
                let code = match refusal {
                    Refusal::Invalid | Refusal::Expired | Refusal::UnknownKey => ErrorCode::BadCredential,
                    Refusal::Forbidden => ErrorCode::Forbidden,
                    Refusal::Unavailable => ErrorCode::Unavailable,
                };
                return self.refuse_refresh(id, code, &refusal.to_string(), actions);
            }
        };
        // A connection keeps its name; only a claim can give it another.
        identity.device = identity.device.or_else(|| current.device.clone());
        let identity = Arc::new(identity);
        self.identity = Some(identity.clone());
        self.unsigned = false;
        actions.push(Action::Rebind(identity.clone()));
        // Where a callout decides, it has decided about the rooms the connection is in.
        if !self.endpoint.join_callout {
            self.leave_forbidden(&identity, actions);
        }
        if let Some(id) = id.and_then(Id::as_json) {
            self.tell(|| json::ok_refreshed(id, identity.expires), actions);
        }
        self.receipt(id.and_then(Id::as_receipt), actions);
    }

    fn refuse_refresh(&mut self, id: Option<&Id>, code: ErrorCode, message: &str, actions: &mut Actions) {
        self.error(id, code, message, actions);
        if self.dialect == Dialect::Stomp {
            self.close(Close::BadCredential, actions);
        }
    }

    /// Leaves rooms that the new credential does not allow, and gives up joins that are under way.
    fn leave_forbidden(&mut self, identity: &Identity, actions: &mut Actions) {
        for room in self.rooms.remove_forbidden(|room| identity.rooms.allow(room)) {
            self.forget_room(&room);
            actions.push(Action::Leave { room: room.clone() });
            self.tell(|| json::left(&room), actions);
        }
        let Some(rare) = &mut self.rare else { return };
        // A room that stays by a domain service's word may be between two memberships: that join goes on.
        let is_forbidden =
            |join: &mut PendingJoin| !identity.rooms.allow(&join.room) && !self.rooms.contains(&join.room);
        let given_up: Vec<PendingJoin> = rare.joins.extract_if(.., is_forbidden).collect();
        for asked in given_up.iter().flat_map(|join| &join.asked) {
            self.error(asked.id.as_ref(), ErrorCode::Forbidden, "the credential does not allow this room", actions);
        }
    }
}

/// What a client is told of where kept messages begin: whether they were recovered if it asked, and only then.
pub(super) fn for_client(start: Start, resume: bool) -> Start {
    let recovery = resume.then(|| start.recovery.unwrap_or(Recovery::Lost { first: None }));
    Start { recovery, ..start }
}
