//! A recorded run: figures with what they were measured on. Two runs are compared only if the machine was alike.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::cores;
use crate::report::Row;

/// A file of figures, one outcome for each scenario.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) machine: Machine,
    pub(crate) outcomes: Vec<Outcome>,
}

/// What figures depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
}

/// What one scenario measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    /// What was built.
    pub(crate) commit: String,
    /// When, Unix seconds.
    pub(crate) time: u64,
    /// The command that does it again.
    pub(crate) command: String,
    pub(crate) rows: Vec<Row>,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_start_matches([':', ' ', '\t']).to_owned()).unwrap_or_default()
        };
        let memory_kib = field("/proc/meminfo", "MemTotal").split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: cores::count(),
            memory_gib: memory_kib.unwrap_or(0).div_ceil(1024 * 1024),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        }
    }
}

impl Record {
    /// Reads one.
    ///
    /// # Errors
    /// There is none, or it is none.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no record", path.display()))
    }

    /// Puts this outcome into the record at `path`, in the place of an older one of the same scenario.
    ///
    /// # Errors
    /// The record is of another machine.
    pub(crate) fn add(path: &Path, outcome: Outcome) -> anyhow::Result<()> {
        let machine = Machine::here();
        let mut record =
            if path.exists() { Self::read(path)? } else { Self { machine: machine.clone(), outcomes: Vec::new() } };
        ensure!(record.machine == machine, "{} is of another machine: {:?}", path.display(), record.machine);
        match record.outcomes.iter_mut().find(|known| known.scenario == outcome.scenario) {
            Some(known) => *known = outcome,
            None => record.outcomes.push(outcome),
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(&record)? + "\n")?;
        Ok(())
    }

    /// How each figure of this record differs from `older`'s, in percent of the older.
    ///
    /// # Errors
    /// The runs are not alike.
    pub(crate) fn compare(&self, older: &Self) -> anyhow::Result<Vec<(String, String, f64)>> {
        ensure!(self.machine == older.machine, "unlike machines: {:?} and {:?}", self.machine, older.machine);
        let mut all = Vec::new();
        for outcome in &self.outcomes {
            let Some(before) = older.outcomes.iter().find(|before| before.scenario == outcome.scenario) else {
                continue;
            };
            ensure!(
                before.command == outcome.command,
                "unlike runs of {}: {} and {}",
                outcome.scenario,
                before.command,
                outcome.command
            );
            for row in &outcome.rows {
                let known = before.rows.iter().find(|known| known.case == row.case && known.what == row.what);
                let Some(known) = known else { continue };
                let change = (row.median() / known.median() - 1.0) * 100.0;
                all.push((format!("{}: {}", outcome.scenario, row.case), row.what.clone(), change));
            }
        }
        Ok(all)
    }
}

/// The commit that is checked out, and whether something was changed since.
pub(crate) fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(processor: &str, command: &str, value: f64) -> Record {
        let machine = Machine { processor: processor.to_owned(), cores: 2, memory_gib: 4, kernel: "6".to_owned() };
        let row = Row { case: "c".to_owned(), what: "w".to_owned(), unit: "s".to_owned(), values: vec![value] };
        let outcome = Outcome {
            scenario: "s".to_owned(),
            commit: "x".to_owned(),
            time: 0,
            command: command.to_owned(),
            rows: vec![row],
        };
        Record { machine, outcomes: vec![outcome] }
    }

    #[test]
    fn only_like_runs_are_compared() {
        let compare = |older: Record| record("this", "run", 3.0).compare(&older);

        assert_eq!(compare(record("this", "run", 2.0)).unwrap()[0].2, 50.0);
        assert!(compare(record("other", "run", 2.0)).unwrap_err().to_string().contains("unlike machines"));
        assert!(compare(record("this", "run --more", 2.0)).unwrap_err().to_string().contains("unlike runs"));
    }
}
