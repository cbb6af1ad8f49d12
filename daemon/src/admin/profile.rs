//! What a process spends its time and memory on, as far as the kernel and the runtime can tell: its threads, tasks and
//! kinds of memory. Linux only. Knows nothing of the service.

use crate::shutdown::Tasks;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tokio::time::Instant;

/// The longest time to look for.
pub(super) const SECONDS_MAX: u64 = 10;

/// Clock ticks in a second, in which the kernel tells processor time: 100 on every Linux that there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Looks for so long. Cancel safe.
pub(super) async fn take(tasks: &Tasks, seconds: u64) -> Value {
    let runtime = tokio::runtime::Handle::current().metrics();
    let (before, busy, since) = (threads(), runtime.worker_total_busy_duration(0), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (after, worked) = (threads(), runtime.worker_total_busy_duration(0).saturating_sub(busy));
    let passed = since.elapsed().as_secs_f64();
    let threads: Vec<Value> = after
        .iter()
        .map(|(id, thread)| {
            let earlier = before.get(id).map_or(0.0, |thread| thread.cpu_seconds);
            let share = (thread.cpu_seconds - earlier) / passed;
            json!({"name": thread.name, "cpu_seconds": thread.cpu_seconds, "cpu_share": rounded(share)})
        })
        .collect();
    let tasks: Map<String, Value> =
        tasks.by_name().into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    json!({
        "seconds": rounded(passed),
        "threads": threads,
        "runtime": {
            "tasks": runtime.num_alive_tasks(),
            "tasks_ready": runtime.global_queue_depth(),
            "busy_share": rounded(worked.as_secs_f64() / passed),
        },
        "tasks": tasks,
        "memory": memory(),
    })
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

struct Thread {
    name: String,
    cpu_seconds: f64,
}

fn threads() -> BTreeMap<u32, Thread> {
    let Ok(folder) = fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let ids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| {
        let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok()?;
        Some((id, thread(&stat)?))
    })
    .collect()
}

/// After `proc_pid_stat(5)`: the name in brackets may hold anything; 14 and 15 are the ticks in user mode and kernel.
fn thread(stat: &str) -> Option<Thread> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let kernel: f64 = fields.next()?.parse().ok()?;
    Some(Thread { name: name.to_owned(), cpu_seconds: (user + kernel) / TICKS_PER_SECOND })
}

/// Kinds of memory in bytes, as the kernel counts them.
fn memory() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let mut kinds = Map::new();
    for (text, name, kind) in [
        (&status, "VmRSS", "resident_bytes"),
        (&status, "VmHWM", "resident_peak_bytes"),
        (&status, "RssAnon", "anonymous_bytes"),
        (&status, "RssFile", "files_bytes"),
        (&status, "VmSwap", "swapped_bytes"),
        (&status, "VmPTE", "page_tables_bytes"),
        (&rollup, "Pss", "proportional_bytes"),
        (&rollup, "AnonHugePages", "huge_pages_bytes"),
        (&rollup, "LazyFree", "given_back_bytes"),
    ] {
        if let Some(bytes) = kilobytes(text, name) {
            kinds.insert(kind.to_owned(), (bytes * 1024).into());
        }
    }
    Value::Object(kinds)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_once(':').is_some_and(|(key, _)| key == name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_whatever_its_name() {
        let stat = "7 (a) (b)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 100";

        let thread = thread(stat).expect("read");

        assert_eq!((thread.name.as_str(), thread.cpu_seconds), ("a) (b)", 2.0));
    }

    #[tokio::test]
    async fn a_profile_names_threads_tasks_and_kinds_of_memory() {
        let tasks = Tasks::new();
        tasks.spawn("waits", std::future::pending());
        tasks.spawn("waits", std::future::pending());

        let profile = take(&tasks, 1).await;

        assert_eq!(profile["tasks"]["waits"], 2);
        assert!(profile["threads"].as_array().is_some_and(|threads| !threads.is_empty()), "{profile}");
        assert!(profile["memory"]["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{profile}");
    }
}
