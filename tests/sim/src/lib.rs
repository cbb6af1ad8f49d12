//! Seeded simulation: routers, gateways, clients and domain services over a simulated bus, in one thread, in virtual time.
//!
//! The logic is the product's own, linked in; sockets, NATS and the clock are simulated. A run is decided by its seed
//! alone and can be repeated from it.

pub mod acks;
pub mod bus;
mod check;
pub mod client;
pub mod diary;
pub mod facts;
pub mod follow;
pub mod gateway;
pub mod history;
pub mod jetstream;
pub mod log;
mod maintain;
mod operations;
pub mod rng;
pub mod router;
pub mod sabotage;
pub mod service;
pub mod slow;
pub mod socket;
mod wide;
pub mod world;

use client::Violation;
use sabotage::Sabotage;
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

/// What a run is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything that is not named here.
    pub seed: u64,
    /// Steps after which the run ends with the round it is in.
    pub steps: u64,
    /// A planted defect, to prove the checks.
    pub sabotage: Option<Sabotage>,
    /// Bad weather spares no message.
    pub harsh: bool,
    /// The bus may split in two parts that come together again.
    pub splits: bool,
    /// Work of more kinds: bursts, receipts that wait for acknowledgements, slow clients, keys.
    pub wide: bool,
}

impl Plan {
    /// A run with nothing out of the ordinary.
    pub const fn new(seed: u64, steps: u64) -> Self {
        Self { seed, steps, sabotage: None, harsh: false, splits: false, wide: false }
    }
}

/// Runs one world.
///
/// # Errors
/// A promise was broken.
pub fn run(plan: Plan) -> Result<Totals, Box<Failure>> {
    let mut world = World::new(plan);
    let mut rounds = 0;
    while world.totals.steps < plan.steps || world.totals.rounds == rounds {
        let done = world.totals.rounds;
        if let Err(violation) = world.step() {
            let (at_ms, totals) = (world.totals.elapsed_ms, world.totals);
            return Err(Box::new(Failure { seed: plan.seed, at_ms, violation, story: world.story(), totals }));
        }
        if world.totals.rounds > done && world.totals.steps < plan.steps {
            rounds = world.totals.rounds;
        }
    }
    Ok(world.totals)
}
