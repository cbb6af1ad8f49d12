//! Which partitions are ours where second copies do no harm (kept messages, and what is said again until it is done), by
//! rendezvous hashing over the live routers; and what is still to be done for those that were. Knows no beats: it is told
//! who shares them. Live messages change hands more strictly: [`handover`](super::handover).

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;

use super::sections::Sections;
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
    sections: Sections,
    owners: [Option<NodeId>; PARTITIONS],
    duties: [Duty; PARTITIONS],
}

impl Ownership {
    /// Nothing is owned by anybody.
    pub(super) const fn new(me: NodeId, sections: Sections) -> Self {
        Self { me, sections, owners: [None; PARTITIONS], duties: [Duty::None; PARTITIONS] }
    }

    /// Follows a change of the live set; returns what became ours.
    pub(super) fn change(&mut self, now_ms: u64, live: &[NodeId]) -> Vec<Gained> {
        let mut gained = Vec::new();
        for partition in 0..PARTITIONS {
            let owner = self.sections.owner_of(partition, live);
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
    fn both_owners_forward_for_a_while() {
        let (me, other) = (router(1), router(2));
        let mut old = Ownership::new(me, Sections::ONE);
        let mut new = Ownership::new(other, Sections::ONE);
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
        let mut ownership = Ownership::new(me, Sections::ONE);
        ownership.change(0, &[me, other]);
        let mine = owned(&ownership);

        let gained = ownership.change(1000, &[me]);

        assert_eq!(gained.len(), PARTITIONS - mine);
        assert!((0..PARTITIONS).all(|p| ownership.handles(p, 1000)));
    }

    #[test]
    fn the_last_to_leave_handles_until_it_is_gone() {
        let me = router(1);
        let mut ownership = Ownership::new(me, Sections::ONE);
        ownership.change(0, &[me]);
        ownership.change(1000, &[]);

        assert!(ownership.handles(5, 1299));
        assert!(!ownership.idle(1299) && ownership.idle(1300));
    }
}
