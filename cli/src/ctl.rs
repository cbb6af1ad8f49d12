//! `holdfast ctl`: commands to the gateways that hold a user, room or connection, and to one node.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use holdfast_protocol::close::may_disconnect_with;
use holdfast_protocol::limits::CLOSE_REASON_BYTES_MAX;
use holdfast_protocol::subject::{Kind, Subjects, Target};
use serde_json::{Value, json};

use crate::args::{Global, parse_duration, parse_key};
use crate::bus::{Bus, Outgoing};
use crate::exit::Outcome;
use crate::send::print_receipt;

const AFTER_HELP: &str = "\
Examples:
  holdfast ctl user ana join chat/5            into a room, past the patterns of her token
  holdfast ctl room chat/5 leave chat/5        empty a room
  holdfast ctl user ana disconnect --code 4001 --reason 'signed in elsewhere' --device ios
  holdfast ctl user ana expire 7f3c            end what holds this token id (jti)
  holdfast ctl connection \"$ID\" pause
  holdfast ctl drain \"$NODE\"                   see `holdfast query nodes`

The receipt comes once the effect is confirmed: a send published after it meets the new state.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CtlArgs {
    #[command(subcommand)]
    pub(crate) to: To,
    /// How long the receipt may take; default 400ms.
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Whom the command is for.
#[derive(Debug, Subcommand)]
pub(crate) enum To {
    /// Each connection of a user.
    User {
        #[arg(value_parser = parse_key)]
        key: String,
        #[command(subcommand)]
        command: Do,
    },
    /// Each member of a room.
    Room {
        #[arg(value_parser = parse_key)]
        key: String,
        #[command(subcommand)]
        command: Do,
    },
    /// One connection.
    Connection {
        #[arg(value_parser = parse_key)]
        key: String,
        #[command(subcommand)]
        command: Do,
    },
    /// Every connection of the fleet.
    All {
        #[command(subcommand)]
        command: Do,
    },
    /// One gateway process.
    Node {
        /// The node's id, as `holdfast query nodes` shows it.
        #[arg(value_parser = parse_key)]
        node: String,
        #[command(subcommand)]
        command: DoNode,
    },
    /// Send a node's clients elsewhere, in slots: `node NODE drain`.
    Drain {
        #[arg(value_parser = parse_key)]
        node: String,
    },
    /// Take a drain back: `node NODE uncordon`.
    Uncordon {
        #[arg(value_parser = parse_key)]
        node: String,
    },
    /// Send a share of a node's clients elsewhere: `node NODE shed PERCENT`.
    Shed {
        #[arg(value_parser = parse_key)]
        node: String,
        /// 1 to 100.
        #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
    },
}

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub(crate) enum Do {
    /// Bind them to a room.
    Join {
        #[arg(value_parser = parse_key)]
        room: String,
    },
    /// Take them out of a room.
    Leave {
        #[arg(value_parser = parse_key)]
        room: String,
    },
    /// Close them.
    Disconnect {
        /// 1000, 1008, 1012, 1013 or 3000–4999; default 4000.
        #[arg(long, value_parser = parse_code)]
        code: Option<u16>,
        /// Shown to the client; at most 123 bytes.
        #[arg(long, value_parser = parse_reason)]
        reason: Option<String>,
        /// Only this device.
        #[arg(long)]
        device: Option<String>,
    },
    /// Close what was opened with the token of this id (`jti`), with code 4003.
    Expire { jti: String },
    /// Hold back messages; control messages go on.
    Pause,
    /// Let messages through again.
    Resume,
}

/// What to do with a node.
#[derive(Debug, Subcommand)]
pub(crate) enum DoNode {
    /// Send its clients elsewhere, in slots; it is unready from now on.
    Drain,
    /// Take a drain back.
    Uncordon,
    /// Send a share of its clients elsewhere.
    Shed {
        /// 1 to 100.
        #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
    },
}

pub(crate) fn parse_code(text: &str) -> Result<u16, String> {
    let code = text.parse().map_err(|_| "not a number".to_owned())?;
    if may_disconnect_with(code) { Ok(code) } else { Err("1000, 1008, 1012, 1013 or 3000 to 4999".to_owned()) }
}

pub(crate) fn parse_reason(text: &str) -> Result<String, String> {
    if text.len() > CLOSE_REASON_BYTES_MAX {
        return Err(format!("at most {CLOSE_REASON_BYTES_MAX} bytes: a close frame holds no more"));
    }
    Ok(text.to_owned())
}

impl Do {
    fn body(&self) -> Value {
        match self {
            Self::Join { room } => json!({"do": "join", "room": room}),
            Self::Leave { room } => json!({"do": "leave", "room": room}),
            Self::Disconnect { code, reason, device } => {
                let mut body = json!({"do": "disconnect"});
                for (name, value) in [
                    ("code", code.map(Value::from)),
                    ("reason", reason.clone().map(Value::from)),
                    ("device", device.clone().map(Value::from)),
                ] {
                    if let Some(value) = value {
                        body[name] = value;
                    }
                }
                body
            }
            Self::Expire { jti } => json!({"do": "expire", "jti": jti}),
            Self::Pause => json!({"do": "pause"}),
            Self::Resume => json!({"do": "resume"}),
        }
    }
}

impl DoNode {
    fn body(&self) -> Value {
        match self {
            Self::Drain => json!({"do": "drain"}),
            Self::Uncordon => json!({"do": "uncordon"}),
            Self::Shed { percent } => json!({"do": "shed", "percent": percent}),
        }
    }
}

fn message(subjects: &Subjects, args: CtlArgs) -> Outgoing {
    let (subject, body) = match args.to {
        To::User { key, command } => (subjects.to(Kind::Ctl, &Target::User(key)), command.body()),
        To::Room { key, command } => (subjects.to(Kind::Ctl, &Target::Room(key)), command.body()),
        To::Connection { key, command } => (subjects.to(Kind::Ctl, &Target::Connection(key)), command.body()),
        To::All { command } => (subjects.to(Kind::Ctl, &Target::All), command.body()),
        To::Node { node, command } => (subjects.ctl_node(&node), command.body()),
        To::Drain { node } => (subjects.ctl_node(&node), DoNode::Drain.body()),
        To::Uncordon { node } => (subjects.ctl_node(&node), DoNode::Uncordon.body()),
        To::Shed { node, percent } => (subjects.ctl_node(&node), DoNode::Shed { percent }.body()),
    };
    let headers = args.timeout.map(|timeout| ("Hf-Timeout", timeout.as_millis().to_string())).into_iter().collect();
    Outgoing { subject, headers, payload: Bytes::from(body.to_string()) }
}

/// Publishes the command and prints its receipt.
pub(crate) async fn run(global: &Global, args: CtlArgs) -> Outcome {
    let bus = Bus::connect(&global.bus).await?;
    let patience = args.timeout.unwrap_or(Duration::from_millis(400));
    let answer = bus.ask(&message(&bus.subjects, args), patience).await?.json()?;
    print_receipt(global, answer)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn outgoing(line: &[&str]) -> Outgoing {
        let cli = Cli::try_parse_from(["holdfast", "ctl"].iter().chain(line)).unwrap();
        let Command::Ctl(args) = cli.command else { unreachable!("ctl was parsed") };
        message(&Subjects::new("hf"), args)
    }

    #[test]
    fn each_command_is_the_json_of_the_contract() {
        for (line, subject, body) in [
            (&["user", "ana", "join", "chat/5"][..], "hf.ctl.user.ana", json!({"do": "join", "room": "chat/5"})),
            (&["room", "chat/5", "leave", "chat/5"], "hf.ctl.room.chat=2F5", json!({"do": "leave", "room": "chat/5"})),
            (&["all", "disconnect"], "hf.ctl.all", json!({"do": "disconnect"})),
            (
                &["user", "ana", "disconnect", "--code", "4001", "--reason", "bye", "--device", "ios"],
                "hf.ctl.user.ana",
                json!({"do": "disconnect", "code": 4001, "reason": "bye", "device": "ios"}),
            ),
            (&["user", "ana", "expire", "7f3c"], "hf.ctl.user.ana", json!({"do": "expire", "jti": "7f3c"})),
            (&["connection", "x", "pause"], "hf.ctl.connection.x", json!({"do": "pause"})),
            (&["connection", "x", "resume"], "hf.ctl.connection.x", json!({"do": "resume"})),
            (&["node", "gbcdfghjkmnp", "drain"], "hf.ctl.node.gbcdfghjkmnp", json!({"do": "drain"})),
            (&["drain", "gbcdfghjkmnp"], "hf.ctl.node.gbcdfghjkmnp", json!({"do": "drain"})),
            (&["uncordon", "gbcdfghjkmnp"], "hf.ctl.node.gbcdfghjkmnp", json!({"do": "uncordon"})),
            (&["shed", "gbcdfghjkmnp", "10"], "hf.ctl.node.gbcdfghjkmnp", json!({"do": "shed", "percent": 10})),
            (&["node", "gbcdfghjkmnp", "uncordon"], "hf.ctl.node.gbcdfghjkmnp", json!({"do": "uncordon"})),
            (&["node", "gbcdfghjkmnp", "shed", "10"], "hf.ctl.node.gbcdfghjkmnp", json!({"do": "shed", "percent": 10})),
        ] {
            let message = outgoing(line);

            assert_eq!(message.subject, subject, "{line:?}");
            assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap(), body, "{line:?}");
        }
    }

    #[test]
    fn a_timeout_is_a_header_in_milliseconds() {
        let message = outgoing(&["user", "ana", "pause", "--timeout", "2s"]);

        assert_eq!(message.headers, [("Hf-Timeout", "2000".to_owned())]);
    }

    #[test]
    fn codes_reasons_and_shares_outside_the_contract_are_refused() {
        let long = "x".repeat(124);
        for line in [
            vec!["user", "ana", "disconnect", "--code", "1001"],
            vec!["user", "ana", "disconnect", "--code", "5000"],
            vec!["user", "ana", "disconnect", "--reason", &long],
            vec!["user", "ana", "drain"],
            vec!["node", "g", "shed", "0"],
            vec!["node", "g", "shed", "101"],
            vec!["node", "g", "pause"],
        ] {
            assert!(Cli::try_parse_from(["holdfast", "ctl"].iter().chain(&line)).is_err(), "{line:?}");
        }
    }
}
