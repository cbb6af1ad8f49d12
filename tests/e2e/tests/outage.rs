//! Clients' messages while the bus is away: each with an id is answered once, `ok` means that it arrived, and what is
//! held is sent in its order or given back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_harness::proxy::Link;
use holdfast_harness::wait::pause;
use holdfast_harness::{Client, Cluster, Service, eventually, http, unique};
use serde_json::{Value, json};

/// The answers to each id.
fn answers(client: &Client) -> BTreeMap<u64, Vec<Value>> {
    let mut answers: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for frame in client.frames() {
        if let (Some(id), "ok" | "error") = (frame["id"].as_u64(), frame["type"].as_str().unwrap_or("")) {
            answers.entry(id).or_default().push(frame);
        }
    }
    answers
}

async fn until_answered(client: &Client, ids: usize) -> BTreeMap<u64, Vec<Value>> {
    eventually(&format!("{ids} messages are answered"), async || {
        let answers = answers(client);
        if answers.len() == ids { Ok(answers) } else { Err(format!("{} are", answers.len())) }
    })
    .await
}

async fn bus_is(cluster: &Cluster, connected: bool) {
    eventually("the gateway knows of its bus", async || {
        let answer = http::get(cluster.gateway(0).admin(), "/readyz").await;
        let ready = answer.status == 200;
        if ready == connected { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

async fn arrived(service: &Service, listener: &mut holdfast_harness::service::Listener) -> Vec<u64> {
    service.settle().await;
    let messages = listener.so_far().await;
    messages.iter().map(|message| serde_json::from_slice(&message.payload).expect("a number")).collect()
}

#[tokio::test]
async fn whenever_the_bus_is_cut_each_message_has_one_answer_and_ok_means_it_arrived() {
    const MESSAGES: usize = 4000;
    let cluster = Cluster::builder().proxied().start().await;
    let service = cluster.service().await;
    let to = unique("x");
    let mut upstream = service.listen(&format!("hf.up.chat.{to}")).await;
    let client = cluster.gateway(0).connect("ana").await;
    let proxy = cluster.gateway(0).proxy();

    // Cuts at points that have nothing to do with what is under way.
    let cuts = async {
        let mut draw = 0x9e37_79b9_u64;
        for _ in 0..12 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pause(Duration::from_millis(40 + (draw >> 33) % 160)).await;
            proxy.set(Link::Cut);
            pause(Duration::from_millis((draw >> 40) % 40)).await;
            proxy.set(Link::Open);
        }
    };
    let sends = async {
        for number in 0..MESSAGES {
            client.tell(json!({"type": "send", "id": number, "to": to, "data": number})).await;
            if number % 40 == 39 {
                pause(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::join!(cuts, sends);
    let answers = until_answered(&client, MESSAGES).await;

    bus_is(&cluster, true).await;
    client.ok(json!({"type": "send", "to": unique("last")})).await;
    let arrived = arrived(&service, &mut upstream).await;
    let there: BTreeSet<u64> = arrived.iter().copied().collect();
    assert_eq!(there.len(), arrived.len(), "none twice");
    assert!(arrived.is_sorted(), "in order");
    let mut failed = 0;
    for (id, answers) in &answers {
        assert_eq!(answers.len(), 1, "{id}: {answers:?}");
        let answer = &answers[0];
        if answer["type"] == "ok" {
            assert!(there.contains(id), "ok, but it did not arrive: {answer}");
        } else {
            assert_eq!((&answer["code"], &answer["retry"]), (&json!("bus_unavailable"), &json!(true)), "{answer}");
            failed += 1;
        }
    }
    assert!(failed > 0 && failed < MESSAGES, "{failed} of {MESSAGES}: the cuts were felt, and not all the time");
}

#[tokio::test]
async fn messages_are_held_over_an_outage_and_sent_in_their_order() {
    let cluster = Cluster::builder()
        .proxied()
        .gateway_setting("HOLDFAST_UPSTREAM__HOLD_MAX_BYTES", "1MiB")
        .gateway_setting("HOLDFAST_UPSTREAM__HOLD_TIMEOUT", "60s")
        .start()
        .await;
    let service = cluster.service().await;
    let to = unique("x");
    let mut upstream = service.listen(&format!("hf.up.chat.{to}")).await;
    let client = cluster.gateway(0).connect("ana").await;
    client.ok(json!({"type": "send", "to": to, "data": 0})).await;

    cluster.gateway(0).proxy().set(Link::Cut);
    bus_is(&cluster, false).await;
    for number in 1..=200 {
        let mut message = json!({"type": "send", "to": to, "data": number});
        // Those without an id are held as well.
        if number % 2 == 0 {
            message["id"] = json!(1000 + number);
        }
        client.tell(message).await;
    }
    client.ping().await;
    assert!(answers(&client).keys().all(|id| *id < 1000), "held, not answered");
    let metrics = cluster.gateway(0).metrics().await;
    assert!(metrics.value("holdfast_gateway_upstream_held_bytes", &[]).is_some_and(|bytes| bytes > 0.0));
    cluster.gateway(0).proxy().set(Link::Open);

    eventually("all are confirmed", async || {
        let confirmed = answers(&client).into_iter().filter(|(id, _)| *id >= 1000).count();
        if confirmed == 100 { Ok(()) } else { Err(format!("{confirmed} are")) }
    })
    .await;
    for (id, answers) in answers(&client) {
        assert!(answers.len() == 1 && answers[0]["type"] == "ok", "{id}: {answers:?}");
    }
    assert_eq!(arrived(&service, &mut upstream).await, (0..=200).collect::<Vec<u64>>());
}

#[tokio::test]
async fn what_does_not_fit_or_waits_too_long_is_given_back() {
    let cluster = Cluster::builder()
        .proxied()
        .gateway_setting("HOLDFAST_UPSTREAM__HOLD_MAX_BYTES", "100KiB")
        .gateway_setting("HOLDFAST_UPSTREAM__HOLD_TIMEOUT", "1s")
        .start()
        .await;
    let client = cluster.gateway(0).connect("ana").await;
    let to = unique("x");
    cluster.gateway(0).proxy().set(Link::Cut);
    bus_is(&cluster, false).await;

    let large = client.mark();
    for number in 0..4 {
        let data = "x".repeat(40_000);
        client.tell(json!({"type": "send", "id": 10 + number, "to": to, "data": data})).await;
    }
    let first = client.frame("an error", large, |frame| frame["type"] == "error").await;

    assert_eq!((&first["id"], &first["code"]), (&json!(12), &json!("bus_unavailable")), "two fit: {first}");
    let all = eventually("the others wait no longer than they may", async || {
        let answers: BTreeMap<_, _> = answers(&client).into_iter().filter(|(id, _)| *id >= 10).collect();
        if answers.len() == 4 { Ok(answers) } else { Err(format!("{answers:?}")) }
    })
    .await;
    for (id, answers) in all {
        assert!(answers.len() == 1 && answers[0]["code"] == "bus_unavailable" && answers[0]["retry"] == true, "{id}");
    }
}
