//! What a connection costs to open: TCP, TLS, upgrade, token, welcome, beside a thread that only accepts and completes
//! TLS. In full, and resumed from a ticket.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, ServerConfig};

use super::route::millis;
use super::{micros_each, per_second, percent};
use crate::cores;
use crate::floor::accept;
use crate::load::greet::no_rooms;
use crate::load::{Opened, Opening};
use crate::report::Sheet;
use crate::system::{Fleet, Shape, Usage, used_by};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct HandshakeArgs {
    /// Connections opened in each case and round.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) connections: usize,
    /// At once.
    #[arg(long, default_value_t = 64)]
    pub(crate) openers: usize,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

struct Tls {
    client: Arc<ClientConfig>,
    /// The floor's two sides: a ticket is good for the server alone that gave it.
    floor: (Arc<ServerConfig>, Arc<ClientConfig>),
    resumed: bool,
}

/// Runs plain, full and resumed.
///
/// # Errors
/// A connection was refused, or was not resumed where it should.
pub(crate) async fn run(args: &HandshakeArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    cores::bind_thread(cores::LOAD)?;
    for tls in [false, true] {
        let fleet = Fleet::start(&Shape { tls, bound: true, ..Shape::default() }).await?;
        for _ in 0..args.rounds {
            if !tls {
                case(args, "plain", None, &fleet, sheet).await?;
                continue;
            }
            let certificate = fleet.cluster.certificate();
            let mut full = (*certificate.client(rustls::DEFAULT_VERSIONS)).clone();
            full.resumption = Resumption::disabled();
            let full = Arc::new(full);
            let floor = (certificate.server()?, Arc::clone(&full));
            case(args, "TLS, full", Some(&Tls { client: full, floor, resumed: false }), &fleet, sheet).await?;
            let client = || certificate.client(rustls::DEFAULT_VERSIONS);
            let resumed = Tls { client: client(), floor: (certificate.server()?, client()), resumed: true };
            case(args, "TLS, resumed", Some(&resumed), &fleet, sheet).await?;
        }
    }
    Ok(())
}

async fn case(
    args: &HandshakeArgs,
    case: &str,
    tls: Option<&Tls>,
    fleet: &Fleet,
    sheet: &mut Sheet,
) -> anyhow::Result<()> {
    let count = args.connections as u64;
    let client = tls.map(|tls| Arc::clone(&tls.client));
    let opening = Opening { tls: client, ..fleet.opening(0, no_rooms()) };
    // The first bring the tickets, and a client keeps eight: so few at once that there is one for each of the next.
    let openers = if tls.is_some_and(|tls| tls.resumed) { args.openers.min(4) } else { args.openers };
    drop(opening.open_many(0..openers, 1)?);
    fleet.connections(0).await;
    let parts = fleet.parts();
    let before = Usage::of(&parts)?;
    let started = Instant::now();
    let (opened, took) = opening.open_many(0..args.connections, openers)?;
    let elapsed = started.elapsed();
    let used = Usage::of(&parts)?.since(&before);
    fleet.connections(args.connections).await;
    check(&opened, tls)?;
    drop(opened);
    fleet.connections(0).await;
    let bare = accept::run(args.connections, openers, tls.map(|tls| tls.floor.clone()))?;
    let (gateway, floor) = (micros_each(used_by(&used, "gateway"), count), micros_each(bare.cpu, count));
    sheet.add(case, "handshakes", "/s", per_second(count, elapsed));
    sheet.add(case, "gateway CPU per handshake", "µs", gateway);
    sheet.add(case, "CPU per handshake, bare accept", "µs", floor);
    sheet.add(case, "rate per CPU of the bare accept", "%", percent(floor, gateway));
    sheet.add(case, "router CPU per handshake", "µs", micros_each(used_by(&used, "router"), count));
    sheet.add(case, "NATS CPU per handshake", "µs", micros_each(used_by(&used, "nats"), count));
    sheet.add(case, "until the welcome, p50", "ms", millis(took.value_at_quantile(0.5)));
    sheet.add(case, "until the welcome, p99", "ms", millis(took.value_at_quantile(0.99)));
    Ok(())
}

/// Whether each handshake was of the kind that was meant.
fn check(opened: &[Opened], tls: Option<&Tls>) -> anyhow::Result<()> {
    let Some(tls) = tls else { return Ok(()) };
    let kind = |opened: &Opened| opened.tls.as_ref().and_then(|tls| tls.handshake_kind());
    let resumed = opened.iter().filter(|opened| kind(opened) == Some(HandshakeKind::Resumed)).count();
    let right = if tls.resumed { resumed * 100 >= opened.len() * 95 } else { resumed == 0 };
    ensure!(right, "{resumed} of {} handshakes were resumed", opened.len());
    Ok(())
}
