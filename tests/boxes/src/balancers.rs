//! The files of `deploy/balancers` under the software they are for, as they are: NGINX, HAProxy on layer 7 and 4, Traefik, those
//! that are installed. Two gateways behind each; what a balancer must not break is tried on all at once.

mod trials;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use holdfast_chart::repository;
use holdfast_harness::certificate::Certificate;
use holdfast_harness::client::Connect;
use holdfast_harness::credentials::SECRET;
use holdfast_harness::{Service, binaries, eventually, http};

use crate::container::{Container, Mount, Plan, Root};
use crate::stage::{self, Place, Stage};
use crate::{Missing, say};

/// Not root, as each of their images has it.
const USER: (u32, u32) = (10005, 10005);
/// Connections from one address that a gateway takes.
pub(crate) const PER_ADDRESS: usize = 24;
/// The name in the files that route by it.
const HOST: &str = "ws.example.com";

/// A balancer and the two gateways behind it.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) balancer: Container,
    pub(crate) gateways: Vec<Container>,
    pub(crate) service: Service,
    /// Whether it speaks HTTP, so that headers are its business.
    pub(crate) speaks_http: bool,
    /// The signal upon which it reads its files anew; none: it watches them.
    pub(crate) reload: Option<&'static str>,
    client: Arc<rustls::ClientConfig>,
    folder: PathBuf,
}

/// What differs between balancers.
struct Kind {
    name: &'static str,
    program: &'static str,
    command: &'static [&'static str],
    /// Shipped files and where they belong.
    files: &'static [(&'static str, &'static str)],
    /// Where its certificate belongs: chain, key; or one file with both.
    certificate: &'static [&'static str],
    memory: &'static [&'static str],
    reload: Option<&'static str>,
    speaks_http: bool,
}

/// HAProxy's `-n`: this machine may not allow as many open files as the file asks for.
const HAPROXY: &[&str] = &["haproxy", "-W", "-db", "-n", "2000", "-f", "/usr/local/etc/haproxy/haproxy.cfg"];

const KINDS: [Kind; 4] = [
    Kind {
        name: "haproxy.cfg",
        program: "haproxy",
        command: HAPROXY,
        files: &[("haproxy.cfg", "/usr/local/etc/haproxy/haproxy.cfg")],
        certificate: &["/etc/haproxy/tls/both.pem"],
        memory: &[],
        reload: Some("USR2"),
        speaks_http: true,
    },
    Kind {
        name: "haproxy-tcp.cfg",
        program: "haproxy",
        command: HAPROXY,
        files: &[("haproxy-tcp.cfg", "/usr/local/etc/haproxy/haproxy.cfg")],
        certificate: &[],
        memory: &[],
        reload: Some("USR2"),
        speaks_http: false,
    },
    Kind {
        name: "nginx.conf",
        program: "nginx",
        command: &["nginx", "-g", "daemon off;", "-c", "/etc/nginx/nginx.conf", "-e", "/dev/stderr"],
        files: &[("nginx.conf", "/etc/nginx/nginx.conf")],
        certificate: &["/etc/nginx/tls/tls.crt", "/etc/nginx/tls/tls.key"],
        memory: &["/run", "/var/lib/nginx", "/var/log/nginx"],
        reload: Some("HUP"),
        speaks_http: true,
    },
    Kind {
        name: "traefik.yaml",
        program: "traefik",
        command: &["traefik", "--configFile=/etc/traefik/traefik.yaml"],
        files: &[
            ("traefik.yaml", "/etc/traefik/traefik.yaml"),
            ("traefik-dynamic.yaml", "/etc/traefik/traefik-dynamic.yaml"),
        ],
        certificate: &["/etc/traefik/tls/tls.crt", "/etc/traefik/tls/tls.key"],
        memory: &["/tmp"],
        reload: None,
        speaks_http: true,
    },
];

/// Runs the suite.
///
/// # Errors
/// Something is not as it should be.
///
/// # Panics
/// If something that should become true does not.
pub(crate) async fn run() -> Result<()> {
    let there: Vec<&Kind> = KINDS.iter().filter(|kind| stage::installed(kind.program).is_ok()).collect();
    for kind in KINDS.iter().filter(|kind| stage::installed(kind.program).is_err()) {
        say(&format!("note: {} is left out: {} is not installed", kind.name, kind.program));
    }
    if there.is_empty() {
        return Err(Missing("no balancer is installed".to_owned()).into());
    }
    // All at once, on this thread.
    tokio::task::LocalSet::new().run_until(all(there)).await
}

async fn all(there: Vec<&Kind>) -> Result<()> {
    let stage = Arc::new(Stage::new()?);
    let nats = nats(&stage).await?;
    let mut trials = tokio::task::JoinSet::new();
    for kind in there {
        let setting = setting(&stage, &nats, kind).await.with_context(|| kind.name)?;
        say(&format!("{}: started, two gateways behind it", setting.name));
        trials.spawn_local(trials::run(Arc::clone(&stage), setting));
    }
    while let Some(ended) = trials.join_next().await {
        ended.context("a trial")??;
    }
    Ok(())
}

/// One server for all: each setting has a prefix of its own.
async fn nats(stage: &Stage) -> Result<Container> {
    let plan = Plan {
        name: "nats".to_owned(),
        root: Root::Folder(stage.root_of(&binaries::nats_server(), "nats-server")?),
        command: ["nats-server", "--jetstream", "--store_dir", "/data"].map(str::to_owned).to_vec(),
        variables: Vec::new(),
        mounts: vec![Mount::Memory("/data".to_owned())],
        user: USER,
        search: String::new(),
    };
    Container::start(stage, &stage.place("nats")?, plan).await
}

async fn setting(stage: &Stage, nats: &Container, kind: &Kind) -> Result<Setting> {
    let prefix = kind.name.replace(['.', '-'], "_");
    let zone = format!("{prefix}.test");
    let place = stage.place(&format!("balancer.{zone}"))?;
    let folder = stage.folder().join(&prefix);
    std::fs::create_dir_all(&folder)?;
    let certificate = Certificate::of(&folder, vec![HOST.to_owned(), place.address.to_string()]);
    let router = part(stage, &zone, "router", "holdfast-router", &router_settings(nats, &prefix), &certificate).await?;
    ready(&router, 9091).await;
    let mut gateways = vec![router];
    for number in 1..=2 {
        let settings = gateway_settings(nats, &prefix, kind, &place);
        let name = format!("gateway-{number}");
        gateways.push(part(stage, &zone, &name, "holdfast-gateway", &settings, &certificate).await?);
    }
    for gateway in gateways.iter().skip(1) {
        ready(gateway, 9090).await;
    }
    let balancer = Container::start(stage, &place, plan(stage, kind, &zone, &folder, &certificate)?).await?;
    let client = async_nats::connect(format!("nats://{}", nats.at(4222))).await?;
    Ok(Setting {
        name: kind.name,
        balancer,
        gateways,
        service: Service::new(client, &prefix),
        speaks_http: kind.speaks_http,
        reload: kind.reload,
        client: certificate.client(rustls::DEFAULT_VERSIONS),
        folder,
    })
}

fn plan(stage: &Stage, kind: &Kind, zone: &str, folder: &std::path::Path, certificate: &Certificate) -> Result<Plan> {
    let program = stage::installed(kind.program)?;
    // What is in /usr is there already.
    let own = !program.starts_with("/usr/bin") && !program.starts_with("/usr/sbin");
    let root = if own { Root::Folder(stage.root_of(&program, kind.program)?) } else { Root::Machine };
    let mut mounts: Vec<Mount> = kind.memory.iter().map(|path| Mount::Memory((*path).to_owned())).collect();
    for (file, path) in kind.files {
        // A copy, which the trial of a reload may touch.
        let copy = folder.join(file);
        std::fs::copy(repository::path("deploy/balancers").join(file), &copy)?;
        mounts.push(Mount::Read(copy, (*path).to_owned()));
    }
    match kind.certificate {
        [both] => {
            let file = folder.join("both.pem");
            let texts = [std::fs::read(&certificate.certificate)?, std::fs::read(&certificate.key)?].concat();
            std::fs::write(&file, texts)?;
            mounts.push(Mount::Read(file, (*both).to_owned()));
        }
        [chain, key] => {
            mounts.push(Mount::Read(certificate.certificate.clone(), (*chain).to_owned()));
            mounts.push(Mount::Read(certificate.key.clone(), (*key).to_owned()));
        }
        _ => {}
    }
    Ok(Plan {
        name: "balancer".to_owned(),
        root,
        command: kind.command.iter().map(|word| (*word).to_owned()).collect(),
        variables: Vec::new(),
        mounts,
        user: USER,
        search: zone.to_owned(),
    })
}

fn router_settings(nats: &Container, prefix: &str) -> String {
    format!(
        "[admin]\naddress = \"0.0.0.0:9091\"\n[bus]\nservers = [\"nats://{}\"]\nprefix = \"{prefix}\"\n[kept]\nenabled = false\n",
        nats.at(4222)
    )
}

fn gateway_settings(nats: &Container, prefix: &str, kind: &Kind, balancer: &Place) -> String {
    let listen = if kind.speaks_http {
        let balancer: Ipv4Addr = balancer.address;
        format!("[listen]\naddress = \"0.0.0.0:8080\"\nplaintext = true\ntrusted_proxies = [\"{balancer}/32\"]\n")
    } else {
        "[listen]\naddress = \"0.0.0.0:443\"\nproxy_protocol = true\n[tls]\ncertificate = \"/tls.crt\"\nkey = \"/tls.key\"\n".to_owned()
    };
    format!(
        "{listen}[admin]\naddress = \"0.0.0.0:9090\"\n[auth.jwt]\nsecret = \"{SECRET}\"\n[limits]\nconnections_per_address = {PER_ADDRESS}\n\
         [drain]\ndelay = \"5s\"\nwindow = \"10s\"\n[kept]\nenabled = false\n[bus]\nservers = [\"nats://{}\"]\nprefix = \"{prefix}\"\n",
        nats.at(4222)
    )
}

/// One of our programs with these settings, called `name` in the zone.
async fn part(
    stage: &Stage,
    zone: &str,
    name: &str,
    program: &str,
    settings: &str,
    certificate: &Certificate,
) -> Result<Container> {
    let place = stage.place(&format!("{name}.{zone}"))?;
    let file = stage.folder().join(format!("{name}.{zone}.toml"));
    std::fs::write(&file, settings)?;
    let plan = Plan {
        name: name.to_owned(),
        root: Root::Folder(stage.image()?),
        command: vec![format!("/usr/local/bin/{program}"), "--config=/settings.toml".to_owned()],
        variables: Vec::new(),
        mounts: vec![
            Mount::Read(file, "/settings.toml".to_owned()),
            Mount::Read(certificate.certificate.clone(), "/tls.crt".to_owned()),
            Mount::Read(certificate.key.clone(), "/tls.key".to_owned()),
        ],
        user: (10001, 10001),
        search: zone.to_owned(),
    };
    Container::start(stage, &place, plan).await
}

async fn ready(part: &Container, port: u16) {
    eventually(&format!("{} is ready", part.name()), async || {
        let request = b"GET /readyz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";
        match http::try_exchange(part.at(port), request).await {
            Ok(response) if response.status == 200 => Ok(()),
            other => Err(format!("{other:?}; {}", part.said_so_far())),
        }
    })
    .await;
}

impl Setting {
    /// A connection through the balancer, with a token for the user.
    pub(crate) fn connect(&self, user: &str) -> Connect {
        Connect::to(self.balancer.at(443)).tls(Arc::clone(&self.client)).host(HOST).user(user)
    }

    /// A gateway by its number from 1; 0 is the router.
    pub(crate) fn gateway(&self, number: usize) -> Result<&Container> {
        self.gateways.get(number).context("a gateway")
    }

    /// Makes the balancer read its files anew.
    pub(crate) fn reload(&self) -> Result<()> {
        match self.reload {
            Some(signal) => self.balancer.signal(signal),
            // It looks for changes: the same file, longer by a remark.
            None => {
                let file = self.folder.join("traefik-dynamic.yaml");
                let text = std::fs::read_to_string(&file)? + "# Again.\n";
                std::fs::write(&file, text.replace("timeout: 1s", "timeout: 900ms"))?;
                Ok(())
            }
        }
    }

    /// An address of another client, and the client itself: run once, it must be welcome.
    pub(crate) async fn elsewhere(&self, stage: &Stage) -> Result<()> {
        let place = stage.place(&format!("elsewhere.{}.test", self.name))?;
        let token = holdfast_harness::Claims::of("elsewhere").sign();
        let url = format!("wss://{}/ws", self.balancer.at(443));
        let host = ["--insecure", "--token", &token].map(str::to_owned);
        let plan = Plan {
            name: "elsewhere".to_owned(),
            root: Root::Folder(stage.image()?),
            command: [vec!["/usr/local/bin/holdfast".to_owned(), "connect".to_owned(), url], host.to_vec()].concat(),
            variables: Vec::new(),
            mounts: Vec::new(),
            user: USER,
            search: String::new(),
        };
        crate::container::once(stage, &place, plan).await.map(drop)
    }
}
