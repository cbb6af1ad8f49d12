//! Sections: routers of a large fleet need not hear every send. Each section owns the partitions that leave its number as
//! remainder, and NATS maps sends to users and rooms to the section they belong to. Knows no subjects and no beats.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token;

/// Into how many sections the routers of a fleet are split; all of them must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections(usize);

impl Sections {
    /// Every router hears every send.
    pub const ONE: Self = Self(1);

    /// So many. `None` unless they divide the partitions: NATS' `partition(count, …)` is then ours modulo the count.
    pub const fn new(count: usize) -> Option<Self> {
        if count > 0 && PARTITIONS.is_multiple_of(count) { Some(Self(count)) } else { None }
    }

    /// How many.
    pub const fn count(self) -> usize {
        self.0
    }

    /// Whether there is more than one.
    pub const fn are_several(self) -> bool {
        self.0 > 1
    }

    /// The section of a partition.
    pub const fn of_partition(self, partition: usize) -> usize {
        partition % self.0
    }

    /// The section of a router. Its id says it, so that whoever knows the ids of a fleet knows who owns what; a router
    /// draws its id accordingly.
    pub fn of_router(self, router: NodeId) -> usize {
        self.of_partition(token::partition_of_token(router.as_str()))
    }

    /// The router among those of its section with the highest weight for the partition.
    pub(super) fn owner_of(self, partition: usize, live: &[NodeId]) -> Option<NodeId> {
        let section = self.of_partition(partition);
        let able = live.iter().copied().filter(|router| !self.are_several() || self.of_router(*router) == section);
        able.max_by_key(|router| (weight(*router, partition), *router))
    }
}

/// A stable hash: routers of one fleet must agree on it over builds and machines.
fn weight(router: NodeId, partition: usize) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in router.as_str().bytes().chain((partition as u64).to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routers(count: u8) -> Vec<NodeId> {
        (0..count).map(|n| NodeId::router([n; 8])).collect()
    }

    #[test]
    fn they_divide_the_partitions() {
        let good: Vec<usize> = (0..100).filter(|count| Sections::new(*count).is_some()).collect();
        assert_eq!(good, [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn each_partition_has_one_owner_and_shares_are_fair() {
        let live = routers(3);
        let mut shares = [0; 3];
        for partition in 0..PARTITIONS {
            let owner = Sections::ONE.owner_of(partition, &live).expect("somebody is live");
            shares[live.iter().position(|r| *r == owner).expect("a live one")] += 1;
        }
        assert!(shares.iter().all(|share| *share > 8), "{shares:?}");
        assert_eq!(Sections::ONE.owner_of(0, &[]), None);
    }

    #[test]
    fn only_what_the_newcomer_gets_moves() {
        let after = [1, 2, 3].map(|n| NodeId::router([n; 8]));
        let before = [after[0], after[1]];
        for partition in 0..PARTITIONS {
            let (old, new) = (Sections::ONE.owner_of(partition, &before), Sections::ONE.owner_of(partition, &after));
            assert!(new == old || new == Some(after[2]), "partition {partition}");
        }
    }

    #[test]
    fn the_hash_is_the_same_in_each_build() {
        let live = [1, 2, 3].map(|n| NodeId::router([n; 8]));
        let owners: String = (0..16)
            .map(|partition| match Sections::ONE.owner_of(partition, &live) {
                Some(owner) if owner == live[0] => '1',
                Some(owner) if owner == live[1] => '2',
                _ => '3',
            })
            .collect();
        assert_eq!(owners, "2213213133123121");
    }

    #[test]
    fn a_partition_is_owned_within_its_section() {
        let sections = Sections::new(4).expect("four");
        let live = routers(40);
        for partition in 0..PARTITIONS {
            let owner = sections.owner_of(partition, &live).expect("each section has a router");
            assert_eq!(sections.of_router(owner), partition % 4);
        }
        let others: Vec<NodeId> = live.into_iter().filter(|router| sections.of_router(*router) != 3).collect();
        assert_eq!(sections.owner_of(7, &others), None, "a section without a router owns nothing");
        assert!(sections.owner_of(6, &others).is_some());
    }
}
