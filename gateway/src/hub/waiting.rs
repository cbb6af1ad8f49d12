//! Joins and binds that wait until every live router knows of them: only then may the client be told.

use std::sync::Arc;

use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::Cause;

use super::core::{Hub, ROUTERS_MS};
use super::edge::Edge;
use super::kept::Resumer;
use super::roster::{Kind, Known};
use super::sessions::hosted;
use crate::clock::Now;
use crate::link::{ConnRef, Granted, JoinFor, ToShard};
use crate::session::Failure;

/// Who waits for the routers to know of it.
#[derive(Debug)]
pub(super) struct Waiter {
    what: Waiting,
    deadline_ms: u64,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Bind { conn: ConnRef, id: ConnectionId, user: Arc<str>, since: Option<Position> },
    Join { conn: ConnRef, on_behalf: JoinFor, room: Arc<str>, since: Option<Position> },
    Host { conn: ConnRef, session: Arc<str> },
}

impl Hub {
    pub(super) fn wait(&mut self, now: Now, edge: &mut dyn Edge, known: Known, what: Waiting) {
        let waiter = Waiter { what, deadline_ms: now.ms + ROUTERS_MS };
        if !self.connected {
            self.refuse(now, edge, waiter, Failure::BusUnavailable);
            return;
        }
        match known {
            Known::With(seq) if self.routers.acked_by_all(now.ms).is_some_and(|acked| acked >= seq) => {
                self.admit(now, edge, waiter);
            }
            Known::With(seq) => self.waiting.entry(seq).or_default().push(waiter),
            Known::WithNext => self.waiting_next.push(waiter),
        }
    }

    /// Lets somebody in: at once, or once they have what they missed of kept messages.
    fn admit(&mut self, now: Now, edge: &mut dyn Edge, waiter: Waiter) {
        let (target, since) = match &waiter.what {
            Waiting::Bind { user, since, .. } => ((Kind::User, Arc::clone(user)), since.clone()),
            Waiting::Join { room, since, .. } => ((Kind::Room, Arc::clone(room)), since.clone()),
            Waiting::Host { conn, .. } => {
                return edge.to_shard(conn.shard, hosted(*conn, true));
            }
        };
        self.place_first(&target);
        let start = match since.filter(|_| self.kept.is_on()) {
            None => Start { position: self.place_now(now, &target), recovery: None },
            Some(since) if self.has_all_since(now, &target, &since) => {
                Start { position: self.place_now(now, &target), recovery: Some(Recovery::Whole) }
            }
            Some(asked) => {
                let since = u64::MAX;
                let resumer = match waiter.what {
                    Waiting::Bind { conn, id, user, .. } => Resumer::Bind { conn, id, user, since, asked },
                    Waiting::Join { conn, on_behalf, room, .. } => {
                        Resumer::Join { conn, on_behalf, room, since, asked }
                    }
                    Waiting::Host { .. } => return,
                };
                self.catch_up_anew(now, edge, &target, resumer);
                return;
            }
        };
        let result = Ok(Granted { start, ..Granted::default() });
        match waiter.what {
            Waiting::Bind { conn, id, user, .. } => {
                edge.to_shard(conn.shard, ToShard::Bound { conn, id, user, result });
            }
            Waiting::Join { conn, on_behalf, room, .. } => {
                edge.to_shard(conn.shard, ToShard::Joined { conn, on_behalf, room, result });
            }
            Waiting::Host { .. } => {}
        }
    }

    fn refuse(&mut self, now: Now, edge: &mut dyn Edge, waiter: Waiter, failure: Failure) {
        match waiter.what {
            Waiting::Bind { conn, id, user, .. } => self.refuse_bind(now, edge, conn, id, user, failure),
            Waiting::Join { conn, on_behalf, room, .. } => self.refuse_join(now, edge, conn, on_behalf, room, failure),
            Waiting::Host { conn, session } => self.refuse_host(now, edge, conn, &session),
        }
    }

    pub(super) fn refuse_bind(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        conn: ConnRef,
        id: ConnectionId,
        user: Arc<str>,
        failure: Failure,
    ) {
        self.roster.exit(now, Kind::User, &user, conn.shard, Cause::Close);
        self.roster.unclaim(now, &user, id);
        edge.to_shard(conn.shard, ToShard::Bound { conn, id, user, result: Err(failure) });
    }

    pub(super) fn refuse_join(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        conn: ConnRef,
        on_behalf: JoinFor,
        room: Arc<str>,
        failure: Failure,
    ) {
        self.roster.exit(now, Kind::Room, &room, conn.shard, Cause::Close);
        edge.to_shard(conn.shard, ToShard::Joined { conn, on_behalf, room, result: Err(failure) });
    }

    /// Answers those whose batch every live router has applied.
    pub(super) fn release_waiters(&mut self, now: Now, edge: &mut dyn Edge) {
        let Some(acked) = self.routers.acked_by_all(now.ms) else { return };
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= acked
        {
            for waiter in entry.remove() {
                self.admit(now, edge, waiter);
            }
        }
    }

    pub(super) fn refuse_late(&mut self, now: Now, edge: &mut dyn Edge) {
        let late = |waiter: &mut Waiter| waiter.deadline_ms <= now.ms;
        let mut refused: Vec<Waiter> = self.waiting_next.extract_if(.., late).collect();
        for waiters in self.waiting.values_mut() {
            refused.extend(waiters.extract_if(.., late));
        }
        self.waiting.retain(|_, waiters| !waiters.is_empty());
        for waiter in refused {
            self.cells.roster_wait_timeouts.add(1);
            self.refuse(now, edge, waiter, Failure::Unavailable);
        }
    }

    pub(super) fn refuse_all(&mut self, now: Now, edge: &mut dyn Edge, failure: &Failure) {
        let mut refused = std::mem::take(&mut self.waiting_next);
        refused.extend(std::mem::take(&mut self.waiting).into_values().flatten());
        for waiter in refused {
            self.refuse(now, edge, waiter, failure.clone());
        }
    }
}
