//! `holdfast send`: one message to clients, its headers from options, its receipt on standard output.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use holdfast_protocol::limits::{CONFLATION_KEY_BYTES_MAX, EVENT_BYTES_MAX, MESSAGE_ID_BYTES_MAX};
use holdfast_protocol::receipt::Receipt;
use holdfast_protocol::subject::{Kind, Subjects, Target};
use holdfast_protocol::token;

use crate::args::{Global, parse_duration, parse_key};
use crate::bus::{Bus, Outgoing};
use crate::exit::{Exit, Failure, Outcome};
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  holdfast send user ana '{\"hi\":1}'
  holdfast send room chat/5 --type chat.message --except-user ana '{\"text\":\"hello\"}'
  holdfast send many 'user:ana, room:chat/5' 'each connection gets it once'
  holdfast send all --only role=admin --ttl 5s 'maintenance at noon'
  holdfast send room video/7 --key likes --type likes 1024     only the newest waits for slow clients
  holdfast send user ana --receipt acked --timeout 3s 'please confirm'
  jq -c . big.json | holdfast send room chat/5 -

The receipt says how many connections matched, and what became of each. Exit status 3: none exists.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SendArgs {
    #[command(subcommand)]
    pub(crate) to: To,
    #[command(flatten)]
    pub(crate) headers: Headers,
}

/// Whom to send to, and what.
#[derive(Debug, Subcommand)]
pub(crate) enum To {
    /// Each connection of a user.
    User {
        /// The user id, as it is (the encoding for subjects is done here).
        #[arg(value_parser = parse_key)]
        key: String,
        /// The message, or - for standard input.
        payload: String,
    },
    /// Each member of a room.
    Room {
        /// The room, as it is, e.g. chat/5.
        #[arg(value_parser = parse_key)]
        key: String,
        /// The message, or - for standard input.
        payload: String,
    },
    /// One connection.
    Connection {
        /// The connection's id.
        #[arg(value_parser = parse_key)]
        key: String,
        /// The message, or - for standard input.
        payload: String,
    },
    /// Every connection of the fleet.
    All {
        /// The message, or - for standard input.
        payload: String,
    },
    /// Several targets; a connection that several of them name gets the message once.
    Many {
        /// As in the header Hf-To: 'user:ana, room:chat/5'. A comma inside a key is written =2C.
        #[arg(value_name = "TARGETS")]
        targets: String,
        /// The message, or - for standard input.
        payload: String,
    },
}

/// One option for each header of the contract.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Message")]
pub(crate) struct Headers {
    /// Message id; made by the router if absent.
    #[arg(long, global = true, value_parser = limited::<MESSAGE_ID_BYTES_MAX>)]
    id: Option<String>,
    /// Event name shown to clients.
    #[arg(long = "type", global = true, value_name = "EVENT", value_parser = limited::<EVENT_BYTES_MAX>)]
    event: Option<String>,
    /// Media type; by default JSON if it parses, text if it is UTF-8, else binary.
    #[arg(long, global = true, value_name = "TYPE")]
    content_type: Option<String>,
    /// Only to connections with this attribute, e.g. role=admin, device=ios; repeat for AND.
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = parse_condition)]
    only: Vec<String>,
    /// Not to this connection.
    #[arg(long, global = true, value_name = "ID", value_parser = parse_key)]
    except_connection: Vec<String>,
    /// Not to this user.
    #[arg(long, global = true, value_name = "USER", value_parser = parse_key)]
    except_user: Vec<String>,
    /// Not written to a socket after that; 0ms = only if it can be written at once.
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// Conflation: a newer message with the same key replaces an unsent older one.
    #[arg(long = "key", global = true, value_name = "KEY", value_parser = limited::<CONFLATION_KEY_BYTES_MAX>)]
    conflation_key: Option<String>,
    /// The destination a STOMP client sees.
    #[arg(long, global = true)]
    destination: Option<String>,
    /// What the receipt waits for.
    #[arg(long, global = true, value_enum)]
    receipt: Option<Wanted>,
    /// How long the receipt may take: default 400ms, 5s for acked.
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// W3C trace context.
    #[arg(long, global = true)]
    traceparent: Option<String>,
    /// Store it too, for clients that are away (users and rooms only); prints the stream's answer.
    #[arg(long, global = true, conflicts_with_all = ["receipt", "timeout", "no_receipt"])]
    keep: bool,
    /// Publish and leave: no reply subject, so no receipt.
    #[arg(long, global = true, conflicts_with_all = ["receipt", "timeout"])]
    no_receipt: bool,
}

/// What a receipt waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Each node has taken the message.
    Written,
    /// The clients have acknowledged it.
    Acked,
}

/// `name=value`, the value encoded as a header list wants it.
fn parse_condition(text: &str) -> Result<String, String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, e.g. role=admin")?;
    if name.is_empty() || name.contains(',') {
        return Err("the name is empty or contains a comma".to_owned());
    }
    Ok(format!("{name}={}", token::encode(value)))
}

fn limited<const BYTES_MAX: usize>(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > BYTES_MAX { Err(format!("1 to {BYTES_MAX} bytes")) } else { Ok(text.to_owned()) }
}

impl Headers {
    fn list(&self, targets: Option<String>) -> Vec<(&'static str, String)> {
        let joined = |values: &[String]| (!values.is_empty()).then(|| values.join(", "));
        let keys = |values: &[String]| joined(&values.iter().map(|key| token::encode(key)).collect::<Vec<_>>());
        let ms = |duration: Option<Duration>| duration.map(|duration| duration.as_millis().to_string());
        let receipt = self.receipt.map(|wanted| match wanted {
            Wanted::Written => "written".to_owned(),
            Wanted::Acked => "acked".to_owned(),
        });
        let all = [
            ("Hf-To", targets),
            ("Hf-Id", self.id.clone()),
            ("Hf-Type", self.event.clone()),
            ("Content-Type", self.content_type.clone()),
            ("Hf-Only", joined(&self.only)),
            ("Hf-Except-Connection", keys(&self.except_connection)),
            ("Hf-Except-User", keys(&self.except_user)),
            ("Hf-Ttl", ms(self.ttl)),
            ("Hf-Key", self.conflation_key.clone()),
            ("Hf-Destination", self.destination.clone()),
            ("Hf-Receipt", receipt),
            ("Hf-Timeout", ms(self.timeout)),
            ("traceparent", self.traceparent.clone()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// How long the router itself may take for the receipt.
    fn patience(&self) -> Duration {
        let default = if self.receipt == Some(Wanted::Acked) { 5_000 } else { 400 };
        self.timeout.unwrap_or(Duration::from_millis(default))
    }
}

/// The message that the arguments describe.
fn message(subjects: &Subjects, to: To, headers: &Headers) -> anyhow::Result<Outgoing> {
    let (target, targets, payload) = match to {
        To::User { key, payload } => (Some(Target::User(key)), None, payload),
        To::Room { key, payload } => (Some(Target::Room(key)), None, payload),
        To::Connection { key, payload } => (Some(Target::Connection(key)), None, payload),
        To::All { payload } => (Some(Target::All), None, payload),
        To::Many { targets, payload } => (None, Some(targets), payload),
    };
    let subject = match target {
        Some(target @ (Target::User(_) | Target::Room(_))) if headers.keep => subjects.to(Kind::Keep, &target),
        _ if headers.keep => anyhow::bail!("only messages to users and rooms can be kept"),
        Some(target) => subjects.to(Kind::Send, &target),
        None => subjects.many(),
    };
    let payload = if payload == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        Bytes::from(bytes)
    } else {
        Bytes::from(payload)
    };
    Ok(Outgoing { subject, headers: headers.list(targets), payload })
}

/// Sends, and prints the receipt.
pub(crate) async fn run(global: &Global, args: SendArgs) -> Outcome {
    let bus = Bus::connect(&global.bus).await?;
    let message = message(&bus.subjects, args.to, &args.headers)?;
    if args.headers.no_receipt {
        bus.publish(&message).await?;
        return Ok(Exit::Done);
    }
    let answer = bus.ask(&message, args.headers.patience()).await?.json()?;
    if args.headers.keep {
        return print_stored(global, &answer);
    }
    print_receipt(global, answer)
}

/// Prints where a message was stored; an error of the stream is ours.
fn print_stored(global: &Global, answer: &serde_json::Value) -> Outcome {
    if let Some(error) = answer.get("error") {
        return Err(Failure::new(Exit::Failed, format!("not stored: {}", output::cell(error, "description"))));
    }
    let (stream, seq) = (output::cell(answer, "stream"), output::cell(answer, "seq"));
    let again = if answer["duplicate"] == true { ", which it was already" } else { "" };
    output::line(&if global.json { answer.to_string() } else { format!("stored in {stream} at {seq}{again}") })?;
    Ok(Exit::Done)
}

/// Prints a receipt, of a send or a command; nobody there is a status of its own.
pub(crate) fn print_receipt(global: &Global, answer: serde_json::Value) -> Outcome {
    let receipt: Receipt = serde_json::from_value(answer.clone()).context("the answer is no receipt")?;
    output::line(&if global.json { answer.to_string() } else { sentence(&receipt) })?;
    Ok(if receipt.offline { Exit::Nobody } else { Exit::Done })
}

fn sentence(receipt: &Receipt) -> String {
    if receipt.offline {
        return format!("offline: no such connection  (id {})", receipt.id);
    }
    let mut parts = vec![format!("{} written", receipt.written)];
    for (count, what) in [
        (receipt.queued, "queued"),
        (receipt.dropped, "dropped"),
        (receipt.filtered, "filtered out"),
        (receipt.acked, "acknowledged"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let late =
        if receipt.late_nodes > 0 { format!(", {} of them silent so far", receipt.late_nodes) } else { String::new() };
    format!(
        "{} matched: {}  ({} {} asked{late}; id {})",
        receipt.matched,
        parts.join(", "),
        receipt.nodes,
        if receipt.nodes == 1 { "node" } else { "nodes" },
        receipt.id
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn outgoing(line: &[&str]) -> Outgoing {
        let cli = Cli::try_parse_from(["holdfast", "send"].iter().chain(line)).unwrap();
        let Command::Send(args) = cli.command else { unreachable!("send was parsed") };
        message(&Subjects::new("hf"), args.to, &args.headers).unwrap()
    }

    #[test]
    fn keys_become_tokens_and_payloads_stay_as_they_are() {
        let message = outgoing(&["room", "chat/5", r#"{"hi":1}"#]);

        assert_eq!(message.subject, "hf.send.room.chat=2F5");
        assert_eq!(message.headers, []);
        assert_eq!(message.payload, r#"{"hi":1}"#);
    }

    #[test]
    fn kept_messages_have_subjects_of_their_own() {
        assert_eq!(outgoing(&["room", "chat/5", "x", "--keep"]).subject, "hf.keep.room.chat=2F5");
    }

    #[test]
    fn each_option_is_one_header() {
        let message = outgoing(&[
            "all",
            "--id",
            "m1",
            "--type",
            "news",
            "--content-type",
            "text/plain",
            "--only",
            "role=admin",
            "--only",
            "team=a,b",
            "--except-connection",
            "c",
            "--except-user",
            "a.b",
            "--ttl",
            "2s",
            "--key",
            "k",
            "--destination",
            "/topic/x",
            "--receipt",
            "acked",
            "--timeout",
            "3s",
            "--traceparent",
            "00-1-2-01",
            "x",
        ]);

        let expected = [
            ("Hf-Id", "m1"),
            ("Hf-Type", "news"),
            ("Content-Type", "text/plain"),
            ("Hf-Only", "role=admin, team=a=2Cb"),
            ("Hf-Except-Connection", "c"),
            ("Hf-Except-User", "a=2Eb"),
            ("Hf-Ttl", "2000"),
            ("Hf-Key", "k"),
            ("Hf-Destination", "/topic/x"),
            ("Hf-Receipt", "acked"),
            ("Hf-Timeout", "3000"),
            ("traceparent", "00-1-2-01"),
        ];
        assert_eq!(message.headers, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(message.subject, "hf.send.all");
    }

    #[test]
    fn many_targets_travel_in_their_header() {
        let message = outgoing(&["many", "user:42, room:chat/5", "x"]);

        assert_eq!(message.subject, "hf.send.many");
        assert_eq!(message.headers, [("Hf-To", "user:42, room:chat/5".to_owned())]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_it_is_sent() {
        let too_long = "x".repeat(201);
        for line in [
            vec!["user", "ana"],
            vec!["user", "", "x"],
            vec!["user", &too_long, "x"],
            vec!["many", "x"],
            vec!["all", "--only", "admin", "x"],
            vec!["all", "--ttl", "5", "x"],
            vec!["all", "--receipt", "read", "x"],
            vec!["all", "--no-receipt", "--receipt", "acked", "x"],
        ] {
            assert!(Cli::try_parse_from(["holdfast", "send"].iter().chain(&line)).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_receipt_reads_as_a_sentence() {
        let mut receipt = Receipt {
            id: "m1".into(),
            matched: 3,
            written: 2,
            queued: 1,
            filtered: 0,
            dropped: 0,
            acked: 0,
            nodes: 2,
            late_nodes: 1,
            offline: false,
        };
        assert_eq!(
            sentence(&receipt),
            "3 matched: 2 written, 1 queued  (2 nodes asked, 1 of them silent so far; id m1)"
        );
        receipt.offline = true;
        assert_eq!(sentence(&receipt), "offline: no such connection  (id m1)");
    }
}
