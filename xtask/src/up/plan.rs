//! What runs where: ports, settings and the words of welcome.

use super::UpArgs;
use super::certificate::{CERTIFICATE, KEY};
use crate::{run, workspace};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Signs the tokens of this fleet, and of nothing else: profile `dev` listens on loopback only.
const SECRET: &str = "development-secret-of-32-bytes-or-more";

const NATS_PORT: u16 = 4222;
const DEMO_PORT: u16 = 8000;
const GATEWAY_PORTS: [u16; 2] = [8080, 8081];
const TLS_PORT: u16 = 8443;
/// Admin listeners: two gateways, then the routers.
const ADMIN_PORT: u16 = 9090;

/// For one look at a service that starts.
const LOOK_PATIENCE: Duration = Duration::from_millis(500);

/// The users of the demo page.
const USERS: [&str; 2] = ["ana", "ben"];

/// The fleet as asked for.
#[derive(Debug)]
pub(super) struct Plan {
    offset: u16,
    routers: u16,
    /// Where a bus runs already.
    bus: Option<String>,
}

/// A process of ours to be started.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) command: Command,
}

impl Plan {
    pub(super) fn new(args: &UpArgs) -> Result<Self> {
        if args.port_offset > u16::MAX - ADMIN_PORT - 16 {
            bail!("--port-offset {} leaves no room for ports", args.port_offset);
        }
        Ok(Self { offset: args.port_offset, routers: args.routers, bus: args.bus.clone() })
    }

    fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port + self.offset))
    }

    fn bus(&self) -> String {
        self.bus.clone().unwrap_or_else(|| format!("nats://{}", self.address(NATS_PORT)))
    }

    pub(super) fn demo_address(&self) -> SocketAddr {
        self.address(DEMO_PORT)
    }

    /// Each port must be free; told before anything is built.
    pub(super) fn check_ports(&self) -> Result<()> {
        let mut ports = vec![(DEMO_PORT, "the demo page"), (TLS_PORT, "wss")];
        ports.extend(GATEWAY_PORTS.map(|port| (port, "a gateway")));
        ports.extend((0..2 + self.routers).map(|at| (ADMIN_PORT + at, "an admin listener")));
        if self.bus.is_none() {
            ports.push((NATS_PORT, "NATS; --bus uses one that runs already"));
        }
        let taken = ports.into_iter().filter(|(port, _)| TcpListener::bind(self.address(*port)).is_err());
        let taken: Vec<_> = taken.map(|(port, what)| format!("{} ({what})", self.address(port))).collect();
        if !taken.is_empty() {
            bail!("taken: {}; end what listens there, or use --port-offset", taken.join(", "));
        }
        Ok(())
    }

    pub(super) fn nats(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        let port = self.address(NATS_PORT).port().to_string();
        command.args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"]).arg(folder.join("nats"));
        command.arg("-l").arg(folder.join("nats.log"));
        command
    }

    /// Whether it greets.
    pub(super) fn nats_listens(&self) -> bool {
        let address = self.address(NATS_PORT);
        let Ok(mut stream) = TcpStream::connect_timeout(&address, LOOK_PATIENCE) else { return false };
        let mut greeting = [0; 5];
        stream.set_read_timeout(Some(LOOK_PATIENCE)).is_ok()
            && stream.read_exact(&mut greeting).is_ok()
            && &greeting == b"INFO "
    }

    /// Whether both gateways would be given clients: they have a bus and a router.
    pub(super) fn gateways_ready(&self) -> bool {
        let ready = |admin: u16| -> std::io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&self.address(admin), LOOK_PATIENCE)?;
            stream.set_read_timeout(Some(LOOK_PATIENCE))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            Ok(&head == b"HTTP/1.1 200")
        };
        [ADMIN_PORT, ADMIN_PORT + 1].into_iter().all(|admin| ready(admin).unwrap_or(false))
    }

    /// Routers first: a gateway is ready for clients only with one.
    pub(super) fn services(&self, binaries: &Path, folder: &Path) -> Vec<Service> {
        let routers = (0..self.routers).map(|at| {
            let name = format!("router-{}", at + 1);
            Service { name, command: self.service(binaries, "router", ADMIN_PORT + 2 + at) }
        });
        let [first, second] = GATEWAY_PORTS;
        let mut with_tls = self.gateway(binaries, first, ADMIN_PORT);
        with_tls.env("HOLDFAST_LISTEN__TLS_ADDRESS", self.address(TLS_PORT).to_string());
        with_tls.env("HOLDFAST_TLS__CERTIFICATE", folder.join(CERTIFICATE));
        with_tls.env("HOLDFAST_TLS__KEY", folder.join(KEY));
        let plain = self.gateway(binaries, second, ADMIN_PORT + 1);
        let gateways = [("gateway-1", with_tls), ("gateway-2", plain)];
        routers.chain(gateways.map(|(name, command)| Service { name: name.to_owned(), command })).collect()
    }

    fn service(&self, binaries: &Path, service: &str, admin_port: u16) -> Command {
        let mut command = Command::new(binaries.join(format!("holdfast-{service}")));
        command.env("HOLDFAST_BUS__SERVERS", self.bus());
        command.env("HOLDFAST_ADMIN__ADDRESS", self.address(admin_port).to_string());
        if std::env::var_os("HOLDFAST_LOG__FORMAT").is_none() {
            command.env("HOLDFAST_LOG__FORMAT", "pretty");
        }
        command
    }

    fn gateway(&self, binaries: &Path, port: u16, admin_port: u16) -> Command {
        let mut command = self.service(binaries, "gateway", admin_port);
        command.env("HOLDFAST_PROFILE", "dev");
        command.env("HOLDFAST_LISTEN__ADDRESS", self.address(port).to_string());
        command.env("HOLDFAST_AUTH__JWT__SECRET", SECRET);
        // Whoever presses Ctrl-C does not want to wait for load balancers.
        command.env("HOLDFAST_DRAIN__DELAY", "0s").env("HOLDFAST_DRAIN__WINDOW", "1s");
        command
    }

    pub(super) fn demo_service(&self, holdfast: &Path) -> Command {
        let mut command = Command::new(holdfast);
        command.arg("demo-service").env("HOLDFAST_BUS__SERVERS", self.bus());
        command
    }

    /// A token for each user of the demo, good for half a day and every room.
    pub(super) fn tokens(&self, holdfast: &Path) -> Result<BTreeMap<&'static str, String>> {
        let token = |user: &'static str| {
            let mut command = Command::new(holdfast);
            command.args(["token", "--user", user, "--rooms", "**", "--ttl", "12h"]);
            command.args(["--attributes", if user == USERS[0] { "role=admin" } else { "role=member" }]);
            let token =
                run::output(command.env("HOLDFAST_AUTH__JWT__SECRET", SECRET)).context("cannot make a token")?;
            Ok((user, token.trim().to_owned()))
        };
        USERS.into_iter().map(token).collect()
    }

    /// The script that tells the demo page where everything is.
    pub(super) fn demo_config(&self, tokens: &BTreeMap<&'static str, String>) -> Result<String> {
        let config = json!({
            "gateways": GATEWAY_PORTS.map(|port| format!("ws://{}", self.address(port))),
            "secure": format!("wss://{}", self.address(TLS_PORT)),
            "tokens": tokens,
        });
        Ok(format!("window.HOLDFAST = {};\n", serde_json::to_string_pretty(&config)?))
    }

    /// What one can do now.
    pub(super) fn print_welcome(
        &self,
        tokens: &BTreeMap<&'static str, String>,
        holdfast: &Path,
        folder: &Path,
    ) -> Result<()> {
        let [first, second] = GATEWAY_PORTS.map(|port| self.address(port));
        let (tls, demo, bus) = (self.address(TLS_PORT), self.demo_address(), self.bus());
        // As short as it can be typed from the top of the repository, where most people are.
        let holdfast = holdfast.strip_prefix(workspace::root()).unwrap_or(holdfast).display();
        let cli = match self.bus.is_none() && self.offset == 0 {
            true => holdfast.to_string(),
            false => format!("{holdfast} --server {bus}"),
        };
        let token = tokens.get(USERS[0]).map_or("", String::as_str);
        let certificate = folder.join(CERTIFICATE);
        run::print(&format!(
            "
Holdfast is up. Ctrl-C ends it.

  demo page     http://{demo}
  clients       ws://{first}/ws/chat  ws://{second}/ws/chat
                wss://{tls}/ws/chat   (certificate: {certificate})
  bus           {bus}
  health        http://{admin}/readyz  http://{admin}/metrics

A token for user ana:
  {token}

To try in another terminal:
  {cli} send user ana '{{\"hi\":1}}'
  {cli} connect ws://{first}/ws/chat --token {token}
  {cli} query nodes
  {cli} watch

In a browser's console, without a token (profile dev):
  ws = new WebSocket(\"ws://localhost:{port}/notifications?userId=123\"); ws.onmessage = m => console.log(m.data)
  and then: {cli} send user 123 '{{\"hi\":1}}'
",
            certificate = certificate.display(),
            admin = self.address(ADMIN_PORT),
            port = first.port(),
        ))
    }
}
