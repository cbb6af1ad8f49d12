//! `cargo xtask check`: everything a change must pass besides the tests. Goes on after a failure, to tell all of them.

use crate::{docs, run, tidy};
use anyhow::Result;
use std::process::{Command, ExitCode, Stdio};

pub(crate) fn run() -> Result<ExitCode> {
    let mut failed = Vec::new();
    let mut step = |name: &'static str, passed: Result<bool>| {
        match passed {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => run::say(&format!("{name}: {error:#}")),
        }
        failed.push(name);
    };
    step("format", cargo(&["fmt", "--all", "--check"], |_| {}));
    step("tidy", tidy::check());
    step("clippy", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], |_| {}));
    step(
        "rustdoc",
        cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"], |command| {
            command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
        }),
    );
    step("generated docs", docs::check());
    if deny(&["--version"]) {
        step("dependencies", cargo(&["deny", "check", "bans", "licenses", "sources"], |_| {}));
        if deny(&["fetch", "db"]) {
            step("advisories", cargo(&["deny", "check", "advisories"], |_| {}));
        } else {
            run::say("advisories: skipped, their database cannot be fetched");
        }
    } else {
        run::say("dependencies: skipped, cargo-deny is not installed (cargo install cargo-deny --locked)");
    }
    if failed.is_empty() {
        run::say("everything checked is in order");
        return Ok(ExitCode::SUCCESS);
    }
    run::say(&format!("not in order: {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// Whether cargo-deny is there and does this much.
fn deny(arguments: &[&str]) -> bool {
    let quiet = run::cargo().arg("deny").args(arguments).stdin(Stdio::null()).output();
    quiet.is_ok_and(|output| output.status.success())
}

fn cargo(arguments: &[&str], with: impl FnOnce(&mut Command)) -> Result<bool> {
    run::say(&format!("cargo {}", arguments.join(" ")));
    let mut command = run::cargo();
    with(&mut command);
    run::shown(command.args(arguments))
}
