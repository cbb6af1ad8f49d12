//! One of our programs, running: what its ready line told, and the ways in.

use std::net::SocketAddr;
use std::ops::Deref;

use serde_json::Value;

use crate::client::Connect;
use crate::metrics::Metrics;
use crate::process::Process;
use crate::proxy::Proxy;

/// A program of ours that has said it is ready.
#[derive(Debug)]
pub struct Daemon {
    pub(super) process: Process,
    pub(super) ready: Value,
    pub(super) proxy: Option<Proxy>,
}

/// A router process.
#[derive(Debug)]
pub struct Router(pub(super) Daemon);

/// A gateway process.
#[derive(Debug)]
pub struct Gateway(pub(super) Daemon);

impl Daemon {
    /// The node id in its ready line.
    pub fn node(&self) -> &str {
        self.ready["node"].as_str().unwrap_or_else(|| panic!("node in {}", self.ready))
    }

    /// Its whole ready line.
    pub const fn ready(&self) -> &Value {
        &self.ready
    }

    /// Its admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    /// What its `/metrics` says now.
    pub async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin()).await
    }

    /// The link to its bus, in a cluster built with `proxied`.
    ///
    /// # Panics
    /// In any other.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("a cluster built with `proxied`")
    }

    fn address(&self, field: &str) -> SocketAddr {
        let text = self.ready[field].as_str().unwrap_or_else(|| panic!("{field} in {}", self.ready));
        text.parse().unwrap_or_else(|error| panic!("{field} {text}: {error}"))
    }
}

impl Deref for Daemon {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Deref for Router {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}

impl Deref for Gateway {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}

impl Gateway {
    /// Its public listener.
    pub fn listen(&self) -> SocketAddr {
        self.address("listen")
    }

    /// A connection to it, to be given a credential.
    pub fn client(&self) -> Connect {
        Connect::to(self.listen())
    }

    /// A welcomed `json` client of `user`, who may join every room.
    pub async fn connect(&self, user: &str) -> crate::Client {
        self.client().user(user).open().await
    }
}
