//! `cargo xtask tidy`: the rules of this repository that no compiler checks, as `file:line: what`.
//!
//! Also runs as a test of this crate, so `cargo test` alone finds a breach.

mod edges;
mod files;
mod ratchet;
mod rules;

use crate::{run, workspace};
use anyhow::Result;
use clap::Args;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(crate) struct TidyArgs {
    /// Lower the recorded lengths of long files to what they are now.
    #[arg(long)]
    lower: bool,
}

/// A breach of a rule. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

pub(crate) fn run(args: &TidyArgs) -> Result<ExitCode> {
    if args.lower {
        ratchet::lower(&files::all()?)?;
    }
    Ok(if check()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all is tidy; tells what is not.
pub(crate) fn check() -> Result<bool> {
    let findings = findings()?;
    for finding in &findings {
        run::say(&finding.to_string());
    }
    Ok(findings.is_empty())
}

fn findings() -> Result<Vec<Finding>> {
    let files = files::all()?;
    let mut findings = edges::check(&workspace::metadata()?)?;
    for file in &files {
        rules::check(file, &mut findings);
    }
    findings.extend(ratchet::check(&files)?);
    findings.sort();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let findings: Vec<String> = findings().expect("checked").iter().map(ToString::to_string).collect();

        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
