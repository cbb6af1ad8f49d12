//! `cargo xtask fuzz`: the fuzz targets, each for a while, with cargo-fuzz on a nightly compiler.

use crate::archive::{self, Entry};
use crate::{run, workspace};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The targets, as `fuzz/Cargo.toml` names them.
const TARGETS: [&str; 11] =
    ["wire", "token", "send", "content", "frames", "json", "stomp", "session", "sockjs", "fallback", "urls"];

const AFTER_HELP: &str = "\
Needs a nightly toolchain and cargo-fuzz; says so and exits with 77 where one is missing. What is found lies in
fuzz/artifacts, and a run of the target with that file repeats it. Each begins with fuzz/seeds and with what was kept of
earlier runs in fuzz/corpus/<target>.tar.gz; --keep makes that anew.";

/// What the repository takes of one target's corpus.
const KEPT_BYTES_MAX: usize = 300 << 10;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FuzzArgs {
    /// Which targets; all where none is named.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Afterwards, keep the fewest inputs that reach all that was reached, in fuzz/corpus/TARGET.tar.gz.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &FuzzArgs) -> Result<ExitCode> {
    if let Some(unknown) = args.targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        bail!("no target {unknown}; there are {}", TARGETS.join(", "));
    }
    if !run::runs("cargo", &["+nightly", "fuzz", "--version"]) {
        run::say("skipped: needs a nightly toolchain and `cargo install cargo-fuzz`");
        return Ok(ExitCode::from(crate::SKIPPED));
    }
    let wanted =
        TARGETS.into_iter().filter(|target| args.targets.is_empty() || args.targets.iter().any(|t| t == target));
    let mut found = Vec::new();
    for target in wanted {
        run::say(&format!("fuzzing {target} for {} s", args.seconds));
        let limit = format!("-max_total_time={}", args.seconds);
        // What is found goes into the first folder; the others are read.
        let corpus = unpacked(target)?;
        let folders = [corpus.clone()].into_iter().chain(seeds(target));
        if !run::shown(&mut libfuzzer(target, folders, &[&limit, "-print_final_stats=1", "-verbosity=0"]))? {
            found.push(target);
        } else if args.keep {
            keep(target, &corpus)?;
        }
    }
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    run::say(&format!("failed: {}", found.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// The target over these folders, by the proxy of rustup: the compiler that runs us is another one.
fn libfuzzer(target: &str, folders: impl Iterator<Item = PathBuf>, options: &[&str]) -> Command {
    let mut fuzz = Command::new("cargo");
    fuzz.args(["+nightly", "fuzz", "run", target]).args(folders).arg("--").args(options);
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        fuzz.env_remove(name);
    }
    fuzz.current_dir(workspace::root());
    fuzz
}

fn seeds(target: &str) -> Option<PathBuf> {
    Some(workspace::root().join("fuzz/seeds").join(target)).filter(|seeds| seeds.is_dir())
}

fn kept(target: &str) -> PathBuf {
    workspace::root().join("fuzz/corpus").join(format!("{target}.tar.gz"))
}

/// The folder that the corpus grows in, with what is kept of it.
fn unpacked(target: &str) -> Result<PathBuf> {
    let corpora = workspace::root().join("fuzz/corpus");
    let corpus = corpora.join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    if let Ok(archive) = File::open(kept(target)) {
        let unpacked = tar::Archive::new(GzDecoder::new(archive)).unpack(&corpora);
        unpacked.with_context(|| format!("cannot unpack {}", kept(target).display()))?;
    }
    Ok(corpus)
}

/// The fewest inputs that reach all that the corpus reaches, packed.
fn keep(target: &str, corpus: &Path) -> Result<()> {
    let fewest = tempfile::tempdir().context("cannot make a folder")?;
    let folders = [fewest.path().to_owned(), corpus.to_owned()].into_iter().chain(seeds(target));
    ensure!(run::shown(&mut libfuzzer(target, folders, &["-merge=1", "-verbosity=0"]))?, "cannot merge {target}");
    let mut entries = Vec::new();
    for input in fs::read_dir(fewest.path())? {
        let input = input?;
        let name = input.file_name().into_string().ok().context("libFuzzer names inputs by their hashes")?;
        entries.push(Entry::read(&input.path(), name, false)?);
    }
    let inputs = entries.len();
    let packed = archive::pack(target, entries, 0)?;
    ensure!(packed.len() <= KEPT_BYTES_MAX, "{target}: {} bytes are more than is kept", packed.len());
    run::say(&format!("keeping {inputs} inputs of {target}, {} bytes", packed.len()));
    fs::write(kept(target), packed).with_context(|| format!("cannot write {}", kept(target).display()))
}
