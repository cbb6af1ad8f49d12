//! A shell as somebody sits before it: takes lines, shows what they print, can be interrupted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use holdfast_chart::{page, repository};
use holdfast_harness::wait;

use crate::stage;

/// For each step: a person's patience with a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(200);

/// Variables of the suite.
const OURS: [&str; 3] = ["HOLDFAST_BIN_DIR", "HOLDFAST_TOOLS", "HOLDFAST_BOXES_INSIDE"];

/// Runs one file after another, each as if it were typed: in the same shell, with jobs of its own.
const SHELL: &str = r#"
set -m
at=0
trap 'printf "%s\n" "$BASH_COMMAND" >> "$TERMINAL/$((at + 1)).failed"' ERR
while :; do
    until [ -f "$TERMINAL/$((at + 1)).sh" ]; do sleep 0.1; done
    . "$TERMINAL/$((at + 1)).sh"
    at=$((at + 1))
    : > "$TERMINAL/$at.ended"
done
"#;

/// One of them; ends with our namespaces.
#[derive(Debug)]
pub(super) struct Terminal {
    folder: PathBuf,
    shell: Child,
    entered: usize,
    /// What to enter again until it shows what it should.
    again: Option<String>,
    /// Up to where what it shows has been looked at.
    seen: usize,
}

impl Terminal {
    /// Opens one at the top of the repository.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir(folder)?;
        let out = File::create(folder.join("out"))?;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", SHELL])
            .env("TERMINAL", folder)
            .env("TMPDIR", folder)
            .current_dir(repository::path("."));
        // A newcomer has none of the suite's own; the programs would take them for settings.
        for ours in OURS {
            bash.env_remove(ours);
        }
        let shell = bash.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn().context("no bash")?;
        Ok(Self { folder: folder.to_owned(), shell, entered: 0, again: None, seen: 0 })
    }

    /// All it has shown since it was last looked at.
    pub(super) fn said(&self) -> String {
        let all = fs::read(self.folder.join("out")).unwrap_or_default();
        String::from_utf8_lossy(all.get(self.seen..).unwrap_or_default()).into_owned()
    }

    fn file(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.entered))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.entered > 0 && !self.file("ended").exists()
    }

    /// Types these lines.
    pub(super) fn enter(&mut self, lines: &str, until: bool) -> Result<()> {
        self.seen = fs::metadata(self.folder.join("out"))?.len().try_into()?;
        self.entered += 1;
        self.again = until.then(|| lines.to_owned());
        let part = self.file("part");
        fs::write(&part, lines)?;
        // Whole or not at all: the shell looks for it.
        fs::rename(part, self.file("sh"))?;
        Ok(())
    }

    /// Waits until what was typed has ended.
    pub(super) async fn idle(&mut self) -> Result<()> {
        self.wait("it does not end", |terminal| Ok(!terminal.is_busy())).await
    }

    /// Waits until what was typed has ended, each command well.
    pub(super) async fn ended(&mut self) -> Result<()> {
        self.idle().await?;
        if self.again.is_none() {
            self.must_not_have_failed()?;
        }
        Ok(())
    }

    fn must_not_have_failed(&self) -> Result<()> {
        if let Ok(failed) = fs::read_to_string(self.file("failed")) {
            bail!("failed: {failed}{}", self.said());
        }
        Ok(())
    }

    /// Waits until it shows these lines.
    pub(super) async fn shows(&mut self, wanted: &str) -> Result<()> {
        self.wait(&format!("not shown:\n{wanted}"), |terminal| {
            if let Some(end) = page::shown(wanted, &terminal.said()) {
                terminal.seen += end;
                terminal.again = None;
                return Ok(true);
            }
            if let Some(lines) = terminal.again.clone().filter(|_| !terminal.is_busy()) {
                terminal.enter(&lines, true)?;
            } else if !terminal.is_busy() {
                bail!("it shows something else:\n{}\nand not:\n{wanted}", terminal.said());
            }
            Ok(false)
        })
        .await
    }

    /// Presses Ctrl-C: a signal for all that runs in the foreground.
    pub(super) async fn interrupt(&mut self) -> Result<()> {
        ensure!(self.is_busy(), "nothing runs that could be interrupted");
        let parent = self.shell.id().to_string();
        let children = stage::command("pgrep", &["-P", &parent])?;
        let group = children.lines().next().context("nothing in the foreground")?;
        // Jobs lead groups of their own.
        stage::command("kill", &["-INT", "--", &format!("-{group}")])?;
        self.idle().await
    }

    async fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let looks = PATIENCE.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            if done(self)? {
                return Ok(());
            }
            wait::pause(LOOK).await;
        }
        bail!("{what}\nshown so far:\n{}", self.said())
    }
}
