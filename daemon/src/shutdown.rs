//! How a process ends: the first signal asks for an orderly end, the second for an immediate one; every task is
//! tracked, can be told to stop, and is waited for with a deadline.

use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// How urgently the process is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Running,
    Orderly,
    Immediate,
}

/// Tells when the process shall end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    urgency: watch::Sender<Urgency>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Without signals: only [`Shutdown::trigger`] counts.
    pub fn new() -> Self {
        Self { urgency: watch::Sender::new(Urgency::Running) }
    }

    /// Listens to SIGTERM and SIGINT from now on. Must be called in a runtime that lives until the end.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub fn on_signals(tasks: &Tasks) -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::new();
        let told = shutdown.clone();
        // Runs until the tasks are told to stop; a second signal may come late in a drain.
        tasks.spawn("signals", async move {
            loop {
                let name = tokio::select! {
                    Some(()) = terminate.recv() => "SIGTERM",
                    Some(()) = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "Signal received");
                told.trigger();
            }
        });
        Ok(shutdown)
    }

    /// Counts as one more signal: the first call asks for an orderly end, the second for an immediate one.
    pub fn trigger(&self) {
        self.urgency.send_modify(|urgency| {
            *urgency = if *urgency == Urgency::Running { Urgency::Orderly } else { Urgency::Immediate };
        });
    }

    /// Whether an end has been asked for.
    pub fn is_requested(&self) -> bool {
        *self.urgency.borrow() >= Urgency::Orderly
    }

    /// Completes at the first signal; at once where it was before. Cancel-safe.
    pub async fn first(&self) {
        self.reached(Urgency::Orderly).await;
    }

    /// Completes at the second signal; at once where it was before. Cancel-safe.
    pub async fn second(&self) {
        self.reached(Urgency::Immediate).await;
    }

    async fn reached(&self, wanted: Urgency) {
        let mut urgency = self.urgency.subscribe();
        // The sender is in `self`, so the channel cannot be closed.
        drop(urgency.wait_for(|urgency| *urgency >= wanted).await);
    }
}

/// Some tasks did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} tasks did not end in time")]
pub struct Unfinished(pub usize);

/// The tasks of a process, or of one of its threads. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Held for a moment each time that a task begins or ends.
    names: Names,
}

type Names = Arc<Mutex<BTreeMap<&'static str, usize>>>;

/// A task that is under way, by its name.
struct Named {
    names: Names,
    name: &'static str,
}

impl Named {
    fn new(names: &Names, name: &'static str) -> Self {
        *names.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self { names: Arc::clone(names), name }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = names.get_mut(self.name) {
            *count -= 1;
        }
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that is dropped at its next wait once [`Tasks::finish`] is called. A panic in it is logged.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tracker.spawn(run(Named::new(&self.names, name), self.stopped(), task)));
    }

    /// The same for a task of the current thread's local runtime.
    pub fn spawn_local(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        drop(self.tracker.spawn_local(run(Named::new(&self.names, name), self.stopped(), task)));
    }

    /// Completes when the tasks are told to stop. Cancel-safe.
    pub fn stopped(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }

    /// How many tasks of each name run.
    pub fn by_name(&self) -> BTreeMap<&'static str, usize> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (*name, *count)).collect()
    }

    /// How many tasks run.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Tells all tasks to stop and waits for them.
    ///
    /// # Errors
    /// Where some have not ended after `deadline`; they are left behind.
    pub async fn finish(&self, deadline: Duration) -> Result<(), Unfinished> {
        self.stop.cancel();
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Unfinished(self.tracker.len())),
        }
    }
}

async fn run(named: Named, stopped: WaitForCancellationFutureOwned, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stopped => {}
        ended = AssertUnwindSafe(task).catch_unwind() => {
            if ended.is_err() {
                tracing::error!(task = named.name, "Task panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn the_first_signal_asks_for_an_orderly_end_and_the_second_for_an_immediate_one() {
        let shutdown = Shutdown::new();
        assert!(shutdown.first().now_or_never().is_none());

        shutdown.trigger();
        assert!(shutdown.first().now_or_never().is_some());
        assert!(shutdown.second().now_or_never().is_none());

        shutdown.trigger();
        assert!(shutdown.second().now_or_never().is_some());
    }

    #[tokio::test]
    async fn finish_ends_tasks_that_would_wait_for_ever() {
        let tasks = Tasks::new();
        tasks.spawn("waits", pending());
        assert_eq!(tasks.count(), 1);

        let finished = tasks.finish(Duration::from_secs(10)).await;

        assert_eq!(finished, Ok(()));
        assert_eq!(tasks.count(), 0);
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_own_task() {
        let tasks = Tasks::new();
        tasks.spawn("panics", async { panic!("on purpose") });

        assert_eq!(tasks.finish(Duration::from_secs(10)).await, Ok(()));
    }
}
