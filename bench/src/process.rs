//! What a process uses, read from `/proc`: memory and CPU time. Knows pids, not programs.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Resident memory in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .with_context(|| format!("{path} has no VmRSS"))?;
    Ok(kib * 1024)
}

/// CPU time of all threads of a process so far, user and system together, to the nanosecond.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        // A thread may end between the listing and the look at it.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        total += first_number(&text).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(Duration::from_nanos(total))
}

/// CPU time of the calling thread so far.
pub(crate) fn thread_cpu_time() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(first_number(&text).context("cannot read schedstat")?))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}
