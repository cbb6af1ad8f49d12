//! A browser and its tabs, whichever it is. Knows nothing of the page.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use holdfast_harness::wait;
use serde_json::Value;

use crate::chromium::Chromium;
use crate::firefox::Firefox;

/// How long the page may take to come to show something.
const PAGE_PATIENCE: Duration = Duration::from_secs(20);

/// A running browser. Dropping it ends it.
#[derive(Debug)]
pub(crate) enum Browser {
    Chromium(Chromium),
    Firefox(Firefox),
}

/// One tab.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tab {
    /// What the browser calls it.
    pub(crate) handle: String,
    /// Chromium's way to speak to it.
    pub(crate) session: String,
}

impl Browser {
    /// Starts Chromium with an empty profile under `folder`.
    pub(crate) async fn chromium(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        Ok(Self::Chromium(Chromium::start(program, folder).await.context("start Chromium")?))
    }

    /// Starts Firefox with an empty profile under `folder`.
    pub(crate) async fn firefox(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        Ok(Self::Firefox(Firefox::start(program, folder).await.context("start Firefox")?))
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Chromium(_) => "Chromium",
            Self::Firefox(_) => "Firefox",
        }
    }

    /// Opens a tab and loads `url` in it.
    pub(crate) async fn open(&mut self, url: &str) -> anyhow::Result<Tab> {
        match self {
            Self::Chromium(chromium) => chromium.open(url).await,
            Self::Firefox(firefox) => firefox.open(url).await,
        }
    }

    /// Closes a tab, as its user would.
    pub(crate) async fn close(&mut self, tab: Tab) -> anyhow::Result<()> {
        match self {
            Self::Chromium(chromium) => chromium.close(tab).await,
            Self::Firefox(firefox) => firefox.close(&tab).await,
        }
    }

    /// The value of an expression in the page; a promise is awaited.
    pub(crate) async fn value(&mut self, tab: &Tab, expression: &str) -> anyhow::Result<Value> {
        match self {
            Self::Chromium(chromium) => chromium.value(tab, expression).await,
            Self::Firefox(firefox) => firefox.value(tab, expression).await,
        }
    }

    /// Waits until an expression has this value.
    pub(crate) async fn becomes(&mut self, tab: &Tab, expression: &str, expected: &Value) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PAGE_PATIENCE;
        loop {
            let value = self.value(tab, expression).await?;
            if value == *expected {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{expression} is {value} and not {expected} within {PAGE_PATIENCE:?}; {:?}", self.complaints());
            }
            wait::pause(Duration::from_millis(20)).await;
        }
    }

    /// Exceptions and errors in the console so far; Chromium's alone.
    pub(crate) fn complaints(&self) -> &[String] {
        match self {
            Self::Chromium(chromium) => chromium.complaints(),
            Self::Firefox(_) => &[],
        }
    }
}
