//! Where the programs under test are.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Oldest nats-server that will do: micro-service headers and the stream metadata need it.
const NATS_SERVER_OLDEST: (u32, u32) = (2, 11);

/// The path of one of our programs: in `HOLDFAST_BIN_DIR`, else beside the running test.
///
/// # Panics
/// If there is none, with the command that builds it.
pub fn holdfast(name: &str) -> PathBuf {
    let folder = match variable("HOLDFAST_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => target_profile_folder(),
    };
    let path = folder.join(name);
    assert!(path.is_file(), "no {name} in {}: `cargo xtask test` builds it and runs these tests", folder.display());
    path
}

/// The path of a nats-server that is new enough: `NATS_SERVER_BIN`, then `PATH`, then `target/tools`.
///
/// # Panics
/// If there is none, with what to do.
pub fn nats_server() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            if let Some(path) = variable("NATS_SERVER_BIN") {
                return path.into();
            }
            let search = variable("PATH").unwrap_or_default();
            let tools = target_profile_folder().join("../tools");
            let folders = env::split_paths(&search).chain([tools]);
            let mut seen = Vec::new();
            for path in folders.map(|folder| folder.join("nats-server")).filter(|path| path.is_file()) {
                match version(&path) {
                    Some(version) if version >= NATS_SERVER_OLDEST => return path,
                    version => seen.push(format!("{} ({version:?})", path.display())),
                }
            }
            panic!(
                "no nats-server of 2.11 or newer (seen: {seen:?}): `cargo xtask test` gets one, or name one in NATS_SERVER_BIN"
            )
        })
        .clone()
}

/// The path of an OpenTelemetry collector, if there is one: `OTELCOL_BIN`, then `PATH`, then `target/tools`.
pub fn otelcol() -> Option<PathBuf> {
    if let Some(path) = variable("OTELCOL_BIN") {
        return Some(path.into());
    }
    let search = variable("PATH").unwrap_or_default();
    let tools = target_profile_folder().join("../tools");
    let mut folders = env::split_paths(&search).chain([tools]);
    folders.find_map(|folder| Some(folder.join("otelcol")).filter(|path| path.is_file()))
}

#[expect(clippy::disallowed_methods, reason = "where the programs are is the harness's own setting")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// `target/debug` for a test in `target/debug/deps`.
fn target_profile_folder() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let folder = test.parent().expect("a program is in a folder");
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder).to_owned() } else { folder.to_owned() }
}

fn version(nats_server: &Path) -> Option<(u32, u32)> {
    let output = Command::new(nats_server).arg("--version").output().ok()?;
    // "nats-server: v2.11.4"
    let text = String::from_utf8(output.stdout).ok()?;
    let (_, version) = text.trim().rsplit_once('v')?;
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}
