//! Where everybody writes down what they saw, by one clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::history::{Entry, Event, Harm, Heard, Life, Publish, Window};

/// Shared by all of a run.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    lives: Vec<Mutex<Life>>,
    publishes: Mutex<Vec<Publish>>,
    windows: Mutex<Vec<Window>>,
    heard: Mutex<Vec<Heard>>,
    facts: Mutex<Vec<(u32, bool, String)>>,
    epoch: Mutex<Arc<str>>,
}

/// What a recorder holds.
#[derive(Debug)]
pub struct Recorded {
    /// By number.
    pub clients: Vec<Life>,
    /// In the order of their answers.
    pub publishes: Vec<Publish>,
    /// In the order of their ends.
    pub windows: Vec<Window>,
    /// By listener in order.
    pub heard: Vec<Heard>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// For clients of these users.
    pub fn new(users: &[u32]) -> Self {
        let life = |user: &u32| Mutex::new(Life { user: *user, entries: Vec::new() });
        Self {
            start: Instant::now(),
            lives: users.iter().map(life).collect(),
            publishes: Mutex::default(),
            windows: Mutex::default(),
            heard: Mutex::default(),
            facts: Mutex::default(),
            epoch: Mutex::new(Arc::from("")),
        }
    }

    /// Milliseconds since the run began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Something happened to a client.
    pub fn client(&self, number: u32, event: Event) {
        let mut life = locked(&self.lives[number as usize]);
        let at = self.now();
        life.entries.push(Entry { at, event });
    }

    /// A publish has its answer.
    pub fn publish(&self, publish: Publish) {
        locked(&self.publishes).push(publish);
    }

    /// A time of trouble is over.
    pub fn window(&self, what: &str, harm: Harm, from: u64) {
        let to = self.now();
        locked(&self.windows).push(Window { what: what.to_owned(), harm, from, to });
    }

    /// A domain service heard a client.
    pub fn heard(&self, listener: u8, client: u32, number: u32) {
        let mut heard = locked(&self.heard);
        let at = self.now();
        heard.push(Heard { listener, client, number, at });
    }

    /// A fact about a user was heard.
    pub fn fact(&self, user: u32, online: bool, id: &str) {
        locked(&self.facts).push((user, online, id.to_owned()));
    }

    /// Facts since the last call.
    pub fn take_facts(&self) -> Vec<(u32, bool, String)> {
        std::mem::take(&mut *locked(&self.facts))
    }

    /// One text for all that mean the same epoch.
    pub fn epoch(&self, text: &str) -> Arc<str> {
        let mut epoch = locked(&self.epoch);
        if **epoch != *text {
            *epoch = Arc::from(text);
        }
        Arc::clone(&epoch)
    }

    /// All of it.
    pub fn take(&self) -> Recorded {
        Recorded {
            clients: self.lives.iter().map(|life| std::mem::take(&mut *locked(life))).collect(),
            publishes: std::mem::take(&mut *locked(&self.publishes)),
            windows: std::mem::take(&mut *locked(&self.windows)),
            heard: std::mem::take(&mut *locked(&self.heard)),
        }
    }
}
