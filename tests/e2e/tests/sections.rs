//! Routers in sections, each of which hears the sends that NATS maps to it.

use holdfast_harness::process::Process;
use holdfast_harness::service::Answer;
use holdfast_harness::{Cluster, To, eventually};
use serde_json::json;

use super::routers::{a_room_for_each_partition, come_and_go, each_partition_once, member_of, routers_are};

#[tokio::test]
async fn each_partition_is_served_once() {
    each_partition_once(&Cluster::builder().sections(2).routers(3).gateways(2).start().await).await;
}

#[tokio::test]
async fn each_message_comes_once_and_in_order_while_routers_of_sections_come_and_go() {
    come_and_go(Cluster::builder().sections(2).routers(2).gateways(2).start().await).await;
}

#[tokio::test]
async fn what_is_no_user_and_no_room_is_sent_as_ever() {
    let cluster = Cluster::builder().sections(4).routers(4).start().await;
    let service = cluster.service().await;
    let ana = cluster.gateway(0).connect("ana").await;
    ana.join("r").await;
    let connection = ana.id();

    for (number, to) in
        [To::All, To::connection(&connection), To::many([&To::user("ana"), &To::room("r")])].into_iter().enumerate()
    {
        let receipt = service.send(to).json(&json!(number)).receipt().await;
        assert_eq!(receipt.matched, 1, "{number}: {receipt:?}");
    }
    assert_eq!(ana.until_messages(3).await.len(), 3);

    // The token is malformed: whoever hears its section says so, once.
    for rest in ["user.a=2f", "user.b+", "room.c+", "room.d+", "user.a.b"] {
        let answer = service.send(To::raw(rest)).attempt().await;
        assert!(matches!(answer, Answer::Error(_)), "{rest}: {answer:?}");
    }
}

#[tokio::test]
async fn section_without_a_router_says_so_and_the_other_works() {
    let mut cluster = Cluster::builder().sections(2).routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let rooms = a_room_for_each_partition();
    let members = [member_of(&cluster, 0, &rooms).await, member_of(&cluster, 1, &rooms).await];
    cluster.remove_router(1);
    routers_are(&service, 1).await;

    let mut reached = 0;
    for (partition, room) in rooms.iter().enumerate() {
        match service.send(To::room(room)).json(&json!(partition)).attempt().await {
            Answer::Reply(_) => {
                assert_eq!(partition % 2, 0, "{room}");
                reached += 1;
            }
            Answer::NoResponders => assert_eq!(partition % 2, 1, "{room}"),
            other => panic!("{room}: {other:?}"),
        }
    }
    assert_eq!(reached, 32);
    for member in &members {
        member.until_messages(32).await;
    }
}

#[tokio::test]
async fn router_that_was_told_of_other_sections_stays_out() {
    let cluster = Cluster::builder().sections(2).routers(2).gateways(2).start().await;
    let mut command = cluster.command("holdfast-router", cluster.nats().address());
    command.env("HOLDFAST_SECTIONS__COUNT", "4");
    let stranger = Process::spawn("stranger", command);
    eventually("it says why it is not ready", async || {
        let output = stranger.output();
        if output.contains("more or fewer sections") { Ok(()) } else { Err(output) }
    })
    .await;
    each_partition_once(&cluster).await;
}
