//! One to three routers: killed, frozen, added, leaving in order, absent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_harness::service::{Answer, checked};
use holdfast_harness::wait::pause;
use holdfast_harness::{Client, Cluster, Service, To, eventually};
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token::partition_of_key;
use serde_json::{Value, json};

/// One room for each partition, so that each router owns some.
pub(crate) fn a_room_for_each_partition() -> Vec<String> {
    let mut rooms = BTreeMap::new();
    for number in 0.. {
        let room = format!("part/{number}");
        rooms.entry(partition_of_key(&room)).or_insert(room);
        if rooms.len() == PARTITIONS {
            break;
        }
    }
    rooms.into_values().collect()
}

pub(crate) async fn member_of(cluster: &Cluster, gateway: usize, rooms: &[String]) -> Client {
    let client = cluster.gateway(gateway).connect(&format!("member{gateway}")).await;
    for room in rooms {
        client.join(room).await;
    }
    client
}

/// Sends `[mark, attempt]` to a room until a receipt says that this many got it.
async fn reach(service: &Service, room: &str, members: u64, mark: &str) {
    let mut attempt = 0;
    eventually(&format!("a send to {room} finds {members}"), async || {
        attempt += 1;
        match service.send(To::room(room)).json(&json!([mark, attempt])).attempt().await {
            Answer::Reply(message) => match checked(&message) {
                receipt if receipt.matched == members => Ok(()),
                receipt => Err(format!("{receipt:?}")),
            },
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

pub(crate) async fn routers_are(service: &Service, count: usize) {
    eventually(&format!("{count} routers are live"), async || {
        let stats = service.try_query("stats", "").await?;
        if stats["routers"] == count { Ok(()) } else { Err(stats.to_string()) }
    })
    .await;
}

/// No id twice; and of the payloads `[mark, attempt]` or numbers of a room, none after a later one.
fn once_and_in_order(client: &Client) {
    let (mut ids, mut last) = (BTreeSet::new(), BTreeMap::new());
    for message in client.messages() {
        assert!(ids.insert(message.id.clone()), "twice: {message:?}");
        let number = message.data.as_u64().or(message.data[1].as_u64()).expect("a number");
        let mark = message.data[0].as_str().unwrap_or("").to_owned();
        let before = last.insert((message.room.clone(), mark), number);
        assert!(before < Some(number), "after {before:?}: {message:?}");
    }
}

async fn every_partition_is_served_once(routers: usize) {
    each_partition_once(&Cluster::builder().routers(routers).gateways(2).start().await).await;
}

/// Each room is reached on both gateways, by one message.
pub(crate) async fn each_partition_once(cluster: &Cluster) {
    let service = cluster.service().await;
    let rooms = a_room_for_each_partition();
    let members = [member_of(cluster, 0, &rooms).await, member_of(cluster, 1, &rooms).await];

    for (number, room) in rooms.iter().enumerate() {
        let receipt = service.send(To::room(room)).json(&json!(number)).receipt().await;
        assert_eq!((receipt.matched, receipt.nodes), (2, 2), "{room}: {receipt:?}");
    }

    for member in &members {
        member.until_messages(PARTITIONS).await;
        member.ping().await;
        let seen: Vec<_> = member.data();
        assert_eq!(seen, (0..PARTITIONS).map(|number| json!(number)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn one_router_serves_every_partition() {
    every_partition_is_served_once(1).await;
}

#[tokio::test]
async fn two_routers_serve_every_partition_once() {
    every_partition_is_served_once(2).await;
}

#[tokio::test]
async fn three_routers_serve_every_partition_once() {
    every_partition_is_served_once(3).await;
}

#[tokio::test]
async fn killed_routers_partitions_go_to_the_others() {
    let mut cluster = Cluster::builder().routers(3).gateways(2).start().await;
    let service = cluster.service().await;
    let rooms = a_room_for_each_partition();
    let members = [member_of(&cluster, 0, &rooms).await, member_of(&cluster, 1, &rooms).await];

    for left in [2, 1] {
        cluster.remove_router(0);
        for room in &rooms {
            reach(&service, room, 2, &format!("{left} left")).await;
        }
        routers_are(&service, left).await;
        members[0].join(&format!("joined with {left}")).await;
        reach(&service, &format!("joined with {left}"), 1, "new").await;
    }

    for member in &members {
        member.ping().await;
        once_and_in_order(member);
    }
}

#[tokio::test]
async fn frozen_router_does_no_harm_when_it_thaws() {
    let cluster = Cluster::builder().routers(3).gateways(2).start().await;
    let service = cluster.service().await;
    let rooms = a_room_for_each_partition();
    let members = [member_of(&cluster, 0, &rooms).await, member_of(&cluster, 1, &rooms).await];
    for room in &rooms {
        reach(&service, room, 2, "before").await;
    }

    cluster.router(0).freeze().await;
    for room in &rooms {
        // Left for it in its socket: it must not be sent late, behind what others have sent since.
        service.send(To::room(room)).json(&json!(["frozen", 1])).publish().await;
    }
    for room in &rooms {
        reach(&service, room, 2, "taken over").await;
    }
    routers_are(&service, 2).await;
    for room in &rooms {
        service.send(To::room(room)).json(&json!(["frozen", 2])).receipt().await;
    }
    cluster.router(0).thaw();
    routers_are(&service, 3).await;
    for room in &rooms {
        reach(&service, room, 2, "thawed").await;
    }

    for member in &members {
        member.ping().await;
        once_and_in_order(member);
        let second = member.data().iter().filter(|data| **data == json!(["frozen", 2])).count();
        assert_eq!(second, rooms.len());
    }
}

/// Publishes numbered messages to every room, over and over, until told to stop; returns how many rounds.
async fn publish_until(stop: &AtomicBool, service: &Service, rooms: &[String]) -> u64 {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        for room in rooms {
            service.send(To::room(room)).json(&json!(round)).publish().await;
        }
        // A pace: each round has been handled before the next. Whether somebody answers at once is not the point here.
        let pace = service.send(To::room(&rooms[0])).json(&json!(["pace", round]));
        drop(pace.attempt().await);
        round += 1;
    }
    round
}

async fn nothing_is_lost_while(cluster: &mut Cluster, change: impl AsyncFnOnce(&mut Cluster, &Service)) {
    let rooms = a_room_for_each_partition();
    let members = [member_of(cluster, 0, &rooms).await, member_of(cluster, 1, &rooms).await];
    let (service, publisher) = (cluster.service().await, cluster.service().await);
    let stop = AtomicBool::new(false);

    let changing = async {
        change(cluster, &service).await;
        // The hand-over goes on for a while after the change is known.
        pause(Duration::from_millis(600)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (rounds, ()) = tokio::join!(publish_until(&stop, &publisher, &rooms), changing);
    for room in &rooms {
        reach(&service, room, 2, "the end").await;
    }

    for member in &members {
        member.ping().await;
        once_and_in_order(member);
        let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for message in member.messages() {
            if let (Some(room), Some(round)) = (message.room, message.data.as_u64()) {
                seen.entry(room).or_default().insert(round);
            }
        }
        for room in &rooms {
            let lost: Vec<_> = (0..rounds).filter(|round| !seen[room].contains(round)).collect();
            assert!(lost.is_empty(), "of {rounds} messages to {room} were lost: {lost:?}");
        }
        let gaps: Vec<Value> = member.frames_of("gap");
        assert!(gaps.is_empty(), "{gaps:?}");
    }
}

#[tokio::test]
async fn router_that_is_added_loses_nothing() {
    let mut cluster = Cluster::builder().routers(1).gateways(2).start().await;

    nothing_is_lost_while(&mut cluster, async |cluster, service| {
        cluster.add_router().await;
        routers_are(service, 2).await;
    })
    .await;
}

#[tokio::test]
async fn router_that_leaves_in_order_loses_nothing() {
    let mut cluster = Cluster::builder().routers(2).gateways(2).start().await;

    nothing_is_lost_while(&mut cluster, async |cluster, service| {
        cluster.router(0).terminate();
        assert_eq!(cluster.router(0).ended().await.code(), Some(0));
        routers_are(service, 1).await;
    })
    .await;
}

/// Requests numbered messages of each room in turn until told to stop; each must be answered, by one receipt, that it
/// reached both members. Every other has an id of its own.
async fn request_until(stop: &AtomicBool, service: &Service, rooms: &[String], mark: &str) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let room = &rooms[usize::try_from(number).expect("small") % rooms.len()];
        let id = format!("{mark}{number}");
        let send = service.send(To::room(room)).json(&json!([mark, number])).header("Hf-Timeout", "10000");
        let send = if number % 2 == 0 { send.header("Hf-Id", &id) } else { send };
        let receipt = send.receipt().await;
        assert_eq!((receipt.matched, receipt.nodes), (2, 2), "{id}: {receipt:?}");
        number += 1;
    }
    number
}

#[tokio::test]
async fn each_message_comes_once_and_in_order_while_routers_come_and_go() {
    come_and_go(Cluster::builder().routers(1).gateways(2).start().await).await;
}

/// Routers come and go in order while everything is sent to two gateways.
pub(crate) async fn come_and_go(mut cluster: Cluster) {
    let begin = cluster.routers().len();
    let rooms = a_room_for_each_partition();
    let members = [member_of(&cluster, 0, &rooms).await, member_of(&cluster, 1, &rooms).await];
    let service = cluster.service().await;
    let asking = [cluster.service().await, cluster.service().await];
    let telling = cluster.service().await;
    let stop = AtomicBool::new(false);

    let changing = async {
        for _ in 0..2 {
            cluster.add_router().await;
            routers_are(&service, begin + 1).await;
            cluster.add_router().await;
            routers_are(&service, begin + 2).await;
            for left in [begin + 1, begin] {
                cluster.router(0).terminate();
                assert_eq!(cluster.router(0).ended().await.code(), Some(0));
                cluster.remove_router(0);
                routers_are(&service, left).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (first, second, rounds, ()) = tokio::join!(
        request_until(&stop, &asking[0], &rooms, "a"),
        request_until(&stop, &asking[1], &rooms, "b"),
        publish_until(&stop, &telling, &rooms),
        changing,
    );
    reach(&service, &rooms[0], 2, "the end").await;

    let expected = first + second + rounds * rooms.len() as u64;
    for member in &members {
        member.ping().await;
        once_and_in_order(member);
        let is_counted = |data: &Value| data.is_u64() || data[0] == "a" || data[0] == "b";
        let got = member.data().iter().filter(|data| is_counted(data)).count() as u64;
        assert_eq!(got, expected);
        assert!(member.frames_of("gap").is_empty());
    }
}

#[tokio::test]
async fn without_a_router_nats_itself_answers() {
    let cluster = Cluster::builder().routers(0).gateways(0).start().await;
    let service = cluster.service().await;

    for subject in
        ["send.user.42", "send.room.x", "send.all", "send.many", "query.user.42", "query.stats", "ctl.user.42"]
    {
        let answer = service.request(format!("hf.{subject}"), async_nats::HeaderMap::new(), "{}".into()).await;
        assert!(matches!(answer, Answer::NoResponders), "{subject}: {answer:?}");
    }
}

#[tokio::test]
async fn cold_router_says_nothing_until_it_knows_everything() {
    let mut cluster = Cluster::builder().routers(1).gateways(2).start().await;
    let service = cluster.service().await;
    let rooms = a_room_for_each_partition();
    let members = [member_of(&cluster, 0, &rooms).await, member_of(&cluster, 1, &rooms).await];
    cluster.remove_router(0);
    let stop = AtomicBool::new(false);

    let asking = async {
        let (mut answers, mut number) = (0, 0);
        while answers < 300 {
            number += 1;
            let room = &rooms[number % rooms.len()];
            match service.send(To::room(room)).json(&json!(number)).answer().await {
                Answer::Reply(message) => {
                    let receipt = checked(&message);
                    assert_eq!(receipt.matched, 2, "{receipt:?}");
                    answers += 1;
                }
                Answer::NoResponders => service.settle().await,
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(asking, cluster.add_router());

    cluster.whole().await;
    for member in &members {
        member.ping().await;
        assert_eq!(member.messages().len(), 300);
        once_and_in_order(member);
    }
}

#[tokio::test]
async fn join_without_any_router_is_unavailable_and_works_again_with_one() {
    let mut cluster = Cluster::builder().routers(1).gateways(1).start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).connect("ana").await;
    client.join("known").await;

    cluster.remove_router(0);
    let mut number = 0;
    eventually("a join is refused as unavailable", async || {
        number += 1;
        let answer = client.ask(json!({"type": "join", "room": format!("new{number}")})).await;
        match (answer["code"].as_str(), answer["retry"].as_bool()) {
            (Some("unavailable"), Some(true)) => Ok(()),
            _ => Err(answer.to_string()),
        }
    })
    .await;
    client.leave("known").await;
    cluster.add_router().await;
    cluster.whole().await;

    client.join("newest").await;
    assert_eq!(service.send(To::room("newest")).receipt().await.matched, 1);
    service.until_matched(&To::room("known"), 0).await;
    service.until_matched(&To::room(&format!("new{number}")), 0).await;
    assert!(client.is_open());
}

#[tokio::test]
async fn pause_of_every_router_loses_nothing() {
    let cluster = Cluster::builder().routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let rooms = a_room_for_each_partition();
    let members = [member_of(&cluster, 0, &rooms).await, member_of(&cluster, 1, &rooms).await];

    for router in cluster.routers() {
        router.freeze().await;
    }
    for round in 0..3 {
        for room in &rooms {
            service.send(To::room(room)).json(&json!(round)).publish().await;
        }
    }
    pause(Duration::from_millis(1500)).await;
    for router in cluster.routers() {
        router.thaw();
    }

    for member in &members {
        member.until_messages(3 * rooms.len()).await;
    }
    cluster.whole().await;
    for member in &members {
        member.ping().await;
        assert_eq!(member.messages().len(), 3 * rooms.len());
        once_and_in_order(member);
    }
}
