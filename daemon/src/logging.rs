//! The log on stderr, and the one printer of error chains.
//!
//! Pretty on a terminal, one JSON object per line otherwise. Logs go to stderr because stdout carries the ready line.

mod limit;

use self::limit::Limit;
use crate::config::{Field, Loaded, Raw, Service, Value};
use crate::reload::Reloads;
use crate::shutdown::Tasks;
use crate::telemetry::{self, Telemetry, TelemetryError, TraceSettings};
use std::error::Error;
use std::fmt::{self, Write};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::OnceLock;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as lines, reload};

crate::choices! {
    /// The form of the log lines.
    pub enum LogFormat {
        /// Pretty on a terminal, JSON otherwise.
        Auto = "auto",
        /// For people.
        Pretty = "pretty",
        /// For machines.
        Json = "json",
    }
}

crate::settings! {
    /// The log, on stderr.
    pub struct LogSettings {
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or per module as `info,holdfast_gateway=debug`.
        pub level: LogLevel = "info",
        /// The form of the lines; `auto` is pretty on a terminal and JSON otherwise.
        pub format: LogFormat = "auto",
        /// Lines of one kind (from one place in the code) in ten seconds. What is beyond is left out and counted, and a
        /// line says how many. `0` is no bound.
        pub lines_per_kind_max: u32 = "200",
    }
}

/// A level, or levels per module, already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl Value for LogLevel {
    const KIND: &'static str = "level, or `module=level` list";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = match raw {
            Raw::List(items) => items.join(","),
            raw => raw.text()?.to_owned(),
        };
        // A bare misspelt level would be taken for the name of a module, and log nothing of ours.
        let words = text.split(',').map(str::trim);
        let bad = words.filter(|word| !word.contains('=')).find(|word| word.parse::<tracing::Level>().is_err());
        match (bad, EnvFilter::try_new(&text)) {
            (None, Ok(_)) => Ok(Self(text)),
            (Some(word), _) => Err(format!("{word:?} is none of: error, warn, info, debug, trace")),
            (None, Err(_)) => Err(format!("{text:?} is no list of levels")),
        }
    }
}

impl LogLevel {
    /// Libraries stay at warnings unless they are named, and the bus client quiet: `bus` says what it reports, once.
    fn filter(&self) -> EnvFilter {
        EnvFilter::new(format!("async_nats=off,opentelemetry=warn,hyper=warn,reqwest=warn,{}", self.0))
    }
}

/// Sets up the log of the process, with spans going to a collector where one is configured.
///
/// Must be called once, before the first runtime is built (the exporter has a thread of its own); what it returns
/// must be kept until the end of `main`, where dropping it sends the last spans (for at most some seconds).
///
/// # Errors
/// Where the collector's address is unusable.
pub fn init(service: &str, node: &str, log: &LogSettings, trace: &TraceSettings) -> Result<Telemetry, TelemetryError> {
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if json {
        Box::new(lines::layer().json().flatten_event(true).with_span_list(false).with_writer(io::stderr))
    } else {
        let terminal = io::stderr().is_terminal();
        Box::new(lines::layer().compact().with_target(false).with_ansi(terminal).with_writer(io::stderr))
    };
    // The log is set up in any case, so that the error can be told.
    let (spans, outcome) = match telemetry::layer(service, node, trace) {
        Ok((spans, telemetry)) => (spans, Ok(telemetry)),
        Err(error) => (None, Err(error)),
    };
    let (filter, handle) = reload::Layer::new(log.level.filter());
    let limit = LIMIT.get_or_init(|| Limit::new(log.lines_per_kind_max)).clone();
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter.and(limit))).with(spans);
    let set_up = registry.try_init().is_ok();
    let change = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    if !set_up || LEVEL.set(Box::new(change)).is_err() {
        tracing::warn!("The log was already set up");
    }
    outcome
}

static LIMIT: OnceLock<Limit> = OnceLock::new();

/// Shows how many lines were left out.
///
/// # Errors
/// The metric was declared twice.
pub fn register(registry: &prometheus::Registry) -> prometheus::Result<()> {
    registry.register(Box::new(limit::counter()?))
}

/// Says from time to time which lines were left out.
pub fn tell_left_out(tasks: &Tasks) {
    if let Some(limit) = LIMIT.get() {
        limit.tell(tasks);
    }
}

/// Changes what the log of this process takes.
type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static LEVEL: OnceLock<Change> = OnceLock::new();

/// Logs at another level from now on.
///
/// # Errors
/// Where the log was never set up.
pub fn set_level(level: &LogLevel) -> Result<(), String> {
    LEVEL.get().ok_or("the log is not set up")?(level.filter())
}

/// Keeps the log's level as the settings say, also when their file changes. All other settings stay as they were at
/// the start.
pub fn keep_level<S>(
    reloads: &Reloads,
    loaded: &Loaded<S>,
    service: &'static Service<S>,
    log: impl Fn(&S) -> &LogSettings + Send + 'static,
) where
    S: Field + Clone + Send + 'static,
{
    let files = loaded.file().map(Path::to_owned).into_iter().collect();
    let loaded = loaded.clone();
    reloads.keep("log_level", files, move || {
        let again = loaded.again(service).map_err(|problems| problems.to_string())?;
        set_level(&log(&again.settings).level)
    });
}

/// An error with its causes, `a: b: c`; a cause whose text its parent already ends with is left out, because some
/// libraries print their source themselves.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

/// See [`chain`].
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::new();
        let mut next = Some(self.0);
        while let Some(error) = next {
            let text = error.to_string();
            if shown.is_empty() {
                shown = text;
            } else if !shown.ends_with(&text) {
                write!(shown, ": {text}")?;
            }
            next = error.source();
        }
        f.write_str(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("cannot read the key")]
        Plain(#[source] io::Error),
        #[error("cannot read the key: {0}")]
        Stutters(#[source] io::Error),
    }

    #[test]
    fn a_chain_names_each_level_once() {
        let plain = Sample::Plain(io::Error::other("disk on fire"));
        let stutters = Sample::Stutters(io::Error::other("disk on fire"));

        assert_eq!(chain(&plain).to_string(), "cannot read the key: disk on fire");
        assert_eq!(chain(&stutters).to_string(), "cannot read the key: disk on fire");
    }

    #[test]
    fn a_misspelt_level_is_refused_and_modules_are_not() {
        assert!(LogLevel::parse(&Raw::Text("infoo".into())).is_err());
        assert!(LogLevel::parse(&Raw::Text("info,holdfast_gateway=debug".into())).is_ok());
    }
}
