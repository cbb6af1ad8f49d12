//! What traces cost where they are off, and where they are on and a message is not sampled: a send's whole way through
//! the core, with its headers read as from the bus.
//!
//! `cargo bench -p holdfast-router --bench traces`. Medians of rounds of 200,000 sends; nothing asserted. A process cannot switch
//! spans off again, so "off" is measured first.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

mod rig;

use std::time::Instant;

use async_nats::{HeaderMap, Message};
use holdfast_daemon::config::{Raw, Value};
use holdfast_daemon::logging::{self, LogFormat, LogLevel, LogSettings};
use holdfast_daemon::telemetry::{Share, TraceProtocol, TraceSettings};
use holdfast_router::core::event::Request;
use holdfast_router::traces::{self, Continued};
use rig::Rig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: u32 = 4_096;
const SENDS: u32 = 200_000;
const ROUNDS: usize = 15;

/// Nanoseconds per send.
fn round(rig: &mut Rig, messages: &[Message]) -> f64 {
    let started = Instant::now();
    rig.sends(SENDS, |n, send| {
        let message = &messages[n as usize % messages.len()];
        let span = traces::begin(message, &message.subject);
        let headers = Continued::new(message.headers.as_ref(), span.as_ref());
        send(Request { subject: &message.subject, reply: None, headers: &headers, payload: &message.payload });
    });
    started.elapsed().as_secs_f64() * 1e9 / f64::from(SENDS)
}

fn measure(rig: &mut Rig, what: &str, messages: &[Message]) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(rig, messages)).collect();
    rounds.sort_unstable_by(f64::total_cmp);
    let median = rounds[ROUNDS / 2];
    println!(
        "{what:<44} {median:>7.0} ns per send  (quartiles {:.0} to {:.0})",
        rounds[ROUNDS / 4],
        rounds[ROUNDS * 3 / 4]
    );
    median
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

fn main() {
    let mut rig = Rig::new();
    rig.roster(2, 0..USERS);
    rig.until_live();
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let (plain, with_parent) = (messages(None), messages(Some(unsampled)));
    // The first rounds are slower whatever they measure.
    measure(&mut rig, "warming up", &plain);

    let off = measure(&mut rig, "off", &plain);
    let off_with_parent = measure(&mut rig, "off, the sender does not sample", &with_parent);

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
    let sampled_out = measure(&mut rig, "on, the ratio leaves it out", &plain);
    let parent_says_no = measure(&mut rig, "on, the sender does not sample", &with_parent);
    drop(telemetry);
    assert!(rig.packets > 0 && rig.bytes > 0, "the sends went somewhere");

    println!("left out by the ratio: {:+.1} %", (sampled_out / off - 1.0) * 100.0);
    println!("left out by its sender: {:+.1} %", (parent_says_no / off_with_parent - 1.0) * 100.0);
}
