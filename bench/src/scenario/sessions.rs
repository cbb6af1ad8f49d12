//! Many SockJS sessions over plain HTTP at once: how long the greeting takes when all come together, each request at another
//! node, and what polls cost then. Every delivery is checked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::micros_each;
use super::route::millis;
use crate::clock;
use crate::load::client::Check;
use crate::load::greet::{PATH, token};
use crate::load::swarm::histogram;
use crate::load::token as payload;
use crate::report::Sheet;
use crate::system::{Fleet, Shape, Usage, used_by};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct SessionsArgs {
    /// All at once.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sessions: usize,
    /// Requests take turns among them.
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: usize,
    /// Messages to the room that all are in.
    #[arg(long, default_value_t = 10)]
    pub(crate) messages: u64,
    /// Between two messages.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) every_ms: u64,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

const ROOM: &str = "bench/sessions";
const BYTES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs it.
///
/// # Errors
/// A wrong delivery, or a session that is refused.
pub(crate) async fn run(args: &SessionsArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    for _ in 0..args.rounds {
        round(args, sheet).await?;
    }
    Ok(())
}

async fn round(args: &SessionsArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    let settings = vec![("HOLDFAST_SOCKJS__PATHS", PATH.to_owned())];
    let fleet = Fleet::start(&Shape { gateways: args.nodes, settings, ..Shape::default() }).await?;
    let times = Arc::new(Mutex::new(Times { greeting: histogram(), delivery: histogram() }));
    let nodes: Arc<[SocketAddr]> = (0..args.nodes).map(|node| fleet.server(node)).collect();
    let usage = Usage::of(&fleet.parts())?;
    let mut sessions = JoinSet::new();
    for number in 0..args.sessions {
        let session = Session {
            nodes: Arc::clone(&nodes),
            turn: number,
            path: format!("{PATH}/000/s{number}"),
            bearer: format!("Authorization: Bearer {}\r\n", token(number)),
            times: Arc::clone(&times),
        };
        sessions.spawn(session.run(args.messages));
    }
    fleet.members(ROOM, args.sessions).await;
    let used = Usage::of(&fleet.parts())?.since(&usage);
    let mut publisher = fleet.publisher()?;
    let subject = fleet.to_room(ROOM);
    for number in 1..=args.messages {
        publisher.publish(&subject, &payload::payload(0, number, clock::micros(), BYTES))?;
        publisher.flush()?;
        tokio::time::sleep(Duration::from_millis(args.every_ms)).await;
    }
    let all = async {
        while let Some(ended) = sessions.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, all).await.context("not every session has had its messages")??;

    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let case = format!("{} sessions at once, {} nodes", crate::report::number_of(args.sessions), args.nodes);
    let mut show = |what: &str, of: &Histogram<u64>| {
        sheet.add(&case, &format!("{what}, p50"), "ms", millis(of.value_at_quantile(0.5)));
        sheet.add(&case, &format!("{what}, p99"), "ms", millis(of.value_at_quantile(0.99)));
        sheet.add(&case, &format!("{what}, most"), "ms", millis(of.max()));
    };
    show("until `o`", &times.greeting);
    show("delivery to a poll", &times.delivery);
    let each = micros_each(used_by(&used, "gateway"), args.sessions as u64);
    sheet.add(&case, "CPU of the gateways to begin a session and join", "µs", each);
    Ok(())
}

struct Times {
    greeting: Histogram<u64>,
    delivery: Histogram<u64>,
}

/// A client that takes turns among the nodes.
struct Session {
    nodes: Arc<[SocketAddr]>,
    turn: usize,
    path: String,
    bearer: String,
    times: Arc<Mutex<Times>>,
}

impl Session {
    async fn run(mut self, messages: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        let greeting = self.ask("xhr", "", 200).await?;
        ensure!(greeting == b"o\n", "no greeting: {}", String::from_utf8_lossy(&greeting));
        let took = u64::try_from(begun.elapsed().as_micros())?;
        self.times(|times| times.greeting.saturating_record(took.max(1)));
        let join = json!([json!({"type": "join", "id": 1, "room": ROOM}).to_string()]).to_string();
        self.ask("xhr_send", &join, 204).await?;
        let mut check = Check::new(BYTES);
        while u64::from(check.count(0)) < messages {
            let frame = self.ask("xhr", "", 200).await?;
            ensure!(!frame.starts_with(b"c["), "closed: {}", String::from_utf8_lossy(&frame));
            let now = clock::micros();
            let mut late = Vec::new();
            check.take(&frame, &mut |sent| late.push(now.saturating_sub(sent).max(1)));
            if let Some(what) = check.wrong.take() {
                bail!("wrong delivery: {what}");
            }
            self.times(|times| late.into_iter().for_each(|time| times.delivery.saturating_record(time)));
        }
        Ok(())
    }

    fn times(&self, record: impl FnOnce(&mut Times)) {
        record(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One request on a connection of its own, at the next node; the body of its answer.
    async fn ask(&mut self, what: &str, body: &str, status: u16) -> anyhow::Result<Vec<u8>> {
        self.turn += 1;
        let node = self.nodes[self.turn % self.nodes.len()];
        let request = format!(
            "POST {}/{what} HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.path,
            self.bearer,
            body.len()
        );
        let mut tcp = TcpStream::connect(node).await?;
        tcp.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await?;
        let at = memchr::memmem::find(&answer, b"\r\n\r\n").context("no answer")?;
        let body = answer.split_off(at + 4);
        let line = format!("HTTP/1.1 {status} ");
        ensure!(answer.starts_with(line.as_bytes()), "{what}: {}", String::from_utf8_lossy(&answer));
        Ok(body)
    }
}
