//! Kept messages that a connection missed: written to it alone, before anything live.
//!
//! While a connection is paused, kept messages are noted rather than dropped; on resume the hub is asked for what was
//! missed, and live copies wait for its answer, so that the order holds. The same where a client is too slow: what is
//! kept gives way in its queue without being lost, and is read from the stream again once the queue has emptied.

use std::num::NonZeroU64;
use std::sync::Arc;

use holdfast_protocol::position::Recovery;
use holdfast_protocol::wire::{Kept, Target};

use super::Shard;
use super::fanout::{conflation_key, passes};
use super::frames::{Copies, Met, Terms};
use super::table::Binding;
use crate::clock::Now;
use crate::link::{ConnRef, Granted, Replay, ToHub};
use crate::metrics::{Drop as DropReason, Reach};
use crate::session::{Event, GapScope, HistoryPage, Outcome, Ticket};
use crate::socket::{OWN_STREAM, Pushed, Socket};

/// A stream in which a connection is behind.
#[derive(Debug)]
pub(super) struct Lag {
    /// The room; `None` is the user's own stream.
    room: Option<Arc<str>>,
    /// The last sequence that the connection has.
    since: u64,
    /// The hub was asked.
    asked: bool,
}

impl<S: Socket> Shard<S> {
    /// Whether a kept copy must not go out now: it is noted, and will be replayed. The connection is paused, or behind.
    pub(super) fn lags(&mut self, index: u32, scope: u32, kept: &Kept) -> bool {
        let Some(connection) = self.table.get_mut(index) else { return false };
        let holds = scope == OWN_STREAM && connection.session.holds_own();
        let paused = holds || connection.session.is_paused();
        if !paused && !connection.lagging {
            return false;
        }
        let room = self.table.rooms.name_if_there(scope).cloned();
        let lags = self.lags.entry(index).or_default();
        let behind = lags.iter().any(|lag| lag.room == room);
        if paused && !behind {
            lags.push(Lag { room, since: kept.seq.saturating_sub(1), asked: false });
            if let Some(connection) = self.table.get_mut(index) {
                connection.lagging = true;
            }
        }
        paused || behind
    }

    /// Kept messages from this position on are not in the queue, and will be asked for once it is empty.
    pub(super) fn fall_behind(&mut self, index: u32, scope: u32, from: u64) {
        let room = self.table.rooms.name_if_there(scope).cloned();
        if scope != OWN_STREAM && room.is_none() {
            return;
        }
        let Some(connection) = self.table.get_mut(index) else { return };
        connection.lagging = true;
        let (lags, since) = (self.lags.entry(index).or_default(), from.saturating_sub(1));
        match lags.iter_mut().find(|lag| lag.room == room) {
            // What had fitted of the past gave way as well.
            Some(lag) if since < lag.since => (lag.since, lag.asked) = (since, false),
            Some(_) => {}
            None => {
                lags.push(Lag { room, since, asked: false });
                self.cells.kept_behind.add(1);
            }
        }
    }

    /// Asks for what a connection is behind, if it takes messages and has taken all that waited for it.
    pub(super) fn catch_up_if_drained(&mut self, index: u32) {
        let is_drained = self.table.get(index).is_some_and(|connection| {
            connection.lagging && !connection.session.is_paused() && connection.socket.queued_bytes() == 0
        });
        if is_drained {
            self.ask_for_missed(index);
        }
    }

    /// Asks for what it missed.
    fn ask_for_missed(&mut self, index: u32) {
        let (Some(conn), Some(user)) = (self.conn(index), self.user_name(index)) else { return };
        let holds = self.table.get(index).is_some_and(|connection| connection.session.holds_own());
        let ready = |lag: &&mut Lag| !(lag.asked || holds && lag.room.is_none());
        for lag in self.lags.get_mut(&index).into_iter().flatten().filter(ready) {
            lag.asked = true;
            let (room, user, since) = (lag.room.clone(), Arc::clone(&user), lag.since);
            self.to_hub.push(ToHub::Replay { conn, room, user, since });
        }
    }

    fn user_name(&self, index: u32) -> Option<Arc<str>> {
        match self.table.get(index)?.binding {
            Binding::Bound { user, .. } => Some(Arc::clone(self.table.users.name(user))),
            Binding::None | Binding::Asked => None,
        }
    }

    /// Forgets where a connection is behind: in one room, or everywhere.
    pub(super) fn forget_lag(&mut self, index: u32, room: Option<&str>) {
        match room {
            Some(room) => {
                if let Some(lags) = self.lags.get_mut(&index) {
                    lags.retain(|lag| lag.room.as_deref() != Some(room));
                }
            }
            None => drop(self.lags.remove(&index)),
        }
        if self.lags.get(&index).is_none_or(Vec::is_empty) {
            self.lags.remove(&index);
            if let Some(connection) = self.table.get_mut(index) {
                connection.lagging = false;
            }
        }
    }

    /// What a connection missed while it was paused, behind the sequence that it said it had.
    pub(super) fn replayed(
        &mut self,
        now: Now,
        conn: ConnRef,
        (room, since): (Option<Arc<str>>, u64),
        result: Outcome<Granted>,
    ) {
        let Some(index) = self.table.slot(conn.key) else { return };
        // Who left the room and came back may be behind anew, and an answer from before then is not its answer.
        let is_answered = |lag: &&mut Lag| lag.asked && lag.room == room && lag.since == since;
        let Some(lag) = self.lags.get_mut(&index).and_then(|lags| lags.iter_mut().find(is_answered)) else { return };
        if self.table.get(index).is_some_and(|connection| connection.session.is_paused()) {
            // Paused again meanwhile: the next resume asks again.
            lag.asked = false;
            return;
        }
        match &room {
            Some(room) => self.forget_lag(index, Some(room)),
            None => self.forget_own_lag(index),
        }
        let scope = room.as_ref().map_or(Some(OWN_STREAM), |room| self.table.rooms.find(room));
        match result {
            Ok(Granted { start, replay, .. }) if start.recovery == Some(Recovery::Whole) => {
                if let Some(scope) = scope {
                    self.replay(now, index, scope, &replay);
                }
            }
            Ok(_) | Err(_) => {
                let scope = room.map_or(GapScope::Own, GapScope::Room);
                self.feed(now, index, Event::KeptGap { scope });
            }
        }
    }

    /// What a connection missed of its user's messages is there: it goes out now, or when the client listens.
    pub(super) fn replay_own(&mut self, now: Now, index: u32, replay: &Replay) {
        if self.table.get(index).is_some_and(|connection| connection.session.holds_own()) {
            let first = replay.messages.get(replay.skip).and_then(|shared| shared.delivery.kept.as_ref());
            if let Some(first) = first {
                self.fall_behind(index, OWN_STREAM, first.seq);
            }
            return;
        }
        self.replay(now, index, OWN_STREAM, replay);
    }

    fn forget_own_lag(&mut self, index: u32) {
        if let Some(lags) = self.lags.get_mut(&index) {
            lags.retain(|lag| lag.room.is_some());
        }
        // Drops the list where that was the last.
        self.forget_lag(index, Some(""));
    }

    /// Writes kept messages to one connection, as far as its filters, their time and its queue let them.
    pub(super) fn replay(&mut self, now: Now, index: u32, scope: u32, replay: &Replay) {
        for shared in replay.messages.get(replay.skip..).unwrap_or_default() {
            let delivery = &shared.delivery;
            if delivery.expires_ms.is_some_and(|expires_ms| expires_ms < now.unix_ms) {
                self.count_drop(DropReason::Expired);
                continue;
            }
            let Some(connection) = self.table.get_mut(index) else { return };
            if connection.closing || !passes(delivery, &connection.session, connection.id()) {
                continue;
            }
            let key = delivery.key.as_ref().map(|key| conflation_key(key));
            let kept = delivery.kept.as_ref().and_then(|kept| NonZeroU64::new(kept.seq));
            let terms = Terms { scope, expires_ms: delivery.expires_ms, key, kept };
            let (framing, mut met) = (connection.socket.framing(), Met::none(delivery, 0));
            let copies = Copies::of(shared, 0, &connection.session, framing, &mut met);
            if let Some(seq) = kept
                && !connection.socket.has_room(now, copies.bytes())
            {
                // The rest comes when the client has read what is there.
                self.mark_dirty(index);
                self.fall_behind(index, scope, seq.get());
                return;
            }
            let pushed = copies.push(now, &mut connection.socket, terms);
            self.mark_dirty(index);
            let reach = if scope == OWN_STREAM { Reach::User } else { Reach::Room };
            match pushed {
                Pushed::Queued(_) => self.cells.deliveries[reach as usize].add(1),
                Pushed::Dropped => {}
                Pushed::Overflow => {
                    // It resumes from what it got.
                    self.count_drop(DropReason::Overflow);
                    self.overflow(now, index);
                    return;
                }
            }
        }
    }

    /// A page of the past for one connection: what it would have got as a member, and what still has its time.
    pub(super) fn history(&mut self, now: Now, conn: ConnRef, ticket: Ticket, result: Outcome<HistoryPage>) {
        let Some(index) = self.table.slot(conn.key) else { return };
        let Some(connection) = self.table.get(index) else { return };
        let result = result.map(|mut page| {
            page.messages.retain(|delivery| {
                delivery.expires_ms.is_none_or(|expires_ms| expires_ms >= now.unix_ms)
                    && passes(delivery, &connection.session, connection.id())
            });
            page
        });
        self.feed(now, index, Event::History { ticket, result });
    }

    /// Kept messages of a target are lost: those who are here are told.
    pub(super) fn tell_kept_gap(&mut self, now: Now, target: &Target) {
        let (members, scope) = match target {
            Target::User(user) => {
                (self.table.users.find(user).map(|user| self.table.users.members(user).to_vec()), GapScope::Own)
            }
            Target::Room(room) => {
                let name: Arc<str> = room.as_str().into();
                let members = self.table.rooms.find(room).map(|room| self.table.rooms.members(room).to_vec());
                (members, GapScope::Room(name))
            }
            Target::All => {
                self.feed_all(
                    now,
                    |binding| matches!(binding, Binding::Bound { .. }),
                    || Event::KeptGap { scope: GapScope::All },
                );
                return;
            }
            Target::Connection(_) => return,
        };
        for member in members.unwrap_or_default() {
            self.feed(now, member.connection, Event::KeptGap { scope: scope.clone() });
        }
    }
}
