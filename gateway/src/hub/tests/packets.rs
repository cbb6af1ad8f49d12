//! Packets of routers: to which shards they go, what is lost of them, and the receipts they ask for.

use super::*;

#[test]
fn packets_go_to_the_shards_that_hold_a_target() {
    let mut scene = Scene::new(&[1]);
    scene.joins(1, "r");
    let target = |name: &str| vec![Target::Room(name.into())];

    scene.packet(1, 1, vec![delivery(target("r"), 1), delivery(target("nobody"), 2), delivery(vec![Target::All], 3)]);

    let told = scene.told_shards();
    let shards: Vec<_> =
        told.iter().filter(|(_, m)| matches!(m, ToShard::Deliver(_))).map(|(shard, _)| *shard).collect();
    assert_eq!(shards, [0, 0, 1]);
    let reports = scene.reports(1);
    assert_eq!(reports[0].receipts, [ReceiptPart { number: 2, ..ReceiptPart::default() }], "nobody to ask");
}

#[test]
fn holes_are_told_and_packets_of_fenced_routers_dropped() {
    let mut scene = Scene::new(&[1]);
    let items = || vec![delivery(vec![Target::All], 1)];
    let mut outcome = |number, term| {
        scene.packet(number, term, items());
        let told = scene.told_shards();
        let count = |wanted: fn(&ToShard) -> bool| told.iter().filter(|(_, m)| wanted(m)).count();
        (count(|m| matches!(m, ToShard::Deliver(_))), count(|m| matches!(m, ToShard::Lost)))
    };
    assert_eq!(outcome(1, 1), (2, 0));
    assert_eq!(outcome(2, 1), (2, 0));
    assert_eq!(outcome(2, 1), (0, 0), "a second copy");
    assert_eq!(outcome(4, 1), (2, 2), "one was lost: each shard tells its clients");

    scene.beats(2, RouterState::Live, &[Fence { router: router(1), term: 3 }]);

    scene.packet(5, 2, items());
    assert_eq!(scene.told_shards().len(), 0);
    scene.beats(1, RouterState::Joining, &[]);
    scene.beats(1, RouterState::Live, &[]);
    scene.packet(6, 3, items());
    assert_eq!(scene.told_shards().len(), 2);
}

#[test]
fn a_router_that_was_given_up_is_told_by_the_node_for_who_did_it_may_be_gone() {
    let mut scene = Scene::new(&[1]);
    let items = || vec![delivery(vec![Target::All], 1)];
    scene.beats(2, RouterState::Live, &[Fence { router: router(1), term: 5 }]);
    scene.told_router(1);

    scene.packet(1, 3, items());
    assert_eq!(scene.told_router(1), [RouterBound::Fenced(5)], "it does not know it");

    // It joins anew, and asks for the roster.
    scene.beats(1, RouterState::Joining, &[]);
    scene.hub.on_discover(scene.now, &mut scene.edge, Discover { router: router(1) }.encode());
    let told = scene.told_router(1);
    assert!(matches!(told[..], [RouterBound::Fenced(5), RouterBound::Snapshot(_)]), "{told:?}");
    scene.hub.on_discover(scene.now, &mut scene.edge, Discover { router: router(2) }.encode());
    let told = scene.told_router(2);
    assert!(matches!(told[..], [RouterBound::Snapshot(_)]), "{told:?}");

    scene.beats(1, RouterState::Live, &[]);
    scene.packet(2, 5, items());
    assert_eq!(passed(&mut scene), (2, 0), "what was refused was another's to forward");
    assert!(scene.reports(1).is_empty());
}

#[test]
fn what_a_router_sends_that_came_back_above_its_fence_is_waited_for_as_before() {
    let mut scene = Scene::new(&[1, 2]);
    let items = || vec![delivery(vec![Target::All], 1)];
    let after = |number| vec![Item::After { router: router(1), number }, delivery(vec![Target::All], 1)];
    let heir = |scene: &mut Scene, number, items| {
        scene.bound(&NodeBound::Packet(Packet { router: router(2), number, term: 3, items }));
        passed(scene).0
    };
    scene.beats_at(3, 2, RouterState::Live, &[Fence { router: router(1), term: 3 }]);
    assert_eq!(heir(&mut scene, 1, after(1)), 2, "what it sends now does not count");

    scene.beats_at(3, 1, RouterState::Joining, &[]);
    scene.beats_at(4, 1, RouterState::Live, &[]);
    assert_eq!(heir(&mut scene, 2, after(1)), 0, "it is at work again");
    scene.packet(1, 4, items());
    assert_eq!(passed(&mut scene), (4, 0), "its own, and then the other's");
}

#[test]
fn packets_that_were_refused_are_missing_where_their_router_goes_on_as_it_was() {
    let mut scene = Scene::new(&[1]);
    let items = || vec![delivery(vec![Target::All], 1)];
    scene.beats(2, RouterState::Live, &[Fence { router: router(1), term: 3 }]);
    scene.packet(1, 2, items());
    assert_eq!(passed(&mut scene), (0, 0));

    // Whoever gave it up is gone.
    scene.passes(1_000);
    scene.packet(2, 3, items());
    assert_eq!(passed(&mut scene), (2, 2), "its term has risen, and it has not joined anew");
    scene.packet(3, 3, items());
    assert_eq!(passed(&mut scene), (2, 0));
}

#[test]
fn packets_that_are_lost_when_the_beats_of_a_router_come_again_already_are_told_as_well() {
    let mut scene = Scene::new(&[1]);
    scene.packet(1, 1, vec![delivery(vec![Target::All], 1)]);
    scene.passes(2_500);
    scene.told_shards();
    scene.beats(1, RouterState::Live, &[]);
    assert_eq!(passed(&mut scene), (0, 2), "it was not heard for a while");

    scene.packet(3, 1, vec![delivery(vec![Target::All], 1)]);
    assert_eq!(passed(&mut scene), (2, 2));
    scene.packet(4, 1, vec![delivery(vec![Target::All], 1)]);
    assert_eq!(passed(&mut scene), (2, 0));
}

/// How many shards were given a delivery, and how many told of a loss.
fn passed(scene: &mut Scene) -> (usize, usize) {
    let told = scene.told_shards();
    let count = |wanted: fn(&ToShard) -> bool| told.iter().filter(|(_, message)| wanted(message)).count();
    (count(|it| matches!(it, ToShard::Deliver(_))), count(|it| matches!(it, ToShard::Lost)))
}

#[test]
fn of_two_routers_that_gave_each_other_up_the_one_heard_first_counts_until_it_stops() {
    let mut scene = Scene::new(&[1, 2]);
    let items = || vec![delivery(vec![Target::All], 1)];
    let fence = |number| [Fence { router: router(number), term: 3 }];
    // The bus is in two parts, and this node in that of the second; then the first is heard again.
    scene.beats(2, RouterState::Live, &fence(1));
    scene.beats(1, RouterState::Live, &fence(2));

    scene.packet(1, 3, items());
    assert_eq!(passed(&mut scene), (0, 2), "the other has sent it too, or it is lost: that is told");
    scene.packet(2, 3, items());
    assert_eq!(passed(&mut scene), (0, 0), "once");
    let mut other = |number| {
        scene.bound(&NodeBound::Packet(Packet { router: router(2), number, term: 3, items: items() }));
        passed(&mut scene)
    };
    assert_eq!(other(1), (2, 0));

    // The second stops, and is heard for the last time.
    scene.beats(2, RouterState::Joining, &[]);
    scene.passes(900);
    scene.packet(3, 3, items());
    assert_eq!(passed(&mut scene), (0, 0), "copies of what the second forwarded may still come");
    scene.passes(100);
    scene.packet(4, 3, items());
    assert_eq!(passed(&mut scene), (2, 0));
}

#[test]
fn a_router_that_was_given_up_counts_again_when_it_has_joined_anew() {
    let mut scene = Scene::new(&[1, 2]);
    let items = || vec![delivery(vec![Target::All], 1)];
    scene.beats(2, RouterState::Live, &[Fence { router: router(1), term: 3 }]);
    scene.packet(1, 3, items());
    assert_eq!(passed(&mut scene), (0, 2));

    scene.beats(1, RouterState::Joining, &[]);
    scene.packet(2, 3, items());
    assert_eq!(passed(&mut scene), (0, 0), "what it sent before it stopped");
    scene.beats(1, RouterState::Live, &[]);
    scene.packet(3, 3, items());
    assert_eq!(passed(&mut scene), (2, 0));
}

#[test]
fn a_receipt_is_the_sum_over_shards_in_one_report() {
    let mut scene = Scene::new(&[1]);
    scene.packet(1, 1, vec![delivery(vec![Target::All], 8)]);
    let receipt = ReceiptRef { router: router(1), number: 8 };
    let part = ReceiptPart { number: 8, matched: 2, written: 1, queued: 1, filtered: 3, dropped: 0, ackable: 2 };

    scene.says(ToHub::Receipt { receipt, part });
    scene.says(ToHub::Acked { receipt, acked: 1, gone: 0 });
    assert!(scene.reports(1).is_empty(), "a shard is missing");
    scene.says(ToHub::Receipt { receipt, part });
    scene.says(ToHub::Acked { receipt, acked: 1, gone: 0 });

    let reports = scene.reports(1);
    let sum = ReceiptPart { number: 8, matched: 4, written: 2, queued: 2, filtered: 6, dropped: 0, ackable: 4 };
    assert_eq!(reports[0].receipts, [sum]);
    assert_eq!(reports.iter().flat_map(|report| &report.acks).map(|ack| ack.acked).sum::<u64>(), 2);
}
