//! What the programs print: a line per check, and how many there were. A program that ends early is a failure.

use std::fmt;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// Checks, added up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Report {
    /// Reads lines `ok …`, `FAILED …` and `skipped …`, shows them, and expects `done <count>` as the last.
    pub(crate) async fn read(output: impl AsyncRead + Unpin) -> anyhow::Result<Self> {
        let mut lines = BufReader::new(output).lines();
        let mut report = Self::default();
        let mut done = None;
        while let Some(line) = lines.next_line().await? {
            match line.split(' ').next() {
                Some("done") => done = line.split(' ').nth(1).and_then(|count| count.parse().ok()),
                Some(word) => report.note(word),
                None => {}
            }
            show(&line);
        }
        let done: usize = done.context("it ended before it was done")?;
        if done != report.passed + report.failed + report.skipped {
            bail!("{done} checks done, but {report}");
        }
        Ok(report)
    }

    fn note(&mut self, word: &str) {
        match word {
            "ok" => self.passed += 1,
            "FAILED" => self.failed += 1,
            "skipped" => self.skipped += 1,
            // What a library says.
            _ => {}
        }
    }

    /// Takes another's in.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

#[expect(clippy::print_stdout, reason = "the report is for whoever runs the suite")]
fn show(line: &str) {
    println!("{line}");
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} checks hold, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_added_up() {
        let report = Report::read(&b"ok a\nnoise\nFAILED b: why\nskipped c: why\nok d\ndone 4\n"[..]).await.unwrap();

        assert_eq!(report, Report { passed: 2, failed: 1, skipped: 1 });
    }

    #[tokio::test]
    async fn an_early_end_is_a_failure() {
        Report::read(&b"ok a\n"[..]).await.unwrap_err();
        Report::read(&b"ok a\ndone 2\n"[..]).await.unwrap_err();
    }
}
