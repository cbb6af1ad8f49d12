//! Order of many messages over several routers.

use holdfast_harness::{Cluster, To, cluster, unique};
use serde_json::json;

/// Messages between two receipts: so many are under way at once.
const WINDOW: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_thousand_messages_to_a_room_arrive_in_order_at_every_member() {
    const MESSAGES: usize = 100_000;
    let cluster = Cluster::builder().routers(2).gateways(4).start().await;
    let service = cluster.service().await;
    let mut members = Vec::new();
    for number in 0..8 {
        let member = cluster.gateway_in_turn(number).connect(&format!("u{number}")).await;
        member.join("busy").await;
        members.push(member);
    }

    for number in 0..MESSAGES {
        let send = service.send(To::room("busy")).json(&json!(number));
        if number % WINDOW == WINDOW - 1 {
            let receipt = send.header("Hf-Timeout", "20000").receipt().await;
            assert_eq!((receipt.matched, receipt.dropped, receipt.late_nodes), (8, 0, 0), "{number}: {receipt:?}");
        } else {
            send.publish().await;
        }
    }

    for member in &members {
        let messages = member.until_messages(MESSAGES).await;
        assert_eq!(messages.len(), MESSAGES);
        let wrong = messages.iter().enumerate().find(|(number, message)| message.data != json!(number));
        assert!(wrong.is_none(), "{wrong:?}");
        assert!(member.frames_of("gap").is_empty());
    }
}

#[tokio::test]
async fn each_sender_keeps_its_order_to_each_target() {
    const MESSAGES: u64 = 500;
    let cluster = cluster::shared().await;
    let user = unique("ana");
    let rooms: Vec<_> = (0..4).map(|_| unique("r")).collect();
    let client = cluster.gateway(1).connect(&user).await;
    for room in &rooms {
        client.join(room).await;
    }

    let sending = (0..3_u64).map(async |sender| {
        let service = cluster.service().await;
        for number in 0..MESSAGES {
            for to in rooms.iter().map(|room| To::room(room)).chain([To::user(&user)]) {
                service.send(to).json(&json!([sender, number])).publish().await;
            }
            if number % 50 == 49 {
                service.send(To::user(&unique("window"))).receipt().await;
            }
        }
    });
    futures_util::future::join_all(sending).await;

    let total = usize::try_from(3 * 5 * MESSAGES).expect("small");
    let messages = client.until_messages(total).await;
    let mut next = std::collections::HashMap::new();
    for message in messages {
        let (sender, number) = (message.data[0].as_u64(), message.data[1].as_u64());
        let expected: &mut u64 = next.entry((sender, message.room.clone())).or_default();
        assert_eq!(number, Some(*expected), "sender {sender:?} to {:?}", message.room);
        *expected += 1;
    }
    client.ping().await;
    assert_eq!(client.messages().len(), total);
}
