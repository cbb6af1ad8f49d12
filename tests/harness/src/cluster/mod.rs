//! A whole Holdfast: one nats-server, routers, gateways. The one type a test author must learn.

mod builder;
mod daemon;

pub use builder::Builder;
pub use daemon::{Daemon, Gateway, Router};

use std::net::SocketAddr;
use std::ops::Deref;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use tokio::sync::{OnceCell, SemaphorePermit};

use builder::Settings;

use crate::certificate::Certificate;
use crate::credentials::SECRET;
use crate::nats::NatsServer;
use crate::process::{Process, StartFailed};
use crate::proxy::Proxy;
use crate::service::Service;
use crate::wait::{eventually, pause};
use crate::{Folder, binaries, deployed, http};

/// "About 300 ms" during which old and new owner of a partition both forward, and some more.
const ROUTER_OVERLAP: Duration = Duration::from_millis(500);

/// Running processes. Dropping it ends them; if the test has failed, it prints what each one said last.
#[derive(Debug)]
pub struct Cluster {
    builder: Builder,
    nats: NatsServer,
    second_nats: Option<NatsServer>,
    routers: Vec<Router>,
    /// Those that have ended among them.
    routers_started: usize,
    gateways: Vec<Gateway>,
    certificate: Option<Certificate>,
    folder: Folder,
    _permit: Option<SemaphorePermit<'static>>,
}

/// The cluster that tests without a fault or a setting of their own share: two routers, two gateways. It ends with the
/// test process. Keys come from [`crate::unique`].
///
/// # Panics
/// If it cannot be started.
pub async fn shared() -> Shared {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    let start = || Cluster::builder().routers(2).gateways(2).start_with(None);
    Shared(SHARED.get_or_init(start).await)
}

/// The shared cluster in profile `dev`: one router, two gateways.
///
/// # Panics
/// If it cannot be started.
pub async fn shared_dev() -> Shared {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    let start = || {
        let secret = ("HOLDFAST_AUTH__JWT__SECRET", SECRET);
        Cluster::builder().gateways(2).dev().gateway_setting(secret.0, secret.1).start_with(None)
    };
    Shared(SHARED.get_or_init(start).await)
}

/// A shared cluster in the hands of one test: prints what the processes said if that test fails.
#[derive(Debug)]
pub struct Shared(&'static Cluster);

impl Deref for Shared {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.post_mortem();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.post_mortem();
        if !thread::panicking() {
            self.nothing_was_denied();
        }
    }
}

impl Cluster {
    /// One router, one gateway, unless said otherwise.
    pub const fn builder() -> Builder {
        Builder {
            routers: 1,
            gateways: 1,
            settings: Settings::new(),
            gateway_settings: Settings::new(),
            proxied: false,
            tls: false,
            nats_config: String::new(),
            prefix: None,
            nats_pair: false,
            open_bus: false,
            sections: 1,
        }
    }

    /// A gateway by its number.
    pub fn gateway(&self, number: usize) -> &Gateway {
        &self.gateways[number]
    }

    /// A gateway for the `number`th client, in turn.
    pub fn gateway_in_turn(&self, number: usize) -> &Gateway {
        &self.gateways[number % self.gateways.len()]
    }

    /// All gateways.
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// A router by its number.
    pub fn router(&self, number: usize) -> &Router {
        &self.routers[number]
    }

    /// All routers.
    pub fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// The nats-server.
    pub const fn nats(&self) -> &NatsServer {
        &self.nats
    }

    /// The nats-server, to be restarted.
    pub const fn nats_mut(&mut self) -> &mut NatsServer {
        &mut self.nats
    }

    /// The second nats-server of a pair.
    ///
    /// # Panics
    /// If there is none.
    pub const fn second_nats(&self) -> &NatsServer {
        self.second_nats.as_ref().expect("a cluster built with `nats_pair`")
    }

    /// The certificate of a cluster with TLS.
    ///
    /// # Panics
    /// If it has none.
    pub fn certificate(&self) -> &Certificate {
        self.certificate.as_ref().expect("a cluster built with `tls`")
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A domain service with a bus connection of its own.
    pub async fn service(&self) -> Service {
        Service::new(self.nats.connect().await, self.builder.prefix.as_deref().unwrap_or("hf"))
    }

    /// Somebody with the command line client's rights, who may order gateways about too.
    pub async fn operator(&self) -> Service {
        Service::new(self.nats.connect_as("operator").await, self.builder.prefix.as_deref().unwrap_or("hf"))
    }

    /// Starts one more router, and waits for its ready line only.
    pub async fn add_router(&mut self) {
        self.spawn_all(1, 0).await;
    }

    /// Starts one more gateway, and waits for its ready line only.
    pub async fn add_gateway(&mut self) {
        self.spawn_all(0, 1).await;
    }

    /// Ends a gateway in the hard way and forgets it.
    pub fn remove_gateway(&mut self, number: usize) {
        self.gateways.remove(number);
    }

    /// Ends a router in the hard way and forgets it.
    pub fn remove_router(&mut self, number: usize) {
        self.routers.remove(number);
    }

    /// Starts a gateway that is expected to refuse: with these settings on top. Returns its exit and what it said.
    ///
    /// # Panics
    /// If it becomes ready.
    pub async fn gateway_refuses(&self, settings: &[(&str, Option<&str>)], arguments: &[&str]) -> (ExitStatus, String) {
        let mut command = self.command("holdfast-gateway", self.nats.address());
        command.args(arguments);
        for (name, value) in settings {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let process = Process::spawn("gateway that refuses", command);
        match process.ready().await {
            Ok(ready) => panic!("it started: {ready}"),
            Err(StartFailed { status, output }) => (status, output),
        }
    }

    /// The command that starts one of our programs as this cluster would, the gateway's settings included.
    pub fn command(&self, program: &str, bus: SocketAddr) -> Command {
        let mut settings = Settings::new();
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), Some(value));
        let second = self.second_nats.as_ref().map(|nats| format!(",nats://{}", nats.address()));
        set("HOLDFAST_BUS__SERVERS", format!("nats://{bus}{}", second.unwrap_or_default()));
        if self.nats.is_deployed() {
            let user = deployed::user_of(program);
            set("HOLDFAST_BUS__USER", user.to_owned());
            set("HOLDFAST_BUS__PASSWORD", deployed::password_of(user));
            set("HOLDFAST_BUS__INBOX_PREFIX", deployed::inboxes_of(user));
        }
        set("HOLDFAST_ADMIN__ADDRESS", "127.0.0.1:0".to_owned());
        if program == "holdfast-gateway" {
            set("HOLDFAST_LISTEN__ADDRESS", "127.0.0.1:0".to_owned());
            set("HOLDFAST_AUTH__JWT__SECRET", SECRET.to_owned());
            if let Some(made) = &self.certificate {
                set("HOLDFAST_TLS__CERTIFICATE", made.certificate.display().to_string());
                set("HOLDFAST_TLS__KEY", made.key.display().to_string());
            }
        }
        settings.extend(self.builder.settings.clone());
        if program == "holdfast-gateway" {
            settings.extend(self.builder.gateway_settings.clone());
        }
        let mut command = Command::new(binaries::holdfast(program));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOLDFAST_")) {
            command.env_remove(name);
        }
        command.envs(settings.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.folder.path());
        command
    }

    /// Waits until every process is ready for traffic, the routers have all nodes and each other in their books, and
    /// the overlap after a router's coming is over: while it lasts, messages may come twice.
    pub async fn whole(&self) {
        let service = self.service().await;
        eventually("the cluster is whole", async || {
            for daemon in self.daemons().filter(|daemon| daemon.is_running()) {
                let answer = http::get(daemon.admin(), "/readyz").await;
                if answer.status != 200 {
                    return Err(format!("{}: {}", daemon.name(), answer.body));
                }
            }
            let running = |daemon: &&Daemon| daemon.is_running();
            let gateways: Vec<_> = self.gateways.iter().map(Deref::deref).filter(running).collect();
            let routers = self.routers.iter().map(Deref::deref).filter(running).count();
            let stats = service.try_query("stats", "").await?;
            if stats["routers"] != routers {
                return Err(format!("stats: {stats}"));
            }
            let nodes = service.try_query("nodes", "").await?;
            let live = |gateway: &&Daemon| {
                let list = nodes["nodes"].as_array().map_or(&[][..], Vec::as_slice);
                list.iter().any(|node| node["node"] == gateway.node() && node["state"] == "live")
            };
            if gateways.iter().all(live) { Ok(()) } else { Err(format!("nodes: {nodes}")) }
        })
        .await;
        if self.routers.len() > 1 {
            // It has a length, and nothing tells of its end.
            pause(ROUTER_OVERLAP).await;
        }
    }

    async fn spawn_all(&mut self, routers: usize, gateways: usize) {
        let programs = std::iter::repeat_n("holdfast-router", routers)
            .chain(std::iter::repeat_n("holdfast-gateway", gateways))
            .collect::<Vec<_>>();
        let mut started = Vec::new();
        for program in programs {
            let proxy = if self.builder.proxied { Some(Proxy::start(self.nats.address()).await) } else { None };
            let bus = proxy.as_ref().map_or(self.nats.address(), Proxy::address);
            let number = self.routers.len() + self.gateways.len() + started.len();
            let mut command = self.command(program, bus);
            if program == "holdfast-router" && self.builder.sections > 1 {
                command.env("HOLDFAST_SECTIONS__INDEX", (self.routers_started % self.builder.sections).to_string());
                self.routers_started += 1;
            }
            let process = Process::spawn(&format!("{program} #{number}"), command);
            started.push((program, process, proxy));
        }
        for (program, process, proxy) in started {
            let ready = match process.ready().await {
                Ok(ready) => ready,
                Err(failed) => panic!("{} ended with {}:\n{}", process.name(), failed.status, failed.output),
            };
            let daemon = Daemon { process, ready, proxy };
            match program {
                "holdfast-router" => self.routers.push(Router(daemon)),
                _ => self.gateways.push(Gateway(daemon)),
            }
        }
    }

    fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        self.routers.iter().map(Deref::deref).chain(self.gateways.iter().map(Deref::deref))
    }

    /// What the product needs, `deploy/nats` allows.
    fn nothing_was_denied(&self) {
        for daemon in self.daemons() {
            let said = daemon.process.output();
            let denied = said.lines().find(|line| line.to_lowercase().contains("permissions violation"));
            assert!(denied.is_none(), "{} was denied what it needs: {denied:?}", daemon.name());
        }
    }

    #[expect(clippy::print_stderr, reason = "what a failed test shows")]
    fn post_mortem(&self) {
        if !thread::panicking() {
            return;
        }
        for nats in std::iter::once(&self.nats).chain(&self.second_nats) {
            eprintln!("{}", nats.process().post_mortem());
        }
        for daemon in self.daemons() {
            eprintln!("{}", daemon.process.post_mortem());
        }
    }
}
