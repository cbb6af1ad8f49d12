//! Every scenario, as small as it can be: that each still runs and that every delivery is right. No figure matters.

use std::future::Future;

use anyhow::{bail, ensure};
use clap::{Args, Parser as _};

use crate::load::token;
use crate::report::{Sheet, note};
use crate::{Cli, Scenario};

/// What is to be shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct SmokeArgs {
    /// That each scenario notices a wrong delivery: one is planted, and it must fail because of it.
    #[arg(long)]
    pub(crate) planted: bool,
}

/// As they are typed; every option that makes a scenario what it is appears once.
const RUNS: [&str; 15] = [
    "idle --from 50 --to 150 --only plain-room,tls --heartbeat-seconds 1",
    "fanout --sockets 1,20 --bytes 16,16384 --dialect json,bare,stomp,sockjs,stomp-sockjs --pace single,backlog --deliveries 400 --rounds 1",
    "fanout --sockets 10 --tls --pace double,burst --deliveries 2000 --rounds 1",
    "route --users 50 --messages 3000 --window 400 --seconds 1 --load 50 --rounds 1",
    "route --users 50 --messages 3000 --window 400 --seconds 1 --load 10 --rounds 1 --routers 2 --gateways 2",
    "upstream --clients 4 --messages 2000 --rounds 1",
    "handshake --connections 30 --openers 4 --rounds 1",
    "storm --clients 60 --nodes 2 --openers 8 --rounds 1",
    "transports --clients 3 --messages 10 --every-ms 20 --poll-ms 50 --idle-seconds 1 --rounds 1",
    "sessions --sessions 20 --messages 3 --every-ms 50 --rounds 1",
    "slow --readers 8 --slow 1 --rate 200 --bytes 32768 --seconds 3",
    "growth --sizes 20,40 --deliveries 400",
    "growth --sizes 20,40 --deliveries 400 --tls",
    "cluster --nodes 2 --connections 100 --rate 200 --seconds 1 --rooms 2,100",
    "cluster --nodes 3 --connections 20 --rate 100 --seconds 1 --rooms 2 --openers 1",
];

/// Runs them all, one after the other.
///
/// # Errors
/// The first that fails, by its name.
pub(crate) async fn run(args: &SmokeArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    token::plant(args.planted);
    for line in RUNS {
        // Nobody sends a message in these.
        if args.planted && (line.starts_with("idle") || line.starts_with("handshake")) {
            continue;
        }
        note(line);
        let cli = Cli::try_parse_from(std::iter::once("holdfast-bench").chain(line.split(' ')))?;
        let scenario: &Scenario = &cli.scenario;
        // A scenario that holds this one must have a size that is known.
        let running: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>> = Box::pin(scenario.run(sheet));
        match running.await {
            Ok(()) if args.planted => bail!("{line}: did not notice a wrong delivery"),
            Err(error) if args.planted => {
                let why = format!("{error:#}");
                ensure!(why.contains("wrong delivery"), "{line}: failed of something else: {why}");
                note(&format!("    noticed: {why}"));
            }
            other => other.map_err(|error| error.context(line))?,
        }
    }
    Ok(())
}
