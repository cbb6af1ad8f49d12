//! A bound on the lines of one kind: a fault that hits every connection at once must not fill the disk, nor make the
//! threads that serve wait for stderr.
//!
//! A kind is a place in the code. What is beyond the bound in ten seconds is left out and counted, and a line says so
//! once they are over. Knows nothing of what is logged.

use crate::shutdown::Tasks;
use prometheus::IntCounter;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

/// Each kind's lines are counted over so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Of a message that is named in the line about what was left out.
const MESSAGE_CHARS_MAX: usize = 120;
/// The lines about what was left out are not left out themselves.
const OWN_TARGET: &str = "holdfast_log";

/// Lines left out since the start.
static LEFT_OUT: OnceLock<IntCounter> = OnceLock::new();

/// How many were.
///
/// # Errors
/// Never: the name is good.
pub(super) fn counter() -> prometheus::Result<IntCounter> {
    let fresh = IntCounter::new("holdfast_log_lines_left_out_total", "Lines of the log left out, too many of a kind.")?;
    Ok(LEFT_OUT.get_or_init(|| fresh).clone())
}

/// What is let through. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    kinds: Arc<Mutex<Kinds<Identifier>>>,
}

impl Limit {
    /// At most so many lines of a kind in ten seconds; 0 is no bound.
    pub(super) fn new(lines_max: u32) -> Self {
        Self { kinds: Arc::new(Mutex::new(Kinds { lines_max, kinds: HashMap::new() })) }
    }

    /// Tells from time to time what was left out.
    pub(super) fn tell(&self, tasks: &Tasks) {
        let kinds = Arc::clone(&self.kinds);
        tasks.spawn("log limit", async move {
            loop {
                tokio::time::sleep(WINDOW).await;
                let left_out = kinds.lock().unwrap_or_else(PoisonError::into_inner).take_left_out();
                for (message, lines) in left_out {
                    tracing::warn!(target: OWN_TARGET, kind = message, lines, "Lines left out of the log");
                }
            }
        });
    }
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // Asked each time: with "always", tracing-subscriber skips the pass in which `event_enabled` may say no.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let meta = event.metadata();
        if meta.target() == OWN_TARGET {
            return true;
        }
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = kinds.take(meta.callsite(), Instant::now(), || message_of(event));
        drop(kinds);
        if !taken && let Ok(left_out) = counter() {
            left_out.inc();
        }
        taken
    }
}

/// Bounded by the places in the code that log.
#[derive(Debug)]
struct Kinds<K> {
    lines_max: u32,
    kinds: HashMap<K, Kind>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    taken: u32,
    /// Since it was last told: the message, and how many.
    left_out: Option<(String, u64)>,
}

impl<K: Eq + Hash> Kinds<K> {
    /// Whether one more line of the kind may be written.
    fn take(&mut self, kind: K, now: Instant, message: impl FnOnce() -> String) -> bool {
        if self.lines_max == 0 {
            return true;
        }
        let kind = self.kinds.entry(kind).or_insert(Kind { since: now, taken: 0, left_out: None });
        if now.duration_since(kind.since) >= WINDOW {
            (kind.since, kind.taken) = (now, 0);
        }
        if kind.taken < self.lines_max {
            kind.taken += 1;
            return true;
        }
        kind.left_out.get_or_insert_with(|| (message(), 0)).1 += 1;
        false
    }

    /// What was left out since the last call.
    fn take_left_out(&mut self) -> Vec<(String, u64)> {
        self.kinds.values_mut().filter_map(|kind| kind.left_out.take()).collect()
    }
}

/// The constant message of a line; no field of it, since those hold what differs.
fn message_of(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}").chars().take(MESSAGE_CHARS_MAX).collect();
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn what_is_beyond_the_bound_is_left_out_and_told_once() {
        let start = Instant::now();
        let mut kinds = Kinds { lines_max: 2, kinds: HashMap::new() };

        let taken: Vec<_> = (0..5).map(|_| kinds.take("a", start, || "Broke".to_owned())).collect();

        assert_eq!(taken, [true, true, false, false, false]);
        assert!(kinds.take("b", start, String::new), "each kind has a bound of its own");
        assert!(kinds.take("a", start + WINDOW, String::new), "a new window");
        assert_eq!(kinds.take_left_out(), [("Broke".to_owned(), 3)]);
        assert_eq!(kinds.take_left_out(), [], "once");
    }

    #[test]
    fn without_a_bound_nothing_is_left_out() {
        let mut kinds = Kinds { lines_max: 0, kinds: HashMap::new() };

        assert!((0..1000).all(|_| kinds.take("a", Instant::now(), String::new)));
    }

    /// Counts the lines that reach it.
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().expect("not poisoned").push(message_of(event));
        }
    }

    #[test]
    fn each_place_in_the_code_has_a_bound_of_its_own() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let lines = Lines(Arc::clone(&seen)).with_filter(Limit::new(3));

        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            for number in 0..10 {
                tracing::info!(number, "One");
                if number % 5 == 0 {
                    tracing::info!(number, "Other");
                }
            }
        });

        let seen = seen.lock().expect("not poisoned");
        assert_eq!(seen.iter().filter(|line| *line == "One").count(), 3, "{seen:?}");
        assert_eq!(seen.iter().filter(|line| *line == "Other").count(), 2, "{seen:?}");
    }
}
