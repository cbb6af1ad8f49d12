//! What is measured, as processes: Holdfast here, and its peers where their programs are found.

pub(crate) mod fleet;
pub(crate) mod peers;

pub(crate) use fleet::{Fleet, Shape};

use std::time::Duration;

use crate::process;

/// A process whose CPU time counts.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
}

/// CPU time of each part at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Usage(Vec<(&'static str, Duration)>);

impl Usage {
    /// That of these processes so far.
    ///
    /// # Errors
    /// One is gone.
    pub(crate) fn of(parts: &[Part]) -> anyhow::Result<Self> {
        let each = parts.iter().map(|part| Ok((part.name, process::cpu_time(part.pid)?)));
        Ok(Self(each.collect::<anyhow::Result<_>>()?))
    }

    /// What was used since `before`, those of one name together.
    pub(crate) fn since(&self, before: &Self) -> Vec<(&'static str, Duration)> {
        let mut total: Vec<(&'static str, Duration)> = Vec::new();
        for ((name, now), (_, then)) in self.0.iter().zip(&before.0) {
            let used = now.saturating_sub(*then);
            match total.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += used,
                None => total.push((name, used)),
            }
        }
        total
    }
}

/// What the parts of one name used.
pub(crate) fn used_by(used: &[(&'static str, Duration)], name: &str) -> Duration {
    used.iter().filter(|(known, _)| *known == name).map(|(_, used)| *used).sum()
}
