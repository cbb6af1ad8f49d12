//! One child process: its own group, its output captured, its faults at hand, its end certain.
//!
//! Uses threads and no runtime, so that a process started in one test can outlive that test's runtime. Knows of our
//! programs only that they say `{"ready":true,…}` on one line of standard output.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::Value;

use crate::reaper;
use crate::wait::eventually;

/// Lines kept of each process's output; older ones are dropped.
const LOG_LINES_MAX: usize = 20_000;
/// Lines shown of each process when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// A running, frozen or ended process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Mutex<Child>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<String>,
    ready: Option<Value>,
    /// Readers that have not seen the end of their pipe.
    open: usize,
}

/// Why a process did not become ready.
#[derive(Debug)]
pub struct StartFailed {
    /// How it ended.
    pub status: ExitStatus,
    /// What it had said.
    pub output: String,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Starts `command` in a process group of its own.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {name} ({command:?}): {error}"));
        let pid = child.id();
        reaper::watch(pid);
        let log = Arc::new(Mutex::new(Log { open: 2, ..Log::default() }));
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        read_lines(stdout, Arc::clone(&log), true);
        read_lines(stderr, Arc::clone(&log), false);
        Self { name: name.to_owned(), pid, child: Mutex::new(child), log }
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the ready line and returns its object.
    ///
    /// # Errors
    /// The process ended first.
    ///
    /// # Panics
    /// If it does neither.
    pub async fn ready(&self) -> Result<Value, StartFailed> {
        eventually(&format!("{} is ready", self.name), async || {
            if let Some(ready) = locked(&self.log).ready.clone() {
                return Ok(Ok(ready));
            }
            match self.end() {
                Some(status) => Ok(Err(StartFailed { status, output: self.output() })),
                None => Err(format!("no ready line; {}", self.tail(20))),
            }
        })
        .await
    }

    /// Sends a signal by its name (`TERM`, `USR2`, …). A process that has ended is left alone.
    pub fn signal(&self, signal: &str) {
        let mut child = locked(&self.child);
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        // The shell's own `kill`: there is one wherever there is a shell.
        let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.pid)]).status();
        assert!(kill.is_ok_and(|status| status.success()), "send {signal} to {}", self.name);
    }

    /// SIGKILL, and waits until the process is gone. Nothing to do for one that has ended.
    pub fn kill(&self) {
        let mut child = locked(&self.child);
        // Either fails only for a process that has ended and was waited for.
        if child.kill().and_then(|()| child.wait()).is_ok() {
            reaper::forget(self.pid);
        }
    }

    /// SIGSTOP, and waits until every thread has stopped (where that can be seen).
    pub async fn freeze(&self) {
        self.signal("STOP");
        eventually(&format!("{} is frozen", self.name), async || match running_threads(self.pid) {
            0 => Ok(()),
            running => Err(format!("{running} threads still run")),
        })
        .await;
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// SIGTERM: asks it to leave in order.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.end().is_none()
    }

    /// How it ended, once it has.
    pub fn end(&self) -> Option<ExitStatus> {
        locked(&self.child).try_wait().unwrap_or_else(|error| panic!("look after {}: {error}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(&self) -> ExitStatus {
        eventually(&format!("{} has ended", self.name), async || {
            self.end().ok_or_else(|| format!("still running; {}", self.tail(10)))
        })
        .await
    }

    /// All that is kept of its output. Of a process that has ended, all it said.
    pub fn output(&self) -> String {
        if self.end().is_some() {
            // The pipes outlive the process by a moment; they end with it.
            while locked(&self.log).open > 0 {
                thread::yield_now();
            }
        }
        self.tail(LOG_LINES_MAX)
    }

    /// The last lines of its output.
    pub fn tail(&self, lines_max: usize) -> String {
        let log = locked(&self.log);
        let skipped = log.lines.len().saturating_sub(lines_max);
        log.lines.iter().skip(skipped).fold(String::new(), |text, line| text + line + "\n")
    }

    /// What to show of it when a test has failed.
    pub(crate) fn post_mortem(&self) -> String {
        let state = match self.end() {
            None => "running".to_owned(),
            Some(status) => match status.signal() {
                Some(signal) => format!("ended by signal {signal}"),
                None => format!("{status}"),
            },
        };
        format!("--- {} (pid {}, {state}) ---\n{}", self.name, self.pid, self.tail(LOG_LINES_SHOWN))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_lines(pipe: impl Read + Send + 'static, log: Arc<Mutex<Log>>, may_say_ready: bool) {
    let read = move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let mut log = locked(&log);
            if may_say_ready && log.ready.is_none() {
                log.ready = serde_json::from_str(&text).ok().filter(|value: &Value| value["ready"] == true);
            }
            if log.lines.len() == LOG_LINES_MAX {
                log.lines.pop_front();
            }
            log.lines.push_back(text);
            drop(log);
            line.clear();
        }
        locked(&log).open -= 1;
    };
    thread::Builder::new().name("read-output".to_owned()).spawn(read).expect("start a thread");
}

/// Threads of a process that are neither stopped nor dead; 0 where `/proc` does not tell.
fn running_threads(pid: u32) -> usize {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok())
        .filter_map(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().to_owned()))
        .filter(|state| !state.starts_with(['T', 't', 'Z', 'X']))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("a shell", command)
    }

    #[tokio::test]
    async fn ready_line_is_found_among_others() {
        let process =
            shell("echo starting; echo '{\"ready\":false}'; echo '{\"ready\":true,\"node\":\"x\"}'; exec cat");

        let ready = process.ready().await.unwrap();

        assert_eq!(ready["node"], "x");
    }

    #[tokio::test]
    async fn process_that_ends_without_a_ready_line_tells_what_it_said() {
        let process = shell("echo out; echo wrong >&2; exit 64");

        let failed = process.ready().await.unwrap_err();

        assert_eq!(failed.status.code(), Some(64));
        assert!(failed.output.contains("out\n") && failed.output.contains("wrong\n"), "{failed:?}");
    }

    #[tokio::test]
    async fn frozen_process_does_nothing_until_it_thaws() {
        let process = shell("trap 'exit 7' TERM; echo '{\"ready\":true}'; while :; do :; done");
        process.ready().await.unwrap();

        process.freeze().await;
        process.terminate();
        assert!(process.is_running());
        process.thaw();

        assert_eq!(process.ended().await.code(), Some(7));
    }

    #[test]
    fn killed_process_is_gone_when_kill_returns() {
        let process = shell("exec cat");

        process.kill();
        process.kill();

        assert!(!process.is_running());
    }
}
