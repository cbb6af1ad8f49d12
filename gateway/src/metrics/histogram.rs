//! How long things take, counted like everything else: in cells that one thread writes and a collector adds up.

use prometheus::proto::{Bucket, Histogram as Proto};

use super::Cell;

/// Upper bounds of the buckets, in microseconds: half a millisecond to ten seconds.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Durations. The thread that owns it is the only writer.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than bounds: what is longer.
    buckets: [Cell; BOUNDS_US.len() + 1],
    sum_us: Cell,
}

impl Histogram {
    /// Counts `count` things that took so long each.
    pub fn observe(&self, us: u64, count: u64) {
        let at = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.buckets[at].add(count);
        self.sum_us.add(us.saturating_mul(count));
    }
}

/// The sum of several as the exposition format wants it, in seconds.
pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Histogram>) -> Proto {
    let (mut counts, mut sum_us) = ([0_u64; BOUNDS_US.len() + 1], 0_u64);
    for one in all {
        for (count, cell) in counts.iter_mut().zip(&one.buckets) {
            *count += cell.value();
        }
        sum_us = sum_us.wrapping_add(one.sum_us.value());
    }
    let mut reached = 0;
    let buckets = BOUNDS_US.iter().zip(counts).map(|(bound, count)| {
        reached += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(seconds(*bound));
        bucket.set_cumulative_count(reached);
        bucket
    });
    let mut proto = Proto::default();
    proto.set_bucket(buckets.collect());
    proto.set_sample_count(counts.iter().sum());
    proto.set_sample_sum(seconds(sum_us));
    proto
}

#[expect(clippy::cast_precision_loss, reason = "the exposition format has doubles; these stay far below 2^53")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_threads_counted_is_added_up_and_cumulated() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.observe(400, 2);
        one.observe(30_000_000, 1);
        other.observe(1_000, 3);

        let proto = sum([&one, &other].into_iter());

        let counts: Vec<_> = proto.get_bucket().iter().map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!(counts[..3], [2, 5, 5]);
        assert_eq!((counts.last(), proto.get_sample_count()), (Some(&5), 6));
        assert!((proto.get_sample_sum() - 30.003_8).abs() < 1e-9, "{}", proto.get_sample_sum());
    }
}
