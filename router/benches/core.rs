//! What the core costs without a bus: memory per user, time to take in whole rosters, time per send.
//!
//! `cargo bench -p holdfast-router`. One number per line, nothing asserted: budgets are in the design, machines differ.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

mod rig;

use std::time::{Duration, Instant};

use holdfast_router::core::event::Request;
use rig::Rig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: u8 = 50;
const USERS_PER_NODE: u32 = 18_000;
const SENDS: u32 = 1_000_000;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn main() {
    let mut rig = Rig::new();
    let before = resident_bytes();
    let mut spent = Duration::ZERO;
    for node in 0..NODES {
        let first = u32::from(node) * USERS_PER_NODE;
        let started = Instant::now();
        rig.roster(node + 1, first..first + USERS_PER_NODE);
        spent += started.elapsed();
    }
    let users = u64::from(NODES) * u64::from(USERS_PER_NODE);
    println!("users                     {users}");
    println!("bytes resident per user   {}", resident_bytes().saturating_sub(before) / users);
    println!("rosters whole after       {} ms of work", spent.as_millis());

    rig.until_live();
    send(&mut rig, "without receipt", None);
    send(&mut rig, "with receipt", Some("_INBOX.abcdefghijklmnopqrstuv.1234"));
}

fn send(rig: &mut Rig, what: &str, reply: Option<&str>) {
    let subjects: Vec<String> = (0..4_096_u32).map(|n| format!("hf.send.user.user-{}", n * 211)).collect();
    let headers: &[(&str, &str)] = &[("Hf-Type", "message.new")];
    let payload = br#"{"from":"ana","text":"one small message, as they are","at":1700000000}"#;
    let (packets, bytes) = (rig.packets, rig.bytes);
    let started = Instant::now();
    rig.sends(SENDS, |n, send| {
        let subject = &subjects[n as usize % subjects.len()];
        send(Request { subject, reply, headers: &headers, payload });
    });
    let per_second = f64::from(SENDS) / started.elapsed().as_secs_f64();
    println!(
        "sends/s {what:<17} {per_second:.0} ({} packets, {} MB)",
        rig.packets - packets,
        (rig.bytes - bytes) >> 20
    );
}
