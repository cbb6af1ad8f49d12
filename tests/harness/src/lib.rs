//! Real nats-server, router and gateway processes for tests, with the clients and the domain service to drive them.
//!
//! Links `holdfast-protocol` only: the products are processes, found as files, so that any build of them can be put
//! under the same tests. A test starts with [`Cluster`] (its own processes) or [`cluster::shared`] (everybody's), opens
//! clients with [`Cluster::gateway`] and plays the domain service with [`Cluster::service`]. Nothing listens on a fixed
//! port, every wait is on a condition ([`wait`]), and processes end with the test, however it ends ([`reaper`]).
//!
//! Failures are panics: this is code for tests, and each panic says what was waited for and what was seen instead.

pub mod binaries;
pub mod certificate;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod credentials;
pub mod deployed;
pub mod http;
pub mod metrics;
pub mod nats;
pub mod nats_cluster;
pub mod process;
pub mod proxy;
mod reaper;
pub mod service;
mod stream;
pub mod wait;

pub use client::{BareClient, Client, Ended, RawClient};
pub use cluster::{Cluster, Gateway, Router};
pub use credentials::Claims;
pub use service::{Service, To};
pub use wait::eventually;

use std::sync::atomic::{AtomicU32, Ordering};

/// `base` with a suffix that no other call in this process has had: tests that share a cluster share no key.
pub fn unique(base: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{base}-{:x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A folder for files that processes are to find; removed in the end.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes one.
    ///
    /// # Panics
    /// If it cannot be made.
    #[expect(clippy::new_without_default, reason = "making a folder is not a default value")]
    pub fn new() -> Self {
        let folder = tempfile::TempDir::with_prefix("holdfast-test-").expect("make a temporary folder");
        reaper::folder(folder.path());
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}
