//! The text files of the repository, as far as they are ours.

use crate::{run, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file, by its path from the top.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl File {
    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether all of it is tests: in `tests/` or `benches/`, or a module of tests beside the code.
    pub(super) fn is_test(&self) -> bool {
        let in_tests = self.path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
        in_tests || self.path.file_name().is_some_and(|name| name == "tests.rs")
    }

    /// Its lines with their numbers, up to the first inline module of tests.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        lines.take_while(|(_, line)| line.trim_start() != "#[cfg(test)]")
    }
}

/// All of them: what Git tracks or would track; without Git (a source archive), what is there.
pub(super) fn all() -> Result<Vec<File>> {
    let root = workspace::root();
    let listed =
        run::output(Command::new("git").arg("-C").arg(root).args(["ls-files", "-z", "-c", "-o", "--exclude-standard"]));
    let paths = match listed {
        Ok(listed) => listed.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from).collect(),
        Err(_) => walk(root, Path::new(""))?,
    };
    let mut files = Vec::new();
    for path in paths {
        // A file deleted and not yet committed is listed, a binary one is not text.
        if let Ok(text) = fs::read_to_string(root.join(&path)) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

fn walk(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != "target" && name != ".git" && name != "node_modules" {
                paths.extend(walk(root, &path)?);
            }
        } else {
            paths.push(path);
        }
    }
    Ok(paths)
}
