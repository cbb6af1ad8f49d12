//! Running other programs, and saying what is done.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One line of progress on stderr.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell where stderr is gone.
    drop(writeln!(std::io::stderr().lock(), "xtask: {line}"));
}

/// One line of a result on stdout.
pub(crate) fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("stdout is gone")
}

/// Where a program is on `PATH`; each place, the first first.
pub(crate) fn on_path(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).filter(|file| is_program(file)).collect()
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether a program can be run at all.
pub(crate) fn runs(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    quiet.is_ok_and(|output| output.status.success())
}

/// Runs a program with its output shown; `Ok(false)` where it says that it failed.
pub(crate) fn shown(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot run {}", name(command)))?;
    Ok(status.success())
}

/// Runs a program with its output shown, and fails with it.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    if shown(command)? { Ok(()) } else { bail!("{} failed", name(command)) }
}

/// Runs a program and returns what it prints; on failure the error ends with its last line.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", name(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output");
        bail!("{} failed: {}", name(command), last.trim());
    }
    String::from_utf8(output.stdout).context("its output is not UTF-8")
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells `cargo run`'s child is about xtask, and would confuse build scripts into building anew.
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH").current_dir(crate::workspace::root());
    command
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let words = command.get_args().take(3).map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
}
