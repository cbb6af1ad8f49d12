//! Which partitions are ours where second copies do no harm (kept messages, and what is said again until it is done), by
//! rendezvous hashing over the live routers; and what is still to be done for those that were. Knows no beats: it is told
//! the live set. Live messages change hands more strictly: [`handover`](super::handover).

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;

use super::settings::HANDOVER_MS;

/// What is to be done for one partition. Times are monotonic milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Another router's business.
    None,
    /// Ours.
    Owner,
    /// Handed over in order: forwarded until then.
    Former { until: u64 },
}

/// A partition that became ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gained {
    /// Which.
    pub(super) partition: usize,
    /// Whether nobody had it.
    pub(super) was_nobodys: bool,
}

/// The partitions and our duty for each.
#[derive(Debug)]
pub(super) struct Ownership {
    me: NodeId,
    owners: [Option<NodeId>; PARTITIONS],
    duties: [Duty; PARTITIONS],
}

impl Ownership {
    /// Nothing is owned by anybody.
    pub(super) const fn new(me: NodeId) -> Self {
        Self { me, owners: [None; PARTITIONS], duties: [Duty::None; PARTITIONS] }
    }

    /// Follows a change of the live set; returns what became ours.
    pub(super) fn change(&mut self, now_ms: u64, live: &[NodeId]) -> Vec<Gained> {
        let mut gained = Vec::new();
        for partition in 0..PARTITIONS {
            let owner = owner_of(partition, live);
            let before = std::mem::replace(&mut self.owners[partition], owner);
            let duty = &mut self.duties[partition];
            let ours = owner == Some(self.me);
            *duty = match (*duty, ours) {
                (Duty::Owner, true) => Duty::Owner,
                (Duty::Owner, false) => Duty::Former { until: now_ms + HANDOVER_MS },
                (_, true) => {
                    gained.push(Gained { partition, was_nobodys: before.is_none() });
                    Duty::Owner
                }
                (other, false) => other,
            };
        }
        gained
    }

    /// Gives everything up at once.
    pub(super) const fn clear(&mut self) {
        self.owners = [None; PARTITIONS];
        self.duties = [Duty::None; PARTITIONS];
    }

    /// Whether messages of the partition are ours to forward.
    pub(super) const fn handles(&self, partition: usize, now_ms: u64) -> bool {
        match self.duties[partition] {
            Duty::None => false,
            Duty::Owner => true,
            Duty::Former { until } => now_ms < until,
        }
    }

    /// Whether anything is left to be done, as owner or former owner.
    pub(super) fn idle(&self, now_ms: u64) -> bool {
        (0..PARTITIONS).all(|partition| !self.handles(partition, now_ms))
    }
}

/// The live router with the highest weight for the partition.
pub(super) fn owner_of(partition: usize, live: &[NodeId]) -> Option<NodeId> {
    live.iter().copied().max_by_key(|router| (weight(*router, partition), *router))
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

    fn router(n: u8) -> NodeId {
        NodeId::router([n; 8])
    }

    fn owned(ownership: &Ownership) -> usize {
        ownership.duties.iter().filter(|duty| matches!(duty, Duty::Owner)).count()
    }

    #[test]
    fn each_partition_has_one_owner_and_shares_are_fair() {
        let live = [router(1), router(2), router(3)];
        let mut shares = [0; 3];
        for partition in 0..PARTITIONS {
            let owner = owner_of(partition, &live).expect("somebody is live");
            shares[live.iter().position(|r| *r == owner).expect("a live one")] += 1;
        }
        assert!(shares.iter().all(|share| (10..=35).contains(share)), "{shares:?}");
        assert_eq!(owner_of(0, &[]), None);
    }

    #[test]
    fn only_what_the_newcomer_gets_moves() {
        let before = [router(1), router(2)];
        let after = [router(1), router(2), router(3)];
        for partition in 0..PARTITIONS {
            let (old, new) = (owner_of(partition, &before), owner_of(partition, &after));
            assert!(new == old || new == Some(router(3)), "partition {partition}");
        }
    }

    #[test]
    fn the_hash_is_the_same_in_each_build() {
        let live = [router(1), router(2), router(3)];
        let owners: String = (0..16)
            .map(|partition| match owner_of(partition, &live) {
                Some(owner) if owner == live[0] => '1',
                Some(owner) if owner == live[1] => '2',
                _ => '3',
            })
            .collect();
        assert_eq!(owners, "2213213133123121");
    }

    #[test]
    fn both_owners_forward_for_a_while() {
        let (me, other) = (router(1), router(2));
        let mut old = Ownership::new(me);
        let mut new = Ownership::new(other);
        old.change(0, &[me]);
        new.change(0, &[me]);
        let gained = new.change(1000, &[me, other]);
        old.change(1000, &[me, other]);
        assert!(!gained.is_empty() && gained.len() < PARTITIONS);

        for Gained { partition, .. } in gained {
            for ms in 1000..1400 {
                assert!(old.handles(partition, ms) == (ms < 1300) && new.handles(partition, ms), "{ms}");
            }
        }
        assert!(owned(&old) + owned(&new) == PARTITIONS);
    }

    #[test]
    fn what_is_gained_is_handled_at_once() {
        let (me, other) = (router(1), router(2));
        let mut ownership = Ownership::new(me);
        ownership.change(0, &[me, other]);
        let mine = owned(&ownership);

        let gained = ownership.change(1000, &[me]);

        assert_eq!(gained.len(), PARTITIONS - mine);
        assert!((0..PARTITIONS).all(|p| ownership.handles(p, 1000)));
    }

    #[test]
    fn the_last_to_leave_handles_until_it_is_gone() {
        let me = router(1);
        let mut ownership = Ownership::new(me);
        ownership.change(0, &[me]);
        ownership.change(1000, &[]);

        assert!(ownership.handles(5, 1299));
        assert!(!ownership.idle(1299) && ownership.idle(1300));
    }
}
