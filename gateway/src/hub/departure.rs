//! How fast connections may be sent away, so that the rest of the fleet can take them.
//!
//! Each node says in its beats how many handshakes per second it could take on top of its load, and what it sends away
//! itself; routers add that up and tell all nodes in their own beats. A node that sends connections away takes its share
//! of the sum, by how many it has left: nodes that drain together end together. It goes slower than its window asks
//! where the fleet has less to spare, but not so slow that the deadline would be missed. Pure: knows no shard and no
//! clock.

use holdfast_protocol::wire::{Capacity, Leaving};

use crate::clock::Now;

/// What routers said last counts for so long.
const CAPACITY_VALID_MS: u64 = 2000;
/// From telling the fleet of a drain to its first slot, so that nodes that start together know of each other.
const SETTLE_MS: u64 = 300;
/// However little the fleet has to spare, a node without a deadline goes on at this rate: a connection per second.
const RATE_MILLI_MIN: u64 = 1000;
/// Over how long handshakes are counted.
const COUNTED_MS: u64 = 2000;

/// Bounds of what a node sends away by order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// When the last is to be closed, if the fleet can take them.
    until_ms: u64,
    /// When it is to be closed at the latest.
    deadline_ms: u64,
}

/// How fast connections may go.
#[derive(Debug, Default)]
pub(super) struct Departure {
    /// What a router said last, and when.
    capacity: Option<(u64, Capacity)>,
    /// The fleet was told of a drain.
    announced_ms: Option<u64>,
    /// A drain that is to begin once the fleet knows of it.
    due_ms: Option<u64>,
    bounds: Option<Bounds>,
    /// What shards were told last, per second and in thousandths; the inner `None` is "no bound".
    told: Option<Option<u64>>,
    handshakes: Handshakes,
}

/// Handshakes lately: two counts, the younger of which becomes the older.
#[derive(Debug, Default)]
struct Handshakes {
    older: (u64, u64),
    younger: (u64, u64),
}

impl Handshakes {
    /// Per second over the last seconds.
    fn rate(&mut self, now_ms: u64, total: u64) -> u64 {
        if now_ms.saturating_sub(self.younger.0) >= COUNTED_MS {
            self.older = self.younger;
            self.younger = (now_ms, total);
        }
        let span_ms = now_ms.saturating_sub(self.older.0).max(COUNTED_MS);
        total.saturating_sub(self.older.1) * 1000 / span_ms
    }
}

impl Departure {
    /// Takes what a router says of the fleet.
    pub(super) fn hear(&mut self, now_ms: u64, capacity: Capacity) {
        self.capacity = Some((now_ms, capacity));
    }

    fn capacity(&self, now_ms: u64) -> Option<Capacity> {
        self.capacity.filter(|(heard_ms, _)| now_ms.saturating_sub(*heard_ms) <= CAPACITY_VALID_MS).map(|(_, sum)| sum)
    }

    /// The fleet is told of a drain from now on.
    pub(super) fn announce(&mut self, now_ms: u64) {
        self.announced_ms.get_or_insert(now_ms);
    }

    /// A drain is to begin, as soon as the fleet knows of it.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.announce(now_ms);
        self.due_ms = self.announced_ms.map(|announced_ms| (announced_ms + SETTLE_MS).max(now_ms));
    }

    /// Whether the drain begins now; true once.
    pub(super) fn is_due(&mut self, now_ms: u64) -> bool {
        self.due_ms.take_if(|due_ms| *due_ms <= now_ms).is_some()
    }

    /// Bounds what goes from now on. Where something is under way already, the later of the bounds holds.
    pub(super) fn bound(&mut self, now_ms: u64, window_ms: u64, deadline_ms: u64) {
        let fresh = Bounds { until_ms: now_ms + window_ms, deadline_ms: now_ms + deadline_ms.max(window_ms) };
        let bounds = self.bounds.filter(|old| old.deadline_ms > now_ms).map_or(fresh, |old| Bounds {
            until_ms: old.until_ms.max(fresh.until_ms),
            deadline_ms: old.deadline_ms.max(fresh.deadline_ms),
        });
        self.bounds = Some(bounds);
        self.told = None;
    }

    /// Nothing is sent away any more by order.
    pub(super) fn stop(&mut self) {
        (self.announced_ms, self.due_ms, self.bounds, self.told) = (None, None, None, None);
    }

    /// Closes per second in thousandths that the fleet can take of `left` connections; `None` where nobody is there who
    /// could be overrun.
    pub(super) fn rate_milli_max(&self, now_ms: u64, left: u64) -> Option<u64> {
        let capacity = self.capacity(now_ms).filter(|capacity| capacity.takers > 0)?;
        let of_all = u128::from(capacity.leaving.max(left).max(1));
        let share = u128::from(capacity.spare_handshakes) * 1000 * u128::from(left) / of_all;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        let least = match self.bounds {
            // Past its deadline a drain is in a hurry; what was shed long ago has nothing to do with what goes now.
            Some(bounds) if bounds.deadline_ms > now_ms || self.announced_ms.is_some() => {
                per_second_milli(left, bounds.deadline_ms.saturating_sub(now_ms))
            }
            Some(_) | None => RATE_MILLI_MIN,
        };
        Some(share.max(least).max(RATE_MILLI_MIN))
    }

    /// Whether shards are to be told of this rate: it differs by a tenth from what they know.
    pub(super) fn is_news(&mut self, rate_milli: Option<u64>) -> bool {
        let known = match (self.told, rate_milli) {
            (Some(None), None) => true,
            (Some(Some(told)), Some(rate)) => told.abs_diff(rate) <= told / 10,
            _ => false,
        };
        if !known {
            self.told = Some(rate_milli);
        }
        !known
    }

    /// Whether a drain was announced and has not begun.
    pub(super) fn is_waiting(&self) -> bool {
        self.announced_ms.is_some() && (self.due_ms.is_some() || self.bounds.is_none())
    }

    /// Handshakes per second that the fleet has to spare, for the eye.
    pub(super) fn fleet_spare(&self, now_ms: u64) -> u64 {
        self.capacity(now_ms).map_or(0, |capacity| capacity.spare_handshakes)
    }

    /// What the beat says of `left` connections that are to go.
    pub(super) fn leaving(&self, now: Now, left: u64, under_way: bool) -> Option<Leaving> {
        if left == 0 && self.announced_ms.is_none() {
            return None;
        }
        let window_ms = self.bounds.map_or(0, |bounds| bounds.until_ms.saturating_sub(now.ms)).max(1);
        let wanted = per_second_milli(left, window_ms);
        let rate_milli = self.rate_milli_max(now.ms, left).map_or(wanted, |max| wanted.min(max));
        let rest_ms = (left * 1_000_000).checked_div(rate_milli).unwrap_or(0);
        let rate_milli = if under_way { rate_milli } else { 0 };
        Some(Leaving { left, rate_milli, until_unix_ms: now.unix_ms + rest_ms })
    }

    /// Handshakes per second that this node can take on top of its load. `total` counts its handshakes from its start.
    /// What comes from nodes that send connections away is no load: it is what was offered.
    pub(super) fn spare(&mut self, now_ms: u64, offered: u64, total: u64) -> u64 {
        let expected = self.capacity(now_ms).map_or(0, |fleet| fleet.rate_milli / 1000 / fleet.takers.max(1));
        let load = self.handshakes.rate(now_ms, total).saturating_sub(expected);
        offered.saturating_sub(load)
    }
}

/// So many within so long, per second in thousandths, rounded up.
fn per_second_milli(count: u64, within_ms: u64) -> u64 {
    count.saturating_mul(1_000_000).div_ceil(within_ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { ms: 10_000, unix_ms: 1_700_000_000_000 };

    fn fleet(takers: u64, spare_handshakes: u64, leaving: u64) -> Capacity {
        Capacity { takers, spare_handshakes, leaving, rate_milli: 0 }
    }

    fn draining(capacity: Option<Capacity>) -> Departure {
        let mut departure = Departure::default();
        if let Some(capacity) = capacity {
            departure.hear(NOW.ms, capacity);
        }
        departure.bound(NOW.ms, 30_000, 60_000);
        departure
    }

    #[test]
    fn alone_a_node_keeps_to_its_window() {
        for capacity in [None, Some(fleet(0, 0, 3000))] {
            let departure = draining(capacity);

            assert_eq!(departure.rate_milli_max(NOW.ms, 3000), None);
            let leaving = departure.leaving(NOW, 3000, true).expect("something leaves");
            assert_eq!((leaving.rate_milli, leaving.until_unix_ms), (100_000, NOW.unix_ms + 30_000));
        }
    }

    #[test]
    fn a_busy_fleet_stretches_the_window_and_the_deadline_ends_that() {
        let slow = draining(Some(fleet(5, 75, 3000)));
        assert_eq!(slow.rate_milli_max(NOW.ms, 3000), Some(75_000));
        let leaving = slow.leaving(NOW, 3000, true).expect("something leaves");
        assert_eq!((leaving.rate_milli, leaving.until_unix_ms), (75_000, NOW.unix_ms + 40_000));

        let full = draining(Some(fleet(5, 0, 3000)));
        assert_eq!(full.rate_milli_max(NOW.ms, 3000), Some(50_000), "3000 in the 60 s to the deadline");
        assert_eq!(full.rate_milli_max(NOW.ms + 2000, 2900), Some(50_000));
    }

    #[test]
    fn nodes_that_drain_together_share_what_is_spare_by_what_they_have_left() {
        let small = draining(Some(fleet(5, 400, 4000)));
        let large = draining(Some(fleet(5, 400, 4000)));

        assert_eq!(small.rate_milli_max(NOW.ms, 1000), Some(100_000));
        assert_eq!(large.rate_milli_max(NOW.ms, 3000), Some(300_000));
    }

    #[test]
    fn an_old_shed_is_no_reason_for_haste() {
        let mut departure = draining(Some(fleet(5, 0, 3000)));
        departure.hear(NOW.ms + 70_000, fleet(5, 0, 3000));

        assert_eq!(departure.rate_milli_max(NOW.ms + 70_000, 3000), Some(RATE_MILLI_MIN));
        departure.announce(NOW.ms);
        assert!(departure.rate_milli_max(NOW.ms + 70_000, 3000) > Some(1_000_000_000), "a drain is over its deadline");
    }

    #[test]
    fn old_news_of_the_fleet_bound_nothing() {
        let departure = draining(Some(fleet(5, 75, 3000)));

        assert_eq!(departure.rate_milli_max(NOW.ms + CAPACITY_VALID_MS + 1, 3000), None);
    }

    #[test]
    fn a_drain_begins_once_the_fleet_knows_of_it() {
        let mut departure = Departure::default();
        departure.begin(1000);
        assert!(!departure.is_due(1000 + SETTLE_MS - 1));
        assert!(departure.is_due(1000 + SETTLE_MS));
        assert!(!departure.is_due(1000 + SETTLE_MS), "once");

        let mut announced = Departure::default();
        announced.announce(1000);
        announced.begin(6000);
        assert!(announced.is_due(6000), "it was told long ago");
    }

    #[test]
    fn what_others_send_away_is_no_load_of_our_own() {
        let mut departure = Departure::default();
        assert_eq!(departure.spare(10_000, 500, 0), 500);
        assert_eq!(departure.spare(12_000, 500, 0), 500);
        // 200 per second of our own.
        assert_eq!(departure.spare(14_000, 500, 400), 300);

        departure.hear(16_000, Capacity { takers: 2, spare_handshakes: 0, leaving: 9, rate_milli: 800_000 });
        // 600 per second, 400 of which are our half of what leaves elsewhere.
        assert_eq!(departure.spare(16_000, 500, 1600), 300);
    }
}
