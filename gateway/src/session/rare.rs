//! State that few connections have at a time, behind one pointer.

use std::collections::VecDeque;
use std::sync::Arc;

use holdfast_protocol::position::Position;

use super::event::{GapScope, Ticket};
use super::held::Held;
use super::id::Id;
use super::{Session, State};
use crate::auth::Identity;

#[derive(Debug, Default)]
pub(super) struct Rare {
    /// `?device=`, until the connection is somebody's.
    pub(super) device: Option<Arc<str>>,
    /// `?since=`, until then.
    pub(super) since: Option<Position>,
    /// `?room=`, until then.
    pub(super) url_rooms: Vec<Arc<str>>,
    /// Who it is by the handshake, until CONNECT.
    pub(super) handshake: Option<Box<Identity>>,
    /// What the client sent ahead.
    pub(super) held: Held,
    /// A credential that would refresh the session.
    pub(super) refresh: Option<Refresh>,
    /// Joins that are not answered yet.
    pub(super) joins: Vec<PendingJoin>,
    /// Requests that are not answered yet.
    pub(super) requests: Vec<(Ticket, Option<Id>)>,
    /// Pages of history that are not answered yet.
    pub(super) histories: Vec<HistoryAsked>,
    /// Messages upstream that are not confirmed yet, oldest first: that is how they are confirmed.
    pub(super) publishes: VecDeque<(Ticket, Id)>,
    /// Where live messages were refused since the pause began; `None` is the user's own stream. Each once.
    pub(super) missed: Vec<Option<Arc<str>>>,
    /// Gaps that the client was told of and has not been sent yet. Each once.
    pub(super) gaps: Vec<GapScope>,
}

/// A refresh under way.
#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) ticket: Ticket,
    pub(super) id: Option<Id>,
}

/// A join under way.
#[derive(Debug)]
pub(super) struct PendingJoin {
    pub(super) ticket: Ticket,
    pub(super) room: Arc<str>,
    /// It is a member already, and this ends that membership.
    pub(super) rejoin: bool,
    /// Every `join` of the client that this one answers. Only the first may have said `since`.
    pub(super) asked: Vec<JoinAsked>,
}

/// One `join` message.
#[derive(Debug)]
pub(super) struct JoinAsked {
    pub(super) id: Option<Id>,
    /// Whether it said `since`.
    pub(super) since: bool,
}

/// One `history` message.
#[derive(Debug)]
pub(super) struct HistoryAsked {
    pub(super) ticket: Ticket,
    pub(super) id: Option<Id>,
    pub(super) room: Arc<str>,
    /// A callout decides about the room, not the credential.
    pub(super) callout: bool,
}

impl Rare {
    fn is_empty(&self) -> bool {
        let Self {
            device,
            since,
            url_rooms,
            handshake,
            held,
            refresh,
            joins,
            requests,
            histories,
            publishes,
            missed,
            gaps,
        } = self;
        device.is_none()
            && since.is_none()
            && url_rooms.is_empty()
            && handshake.is_none()
            && held.is_empty()
            && refresh.is_none()
            && joins.is_empty()
            && requests.is_empty()
            && histories.is_empty()
            && publishes.is_empty()
            && missed.is_empty()
            && gaps.is_empty()
    }
}

impl Session {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gives back what is empty.
    pub(super) fn tidy(&mut self) {
        if matches!(self.state, State::Closing) || self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }
}
