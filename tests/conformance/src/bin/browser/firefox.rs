//! Firefox by its own protocol, Marionette: over TCP on a port of its choice, `<bytes>:[0,<id>,"<command>",{…}]` there and
//! `<bytes>:[1,<id>,<error>,<result>]` back. Knows nothing of the page.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use holdfast_harness::wait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::browser::Tab;

/// How long it may take to start, and one answer of it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Where it writes the port it has chosen.
const PORT_FILE: &str = "MarionetteActivePort";
/// A port of its choice; no first-run pages, no requests to anybody else.
const PREFERENCES: &str = r#"user_pref("marionette.port", 0);
user_pref("app.normandy.enabled", false);
user_pref("app.update.disabledForTesting", true);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.safebrowsing.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,");
"#;

/// A running browser. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Firefox {
    stream: BufReader<TcpStream>,
    last_id: u64,
    /// The tab that it began with: where it is when another is opened or was closed.
    first: Tab,
    _process: Child,
}

impl Firefox {
    /// Starts `program` with an empty profile under `folder`.
    pub(crate) async fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let profile = folder.join("firefox");
        std::fs::create_dir_all(&profile)?;
        std::fs::write(profile.join("user.js"), PREFERENCES)?;
        let mut command = Command::new(program);
        command.args(["--headless", "--no-remote", "--marionette", "--profile"]).arg(&profile);
        // It writes beside its profile too.
        command.env("HOME", folder).env_remove("DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn()?;
        let port = tokio::time::timeout(ANSWER_PATIENCE, port(&profile.join(PORT_FILE))).await;
        let port = port.context("it tells no port")?;
        let stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        let mut firefox = Self { stream, last_id: 0, first: Tab::default(), _process: process };
        // It greets.
        firefox.read().await?;
        firefox.call("WebDriver:NewSession", json!({})).await?;
        let first = firefox.call("WebDriver:GetWindowHandle", json!({})).await?;
        firefox.first.handle = first["value"].as_str().context("a tab has a handle")?.to_owned();
        Ok(firefox)
    }

    /// Opens a tab and loads `url` in it.
    pub(crate) async fn open(&mut self, url: &str) -> anyhow::Result<Tab> {
        let first = self.first.clone();
        self.turn_to(&first).await?;
        let opened = self.call("WebDriver:NewWindow", json!({"type": "tab"})).await?;
        let handle = opened["handle"].as_str().context("a tab has a handle")?.to_owned();
        let tab = Tab { handle, session: String::new() };
        self.turn_to(&tab).await?;
        self.call("WebDriver:Navigate", json!({"url": url})).await?;
        Ok(tab)
    }

    /// Closes a tab, as its user would.
    pub(crate) async fn close(&mut self, tab: &Tab) -> anyhow::Result<()> {
        self.turn_to(tab).await?;
        self.call("WebDriver:CloseWindow", json!({})).await.map(drop)
    }

    /// The value of an expression in the page; a promise is awaited.
    pub(crate) async fn value(&mut self, tab: &Tab, expression: &str) -> anyhow::Result<Value> {
        self.turn_to(tab).await?;
        let arguments = json!({"script": "return window.eval(arguments[0])", "args": [expression]});
        let answer = self.call("WebDriver:ExecuteScript", arguments).await.with_context(|| expression.to_owned())?;
        Ok(answer["value"].clone())
    }

    async fn turn_to(&mut self, tab: &Tab) -> anyhow::Result<()> {
        self.call("WebDriver:SwitchToWindow", json!({"handle": tab.handle})).await.map(drop)
    }

    async fn call(&mut self, command: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let text = json!([0, self.last_id, command, params]).to_string();
        let exchange = async {
            self.stream.write_all(format!("{}:{text}", text.len()).as_bytes()).await?;
            self.read().await
        };
        let answer = tokio::time::timeout(ANSWER_PATIENCE, exchange).await;
        let mut answer = answer.with_context(|| format!("Firefox does not answer {command}"))??;
        if answer[1] != self.last_id {
            bail!("{command}: the answer is another's: {answer}");
        }
        match &answer[2] {
            Value::Null => Ok(answer[3].take()),
            error => bail!("{command}: {}", error["message"]),
        }
    }

    async fn read(&mut self) -> anyhow::Result<Value> {
        let mut length = Vec::new();
        self.stream.read_until(b':', &mut length).await?;
        if length.pop() != Some(b':') {
            bail!("Firefox has ended");
        }
        let length: usize = std::str::from_utf8(&length)?.parse().context("a length")?;
        anyhow::ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).await?;
        Ok(serde_json::from_slice(&text)?)
    }
}

/// The port it has chosen, once it has.
async fn port(file: &Path) -> u16 {
    loop {
        if let Ok(text) = std::fs::read_to_string(file)
            && let Ok(port) = text.trim().parse()
        {
            return port;
        }
        wait::pause(Duration::from_millis(50)).await;
    }
}
