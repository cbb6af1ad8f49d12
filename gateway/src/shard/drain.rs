//! Closing many connections without a stampede: each is told when to come back, and closed at its own time.
//!
//! Who is to go waits in line until its slot is near enough to be told; from then on the slot is fixed, as the earliest
//! moment: where the fleet turns out to have less to spare than thought, closes come later, never sooner. The pace is
//! the hub's, which knows the fleet; a client that never answers its close holds nobody else's slot.

use std::collections::VecDeque;

use hashbrown::HashSet;
use holdfast_protocol::close::Close;
use rustc_hash::FxBuildHasher;

use super::Shard;
use super::table::{Binding, Connection};
use crate::clock::Now;
use crate::link::{Key, ToHub};
use crate::session::Event;
use crate::socket::Socket;

/// Nobody is closed sooner after being told, where the window lets them be.
const NOTICE_MS_MAX: u64 = 1000;
/// How far ahead slots are fixed where no window says.
const HORIZON_MS: u64 = 10_000;
/// Connections told in one tick: a bound on its work.
const TOLD_PER_TICK_MAX: usize = 4096;
/// Closes that may come together where slots lie closer than ticks.
const BURST_US: u64 = 200_000;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// All that are to go, told or not, and not closing yet.
    listed: HashSet<Key, FxBuildHasher>,
    /// Not told yet, and the reason they will be told.
    untold: VecDeque<(Key, &'static str)>,
    /// Told, and when each is closed, in this order. May hold some that left by themselves.
    told: VecDeque<(u64, Key)>,
    /// Where the next slot begins, monotonic microseconds.
    cursor_us: u64,
    /// When the last slot is to end, if the fleet can take them.
    until_ms: u64,
    /// How far ahead slots are fixed.
    horizon_ms: u64,
    /// From being told to the first slot.
    notice_ms: u64,
    /// Closes per second in thousandths that the fleet can take from this shard.
    rate_milli: Option<u64>,
    /// When the next close may come by that, monotonic microseconds.
    gate_us: u64,
    /// All connections are to go, those that come too.
    all: bool,
    /// The hub waits for the end.
    reporting: bool,
}

impl Drain {
    /// A connection that came while all are to go has the last slot.
    pub(super) fn admit(&mut self, key: Key) {
        if self.all {
            self.list(key, "drain");
        }
    }

    fn list(&mut self, key: Key, reason: &'static str) {
        if self.listed.insert(key) {
            self.untold.push_back((key, reason));
        }
    }

    /// A connection has gone, or begins to.
    pub(super) fn forget(&mut self, key: Key) {
        if self.listed.is_empty() || !self.listed.remove(&key) {
            return;
        }
        // Many left by themselves: their places in the queues go, at a cost that those who left have paid for.
        if self.listed.len() * 2 + 16 < self.untold.len() + self.told.len() {
            self.untold.retain(|(key, _)| self.listed.contains(key));
            self.told.retain(|(_, key)| self.listed.contains(key));
        }
    }

    /// Whether this was the end the hub waits for; true once.
    pub(super) fn is_over(&mut self, empty: bool) -> bool {
        empty && std::mem::take(&mut self.reporting)
    }

    /// Sets the bounds of what was listed.
    fn begin(&mut self, now: Now, window_ms: u64, rate_milli: Option<u64>) {
        self.until_ms = self.until_ms.max(now.ms + window_ms);
        self.horizon_ms = window_ms;
        self.notice_ms = NOTICE_MS_MAX.min(window_ms / 10);
        self.rate_milli = rate_milli;
    }

    fn slow_interval_us(&self) -> u64 {
        self.rate_milli.map_or(0, |rate_milli| 1_000_000_000 / rate_milli.max(1))
    }

    /// The next to be told and its slot, if that is near enough. `jitter` is 0–65535, for the place within the slot.
    fn next_slot(&mut self, now: Now, jitter: u16) -> Option<(Key, &'static str, u64)> {
        let soonest_us = (now.ms + self.notice_ms) * 1000;
        let start_us = self.cursor_us.max(soonest_us);
        if start_us > (now.ms + self.horizon_ms) * 1000 {
            return None;
        }
        while let Some((key, _)) = self.untold.front()
            && !self.listed.contains(key)
        {
            self.untold.pop_front();
        }
        let waiting = self.untold.len() as u64;
        let (key, reason) = self.untold.pop_front()?;
        let even_us = (self.until_ms * 1000).saturating_sub(start_us) / waiting.max(1);
        let interval_us = even_us.max(self.slow_interval_us());
        self.cursor_us = start_us + interval_us;
        let slot_ms = (start_us + interval_us * u64::from(jitter) / 65_536) / 1000;
        self.told.push_back((slot_ms, key));
        Some((key, reason, slot_ms))
    }

    /// The next whose time has come, as far as the fleet can take one more.
    fn next_due(&mut self, now: Now) -> Option<Key> {
        loop {
            let (due_ms, key) = self.told.front().copied()?;
            // Of one that has left by itself nobody waits for the slot: what was told since may lie before it.
            if !self.listed.contains(&key) {
                self.told.pop_front();
                continue;
            }
            if due_ms > now.ms {
                return None;
            }
            let now_us = now.ms * 1000;
            if self.rate_milli.is_some() && self.gate_us > now_us + BURST_US {
                return None;
            }
            self.gate_us = self.gate_us.max(now_us) + self.slow_interval_us();
            self.told.pop_front();
            self.listed.remove(&key);
            return Some(key);
        }
    }
}

impl<S: Socket> Shard<S> {
    /// Sends all connections away over the window, and reports when the last has gone.
    pub(super) fn start_drain(&mut self, now: Now, window_ms: u64, rate_milli: Option<u64>) {
        (self.drain.all, self.drain.reporting) = (true, true);
        self.send_away(now, usize::MAX, "drain", |_| true);
        self.drain.begin(now, window_ms, rate_milli);
        self.tick_drain(now);
        self.report_if_empty();
    }

    /// Sends so many of the bound connections away over the window.
    pub(super) fn shed(&mut self, now: Now, count: u64, window_ms: u64, rate_milli: Option<u64>) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.send_away(now, count, "shed", |binding| matches!(binding, Binding::Bound { .. }));
        self.drain.begin(now, window_ms, rate_milli);
        self.tick_drain(now);
    }

    /// How fast those who are told from now on may go.
    pub(super) fn pace(&mut self, rate_milli: Option<u64>) {
        self.drain.rate_milli = rate_milli;
    }

    /// Puts so many more in line. Those who are in it keep their place.
    fn send_away(&mut self, now: Now, count: usize, reason: &'static str, wanted: impl Fn(&Binding) -> bool) {
        let drain = &mut self.drain;
        let connections = self.table.connections.iter();
        let chosen = connections
            .filter(|(_, connection)| !connection.closing && wanted(&connection.binding))
            .filter_map(|(index, connection)| {
                Some(Key { index: u32::try_from(index).ok()?, generation: connection.generation })
            })
            .filter(|key| !drain.listed.contains(key))
            .take(count);
        // Listing as they are chosen would change what the filter reads.
        let chosen: Vec<Key> = chosen.collect();
        if self.drain.listed.is_empty() {
            (self.drain.cursor_us, self.drain.until_ms) = (now.ms * 1000, now.ms);
        }
        for key in chosen {
            self.drain.list(key, reason);
        }
    }

    /// Sends a connection away whose age is over its bound.
    pub(super) fn retire(&mut self, now: Now, index: u32) {
        let Some(key) = self.table.key(index) else { return };
        if self.drain.listed.is_empty() {
            // Its own jitter has spread the ages already.
            self.drain.until_ms = now.ms;
            (self.drain.horizon_ms, self.drain.notice_ms) = (HORIZON_MS, NOTICE_MS_MAX);
        }
        self.drain.list(key, "age");
    }

    /// Nobody goes any more. Who was told its slot is told anew when it is to go again.
    pub(super) fn stop_drain(&mut self, now: Now) {
        let Drain { listed, told, .. } = std::mem::take(&mut self.drain);
        for (_, key) in told.into_iter().filter(|(_, key)| listed.contains(key)) {
            self.feed(now, key.index, Event::Stay);
        }
    }

    pub(super) fn close_all(&mut self, now: Now, close: Close) {
        self.drain = Drain { all: true, reporting: true, ..Drain::default() };
        self.feed_all(now, |_| true, || Event::Close(close));
        self.report_if_empty();
    }

    pub(super) fn tick_drain(&mut self, now: Now) {
        if !self.drain.listed.is_empty() {
            for _ in 0..TOLD_PER_TICK_MAX {
                let jitter = self.jitter();
                let Some((key, reason, slot_ms)) = self.drain.next_slot(now, jitter) else { break };
                self.cells.goaways.add(1);
                self.feed(now, key.index, Event::GoAway { retry_after_ms: slot_ms.saturating_sub(now.ms), reason });
            }
            while let Some(key) = self.drain.next_due(now) {
                if let Some(index) = self.table.slot(key) {
                    self.feed(now, index, Event::Close(Close::Drain));
                }
            }
        }
        self.cells.leaving.set(self.drain.listed.len() as u64);
    }

    /// Where in its slot the next one to be told is closed.
    fn jitter(&mut self) -> u16 {
        let Some((key, _)) = self.drain.untold.front() else { return 0 };
        // The id's last bytes name the shard; any others are as good as a draw.
        let id = self.table.get(key.index).map(Connection::id);
        id.map_or(0, |id| u16::from_le_bytes([id.random()[2], id.random()[3]]))
    }

    fn report_if_empty(&mut self) {
        if self.drain.is_over(self.table.connections.is_empty()) {
            self.to_hub.push(ToHub::Empty { shard: self.settings.number });
        }
    }
}
