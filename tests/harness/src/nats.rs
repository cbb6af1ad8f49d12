//! A real nats-server: stop it, start it again on the same port and store, or let it say goodbye (lame duck).

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::Process;
use crate::wait::eventually;
use crate::{Folder, binaries, deployed};
use serde_json::Value;

/// One nats-server with JetStream. Dropping it kills it and removes its store.
#[derive(Debug)]
pub struct NatsServer {
    folder: Folder,
    address: SocketAddr,
    config: String,
    process: Process,
    /// Where other servers of its cluster reach it.
    cluster: Option<SocketAddr>,
    /// It has the users of `deploy/nats`.
    deployed: bool,
}

impl NatsServer {
    /// Starts one on a port of its choice. `config` is text of its own configuration file, or empty.
    ///
    /// # Panics
    /// If there is no usable nats-server, or it does not start.
    pub async fn start(config: &str) -> Self {
        let folder = Folder::new();
        std::fs::write(folder.path().join("nats.conf"), config).expect("write nats.conf");
        let process = spawn(folder.path(), None);
        let (address, cluster) = ports_of(folder.path(), &process).await;
        let server = Self { folder, address, config: config.to_owned(), process, cluster, deployed: false };
        server.greets().await;
        server
    }

    /// Starts one with the users and permissions of `deploy/nats`.
    pub async fn start_deployed() -> Self {
        Self { deployed: true, ..Self::start(&deployed::config()).await }
    }

    /// Starts two that form a cluster, without JetStream (which wants three).
    pub async fn start_pair() -> (Self, Self) {
        let config =
            |routes: &str| format!("jetstream: disabled\ncluster {{ name: pair, listen: \"127.0.0.1:-1\"{routes} }}");
        let first = Self::start(&config("")).await;
        let route = first.cluster.expect("a server of a cluster has a cluster port");
        let second = Self::start(&config(&format!(", routes: [\"nats://{route}\"]"))).await;
        (first, second)
    }

    /// Where it listens, the same after a restart.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, for faults.
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The configuration text it was started with.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// SIGKILL.
    pub fn stop(&self) {
        self.process.kill();
    }

    /// Starts it again on the same port and store, ending it first if need be.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.folder.path(), Some(self.address.port()));
        self.greets().await;
        if self.cluster.is_some() {
            let (_, cluster) = self.ports().await;
            self.cluster = cluster;
        }
    }

    /// Where other servers of its cluster reach it; another address after a restart.
    pub const fn cluster_address(&self) -> Option<SocketAddr> {
        self.cluster
    }

    async fn ports(&self) -> (SocketAddr, Option<SocketAddr>) {
        ports_of(self.folder.path(), &self.process).await
    }

    /// Whether it has the users and permissions of `deploy/nats`.
    pub const fn is_deployed(&self) -> bool {
        self.deployed
    }

    /// A bare client, as a domain service would have one.
    ///
    /// # Panics
    /// If it cannot connect.
    pub async fn connect(&self) -> async_nats::Client {
        self.connect_as(deployed::SERVICE).await
    }

    /// A bare client of that user, where there are users.
    ///
    /// # Panics
    /// If it cannot connect.
    pub async fn connect_as(&self, user: &str) -> async_nats::Client {
        let mut options = async_nats::ConnectOptions::new();
        if self.deployed {
            options = options.user_and_password(user.to_owned(), deployed::password_of(user));
            options = options.custom_inbox_prefix(deployed::inboxes_of(user));
        }
        options
            .reconnect_delay_callback(|_| std::time::Duration::from_millis(50))
            .request_timeout(Some(std::time::Duration::from_secs(20)))
            .connect(format!("nats://{}", self.address))
            .await
            .unwrap_or_else(|error| panic!("connect to nats-server: {error}"))
    }

    async fn greets(&self) {
        eventually("nats-server greets", async || {
            let mut stream = tokio::net::TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
            let mut greeting = [0; 5];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut greeting).await.map_err(|error| error.to_string())?;
            if &greeting == b"INFO " { Ok(()) } else { Err(format!("greeted with {greeting:?}")) }
        })
        .await;
    }
}

fn spawn(folder: &Path, port: Option<u16>) -> Process {
    let mut command = Command::new(binaries::nats_server());
    let port = port.map_or("-1".to_owned(), |port| port.to_string());
    command.args(["-a", "127.0.0.1", "-p", &port]);
    command.arg("--config").arg(folder.join("nats.conf"));
    command.arg("--ports_file_dir").arg(folder);
    if !jetstream_disabled(folder) {
        command.arg("--jetstream").arg("--store_dir").arg(folder.join("store"));
    }
    Process::spawn("nats-server", command)
}

fn jetstream_disabled(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("nats.conf")).is_ok_and(|config| config.contains("jetstream: disabled"))
}

async fn ports_of(folder: &Path, process: &Process) -> (SocketAddr, Option<SocketAddr>) {
    eventually("nats-server tells its ports", async || {
        ports_file(folder, process.pid()).ok_or_else(|| process.tail(20))
    })
    .await
}

/// The server writes `<program>_<pid>.ports` once it listens: where clients and where other servers reach it.
fn ports_file(folder: &Path, pid: u32) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let suffix = format!("_{pid}.ports");
    let name = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(&suffix);
    let file = std::fs::read_dir(folder).ok()?.flatten().find(name)?;
    let ports: Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    // "nats://127.0.0.1:4222", or "tls://…" where it wants TLS.
    let address = |kind: &str| ports[kind][0].as_str()?.rsplit_once("://")?.1.parse().ok();
    Some((address("nats")?, address("cluster")))
}
