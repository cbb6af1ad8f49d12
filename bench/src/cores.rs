//! Who runs on which core: the server on the first and the load on the second, so that neither takes time from the
//! other. On a machine with one core everybody is everywhere.

use std::fs;
use std::ops::Range;

use rustix::thread::{CpuSet, Pid, sched_setaffinity};

/// The core of what is measured.
pub(crate) const SERVER: usize = 0;
/// The core of whatever drives it.
pub(crate) const LOAD: usize = 1;

/// How many cores the machine has, whichever of them are ours.
pub(crate) fn count() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

/// Binds every thread of a process to a core. Threads that it starts later inherit it.
///
/// # Errors
/// The system does not let us.
pub(crate) fn bind_process(pid: u32, core: usize) -> anyhow::Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = task?.file_name();
        if let Some(thread) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) {
            bind(Some(thread), core)?;
        }
    }
    Ok(())
}

/// Binds the calling thread to a core, and those it starts from now on.
///
/// # Errors
/// The system does not let us.
pub(crate) fn bind_thread(core: usize) -> anyhow::Result<()> {
    bind(None, core)
}

/// Lets the calling thread run everywhere, and those it starts from now on.
///
/// # Errors
/// The system does not let us.
pub(crate) fn free_thread() -> anyhow::Result<()> {
    allow(None, 0..count())
}

fn bind(thread: Option<Pid>, core: usize) -> anyhow::Result<()> {
    if core < count() { allow(thread, core..core + 1) } else { Ok(()) }
}

fn allow(thread: Option<Pid>, cores: Range<usize>) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    cores.for_each(|core| set.set(core));
    match sched_setaffinity(thread, &set) {
        // A thread may end between the listing and the look at it; a core may not be ours.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(()),
        bound => Ok(bound?),
    }
}
