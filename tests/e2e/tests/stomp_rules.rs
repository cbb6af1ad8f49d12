//! Dialect `stomp`: destinations by configuration, answers and errors in the client's own queues, rooms that resume.

use holdfast_harness::client::{BareClient, Payload};
use holdfast_harness::service::header;
use holdfast_harness::{Claims, Cluster, Gateway, To, cluster, unique};

async fn connected(gateway: &Gateway, user: &str) -> BareClient {
    let client = gateway.client().protocols(&["v12.stomp"]).endpoint_default().await;
    let token = Claims::of(user).sign();
    client.tell(&format!("CONNECT\naccept-version:1.2\nX-Auth-Token:{token}\n\n\0")).await;
    assert!(frame(&client).await.starts_with("CONNECTED\n"));
    client
}

async fn frame(client: &BareClient) -> String {
    match client.payload().await {
        Payload::Text(text) => text,
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

/// Subscribes as `id`, and returns the RECEIPT.
async fn subscribed(client: &BareClient, id: &str, destination: &str, more: &str) -> String {
    client.tell(&format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:{id}\n{more}\n\0")).await;
    let receipt = frame(client).await;
    assert!(receipt.starts_with(&format!("RECEIPT\nreceipt-id:{id}\n")), "{receipt}");
    receipt
}

fn body(frame: &str) -> &str {
    frame.split_once("\n\n").map_or("", |(_, body)| body.trim_end_matches('\0'))
}

fn value<'a>(frame: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = frame.split_once("\n\n")?;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[tokio::test]
async fn prefixes_say_who_may_send_where_and_who_is_asked() {
    // Clients that may send to rooms need more of NATS than `deploy/nats` lets gateways do unless asked.
    let cluster = Cluster::builder()
        .open_bus()
        .gateway_setting("HOLDFAST_STOMP__RELAY", "/topic/open")
        .gateway_setting("HOLDFAST_STOMP__REQUESTS", "/ask")
        .gateway_setting("HOLDFAST_ENDPOINTS__QUIET__PATH", "/quiet")
        .gateway_setting("HOLDFAST_ENDPOINTS__QUIET__STOMP__RELAY", "/topic/other")
        .start()
        .await;
    let service = cluster.service().await;
    let _answers = service
        .serve("hf.req.chat.>", |message| async move {
            let user = header(&message, "Hf-User").unwrap_or_default();
            (message.subject.as_str() == "hf.req.chat.who").then(|| (Default::default(), user.to_owned().into()))
        })
        .await;
    let (ana, ben) = (connected(cluster.gateway(0), "ana").await, connected(cluster.gateway(0), "ben").await);
    subscribed(&ben, "t", "/topic/open/1", "").await;
    subscribed(&ana, "w", "/user/queue/who", "").await;
    subscribed(&ana, "e", "/user/queue/errors", "").await;

    ana.tell("SEND\ndestination:/topic/open/1\ncontent-type:text/plain\nreceipt:r\n\n한 {\0").await;
    assert_eq!(frame(&ana).await, "RECEIPT\nreceipt-id:r\n\n\0");
    let relayed = frame(&ben).await;
    assert_eq!((body(&relayed), value(&relayed, "destination")), ("한 {", Some("/topic/open/1")), "{relayed}");

    ana.tell("SEND\ndestination:/ask/who\n\n\0SEND\ndestination:/ask/nobody/here\n\n\0").await;
    let (first, second) = (frame(&ana).await, frame(&ana).await);
    assert_eq!((value(&first, "subscription"), body(&first)), (Some("w"), "ana"), "{first}");
    assert_eq!(value(&second, "subscription"), Some("e"), "{second}");
    assert!(body(&second).contains(r#""destination":"/ask/nobody/here""#), "{second}");

    let quiet = cluster.gateway(0).client().path("/quiet").protocols(&["v12.stomp"]).endpoint_default().await;
    quiet.tell(&format!("CONNECT\naccept-version:1.2\ntoken:{}\n\n\0", Claims::of("ana").sign())).await;
    frame(&quiet).await;
    quiet.tell("SEND\ndestination:/topic/open/1\n\n\0").await;
    assert!(frame(&quiet).await.starts_with("ERROR\nmessage:nobody may send"));
    assert_eq!(quiet.ended().await.code, 1008);
}

#[tokio::test]
async fn a_client_s_headers_and_content_type_go_up() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let to = unique("new");
    let mut upstream = service.listen(&format!("hf.up.chat.{to}")).await;
    let client = connected(cluster.gateway(0), &unique("ana")).await;

    let own = "priority:9\n이름:값\nHf-User:admin\nAuthorization:secret";
    client.tell(&format!("SEND\ndestination:/app/{to}\ncontent-type:application/json\n{own}\n\n{{}}\0")).await;

    let message = upstream.next().await;
    assert_eq!(header(&message, "Content-Type"), Some("application/json"));
    let expected = r#"[["priority","9"],["\uc774\ub984","\uac12"],["Hf-User","admin"]]"#;
    assert_eq!(header(&message, "Hf-Headers"), Some(expected));
    assert_ne!(header(&message, "Hf-User"), Some("admin"));
}

#[tokio::test]
async fn a_kept_room_resumes_from_a_position_on_another_node() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("room");
    let keep = async |text: &str| {
        let subject = format!("hf.keep.room.{room}");
        service.bus().request(subject, text.to_owned().into()).await.expect("the stream confirms");
    };
    let client = connected(cluster.gateway(0), &unique("ana")).await;
    let receipt = subscribed(&client, "s", &format!("/topic/{room}"), "").await;
    assert!(value(&receipt, "position").is_some_and(|position| position.contains('.')), "{receipt}");
    keep("\"one\"").await;
    let first = frame(&client).await;
    assert_eq!(body(&first), "\"one\"");
    let since = format!("since:{}.{}\n", value(&first, "epoch").unwrap(), value(&first, "seq").unwrap());
    client.tell("DISCONNECT\n\n\0").await;
    keep("\"two\"").await;
    keep("\"three\"").await;

    let back = connected(cluster.gateway(1), &unique("ana")).await;
    let receipt = subscribed(&back, "s", &format!("/topic/{room}"), &since).await;

    assert_eq!(value(&receipt, "recovered"), Some("true"), "{receipt}");
    keep("\"four\"").await;
    for expected in ["\"two\"", "\"three\"", "\"four\""] {
        assert_eq!(body(&frame(&back).await), expected);
    }
}

#[tokio::test]
async fn a_client_s_own_messages_resume_at_another_node() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let keep = async |queue: &str, text: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Hf-Destination", queue);
        let subject = format!("hf.keep.user.{user}");
        let kept = service.bus().request_with_headers(subject, headers, text.to_owned().into());
        kept.await.expect("the stream confirms");
    };
    let client = connected(cluster.gateway(0), &user).await;
    subscribed(&client, "s", "/user/queue/a", "").await;
    keep("/queue/a", "\"one\"").await;
    let first = frame(&client).await;
    assert_eq!(body(&first), "\"one\"");
    let since = format!("{}.{}", value(&first, "epoch").unwrap(), value(&first, "seq").unwrap());
    client.tell("DISCONNECT\n\n\0").await;
    keep("/queue/a", "\"two\"").await;
    keep("/queue/b", "\"three\"").await;

    let back = cluster.gateway(1).client().protocols(&["v12.stomp"]).endpoint_default().await;
    let token = Claims::of(&user).sign();
    back.tell(&format!("CONNECT\naccept-version:1.2\nsince:{since}\nAuthorization:{token}\n\n\0")).await;
    let connected = frame(&back).await;
    assert_eq!(value(&connected, "recovered"), Some("true"), "{connected}");
    // Nobody listens: it is not lost.
    keep("/queue/a", "\"four\"").await;
    for (id, queue) in [("a", "/user/queue/a"), ("b", "/user/queue/b")] {
        subscribed(&back, id, queue, "").await;
    }
    for (id, expected) in [("a", "\"two\""), ("b", "\"three\""), ("a", "\"four\"")] {
        let message = frame(&back).await;
        assert_eq!((value(&message, "subscription"), body(&message)), (Some(id), expected), "{message}");
    }
    keep("/queue/b", "\"five\"").await;
    assert_eq!(body(&frame(&back).await), "\"five\"");
}

#[tokio::test]
async fn a_cumulative_ack_counts_for_what_came_before() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("room");
    let client = connected(cluster.gateway(0), &unique("ana")).await;
    subscribed(&client, "s", &format!("/topic/{room}"), "ack:client\n").await;
    let send = |id: &'static str| {
        let sending = service.send(To::room(&room)).payload("x").header("Hf-Id", id);
        sending.header("Hf-Receipt", "acked").receipt()
    };

    // The second is sent once the first is there: their order is not left to chance.
    let then = async {
        frame(&client).await;
        let acknowledge = async {
            frame(&client).await;
            client.tell("ACK\nid:second\n\n\0").await;
        };
        tokio::join!(send("second"), acknowledge).0
    };
    let (first, second) = tokio::join!(send("first"), then);

    assert_eq!((first.acked, second.acked), (1, 1), "{first:?} {second:?}");
}

#[tokio::test]
async fn a_queue_gives_each_subscriber_each_message_and_a_durable_subscription_is_refused() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let queue = unique("queue/jobs");
    let (ana, ben) = (
        connected(cluster.gateway(0), &unique("ana")).await,
        connected(cluster.gateway_in_turn(1), &unique("ben")).await,
    );
    for client in [&ana, &ben] {
        subscribed(client, "q", &format!("/{queue}"), "").await;
    }

    let receipt = service.send(To::room(&queue)).payload("job").receipt().await;

    assert_eq!(receipt.matched, 2, "{receipt:?}");
    for client in [&ana, &ben] {
        let message = frame(client).await;
        assert_eq!((value(&message, "subscription"), body(&message)), (Some("q"), "job"), "{message}");
    }
    ana.tell(&format!("SUBSCRIBE\nid:d\ndestination:/{queue}\ndurable:true\n\n\0")).await;
    assert!(frame(&ana).await.starts_with("ERROR\nmessage:durable subscriptions are not supported\n"));
    assert_eq!(ana.ended().await.code, 1008);
}

#[tokio::test]
async fn destinations_that_look_like_subjects_are_data() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let other = unique("other");
    let client = connected(cluster.gateway(0), &unique("ana")).await;
    for (id, destination) in [("1", "/topic/>"), ("2", "/topic/a b"), ("3", "/topic/a%2Eb"), ("4", "/topic/*.>")] {
        subscribed(&client, id, destination, "").await;
    }
    service.send(To::room(&other)).receipt().await;
    for (room, id) in [(">", "1"), ("a b", "2"), ("a%2Eb", "3"), ("*.>", "4")] {
        let receipt = service.send(To::room(room)).receipt().await;
        assert!(receipt.matched >= 1, "{receipt:?}");
        let message = frame(&client).await;
        assert_eq!(value(&message, "subscription"), Some(id), "{message}");
    }

    let long = format!("/topic/{}", "한".repeat(100));
    for destination in ["/topic/*", "/topic/x/**", "/app/../x", "/user/other/queue/x", "/topic//x", &long] {
        let client = connected(cluster.gateway(0), &unique("ana")).await;
        client.tell(&format!("SUBSCRIBE\nid:0\ndestination:{destination}\n\n\0")).await;
        assert!(frame(&client).await.starts_with("ERROR\n"), "{destination}");
        assert_eq!(client.ended().await.code, 1008, "{destination}");
    }
}
