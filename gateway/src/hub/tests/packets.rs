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

    let mut outcome = |number, term| {
        scene.packet(number, term, items());
        scene.told_shards().len()
    };
    assert_eq!(outcome(5, 2), 0);
    assert_eq!(outcome(6, 3), 2);
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
