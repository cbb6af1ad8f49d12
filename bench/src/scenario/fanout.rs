//! One message to a room of N local sockets, beside a bare loop that sends the same bytes to as many: one by one, and
//! with a backlog, where what is ready for a socket leaves together. Few sockets and many messages are a burst.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{micros_each, per_second, percent};
use crate::bus::Publisher;
use crate::clock;
use crate::cores;
use crate::floor::Spent;
use crate::floor::send_loop::{Drive, SendLoop};
use crate::load::greet::{Bare, Json, PATH, SockJs, Stomp, one_room};
use crate::load::{Opening, Swarm, token};
use crate::report::{Sheet, note};
use crate::system::{Fleet, Shape, Usage, used_by};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct FanoutArgs {
    /// Members of the room. There are three sockets here for each (a client, and both ends of the floor's), and a process
    /// may hold so many.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,6000")]
    pub(crate) sockets: Vec<usize>,
    /// Bytes of a payload.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    pub(crate) bytes: Vec<usize>,
    /// What members speak.
    #[arg(long, value_delimiter = ',', default_value = "json")]
    pub(crate) dialect: Vec<Dialect>,
    /// Over TLS.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Deliveries of each case in each round; at least ten messages whatever the room.
    #[arg(long, default_value_t = 300_000)]
    pub(crate) deliveries: u64,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// How messages come.
    #[arg(long, value_delimiter = ',', default_value = "single")]
    pub(crate) pace: Vec<Pace>,
}

/// How messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pace {
    /// The next when each member has the last.
    Single,
    /// Back to back, two on their way.
    Double,
    /// Faster than the sockets take them, 200 on their way.
    Backlog,
    /// In batches of 100, 1,000 on their way.
    Burst,
}

/// What members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    Json,
    Bare,
    Stomp,
    /// Dialect json in the frames of SockJS, over WebSocket.
    #[value(name = "sockjs")]
    SockJs,
    /// Dialect stomp in those.
    #[value(name = "stomp-sockjs")]
    StompSockJs,
}

pub(crate) const ROOM: &str = "bench/fanout";

impl Pace {
    const fn window(self) -> u64 {
        match self {
            Self::Single => 1,
            Self::Double => 2,
            Self::Backlog => 200,
            Self::Burst => 1_000,
        }
    }

    const fn batch(self) -> u64 {
        match self {
            Self::Single | Self::Double => 1,
            Self::Backlog | Self::Burst => 100,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Single => "one by one",
            Self::Double => "back to back",
            Self::Backlog => "backlog",
            Self::Burst => "burst",
        }
    }
}

/// Runs every combination.
///
/// # Errors
/// A wrong delivery, or a machine that does not let us.
pub(crate) async fn run(args: &FanoutArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    cores::bind_thread(cores::LOAD)?;
    for dialect in &args.dialect {
        for sockets in &args.sockets {
            note(&format!("  {sockets} sockets, {dialect:?}{}", if args.tls { ", TLS" } else { "" }));
            let mut bench = Bench::open(*sockets, *dialect, args.tls).await?;
            for bytes in &args.bytes {
                for pace in &args.pace {
                    for _ in 0..args.rounds {
                        bench.round(args, *bytes, *pace, sheet)?;
                    }
                }
            }
        }
    }
    Ok(())
}

struct Bench {
    fleet: Fleet,
    publisher: Publisher,
    subject: String,
    swarm: Swarm,
    floor: SendLoop,
    label: String,
    sent: u64,
}

impl Bench {
    async fn open(sockets: usize, dialect: Dialect, tls: bool) -> anyhow::Result<Self> {
        let settings = vec![("HOLDFAST_SOCKJS__PATHS", PATH.to_owned())];
        let fleet = Fleet::start(&Shape { tls, bound: true, settings, ..Shape::default() }).await?;
        let opening = opening(&fleet, dialect);
        let mut swarm = Swarm::new(1)?;
        opening.open_all(0..sockets, 8.min(sockets), &mut swarm, 0)?;
        fleet.members(ROOM, sockets).await;
        let floor = SendLoop::open(sockets, tls.then(|| fleet.floor_tls()).transpose()?)?;
        let kind = if tls { ", wss" } else { "" };
        let label = format!("{} sockets, {dialect:?}{kind}", crate::report::number_of(sockets)).to_lowercase();
        let (publisher, subject) = (fleet.publisher()?, fleet.to_room(ROOM));
        Ok(Self { fleet, publisher, subject, swarm, floor, label, sent: 0 })
    }

    fn round(&mut self, args: &FanoutArgs, bytes: usize, pace: Pace, sheet: &mut Sheet) -> anyhow::Result<()> {
        let sockets = self.swarm.len() as u64;
        let messages = (args.deliveries / sockets).max(10).next_multiple_of(pace.batch());
        let deliveries = messages * sockets;
        let case = format!("{}, {}, {bytes} B", self.label, pace.name());
        let (ours, gateway) = self.drive(messages, pace, bytes)?;
        let drive = Drive { messages, window: pace.window(), per_send: 1, bytes };
        let bare = self.floor.run(drive)?;
        let gateway = micros_each(gateway, deliveries);
        let loop_each = micros_each(bare.cpu, deliveries);
        sheet.add(&case, "deliveries", "/s", per_second(deliveries, ours));
        sheet.add(&case, "deliveries, bare loop", "/s", per_second(deliveries, bare.elapsed));
        sheet.add(&case, "gateway CPU per delivery", "µs", gateway);
        sheet.add(&case, "CPU per delivery, bare loop", "µs", loop_each);
        let rate = percent(bare.elapsed.as_secs_f64(), ours.as_secs_f64());
        sheet.add(&case, "rate of the bare loop", "%", rate);
        sheet.add(&case, "CPU of the bare loop", "%", percent(gateway, loop_each));
        if pace.batch() > 1 {
            let Spent { cpu, .. } = self.floor.run(Drive { per_send: 16, window: pace.window().max(32), ..drive })?;
            sheet.add(&case, "CPU per delivery, loop with 16 to a send", "µs", micros_each(cpu, deliveries));
        }
        Ok(())
    }

    /// Publishes so many, and waits for every delivery. Returns the time, and the gateway's CPU.
    fn drive(&mut self, messages: u64, pace: Pace, bytes: usize) -> anyhow::Result<(Duration, Duration)> {
        self.swarm.expect_bytes(bytes);
        let (sockets, before) = (self.swarm.len() as u64, self.sent);
        let parts = self.fleet.parts();
        let usage = Usage::of(&parts)?;
        let started = Instant::now();
        while self.sent - before < messages {
            for _ in 0..pace.batch().min(messages - (self.sent - before)) {
                self.sent += 1;
                let payload = token::payload(0, self.sent, clock::micros(), bytes);
                self.publisher.publish(&self.subject, &payload)?;
            }
            self.publisher.flush()?;
            let may_wait = pace.window() - pace.batch();
            self.swarm.at_least(self.sent.saturating_sub(may_wait).max(before) * sockets)?;
        }
        self.swarm.exactly(self.sent * sockets)?;
        let elapsed = started.elapsed();
        self.swarm.verify(0, |_| self.sent)?;
        Ok((elapsed, used_by(&Usage::of(&parts)?.since(&usage), "gateway")))
    }
}

/// Messages of a stream of their own to a room that all of `swarm` is in, the next when each member has the last;
/// `before` deliveries have come already. Returns how many more have.
///
/// # Errors
/// A wrong delivery.
pub(crate) fn one_by_one(
    publisher: &mut Publisher,
    subject: &str,
    swarm: &Swarm,
    stream: u8,
    messages: u64,
    before: u64,
) -> anyhow::Result<u64> {
    let members = swarm.len() as u64;
    for number in 1..=messages {
        publisher.publish(subject, &token::payload(stream, number, clock::micros(), 64))?;
        publisher.flush()?;
        swarm.at_least(before + number * members)?;
    }
    swarm.exactly(before + messages * members)?;
    swarm.verify(stream, |_| messages)?;
    Ok(messages * members)
}

fn opening(fleet: &Fleet, dialect: Dialect) -> Opening {
    let opening = fleet.opening(0, one_room(ROOM));
    let host = opening.server.to_string();
    match dialect {
        Dialect::Json => opening.greeting(Json { host, rooms: one_room(ROOM), first: 0 }),
        Dialect::Bare => opening.greeting(Bare { host, room: ROOM.to_owned() }),
        Dialect::Stomp => opening.greeting(Stomp { host, room: ROOM.to_owned() }),
        Dialect::SockJs => opening.greeting(SockJs { host, room: ROOM.to_owned(), stomp: false }),
        Dialect::StompSockJs => opening.greeting(SockJs { host, room: ROOM.to_owned(), stomp: true }),
    }
}
