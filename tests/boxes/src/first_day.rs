//! `docs/first-day.md` followed to the letter: what it says to type is typed, in as many terminals as it names, and what it
//! shows must come. In a network of our own, so that its ports are free whatever else runs here.
//!
//! Its blocks for Kubernetes are for the suite `chart`, on an API server.

mod terminal;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use holdfast_chart::page::{self, Block};
use holdfast_chart::repository;

use self::terminal::Terminal;
use crate::say;
use crate::stage;

const PAGE: &str = "docs/first-day.md";
/// What is typed where it is said to press Ctrl-C.
const INTERRUPT: &str = "^C\n";

/// Runs the suite.
///
/// # Errors
/// The page cannot be followed; the error names the line.
pub(crate) async fn run() -> Result<()> {
    stage::command("ip", &["link", "set", "lo", "up"])?;
    let page = repository::read(PAGE)?;
    let blocks = page::blocks(&page)?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut day = Day { folder, terminals: BTreeMap::new(), missing: BTreeSet::new() };
    let mut followed = 0;
    for block in blocks.iter().filter(|block| block.place.starts_with("terminal-")) {
        if day.can(block) {
            day.follow(block).await.with_context(|| format!("{PAGE}:{}", block.line))?;
            followed += 1;
        }
    }
    ensure!(followed > 20, "{followed} blocks: that is no day");
    for program in &day.missing {
        say(&format!("note: {program} is not installed: what the page does with it was left out"));
    }
    say(&format!("{PAGE}: {followed} blocks typed and seen in {} terminals", day.terminals.len()));
    Ok(())
}

struct Day {
    folder: tempfile::TempDir,
    terminals: BTreeMap<String, Terminal>,
    missing: BTreeSet<String>,
}

impl Day {
    fn can(&mut self, block: &Block) -> bool {
        let missing = block.needs().filter(|program| stage::installed(program).is_err());
        self.missing.extend(missing.map(str::to_owned));
        missing.is_none()
    }

    async fn follow(&mut self, block: &Block) -> Result<()> {
        if !self.terminals.contains_key(&block.place) {
            let terminal = Terminal::open(&self.folder.path().join(&block.place))?;
            self.terminals.insert(block.place.clone(), terminal);
        }
        let terminal = self.terminals.get_mut(&block.place).context("it was just opened")?;
        if !block.typed {
            return terminal.shows(&block.text).await;
        }
        if block.text == INTERRUPT {
            return terminal.interrupt().await;
        }
        terminal.idle().await?;
        terminal.enter(&block.text, block.has("until"))?;
        // What stays is looked at by what it shows.
        if block.has("stays") { Ok(()) } else { terminal.ended().await }
    }
}
