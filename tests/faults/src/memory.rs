//! Memory of processes over time, and whether it grows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Pages of `/proc/PID/statm`.
const PAGE_BYTES: u64 = 4096;

/// Samples of several processes.
#[derive(Debug, Default)]
pub struct Memory {
    samples: BTreeMap<String, Vec<(u64, u64)>>,
}

/// One process over the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Growth {
    /// Resident KiB at the first sample that counts.
    pub first_kib: u64,
    /// At the last one.
    pub last_kib: u64,
    /// The most.
    pub most_kib: u64,
    /// KiB per hour, by least squares over the second half of the run.
    pub slope_kib_per_hour: i64,
    /// Samples.
    pub samples: usize,
}

/// Resident bytes of a process; `None` where `/proc` does not tell.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}

impl Memory {
    /// Takes one sample at `at` milliseconds.
    pub fn take(&mut self, name: &str, pid: u32, at: u64) {
        if let Some(bytes) = resident_bytes(pid) {
            self.samples.entry(name.to_owned()).or_default().push((at, bytes / 1024));
        }
    }

    /// What came of it.
    pub fn growth(&self) -> BTreeMap<String, Growth> {
        self.samples.iter().filter_map(|(name, samples)| Some((name.clone(), growth(samples)?))).collect()
    }
}

fn growth(samples: &[(u64, u64)]) -> Option<Growth> {
    let (first, last) = (samples.first()?, samples.last()?);
    let most_kib = samples.iter().map(|(_, kib)| *kib).max()?;
    Some(Growth {
        first_kib: first.1,
        last_kib: last.1,
        most_kib,
        slope_kib_per_hour: slope(&samples[samples.len() / 2..]),
        samples: samples.len(),
    })
}

/// Of the line nearest to the samples, per hour.
#[expect(clippy::cast_possible_truncation, reason = "an estimate, far below 2^52")]
fn slope(samples: &[(u64, u64)]) -> i64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&(u64, u64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, kib) = (mean(&|sample| sample.0 as f64), mean(&|sample| sample.1 as f64));
    let (mut rise, mut run) = (0.0, 0.0);
    for (at, value) in samples {
        rise += (*at as f64 - time) * (*value as f64 - kib);
        run += (*at as f64 - time).powi(2);
    }
    if run > 0.0 { (rise / run * 3_600_000.0).round() as i64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0, 1000), (1_800_000, 1500), (3_600_000, 2000)]), 1000);
        assert_eq!(slope(&[(0, 1000), (1000, 1000)]), 0);
        assert_eq!(slope(&[(0, 1000)]), 0);
    }
}
