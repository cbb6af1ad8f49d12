//! Results as they come, as a table at the end, and as one line of JSON. Knows nothing of what was measured.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

/// All results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    cores: usize,
    results: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    detail: Value,
}

/// A line for whoever watches.
pub(crate) fn note(text: &str) {
    // A run whose watcher has left goes on.
    drop(writeln!(std::io::stderr(), "{text}"));
}

impl Report {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self { version: env!("CARGO_PKG_VERSION"), cores, results: Vec::new() }
    }

    /// One number, said at once and kept for the end. `detail`: what it was computed from.
    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &'static str, detail: Value) {
        note(&format!("  {}", line(what, value, unit)));
        self.results.push(Row { what: what.to_owned(), value, unit, detail });
    }

    /// The table to standard error, the JSON to standard output.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        note(&format!("\n{} cores, {}", self.cores, self.version));
        for row in &self.results {
            note(&line(&row.what, row.value, row.unit));
        }
        writeln!(std::io::stdout(), "{}", serde_json::to_string(self)?)?;
        Ok(())
    }
}

fn line(what: &str, value: f64, unit: &str) -> String {
    let digits = if value.abs() < 10.0 { 2 } else { 0 };
    format!("{what:<52} {value:>12.digits$} {unit}")
}
