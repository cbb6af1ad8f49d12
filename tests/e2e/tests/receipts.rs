//! Receipts: what they count, when they come, and errors in their place.

use futures_util::StreamExt as _;
use holdfast_harness::service::{Answer, header};
use holdfast_harness::wait::bounded;
use holdfast_harness::{Cluster, To, cluster, unique};
use serde_json::json;

#[tokio::test]
async fn target_without_connections_is_offline() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let stranger = "g00000000000AAAAAAAAAAAAAAAAAAAAAA";

    for to in [To::user(&unique("nobody")), To::room(&unique("empty")), To::connection(stranger), To::connection("x")] {
        let receipt = service.send(to).receipt().await;
        let counts = [receipt.matched, receipt.filtered, receipt.acked, receipt.nodes, receipt.late_nodes];
        assert!(receipt.offline && counts == [0; 5], "{receipt:?}");
    }
}

#[tokio::test]
async fn user_is_offline_once_the_last_connection_has_closed() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("eve");
    let client = cluster.gateway(0).connect(&user).await;
    assert!(!service.send(To::user(&user)).receipt().await.offline);

    client.close().await;

    service.until_matched(&To::user(&user), 0).await;
    holdfast_harness::eventually("the router asks no node any more", async || {
        match service.send(To::user(&user)).receipt().await {
            receipt if receipt.nodes == 0 => Ok(()),
            receipt => Err(format!("{receipt:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn each_request_is_answered_once_however_many_routers_hear_it() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, room) = (unique("ana"), unique("r"));
    let client = cluster.gateway(0).connect(&user).await;
    client.join(&room).await;
    let targets = [
        To::user(&user),
        To::room(&room),
        To::connection(&client.id()),
        To::many([&To::user(&user), &To::room(&room)]),
        To::user("nobody"),
        To::raw("bogus.x"),
        To::raw("user.a=zz"),
        To::raw("many"),
    ];

    for to in targets {
        let inbox = service.bus().new_inbox();
        let mut answers = service.bus().subscribe(inbox.clone()).await.expect("subscribe");
        service.send(to.clone()).publish_with_reply(&inbox).await;
        bounded("an answer", answers.next()).await.expect("subscribed");
        // What the other router would say comes before its answer to something sent after the first answer was here.
        for partition in 0..8 {
            service.send(To::user(&format!("barrier{partition}"))).receipt().await;
        }
        service.settle().await;
        assert!(futures_util::FutureExt::now_or_never(answers.next()).is_none(), "{to:?} was answered twice");
    }
}

#[tokio::test]
async fn unknown_and_malformed_subjects_are_answered_and_harm_nobody() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = cluster.gateway(0).connect(&user).await;
    let long = format!("room.{}", "x".repeat(201));
    let sends = [
        ("bogus.x", "404"),
        ("user", "404"),
        ("all.x", "404"),
        ("user.a=zz", "400"),
        ("user.a=2f", "400"),
        ("user.a=41", "400"),
        ("user.a=4", "400"),
        ("user.a+b", "400"),
        (long.as_str(), "400"),
    ];

    for (rest, code) in sends {
        let error = service.send(To::raw(rest)).refused().await;
        assert!(error.code == code || error.code == "400" && rest.len() > 200, "{rest}: {error:?}");
    }
    match service.send(To::raw("user.a.b")).answer().await {
        Answer::Error(error) => assert!(["400", "404"].contains(&error.code.as_str()), "{error:?}"),
        other => panic!("{other:?}"),
    }

    service.send(To::raw("bogus.without.reply")).publish().await;
    service.send(To::user(&user)).receipt().await;
    client.message().await;
}

#[tokio::test]
async fn error_answers_have_no_body() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let inbox = service.bus().new_inbox();
    let mut answers = service.bus().subscribe(inbox.clone()).await.expect("subscribe");

    service.send(To::raw("user.a=zz")).publish_with_reply(&inbox).await;

    let answer = bounded("an answer", answers.next()).await.expect("subscribed");
    assert_eq!(header(&answer, "Nats-Service-Error-Code"), Some("400"));
    assert!(answer.payload.is_empty(), "{:?}", answer.payload);
}

#[tokio::test]
async fn acked_receipt_comes_when_every_client_has_acknowledged() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let clients = [cluster.gateway(0).connect(&user).await, cluster.gateway(1).connect(&user).await];
    let bare = cluster.gateway(0).client().user(&user).bare().await;
    let there = service.until_matched(&To::user(&user), 3).await;
    for client in &clients {
        while client.message().await.id != there.id {}
    }

    let send = service.send(To::user(&user)).header("Hf-Receipt", "acked").header("Hf-Timeout", "30000");
    let acks = async {
        for client in &clients {
            let message = client.message().await;
            assert!(message.ack, "an acknowledgement is asked for: {message:?}");
            client.ack(&[&message.id, "unknown"]).await;
        }
    };
    let (receipt, ()) = tokio::join!(send.receipt(), acks);

    assert_eq!((receipt.acked, receipt.matched), (2, 3), "bare is never waited for: {receipt:?}");
    bare.payload().await;
}

#[tokio::test]
async fn acked_receipt_comes_at_its_time_out_without_those_who_stayed_silent() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let (acks, stays_silent) = (cluster.gateway(0).connect(&user).await, cluster.gateway(1).connect(&user).await);

    let send = service.send(To::user(&user)).header("Hf-Receipt", "acked").header("Hf-Timeout", "3000");
    let ack = async {
        let message = acks.message().await;
        acks.ack(&[&message.id]).await;
        acks.ack(&[&message.id]).await;
    };
    let (receipt, ()) = tokio::join!(send.receipt(), ack);

    assert_eq!((receipt.acked, receipt.matched, receipt.late_nodes), (1, 2, 0), "{receipt:?}");
    stays_silent.message().await;
}

#[tokio::test]
async fn acked_receipt_waits_for_nobody_who_cannot_acknowledge_any_more() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let (acks, leaves) = (cluster.gateway(0).connect(&user).await, cluster.gateway(1).connect(&user).await);
    let paused = cluster.gateway(1).connect(&user).await;
    service.ctl(To::connection(&paused.id()), &json!({"do": "pause"})).receipt().await;

    // Longer than the request waits: only an early answer is one.
    let send = service.send(To::user(&user)).header("Hf-Receipt", "acked").header("Hf-Timeout", "120000");
    let clients = async {
        leaves.message().await;
        leaves.close().await;
        let message = acks.message().await;
        acks.ack(&[&message.id]).await;
    };
    let (receipt, ()) = tokio::join!(send.receipt(), clients);

    assert_eq!((receipt.acked, receipt.matched, receipt.dropped), (1, 3, 1), "{receipt:?}");
}

#[tokio::test]
async fn all_of_nobody_is_offline() {
    let cluster = Cluster::builder().start().await;
    let service = cluster.service().await;

    let receipt = service.send(To::All).receipt().await;

    assert!(receipt.offline, "{receipt:?}");
}

#[tokio::test]
async fn acknowledgement_is_asked_for_only_where_the_receipt_wants_it() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = cluster.gateway(0).connect(&user).await;

    service.send(To::user(&user)).receipt().await;
    service.send(To::user(&user)).header("Hf-Receipt", "written").receipt().await;

    assert!(!client.message().await.ack && !client.message().await.ack);
    let nobody = service.send(To::user(&unique("nobody"))).header("Hf-Receipt", "acked").receipt().await;
    assert!(nobody.offline, "nobody to wait for: {nobody:?}");
}

#[tokio::test]
async fn frozen_node_is_counted_late() {
    let cluster = Cluster::builder().gateways(2).start().await;
    let service = cluster.service().await;
    let (here, there) = (cluster.gateway(0).connect("ana").await, cluster.gateway(1).connect("ana").await);

    cluster.gateway(1).freeze().await;
    let receipt = service.send(To::user("ana")).header("Hf-Timeout", "1000").receipt().await;
    let alone = service.send(To::connection(&there.id())).header("Hf-Timeout", "1000").receipt().await;
    cluster.gateway(1).thaw();

    assert_eq!((receipt.matched, receipt.nodes, receipt.late_nodes), (1, 2, 1), "{receipt:?}");
    assert_eq!((alone.matched, alone.late_nodes, alone.offline), (0, 1, false), "{alone:?}");
    here.message().await;
    there.message().await;
}
