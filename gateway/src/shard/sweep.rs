//! What time brings to connections: a sweep that visits each once a second, so that none needs a timer.

use super::Shard;
use crate::clock::Now;
use crate::handshake::WhenFull;
use crate::link::Key;
use crate::session::Event;
use crate::socket::Socket;

/// How old connections may become, so that a fleet that has grown evens out, and none lives on old settings for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Milliseconds.
    pub max_ms: u64,
    /// Each connection's own bound is up to this much higher, milliseconds.
    pub jitter_ms: u64,
}

impl<S: Socket> Shard<S> {
    /// What time brings: paced closes, and a slice of the sweep that visits each connection once a second. Called
    /// about every 50 ms; followed by [`Self::finish_turn`].
    pub fn tick(&mut self, now: Now) {
        self.wall_offset_ms = now.unix_ms.saturating_sub(now.ms);
        self.tick_drain(now);
        self.acks.expire(now);
        let elapsed = now.ms.saturating_sub(self.swept_ms).min(1000);
        if elapsed == 0 {
            return;
        }
        self.swept_ms = now.ms;
        let slots = self.highest_slot();
        if slots == 0 {
            self.cells.outbox_bytes.set(self.relief.begin_pass());
        }
        let count = slots.saturating_mul(usize::try_from(elapsed).unwrap_or(1000)).div_ceil(1000);
        for _ in 0..count.min(slots) {
            if self.sweep_next >= slots {
                self.sweep_next = 0;
                self.cells.outbox_bytes.set(self.relief.begin_pass());
            }
            let index = u32::try_from(self.sweep_next).unwrap_or(0);
            self.sweep_next += 1;
            self.visit(now, index);
        }
    }

    pub(super) fn highest_slot(&self) -> usize {
        // The slab keeps its slots; only those ever used can be taken.
        self.table.connections.iter().next_back().map_or(0, |(index, _)| index + 1)
    }

    fn visit(&mut self, now: Now, index: u32) {
        let Some(connection) = self.table.get_mut(index) else { return };
        let verdict = connection.socket.tick(now);
        // Where the oldest give way, the tick may have dropped some and left nothing but a gap to tell.
        let queued = connection.socket.queued_bytes();
        if queued > 0 {
            self.relief.note(Key { index, generation: connection.generation }, queued);
        }
        let drops = connection.session.endpoint().outbox.when_full == WhenFull::DropOldest;
        if drops || queued > 0 {
            self.mark_dirty(index);
        } else if std::mem::take(&mut connection.gap_queued) > 0 {
            self.feed(now, index, Event::GapsWritten);
        }
        if self.is_over_age(now, index) {
            self.retire(now, index);
        }
        match verdict {
            Some(close) => self.feed(now, index, Event::Close(close)),
            None => self.feed(now, index, Event::Tick),
        }
        self.catch_up_if_drained(index);
    }

    /// Whether a connection has lived for as long as it may, by its own draw of the jitter.
    fn is_over_age(&self, now: Now, index: u32) -> bool {
        let (Some(age), Some(connection)) = (self.settings.age, self.table.get(index)) else { return false };
        let id = connection.id();
        let random = id.random();
        let draw = u64::from(u16::from_le_bytes([random[0], random[1]]));
        let max_ms = age.max_ms + age.jitter_ms * draw / 65_535;
        !connection.closing && now.ms.saturating_sub(connection.since_ms) > max_ms
    }
}
