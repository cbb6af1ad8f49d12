//! Which partitions are ours, by rendezvous hashing over the live routers, and what is still to be done for those that
//! were. Knows no beats: it is told the live set and how it changed.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;

use super::settings::{HANDOVER_MS, REPLIES_FROM_MS, REPLIES_UNTIL_MS};

/// What is to be done for one partition. Times are monotonic milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Another router's business.
    None,
    /// Ours; answers are ours from this moment on.
    Owner { replies_from: u64 },
    /// Handed over in order: forwarded until the first, answered until the second.
    Former { handles_until: u64, replies_until: u64 },
}

/// How the live set changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A router joined or left and said so: both owners forward for a while.
    Orderly,
    /// A router went without a word: its partitions are taken at once.
    Crash,
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
    pub(super) fn change(&mut self, now_ms: u64, live: &[NodeId], change: Change) -> Vec<Gained> {
        let mut gained = Vec::new();
        for partition in 0..PARTITIONS {
            let owner = owner_of(partition, live);
            let before = std::mem::replace(&mut self.owners[partition], owner);
            let duty = &mut self.duties[partition];
            let ours = owner == Some(self.me);
            *duty = match (*duty, ours) {
                (kept @ Duty::Owner { .. }, true) => kept,
                (Duty::Owner { .. }, false) => {
                    // Without an heir nobody else answers meanwhile.
                    let replies_until = now_ms + if owner.is_some() { REPLIES_UNTIL_MS } else { HANDOVER_MS };
                    Duty::Former { handles_until: now_ms + HANDOVER_MS, replies_until }
                }
                (former, true) => {
                    gained.push(Gained { partition, was_nobodys: before.is_none() });
                    let answering = matches!(former, Duty::Former { replies_until, .. } if now_ms < replies_until);
                    let at_once = answering || change == Change::Crash || before.is_none();
                    Duty::Owner { replies_from: now_ms + if at_once { 0 } else { REPLIES_FROM_MS } }
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
            Duty::Owner { .. } => true,
            Duty::Former { handles_until, .. } => now_ms < handles_until,
        }
    }

    /// Whether answers and facts of the partition are ours to give.
    pub(super) const fn replies(&self, partition: usize, now_ms: u64) -> bool {
        match self.duties[partition] {
            Duty::None => false,
            Duty::Owner { replies_from } => now_ms >= replies_from,
            Duty::Former { replies_until, .. } => now_ms < replies_until,
        }
    }

    /// Partitions owned.
    pub(super) fn owned(&self) -> usize {
        self.duties.iter().filter(|duty| matches!(duty, Duty::Owner { .. })).count()
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
    fn an_orderly_change_overlaps_in_forwarding_and_less_in_answers() {
        let (me, other) = (router(1), router(2));
        let mut old = Ownership::new(me);
        let mut new = Ownership::new(other);
        old.change(0, &[me], Change::Orderly);
        new.change(0, &[me], Change::Orderly);
        let gained = new.change(1000, &[me, other], Change::Orderly);
        old.change(1000, &[me, other], Change::Orderly);
        assert!(!gained.is_empty() && gained.len() < PARTITIONS);

        for Gained { partition, .. } in gained {
            for ms in 1000..1400 {
                assert!(old.handles(partition, ms) == (ms < 1300) && new.handles(partition, ms), "{ms}");
                assert!(old.replies(partition, ms) || new.replies(partition, ms), "somebody answers at {ms}");
                let both = old.replies(partition, ms) && new.replies(partition, ms);
                assert_eq!(both, (1040..1150).contains(&ms), "{ms}");
            }
        }
        assert!(old.owned() + new.owned() == PARTITIONS);
    }

    #[test]
    fn a_crash_is_taken_over_at_once() {
        let (me, other) = (router(1), router(2));
        let mut ownership = Ownership::new(me);
        ownership.change(0, &[me, other], Change::Orderly);
        let mine = ownership.owned();

        let gained = ownership.change(1000, &[me], Change::Crash);

        assert_eq!(gained.len(), PARTITIONS - mine);
        assert!((0..PARTITIONS).all(|p| ownership.handles(p, 1000) && ownership.replies(p, 1000)));
    }

    #[test]
    fn the_last_to_leave_answers_until_it_is_gone() {
        let me = router(1);
        let mut ownership = Ownership::new(me);
        ownership.change(0, &[me], Change::Orderly);
        ownership.change(1000, &[], Change::Orderly);

        assert!(ownership.handles(5, 1299) && ownership.replies(5, 1299));
        assert!(!ownership.idle(1299) && ownership.idle(1300));
    }
}
