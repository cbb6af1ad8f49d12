//! `holdfast-chart generate` writes the generated files; `test` renders and judges the chart with a real helm, and with
//! `--cluster` also installs it. Exit status 77: helm or the cluster is not there.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use holdfast_chart::checks::{self, cluster};
use holdfast_chart::generated;
use holdfast_chart::helm::Tools;

const USAGE: &str = "\
usage: holdfast-chart generate
       holdfast-chart test [--tools FOLDER] [--cluster]

--tools    look for helm, kubectl, nats-server, promtool, holdfast-gateway and holdfast-router here first
--cluster  also install each example on the cluster that kubectl speaks to: it may hold nothing dear";

/// What a skipped suite exits with.
const SKIPPED: u8 = 77;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate"] => generate(),
        ["test", options @ ..] => match parse(options) {
            Some((tools, cluster)) => test(&tools, cluster),
            None => usage(),
        },
        _ => usage(),
    }
}

fn parse(options: &[&str]) -> Option<(Tools, bool)> {
    let (mut folder, mut cluster) = (None, false);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match *option {
            "--tools" => folder = Some(PathBuf::from(rest.next()?)),
            "--cluster" => cluster = true,
            _ => return None,
        }
    }
    Some((Tools::new(folder), cluster))
}

fn usage() -> Result<ExitCode> {
    say(USAGE)?;
    Ok(ExitCode::from(2))
}

fn generate() -> Result<ExitCode> {
    for path in generated::write()? {
        say(&format!("wrote {path}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn test(tools: &Tools, with_cluster: bool) -> Result<ExitCode> {
    if !tools.has("helm", "version") {
        say("chart skipped: helm is not there")?;
        return Ok(ExitCode::from(SKIPPED));
    }
    for program in ["nats-server", "promtool"] {
        if !tools.has(program, "--version") {
            say(&format!("note: {program} is not there, so the files it would read are not checked by it"))?;
        }
    }
    let scratch = scratch()?;
    let mut complaints = checks::examples(tools, &scratch)?;
    complaints.extend(checks::refusals(tools)?);
    for complaint in &complaints {
        say(complaint)?;
    }
    if !complaints.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    say("rendered: every example good, every refusal as it should be")?;
    if with_cluster {
        if !cluster::reachable(tools) {
            say("chart on a cluster skipped: kubectl reaches none")?;
            return Ok(ExitCode::from(SKIPPED));
        }
        cluster::run(tools, &scratch, |step| drop(say(step)))?;
    }
    std::fs::remove_dir_all(&scratch)?;
    Ok(ExitCode::SUCCESS)
}

fn scratch() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("holdfast-chart-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
