//! What the core costs without a bus: memory per user, time to take in whole rosters, time per send.
//!
//! `cargo bench -p holdfast-router`. One number per line, nothing asserted: budgets are in the design, machines differ.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::time::Instant;

use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{RouterBeat, RouterBound, Snapshot, SnapshotEntry};
use holdfast_router::core::Router;
use holdfast_router::core::event::{Action, Event, Now, Request};
use holdfast_router::core::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: u8 = 50;
const USERS_PER_NODE: u32 = 18_000;
const SENDS: u32 = 1_000_000;
const SENDS_PER_TURN: u32 = 256;

/// A router on a bus where its own beats come back and nothing else happens.
struct Rig {
    router: Router,
    ms: u64,
    actions: Vec<Action>,
    packets: u64,
    bytes: usize,
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
                Action::ToNode(_, payload) => {
                    self.packets += 1;
                    self.bytes += payload.len();
                }
                Action::Beat(payload) => beats.extend(RouterBeat::decode(payload)),
                Action::Ping(node) => self.router.apply(now, Event::NodeAnswered(node)),
                Action::Discover(_)
                | Action::Answer { .. }
                | Action::LookAtStream
                | Action::ReadKept { .. }
                | Action::Publish { .. }
                | Action::Fact { .. }
                | Action::OpenWork
                | Action::CloseWork
                | Action::Left => {}
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
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn snapshot(node: u8) -> Snapshot {
    let user = |n| SnapshotEntry::User(format!("user-{}", u32::from(node) * USERS_PER_NODE + n).as_str().into());
    let entries = (0..USERS_PER_NODE).map(user).collect();
    Snapshot { node: NodeId::gateway([node + 1; 8]), seq: 1, part: 0, last: true, entries }
}

fn main() {
    let router = Router::new(NodeId::router([1; 8]), Settings::default());
    let mut rig = Rig { router, ms: 0, actions: Vec::new(), packets: 0, bytes: 0 };
    let now = rig.now();
    rig.router.apply(now, Event::BusUp { max_payload: 1 << 20 });
    rig.turn();

    let before = resident_bytes();
    let mut spent = std::time::Duration::ZERO;
    for node in 0..NODES {
        let message = RouterBound::Snapshot(snapshot(node));
        let started = Instant::now();
        let now = rig.now();
        rig.router.apply(now, Event::Told(message));
        rig.turn();
        spent += started.elapsed();
    }
    let users = u64::from(NODES) * u64::from(USERS_PER_NODE);
    println!("users                     {users}");
    println!("bytes resident per user   {}", resident_bytes().saturating_sub(before) / users);
    println!("rosters whole after       {} ms of work", spent.as_millis());

    (0..20).for_each(|_| rig.tick());
    assert!(rig.router.is_live(), "a router with whole rosters is live");
    send(&mut rig, "without receipt", None);
    send(&mut rig, "with receipt", Some("_INBOX.abcdefghijklmnopqrstuv.1234"));
}

fn send(rig: &mut Rig, what: &str, reply: Option<&str>) {
    let subjects: Vec<String> = (0..4_096_u32).map(|n| format!("hf.send.user.user-{}", n * 211)).collect();
    let headers: &[(&str, &str)] = &[("Hf-Type", "message.new")];
    let payload = br#"{"from":"ana","text":"one small message, as they are","at":1700000000}"#;
    let (packets, bytes) = (rig.packets, rig.bytes);
    let started = Instant::now();
    for n in 0..SENDS {
        let subject = &subjects[n as usize % subjects.len()];
        let now = rig.now();
        rig.router.apply(now, Event::Send(Request { subject, reply, headers: &headers, payload }));
        if n % SENDS_PER_TURN == 0 {
            rig.turn();
        }
        if n % 10_000 == 0 {
            rig.tick();
        }
    }
    rig.turn();
    let per_second = f64::from(SENDS) / started.elapsed().as_secs_f64();
    println!(
        "sends/s {what:<17} {per_second:.0} ({} packets, {} MB)",
        rig.packets - packets,
        (rig.bytes - bytes) >> 20
    );
}
