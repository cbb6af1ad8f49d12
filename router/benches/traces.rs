//! What traces cost where they are off, and where they are on and a message is not sampled: a send's whole way through
//! the core, with its headers read as from the bus.
//!
//! `cargo bench -p holdfast-router --bench traces`. Medians of rounds of 200,000 sends; nothing asserted. A process cannot switch
//! spans off again, so "off" is measured first.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::time::Instant;

use async_nats::{HeaderMap, Message};
use holdfast_daemon::config::{Raw, Value};
use holdfast_daemon::logging::{self, LogFormat, LogLevel, LogSettings};
use holdfast_daemon::telemetry::{Share, TraceProtocol, TraceSettings};
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{RouterBeat, RouterBound, Snapshot, SnapshotEntry};
use holdfast_router::core::Router;
use holdfast_router::core::event::{Action, Event, Now, Request};
use holdfast_router::core::settings::Settings;
use holdfast_router::traces::{self, Continued};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: u32 = 4_096;
const SENDS: u32 = 200_000;
const SENDS_PER_TURN: u32 = 256;
const ROUNDS: usize = 15;

/// A router on a bus where its own beats come back and nothing else happens.
struct Rig {
    router: Router,
    ms: u64,
    actions: Vec<Action>,
}

impl Rig {
    fn now(&self) -> Now {
        Now { ms: self.ms, unix_ms: 1_700_000_000_000 + self.ms }
    }

    fn turn(&mut self) {
        let now = self.now();
        self.router.end_turn(now, usize::MAX, &mut self.actions);
        let mut beats = Vec::new();
        for action in self.actions.drain(..) {
            match action {
                Action::Beat(payload) => beats.extend(RouterBeat::decode(payload)),
                Action::Ping(node) => self.router.apply(now, Event::NodeAnswered(node)),
                _ => {}
            }
        }
        for beat in beats {
            self.router.apply(now, Event::RouterBeat(beat));
        }
    }

    fn tick(&mut self) {
        self.ms += 50;
        let now = self.now();
        self.router.apply(now, Event::Tick);
        self.turn();
    }

    /// Nanoseconds per send.
    fn round(&mut self, messages: &[Message]) -> f64 {
        let started = Instant::now();
        for n in 0..SENDS {
            let message = &messages[n as usize % messages.len()];
            let span = traces::begin(message, &message.subject);
            let headers = Continued::new(message.headers.as_ref(), span.as_ref());
            let request =
                Request { subject: &message.subject, reply: None, headers: &headers, payload: &message.payload };
            let now = self.now();
            self.router.apply(now, Event::Send(request));
            if n % SENDS_PER_TURN == 0 {
                self.turn();
            }
            if n % 10_000 == 0 {
                self.tick();
            }
        }
        self.turn();
        started.elapsed().as_secs_f64() * 1e9 / f64::from(SENDS)
    }

    fn measure(&mut self, what: &str, messages: &[Message]) -> f64 {
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| self.round(messages)).collect();
        rounds.sort_unstable_by(f64::total_cmp);
        let median = rounds[ROUNDS / 2];
        println!(
            "{what:<44} {median:>7.0} ns per send  (quartiles {:.0} to {:.0})",
            rounds[ROUNDS / 4],
            rounds[ROUNDS * 3 / 4]
        );
        median
    }
}

fn messages(parent: Option<&str>) -> Vec<Message> {
    let message = |n: u32| {
        let mut headers = HeaderMap::new();
        headers.insert("Hf-Type", "message.new");
        if let Some(parent) = parent {
            headers.insert("traceparent", parent);
        }
        let payload = &br#"{"from":"ana","text":"one small message, as they are","at":1700000000}"#[..];
        Message {
            subject: format!("hf.send.user.user-{n}").into(),
            reply: None,
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: payload.len(),
        }
    };
    (0..USERS).map(message).collect()
}

fn ready() -> Rig {
    let router = Router::new(NodeId::router([1; 8]), Settings::default());
    let mut rig = Rig { router, ms: 0, actions: Vec::new() };
    let now = rig.now();
    rig.router.apply(now, Event::BusUp { max_payload: 1 << 20 });
    rig.turn();
    let entries = (0..USERS).map(|n| SnapshotEntry::User(format!("user-{n}").as_str().into())).collect();
    let roster = Snapshot { node: NodeId::gateway([2; 8]), seq: 1, part: 0, last: true, entries };
    rig.router.apply(now, Event::Told(RouterBound::Snapshot(roster)));
    (0..20).for_each(|_| rig.tick());
    assert!(rig.router.is_live(), "a router with whole rosters is live");
    rig
}

fn main() {
    let mut rig = ready();
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let (plain, with_parent) = (messages(None), messages(Some(unsampled)));
    // The first rounds are slower whatever they measure.
    rig.measure("warming up", &plain);

    let off = rig.measure("off", &plain);
    let off_with_parent = rig.measure("off, the sender does not sample", &with_parent);

    let number = |text: &str| Raw::Text(text.to_owned());
    let log = LogSettings {
        level: LogLevel::parse(&number("error")).expect("a level"),
        format: LogFormat::Json,
        lines_per_kind_max: 0,
    };
    let trace = TraceSettings {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        protocol: TraceProtocol::Http,
        sample: Share::parse(&number("0")).expect("a share"),
    };
    let telemetry = logging::init("bench", "bench", &log, &trace).expect("an exporter");
    let sampled_out = rig.measure("on, the ratio leaves it out", &plain);
    let parent_says_no = rig.measure("on, the sender does not sample", &with_parent);
    drop(telemetry);

    println!("left out by the ratio: {:+.1} %", (sampled_out / off - 1.0) * 100.0);
    println!("left out by its sender: {:+.1} %", (parent_says_no / off_with_parent - 1.0) * 100.0);
}
