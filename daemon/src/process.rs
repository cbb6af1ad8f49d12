//! What the operating system knows about this process, for `/metrics`: memory, files, processor time.
//!
//! Read from `/proc` when asked; where there is none (macOS), the collector is empty.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry};
use std::fs;

/// Registers the `process_*` metrics.
///
/// # Errors
/// Where they are registered already.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(ProcessMetrics::new()?))
}

struct ProcessMetrics {
    cpu: Counter,
    resident: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    start_time: Gauge,
}

impl ProcessMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system processor time in seconds.")?,
            resident: Gauge::new("process_resident_memory_bytes", "Resident memory in bytes.")?,
            open_fds: Gauge::new("process_open_fds", "Open file descriptors.")?,
            max_fds: Gauge::new("process_max_fds", "Most file descriptors that may be open.")?,
            start_time: Gauge::new("process_start_time_seconds", "Start of the process, Unix time in seconds.")?,
        })
    }

    fn metrics(&self) -> [&dyn Collector; 5] {
        [&self.cpu, &self.resident, &self.open_fds, &self.max_fds, &self.start_time]
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(reading) = Reading::now() else { return Vec::new() };
        self.cpu.inc_by((reading.cpu_seconds - self.cpu.get()).max(0.0));
        self.resident.set(reading.resident_bytes);
        self.open_fds.set(reading.open_fds);
        self.max_fds.set(reading.max_fds);
        self.start_time.set(reading.start_seconds);
        self.metrics().into_iter().flat_map(Collector::collect).collect()
    }
}

#[derive(Debug)]
struct Reading {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    start_seconds: f64,
}

impl Reading {
    fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, the name in parentheses, may itself hold spaces and parentheses.
        let fields: Vec<f64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        // Numbering of proc(5) less the two fields cut off, from zero: utime 14, stime 15, starttime 22, rss 24.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            resident_bytes: resident_bytes()?,
            open_fds: count(fs::read_dir("/proc/self/fd").ok()?),
            max_fds: rlimit::Resource::NOFILE.get_soft().map_or(0.0, to_float),
            start_seconds: boot_seconds()? + field(22)? / TICKS_PER_SECOND,
        })
    }
}

/// The kernel reports times in ticks of 1/100 s on every architecture we run on (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Less the one that reading the directory itself needs.
fn count(entries: fs::ReadDir) -> f64 {
    let all = u32::try_from(entries.count()).unwrap_or(u32::MAX);
    f64::from(all.saturating_sub(1))
}

#[expect(clippy::cast_precision_loss, reason = "a limit beyond 2^53 files is as good as none")]
fn to_float(number: u64) -> f64 {
    number as f64
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_its_own_memory_files_and_times() {
        let reading = Reading::now().expect("there is a /proc");

        assert!(reading.resident_bytes > 1e5, "{reading:?}");
        assert!(reading.open_fds >= 3.0, "{reading:?}");
        assert!(reading.max_fds >= reading.open_fds, "{reading:?}");
        assert!(reading.start_seconds > 1.6e9, "{reading:?}");
    }
}
