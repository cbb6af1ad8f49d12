//! `holdfast query`: who is connected, who is in a room, how the fleet is; as tables, or as the JSON that came.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use holdfast_protocol::subject::Query;
use serde_json::{Value, json};

use crate::args::{Global, Paging, parse_key};
use crate::bus::{Bus, Outgoing};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, cell};

const AFTER_HELP: &str = "\
Examples:
  holdfast query user ana
  holdfast query room chat/5 --limit 20
  holdfast query room chat/5 --every --json | jq -r .user      one member per line
  holdfast query nodes
  holdfast query stats --json

Exit status 3: the user is offline, the room empty, the connection unknown.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct QueryArgs {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// A user's connections.
    User {
        #[arg(value_parser = parse_key)]
        key: String,
    },
    /// A room's size, and its members by page.
    Room {
        #[arg(value_parser = parse_key)]
        key: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// One connection, its user and rooms.
    Connection {
        #[arg(value_parser = parse_key)]
        id: String,
    },
    /// The gateways that routers know.
    Nodes,
    /// Totals of the fleet.
    Stats,
}

impl What {
    fn query(&self) -> Query {
        match self {
            Self::User { key } => Query::User(key.clone()),
            Self::Room { key, .. } => Query::Room(key.clone()),
            Self::Connection { id } => Query::Connection(id.clone()),
            Self::Nodes => Query::Nodes,
            Self::Stats => Query::Stats,
        }
    }
}

async fn ask(bus: &Bus, query: &Query, body: Option<Value>) -> Result<Value, Failure> {
    let payload = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let message = Outgoing { subject: bus.subjects.ask(query), headers: Vec::new(), payload };
    bus.ask(&message, Duration::from_millis(500)).await?.json()
}

/// The body of a room query.
fn page(limit: u32, after: Option<&Value>) -> Value {
    let mut body = json!({"limit": limit});
    if let Some(after) = after {
        body["after"] = after.clone();
    }
    body
}

/// Asks and prints.
pub(crate) async fn run(global: &Global, args: QueryArgs) -> Outcome {
    let bus = Bus::connect(&global.bus).await?;
    let query = args.what.query();
    let body = match &args.what {
        What::Room { paging, .. } if paging.every => return every(global, &bus, &query, paging.limit).await,
        What::Room { paging, .. } => Some(page(paging.limit, paging.after.clone().map(Value::from).as_ref())),
        What::User { .. } | What::Connection { .. } | What::Nodes | What::Stats => None,
    };
    let answer = ask(&bus, &query, body).await?;
    let text = if global.json { answer.to_string() } else { render(&args.what, &answer) };
    output::line(&text)?;
    Ok(if nobody(&args.what, &answer) { Exit::Nobody } else { Exit::Done })
}

/// Walks all pages of a room. Each page is asked for once the one before is printed, so nothing piles up.
async fn every(global: &Global, bus: &Bus, query: &Query, limit: u32) -> Outcome {
    let mut after = None;
    let mut seen = 0_usize;
    loop {
        let answer = ask(bus, query, Some(page(limit, after.as_ref()))).await?;
        let members = answer.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        seen += members.len();
        if global.json {
            for member in &members {
                output::line(&member.to_string())?;
            }
        } else if !members.is_empty() {
            output::line(&members_table(&members))?;
        }
        after = answer.get("next").filter(|next| !next.is_null()).cloned();
        if after.is_none() || members.is_empty() {
            return Ok(if seen == 0 { Exit::Nobody } else { Exit::Done });
        }
    }
}

fn nobody(what: &What, answer: &Value) -> bool {
    match what {
        What::User { .. } => answer["online"] == json!(false),
        What::Room { .. } => answer["count"] == json!(0),
        What::Connection { .. } | What::Nodes | What::Stats => false,
    }
}

fn rows(list: Option<&Value>, fields: &[&str]) -> Vec<Vec<String>> {
    let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|entry| fields.iter().map(|field| cell(entry, field)).collect()).collect()
}

fn members_table(members: &[Value]) -> String {
    let fields = ["connection", "user", "node", "device"];
    output::table(&fields, &rows(Some(&Value::from(members.to_vec())), &fields))
}

fn render(what: &What, answer: &Value) -> String {
    match what {
        What::User { .. } => {
            let fields = ["connection", "node", "device", "endpoint", "rooms"];
            let rows = rows(answer.get("connections"), &fields);
            let state = match (answer["online"] == json!(true), answer["lingering"] == json!(true)) {
                (_, true) => "lingering",
                (true, false) => "online",
                (false, false) => "offline",
            };
            let head = format!("{}: {state}", cell(answer, "user"));
            if rows.is_empty() { head } else { format!("{head}\n{}", output::table(&fields, &rows)) }
        }
        What::Room { .. } => {
            let members = answer.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
            let mut text = format!("{}: {} in it", cell(answer, "room"), cell(answer, "count"));
            if !members.is_empty() {
                text.push('\n');
                text.push_str(&members_table(&members));
            }
            if let Some(next) = answer.get("next").and_then(Value::as_str) {
                text.push_str(&format!("\nmore: --after '{next}'"));
            }
            text
        }
        What::Connection { .. } => {
            let rooms = answer.get("rooms").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let rooms: Vec<&str> = rooms.iter().filter_map(Value::as_str).collect();
            let fields = ["connection", "user", "node", "device", "since"];
            let mut lines: Vec<_> = fields.iter().map(|field| format!("{field:<11} {}", cell(answer, field))).collect();
            lines.push(format!("{:<11} {}", "rooms", if rooms.is_empty() { "-".to_owned() } else { rooms.join(" ") }));
            lines.join("\n")
        }
        What::Nodes => {
            let fields = ["node", "state", "connections", "version"];
            output::table(&fields, &rows(answer.get("nodes"), &fields))
        }
        What::Stats => {
            let fields = ["connections", "users", "rooms", "nodes", "routers"];
            fields.map(|field| format!("{field:<11} {}", cell(answer, field))).join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn what(line: &[&str]) -> What {
        let cli = Cli::try_parse_from(["holdfast", "query"].iter().chain(line)).unwrap();
        let Command::Query(args) = cli.command else { unreachable!("query was parsed") };
        args.what
    }

    #[test]
    fn questions_go_to_the_subjects_of_the_contract() {
        let subjects = holdfast_protocol::subject::Subjects::new("hf");
        for (line, subject) in [
            (&["user", "a.b"][..], "hf.query.user.a=2Eb"),
            (&["room", "chat/5"], "hf.query.room.chat=2F5"),
            (&["connection", "x"], "hf.query.connection.x"),
            (&["nodes"], "hf.query.nodes"),
            (&["stats"], "hf.query.stats"),
        ] {
            assert_eq!(subjects.ask(&what(line).query()), subject);
        }
        assert_eq!(page(20, None), json!({"limit": 20}));
        assert_eq!(page(20, Some(&json!("x"))), json!({"limit": 20, "after": "x"}));
    }

    #[test]
    fn answers_read_as_tables() {
        let user = json!({"user": "ana", "online": true, "lingering": false,
            "connections": [{"connection": "c1", "node": "g1", "device": null, "endpoint": "chat", "rooms": 2}]});
        assert_eq!(
            render(&what(&["user", "ana"]), &user),
            "ana: online\nCONNECTION  NODE  DEVICE  ENDPOINT  ROOMS\nc1          g1    -       chat      2"
        );

        let room = json!({"room": "chat/5", "count": 1,
            "members": [{"connection": "c1", "user": "ana", "node": "g1", "device": "ios"}], "next": "c1"});
        assert_eq!(
            render(&what(&["room", "chat/5"]), &room),
            "chat/5: 1 in it\nCONNECTION  USER  NODE  DEVICE\nc1          ana   g1    ios\nmore: --after 'c1'"
        );
    }

    #[test]
    fn absence_has_its_own_exit_status() {
        assert!(nobody(&what(&["user", "ana"]), &json!({"online": false})));
        assert!(!nobody(&what(&["user", "ana"]), &json!({"online": true})));
        assert!(nobody(&what(&["room", "r"]), &json!({"count": 0})));
        assert!(!nobody(&what(&["nodes"]), &json!({"nodes": []})));
    }
}
