//! Joins and binds that wait until every live router knows of them: only then may the client be told.

use std::sync::Arc;

use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::wire::Cause;

use super::core::{Hub, ROUTERS_MS};
use super::edge::Edge;
use super::roster::{Kind, Known};
use crate::clock::Now;
use crate::link::{ConnRef, JoinFor, ToShard};
use crate::session::Failure;

/// Who waits for the routers to know of it.
#[derive(Debug)]
pub(super) struct Waiter {
    what: Waiting,
    deadline_ms: u64,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Bind { conn: ConnRef, id: ConnectionId, user: Arc<str> },
    Join { conn: ConnRef, on_behalf: JoinFor, room: Arc<str> },
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
                Self::admit(edge, waiter);
            }
            Known::With(seq) => self.waiting.entry(seq).or_default().push(waiter),
            Known::WithNext => self.waiting_next.push(waiter),
        }
    }

    fn admit(edge: &mut dyn Edge, waiter: Waiter) {
        match waiter.what {
            Waiting::Bind { conn, id, user } => {
                edge.to_shard(conn.shard, ToShard::Bound { conn, id, user, result: Ok(()) });
            }
            Waiting::Join { conn, on_behalf, room } => {
                edge.to_shard(conn.shard, ToShard::Joined { conn, on_behalf, room, result: Ok(()) });
            }
        }
    }

    fn refuse(&mut self, now: Now, edge: &mut dyn Edge, waiter: Waiter, failure: Failure) {
        match waiter.what {
            Waiting::Bind { conn, id, user } => {
                self.roster.exit(now, Kind::User, &user, conn.shard, Cause::Close);
                self.roster.unclaim(now, &user, id);
                edge.to_shard(conn.shard, ToShard::Bound { conn, id, user, result: Err(failure) });
            }
            Waiting::Join { conn, on_behalf, room } => {
                self.roster.exit(now, Kind::Room, &room, conn.shard, Cause::Close);
                edge.to_shard(conn.shard, ToShard::Joined { conn, on_behalf, room, result: Err(failure) });
            }
        }
    }

    /// Answers those whose batch every live router has applied.
    pub(super) fn release_waiters(&mut self, now: Now, edge: &mut dyn Edge) {
        let Some(acked) = self.routers.acked_by_all(now.ms) else { return };
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= acked
        {
            for waiter in entry.remove() {
                Self::admit(edge, waiter);
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
