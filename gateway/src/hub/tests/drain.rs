//! A node that drains, among others.

use holdfast_protocol::wire::NodeState;

use super::*;

impl Scene {
    fn fleet(&mut self, capacity: Capacity) {
        let (live, fences, moving) = (vec![router(1)], vec![], false);
        let (router, state) = (router(1), RouterState::Live);
        let beat =
            RouterBeat { router, state, number: 1, term: 1, live, moving, fences, kept: None, capacity, sections: 1 };
        self.hub.on_router_beat(self.now, &mut self.edge, beat.encode());
    }

    fn last_beat(&mut self) -> NodeBeat {
        let beats = self.published("hf.int.beat.node");
        NodeBeat::decode(beats.last().expect("one was sent").payload.clone()).expect("a beat")
    }

    fn leaving(&mut self, by_shard: [u64; SHARDS as usize]) {
        for (cells, left) in self.shard_cells.iter().zip(by_shard) {
            cells.leaving.set(left);
        }
    }
}

fn drains(told: &[(u16, ToShard)]) -> Vec<(u16, Option<u64>)> {
    let drain = |(shard, message): &(u16, ToShard)| match message {
        ToShard::Drain { rate_milli, .. } => Some((*shard, *rate_milli)),
        _ => None,
    };
    told.iter().filter_map(drain).collect()
}

#[test]
fn the_fleet_hears_of_a_drain_before_anybody_is_told_to_go() {
    let mut scene = Scene::new(&[1]);
    scene.binds(0, "ana", false);
    scene.acks(1, u64::MAX);
    scene.edge.published.clear();

    scene.hub.start_drain(scene.now, &mut scene.edge);

    let beat = scene.last_beat();
    assert_eq!((beat.state, beat.spare_handshakes), (NodeState::Draining, 0));
    let leaving = beat.leaving.expect("told");
    assert_eq!((leaving.left, leaving.rate_milli), (1, 0), "not yet");
    assert_eq!(drains(&scene.told_shards()), []);
    scene.passes(400);
    assert_eq!(drains(&scene.told_shards()).len(), usize::from(SHARDS));
}

#[test]
fn shards_share_what_the_node_may_take_of_the_fleets_capacity() {
    let mut scene = Scene::new(&[1]);
    for index in 0..4 {
        scene.binds(index, &format!("u{index}"), false);
    }
    scene.acks(1, u64::MAX);
    scene.hub.start_drain(scene.now, &mut scene.edge);
    let capacity = Capacity { takers: 3, spare_handshakes: 20, leaving: 8, rate_milli: 0 };
    scene.fleet(capacity);
    scene.told_shards();
    scene.passes(400);

    let drains = drains(&scene.told_shards());
    let total: u64 = drains.iter().filter_map(|(_, rate)| *rate).sum();
    assert_eq!(drains.len(), usize::from(SHARDS));
    assert!((9_900..=10_001).contains(&total), "half of what leaves is ours, so half of 20 per second: {drains:?}");

    scene.leaving([3, 1]);
    scene.fleet(Capacity { spare_handshakes: 80, ..capacity });
    scene.passes(200);
    let paces: Vec<_> = scene
        .told_shards()
        .into_iter()
        .filter_map(|(shard, message)| match message {
            ToShard::Pace { rate_milli } => Some((shard, rate_milli)),
            _ => None,
        })
        .collect();
    assert_eq!(paces, [(0, Some(30_000)), (1, Some(10_000))], "once: news only");
}

#[test]
fn a_live_node_offers_what_its_own_load_leaves() {
    let mut scene = Scene::new(&[1]);
    let beat = scene.beat();
    assert_eq!((beat.spare_handshakes, beat.leaving), (500, None));

    scene.hub.start_drain(scene.now, &mut scene.edge);
    assert_eq!(scene.last_beat().spare_handshakes, 0);
}
