//! Files stay short: at most [`LINES_MAX`] without tests. Those that were longer are recorded and may only shrink.
//! (Functions are clippy's: `too_many_lines`.)

use super::Finding;
use super::files::File;
use crate::workspace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 400;

/// Lines of `path length`.
const RECORD: &str = "xtask/long-files.txt";

pub(super) fn check(files: &[File]) -> Result<Vec<Finding>> {
    let record = read()?;
    let mut findings = Vec::new();
    for (path, length) in long(files) {
        let allowed = record.get(path).copied().unwrap_or(LINES_MAX);
        if length > allowed {
            let what = format!("has {length} lines without tests, {allowed} are allowed; split it by responsibility");
            findings.push(Finding { path: path.to_owned(), line: 1, what });
        }
    }
    for (path, recorded) in &record {
        let now = files.iter().find(|file| file.path == *path).map_or(0, |file| file.code().count());
        if now < *recorded {
            let what =
                format!("is recorded with {recorded} lines in {RECORD} and has {now}; run `cargo xtask tidy --lower`");
            findings.push(Finding { path: path.clone(), line: 1, what });
        }
    }
    Ok(findings)
}

/// Records the lengths as they are, for files recorded already.
pub(super) fn lower(files: &[File]) -> Result<()> {
    let record = read()?;
    let mut text = String::new();
    for (path, length) in long(files) {
        if let Some(recorded) = record.get(path) {
            writeln!(text, "{} {}", path.display(), length.min(*recorded))?;
        }
    }
    fs::write(workspace::root().join(RECORD), text).with_context(|| format!("cannot write {RECORD}"))
}

fn long(files: &[File]) -> impl Iterator<Item = (&Path, usize)> {
    let ours = files.iter().filter(|file| file.is_rust() && !file.is_test());
    ours.map(|file| (file.path.as_path(), file.code().count())).filter(|(_, length)| *length > LINES_MAX)
}

fn read() -> Result<BTreeMap<PathBuf, usize>> {
    let text = fs::read_to_string(workspace::root().join(RECORD)).with_context(|| format!("cannot read {RECORD}"))?;
    let line = |line: &str| {
        let (path, length) = line.rsplit_once(' ').with_context(|| format!("{RECORD}: {line:?}"))?;
        Ok((PathBuf::from(path), length.parse()?))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: usize) -> File {
        let text = format!("//! A.\n{}", "fn a() {}\n".repeat(lines - 1));
        File { path: PathBuf::from("gateway/src/a.rs"), text }
    }

    #[test]
    fn only_lines_before_the_tests_count() {
        let mut tested = file(LINES_MAX);
        tested.text.push_str("#[cfg(test)]\nmod tests {}\n");

        assert_eq!(long(&[tested]).count(), 0);
        assert_eq!(long(&[file(LINES_MAX + 1)]).count(), 1);
    }
}
