//! From clients to a domain service: sends, faster than they can be taken, and requests, the next when the last is
//! answered. The floor is NATS alone.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use holdfast_protocol::subject::Subjects;

use super::route::{Way, millis};
use super::{micros_each, per_second};
use crate::bus::{Subscriber, responder};
use crate::clock;
use crate::load::greet::no_rooms;
use crate::load::{Opening, Swarm, token, ws};
use crate::report::Sheet;
use crate::system::{Fleet, Shape, Usage};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpstreamArgs {
    /// Clients that send; the subscriber tells so many apart.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) clients: u8,
    /// Messages, and a tenth as many requests.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) messages: u64,
    /// Messages of one client in one write.
    #[arg(long, default_value_t = 20)]
    pub(crate) batch: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 64)]
    pub(crate) bytes: usize,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

/// Sends on their way at most, of all clients.
const WINDOW: u64 = 4_000;

/// Clients, what they write to, and what was written.
struct Clients {
    swarm: Swarm,
    sockets: Vec<TcpStream>,
    sent: Vec<u64>,
    asked: u64,
}

/// Runs both.
///
/// # Errors
/// A wrong delivery.
pub(crate) async fn run(args: &UpstreamArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    let fleet = Fleet::start(&Shape::default()).await?;
    let bus = fleet.cluster.nats().address();
    let listen = |subject: fn(usize) -> String| -> anyhow::Result<Swarm> {
        let greeting = Subscriber { subject };
        let opening = Opening { server: bus, tls: None, greeting: Arc::new(greeting), source: 0 };
        let mut swarm = Swarm::new(1)?;
        opening.open_all(0..1, 1, &mut swarm, args.bytes)?;
        Ok(swarm)
    };
    let service = listen(|_| Subjects::new("hf").up("bench", ["sent"]))?;
    let mut floor = Way::new(listen(|_| "bench.floor".to_owned())?, fleet.publisher()?, vec!["bench.floor".to_owned()]);
    let _responder = responder(bus, &Subjects::new("hf").req("bench", ["asked"]))?;
    let opening = fleet.opening(0, no_rooms());
    let mut clients =
        Clients { swarm: Swarm::new(1)?, sockets: Vec::new(), sent: vec![0; usize::from(args.clients)], asked: 0 };
    for number in 0..usize::from(args.clients) {
        let opened = opening.open(number)?;
        clients.sockets.push(opened.tcp.try_clone()?);
        clients.swarm.add(opened, args.bytes)?;
    }
    let parts = fleet.parts();
    for _ in 0..args.rounds {
        let before = Usage::of(&parts)?;
        let took = clients.send(args, &service)?;
        let used = Usage::of(&parts)?.since(&before);
        sheet.add("send", "messages", "/s", per_second(args.messages, took));
        for (name, cpu) in used {
            sheet.add("send", &format!("CPU per message, {name}"), "µs", micros_each(cpu, args.messages));
        }
        let bare = floor.saturate(args.messages, 100, WINDOW, args.bytes)?;
        sheet.add("send", "messages, NATS alone", "/s", per_second(args.messages, bare));
        let requests = args.messages / 10;
        let before = Usage::of(&parts)?;
        clients.swarm.time(true);
        let took = clients.request(args, requests)?;
        let (used, latency) = (Usage::of(&parts)?.since(&before), clients.swarm.latency());
        clients.swarm.time(false);
        sheet.add("request", "requests", "/s", per_second(requests, took));
        for (name, cpu) in used {
            sheet.add("request", &format!("CPU per request, {name}"), "µs", micros_each(cpu, requests));
        }
        sheet.add("request", "until the reply, p50", "ms", millis(latency.value_at_quantile(0.5)));
        sheet.add("request", "until the reply, p99", "ms", millis(latency.value_at_quantile(0.99)));
    }
    Ok(())
}

impl Clients {
    /// Each client in turn writes a batch; the service must get each client's in order.
    fn send(&mut self, args: &UpstreamArgs, service: &Swarm) -> anyhow::Result<Duration> {
        let before: u64 = self.sent.iter().sum();
        let mut total = before;
        let started = Instant::now();
        while total - before < args.messages {
            for (client, (socket, sent)) in self.sockets.iter_mut().zip(&mut self.sent).enumerate() {
                let mut batch = Vec::new();
                for _ in 0..args.batch.min(args.messages - (total - before)) {
                    *sent += 1;
                    total += 1;
                    let payload = token::payload(u8::try_from(client)?, *sent, clock::micros(), args.bytes);
                    batch.extend(message("send", "sent", "", &payload));
                }
                write(socket, &batch)?;
            }
            service.at_least(total.saturating_sub(WINDOW))?;
        }
        service.exactly(total)?;
        for (stream, sent) in self.sent.iter().enumerate() {
            service.verify(u8::try_from(stream)?, |_| *sent)?;
        }
        Ok(started.elapsed())
    }

    /// All clients ask at once, and ask again when all are answered.
    fn request(&mut self, args: &UpstreamArgs, requests: u64) -> anyhow::Result<Duration> {
        let clients = self.sockets.len() as u64;
        let end = self.asked + requests / clients;
        let started = Instant::now();
        while self.asked < end {
            self.asked += 1;
            let payload = token::payload(0, self.asked, clock::micros(), args.bytes);
            let frame = message("request", "asked", &format!("\"id\":{},", self.asked), &payload);
            for socket in &mut self.sockets {
                write(socket, &frame)?;
            }
            self.swarm.exactly(self.asked * clients)?;
        }
        self.swarm.verify(0, |_| end)?;
        Ok(started.elapsed())
    }
}

fn message(kind: &str, to: &str, id: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("{{\"type\":\"{kind}\",{id}\"to\":\"{to}\",\"data\":");
    ws::text(&[head.as_bytes(), payload, b"}"].concat())
}

/// The socket does not block, since its other half is read that way.
fn write(socket: &mut TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error).context("a client cannot write"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_json() {
        let frame = message("send", "sent", "\"id\":1,", &token::payload(0, 1, 2, 64));
        let text = frame.get(6..).unwrap();
        let value: serde_json::Value = serde_json::from_slice(text).unwrap();
        assert_eq!((value["type"].as_str(), value["id"].as_u64()), (Some("send"), Some(1)));
    }
}
