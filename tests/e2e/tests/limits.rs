//! Bad input, limits, and the close catalogue.

use holdfast_harness::client::{RawFrame, opcode};
use holdfast_harness::{To, cluster, unique};
use holdfast_protocol::close::Close;
use serde_json::json;

fn text(payload: &[u8]) -> RawFrame {
    RawFrame::new(opcode::TEXT, payload)
}

#[tokio::test]
async fn each_broken_frame_is_closed_with_its_code_and_neighbours_are_unharmed() {
    let cluster = cluster::shared().await;
    let witness = cluster.gateway(0).connect(&unique("witness")).await;
    let (raw, big) = (RawFrame::new, vec![b'x'; 64 * 1024]);
    let mut fragments = vec![text(&big).unfinished()];
    fragments.extend((0..31).map(|_| raw(opcode::CONTINUATION, &big).unfinished()));
    let cases: Vec<(&str, Vec<RawFrame>, u16)> = vec![
        ("2 MiB", vec![text(&vec![b'x'; 2 << 20])], 1009),
        ("a byte over the limit", vec![text(&vec![b' '; 64 * 1024 + 1])], 1009),
        ("a claim of 2^40 bytes", vec![text(b"x").claiming(1 << 40)], 1009),
        ("2 MiB in fragments", fragments, 1009),
        ("the highest bit of a length", vec![text(b"x").claiming(1 << 63)], 1002),
        ("no UTF-8", vec![text(b"\"\xc3\x28\"")], 1007),
        ("no UTF-8 over fragments", vec![text(b"\xe2\x82").unfinished(), raw(opcode::CONTINUATION, b"\x28")], 1007),
        ("no mask", vec![text(b"{}").unmasked()], 1002),
        ("a reserved bit", vec![text(b"{}").reserved()], 1002),
        ("opcode 3", vec![raw(3, b"")], 1002),
        ("opcode 11", vec![raw(11, b"")], 1002),
        ("a continuation of nothing", vec![raw(opcode::CONTINUATION, b"x")], 1002),
        ("a new message within one", vec![text(b"{").unfinished(), text(b"}")], 1002),
        ("a ping in pieces", vec![raw(opcode::PING, b"").unfinished()], 1002),
        ("a ping of 126 bytes", vec![raw(opcode::PING, &[0; 126])], 1002),
        ("close code 1005", vec![raw(opcode::CLOSE, &[0x03, 0xed])], 1002),
        ("close code 999", vec![raw(opcode::CLOSE, &[0x03, 0xe7])], 1002),
        ("a close of one byte", vec![raw(opcode::CLOSE, &[0x03])], 1002),
        ("a close reason that is no text", vec![raw(opcode::CLOSE, b"\x03\xe8\xc3\x28")], 1007),
        ("binary on json", vec![raw(opcode::BINARY, b"{}")], 1003),
        ("close 1000", vec![raw(opcode::CLOSE, b"\x03\xe8bye")], 1000),
        ("close 4999", vec![raw(opcode::CLOSE, &4999_u16.to_be_bytes())], 4999),
    ];

    for (what, frames, code) in cases {
        let mut client = cluster.gateway(0).client().user(&unique("bad")).raw_welcomed().await;
        for frame in frames {
            client.send(frame).await;
        }

        assert_eq!(client.close_code().await, code, "{what}");
    }
    witness.ping().await;
}

#[tokio::test]
async fn close_without_a_code_is_answered_without_one_or_with_1000() {
    let cluster = cluster::shared().await;
    let mut client = cluster.gateway(0).client().user(&unique("ana")).raw_welcomed().await;

    client.send(RawFrame::new(opcode::CLOSE, b"")).await;

    let code = client.close_code().await;
    assert!([1000, 1005].contains(&code), "{code}");
    client.stream_ends().await;
}

#[tokio::test]
async fn length_not_in_its_shortest_form_is_1002() {
    let cluster = cluster::shared().await;
    let overlong: [&[u8]; 2] = [
        &[0x81, 0xfe, 0, 5, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'],
        &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'],
    ];

    for bytes in overlong {
        let mut client = cluster.gateway(0).client().user(&unique("bad")).raw_welcomed().await;
        client.send_bytes(bytes).await;

        assert_eq!(client.close_code().await, 1002, "RFC 6455 section 5.2");
    }
}

#[tokio::test]
async fn control_frames_may_stand_between_fragments() {
    let cluster = cluster::shared().await;
    let mut client = cluster.gateway(0).client().user(&unique("ana")).raw_welcomed().await;

    client.send(text(b"{\"type\":\"pi").unfinished()).await;
    client.send(RawFrame::new(opcode::PING, b"between")).await;
    client.send(RawFrame::new(opcode::CONTINUATION, b"").unfinished()).await;
    client.send(RawFrame::new(opcode::PONG, b"nobody asked")).await;
    client.send(RawFrame::new(opcode::CONTINUATION, b"ng\",\"id\":1}")).await;

    assert_eq!(client.frame().await, Some((opcode::PONG, b"between".to_vec())));
    assert_eq!(client.json("pong").await, json!({"type": "pong", "id": 1}));
}

#[tokio::test]
async fn frames_in_single_bytes_are_read() {
    let cluster = cluster::shared().await;
    let mut client = cluster.gateway(0).client().user(&unique("ana")).raw_welcomed().await;

    for byte in text(r#"{"type":"ping","id":"한"}"#.as_bytes()).bytes() {
        client.send_bytes(&[byte]).await;
    }

    assert_eq!(client.json("pong").await["id"], "한");
}

#[tokio::test]
async fn many_frames_in_one_write_are_all_read() {
    let cluster = cluster::shared().await;
    let mut client = cluster.gateway(0).client().user(&unique("ana")).raw_welcomed().await;
    let bytes: Vec<_> = (0..500)
        .flat_map(|number| text(json!({"type": "ping", "id": number}).to_string().as_bytes()).bytes())
        .collect();

    client.send_bytes(&bytes).await;

    for number in 0..500 {
        assert_eq!(client.json("pong").await["id"], number);
    }
}

#[tokio::test]
async fn message_just_within_the_limit_is_taken() {
    let cluster = cluster::shared().await;
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    let frame = json!({"type": "send", "id": 1, "to": unique("x"), "data": ""}).to_string();
    let data = "y".repeat(64 * 1024 - frame.len());

    let answer = client.ask(json!({"type": "send", "id": 1, "to": unique("x"), "data": data})).await;

    assert_eq!(answer["type"], "ok", "{answer}");
}

#[tokio::test]
async fn half_closed_client_is_let_go() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let mut client = cluster.gateway(0).client().user(&user).raw_welcomed().await;

    client.shut_down().await;

    service.until_matched(&To::user(&user), 0).await;
    client.stream_ends().await;
}

#[tokio::test]
async fn client_that_does_not_read_is_closed_with_4008_and_its_neighbours_get_everything() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (room, slow) = (unique("r"), unique("slow"));
    let reader = cluster.gateway(0).connect(&unique("reader")).await;
    reader.join(&room).await;
    let mut client = cluster.gateway(0).client().user(&slow).receive_buffer(4096).raw_welcomed().await;
    service.ctl(To::user(&slow), &json!({"do": "join", "room": room})).receipt().await;

    let (filler, mut sent) = (json!("f".repeat(60_000)), 0);
    loop {
        let receipt = service.send(To::room(&room)).json(&filler).receipt().await;
        sent += 1;
        if receipt.matched == 1 {
            break;
        }
        assert!(sent < 1000, "60 MB to a client that does not read: {receipt:?}");
    }

    assert_eq!(client.close_code().await, 4008);
    assert_eq!(reader.until_messages(sent).await.len(), sent);
    service.until_matched(&To::user(&slow), 0).await;
}

#[tokio::test]
async fn closes_are_counted_by_reason() {
    let cluster = cluster::shared().await;
    let before = closes(&cluster, Close::UnsupportedData).await;
    let client = cluster.gateway(0).connect(&unique("ana")).await;

    client.tell_binary(b"x").await;
    assert_eq!(client.ended().await.code, Close::UnsupportedData.code());

    holdfast_harness::eventually("the close is counted", async || {
        let now = closes(&cluster, Close::UnsupportedData).await;
        if now > before { Ok(()) } else { Err(format!("{before}, then {now}")) }
    })
    .await;
}

async fn closes(cluster: &holdfast_harness::Cluster, close: Close) -> f64 {
    let metrics = cluster.gateway(0).metrics().await;
    let name = "holdfast_gateway_connections_closed_total";
    metrics.value(name, &[("reason", close.label())]).unwrap_or_else(|| panic!("no {name}: {}", metrics.text()))
}
