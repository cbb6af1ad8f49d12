//! What is taken up anew while the process runs: files that were exchanged, and all of it at SIGHUP.
//!
//! Files are looked at by content once a second rather than watched: that sees a symlink that Kubernetes swaps, a file
//! on a network, and one that is written in place alike. A change is taken up once it has stood still for a second, so
//! that two files of a pair may be written one after the other. What cannot be loaded changes nothing: the old stays,
//! the failure is counted and said. Knows nothing of what is loaded.

use crate::shutdown::Tasks;
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Between two looks at files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes things up anew. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloads {
    tasks: Tasks,
    /// Counts what asks for everything at once: SIGHUP, the admin listener.
    asked: watch::Sender<u64>,
    total: IntCounterVec,
    success: GaugeVec,
}

impl Reloads {
    /// Listens to SIGHUP from now on, and registers what is counted.
    ///
    /// # Errors
    /// Where the handler cannot be installed, or the metrics are registered already.
    pub fn new(registry: &Registry, tasks: &Tasks) -> io::Result<Self> {
        let reloads = Self::declare(registry, tasks).map_err(io::Error::other)?;
        let mut hangup = signal(SignalKind::hangup())?;
        let told = reloads.clone();
        tasks.spawn("reload signal", async move {
            while hangup.recv().await.is_some() {
                tracing::info!(signal = "SIGHUP", "Signal received");
                told.all();
            }
        });
        Ok(reloads)
    }

    /// The same without the signal.
    ///
    /// # Errors
    /// Where the metrics are registered already.
    pub fn declare(registry: &Registry, tasks: &Tasks) -> prometheus::Result<Self> {
        let total = Opts::new("holdfast_reloads_total", "Times something was loaded anew, by what and how it ended.");
        let success = Opts::new(
            "holdfast_reload_last_success_timestamp_seconds",
            "When something was last loaded, Unix time in seconds.",
        );
        let total = IntCounterVec::new(total, &["what", "result"])?;
        let success = GaugeVec::new(success, &["what"])?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(success.clone()))?;
        Ok(Self { tasks: tasks.clone(), asked: watch::Sender::new(0), total, success })
    }

    /// Shows the labels of these things from the start.
    pub fn name(&self, things: &[&str]) {
        for what in things {
            for result in ["ok", "failed"] {
                self.total.with_label_values(&[*what, result]);
            }
            self.success.with_label_values(&[*what]);
        }
    }

    /// Loads everything anew now.
    pub fn all(&self) {
        self.asked.send_modify(|count| *count += 1);
    }

    /// Keeps something that was just loaded from `files` as they are: calls `load` when their content has changed, and
    /// when asked. `what` is a label; `load` says in words why it failed, without any secret.
    pub fn keep(
        &self,
        what: &'static str,
        files: Vec<PathBuf>,
        load: impl FnMut() -> Result<(), String> + Send + 'static,
    ) {
        self.name(&[what]);
        self.note_success(what);
        let mut load = load;
        let (this, mut asked) = (self.clone(), self.asked.subscribe());
        let mut watched = Watched::new(fingerprint(&files));
        self.tasks.spawn("reload", async move {
            loop {
                let forced = tokio::select! {
                    changed = asked.changed() => {
                        if changed.is_err() { return }
                        true
                    }
                    () = tokio::time::sleep(LOOK_EVERY) => false,
                };
                if watched.is_due(fingerprint(&files), forced) {
                    this.record(what, load());
                }
            }
        });
    }

    fn record(&self, what: &'static str, loaded: Result<(), String>) {
        match loaded {
            Ok(()) => {
                self.total.with_label_values(&[what, "ok"]).inc();
                self.note_success(what);
                tracing::info!(what, "Loaded anew");
            }
            Err(error) => {
                self.total.with_label_values(&[what, "failed"]).inc();
                tracing::error!(what, %error, "Cannot load anew, the old one stays");
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "shown, never reckoned with")]
    fn note_success(&self, what: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.success.with_label_values(&[what]).set(now.as_secs_f64());
    }
}

/// What was seen of some files, and what was done about it.
#[derive(Debug)]
struct Watched {
    tried: u64,
    seen: u64,
}

impl Watched {
    const fn new(loaded: u64) -> Self {
        Self { tried: loaded, seen: loaded }
    }

    /// Whether to load now: asked to, or the files are other than at the last attempt, and as they were a moment ago.
    const fn is_due(&mut self, now: u64, forced: bool) -> bool {
        let still = self.seen == now;
        self.seen = now;
        let due = forced || (still && self.tried != now);
        if due {
            self.tried = now;
        }
        due
    }
}

/// Small local files: reading them blocks for microseconds. One that cannot be read is told from an empty one.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_loaded_once_and_only_when_it_stands_still() {
        let mut watched = Watched::new(1);

        assert!(!watched.is_due(1, false), "nothing changed");
        assert!(!watched.is_due(2, false), "half of a pair");
        assert!(!watched.is_due(3, false), "the other half");
        assert!(watched.is_due(3, false));
        assert!(!watched.is_due(3, false), "a bad load is not tried again by itself");
        assert!(watched.is_due(3, true), "asked");
        assert!(!watched.is_due(1, false) && watched.is_due(1, false), "back to what it was");
    }

    #[test]
    fn files_are_told_apart_by_what_is_in_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let files = [file.clone()];
        let missing = fingerprint(&files);
        std::fs::write(&file, "").expect("written");
        let empty = fingerprint(&files);
        std::fs::write(&file, "one").expect("written");

        assert!(missing != empty && empty != fingerprint(&files));
    }
}
