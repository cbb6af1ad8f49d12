//! Commands.

use holdfast_harness::{Claims, Cluster, To, cluster, eventually, unique};
use serde_json::{Value, json};

#[tokio::test]
async fn join_and_leave_by_command_bypass_the_token_and_are_in_effect_with_the_receipt() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, vip) = (unique("ana"), unique("vip"));
    let claims = Claims::of(&user).rooms(&[]);
    let one = cluster.gateway(0).client().claims(&claims).open().await;
    let two = cluster.gateway(1).client().claims(&claims).open().await;

    let joined = service.ctl(To::user(&user), &json!({"do": "join", "room": vip})).receipt().await;
    assert_eq!((joined.matched, joined.written), (2, 2), "{joined:?}");
    assert_eq!(service.send(To::room(&vip)).receipt().await.matched, 2);
    let left = service.ctl(To::connection(&one.id()), &json!({"do": "leave", "room": vip})).receipt().await;
    assert_eq!(left.matched, 1, "{left:?}");
    assert_eq!(service.send(To::room(&vip)).receipt().await.matched, 1);

    for client in [&one, &two] {
        client.frame("joined", 0, |frame| frame["type"] == "joined" && frame["room"] == json!(vip)).await;
    }
    let told = one.frame("left", 0, |frame| frame["type"] == "left" && frame["room"] == json!(vip)).await;
    assert!(told.get("id").is_none(), "no one asked: {told}");
    one.message_in(&vip).await;
    one.nothing_more().await;
    two.message_in(&vip).await;
    two.message_in(&vip).await;
}

#[tokio::test]
async fn command_to_a_room_reaches_its_members() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (from, to) = (unique("from"), unique("to"));
    let client = cluster.gateway(1).connect(&unique("ben")).await;
    client.join(&from).await;

    let receipt = service.ctl(To::room(&from), &json!({"do": "join", "room": to})).receipt().await;

    assert_eq!(receipt.matched, 1, "{receipt:?}");
    assert_eq!(service.send(To::room(&to)).receipt().await.matched, 1);
}

#[tokio::test]
async fn disconnect_closes_with_the_code_and_reason_given_and_only_the_device_named() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let ios = cluster.gateway(0).client().claims(&Claims::of(&user).device("ios")).open().await;
    let web = cluster.gateway(1).client().claims(&Claims::of(&user).device("web")).open().await;

    let command = json!({"do": "disconnect", "code": 4001, "reason": "bye", "device": "web"});
    let receipt = service.ctl(To::user(&user), &command).receipt().await;

    let ended = web.ended().await;
    assert_eq!((ended.code, ended.reason.as_str(), receipt.matched), (4001, "bye", 1), "{receipt:?}");
    ios.ping().await;

    service.ctl(To::user(&user), &json!({"do": "disconnect"})).receipt().await;
    assert_eq!(ios.ended().await.code, 4000, "the default");
    service.until_matched(&To::user(&user), 0).await;
}

#[tokio::test]
async fn command_that_is_none_is_answered_with_400() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = cluster.gateway(0).connect(&user).await;
    let long = "x".repeat(124);
    let commands = [
        json!({"do": "fly"}),
        json!({}),
        json!([]),
        json!({"do": "join"}),
        json!({"do": "join", "room": ""}),
        json!({"do": "expire"}),
        json!({"do": "disconnect", "code": 1005}),
        json!({"do": "disconnect", "code": 1002}),
        json!({"do": "disconnect", "code": 99999}),
        json!({"do": "disconnect", "code": 4001, "reason": long}),
    ];

    for command in commands {
        let error = service.ctl(To::user(&user), &command).refused().await;
        assert_eq!(error.code, "400", "{command}: {error:?}");
    }
    for text in ["{", "", "\"join\""] {
        let error = service.ctl(To::user(&user), &Value::Null).payload(text).refused().await;
        assert_eq!(error.code, "400", "{text:?}: {error:?}");
    }
    client.ping().await;
    let nobody = service.ctl(To::user(&unique("nobody")), &json!({"do": "pause"})).receipt().await;
    assert!(nobody.offline, "{nobody:?}");
}

#[tokio::test]
async fn command_to_a_node_that_is_none_of_ours_is_offline() {
    let cluster = cluster::shared().await;
    let service = cluster.operator().await;

    for node in ["nobody", "g00000000000"] {
        let receipt = service.ctl(To::Node(node.to_owned()), &json!({"do": "drain"})).receipt().await;
        assert!(receipt.offline, "{node}: {receipt:?}");
    }
}

#[tokio::test]
async fn node_sheds_a_part_of_its_connections_by_command() {
    let cluster = Cluster::builder().gateways(2).gateway_setting("HOLDFAST_DRAIN__WINDOW", "1s").start().await;
    let service = cluster.operator().await;
    let mut clients = Vec::new();
    for number in 0..40 {
        clients.push(cluster.gateway(0).connect(&format!("u{number}")).await);
    }
    let elsewhere = cluster.gateway(1).connect("elsewhere").await;
    let node = To::Node(cluster.gateway(0).node().to_owned());

    let receipt = service.ctl(node, &json!({"do": "shed", "percent": 50})).receipt().await;

    assert!((10..=30).contains(&receipt.matched), "about half: {receipt:?}");
    let left = 40 - usize::try_from(receipt.matched).expect("small");
    eventually(&format!("{left} are left"), async || {
        let open = clients.iter().filter(|client| client.is_open()).count();
        if open == left { Ok(()) } else { Err(format!("{open} are open")) }
    })
    .await;
    elsewhere.ping().await;
    cluster.gateway(0).connect("newcomer").await;
}

#[tokio::test]
async fn paused_connection_gets_nothing_until_it_is_resumed_and_is_then_told_of_the_gap() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, room) = (unique("ana"), unique("r"));
    let client = cluster.gateway(0).connect(&user).await;
    client.join(&room).await;

    assert_eq!(service.ctl(To::user(&user), &json!({"do": "pause"})).receipt().await.matched, 1);
    for to in [To::user(&user), To::room(&room), To::room(&room)] {
        let receipt = service.send(to).receipt().await;
        assert_eq!((receipt.matched, receipt.dropped), (1, 1), "{receipt:?}");
    }
    client.nothing_more().await;
    assert!(client.frames_of("gap").is_empty(), "not while it is paused");
    service.ctl(To::user(&user), &json!({"do": "resume"})).receipt().await;

    service.send(To::user(&user)).json(&json!("after")).receipt().await;
    assert_eq!(client.message().await.data, "after");
    client.ping().await;
    let gaps = client.frames_of("gap");
    assert_eq!(gaps.iter().filter(|gap| gap["room"] == json!(room)).count(), 1, "one per room: {gaps:?}");
    assert_eq!(gaps.iter().filter(|gap| gap.get("room").is_none()).count(), 1, "and one for the user: {gaps:?}");
}

#[tokio::test]
async fn expire_ends_the_connections_of_that_token_on_whatever_node() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, kept, revoked) = (unique("ana"), unique("j1"), unique("j2"));
    let one = cluster.gateway(0).client().claims(&Claims::of(&user).with("jti", kept)).open().await;
    let two = cluster.gateway(1).client().claims(&Claims::of(&user).with("jti", revoked.as_str())).open().await;

    let receipt = service.ctl(To::All, &json!({"do": "expire", "jti": revoked})).receipt().await;

    assert_eq!((receipt.matched, receipt.written), (1, 1), "{receipt:?}");
    assert_eq!(two.ended().await.code, 4003);
    one.ping().await;
}
