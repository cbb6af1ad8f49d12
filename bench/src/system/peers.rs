//! Peers whose programs were found, each at its default and at its recommended settings, and Holdfast beside them, all
//! reached in the same way: a greeting for clients, a publisher for messages. Nothing of theirs is in this repository.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use holdfast_harness::credentials::SECRET;
use holdfast_harness::nats::NatsServer;
use holdfast_harness::process::Process;
use holdfast_harness::{Claims, Folder, eventually};
use holdfast_protocol::subject::{Kind as SubjectKind, Subjects, Target};
use serde_json::{Value, json};

use super::{Fleet, Part, Shape};
use crate::bus::Publisher;
use crate::cores;
use crate::load::client::Framing;
use crate::load::greet::{one_room, upgrade, user};
use crate::load::open::{Duplex, Greeting, Input};
use crate::load::{Opening, ws};

/// Whom a message is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To {
    Room,
    User(usize),
}

/// The one room.
const ROOM: &str = "bench/fanout";
/// The same where a name may be one word only.
const WORD: &str = "bench-room";

/// One system under test, running.
pub(crate) struct System {
    pub(crate) name: &'static str,
    kind: Kind,
}

enum Kind {
    Holdfast(Box<Fleet>),
    Nats { server: NatsServer, websocket: SocketAddr },
    Centrifugo { nodes: Vec<Node>, nats: Option<NatsServer> },
}

struct Node {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

/// What can be started.
#[derive(Debug, Clone)]
pub(crate) enum Candidate {
    Holdfast,
    Nats,
    Centrifugo { program: PathBuf, tuned: bool },
}

impl Candidate {
    /// Those whose programs are there.
    pub(crate) fn found() -> Vec<Self> {
        let mut all = vec![Self::Holdfast];
        if let Some(program) = variable("CENTRIFUGO_BIN") {
            all.push(Self::Centrifugo { program: program.clone(), tuned: false });
            all.push(Self::Centrifugo { program, tuned: true });
        }
        all.push(Self::Nats);
        all
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Holdfast => "Holdfast",
            Self::Nats => "NATS WebSocket",
            Self::Centrifugo { tuned: false, .. } => "Centrifugo",
            Self::Centrifugo { tuned: true, .. } => "Centrifugo, tuned",
        }
    }

    /// Starts it, with what clients reach on the server's core and the load on the other; or, `routed`, with a bus
    /// between publisher and clients, and everybody everywhere.
    pub(crate) async fn start(&self, routed: bool) -> anyhow::Result<System> {
        // A process inherits where it may run, and runtimes count their cores at the start.
        if routed {
            cores::free_thread()?
        } else {
            cores::bind_thread(cores::SERVER)?
        }
        let system = self.spawn(routed).await;
        if !routed {
            cores::bind_thread(cores::LOAD)?;
        }
        system
    }

    async fn spawn(&self, routed: bool) -> anyhow::Result<System> {
        let kind = match self {
            Self::Holdfast => {
                let heartbeat = vec![("HOLDFAST_SESSION__HEARTBEAT", "25s".to_owned())];
                Kind::Holdfast(Box::new(
                    Fleet::start(&Shape { bound: !routed, settings: heartbeat, ..Shape::default() }).await?,
                ))
            }
            Self::Nats => {
                let address = free_address()?;
                let config = format!("websocket {{ listen: \"{address}\", no_tls: true }}");
                Kind::Nats { server: NatsServer::start(&config).await, websocket: address }
            }
            Self::Centrifugo { program, tuned } => {
                let nats = if routed { Some(NatsServer::start("").await) } else { None };
                let bus = nats.as_ref().map(NatsServer::address);
                let mut nodes = Vec::new();
                for _ in 0..if routed { 2 } else { 1 } {
                    nodes.push(node(program, *tuned, bus).await?);
                }
                Kind::Centrifugo { nodes, nats }
            }
        };
        Ok(System { name: self.name(), kind })
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A port that nobody has at the moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn node(program: &PathBuf, tuned: bool, bus: Option<SocketAddr>) -> anyhow::Result<Node> {
    let address = free_address()?;
    let mut config = json!({
        "http_server": {"address": "127.0.0.1", "port": address.port()},
        "http_api": {"insecure": true},
        "client": {"token": {"hmac_secret_key": SECRET}, "allowed_origins": ["*"]},
        "channel": {"without_namespace": {"allow_subscribe_for_client": true}},
        "usage_stats": {"disabled": true},
        "log": {"level": "error"},
    });
    if tuned {
        config["websocket"] = json!({"read_buffer_size": 512, "use_write_buffer_pool": true});
    }
    if let Some(bus) = bus {
        config["broker"] = json!({"enabled": true, "type": "nats", "nats": {"url": format!("nats://{bus}")}});
    }
    let folder = Folder::new();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string())?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&path).current_dir(folder.path());
    let process = Process::spawn("centrifugo", command);
    eventually("centrifugo listens", async || {
        TcpStream::connect(address).map(drop).map_err(|error| format!("{error}; {}", process.tail(10)))
    })
    .await;
    Ok(Node { process, address, _folder: folder })
}

impl System {
    /// The processes that count.
    pub(crate) fn parts(&self) -> Vec<Part> {
        match &self.kind {
            Kind::Holdfast(fleet) => fleet.parts(),
            Kind::Nats { server, .. } => vec![Part { name: "nats", pid: server.process().pid() }],
            Kind::Centrifugo { nodes, nats } => {
                let nodes = nodes.iter().map(|node| Part { name: "node", pid: node.process.pid() });
                nodes.chain(nats.iter().map(|nats| Part { name: "nats", pid: nats.process().pid() })).collect()
            }
        }
    }

    /// The process that holds the sockets.
    pub(crate) fn edge(&self) -> u32 {
        match &self.kind {
            Kind::Holdfast(fleet) => fleet.cluster.gateway(0).pid(),
            Kind::Nats { server, .. } => server.process().pid(),
            Kind::Centrifugo { nodes, .. } => nodes.last().map_or(0, |node| node.process.pid()),
        }
    }

    /// How clients come in: to the room, or to their own messages, or to nothing.
    pub(crate) fn opening(&self, to: Option<To>) -> Opening {
        match &self.kind {
            Kind::Holdfast(fleet) => match to {
                Some(To::Room) => fleet.opening(0, one_room(ROOM)),
                Some(To::User(_)) | None => fleet.opening(0, crate::load::greet::no_rooms()),
            },
            Kind::Nats { websocket, .. } => opening(*websocket, NatsClient { host: websocket.to_string(), to }),
            Kind::Centrifugo { nodes, .. } => {
                let server = nodes.last().map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |node| node.address);
                opening(server, CentrifugoClient { host: server.to_string(), to })
            }
        }
    }

    /// A publisher on the far side from the clients.
    pub(crate) fn publisher(&self) -> anyhow::Result<Sender> {
        Ok(match &self.kind {
            Kind::Holdfast(fleet) => Sender::Bus(fleet.publisher()?, fleet.to_room(ROOM), |number| {
                Subjects::new("hf").to(SubjectKind::Send, &Target::User(user(number)))
            }),
            Kind::Nats { server, .. } => Sender::Bus(Publisher::connect(server.address())?, WORD.to_owned(), user),
            Kind::Centrifugo { nodes, .. } => {
                let first = nodes.first().context("a node")?;
                let tcp = TcpStream::connect(first.address)?;
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
                Sender::Http { tcp, host: first.address.to_string(), commands: Vec::new() }
            }
        })
    }
}

fn opening(server: SocketAddr, greeting: impl Greeting + 'static) -> Opening {
    Opening { server, tls: None, greeting: Arc::new(greeting), source: 0 }
}

/// A way to publish. Messages leave when they are flushed.
pub(crate) enum Sender {
    Bus(Publisher, String, fn(usize) -> String),
    Http { tcp: TcpStream, host: String, commands: Vec<Value> },
}

impl Sender {
    pub(crate) fn publish(&mut self, to: To, payload: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Bus(publisher, room, user) => match to {
                To::Room => publisher.publish(room, payload),
                To::User(number) => publisher.publish(&user(number), payload),
            },
            Self::Http { commands, .. } => {
                let data: Value = serde_json::from_slice(payload)?;
                commands.push(json!({"publish": {"channel": channel(to), "data": data}}));
                Ok(())
            }
        }
    }

    /// All that was published is on its way.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        let Self::Http { tcp, host, commands } = self else {
            let Self::Bus(publisher, ..) = self else { return Ok(()) };
            return publisher.flush();
        };
        let (path, body) = match std::mem::take(commands).as_slice() {
            [] => return Ok(()),
            [one] => ("publish", one["publish"].to_string()),
            many => ("batch", json!({"commands": many}).to_string()),
        };
        let request = format!(
            "POST /api/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        tcp.write_all(request.as_bytes())?;
        let mut input = Input::default();
        let head = String::from_utf8(input.until(tcp, b"\r\n\r\n")?)?;
        ensure!(head.starts_with("HTTP/1.1 200"), "refused: {head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.trim().parse::<usize>().ok());
        let answer = match length {
            Some(length) => {
                let mut body = input.pending;
                let have = body.len();
                body.resize(length, 0);
                if let Some(rest) = body.get_mut(have..) {
                    tcp.read_exact(rest)?;
                }
                body
            }
            None => input.until(tcp, b"0\r\n\r\n")?,
        };
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(!answer.contains("\"error\""), "refused: {answer}");
        Ok(())
    }
}

fn channel(to: To) -> String {
    match to {
        To::Room => WORD.to_owned(),
        To::User(number) => user(number),
    }
}

fn subscription(to: Option<To>, number: usize) -> Option<String> {
    to.map(|to| channel(if matches!(to, To::User(_)) { To::User(number) } else { to }))
}

/// A client of NATS' own WebSocket listener.
struct NatsClient {
    host: String,
    to: Option<To>,
}

impl Greeting for NatsClient {
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        stream.write_all(upgrade("/", &self.host, "").as_bytes())?;
        input.upgraded(stream)?;
        input.expect(stream, "INFO ")?;
        let subscribe = subscription(self.to, number).map(|name| format!("SUB {name} 1\r\n")).unwrap_or_default();
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{subscribe}PING\r\n");
        stream.write_all(&ws::binary(hello.as_bytes()))?;
        input.expect(stream, "PONG")
    }

    fn framing(&self) -> Framing {
        Framing::WebSocketLines(ws::Decoder::default(), Vec::new())
    }

    fn heartbeat(&self) -> Option<(&'static [u8], &'static [u8])> {
        Some((b"PING\r\n", b"PONG\r\n"))
    }
}

/// A client of Centrifugo's JSON protocol, with a token.
struct CentrifugoClient {
    host: String,
    to: Option<To>,
}

impl Greeting for CentrifugoClient {
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        stream.write_all(upgrade("/connection/websocket", &self.host, "").as_bytes())?;
        input.upgraded(stream)?;
        let token = Claims::of(&user(number)).expires_in(24 * 3600).sign();
        let connect = json!({"id": 1, "connect": {"token": token}});
        stream.write_all(&ws::text(connect.to_string().as_bytes()))?;
        input.expect(stream, "\"connect\"")?;
        if let Some(channel) = subscription(self.to, number) {
            let subscribe = json!({"id": 2, "subscribe": {"channel": channel}});
            stream.write_all(&ws::text(subscribe.to_string().as_bytes()))?;
            input.expect(stream, "\"subscribe\"")?;
        }
        Ok(())
    }

    fn heartbeat(&self) -> Option<(&'static [u8], &'static [u8])> {
        Some((b"{}", b"{}"))
    }
}
