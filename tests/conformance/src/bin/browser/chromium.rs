//! Chromium over `--remote-debugging-pipe`: JSON messages that end in NUL, in on its descriptor 3, out on 4. No port,
//! no WebSocket; and since the browser leaves when the pipe closes, it cannot outlive us. Knows nothing of the page.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::browser::Tab;

/// How long one answer of the browser may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// Our pipes arrive as standard input and output: the shell moves them to where Chromium looks for them.
const SCRIPT: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

/// A running browser. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Chromium {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_id: u64,
    /// What pages have complained of, unasked.
    complaints: Vec<String>,
    _process: Child,
}

impl Chromium {
    /// Starts `program` with an empty profile under `folder`.
    pub(crate) async fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("sh").arg(program).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-pipe",
        ]);
        command.arg(format!("--user-data-dir={}", folder.join("chromium").display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let input = process.stdin.take().context("standard input is a pipe")?;
        let output = BufReader::new(process.stdout.take().context("standard output is a pipe")?);
        let mut browser = Self { input, output, last_id: 0, complaints: Vec::new(), _process: process };
        browser.call(None, "Browser.getVersion", json!({})).await?;
        Ok(browser)
    }

    /// Opens a tab and loads `url` in it.
    pub(crate) async fn open(&mut self, url: &str) -> anyhow::Result<Tab> {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"})).await?;
        let target = target["targetId"].as_str().context("a target has an id")?.to_owned();
        let attached = self.call(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true})).await?;
        let session = attached["sessionId"].as_str().context("a session has an id")?.to_owned();
        let tab = Tab { handle: target, session };
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            self.call(Some(&tab), domain, json!({})).await?;
        }
        let loaded = self.call(Some(&tab), "Page.navigate", json!({"url": url})).await?;
        if let Some(error) = loaded["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        Ok(tab)
    }

    /// Closes a tab, as its user would.
    pub(crate) async fn close(&mut self, tab: Tab) -> anyhow::Result<()> {
        self.call(None, "Target.closeTarget", json!({"targetId": tab.handle})).await?;
        Ok(())
    }

    /// The value of an expression in the page; a promise is awaited.
    pub(crate) async fn value(&mut self, tab: &Tab, expression: &str) -> anyhow::Result<Value> {
        let arguments = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call(Some(tab), "Runtime.evaluate", arguments).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {}", thrown["exception"]["description"]);
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Exceptions and errors in the console so far.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    async fn call(&mut self, tab: Option<&Tab>, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(tab) = tab {
            message["sessionId"] = json!(tab.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let exchange = async {
            self.input.write_all(&bytes).await?;
            loop {
                let message = self.read().await?;
                if message["id"] == id {
                    break anyhow::Ok(message);
                }
                self.note(&message);
            }
        };
        let answer = tokio::time::timeout(ANSWER_PATIENCE, exchange)
            .await
            .with_context(|| format!("Chromium does not answer {method}"))??;
        match answer.get("error") {
            Some(error) => bail!("{method}: {error}"),
            None => Ok(answer["result"].clone()),
        }
    }

    async fn read(&mut self) -> anyhow::Result<Value> {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).await?;
        if bytes.pop() != Some(0) {
            bail!("Chromium has ended");
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(params["exceptionDetails"]["exception"]["description"].to_string());
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"]["text"].to_string());
            }
            _ => {}
        }
    }
}
