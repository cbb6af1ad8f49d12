//! Kept messages: stored before they are acknowledged, delivered from the stream once and in order, replayed on resume.

use std::time::Duration;

use holdfast_harness::deployed::BEHIND_THE_SCENES;
use holdfast_harness::service::header;
use holdfast_harness::{Cluster, Service, cluster, eventually, unique};
use serde_json::{Value, json};

/// Publishes until the stream has it, as services do; returns the acknowledgement. The message id lets the stream
/// recognise a second attempt.
pub(super) async fn keep(service: &Service, subject: &str, data: &Value) -> Value {
    keep_with(service, subject, data, &[]).await
}

async fn keep_with(service: &Service, subject: &str, data: &Value, with: &[(&str, &str)]) -> Value {
    let mut ack = Value::Null;
    let id = unique("kept");
    eventually("the stream acknowledges", async || {
        let subject = service.subject(subject);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", id.as_str());
        for (name, value) in with {
            headers.insert(*name, *value);
        }
        let answer = service.request(subject, headers, data.to_string().into()).await;
        let holdfast_harness::service::Answer::Reply(message) = answer else { return Err(format!("{answer:?}")) };
        assert!(header(&message, "Nats-Service-Error").is_none(), "{message:?}");
        ack = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
        if ack["seq"].is_u64() { Ok(()) } else { Err(ack.to_string()) }
    })
    .await;
    ack
}

#[tokio::test]
async fn a_kept_message_is_acknowledged_by_the_stream_and_delivered_with_its_position() {
    let cluster = cluster::shared().await;
    let (service, room, user) = (cluster.service().await, unique("r"), unique("ana"));
    let client = cluster.gateway(0).connect(&user).await;
    client.join(&room).await;

    let to_room = keep(&service, &format!("keep.room.{room}"), &json!("room")).await;
    let to_user = keep(&service, &format!("keep.user.{user}"), &json!("user")).await;

    client.until_messages(2).await;
    // Different targets may be different routers' business: no order between them.
    for (data, ack) in [("room", to_room), ("user", to_user)] {
        let frame = client.frame(data, 0, |frame| frame["data"] == data).await;
        assert_eq!(frame["seq"], ack["seq"], "{frame}");
    }
    for frame in client.frames_of("message") {
        assert!(frame["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{frame}");
    }
    client.ping().await;
    assert_eq!(client.messages().len(), 2);
}

#[tokio::test]
async fn who_joins_with_a_position_gets_what_came_after_it_and_then_what_comes() {
    let cluster = cluster::shared().await;
    let (service, room) = (cluster.service().await, unique("r"));
    let subject = format!("keep.room.{room}");
    let before = cluster.gateway(0).connect(&unique("ana")).await;
    before.join(&room).await;
    keep(&service, &subject, &json!(0)).await;
    before.until_messages(1).await;
    let seen = before.frames_of("message").remove(0);
    before.close().await;
    for number in 1..=3 {
        keep(&service, &subject, &json!(number)).await;
    }

    let after = cluster.gateway(1).connect(&unique("ana")).await;
    let since = json!({ "epoch": seen["epoch"], "seq": seen["seq"] });
    let ok = after.ok(json!({ "type": "join", "room": room, "since": since })).await;
    keep(&service, &subject, &json!(4)).await;

    assert_eq!(ok["recovered"], true, "{ok}");
    after.until_messages(4).await;
    assert_eq!(after.data(), [json!(1), json!(2), json!(3), json!(4)]);
    after.ping().await;
    assert_eq!(after.messages().len(), 4);
}

#[tokio::test]
async fn history_comes_in_pages_and_shows_nobody_what_was_not_for_them() {
    let cluster = cluster::shared().await;
    let (service, room) = (cluster.service().await, unique("r"));
    let subject = format!("keep.room.{room}");
    for number in 0..5 {
        let except = if number == 3 { [("Hf-Except-User", "ana")] } else { [("Hf-Except-User", "nobody")] };
        keep_with(&service, &subject, &json!(number), &except).await;
    }
    let client = cluster.gateway(0).connect("ana").await;

    let newest = client.ask(json!({ "type": "history", "room": room, "limit": 3 })).await;
    let older = client.ask(json!({ "type": "history", "room": room, "limit": 3, "before": newest["next"] })).await;

    let numbers = |page: &Value| -> Vec<Value> {
        page["messages"].as_array().into_iter().flatten().map(|message| message["data"].clone()).collect()
    };
    assert_eq!((numbers(&newest), &newest["more"]), (vec![json!(2), json!(4)], &json!(true)), "{newest}");
    assert_eq!((numbers(&older), &older["more"]), (vec![json!(0), json!(1)], &json!(false)), "{older}");
    assert!(older["next"].is_null(), "{older}");
}

#[tokio::test]
async fn a_router_that_dies_loses_and_doubles_no_kept_message() {
    const ROOMS: usize = 16;
    const ROUNDS: usize = 60;
    let mut cluster = Cluster::builder().routers(2).gateways(1).start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).connect("ana").await;
    let rooms: Vec<_> = (0..ROOMS).map(|number| format!("r{number}")).collect();
    for room in &rooms {
        client.join(room).await;
    }

    for round in 0..ROUNDS {
        if round == ROUNDS / 3 {
            cluster.remove_router(0);
        }
        for room in &rooms {
            keep(&service, &format!("keep.room.{room}"), &json!(round)).await;
        }
        holdfast_harness::wait::pause(Duration::from_millis(20)).await;
    }

    let messages = client.until_messages(ROOMS * ROUNDS).await;
    for room in &rooms {
        let of_room = messages.iter().filter(|message| message.room.as_deref() == Some(room.as_str()));
        let data: Vec<_> = of_room.map(|message| message.data.clone()).collect();
        assert_eq!(data, (0..ROUNDS).map(|round| json!(round)).collect::<Vec<_>>(), "{room}");
    }
    assert!(client.frames_of("gap").iter().all(|gap| gap["all"].is_null()), "{:?}", client.frames_of("gap"));
    client.ping().await;
    assert_eq!(client.messages().len(), ROOMS * ROUNDS);
}

#[tokio::test]
async fn copies_that_routers_do_not_hear_are_read_back_from_the_stream() {
    let cluster = Cluster::builder().routers(2).gateways(1).start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).connect("ana").await;
    client.join("r").await;
    keep(&service, "keep.room.r", &json!(0)).await;
    client.until_messages(1).await;
    let context = async_nats::jetstream::new(cluster.nats().connect_as(BEHIND_THE_SCENES).await);
    let stream = context.get_stream("HF_KEPT").await.expect("the stream").cached_info().config.clone();
    let elsewhere = async_nats::jetstream::stream::Republish {
        source: "hf.keep.>".to_owned(),
        destination: "elsewhere.>".to_owned(),
        headers_only: false,
    };
    let silent = async_nats::jetstream::stream::Config { republish: Some(elsewhere), ..stream.clone() };
    context.update_stream(&silent).await.expect("updated");

    // Nothing tells of these but the stream itself.
    for number in 1..=3 {
        keep(&service, "keep.room.r", &json!(number)).await;
    }
    client.until_messages(4).await;
    keep(&service, "keep.room.r", &json!(4)).await;
    context.update_stream(&stream).await.expect("updated");
    // And this one shows that the one before it is missing.
    keep(&service, "keep.room.r", &json!(5)).await;

    client.until_messages(6).await;
    assert_eq!(client.data(), (0..6).map(|number| json!(number)).collect::<Vec<_>>());
    assert!(client.frames_of("gap").is_empty(), "{:?}", client.frames_of("gap"));
    eventually("both reads are counted", async || {
        let read_back = cluster.router(0).metrics().await.value("holdfast_router_kept_read_back_total", &[]);
        if read_back.is_some_and(|count| count >= 4.0) { Ok(()) } else { Err(format!("{read_back:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_kept_message_has_one_receipt_where_its_publisher_wants_it() {
    let cluster = Cluster::builder().routers(2).gateways(1).start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).connect("ana").await;
    let rooms: Vec<_> = (0..8).map(|number| format!("r{number}")).collect();
    for room in &rooms {
        client.join(room).await;
    }
    let mut receipts = service.listen(&service.subject("receipt.>")).await;

    for room in &rooms {
        let to = service.subject(&format!("receipt.{room}"));
        keep_with(&service, &format!("keep.room.{room}"), &json!(room), &[("Hf-Receipt-To", &to)]).await;
    }
    let gone = service.subject("receipt.gone");
    keep_with(&service, "keep.room.nobody", &json!(1), &[("Hf-Receipt-To", &gone)]).await;
    // What is no business of a publisher: it would reach the client.
    let send = service.subject("send.room.r0");
    keep_with(&service, "keep.room.r0", &json!("last"), &[("Hf-Receipt-To", &send)]).await;

    client.until_messages(9).await;
    let mut told = std::collections::BTreeMap::new();
    while told.len() < 9 {
        let message = receipts.next().await;
        let receipt = holdfast_harness::service::checked(&message);
        let room = message.subject.rsplit('.').next().unwrap_or_default().to_owned();
        assert!(told.insert(room.clone(), (receipt.matched, receipt.offline)).is_none(), "{room} twice");
    }
    assert_eq!(told.remove("gone"), Some((0, true)));
    assert!(told.values().all(|receipt| *receipt == (1, false)), "{told:?}");
    service.settle().await;
    assert!(receipts.so_far().await.is_empty(), "one each");
    client.ping().await;
    assert_eq!(client.messages().len(), 9);
}
