//! Seeded simulation: routers, gateways, clients and domain services over a simulated bus, in one thread, in virtual time.
//!
//! The logic is the product's own, linked in; sockets, NATS and the clock are simulated. A run is decided by its seed
//! alone and can be repeated from it.

pub mod bus;
mod check;
pub mod client;
pub mod facts;
pub mod gateway;
mod operations;
pub mod rng;
pub mod router;
pub mod sabotage;
pub mod service;
pub mod socket;
pub mod world;

use client::Violation;
use world::{Totals, World};

/// How a run went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Repeats the run.
    pub seed: u64,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// What was broken.
    pub violation: Violation,
    /// The world at that moment.
    pub story: String,
    /// How far it had got.
    pub totals: Totals,
}

/// Runs one world until it has taken `steps` steps and completed the round it is in.
///
/// # Errors
/// A promise was broken.
pub fn run(seed: u64, steps: u64, progress: impl FnMut(&Totals)) -> Result<Totals, Box<Failure>> {
    run_with(seed, steps, None, progress)
}

/// The same with a planted defect, to prove the checks.
///
/// # Errors
/// A promise was broken.
pub fn run_with(
    seed: u64,
    steps: u64,
    sabotage: Option<sabotage::Sabotage>,
    mut progress: impl FnMut(&Totals),
) -> Result<Totals, Box<Failure>> {
    let mut world = World::new(seed);
    world.sabotage = sabotage;
    let mut rounds = 0;
    while world.totals.steps < steps || world.totals.rounds == rounds {
        let done = world.totals.rounds;
        if let Err(violation) = world.step() {
            let (at_ms, totals) = (world.totals.elapsed_ms, world.totals);
            return Err(Box::new(Failure { seed, at_ms, violation, story: world.story(), totals }));
        }
        if world.totals.rounds > done {
            rounds = if world.totals.steps < steps { world.totals.rounds } else { rounds };
            progress(&world.totals);
        }
    }
    Ok(world.totals)
}
