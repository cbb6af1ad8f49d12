//! Clients that read too slowly: what gives way, and what does not.

use async_nats::HeaderMap;
use holdfast_harness::client::opcode;
use holdfast_harness::service::Answer;
use holdfast_harness::{Cluster, To};
use serde_json::{Value, json};

/// A room with a client that does not read and one that does, and a gateway where the oldest give way.
#[tokio::test]
async fn slow_client_under_drop_oldest_is_told_of_live_losses_and_gets_each_kept_message() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_OUTBOX_POLICY", "drop_oldest")
        .gateway_setting("HOLDFAST_OUTBOX_BYTES_MAX", "200KiB")
        .start()
        .await;
    let service = cluster.service().await;
    let room = "r";
    let reader = cluster.gateway(0).connect("reader").await;
    reader.join(room).await;
    let mut slow = cluster.gateway(0).client().user("slow").receive_buffer(4096).raw_welcomed().await;
    service.ctl(To::user("slow"), &json!({"do": "join", "room": room})).receipt().await;
    slow.json("joined").await;

    // More than the kernel's buffers and the queue hold, kept and live in turn.
    let filler = "f".repeat(40_000);
    let (mut dropped, mut kept, mut live) = (0.0, Vec::new(), 0);
    while dropped < 20.0 {
        let body = json!({"kept": kept.len(), "filler": filler});
        let ack = service.request(service.subject("keep.room.r"), HeaderMap::new(), body.to_string().into()).await;
        let Answer::Reply(ack) = ack else { panic!("no acknowledgement: {ack:?}") };
        let ack: Value = serde_json::from_slice(&ack.payload).expect("JSON");
        kept.push(ack["seq"].as_u64().unwrap_or_else(|| panic!("{ack}")));
        let receipt = service.send(To::room(room)).json(&json!({"live": live, "filler": filler})).receipt().await;
        live += 1;
        assert_eq!(receipt.matched, 2, "nobody is closed for it: {receipt:?}");
        let metrics = cluster.gateway(0).metrics().await;
        let oldest = metrics.value("holdfast_gateway_dropped_total", &[("reason", "oldest")]);
        dropped = oldest.unwrap_or_default();
        assert!(live < 2000, "80 MB to a client that does not read");
    }
    service.send(To::room(room)).json(&json!({"live": "last"})).receipt().await;

    let (mut seen, mut gaps, mut lives, mut last) = (Vec::new(), 0, Vec::new(), false);
    while seen.len() < kept.len() || !last || gaps == 0 {
        let Some((kind, payload)) = slow.frame().await else {
            panic!("closed after {} of {} kept, {gaps} gaps", seen.len(), kept.len())
        };
        if kind != opcode::TEXT {
            continue;
        }
        let frame: Value = serde_json::from_slice(&payload).expect("JSON");
        match (frame["type"].as_str(), frame["seq"].as_u64()) {
            (Some("message"), Some(seq)) => seen.push(seq),
            (Some("message"), None) => {
                last |= frame["data"]["live"] == "last";
                lives.extend(frame["data"]["live"].as_u64());
            }
            (Some("gap"), _) => gaps += 1,
            _ => {}
        }
    }
    assert_eq!(seen, kept, "each kept message, once, in order");
    assert!(lives.is_sorted() && lives.len() < live, "live ones were lost: {} of {live}", lives.len());
    assert_eq!(reader.until_messages(kept.len() + live + 1).await.len(), kept.len() + live + 1);
    let metrics = cluster.gateway(0).metrics().await;
    assert!(metrics.value("holdfast_gateway_kept_behind_total", &[]).is_some_and(|count| count >= 1.0));
}

#[tokio::test]
async fn past_that_is_larger_than_a_queue_comes_whole() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_OUTBOX_BYTES_MAX", "100KiB").start().await;
    let service = cluster.service().await;
    let filler = "f".repeat(60_000);
    let mut first = None;
    for number in 0..100 {
        let body = json!({"number": number, "filler": filler});
        let ack = service.request(service.subject("keep.room.r"), HeaderMap::new(), body.to_string().into()).await;
        let Answer::Reply(ack) = ack else { panic!("no acknowledgement: {ack:?}") };
        let ack: Value = serde_json::from_slice(&ack.payload).expect("JSON");
        first = first.or(ack["seq"].as_u64());
    }
    let client = cluster.gateway(0).connect("ana").await;
    let position = client.ok(json!({"type": "join", "room": "r"})).await["position"].clone();
    client.leave("r").await;
    let since = json!({"epoch": position["epoch"], "seq": first.expect("some") - 1});

    let ok = client.ok(json!({"type": "join", "room": "r", "since": since})).await;

    assert_eq!(ok["recovered"], true, "{ok}");
    let messages = client.until_messages(100).await;
    let numbers: Vec<_> = messages.iter().filter_map(|message| message.data["number"].as_u64()).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "6 MB through a queue of 100 KiB");
    assert!(client.is_open());
}

#[tokio::test]
async fn newer_messages_of_a_key_take_the_place_of_unread_ones_under_either_policy() {
    for policy in ["close", "drop_oldest"] {
        let cluster = Cluster::builder()
            .gateway_setting("HOLDFAST_OUTBOX_POLICY", policy)
            .gateway_setting("HOLDFAST_OUTBOX_BYTES_MAX", "100KiB")
            .start()
            .await;
        let service = cluster.service().await;
        let mut slow = cluster.gateway(0).client().user("slow").receive_buffer(4096).raw_welcomed().await;

        // 40 MB of one key: without conflation no bound of either policy would hold that.
        let filler = "f".repeat(40_000);
        for number in 0..1000 {
            let receipt = service
                .send(To::user("slow"))
                .header("Hf-Key", "place")
                .json(&json!({"number": number, "filler": filler}))
                .receipt()
                .await;
            assert_eq!((receipt.matched, receipt.dropped), (1, 0), "{policy}: {receipt:?}");
        }
        let (mut numbers, mut gaps) = (Vec::new(), 0);
        while numbers.last() != Some(&999) {
            let Some((kind, payload)) = slow.frame().await else { panic!("{policy}: closed after {numbers:?}") };
            if kind == opcode::TEXT {
                let frame: Value = serde_json::from_slice(&payload).expect("JSON");
                gaps += usize::from(frame["type"] == "gap");
                numbers.extend(frame["data"]["number"].as_u64());
            }
        }
        assert!(numbers.is_sorted() && numbers.len() < 1000, "{policy}: {} arrived", numbers.len());
        assert_eq!(gaps, 0, "{policy}: what was replaced is no gap");
    }
}

#[tokio::test]
async fn client_is_closed_for_the_age_of_what_it_does_not_read() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_OUTBOX_AGE_MAX", "1s").start().await;
    let service = cluster.service().await;
    let mut slow = cluster.gateway(0).client().user("slow").receive_buffer(4096).raw_welcomed().await;
    let filler = "f".repeat(60_000);
    loop {
        let receipt = service.send(To::user("slow")).payload(filler.clone()).receipt().await;
        assert_eq!((receipt.matched, receipt.dropped), (1, 0), "the bytes are within their bound: {receipt:?}");
        if receipt.queued == 1 {
            break;
        }
    }

    service.until_matched(&To::user("slow"), 0).await;
    assert_eq!(slow.close_code().await, 4008);
}
