//! The same messages to the same clients by each transport: what a message costs in bytes, requests, time and CPU.
//!
//! Every client is a thread with blocking sockets, as many as a page would have: one to receive, one to send. CPU is that
//! of gateway, router and NATS less what they use in as long a time when nothing happens.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::route::millis;
use crate::clock;
use crate::load::client::Check;
use crate::load::greet::{PATH, SockJs, one_room, token};
use crate::load::http::{Counted, Http, Traffic};
use crate::load::swarm::histogram;
use crate::load::ws::{Decoder, Frame};
use crate::load::{Opened, Opening, token as payload};
use crate::report::{Sheet, note};
use crate::system::{Fleet, Shape, Usage, used_by};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct TransportsArgs {
    /// What is compared; all unless said.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Way>,
    /// Members of the room.
    #[arg(long, default_value_t = 100)]
    pub(crate) clients: usize,
    /// Messages to it.
    #[arg(long, default_value_t = 50)]
    pub(crate) messages: u64,
    /// Between two messages.
    #[arg(long, default_value_t = 200)]
    pub(crate) every_ms: u64,
    /// Between two polls, for those who poll by the clock.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) poll_ms: u64,
    /// How long it is watched what nothing costs.
    #[arg(long, default_value_t = 5)]
    pub(crate) idle_seconds: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,
}

/// A way for messages to reach a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Asks by the clock for what has come.
    Polling,
    /// Asks again as soon as there was an answer, which waits for a message.
    LongPolling,
    /// One answer that goes on, line by line.
    Stream,
    /// The same as server-sent events.
    Events,
    /// SockJS, `xhr`.
    SockjsPolling,
    /// SockJS, `xhr_streaming`.
    SockjsStreaming,
    /// SockJS, WebSocket.
    SockjsWebsocket,
    /// Dialect json.
    Websocket,
}

const ROOM: &str = "bench/transports";
const BYTES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::LongPolling => "long polling",
            Self::Stream => "HTTP stream",
            Self::Events => "server-sent events",
            Self::SockjsPolling => "SockJS, xhr-polling",
            Self::SockjsStreaming => "SockJS, xhr-streaming",
            Self::SockjsWebsocket => "SockJS, WebSocket",
            Self::Websocket => "WebSocket",
        }
    }
}

/// Runs each.
///
/// # Errors
/// A wrong delivery.
pub(crate) async fn run(args: &TransportsArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    let ways = if args.only.is_empty() { Way::value_variants() } else { &args.only };
    for _ in 0..args.rounds {
        for way in ways {
            note(&format!("  {}", way.name()));
            measure(args, *way, sheet).await?;
        }
    }
    Ok(())
}

async fn measure(args: &TransportsArgs, way: Way, sheet: &mut Sheet) -> anyhow::Result<()> {
    let paths = ["HOLDFAST_SOCKJS__PATHS", "HOLDFAST_FALLBACK__PATHS"].map(|name| (name, PATH.to_owned()));
    let fleet = Fleet::start(&Shape { settings: paths.to_vec(), ..Shape::default() }).await?;
    let parts = fleet.parts();
    let (idle, since) = (Usage::of(&parts)?, Instant::now());
    tokio::time::sleep(Duration::from_secs(args.idle_seconds)).await;
    let (idle, idle_time) = (Usage::of(&parts)?.since(&idle), since.elapsed());
    let crowd = Crowd::open(args, way, &fleet)?;
    fleet.members(ROOM, args.clients).await;

    let (usage, traffic, started) = (Usage::of(&parts)?, crowd.shared.traffic.now(), Instant::now());
    let mut publisher = fleet.publisher()?;
    let subject = fleet.to_room(ROOM);
    for number in 1..=args.messages {
        let due = started + Duration::from_millis(args.every_ms) * u32::try_from(number)?;
        tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
        publisher.publish(&subject, &payload::payload(0, number, clock::micros(), BYTES))?;
        publisher.flush()?;
    }
    let deliveries = args.messages * args.clients as u64;
    crowd.shared.wait_for(deliveries)?;
    let (elapsed, used) = (started.elapsed(), Usage::of(&parts)?.since(&usage));
    let counted = since_then(crowd.shared.traffic.now(), traffic);
    let latency = crowd.end(args.messages)?;

    let each = |count: u64| ratio(count, deliveries);
    let cpu = |name: &str| {
        let idle = used_by(&idle, name).as_secs_f64() * elapsed.as_secs_f64() / idle_time.as_secs_f64();
        (used_by(&used, name).as_secs_f64() - idle).max(0.0) * 1e6 * ratio(1, deliveries)
    };
    let case = way.name();
    sheet.add(case, "bytes down per message", "B", each(counted.down_bytes));
    sheet.add(case, "bytes up per message", "B", each(counted.up_bytes));
    sheet.add(case, "requests per message", "", each(counted.requests));
    sheet.add(case, "latency, p50", "ms", millis(latency.value_at_quantile(0.5)));
    sheet.add(case, "latency, p99", "ms", millis(latency.value_at_quantile(0.99)));
    sheet.add(case, "gateway CPU per message", "µs", cpu("gateway"));
    sheet.add(case, "router and NATS CPU per message", "µs", cpu("router") + cpu("nats"));
    Ok(())
}

fn since_then(now: Counted, then: Counted) -> Counted {
    Counted {
        requests: now.requests - then.requests,
        up_bytes: now.up_bytes - then.up_bytes,
        down_bytes: now.down_bytes - then.down_bytes,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// What clients tell.
#[derive(Debug)]
struct Shared {
    traffic: Arc<Traffic>,
    delivered: AtomicU64,
    latency: Mutex<Histogram<u64>>,
    wrong: Mutex<Option<String>>,
    over: AtomicBool,
}

impl Shared {
    fn wait_for(&self, deliveries: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(what) = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).take() {
                bail!("{what}");
            }
            let so_far = self.delivered.load(Ordering::SeqCst);
            if so_far >= deliveries {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{so_far} of {deliveries} deliveries, and no more come");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn fail(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }
}

/// The clients of one run.
struct Crowd {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Check>>,
    enders: Vec<Box<dyn FnOnce() + Send>>,
}

impl Crowd {
    fn open(args: &TransportsArgs, way: Way, fleet: &Fleet) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            traffic: Arc::default(),
            delivered: AtomicU64::new(0),
            latency: Mutex::new(histogram()),
            wrong: Mutex::new(None),
            over: AtomicBool::new(false),
        });
        let mut crowd = Self { shared, clients: Vec::new(), enders: Vec::new() };
        let opening = fleet.opening(0, one_room(ROOM));
        let framed = opening.greeting(SockJs { host: opening.server.to_string(), room: ROOM.to_owned(), stomp: false });
        for number in 0..args.clients {
            let source = match way {
                Way::Websocket => crowd.socket(&opening, number)?,
                Way::SockjsWebsocket => crowd.socket(&framed, number)?,
                _ => crowd.session(way, fleet.server(0), number, Duration::from_millis(args.poll_ms))?,
            };
            let shared = Arc::clone(&crowd.shared);
            crowd.clients.push(thread::spawn(move || listen(source, &shared)));
        }
        Ok(crowd)
    }

    fn socket(&mut self, opening: &Opening, number: usize) -> anyhow::Result<Source> {
        let Opened { tcp, rest, .. } = opening.open(number)?;
        ensure!(rest.is_empty(), "something came before the first message");
        let other = tcp.try_clone()?;
        tcp.set_read_timeout(None)?;
        self.enders.push(Box::new(move || drop(other.shutdown(Shutdown::Both))));
        Ok(Source::Socket(tcp, Decoder::default(), Arc::clone(&self.shared.traffic)))
    }

    fn session(&mut self, way: Way, server: SocketAddr, number: usize, every: Duration) -> anyhow::Result<Source> {
        let traffic = &self.shared.traffic;
        let (mut down, mut up) = (Http::connect(server, traffic)?, Http::connect(server, traffic)?);
        let join = json!({"type": "join", "id": 1, "room": ROOM}).to_string();
        let bearer = format!("Authorization: Bearer {}\r\n", token(number));
        let (path, more, receive) = match way {
            Way::SockjsPolling | Way::SockjsStreaming => {
                let path = format!("{PATH}/000/s{number}");
                let opened = down.whole("POST", &format!("{path}/xhr"), &bearer, "", 200)?;
                ensure!(opened == b"o\n", "no greeting");
                up.whole("POST", &format!("{path}/xhr_send"), &bearer, &json!([join]).to_string(), 204)?;
                (path, bearer, if way == Way::SockjsPolling { "xhr" } else { "xhr_streaming" })
            }
            _ => {
                let opened: Value =
                    serde_json::from_slice(&up.whole("POST", &format!("{PATH}/_http/open"), &bearer, "", 200)?)?;
                let path = format!("{PATH}/_http/{}", opened["session"].as_str().context("no session")?);
                up.whole("POST", &format!("{path}/send"), "", &join, 204)?;
                let receive = match way {
                    Way::Stream => "stream",
                    Way::Events => "events",
                    _ => "poll",
                };
                (path, String::new(), receive)
            }
        };
        let method = if receive.starts_with("xhr") { "POST" } else { "GET" };
        self.enders.push(Box::new(down.ender()?));
        let asking = Asking { http: down, method, path: format!("{path}/{receive}"), more };
        Ok(match way {
            Way::Polling => Source::Polls(asking, Some(every)),
            Way::LongPolling | Way::SockjsPolling => Source::Polls(asking, None),
            _ => Source::Stream(asking),
        })
    }

    /// Ends all, and sees whether each has had its messages; the latencies.
    fn end(self, messages: u64) -> anyhow::Result<Histogram<u64>> {
        self.shared.over.store(true, Ordering::SeqCst);
        self.enders.into_iter().for_each(|end| end());
        for (number, client) in self.clients.into_iter().enumerate() {
            let check = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            let got = u64::from(check.count(0));
            ensure!(
                got == messages && check.wrong.is_none(),
                "wrong delivery: client {number} got {got} of {messages}"
            );
        }
        Ok(self.shared.latency.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Requests for what has come.
struct Asking {
    http: Http,
    method: &'static str,
    path: String,
    more: String,
}

/// Where a client's bytes come from.
enum Source {
    Socket(TcpStream, Decoder, Arc<Traffic>),
    /// One answer at a time; with a time between two requests, or as soon as may be.
    Polls(Asking, Option<Duration>),
    /// One answer that goes on, and another when it has ended.
    Stream(Asking),
}

/// A client's thread: until it is over.
fn listen(source: Source, shared: &Shared) -> Check {
    let mut check = Check::new(BYTES);
    if let Err(error) = listen_to(source, shared, &mut check)
        && !shared.over.load(Ordering::SeqCst)
    {
        shared.fail(format!("{error:#}"));
    }
    check
}

fn listen_to(source: Source, shared: &Shared, check: &mut Check) -> anyhow::Result<()> {
    let mut carry = Vec::new();
    match source {
        Source::Socket(mut tcp, mut decoder, traffic) => {
            let mut buffer = [0; 16 * 1024];
            loop {
                let length = tcp.read(&mut buffer)?;
                ensure!(length > 0, "the server closed");
                traffic.received(length);
                let mut text = Vec::new();
                decoder.take(buffer.get(..length).unwrap_or_default(), |frame| {
                    if let Frame::Data(data) = frame {
                        text.extend(data);
                    }
                });
                take(&text, None, check, shared)?;
            }
        }
        Source::Polls(mut asking, every) => loop {
            let asked = Instant::now();
            let body = asking.http.whole(asking.method, &asking.path, &asking.more, "", 200)?;
            take(&body, None, check, shared)?;
            if let Some(every) = every {
                thread::sleep(every.saturating_sub(asked.elapsed()));
            }
        },
        Source::Stream(mut asking) => loop {
            let (status, _) = asking.http.ask(asking.method, &asking.path, &asking.more, "")?;
            ensure!(status == 200, "a stream is refused with {status}");
            while let Some(chunk) = asking.http.chunk()? {
                take(&chunk, Some(&mut carry), check, shared)?;
            }
        },
    }
}

/// Checks what came.
fn take(text: &[u8], carry: Option<&mut Vec<u8>>, check: &mut Check, shared: &Shared) -> anyhow::Result<()> {
    let now = clock::micros();
    let mut times = Vec::new();
    let mut sent = |at: u64| times.push(now.saturating_sub(at).max(1));
    match carry {
        Some(carry) => check.take_lines(text, carry, &mut sent),
        None => check.take(text, &mut sent),
    }
    if let Some(what) = check.wrong.take() {
        check.wrong = Some(what.clone());
        bail!("wrong delivery: {what}");
    }
    let mut latency = shared.latency.lock().unwrap_or_else(PoisonError::into_inner);
    times.into_iter().for_each(|time| latency.saturating_record(time));
    drop(latency);
    shared.delivered.fetch_add(std::mem::take(&mut check.fresh), Ordering::SeqCst);
    Ok(())
}
