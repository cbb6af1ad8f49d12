//! `cargo xtask dist`: what a release consists of, such that who builds the same commit with the same compiler gets the
//! same bytes: an archive of the programs, what is in them (an SBOM), and the sums of both.

mod sbom;

use crate::archive::{self, Entry};
use crate::{run, workspace};
use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const AFTER_HELP: &str = "\
Makes, in target/dist or --out:

  holdfast-VERSION-TARGET.tar.gz   the three programs, units, the documentation of settings and operation
  holdfast-VERSION.cdx.json        what they are made of (CycloneDX 1.6)
  SHA256SUMS                       for sha256sum --check

Reproducible: times are the commit's, owners are root, entries are sorted, paths of this machine are not in the programs.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DistArgs {
    /// Where to; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Pack programs that are built already, from this folder.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
}

const PROGRAMS: [&str; 3] = ["holdfast", "holdfast-gateway", "holdfast-router"];
const PACKAGES: [&str; 3] = ["holdfast-cli", "holdfast-gateway", "holdfast-router"];
/// Files and folders that go along, and where to.
const ALONG: [(&str, &str); 8] = [
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("deploy/systemd", "systemd"),
    ("docs/config.md", "docs/config.md"),
    ("docs/metrics.md", "docs/metrics.md"),
    ("docs/operations.md", "docs/operations.md"),
    ("docs/runbooks", "docs/runbooks"),
];

pub(crate) fn run(args: &DistArgs) -> Result<ExitCode> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => workspace::target()?.join("dist"),
    };
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let host = host()?;
    let (commit_s, revision) = commit()?;
    let binaries = match &args.binaries {
        Some(folder) => folder.clone(),
        None => build(commit_s, &revision)?,
    };
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("holdfast-{version}-{host}");
    let archive = archive::pack(&name, entries(&binaries)?, commit_s)?;
    let sbom = sbom::make(&sbom::Metadata::read(&host)?, &PACKAGES, version, commit_s)?;
    let files = [(format!("{name}.tar.gz"), archive), (format!("holdfast-{version}.cdx.json"), sbom.into_bytes())];
    for (name, bytes) in &files {
        fs::write(out.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
        run::say(&format!("wrote {}", out.join(name).display()));
    }
    fs::write(out.join("SHA256SUMS"), sums(&files)).context("cannot write SHA256SUMS")?;
    Ok(ExitCode::SUCCESS)
}

/// As `sha256sum` writes them.
fn sums(files: &[(String, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        let sum = Sha256::digest(bytes);
        let hex = sum.iter().fold(String::new(), |mut hex, byte| {
            // A text in memory takes everything.
            write!(hex, "{byte:02x}").unwrap_or_default();
            hex
        });
        text.push_str(&format!("{hex}  {name}\n"));
    }
    text
}

/// The programs, without paths of this machine in them.
fn build(commit_s: u64, revision: &str) -> Result<PathBuf> {
    run::say("building the programs for release (some minutes)");
    let target = workspace::target()?.join("dist-build");
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    // The last that fits counts: the folder that is built in may be below the repository, or elsewhere.
    let mut known = vec![(workspace::root().to_owned(), "/holdfast"), (target.clone(), "/target")];
    known.extend(home.map(|home| (home, "/cargo")));
    let known = known.iter().map(|(path, name)| format!("{}={name}", path.display()));
    let (flags, c_flags): (Vec<_>, Vec<_>) =
        known.map(|map| (format!("--remap-path-prefix={map}"), format!("-ffile-prefix-map={map}"))).unzip();
    let mut cargo = run::cargo();
    cargo.args(["build", "--release", "--locked", "--bins", "--target-dir"]).arg(&target);
    cargo.args(PACKAGES.iter().flat_map(|package| ["-p", package]));
    // Between the flags stands the separator that Cargo asks for: paths may have spaces.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env("SOURCE_DATE_EPOCH", commit_s.to_string());
    // What dependencies compile of C.
    cargo.env("CFLAGS", c_flags.join(" ")).env("HOLDFAST_BUILD_REVISION", revision);
    run::must(&mut cargo)?;
    Ok(target.join("release"))
}

fn entries(binaries: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for program in PROGRAMS {
        entries.push(Entry::read(&binaries.join(program), format!("bin/{program}"), true)?);
    }
    for (from, to) in ALONG {
        let from = workspace::root().join(from);
        if from.is_dir() {
            for file in fs::read_dir(&from).with_context(|| format!("cannot list {}", from.display()))? {
                let file = file?;
                let name = file.file_name().to_string_lossy().into_owned();
                entries.push(Entry::read(&file.path(), format!("{to}/{name}"), false)?);
            }
        } else {
            entries.push(Entry::read(&from, to.to_owned(), false)?);
        }
    }
    Ok(entries)
}

/// The target that is built for: this machine's.
fn host() -> Result<String> {
    let text = run::output(Command::new("rustc").arg("-vV").current_dir(workspace::root()))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}

/// When the commit was made, Unix time in seconds, and what it is called.
fn commit() -> Result<(u64, String)> {
    let git = |arguments: &[&str]| run::output(Command::new("git").args(arguments).current_dir(workspace::root()));
    let said = git(&["log", "-1", "--format=%ct %H"])?;
    let (time_s, revision) = said.trim().split_once(' ').context("git does not tell a commit")?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    if changed {
        run::say("note: there are changes that are in no commit; the programs will say so");
    }
    // As short as people write it, and the same in each clone.
    let revision = revision.get(..12).context("git does not tell a commit")?;
    let revision = format!("{revision}{}", if changed { "-changed" } else { "" });
    Ok((time_s.parse().context("git does not tell a time")?, revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_sha256sum_checks() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "abc").unwrap();

        let text = sums(&[("a".to_owned(), b"abc".to_vec())]);

        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n");
        fs::write(folder.path().join("SHA256SUMS"), text).unwrap();
        let checked =
            Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&folder).status();
        assert!(checked.unwrap().success());
    }

    #[test]
    fn what_goes_along_is_there() {
        let binaries = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            fs::write(binaries.path().join(program), program).unwrap();
        }

        let entries = entries(binaries.path()).unwrap();

        for wanted in ["bin/holdfast-gateway", "systemd/holdfast-gateway.service", "docs/operations.md", "LICENSE"] {
            assert!(entries.iter().any(|entry| entry.path == wanted), "{wanted}");
        }
    }
}
