//! `holdfast watch`: facts as they happen, filtered here, one line each.

use clap::Args;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::args::{Global, parse_key};
use crate::bus::Bus;
use crate::exit::{Exit, Outcome};
use crate::output::{self, cell};

const AFTER_HELP: &str = "\
Examples:
  holdfast watch                                    everything
  holdfast watch --what user                        user.online and user.offline
  holdfast watch --what room.vacated --key chat/5
  holdfast watch --what connection --json | jq .
  holdfast watch --what user.online --key ana --count 1     wait until she comes

Facts: connection.opened|closed, user.online|offline, room.occupied|vacated, room.joined|left (rooms that
announce), node.lost. Each is published once in a steady state; after a router fail-over it may come again
with the same id.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WatchArgs {
    /// Only facts of this name, or all of a family: user, user.online, room, ….
    #[arg(long, value_name = "FACT")]
    what: Vec<String>,
    /// Only about this user, room or node.
    #[arg(long, value_parser = parse_key)]
    key: Vec<String>,
    /// End after that many.
    #[arg(long)]
    count: Option<u64>,
}

impl WatchArgs {
    fn wants(&self, what: &str, key: &str) -> bool {
        let family = what.split('.').next().unwrap_or_default();
        let named = self.what.is_empty() || self.what.iter().any(|wanted| wanted == what || wanted == family);
        named && (self.key.is_empty() || self.key.iter().any(|wanted| wanted == key))
    }
}

/// Prints facts until interrupted.
pub(crate) async fn run(global: &Global, args: WatchArgs) -> Outcome {
    let bus = Bus::connect(&global.bus).await?;
    let mut facts = bus.client.subscribe(bus.subjects.event_all()).await?;
    bus.client.flush().await?;
    output::note("Watching; Ctrl-C ends.");
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        let Some(message) = facts.next().await else { break };
        let Some((what, key)) = bus.subjects.parse_event(&message.subject) else { continue };
        if args.wants(what, &key) {
            seen += 1;
            output::line(&render(global.json, what, &key, &message.payload))?;
        }
    }
    Ok(Exit::Done)
}

fn render(as_json: bool, what: &str, key: &str, payload: &[u8]) -> String {
    let body: Value = serde_json::from_slice(payload).unwrap_or_else(|_| json!({}));
    if as_json {
        let mut line = json!({"fact": what, "key": key});
        if let (Some(line), Value::Object(body)) = (line.as_object_mut(), body) {
            line.extend(body);
        }
        return line.to_string();
    }
    let mut text = format!("{}  {what:<18} {key}", cell(&body, "time"));
    for field in ["cause", "node", "connection", "count"] {
        if body.get(field).is_some_and(|value| !value.is_null()) {
            text.push_str(&format!("  {field} {}", cell(&body, field)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_a_fact_or_a_family() {
        let args = WatchArgs { what: vec!["user".into(), "room.vacated".into()], key: vec![], count: None };
        assert!(args.wants("user.online", "ana"));
        assert!(args.wants("room.vacated", "chat/5"));
        assert!(!args.wants("room.occupied", "chat/5"));

        let args = WatchArgs { what: vec![], key: vec!["ana".into()], count: None };
        assert!(args.wants("user.online", "ana"));
        assert!(!args.wants("user.online", "ben"));
    }

    #[test]
    fn a_fact_is_one_line() {
        let body = br#"{"id":"e1","time":"2026-01-02T03:04:05Z","node":"g1","cause":"connect","user":"ana","count":1}"#;

        assert_eq!(
            render(false, "user.online", "ana", body),
            "2026-01-02T03:04:05Z  user.online        ana  cause connect  node g1  count 1"
        );
        let line: Value = serde_json::from_str(&render(true, "user.online", "ana", body)).unwrap();
        assert_eq!(line["fact"], "user.online");
        assert_eq!(line["id"], "e1");
    }
}
