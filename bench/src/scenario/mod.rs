//! What is measured: one file for each scenario. Each starts what it needs, drives it, checks every delivery and adds
//! its figures to the sheet, once a round.

pub(crate) mod cluster;
pub(crate) mod fanout;
pub(crate) mod growth;
pub(crate) mod handshake;
pub(crate) mod idle;
pub(crate) mod peers;
pub(crate) mod route;
pub(crate) mod sessions;
pub(crate) mod slow;
pub(crate) mod storm;
pub(crate) mod transports;
pub(crate) mod upstream;

use std::time::Duration;

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Microseconds for each.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(crate) fn micros_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// `part` of `whole`, in percent.
pub(crate) fn percent(part: f64, whole: f64) -> f64 {
    part / whole * 100.0
}
