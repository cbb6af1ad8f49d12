//! A part of the clients in a process of its own, since one process may hold fewer sockets than one machine can: takes
//! orders as lines of JSON and answers each with one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::load::greet::{Json, Rooms};
use crate::load::swarm::histogram;
use crate::load::{Opening, Swarm};

/// What a worker is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Open these connections, of the users with the numbers from `first` on.
    Open { server: SocketAddr, first: usize, count: usize, openers: usize, source: usize, rooms: Vec<Layer> },
    /// Wait until there have been so many deliveries, and measure latency anew from then on.
    Expect { deliveries: u64 },
}

/// One size of rooms: the first `users` users are spread over rooms of `size`, whose messages are one stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub(crate) size: usize,
    pub(crate) users: usize,
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Report {
    /// They are open.
    Open,
    /// So many deliveries in all, and the latencies of those since the last report: value and count.
    Seen { deliveries: u64, latency: Vec<(u64, u64)> },
    /// It went wrong.
    Failed(String),
}

impl Layer {
    /// The room that this user is in.
    pub(crate) fn room(&self, user: usize) -> Option<String> {
        (user < self.users).then(|| format!("size-{}/{}", self.size, user / self.size))
    }
}

/// A worker, as its master sees it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    orders: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one.
    ///
    /// # Errors
    /// The program cannot be started again.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a worker")?;
        let orders = child.stdin.take().context("a worker has no input")?;
        let reports = BufReader::new(child.stdout.take().context("a worker has no output")?);
        Ok(Self { child, orders, reports })
    }

    /// Gives an order; [`Self::report`] has the answer.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?).context("a worker is gone")
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// It is gone, or failed.
    pub(crate) fn report(&mut self) -> anyhow::Result<Report> {
        let mut line = String::new();
        ensure!(self.reports.read_line(&mut line)? > 0, "a worker is gone");
        match serde_json::from_str(&line)? {
            Report::Failed(why) => bail!("a worker: {why}"),
            report => Ok(report),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended already where this fails.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The worker itself: carries out orders until there are no more.
///
/// # Errors
/// Its master is gone.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut swarm = Swarm::new(1)?;
    for line in std::io::stdin().lines() {
        let report = match carry_out(serde_json::from_str(&line?)?, &mut swarm) {
            Ok(report) => report,
            Err(error) => Report::Failed(format!("{error:#}")),
        };
        let mut out = std::io::stdout();
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        out.flush()?;
    }
    Ok(())
}

fn carry_out(order: Order, swarm: &mut Swarm) -> anyhow::Result<Report> {
    match order {
        Order::Open { server, first, count, openers, source, rooms } => {
            let rooms: Rooms = Box::new(move |user| rooms.iter().filter_map(|layer| layer.room(user)).collect());
            let greeting = std::sync::Arc::new(Json { host: server.to_string(), rooms, first });
            let opening = Opening { server, tls: None, greeting, source };
            opening.open_all(0..count, openers, swarm, 64)?;
            swarm.time(true);
            Ok(Report::Open)
        }
        Order::Expect { deliveries } => {
            swarm.exactly(deliveries)?;
            let seen = swarm.latency();
            swarm.time(true);
            let latency =
                seen.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect();
            Ok(Report::Seen { deliveries, latency })
        }
    }
}

/// Adds a worker's latencies to all.
///
/// # Errors
/// A value is out of bounds.
pub(crate) fn add(all: &mut Histogram<u64>, latency: &[(u64, u64)]) -> anyhow::Result<()> {
    for (value, count) in latency {
        all.record_n(*value, *count)?;
    }
    Ok(())
}

/// None yet.
pub(crate) fn latencies() -> Histogram<u64> {
    histogram()
}
