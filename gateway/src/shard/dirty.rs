//! Connections with something to write: each is written once, at the end of the turn.

use std::sync::Arc;

use super::Shard;
use super::table::CLEAN;
use crate::clock::Now;
use crate::session::{Event, GapScope};
use crate::socket::{OWN_STREAM, Socket};

impl<S: Socket> Shard<S> {
    pub(super) fn mark_dirty(&mut self, index: u32) {
        if let Some(connection) = self.table.get_mut(index)
            && connection.dirty == CLEAN
        {
            connection.dirty = self.turn.add_dirty(index);
        }
    }

    pub(super) fn forget_dirty(&mut self, index: u32) {
        if let Some(connection) = self.table.get_mut(index)
            && connection.dirty != CLEAN
        {
            self.turn.forget_dirty(connection.dirty);
            connection.dirty = CLEAN;
        }
    }

    /// Tells sessions of messages that "drop oldest" took, and writes every dirty socket once.
    pub(super) fn flush_dirty(&mut self, now: Now) {
        let mut next = 0;
        while let Some(index) = self.turn.dirty(next) {
            let place = next;
            next += 1;
            let Some(index) = index else { continue };
            let Some(connection) = self.table.get_mut(index) else { continue };
            let (gaps, behind) = (connection.socket.take_gaps(), connection.socket.take_behind());
            for scope in gaps {
                self.tell_gap(now, index, scope);
            }
            for (scope, seq) in behind {
                self.fall_behind(index, scope, seq.get());
            }
            let Some(connection) = self.table.get_mut(index) else { continue };
            connection.dirty = CLEAN;
            let passed = connection.socket.flush(now);
            self.turn.set_passed(place, passed, connection.socket.take_withdrawn());
            let lagging = connection.lagging;
            if connection.gap_queued > 0 && passed >= connection.gap_queued {
                connection.gap_queued = 0;
                self.feed(now, index, Event::GapsWritten);
            }
            if lagging {
                self.catch_up_if_drained(index);
            }
        }
    }

    fn tell_gap(&mut self, now: Now, index: u32, scope: u32) {
        let scope = if scope == OWN_STREAM {
            GapScope::Own
        } else {
            match self.table.rooms.name_if_there(scope) {
                Some(room) => GapScope::Room(Arc::clone(room)),
                None => return,
            }
        };
        self.feed(now, index, Event::Gap { scope });
    }
}
