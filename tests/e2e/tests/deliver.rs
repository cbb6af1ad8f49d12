//! Sends to users, rooms, connections, everybody and many.

use std::collections::BTreeSet;

use holdfast_harness::{Client, Cluster, To, cluster, unique};
use serde_json::json;

async fn clients(cluster: &Cluster, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        clients.push(cluster.gateway_in_turn(number).connect(&unique("u")).await);
    }
    clients
}

#[tokio::test]
async fn user_send_reaches_each_device_on_each_node_and_nobody_else() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let mut devices = Vec::new();
    for number in 0..4 {
        devices.push(cluster.gateway_in_turn(number).connect(&user).await);
    }
    let stranger = cluster.gateway(1).connect(&unique("ben")).await;

    let receipt = service.send(To::user(&user)).json(&json!({"hi": 1})).receipt().await;

    assert_eq!((receipt.matched, receipt.nodes, receipt.filtered, receipt.dropped), (4, 2, 0, 0), "{receipt:?}");
    assert_eq!((receipt.late_nodes, receipt.acked, receipt.offline), (0, 0, false), "{receipt:?}");
    for device in &devices {
        let message = device.message().await;
        assert_eq!((&message.id, &message.data, message.ack), (&receipt.id, &json!({"hi": 1}), false));
        assert!(message.room.is_none() && !message.raw.contains("\"seq\""), "{message:?}");
        device.nothing_more().await;
    }
    stranger.nothing_more().await;
}

#[tokio::test]
async fn room_send_reaches_each_member_once_with_its_id_and_event() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (room, id) = (unique("chat/5"), unique("my-id"));
    let clients = clients(&cluster, 5).await;
    for member in &clients[..4] {
        member.join(&room).await;
    }

    let send = service.send(To::room(&room)).json(&json!({"x": [1, 2]}));
    let receipt = send.header("Hf-Type", "message.new").header("Hf-Id", &id).receipt().await;

    assert_eq!((receipt.id.as_str(), receipt.matched, receipt.nodes), (id.as_str(), 4, 2), "{receipt:?}");
    for member in &clients[..4] {
        let message = member.message().await;
        assert_eq!((message.id.as_str(), message.room.as_ref()), (id.as_str(), Some(&room)));
        assert_eq!((message.event.as_deref(), &message.data), (Some("message.new"), &json!({"x": [1, 2]})));
        member.nothing_more().await;
    }
    clients[4].nothing_more().await;
}

#[tokio::test]
async fn connection_send_reaches_that_connection_alone() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let (one, other) = (cluster.gateway(1).connect(&user).await, cluster.gateway(1).connect(&user).await);

    let receipt = service.send(To::connection(&one.id())).receipt().await;

    assert_eq!((receipt.matched, receipt.nodes), (1, 1), "{receipt:?}");
    one.message().await;
    one.nothing_more().await;
    other.nothing_more().await;
}

#[tokio::test]
async fn all_reaches_every_connection_on_every_node_once() {
    let cluster = Cluster::builder().routers(2).gateways(3).start().await;
    let service = cluster.service().await;
    let clients = clients(&cluster, 9).await;

    let receipt = service.send(To::All).json(&json!("all")).receipt().await;

    assert_eq!((receipt.matched, receipt.nodes, receipt.offline), (9, 3, false), "{receipt:?}");
    for client in &clients {
        assert_eq!(client.message().await.data, "all");
        client.nothing_more().await;
    }
}

#[tokio::test]
async fn many_gives_each_connection_one_copy_and_one_receipt() {
    const COUNT: usize = 12;
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let clients = clients(&cluster, COUNT).await;
    let rooms: Vec<_> = (0..COUNT).map(|_| unique("r")).collect();
    let (all, nobody) = (To::room(&unique("all")), To::user(&unique("nobody")));
    for (number, client) in clients.iter().enumerate() {
        client.join(&rooms[number]).await;
        client.join(&rooms[(number + 1) % COUNT]).await;
    }

    for number in 0..COUNT {
        let (room, next) = (To::room(&rooms[number]), To::room(&rooms[(number + 1) % COUNT]));
        let connection = To::connection(&clients[number].id());
        let user = To::user(&clients[number].welcome("user"));
        let targets = To::many([&user, &room, &next, &connection, &nobody, &all]);
        let receipt = service.send(targets).json(&json!(number)).receipt().await;

        assert_eq!(receipt.matched, 3, "its own and both neighbours: {receipt:?}");
    }

    for (number, client) in clients.iter().enumerate() {
        let wanted: BTreeSet<_> = [number, (number + 1) % COUNT, (number + COUNT - 1) % COUNT].into();
        let mut seen = Vec::new();
        for _ in 0..wanted.len() {
            seen.push(client.message().await.data.as_u64().expect("a number"));
        }
        client.nothing_more().await;
        assert_eq!(seen.iter().map(|&n| usize::try_from(n).expect("small")).collect::<BTreeSet<_>>(), wanted);
    }
}

#[tokio::test]
async fn many_takes_encoded_keys_and_up_to_a_thousand_targets() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let odd = unique("a,b: c=d");
    let client = cluster.gateway(0).connect(&odd).await;
    let crowd = |count: usize| (0..count).map(|number| format!("user:nobody{number}")).collect::<Vec<_>>().join(",");

    assert_eq!(service.send(To::many([&To::user(&odd)])).receipt().await.matched, 1);
    client.message().await;

    let receipt = service.send(To::Many(crowd(1000))).receipt().await;
    assert!(receipt.offline, "{receipt:?}");
    assert_eq!(service.send(To::Many(crowd(1001))).refused().await.code, "400");
}

#[tokio::test]
async fn many_with_a_bad_list_is_refused() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;

    for list in ["", "user", "planet:x", "user:", "user:a=ZZ", "user:a=41", ":x"] {
        assert_eq!(service.send(To::Many(list.to_owned())).refused().await.code, "400", "{list:?}");
    }
    assert_eq!(service.send(To::raw("many")).refused().await.code, "400", "no Hf-To at all");
}

#[tokio::test]
async fn connection_in_several_rooms_gets_one_copy_per_room() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (one, two) = (unique("one"), unique("two"));
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    client.join(&one).await;
    client.join(&two).await;

    service.send(To::room(&one)).receipt().await;
    service.send(To::room(&two)).receipt().await;

    assert_eq!(client.message().await.room, Some(one));
    assert_eq!(client.message().await.room, Some(two));
    client.nothing_more().await;
}

#[tokio::test]
async fn ids_are_made_where_absent_and_are_the_same_everywhere() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("r");
    let clients = clients(&cluster, 2).await;
    for client in &clients {
        client.join(&room).await;
    }

    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(service.send(To::room(&room)).receipt().await.id);
    }

    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 20, "{ids:?}");
    for client in &clients {
        let messages = client.until_messages(20).await;
        assert_eq!(messages.iter().map(|message| &message.id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        assert!(messages.iter().all(|message| message.event.is_none()), "no event without Hf-Type");
    }
}

#[tokio::test]
async fn user_keys_are_opaque() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;

    for user in ["ü.*> 42/한", "=2F", "a.b", "$SYS", "x,y:z"].map(unique) {
        let client = cluster.gateway(0).connect(&user).await;
        assert_eq!(service.send(To::user(&user)).receipt().await.matched, 1, "{user}");
        client.message().await;
    }
}

#[tokio::test]
async fn large_message_is_delivered_whole() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = cluster.gateway(0).connect(&user).await;
    let text = "x".repeat(900 * 1024);

    let receipt = service.send(To::user(&user)).json(&json!(text)).receipt().await;

    assert_eq!(receipt.matched, 1, "{receipt:?}");
    assert!(client.message().await.data == json!(text), "each byte of it");
}

#[tokio::test]
async fn message_no_packet_can_hold_is_answered_and_harms_nobody() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, other) = (unique("ana"), unique("ben"));
    let (client, witness) = (cluster.gateway(0).connect(&user).await, cluster.gateway(0).connect(&other).await);
    let payload = vec![b'x'; service.bus().max_payload() - 200];

    // Whether the frame around it still fits is for the router to say; silence is not an answer.
    let answer = service.send(To::user(&user)).payload(payload).answer().await;

    match answer {
        holdfast_harness::service::Answer::Reply(_) => drop(client.message().await),
        holdfast_harness::service::Answer::Error(error) => assert_eq!(error.code, "413", "{error:?}"),
        other => panic!("{other:?}"),
    }
    service.send(To::user(&other)).receipt().await;
    witness.message().await;
}
