//! Traces: a message's way from hop to hop, as a collector gets it; and what happens without one.

use holdfast_harness::collector::{Collector, Span};
use holdfast_harness::metrics::Metrics;
use holdfast_harness::service::header;
use holdfast_harness::{Cluster, To, binaries, eventually, http};
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn traced(collector: &Collector, protocol: &str, sample: &str) -> Cluster {
    Cluster::builder()
        .routers(2)
        .setting("HOLDFAST_TRACE__ENDPOINT", &collector.endpoint)
        .setting("HOLDFAST_TRACE__PROTOCOL", protocol)
        .setting("HOLDFAST_TRACE__SAMPLE", sample)
        .start()
        .await
}

/// The spans from the sender to the sockets, each the child of the one before.
fn way<'a>(spans: &'a [Span], names: &[&str]) -> Vec<&'a Span> {
    let mut parent = "b7ad6b7169203331".to_owned();
    let mut way = Vec::new();
    for name in names {
        let next = spans.iter().find(|span| span.name == *name && span.parent == parent);
        let next = next.unwrap_or_else(|| panic!("no {name} below {parent}: {spans:#?}"));
        parent.clone_from(&next.id);
        way.push(next);
    }
    way
}

async fn send_is_traced_to_the_socket(collector: &Collector, protocol: &str) {
    let cluster = traced(collector, protocol, "0").await;
    let client = cluster.gateway(0).connect("ana").await;
    client.join("chat/5").await;
    let service = cluster.service().await;

    let receipt = service.send(To::room("chat/5")).header("traceparent", PARENT).header("Hf-Id", "m-1").receipt().await;

    assert_eq!(receipt.matched, 1);
    let spans = collector.trace(TRACE, |spans| spans.len() >= 3).await;
    let way = way(&spans, &["process hf.send.room.{room}", "deliver room", "write sockets"]);
    assert_eq!(spans.len(), 3, "one router of two handles it: {spans:#?}");
    let services: Vec<_> = way.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, ["holdfast-router", "holdfast-gateway", "holdfast-gateway"]);
    assert_eq!(way[0].attributes["messaging.system"], "nats");
    assert_eq!(way[0].attributes["holdfast.result"], "ok");
    assert_eq!(way[1].attributes["messaging.message.id"], "m-1");
    assert_eq!(way[2].attributes["holdfast.copies.matched"], "1");
    let text = format!("{spans:?}");
    assert!(!text.contains("chat/5") && !text.contains("chat=2F5") && !text.contains("ana"), "{text}");
}

#[tokio::test]
async fn trace_of_a_send_has_every_hop_from_its_sender_to_the_socket() {
    send_is_traced_to_the_socket(&Collector::start(), "http").await;
}

#[tokio::test]
async fn trace_reaches_a_real_collector_by_http_and_grpc_and_its_crash_stops_nobody() {
    let Some(program) = binaries::otelcol() else {
        eprintln!("skipped: no otelcol; `cargo xtask test traces` builds one");
        return;
    };
    for protocol in ["http", "grpc"] {
        let collector = Collector::real(&program, protocol).await;
        send_is_traced_to_the_socket(&collector, protocol).await;
        collector.kill();
    }
}

#[tokio::test]
async fn sender_that_does_not_sample_is_not_traced_and_its_context_goes_on() {
    let collector = Collector::start();
    let cluster = traced(&collector, "http", "1").await;
    let client = cluster.gateway(0).connect("ana").await;
    let service = cluster.service().await;
    let unsampled = format!("{}-00", PARENT.trim_end_matches("-01"));

    service.send(To::user("ana")).header("traceparent", &unsampled).receipt().await;
    service.send(To::user("ana")).receipt().await;

    client.message().await;
    // The second one is a trace of the router's own, and comes behind whatever the first would have left.
    eventually("a trace that the router began", async || {
        let spans = collector.spans();
        let roots = spans.iter().filter(|span| span.name == "process hf.send.user.{user}" && span.parent.is_empty());
        if roots.count() == 1 { Ok(()) } else { Err(format!("{spans:#?}")) }
    })
    .await;
    assert!(collector.spans().iter().all(|span| span.trace != TRACE));
}

#[tokio::test]
async fn trace_of_an_upstream_message_begins_at_its_frame_and_goes_on_at_the_service() {
    let collector = Collector::start();
    let cluster = traced(&collector, "http", "1").await;
    let service = cluster.service().await;
    let mut heard = service.listen("hf.up.>").await;
    let client = cluster.gateway(0).connect("ana").await;

    client.ok(json!({"type": "send", "to": "message.new", "data": 1})).await;

    let message = heard.next().await;
    let parent = header(&message, "traceparent").expect("a trace").to_owned();
    let fields: Vec<_> = parent.split('-').collect();
    assert!(fields.len() == 4 && fields[3] == "01", "{parent}");
    let spans = collector.trace(fields[1], |spans| spans.len() >= 2).await;
    let [frame, sent] = ["receive message", "send up."].map(|name| {
        spans.iter().find(|span| span.name.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {spans:#?}"))
    });
    assert_eq!((frame.parent.as_str(), sent.parent.as_str(), sent.id.as_str()), ("", frame.id.as_str(), fields[2]));
    assert_eq!(frame.attributes["session.id"], client.id());
}

#[tokio::test]
async fn life_of_a_connection_is_two_short_spans_tied_by_a_link() {
    let collector = Collector::start();
    let cluster = traced(&collector, "http", "1").await;
    let client = cluster.gateway(0).connect("ana").await;
    let id = client.id();
    let service = cluster.service().await;

    service.ctl(To::user("ana"), &json!({"do": "disconnect", "code": 4001, "reason": "bye"})).receipt().await;
    client.ended().await;

    let (handshake, close) = eventually("both ends of a connection", async || {
        let spans = collector.spans();
        let find = |name: &str| {
            spans.iter().find(|span| span.name == name && span.attributes.get("session.id") == Some(&id)).cloned()
        };
        find("GET websocket").zip(find("close websocket")).ok_or_else(|| format!("{spans:#?}"))
    })
    .await;
    assert_eq!(handshake.attributes["http.response.status_code"], "101");
    assert_eq!(close.attributes["holdfast.close.code"], "4001");
    assert_eq!(close.links, [handshake.trace]);
}

#[tokio::test]
async fn collector_that_is_gone_blocks_nothing_and_a_counter_tells() {
    let gone = Collector::start().endpoint.replace("127.0.0.1", "127.0.0.2");
    let cluster = Cluster::builder()
        .setting("HOLDFAST_TRACE__ENDPOINT", &gone)
        .setting("HOLDFAST_TRACE__SAMPLE", "1")
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "0s")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "1s")
        .start()
        .await;
    let client = cluster.gateway(0).connect("ana").await;
    let service = cluster.service().await;

    for _ in 0..20 {
        let receipt = service.send(To::user("ana")).header("traceparent", PARENT).receipt().await;
        assert_eq!((receipt.written, receipt.late_nodes), (1, 0));
        client.message().await;
    }

    for admin in [cluster.gateway(0).admin(), cluster.router(0).admin()] {
        eventually("spans that failed are counted", async || {
            let metrics = Metrics::scrape(admin).await;
            let failed = metrics.value("holdfast_trace_spans_total", &[("result", "failed")]);
            if failed > Some(0.0) { Ok(()) } else { Err(format!("{failed:?}")) }
        })
        .await;
        assert_eq!(http::get(admin, "/readyz").await.status, 200);
    }
    cluster.gateway(0).terminate();
    assert_eq!(cluster.gateway(0).ended().await.code(), Some(0));
}
