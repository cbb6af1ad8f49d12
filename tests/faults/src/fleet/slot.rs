//! A place for one process of ours, which may be empty, and the process in it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_harness::process::Process;
use holdfast_harness::proxy::{Link, Proxy};
use serde_json::Value;

use super::Fleet;

/// A place for a router or a gateway.
#[derive(Debug)]
pub struct Slot {
    program: &'static str,
    number: usize,
    running: Mutex<Option<Arc<Running>>>,
}

/// A process that has said it is ready.
#[derive(Debug)]
pub struct Running {
    process: Process,
    ready: Value,
    /// Its links to the servers of the bus.
    links: Vec<Proxy>,
}

impl Slot {
    pub(super) const fn new(program: &'static str, number: usize) -> Self {
        Self { program, number, running: Mutex::new(None) }
    }

    /// A name for people.
    pub fn name(&self) -> String {
        format!("{} {}", self.program.trim_start_matches("holdfast-"), self.number)
    }

    /// Whether it is for a router.
    pub fn is_router(&self) -> bool {
        self.program == "holdfast-router"
    }

    /// The process in it.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a process here, and waits for its ready line.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn start(&self, fleet: &Fleet) {
        let mut links = Vec::new();
        for server in fleet.nats_addresses() {
            links.push(Proxy::start(*server).await);
        }
        let servers: Vec<_> = links.iter().map(Proxy::address).collect();
        let process = Process::spawn(&self.name(), fleet.command(self.program, &servers));
        let ready = match process.ready().await {
            Ok(ready) => ready,
            Err(failed) => panic!("{} ended with {}:\n{}", self.name(), failed.status, failed.output),
        };
        let running = Arc::new(Running { process, ready, links });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    /// Empties it: what is in it still is killed.
    pub fn clear(&self, fleet: &Fleet) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.kill();
            if let Some(folder) = &fleet.logs {
                let file = folder.join(format!("{}-{}.log", self.name().replace(' ', "-"), running.node()));
                // A log that cannot be kept is no failure of the run.
                let _unkept = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, running.output()));
            }
        }
    }
}

impl Running {
    /// Its node id.
    pub fn node(&self) -> &str {
        self.ready["node"].as_str().unwrap_or_default()
    }

    /// Its admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    /// Where clients connect.
    pub fn listen(&self) -> SocketAddr {
        self.address("listen")
    }

    /// What becomes of its links to the bus.
    pub fn link(&self, link: Link) {
        for proxy in &self.links {
            proxy.set(link);
        }
    }

    fn address(&self, field: &str) -> SocketAddr {
        let text = self.ready[field].as_str().unwrap_or_default();
        text.parse().unwrap_or_else(|error| panic!("{field} in {}: {error}", self.ready))
    }
}

impl Deref for Running {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
