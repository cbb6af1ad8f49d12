//! What a cluster is to be like, and its start.

use std::collections::BTreeMap;

use holdfast_protocol::subject::Subjects;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Cluster;
use crate::Folder;
use crate::certificate::Certificate;
use crate::nats::NatsServer;

/// Clusters of tests of their own that run at once; the shared one is not among them.
static CLUSTERS: Semaphore = Semaphore::const_new(3);

/// What a cluster is to be like.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) routers: usize,
    pub(super) gateways: usize,
    pub(super) settings: Settings,
    pub(super) gateway_settings: Settings,
    pub(super) proxied: bool,
    pub(super) tls: bool,
    pub(super) nats_config: String,
    pub(super) prefix: Option<String>,
    pub(super) nats_pair: bool,
    pub(super) open_bus: bool,
    pub(super) sections: usize,
}

/// Environment of a process; `None` takes a default of the harness away.
pub(super) type Settings = BTreeMap<String, Option<String>>;

impl Builder {
    /// How many routers; 1 unless said.
    #[must_use]
    pub const fn routers(mut self, count: usize) -> Self {
        self.routers = count;
        self
    }

    /// How many gateways; 1 unless said.
    #[must_use]
    pub const fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// A setting of every process, as an environment variable.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), Some(value.to_owned()));
        self
    }

    /// A setting of the gateways.
    #[must_use]
    pub fn gateway_setting(mut self, name: &str, value: &str) -> Self {
        self.gateway_settings.insert(name.to_owned(), Some(value.to_owned()));
        self
    }

    /// Gateways without the secret that the tests' tokens are signed with.
    #[must_use]
    pub fn without_secret(mut self) -> Self {
        self.gateway_settings.insert("HOLDFAST_AUTH__JWT__SECRET".to_owned(), None);
        self
    }

    /// Gateways in profile `dev`, without a key.
    #[must_use]
    pub fn dev(self) -> Self {
        self.without_secret().gateway_setting("HOLDFAST_PROFILE", "dev")
    }

    /// Gateways that speak TLS, with a certificate made for them.
    #[must_use]
    pub const fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A proxy before the bus for each process: [`Daemon::proxy`](super::Daemon::proxy).
    #[must_use]
    pub const fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Another prefix of all subjects.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self.setting("HOLDFAST_BUS__PREFIX", prefix)
    }

    /// Two nats-servers that form a cluster; the processes know both. [`Cluster::nats`] is the first.
    #[must_use]
    pub const fn nats_pair(mut self) -> Self {
        self.nats_pair = true;
        self
    }

    /// Routers in so many sections, in turn; NATS maps sends accordingly.
    #[must_use]
    pub fn sections(mut self, count: usize) -> Self {
        self.sections = count;
        let line = |(from, to)| format!("  {from:?}: {to:?}\n");
        let mappings = Subjects::new("hf").section_mappings(count).map(line).concat();
        self.nats_config(&format!("mappings {{\n{mappings}}}\n"))
            .setting("HOLDFAST_SECTIONS__COUNT", &count.to_string())
    }

    /// A bus without users and permissions, which anybody may connect to: for measurements, and programs of others. Else it has
    /// those of `deploy/nats`, unless the test brings a configuration, a prefix or a pair of its own.
    #[must_use]
    pub const fn open_bus(mut self) -> Self {
        self.open_bus = true;
        self
    }

    /// Text of nats-server's own configuration file.
    #[must_use]
    pub fn nats_config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.nats_config);
        self
    }

    /// Starts the processes and waits until they know of each other.
    ///
    /// # Panics
    /// If that does not come to be.
    pub async fn start(self) -> Cluster {
        let permit = CLUSTERS.acquire().await.expect("the semaphore is never closed");
        self.start_with(Some(permit)).await
    }

    pub(super) async fn start_with(self, permit: Option<SemaphorePermit<'static>>) -> Cluster {
        let folder = Folder::new();
        let (nats, second_nats) = if self.nats_pair {
            let (first, second) = NatsServer::start_pair().await;
            (first, Some(second))
        } else if self.open_bus || self.prefix.is_some() || !self.nats_config.is_empty() {
            (NatsServer::start(&self.nats_config).await, None)
        } else {
            (NatsServer::start_deployed().await, None)
        };
        let certificate = self.tls.then(|| Certificate::make(folder.path()));
        let (routers, gateways) = (self.routers, self.gateways);
        let mut cluster = Cluster {
            builder: self,
            nats,
            second_nats,
            routers: Vec::new(),
            routers_started: 0,
            gateways: Vec::new(),
            certificate,
            folder,
            _permit: permit,
        };
        cluster.spawn_all(routers, gateways).await;
        if routers > 0 {
            cluster.whole().await;
        }
        cluster
    }
}
