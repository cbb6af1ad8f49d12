//! What a run says: progress as it goes, then the figures, as text and as JSON.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::check::{Figures, Percentiles};
use crate::memory::Growth;

/// One line of progress.
pub fn say(line: &str) {
    // Nobody is left to tell where the output is gone.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// All figures of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// What was run.
    pub command: String,
    /// Where.
    pub machine: String,
    /// The seed.
    pub seed: u64,
    /// Clients.
    pub clients: u32,
    /// Messages published per second.
    pub rate: u32,
    /// NATS servers, routers, gateways.
    pub fleet: [usize; 3],
    /// Seconds under load.
    pub load_seconds: u64,
    /// Faults inflicted, by kind.
    pub faults: BTreeMap<String, usize>,
    /// Counts of the checker.
    pub figures: Figures,
    /// Times of the fleet.
    pub measured: BTreeMap<String, Percentiles>,
    /// Memory by process.
    pub memory: BTreeMap<String, Growth>,
    /// Comparisons of the roster with the truth under load: how many, and by how many connections it was off at most.
    pub roster_compared: (usize, u64),
    /// How long the machine was too busy for times to mean anything: what was lost then is not held against the fleet.
    #[serde(default)]
    pub busy_ms: u64,
    /// Promises broken, by rule.
    pub broken: BTreeMap<String, usize>,
    /// Planted defects: found, planted.
    pub planted: (usize, usize),
}

impl Outcome {
    /// Where this runs: processor, cores, memory, and how the driver was built (the programs are built alike).
    pub fn machine() -> String {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned())
        };
        let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
        let build = if cfg!(debug_assertions) { "development" } else { "release" };
        format!("{cores} cores of {model}, memory {memory}, {} builds", build)
    }

    /// As text.
    pub fn text(&self) -> String {
        let figures = &self.figures;
        let mut lines = vec![
            format!(
                "kept: {} stored, {} deliveries, {} resumed whole, {} not recovered",
                figures.kept_stored, figures.kept_seen, figures.resumed, figures.not_recovered
            ),
            format!(
                "live: {} published, {} deliveries; lost in faults {}, lost and told {}",
                figures.live_published, figures.live_seen, figures.live_lost_in_faults, figures.live_lost_told
            ),
            format!(
                "receipts: {}, of those short in faults {}; no answer {}; upstream {} sent, {} refused",
                figures.receipts,
                figures.receipts_short_in_faults,
                figures.unanswered,
                figures.upstream_sent,
                figures.upstream_refused
            ),
            format!(
                "clients: {} welcomes, at most {} reconnects in a second; away {}",
                figures.welcomes,
                figures.welcomes_per_second_max,
                times(&figures.client_gap)
            ),
        ];
        lines.extend(self.measured.iter().map(|(what, figure)| format!("{what}: {}", times(figure))));
        for (name, growth) in &self.memory {
            lines.push(format!(
                "memory of {name}: {} -> {} KiB, at most {}, slope {} KiB/h",
                growth.first_kib, growth.last_kib, growth.most_kib, growth.slope_kib_per_hour
            ));
        }
        if self.roster_compared.0 > 0 {
            let (count, off) = self.roster_compared;
            lines.push(format!("roster compared with the truth {count} times under load, off by {off} at most"));
        }
        lines.push(format!("planted defects found: {} of {}", self.planted.0, self.planted.1));
        lines.join("\n")
    }
}

fn times(figure: &Percentiles) -> String {
    format!("p50 {} ms, p99 {} ms, max {} ms of {}", figure.p50_ms, figure.p99_ms, figure.max_ms, figure.count)
}
