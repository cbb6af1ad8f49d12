//! `deploy/nats/server.conf` on three real servers, as it stands: NKEYs, TLS everywhere, a cluster, JetStream; and Holdfast on it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use holdfast_chart::repository;
use holdfast_harness::certificate::Certificate;
use holdfast_harness::client::Connect;
use holdfast_harness::credentials::SECRET;
use holdfast_harness::process::Process;
use holdfast_harness::{Folder, Service, To, binaries, eventually, http};
use nkeys::KeyPair;
use serde_json::Value;

const SERVERS: usize = 3;
const USERS: [&str; 6] = ["gateway", "router", "service", "observer", "operator", "system"];

/// What the file asks the environment for.
struct Site {
    folder: Folder,
    certificate: Certificate,
    keys: Vec<(&'static str, KeyPair)>,
    /// Of each server: for clients, for the other servers, for numbers.
    ports: Vec<[u16; 3]>,
}

impl Site {
    fn new() -> Self {
        let folder = Folder::new();
        let certificate = Certificate::make(folder.path());
        let keys: Vec<_> = USERS.into_iter().map(|user| (user, KeyPair::new_user())).collect();
        for (user, key) in &keys {
            std::fs::write(folder.path().join(user), key.seed().expect("a seed")).expect("written");
        }
        // Held together, so that no two are the same.
        let free: Vec<_> = (0..SERVERS * 3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let port = |at: usize| free[at].local_addr().expect("an address").port();
        let ports = (0..SERVERS).map(|server| [0, 1, 2].map(|kind| port(server * 3 + kind))).collect();
        Self { folder, certificate, keys, ports }
    }

    fn server(&self, number: usize) -> Process {
        let [clients, routes, monitor] = self.ports[number];
        let mut command = Command::new(binaries::nats_server());
        command.arg("-c").arg(repository::path("deploy/nats/server.conf"));
        let all: Vec<String> =
            self.ports.iter().map(|[_, port, _]| format!("nats-route://route:proutes@127.0.0.1:{port}")).collect();
        let certificate = self.certificate.certificate.display().to_string();
        let settings = [
            ("NAME", format!("nats-{number}")),
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", clients.to_string()),
            ("ROUTE_PORT", routes.to_string()),
            ("ROUTES", format!("[{}]", all.join(", "))),
            ("ROUTE_PASSWORD", "proutes".to_owned()),
            ("MONITOR", format!("127.0.0.1:{monitor}")),
            ("DATA", self.folder.path().join(format!("data-{number}")).display().to_string()),
            ("TLS_CERT", certificate.clone()),
            ("TLS_KEY", self.certificate.key.display().to_string()),
            ("TLS_CA", certificate),
        ];
        command.envs(settings.map(|(name, value)| (format!("NATS_{name}"), value)));
        command
            .envs(self.keys.iter().map(|(user, key)| (format!("NATS_{}_NKEY", user.to_uppercase()), key.public_key())));
        Process::spawn(&format!("nats-{number}"), command)
    }

    fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|[port, _, _]| format!("tls://127.0.0.1:{port}")).collect()
    }

    fn program(&self, service: &str) -> Process {
        let mut command = Command::new(binaries::holdfast(&format!("holdfast-{service}")));
        let file = |path: &Path| path.display().to_string();
        let settings = [
            ("BUS__SERVERS", self.urls().join(",")),
            ("BUS__NKEY", file(&self.folder.path().join(service))),
            ("BUS__INBOX_PREFIX", format!("_INBOX.{service}")),
            ("BUS__TLS__REQUIRED", "true".to_owned()),
            ("BUS__TLS__AUTHORITIES", file(&self.certificate.certificate)),
            ("ADMIN__ADDRESS", "127.0.0.1:0".to_owned()),
        ];
        command.envs(settings.map(|(name, value)| (format!("HOLDFAST_{name}"), value)));
        if service == "gateway" {
            command.env("HOLDFAST_LISTEN__ADDRESS", "127.0.0.1:0").env("HOLDFAST_AUTH__JWT__SECRET", SECRET);
            command.env("HOLDFAST_TLS__CERTIFICATE", &self.certificate.certificate);
            command.env("HOLDFAST_TLS__KEY", &self.certificate.key);
        } else {
            command.env("HOLDFAST_KEPT__REPLICAS", "3");
        }
        Process::spawn(service, command)
    }

    async fn service(&self) -> Service {
        let seed = std::fs::read_to_string(self.folder.path().join("service")).expect("a seed");
        let options = async_nats::ConnectOptions::with_nkey(seed)
            .require_tls(true)
            .add_root_certificates(self.certificate.certificate.clone())
            .custom_inbox_prefix("_INBOX.service");
        Service::new(options.connect(self.urls()).await.expect("a domain service connects"), "hf")
    }

    /// The server has a quorum for its streams, and routes to the others.
    async fn whole(&self, number: usize) {
        let address = ([127, 0, 0, 1], self.ports[number][2]).into();
        let get = async |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: nats\r\nConnection: close\r\n\r\n");
            http::try_exchange(address, request.as_bytes()).await.map_err(|error| error.to_string())
        };
        eventually(&format!("nats-{number} is whole"), async || {
            let health = get("/healthz").await?;
            let routes: Value = serde_json::from_str(&get("/routez").await?.body).map_err(|error| error.to_string())?;
            let others: std::collections::BTreeSet<_> = routes["routes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|route| route["remote_name"].as_str())
                .collect();
            match health.status {
                200 if others.len() == SERVERS - 1 => Ok(()),
                status => Err(format!("health {status}, routes to {others:?}")),
            }
        })
        .await;
    }
}

async fn ready(process: &Process) -> Value {
    process.ready().await.unwrap_or_else(|failed| panic!("{} ended: {}", process.name(), failed.output))
}

#[tokio::test]
async fn three_servers_carry_holdfast_by_nkey_and_tls_and_one_may_go() {
    let site = Site::new();
    let servers: Vec<Process> = (0..SERVERS).map(|number| site.server(number)).collect();
    for number in 0..SERVERS {
        site.whole(number).await;
    }
    let (router, gateway) = (site.program("router"), site.program("gateway"));
    ready(&router).await;
    let listen = ready(&gateway).await["listen"].as_str().expect("an address").parse().expect("an address");
    let service = site.service().await;
    let tls = site.certificate.client(rustls::DEFAULT_VERSIONS);
    let client = Connect::to(listen).tls(tls).user("ana").open().await;

    service.until_matched(&To::user("ana"), 1).await;
    client.message().await;
    let stored = eventually("the stream takes a message", async || {
        let answer = service.bus().request("hf.keep.user.ana", "{\"kept\":1}".into()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())?;
        if answer["seq"].is_u64() { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(stored["stream"], "HF_KEPT", "{stored}");
    assert_eq!(client.message().await.data["kept"], 1);

    servers[0].kill();
    service.until_matched(&To::user("ana"), 1).await;
    client.message().await;
    assert!(client.is_open(), "a client of the gateway does not notice");
    for process in [&router, &gateway] {
        let denied = process.output().to_lowercase().contains("permissions violation");
        assert!(!denied, "{} was denied what it needs: {}", process.name(), process.tail(40));
    }
}
