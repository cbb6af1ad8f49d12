//! What a person would try on the demo page, in order, and what they would expect to see.

use anyhow::{Context as _, ensure};
use holdfast_harness::{Cluster, To};
use serde_json::{Value, json};

use crate::browser::{Browser, Tab};

/// Expressions over one user's pane.
struct Pane(&'static str);

impl Pane {
    fn part(&self, name: &str) -> String {
        format!(r#"document.querySelector('[data-user="{}"] [data-part="{name}"]')"#, self.0)
    }

    fn state(&self) -> String {
        format!(r#"document.querySelector('[data-user="{}"]')?.dataset.state"#, self.0)
    }

    fn lines(&self, list: &str) -> String {
        format!(r#"[...({}?.children ?? [])].map((line) => line.textContent)"#, self.part(list))
    }

    /// Fills a form's fields and submits it, as a person would.
    fn submit(&self, form: &str, fields: &[(&str, &str)]) -> String {
        let fill = fields
            .iter()
            .map(|(name, value)| format!("form.elements.{name}.value = {};", json!(value)))
            .collect::<String>();
        format!("{{ const form = {}; {fill} form.requestSubmit(); }}", self.part(form))
    }
}

const ANA: Pane = Pane("ana");
const BEN: Pane = Pane("ben");

/// Runs every check; the number of those that held, or the first that did not.
pub(crate) async fn all(cluster: &Cluster, browser: &mut Browser, page: &str) -> anyhow::Result<usize> {
    let tab = browser.open(page).await?;
    let mut run = Run { cluster, browser, tab, held: 0 };
    run.both_users_are_on_different_gateways().await?;
    run.both_are_listed_online().await?;
    run.a_chat_message_appears_at_the_other().await?;
    run.a_notification_reaches_one_user_only().await?;
    run.the_counter_moves_at_both().await?;
    run.a_program_that_knows_only_nats_reaches_the_page().await?;
    run.who_leaves_is_no_longer_listed(page).await?;
    run.the_snippet_without_a_token_works().await?;
    ensure!(run.browser.complaints().is_empty(), "the console shows errors: {:?}", run.browser.complaints());
    Ok(run.held)
}

struct Run<'a> {
    cluster: &'a Cluster,
    browser: &'a mut Browser,
    tab: Tab,
    held: usize,
}

impl Run<'_> {
    #[expect(clippy::print_stdout, reason = "the report is for whoever runs the suite")]
    fn holds(&mut self, what: &str) {
        self.held += 1;
        println!("ok  {what}");
    }

    async fn act(&mut self, script: &str) -> anyhow::Result<()> {
        let tab = self.tab.clone();
        self.browser.value(&tab, script).await.map(drop)
    }

    async fn becomes(&mut self, expression: &str, expected: Value) -> anyhow::Result<()> {
        let tab = self.tab.clone();
        self.browser.becomes(&tab, expression, &expected).await
    }

    async fn value(&mut self, expression: &str) -> anyhow::Result<Value> {
        let tab = self.tab.clone();
        self.browser.value(&tab, expression).await
    }

    async fn both_users_are_on_different_gateways(&mut self) -> anyhow::Result<()> {
        for pane in [ANA, BEN] {
            self.becomes(&pane.state(), json!("online")).await?;
        }
        for (pane, gateway) in [(ANA, 0), (BEN, 1)] {
            let text = self.value(&format!("{}.textContent", pane.part("state"))).await?;
            let node = self.cluster.gateway(gateway).node();
            ensure!(text.as_str().is_some_and(|text| text.ends_with(node)), "{} shows {text}, not {node}", pane.0);
        }
        self.holds("both users are connected, each to a gateway of its own");
        Ok(())
    }

    async fn both_are_listed_online(&mut self) -> anyhow::Result<()> {
        for pane in [ANA, BEN] {
            self.becomes(&pane.lines("online"), json!(["ana", "ben"])).await?;
        }
        self.holds("both panes list both users as online");
        Ok(())
    }

    async fn a_chat_message_appears_at_the_other(&mut self) -> anyhow::Result<()> {
        self.act(&ANA.submit("say", &[("text", "hello <b>ben</b> 안녕")])).await?;
        self.act(&BEN.submit("say", &[("text", "hello ana")])).await?;

        for pane in [ANA, BEN] {
            // The order between two senders is not promised, so it is not looked at.
            let sorted = format!("{}.sort()", pane.lines("chat"));
            self.becomes(&sorted, json!(["anahello <b>ben</b> 안녕", "benhello ana"])).await?;
        }
        self.holds("a chat message of each appears at both");
        Ok(())
    }

    async fn a_notification_reaches_one_user_only(&mut self) -> anyhow::Result<()> {
        self.act(&BEN.submit("notify", &[("to", "ana"), ("text", "for you")])).await?;

        self.becomes(&ANA.lines("notifications"), json!(["benfor you"])).await?;
        let receipt = format!("{}.textContent", BEN.part("receipt"));
        self.becomes(&receipt, json!("reached 1 connection of ana")).await?;
        // Whatever went to both by mistake would have come before what follows it.
        self.act(&BEN.submit("notify", &[("to", "ben"), ("text", "for me")])).await?;
        self.becomes(&BEN.lines("notifications"), json!(["benfor me"])).await?;
        self.act(&BEN.submit("notify", &[("to", "nobody"), ("text", "hello?")])).await?;
        self.becomes(&receipt, json!("nobody is offline")).await?;
        ensure!(self.value(&ANA.lines("notifications")).await? == json!(["benfor you"]), "ana got what was not hers");
        self.holds("a notification reaches one user only, and its sender is told");
        Ok(())
    }

    async fn the_counter_moves_at_both(&mut self) -> anyhow::Result<()> {
        let counter = |pane: &Pane| format!("{}.textContent", pane.part("counter"));
        for pane in [ANA, BEN] {
            self.becomes(&counter(&pane), json!("0")).await?;
        }
        for pane in [ANA, BEN, ANA] {
            self.act(&format!("{}.click()", pane.part("count"))).await?;
        }
        for pane in [ANA, BEN] {
            self.becomes(&counter(&pane), json!("3")).await?;
        }
        self.holds("the counter moves at both");
        Ok(())
    }

    async fn a_program_that_knows_only_nats_reaches_the_page(&mut self) -> anyhow::Result<()> {
        let bus = self.cluster.nats().connect().await;
        let body = r#"{"from":"a program","text":"over NATS"}"#;
        bus.publish("hf.send.user.ben", body.into()).await?;
        bus.flush().await?;

        self.becomes(&BEN.lines("notifications"), json!(["benfor me", "a programover NATS"])).await?;
        self.holds("a program that knows only NATS reaches the page");
        Ok(())
    }

    async fn who_leaves_is_no_longer_listed(&mut self, page: &str) -> anyhow::Result<()> {
        // One user per tab, on crossed gateways this time.
        self.browser.close(self.tab.clone()).await?;
        let ben = self.browser.open(&format!("{page}/?user=ben&gateway=0")).await?;
        self.tab = self.browser.open(&format!("{page}/?user=ana&gateway=1")).await?;
        self.becomes(&ANA.lines("online"), json!(["ana", "ben"])).await?;

        self.browser.close(ben).await?;

        self.becomes(&ANA.lines("online"), json!(["ana"])).await?;
        self.holds("who leaves is no longer listed");
        Ok(())
    }

    async fn the_snippet_without_a_token_works(&mut self) -> anyhow::Result<()> {
        let listen = self.cluster.gateway(0).listen();
        let opened = self
            .value(&format!(
                r#"new Promise((resolve) => {{
                    const socket = new WebSocket("ws://{listen}/notifications?userId=123");
                    window.heard = [];
                    socket.onmessage = (event) => window.heard.push(event.data);
                    socket.onopen = () => resolve("open");
                    socket.onclose = (event) => resolve(event.code);
                }})"#
            ))
            .await?;
        ensure!(opened == "open", "the snippet's socket closed with {opened}");
        let service = self.cluster.service().await;
        let receipt = service.send(To::user("123")).payload("alarm").receipt().await;
        ensure!(receipt.matched == 1, "{receipt:?}");

        self.becomes("window.heard", json!(["alarm"])).await.context("the page of profile dev")?;
        self.holds("a page without a token hears what is sent to its userId (profile dev)");
        Ok(())
    }
}
