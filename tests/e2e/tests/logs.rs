//! What is in the logs: ids that tie lines together. And what never is, at any level: secrets, query strings, payloads.

use holdfast_harness::client::{Connect, JSON};
use holdfast_harness::collector::Collector;
use holdfast_harness::{Claims, Cluster, Gateway, To, eventually};
use serde_json::{Value, json};

/// Marks of what must not be logged, unlike anything else.
const PASSWORD: &str = "zq-password-of-the-bus";
const ADMIN_TOKEN: &str = "zq-token-of-the-admin";
const QUERY: &str = "zq-in-the-query";
const PAYLOAD: &str = "zq-payload";
const REASON: &str = "zq-data-of-an-error";

async fn cluster() -> Cluster {
    let bus = format!(
        "authorization {{ users: [ {{ user: fleet, password: {PASSWORD} }}, {{ user: tests, password: x }} ] }}\n\
         no_auth_user: tests"
    );
    let builder = Cluster::builder().nats_config(&bus).setting("HOLDFAST_LOG__LEVEL", "trace");
    let builder = builder.setting("HOLDFAST_BUS__USER", "fleet").setting("HOLDFAST_BUS__PASSWORD", PASSWORD);
    builder.setting("HOLDFAST_ADMIN__TOKEN", ADMIN_TOKEN).start().await
}

/// A client with its credential in each place that there is for one, the first message but one.
fn places(gateway: &Gateway, token: &str) -> [Connect; 4] {
    [
        gateway.client().bearer(token),
        gateway.client().path(&format!("/ws/chat?token={token}&colour={QUERY}")),
        gateway.client().protocols(&[JSON, &format!("base64url.bearer.holdfast.{token}")]),
        gateway.client().header("Cookie", &format!("a={QUERY}; holdfast_token={token}")),
    ]
}

#[tokio::test]
async fn no_secret_no_query_string_and_no_payload_is_logged_at_any_level() {
    let cluster = cluster().await;
    let gateway = cluster.gateway(0);
    let service = cluster.service().await;
    let good = Claims::of("ana").with("jti", "one").sign();
    let expired = Claims::of("ana").expires_in(-600).sign();
    let forged = format!("{}zq-forged", Claims::of("ana").sign());

    // Credentials that are good, late, and forged, in each place.
    let mut clients = Vec::new();
    for place in places(gateway, &good) {
        clients.push(place.open().await);
    }
    clients.push(gateway.client().open_with_first_message(&good).await);
    for bad in [&expired, &forged] {
        for place in places(gateway, bad) {
            assert_eq!(place.refused().await.status, 401);
        }
        let pending = gateway.client().pending().await;
        pending.tell(json!({"type": "auth", "token": bad})).await;
        pending.ended().await;
    }
    // Payloads up, down, kept, asked and answered, and such as cannot be read.
    let client = &clients[0];
    client.join("chat/5").await;
    let _answers = service.serve("hf.req.chat.echo", |_| async { Some((Default::default(), PAYLOAD.into())) }).await;
    client.tell(json!({"type": "publish", "to": "chat/5", "data": PAYLOAD})).await;
    client.tell(json!({"type": "request", "id": 1, "to": "echo", "data": PAYLOAD})).await;
    client.tell(json!({"type": REASON, "data": PAYLOAD})).await;
    client.tell_text(&format!("{{\"{PAYLOAD}")).await;
    service.send(To::room("chat/5")).json(&json!(PAYLOAD)).receipt().await;
    let kept = service.bus().request("hf.keep.user.ana", format!("\"{PAYLOAD}\"").into()).await.expect("stored");
    assert!(!kept.payload.is_empty());
    service.bus().publish("hf.send.user.ana", format!("{PAYLOAD}{{").into()).await.expect("published");
    service.bus().publish("hf.ctl.user.ana", format!("{{\"do\":\"{PAYLOAD}\"").into()).await.expect("published");
    let address = gateway.admin();
    for given in [ADMIN_TOKEN, "zq-token-that-is-wrong"] {
        let bearer = format!("Bearer {given}");
        let path = format!("/admin/connections?user={QUERY}");
        holdfast_harness::http::request(address, "GET", &path, &[("Authorization", &bearer)]).await;
    }
    clients[1].ping().await;

    let outputs = [gateway.output(), cluster.router(0).output()];
    assert!(outputs[0].contains("\"level\":\"DEBUG\""), "more than usual is logged: {}", outputs[0]);
    for output in &outputs {
        let signature = |token: &str| token.rsplit('.').next().expect("a signature").to_owned();
        for secret in [
            PASSWORD.to_owned(),
            ADMIN_TOKEN.to_owned(),
            QUERY.to_owned(),
            PAYLOAD.to_owned(),
            "zq-".to_owned(),
            signature(&good),
            signature(&expired),
            holdfast_harness::credentials::SECRET.to_owned(),
        ] {
            let line = output.lines().find(|line| line.contains(&secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}

#[tokio::test]
async fn lines_about_a_connection_name_it_and_its_trace() {
    let builder = Cluster::builder().setting("HOLDFAST_LOG__LEVEL", "debug");
    let collector = Collector::start();
    let builder =
        builder.setting("HOLDFAST_TRACE__ENDPOINT", &collector.endpoint).setting("HOLDFAST_TRACE__SAMPLE", "1");
    let cluster = builder.start().await;
    let client = cluster.gateway(0).connect("ana").await;
    let id = client.id();
    client.close().await;

    eventually("the end of the connection is logged", async || {
        let output = cluster.gateway(0).output();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["message"] == "Connection closed" && line["connection"] == id);
        match line {
            Some(line) if line["trace_id"].as_str().is_some_and(|trace| trace.len() == 32) => Ok(()),
            line => Err(format!("{line:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn flood_of_one_kind_of_line_is_cut_short_and_the_rest_counted() {
    let builder = Cluster::builder().setting("HOLDFAST_LOG__LEVEL", "debug");
    let cluster = builder.gateway_setting("HOLDFAST_LOG__LINES_PER_KIND_MAX", "3").start().await;
    let gateway = cluster.gateway(0);
    for _ in 0..20 {
        gateway.connect("ana").await.close().await;
    }

    eventually("what is left out is counted and told", async || {
        let metrics = gateway.metrics().await;
        let left_out = metrics.value("holdfast_log_lines_left_out_total", &[]).unwrap_or_default();
        let output = gateway.output();
        let told = output.lines().any(|line| line.contains("Lines left out of the log"));
        if told && left_out >= 10.0 { Ok(()) } else { Err(format!("{left_out}: {output}")) }
    })
    .await;
}
