//! Arguments shared by all commands, and the list of commands. Each command's own arguments stand beside its code.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use holdfast_protocol::limits::{QUERY_MEMBERS_DEFAULT, QUERY_MEMBERS_MAX};

use crate::{admin, connect, ctl, demo_service, doctor, query, send, token, watch};

const AFTER_HELP: &str = "\
Examples:
  holdfast send user ana '{\"hi\":1}'              to each device of a user
  holdfast send room chat/5 --type news -        the payload from standard input
  holdfast send room chat/5 --keep 'stored too'  kept: clients that were away get it when they return
  holdfast doctor                                is everything there that Holdfast needs?
  holdfast query user ana                        where is she connected?
  holdfast ctl user ana disconnect --reason bye  end her connections
  holdfast watch --what user                     who comes and goes
  holdfast token --user ana --secret \"$SECRET\"   a development token
  holdfast connect ws://127.0.0.1:8080/ws/chat --token \"$TOKEN\"

Exit status:
  0  done
  1  failed; standard error says why
  2  the command line makes no sense
  3  nobody is there (offline user, empty room, unknown connection)
  4  no responders: no router listens on this bus and prefix
  5  no answer in time";

/// Talks to a Holdfast fleet over its NATS bus, or to one gateway as a client.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print JSON: one document, or one per line where there are many.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) bus: BusOptions,
}

/// Options of what comes by page.
#[derive(Debug, Args)]
pub(crate) struct Paging {
    /// At most so many per page.
    #[arg(long, default_value_t = QUERY_MEMBERS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(QUERY_MEMBERS_MAX)))]
    pub(crate) limit: u32,
    /// Go on behind this: the `next` of the page before.
    #[arg(long, value_name = "NEXT")]
    pub(crate) after: Option<String>,
    /// All pages; with --json one entry per line.
    #[arg(long, conflicts_with = "after")]
    pub(crate) every: bool,
}

/// How to reach the bus.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bus")]
pub(crate) struct BusOptions {
    /// NATS servers, separated by commas.
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_BUS__SERVERS",
        default_value = "nats://127.0.0.1:4222",
        value_name = "URLS"
    )]
    pub(crate) server: String,
    /// First token or tokens of every subject of the fleet.
    #[arg(long, global = true, env = "HOLDFAST_BUS__PREFIX", default_value = "hf", value_parser = parse_prefix)]
    pub(crate) prefix: String,
    /// NATS credentials file (JWT and nkey seed).
    #[arg(long, global = true, env = "HOLDFAST_BUS__CREDENTIALS", value_name = "FILE")]
    pub(crate) creds: Option<PathBuf>,
    /// File with the seed of an NKEY.
    #[arg(long, global = true, env = "HOLDFAST_BUS__NKEY", value_name = "FILE")]
    pub(crate) nkey: Option<PathBuf>,
    /// NATS token, where the server wants one. Not a client's token: that is `connect --token`.
    #[arg(long, global = true, env = "HOLDFAST_BUS__TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) bus_token: Option<String>,
    /// NATS user name, with --bus-password.
    #[arg(long, global = true, env = "HOLDFAST_BUS__USER", value_name = "NAME")]
    pub(crate) bus_user: Option<String>,
    /// The user's password.
    #[arg(long, global = true, env = "HOLDFAST_BUS__PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub(crate) bus_password: Option<String>,
    /// PEM file of authorities to trust for TLS with NATS.
    #[arg(long, global = true, env = "HOLDFAST_BUS__TLS__AUTHORITIES", value_name = "FILE")]
    pub(crate) bus_ca: Option<PathBuf>,
    /// PEM file with our certificate chain for TLS with NATS, with --bus-key.
    #[arg(long, global = true, env = "HOLDFAST_BUS__TLS__CERTIFICATE", value_name = "FILE")]
    pub(crate) bus_certificate: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, global = true, env = "HOLDFAST_BUS__TLS__KEY", value_name = "FILE")]
    pub(crate) bus_key: Option<PathBuf>,
    /// What subjects for answers begin with, where permissions ask for one.
    #[arg(long, global = true, env = "HOLDFAST_BUS__INBOX_PREFIX", default_value = "_INBOX", value_parser = parse_prefix, hide = true)]
    pub(crate) inbox_prefix: String,
    /// How long to wait for the bus, and for an answer beyond what the message itself asks for.
    #[arg(long, global = true, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) wait: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send one message to clients and print the receipt.
    Send(send::SendArgs),
    /// Command the gateways: join, leave, disconnect, expire, pause, resume; drain, uncordon, shed a node.
    Ctl(ctl::CtlArgs),
    /// Ask who is connected, who is in a room, and how the fleet is.
    Query(query::QueryArgs),
    /// Print facts as they happen: who came, who went, which room filled or emptied.
    Watch(watch::WatchArgs),
    /// Be a client: an interactive session with a gateway in dialect json.
    Connect(connect::ConnectArgs),
    /// Look at connection, NATS, permissions, stream, clock and fleet, and say what to do about what is missing.
    Doctor(doctor::DoctorArgs),
    /// Ask one gateway or router by its admin listener: connections by address, orders, threads and memory.
    Admin(admin::AdminArgs),
    /// Make a token for development and tests.
    Token(token::TokenArgs),
    /// The domain service behind the demo page: an example of what a service of yours does.
    #[command(hide = true)]
    DemoService(demo_service::DemoArgs),
}

/// `500ms`, `2s`, `1m`, `1h`: a whole number and a unit, as everywhere in Holdfast.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let number: u64 = number.parse().map_err(|_| "not a duration such as 500ms, 2s, 1m".to_owned())?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err("the unit is ms, s, m or h".to_owned()),
    };
    ms.map(Duration::from_millis).ok_or_else(|| "too long".to_owned())
}

/// Plain tokens joined by dots: what the services accept as well.
fn parse_prefix(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.split('.').all(|token| !token.is_empty() && token.bytes().all(plain)) {
        Ok(text.to_owned())
    } else {
        Err("plain tokens (letters, digits, _ and -) joined by dots".to_owned())
    }
}

/// A key as the contract allows it: 1–200 bytes.
pub(crate) fn parse_key(text: &str) -> Result<String, String> {
    holdfast_protocol::token::check_key(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "99999999999999999h", "5d", "한"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_plain_tokens() {
        assert!(parse_prefix("hf").is_ok());
        assert!(parse_prefix("acme.hf-2").is_ok());
        for text in ["", ".", "hf.", "hf.*", "hf >", "a..b"] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
    }
}
