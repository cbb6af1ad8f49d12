//! Messages per second and CPU per delivery, through NATS and the router: one room with many members, message by message
//! and with a backlog, each beside a bare loop; and many users with one connection each. Every delivery is counted; the
//! publisher stays within a window of the slowest client, so nothing has to be dropped.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use holdfast_harness::{Cluster, Gateway};
use holdfast_protocol::subject::{Kind, Subjects, Target};
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Connection, Opening, user};
use crate::floor;
use crate::process::cpu_time;
use crate::readers::Readers;
use crate::report::{Report, note};

/// The size of the run.
#[derive(Debug, Args)]
pub(crate) struct FanoutArgs {
    /// Connections: members of the room, and users.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Messages to the room that are sent one by one: the next when each member has the last.
    #[arg(long, default_value_t = 500)]
    single_messages: u64,
    /// Messages to the room with a backlog.
    #[arg(long, default_value_t = 2_000)]
    room_messages: u64,
    /// Messages to users.
    #[arg(long, default_value_t = 200_000)]
    user_messages: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 64)]
    payload_bytes: usize,
    /// Messages to the room on their way, at most, where there is a backlog.
    #[arg(long, default_value_t = 100)]
    room_window: u64,
    /// Messages to users on their way, at most.
    #[arg(long, default_value_t = 4_000)]
    user_window: u64,
}

const ROOM: &str = "bench/fanout";
/// What dialect json puts around a payload.
const ENVELOPE_BYTES: usize = 74;

/// Runs both, and the floor.
pub(crate) async fn run(args: &FanoutArgs, report: &mut Report) -> anyhow::Result<()> {
    let cluster = Cluster::builder().start().await;
    let mut bench = Bench::open(args, cluster).await?;
    let payload = payload(args.payload_bytes);

    let single = Scene { label: "room, one by one", messages: args.single_messages, window: 1 };
    let backlog = Scene { label: "room, backlog", messages: args.room_messages, window: args.room_window };
    for scene in [&single, &backlog] {
        bench.room(args.connections, scene, &payload, report).await?;
    }

    note(&format!("users: {} messages to {} users", args.user_messages, args.connections));
    let users: Vec<String> =
        (0..args.connections).map(|number| bench.subjects.to(Kind::Send, &Target::User(user(number)))).collect();
    let next = |number: u64| users[usize::try_from(number).unwrap_or(0) % users.len()].clone();
    let spent = bench.publish(args.user_messages, args.user_window, 1, &payload, next).await?;
    spent.report("user", args.user_messages, args.user_messages, report);
    Ok(())
}

/// A number of messages to the room, and how many may be on their way.
struct Scene {
    label: &'static str,
    messages: u64,
    window: u64,
}

/// A JSON payload of about this size.
fn payload(bytes: usize) -> Bytes {
    let filler = "x".repeat(bytes.saturating_sub(r#"{"text":""}"#.len()));
    Bytes::from(json!({"text": filler}).to_string())
}

struct Bench {
    cluster: Cluster,
    bus: async_nats::Client,
    subjects: Subjects,
    readers: Readers,
    /// Deliveries of earlier scenarios.
    delivered: u64,
}

/// What a scenario took.
struct Spent {
    elapsed: Duration,
    gateway: Duration,
    router: Duration,
}

impl Bench {
    async fn open(args: &FanoutArgs, cluster: Cluster) -> anyhow::Result<Self> {
        let opening = Opening { gateway: gateway(&cluster).listen(), tls: None, room: Some(ROOM.to_owned()) };
        let mut sockets = Vec::with_capacity(args.connections);
        for number in 0..args.connections {
            match opening.open(number)? {
                Connection::Plain(socket) => sockets.push(socket),
                Connection::Tls(_) => anyhow::bail!("a plain connection was asked for"),
            }
        }
        let bus = cluster.nats().connect().await;
        Ok(Self { cluster, bus, subjects: Subjects::new("hf"), readers: Readers::start(sockets)?, delivered: 0 })
    }

    /// A room, and the bare loop beside it.
    async fn room(
        &mut self,
        members: usize,
        scene: &Scene,
        payload: &Bytes,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let Scene { label, messages, window } = scene;
        note(&format!("{label}: {messages} messages to {members} members"));
        let subject = self.subjects.to(Kind::Send, &Target::Room(ROOM.to_owned()));
        let deliveries = messages * members as u64;
        let spent = self.publish(*messages, *window, members as u64, payload, |_| subject.clone()).await?;
        spent.report(label, *messages, deliveries, report);
        // What a client receives is the payload in an envelope of about this size.
        let frame = [&payload[..], &[b'x'; ENVELOPE_BYTES]].concat();
        let floor = floor::run(members, *messages, *window, &frame).await?;
        let detail = json!({"messages": messages, "deliveries": deliveries});
        let each = micros_each(floor.cpu, deliveries);
        report.add(
            &format!("{label}: bare loop, deliveries"),
            per_second(deliveries, floor.elapsed),
            "/s",
            detail.clone(),
        );
        report.add(&format!("{label}: bare loop, CPU per delivery"), each, "µs", detail.clone());
        let share = micros_each(spent.gateway, deliveries) / each * 100.0;
        report.add(&format!("{label}: gateway's CPU as a share of the loop's"), share, "%", detail);
        Ok(())
    }

    /// Publishes `messages`, each of which becomes `fan` deliveries, and waits for all of them.
    async fn publish(
        &mut self,
        messages: u64,
        window: u64,
        fan: u64,
        payload: &Bytes,
        subject: impl Fn(u64) -> String,
    ) -> anyhow::Result<Spent> {
        let (gateway, router) = (gateway(&self.cluster).pid(), self.cluster.router(0).pid());
        let before = (cpu_time(gateway)?, cpu_time(router)?);
        let started = Instant::now();
        // Half a window is published at once, and the other half may still be on its way.
        let half = window.div_ceil(2);
        let mut sent = 0;
        while sent < messages {
            for _ in 0..half.min(messages - sent) {
                self.bus.publish(subject(sent), payload.clone()).await?;
                sent += 1;
            }
            self.bus.flush().await?;
            self.readers.at_least(self.delivered + sent.saturating_sub(window - half) * fan).await?;
        }
        self.delivered += messages * fan;
        self.readers.exactly(self.delivered).await?;
        Ok(Spent {
            elapsed: started.elapsed(),
            gateway: cpu_time(gateway)?.saturating_sub(before.0),
            router: cpu_time(router)?.saturating_sub(before.1),
        })
    }
}

fn gateway(cluster: &Cluster) -> &Gateway {
    cluster.gateway(0)
}

impl Spent {
    fn report(&self, what: &str, messages: u64, deliveries: u64, report: &mut Report) {
        let detail = json!({"messages": messages, "deliveries": deliveries, "seconds": self.elapsed.as_secs_f64()});
        report.add(&format!("{what}: messages"), per_second(messages, self.elapsed), "/s", detail.clone());
        report.add(&format!("{what}: deliveries"), per_second(deliveries, self.elapsed), "/s", detail.clone());
        let each = micros_each(self.gateway, deliveries);
        report.add(&format!("{what}: gateway CPU per delivery"), each, "µs", detail.clone());
        report.add(&format!("{what}: router CPU per message"), micros_each(self.router, messages), "µs", detail);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn micros_each(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}
