//! The troubles: what there is, and a schedule of them from a seed. [`inflict()`] does it.

mod inflict;
mod rolling;

pub use inflict::inflict;
pub use rolling::rolling;

use clap::ValueEnum;

use crate::history::Harm;
use crate::random::Random;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// A gateway is killed, and another started.
    KillGateway,
    /// A gateway is stopped by SIGSTOP for a while.
    FreezeGateway,
    /// A gateway loses its connection to NATS for a while.
    CutGateway,
    /// Nothing passes between a gateway and NATS for a while.
    StallGateway,
    /// A gateway is told to leave by SIGTERM, and another started.
    DrainGateway,
    /// A router is killed, and another started.
    KillRouter,
    /// A router is stopped by SIGSTOP for a while.
    FreezeRouter,
    /// A router loses its connection to NATS for a while.
    CutRouter,
    /// Nothing passes between a router and NATS for a while.
    StallRouter,
    /// A router comes, then another leaves in order.
    ChangeRouter,
    /// A NATS server is killed, and started again.
    KillNats,
    /// A NATS server leaves as a lame duck, and is started again.
    LameDuckNats,
    /// A NATS server is cut off from the others: so are the processes on both sides from each other.
    IsolateNats,
    /// A NATS server is stopped by SIGSTOP for a while.
    FreezeNats,
    /// The stream's leader is told to step down.
    MoveLeader,
}

impl Kind {
    /// All there are.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// What it may do to live messages.
    pub const fn harm(self) -> Harm {
        match self {
            Self::MoveLeader => Harm::None,
            Self::ChangeRouter | Self::DrainGateway => Harm::Orderly,
            _ => Harm::Lossy,
        }
    }

    /// Whether it wants more than one NATS server.
    pub const fn wants_cluster(self) -> bool {
        matches!(self, Self::LameDuckNats | Self::IsolateNats | Self::FreezeNats | Self::MoveLeader)
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// Whom, among those of its sort.
    pub victim: usize,
    /// How long, for those with a length.
    pub for_ms: u64,
}

/// Faults at once, and the calm after the healing.
#[derive(Debug, Clone)]
pub struct Step {
    /// One or two.
    pub faults: Vec<Fault>,
    /// How long nothing happens then.
    pub calm_ms: u64,
}

/// An endless schedule.
#[derive(Debug)]
pub struct Schedule {
    random: Random,
    kinds: Vec<Kind>,
    bag: Vec<Kind>,
}

impl Schedule {
    /// Of these kinds: each comes once before any comes again.
    pub const fn new(random: Random, kinds: Vec<Kind>) -> Self {
        Self { random, kinds, bag: Vec::new() }
    }

    fn draw(&mut self) -> Fault {
        if self.bag.is_empty() {
            self.bag.clone_from(&self.kinds);
        }
        let kind = self.bag.swap_remove(self.random.below(self.bag.len()));
        let long = self.random.chance(25);
        // Short ones go unnoticed, those in the middle make somebody late, long ones declare somebody dead.
        let for_ms = if long { self.random.between(10_500, 13_000) } else { self.random.between(200, 4_000) };
        let for_ms = if kind == Kind::FreezeGateway { for_ms } else { for_ms.min(5_000) };
        Fault { kind, victim: self.random.below(16), for_ms }
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let mut faults = vec![self.draw()];
        // Two at once, where they are different enough to have a meaning of their own.
        if self.kinds.len() > 4 && self.random.chance(20) {
            let second = self.draw();
            let of = |kind: Kind| kind.name().rsplit('-').next().map(str::to_owned);
            if of(second.kind) == of(faults[0].kind) || second.kind == Kind::MoveLeader {
                self.bag.push(second.kind);
            } else {
                faults.push(second);
            }
        }
        Some(Step { faults, calm_ms: self.random.between(1_500, 2_500) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_schedule_and_each_kind_comes() {
        let schedule = |seed| Schedule::new(Random::new(seed), Kind::all().to_vec()).take(30).collect::<Vec<_>>();

        let (first, second, other) = (schedule(7), schedule(7), schedule(8));

        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        assert_ne!(format!("{first:?}"), format!("{other:?}"));
        let kinds: Vec<_> = first.iter().flat_map(|step| &step.faults).map(|fault| fault.kind).collect();
        assert!(Kind::all().iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    }
}
