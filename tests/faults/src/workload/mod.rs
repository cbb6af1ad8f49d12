//! The load: clients that behave as good clients do, publishers whose every message is known, services that listen.

mod client;
mod frames;
mod listeners;
mod publisher;
mod recorder;

pub use client::{Client, Status};
pub use listeners::{listen_facts, listen_upstream};
pub use publisher::{MARKER, keep, publish_kept, publish_live};
pub use recorder::{Recorded, Recorder};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::fleet::Balancer;
use crate::history::Target;
use crate::random::Random;

/// Rooms that a client is in.
const ROOMS_EACH: usize = 2;
/// Members of a room, about.
const MEMBERS: u32 = 30;

/// What everybody does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Clients come, nothing is published.
    Start,
    /// Load and churn.
    Load,
    /// Clients stay, publishers have ended.
    Rest,
    /// Clients with an odd number leave for good.
    Farewell,
    /// All leave.
    End,
}

/// Who is where.
#[derive(Debug)]
pub struct Plan {
    /// The user of each client.
    pub users: Vec<u32>,
    /// The rooms of each client.
    pub rooms: Vec<Vec<u32>>,
    /// How many different users.
    pub users_count: u32,
    /// How many rooms.
    pub rooms_count: u32,
}

impl Plan {
    /// For so many clients: one user in ten has two.
    pub fn new(clients: u32, random: &mut Random) -> Self {
        let (mut users, mut rooms, mut next) = (Vec::new(), Vec::new(), 0);
        let rooms_count = (clients * u32::try_from(ROOMS_EACH).unwrap_or(1) / MEMBERS).max(1);
        for number in 0..clients {
            if number > 0 && random.chance(10) {
                users.push(next - 1);
            } else {
                users.push(next);
                next += 1;
            }
            let mut own = Vec::new();
            while own.len() < ROOMS_EACH.min(rooms_count as usize) {
                let room = u32::try_from(random.below(rooms_count as usize)).unwrap_or(0);
                if !own.contains(&room) {
                    own.push(room);
                }
            }
            rooms.push(own);
        }
        Self { users, rooms, users_count: next, rooms_count }
    }

    /// Every target there is.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        (0..self.users_count).map(Target::User).chain((0..self.rooms_count).map(Target::Room))
    }

    /// A target: rooms twice as often as users.
    pub fn target(&self, random: &mut Random) -> Target {
        let number = |random: &mut Random, count: u32| u32::try_from(random.below(count as usize)).unwrap_or(0);
        if random.chance(66) {
            Target::Room(number(random, self.rooms_count))
        } else {
            Target::User(number(random, self.users_count))
        }
    }
}

/// What the parts of the workload share.
#[derive(Debug)]
pub struct Shared {
    /// What was seen.
    pub recorder: Arc<Recorder>,
    /// The way in.
    pub balancer: Arc<Balancer>,
    /// Who is where.
    pub plan: Plan,
    /// What clients believe now.
    statuses: Vec<Mutex<Status>>,
    /// What everybody does.
    pub phase: watch::Sender<Phase>,
}

impl Shared {
    /// Before the start.
    pub fn new(plan: Plan, recorder: Arc<Recorder>, balancer: Arc<Balancer>) -> Self {
        let statuses = plan.users.iter().map(|_| Mutex::default()).collect();
        Self { recorder, balancer, plan, statuses, phase: watch::Sender::new(Phase::Start) }
    }

    /// What a client believes now.
    pub fn status(&self, number: u32) -> MutexGuard<'_, Status> {
        self.statuses[number as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients there are.
    pub fn clients(&self) -> u32 {
        u32::try_from(self.statuses.len()).unwrap_or(u32::MAX)
    }

    /// The phase now.
    pub fn now(&self) -> Phase {
        *self.phase.borrow()
    }
}
