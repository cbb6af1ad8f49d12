//! Closing many connections without a stampede: each is told when to come back, and closed at its own time.

use std::collections::VecDeque;

use hashbrown::HashSet;
use holdfast_protocol::close::Close;
use rustc_hash::FxBuildHasher;

use super::Shard;
use super::table::Binding;
use crate::clock::Now;
use crate::link::{Key, ToHub};
use crate::session::Event;
use crate::socket::Socket;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Connections and when they are closed, in order.
    queue: VecDeque<(u64, Key)>,
    /// All connections are to go; until when.
    until_ms: Option<u64>,
    /// The hub waits for the end.
    reporting: bool,
}

impl Drain {
    /// A connection that came while all are to go has the last slot.
    pub(super) fn admit(&mut self, now: Now, key: Key) {
        if let Some(until_ms) = self.until_ms {
            self.queue.push_back((until_ms.max(now.ms), key));
        }
    }

    /// Whether this was the end the hub waits for; true once.
    pub(super) fn is_over(&mut self, _now: Now, empty: bool) -> bool {
        empty && std::mem::take(&mut self.reporting)
    }
}

impl<S: Socket> Shard<S> {
    /// Tells all connections to go, and closes them evenly over the window.
    pub(super) fn start_drain(&mut self, now: Now, window_ms: u64) {
        self.send_away(now, usize::MAX, window_ms, "drain", |_| true);
        self.drain.until_ms = Some(now.ms + window_ms);
        self.drain.reporting = true;
        self.report_if_empty(now);
    }

    /// Tells so many of the bound connections to go, and closes them evenly over the window.
    pub(super) fn shed(&mut self, now: Now, count: u64, window_ms: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.send_away(now, count, window_ms, "shed", |binding| matches!(binding, Binding::Bound { .. }));
    }

    /// Those who were told before keep their time.
    fn send_away(
        &mut self,
        now: Now,
        count: usize,
        window_ms: u64,
        reason: &'static str,
        wanted: impl Fn(&Binding) -> bool,
    ) {
        let told: HashSet<Key, FxBuildHasher> = self.drain.queue.iter().map(|(_, key)| *key).collect();
        let chosen: Vec<Key> = self
            .table
            .connections
            .iter()
            .filter(|(_, connection)| !connection.closing && wanted(&connection.binding))
            .filter_map(|(index, connection)| {
                Some(Key { index: u32::try_from(index).ok()?, generation: connection.generation })
            })
            .filter(|key| !told.contains(key))
            .take(count)
            .collect();
        let slots = chosen.len().max(1) as u64;
        for (place, key) in chosen.into_iter().enumerate() {
            let wait_ms = window_ms * place as u64 / slots;
            self.drain.queue.push_back((now.ms + wait_ms, key));
            self.feed(now, key.index, Event::GoAway { retry_after_ms: wait_ms, reason });
        }
        self.drain.queue.make_contiguous().sort_by_key(|(due_ms, _)| *due_ms);
    }

    pub(super) fn stop_drain(&mut self) {
        self.drain = Drain::default();
    }

    pub(super) fn close_all(&mut self, now: Now, close: Close) {
        self.drain = Drain { until_ms: Some(now.ms), reporting: true, ..Drain::default() };
        self.feed_all(now, |_| true, || Event::Close(close));
        self.report_if_empty(now);
    }

    pub(super) fn tick_drain(&mut self, now: Now) {
        while let Some((due_ms, key)) = self.drain.queue.front().copied()
            && due_ms <= now.ms
        {
            self.drain.queue.pop_front();
            if let Some(index) = self.table.slot(key) {
                self.feed(now, index, Event::Close(Close::Drain));
            }
        }
    }

    fn report_if_empty(&mut self, now: Now) {
        if self.drain.is_over(now, self.table.connections.is_empty()) {
            self.to_hub.push(ToHub::Empty { shard: self.settings.number });
        }
    }
}
