//! The page of figures: written anew from the JSON of recorded runs, so that no number is typed by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::check::Percentiles;
use crate::fleet::DRAIN_WINDOW_S;
use crate::report::Outcome;

const HEAD: &str = "\
# Reliability

<!-- Written by `cargo xtask test faults -- --record docs/reliability` from the JSON beside it; do not edit. -->

What the guarantees in [bus.md](bus.md#guarantees) cost and look like on real processes: nats-servers, routers and gateways,
thousands of clients that behave as clients should, and publishers whose every message is known. After each run a checker
goes through all that every client saw: no kept message missing, none twice, order kept; `recovered:false` only where
retention ended; receipts true; live messages once, in order, lost only in a fault or told by a `gap`; who is there, asked at
rest, equal to the truth. Then defects are planted in the recorded history, one of each kind, and each must be found.

`cargo xtask test faults` runs a short part; `-- --help` lists what else there is. Times are measured, never asserted.
";

const MODES: &[(&str, &str, &str)] = &[
    (
        "rolling",
        "Rolling restart",
        "All gateways, then all routers, then all NATS servers, one after the other, under load.",
    ),
    ("faults", "Faults", "A seeded schedule of faults under load."),
    ("steady", "Long run", "Load and churn without faults: does memory grow, does the roster drift?"),
];

/// Records one run, and writes the page of all.
///
/// # Errors
/// A file cannot be read or written.
pub fn record(folder: &Path, mode: &str, outcome: &Outcome) -> Result<()> {
    fs::create_dir_all(folder).context("make the folder of recorded runs")?;
    let text = serde_json::to_string_pretty(outcome)? + "\n";
    fs::write(folder.join(format!("{mode}.json")), text).context("write the figures")?;
    write(folder)
}

/// Writes the page beside the folder, from what is recorded there.
///
/// # Errors
/// A file cannot be read or written.
pub fn write(folder: &Path) -> Result<()> {
    let mut page = HEAD.to_owned();
    for (mode, title, what) in MODES {
        let file = folder.join(format!("{mode}.json"));
        if let Ok(text) = fs::read_to_string(&file) {
            let outcome = serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?;
            section(&mut page, (mode, title, what), &outcome)?;
        }
    }
    fs::write(folder.with_extension("md"), page).context("write the page")
}

fn section(page: &mut String, (mode, title, what): (&str, &str, &str), outcome: &Outcome) -> Result<()> {
    let figures = &outcome.figures;
    let [nats, routers, gateways] = outcome.fleet;
    writeln!(page, "\n## {title}\n\n{what}\n\n```sh\n{}\n```\n", outcome.command)?;
    writeln!(page, "{}.\n", outcome.machine)?;
    writeln!(page, "| | |\n|---|---|")?;
    let mut row = |name: &str, value: String| writeln!(page, "| {name} | {value} |");
    row("fleet", format!("{nats} NATS servers, {routers} routers, {gateways} gateways, {} clients", outcome.clients))?;
    row(
        "load",
        format!("{} s; {} messages published per second, half of them kept", outcome.load_seconds, outcome.rate),
    )?;
    if !outcome.faults.is_empty() {
        let faults: Vec<_> = outcome.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        row("faults", faults.join(", "))?;
    }
    let broken: usize = outcome.broken.values().sum();
    row("promises broken", if broken == 0 { "none".to_owned() } else { format!("{:?}", outcome.broken) })?;
    row("planted defects found", format!("{} of {}", outcome.planted.0, outcome.planted.1))?;
    row("kept messages", format!("{} stored, {} deliveries", figures.kept_stored, figures.kept_seen))?;
    let resumed = format!("{} with all they had missed, {} not", figures.resumed, figures.not_recovered);
    row("resumed", resumed)?;
    row("live messages", format!("{} published, {} deliveries", figures.live_published, figures.live_seen))?;
    let lost = format!("{} told by `gap`, {} not", figures.live_lost_told, figures.live_lost_in_faults);
    row("live deliveries lost in faults", lost)?;
    row("receipts", format!("{}; {} sends without an answer in a fault", figures.receipts, figures.unanswered))?;
    let refused = format!("{}, of which {} answered with an error", figures.upstream_sent, figures.upstream_refused);
    row("sends upstream", refused)?;
    let mut reconnects = figures.welcomes_per_second_max.to_string();
    if mode == "rolling" {
        let gateway = f64::from(outcome.clients) / gateways.max(1) as f64;
        let budget = gateway / DRAIN_WINDOW_S;
        write!(
            reconnects,
            "; a gateway's {gateway:.0} clients over a drain window of {DRAIN_WINDOW_S} s are {budget:.0}"
        )?;
    }
    row("reconnects in one second, at most", reconnects)?;
    row("gap a client sees, from the end of a connection to the last `ok` on the next", times(&figures.client_gap))?;
    for (name, figure) in &outcome.measured {
        row(name, times(figure))?;
    }
    if outcome.roster_compared.0 > 0 {
        let (count, off) = outcome.roster_compared;
        row("roster compared with the truth", format!("{count} times, off by {off} connections at most"))?;
    }
    if outcome.busy_ms > 0 {
        let seconds = outcome.busy_ms / 1000;
        row(
            "the machine stood still, busy with other work",
            format!("{seconds} s; what was lost then counts as lost in a fault"),
        )?;
    }
    if !outcome.memory.is_empty() {
        writeln!(page, "\n| process | resident KiB at first | at last | most | slope of the second half, KiB/h |")?;
        writeln!(page, "|---|---|---|---|---|")?;
        for (name, growth) in &outcome.memory {
            let (first, last, most) = (growth.first_kib, growth.last_kib, growth.most_kib);
            writeln!(page, "| {name} | {first} | {last} | {most} | {} |", growth.slope_kib_per_hour)?;
        }
    }
    Ok(())
}

fn times(figure: &Percentiles) -> String {
    if figure.count == 0 {
        return "none".to_owned();
    }
    let Percentiles { count, p50_ms, p99_ms, max_ms } = figure;
    format!("p50 {p50_ms} ms, p99 {p99_ms} ms, longest {max_ms} ms, of {count}")
}
