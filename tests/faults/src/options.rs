//! What a run is to be like.

use std::path::PathBuf;

use clap::Parser;

use crate::faults::Kind;

/// Runs a fleet of real processes under faults and load, and checks everything that its clients saw.
///
/// Prints its seed; the same seed gives the same schedule and the same load, while timing stays the machine's.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask test faults --", max_term_width = 110)]
pub struct Options {
    /// The seed; from the clock unless said.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long faults are inflicted.
    #[arg(long, default_value_t = 0.6)]
    pub minutes: f64,
    /// Connections of clients.
    #[arg(long, default_value_t = 1500)]
    pub clients: u32,
    /// Messages published per second, of all kinds.
    #[arg(long, default_value_t = 80)]
    pub rate: u32,
    /// Servers of the NATS cluster: 1 or 3.
    #[arg(long, default_value_t = 3)]
    pub nats: usize,
    /// Gateways.
    #[arg(long, default_value_t = 3)]
    pub gateways: usize,
    /// Routers.
    #[arg(long, default_value_t = 2)]
    pub routers: usize,
    /// Only these faults.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// Restart everything once, in order, in place of faults: gateways, routers, NATS servers.
    #[arg(long)]
    pub rolling: bool,
    /// No faults: load and churn, memory sampled, the roster compared with the truth.
    #[arg(long)]
    pub steady: bool,
    /// A folder for what each process said; `cargo xtask` names one in `target`, which this one then replaces.
    #[arg(long, overrides_with = "logs")]
    pub logs: Option<PathBuf>,
    /// Run nothing: write the page of figures from what is recorded in the folder.
    #[arg(long, requires = "record")]
    pub write: bool,
    /// A folder for the figures as JSON, one file for each way to run; the page beside it is written anew from all of them.
    #[arg(long)]
    pub record: Option<PathBuf>,
}

impl Options {
    /// The way to run.
    pub const fn mode(&self) -> &'static str {
        if self.rolling {
            "rolling"
        } else if self.steady {
            "steady"
        } else {
            "faults"
        }
    }

    /// The command that does this again.
    pub fn command(&self, seed: u64) -> String {
        let mut command = format!(
            "cargo xtask test faults -- --seed {seed} --clients {} --rate {} --nats {} --gateways {} --routers {}",
            self.clients, self.rate, self.nats, self.gateways, self.routers
        );
        match self.mode() {
            "rolling" => command.push_str(" --rolling"),
            mode => {
                command.push_str(&format!(" --minutes {}", self.minutes));
                if mode == "steady" {
                    command.push_str(" --steady");
                }
            }
        }
        if !self.only.is_empty() {
            let only: Vec<_> = self.only.iter().map(|kind| kind.name()).collect();
            command.push_str(&format!(" --only {}", only.join(",")));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_logs_replaces_the_one_that_was_named_before() {
        let options = Options::try_parse_from(["faults", "--logs", "target", "--logs", "mine"]).unwrap();
        assert_eq!(options.logs.as_deref(), Some(std::path::Path::new("mine")));
    }
}
