//! `holdfast doctor`: looks at what Holdfast needs, from where it runs, and says what to do about what is missing.
//!
//! Asks NATS and the fleet as any program may; changes nothing, but where a new epoch is asked for. Each subject of a role
//! is tried: heard by a subscription, published to with a key that nobody has.

mod config;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Event, ServerError, ServerInfo};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use holdfast_protocol::subject::{Query, Subjects};
use serde_json::{Value, json};

use crate::args::Global;
use crate::bus::{Bus, Outgoing};
use crate::epoch;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  holdfast doctor                              as the operator's own user
  holdfast doctor --role gateway --creds gateway.creds
  holdfast doctor --role gateway --config /etc/holdfast/gateway.toml    its settings and certificates too
  holdfast doctor --new-epoch --creds router.creds   once a backup of the stream was put back
  holdfast doctor --json | jq '.findings[] | select(.state != \"good\")'

Each finding is good, note or bad, and says what to do. Exit status 1: something is bad.";

/// The oldest NATS that will do, and the newest that was tried.
const NATS_OLDEST: (u32, u32) = (2, 10);
const NATS_TRIED: (u32, u32) = (2, 15);
/// What came with which version.
const FEATURES: [((u32, u32), &str); 2] = [
    ((2, 11), "batches of direct reads: resuming clients are read for one message at a time without them"),
    ((2, 14), "an untouched traceparent between servers: traces may break at cluster routes"),
];
/// A server tells of a denied subject when it has read the message; a round trip later it has.
const DENIAL_WAIT: Duration = Duration::from_millis(300);
/// Clocks further apart make receipts' and traces' times useless, and tokens expire early or late.
const SKEW_MAX_MS: u64 = 500;
/// A gateway needs one file for each client.
const FILES_MIN: u64 = 65_536;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DoctorArgs {
    /// Whose permissions to try.
    #[arg(long, value_enum, default_value = "operator")]
    role: Role,
    /// The settings of a gateway or router (--role) on this machine: looks at them, and at the certificates that they name.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The stream of kept messages.
    #[arg(long, default_value = "HF_KEPT", value_name = "NAME")]
    stream: String,
    /// Give the stream another epoch, and look at nothing: after it was put back from a backup.
    #[arg(long, conflicts_with = "role")]
    new_epoch: bool,
}

/// Kinds of programs, as in deploy/nats/permissions.conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// A person with this command line.
    Operator,
    /// A domain service.
    Service,
    /// A gateway.
    Gateway,
    /// A router.
    Router,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Works, but should be known.
    Note,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    state: State,
    said: String,
    /// What to do; empty where nothing is.
    advice: String,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Bad => "BAD",
        }
    }
}

fn good(what: &'static str, said: impl Into<String>) -> Finding {
    Finding { what, state: State::Good, said: said.into(), advice: String::new() }
}

fn note(what: &'static str, said: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, state: State::Note, said: said.into(), advice: advice.into() }
}

fn bad(what: &'static str, said: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, state: State::Bad, said: said.into(), advice: advice.into() }
}

/// Looks at everything, and tells.
pub(crate) async fn run(global: &Global, args: DoctorArgs) -> Outcome {
    if args.new_epoch {
        return epoch::renew(global, &args.stream).await;
    }
    let denied = Denied::default();
    let mut findings = Vec::new();
    if let Some(file) = &args.config {
        let program = match args.role {
            Role::Gateway => "holdfast-gateway",
            Role::Router => "holdfast-router",
            Role::Operator | Role::Service => return Err(Failure::usage("--config wants --role gateway or router")),
        };
        findings.extend(config::look(program, file, i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX)));
    }
    match Bus::connect_watched(&global.bus, denied.watcher()).await {
        Ok(bus) => {
            let info = bus.client.server_info();
            findings.push(good("connection", format!("connected to {} ({})", info.server_name, info.host)));
            findings.extend(version(&info));
            findings.extend(permissions(&bus, &denied, args.role, &args.stream).await);
            findings.extend(stream(&bus, &args.stream).await);
            findings.extend(fleet(&bus, &denied).await);
        }
        Err(failure) => findings.push(bad(
            "connection",
            crate::exit::chain(&failure.error),
            "check --server, the firewall, and the credentials (--creds, --nkey, --bus-user); `nats-server` must run",
        )),
    }
    findings.push(files());
    print(global, &findings)
}

fn print(global: &Global, findings: &[Finding]) -> Outcome {
    let worst = findings.iter().any(|finding| finding.state == State::Bad);
    if global.json {
        let list = findings.iter().map(|finding| {
            let state = finding.state.word().to_lowercase();
            json!({"what": finding.what, "state": state, "said": finding.said, "advice": finding.advice})
        });
        output::line(&json!({"findings": list.collect::<Vec<_>>(), "good": !worst}).to_string())?;
    } else {
        for Finding { what, state, said, advice } in findings {
            output::line(&format!("{:4}  {what}: {said}", state.word()))?;
            if !advice.is_empty() {
                output::line(&format!("      -> {advice}"))?;
            }
        }
    }
    Ok(if worst { Exit::Failed } else { Exit::Done })
}

fn version(info: &ServerInfo) -> Vec<Finding> {
    let Some(version) = parse_version(&info.version) else {
        return vec![note("version", format!("{:?} is no version", info.version), "this may be no nats-server")];
    };
    if version < NATS_OLDEST {
        let said = format!("nats-server {} is not supported", info.version);
        return vec![bad("version", said, "run 2.10 or newer; the two newest minor versions are maintained")];
    }
    let mut findings = vec![good("version", format!("nats-server {}", info.version))];
    if version > NATS_TRIED {
        findings.push(note("version", "newer than any that was tried", "read its release notes; report what differs"));
    }
    let missing = FEATURES.into_iter().filter(|(since, _)| version < *since);
    findings.extend(missing.map(|((major, minor), what)| {
        note("version", format!("without {what}"), format!("upgrade to {major}.{minor} where that matters"))
    }));
    findings
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What the server refused.
#[derive(Debug, Clone, Default)]
struct Denied(Arc<Mutex<Vec<String>>>);

impl Denied {
    fn watcher(&self) -> impl Fn(Event) + Send + Sync + 'static + use<> {
        let denied = self.clone();
        move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                denied.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
        }
    }

    fn names(&self, subject: &str, verb: &str) -> bool {
        let denied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denied.iter().any(|text| {
            let text = text.to_lowercase();
            text.contains(&format!("\"{}\"", subject.to_lowercase())) && text.contains(verb)
        })
    }
}

/// What a role hears, and subjects like those it publishes on, with a key that nobody has. Not `keep`: that would be
/// stored.
fn tried(role: Role, subjects: &Subjects, stream: &str) -> (Vec<String>, Vec<String>) {
    let nobody = "holdfast-doctor";
    let (hears, says): (&[&str], &[&str]) = match role {
        Role::Operator => (&["event.>"], &["send.user.{}", "ctl.user.{}", "query.stats"]),
        Role::Service => (&["up.>", "req.>", "event.>"], &["send.user.{}", "ctl.user.{}", "query.stats"]),
        Role::Gateway => (
            &["int.node.{}", "int.discover", "int.beat.router"],
            &["int.router.{}", "int.roster.{}", "up.{}", "req.{}", "event.connection.opened.{}"],
        ),
        Role::Router => (
            &["send.>", "ctl.>", "query.>", "int.kept.>", "int.roster.*", "int.beat.node"],
            &["int.node.{}", "event.user.online.{}"],
        ),
    };
    let full =
        |list: &[&str]| -> Vec<String> { list.iter().map(|rest| subjects.join(&rest.replace("{}", nobody))).collect() };
    let mut says = full(says);
    says.push(format!("$JS.API.STREAM.INFO.{stream}"));
    (full(hears), says)
}

async fn permissions(bus: &Bus, denied: &Denied, role: Role, stream: &str) -> Vec<Finding> {
    let (hears, says) = tried(role, &bus.subjects, stream);
    let mut kept_open = Vec::new();
    for subject in &hears {
        kept_open.extend(bus.client.subscribe(subject.clone()).await.ok());
    }
    let inbox = bus.client.new_inbox();
    kept_open.extend(bus.client.subscribe(inbox.clone()).await.ok());
    for subject in &says {
        let asked = bus.client.publish_with_reply(subject.clone(), inbox.clone(), Bytes::new()).await;
        if asked.is_err() {
            return vec![bad("permissions", "the connection broke", "see the log of nats-server")];
        }
    }
    let flushed = bus.client.flush().await;
    tokio::time::sleep(DENIAL_WAIT).await;
    let mut findings = Vec::new();
    let both = [(&hears, "subscription", "hear"), (&says, "publish", "publish on")];
    for (subjects, verb, words) in both {
        for subject in subjects.iter().filter(|subject| denied.names(subject, verb)) {
            let optional = subject.starts_with("$JS.") && matches!(role, Role::Operator | Role::Service);
            let said = format!("may not {words} {subject}");
            findings.push(if optional {
                note("permissions", said, "the stream cannot be looked at as this user; nothing else needs it")
            } else {
                bad("permissions", said, "compare with deploy/nats/permissions.conf, and with --prefix")
            });
        }
    }
    if denied.names(&inbox, "subscription") {
        let advice = "set --inbox-prefix (bus.inbox_prefix) to the branch that the permissions name";
        findings.push(bad("permissions", format!("may not hear its own answers on {inbox}"), advice));
    }
    if findings.is_empty() && flushed.is_ok() {
        findings.push(good("permissions", format!("{} subjects tried", hears.len() + says.len() + 1)));
    }
    findings
}

/// JetStream, the stream's settings, and the server's clock, which comes with them.
async fn stream(bus: &Bus, name: &str) -> Vec<Finding> {
    let what = "stream";
    let message =
        Outgoing { subject: format!("$JS.API.STREAM.INFO.{name}"), headers: Vec::new(), payload: Bytes::new() };
    let before = unix_ms();
    let answer = match bus.ask(&message, Duration::ZERO).await {
        Ok(reply) => reply.json(),
        Err(failure) if failure.exit == Exit::NoResponders => {
            let advice = "start nats-server with -js; without it all but kept messages works";
            return vec![note("jetstream", "this account has no JetStream", advice)];
        }
        Err(failure) => Err(failure),
    };
    let after = unix_ms();
    let info = match answer {
        Ok(info) => info,
        Err(failure) => {
            let said = crate::exit::chain(&failure.error);
            return vec![note(what, said, "it can be looked at with --role router and the router's credentials")];
        }
    };
    if let Some(error) = info.get("error") {
        let said = error["description"].as_str().unwrap_or("refused").to_owned();
        let advice = "routers make it when `kept.enabled`; see `kept` on a router's /readyz";
        return vec![note(what, format!("{name}: {said}"), advice)];
    }
    let mut findings = shape(&bus.subjects, name, &info["config"]);
    findings.extend(clock(&info, before, after));
    findings
}

fn shape(subjects: &Subjects, name: &str, config: &Value) -> Vec<Finding> {
    let (keep, copies) = (subjects.keep_all(), subjects.kept_all());
    let wrong = [
        (config["subjects"] != json!([keep]), format!("stores {} instead of {keep}", config["subjects"])),
        (config["republish"]["dest"] != json!(copies), "republishes elsewhere".to_owned()),
        (config["allow_direct"] != json!(true), "does not allow direct reads".to_owned()),
        (config["metadata"]["holdfast-epoch"].as_str().is_none(), "has no epoch".to_owned()),
    ];
    let wrong: Vec<_> = wrong.into_iter().filter(|(wrong, _)| *wrong).map(|(_, what)| what).collect();
    let mut findings = Vec::new();
    if wrong.is_empty() {
        findings.push(good("stream", format!("{name}: {} replicas, {}", config["num_replicas"], config["storage"])));
    } else {
        let advice = "restart a router: it brings the stream to its settings, or says in its log why it cannot";
        findings.push(bad("stream", format!("{name} {}", wrong.join(", ")), advice));
    }
    if config["num_replicas"] == json!(1) {
        findings.push(note("stream", "one replica", "set kept.replicas to 3 where NATS has three servers"));
    }
    findings
}

/// How far our clock is from the server's, by more than the question took.
fn clock(info: &Value, before_ms: u64, after_ms: u64) -> Option<Finding> {
    let said = info["ts"].as_str().and_then(holdfast_protocol::kept::unix_ms)?;
    let apart = said.saturating_sub(after_ms).max(before_ms.saturating_sub(said));
    Some(if apart > SKEW_MAX_MS {
        bad("clock", format!("{apart} ms from NATS' clock"), "run NTP on every machine")
    } else {
        good("clock", format!("within {} ms of NATS' clock", apart + (after_ms - before_ms)))
    })
}

async fn fleet(bus: &Bus, denied: &Denied) -> Vec<Finding> {
    let subject = bus.subjects.ask(&Query::Nodes);
    let message = Outgoing { subject: subject.clone(), headers: Vec::new(), payload: Bytes::new() };
    let nodes = match bus.ask(&message, Duration::ZERO).await.and_then(crate::bus::Reply::json) {
        Ok(answer) => answer["nodes"].as_array().cloned().unwrap_or_default(),
        // Gateways and routers have no right to ask, and need none.
        Err(_) if denied.names(&subject, "publish") => {
            let advice = "whether there are routers and gateways is told with the operator's credentials";
            return vec![note("routers", format!("may not publish on {subject}"), advice)];
        }
        Err(failure) => {
            let advice = "start a router with this account and prefix; see its /readyz";
            return vec![bad("routers", crate::exit::chain(&failure.error), advice)];
        }
    };
    let mut findings = vec![good("routers", "one answers")];
    let late: Vec<_> =
        nodes.iter().filter(|node| node["state"] == "late").map(|node| output::cell(node, "node")).collect();
    if nodes.is_empty() {
        findings.push(bad("gateways", "none is there", "start one with this account and prefix; see its /readyz"));
    } else if late.is_empty() {
        findings.push(good("gateways", format!("{} on the roster", nodes.len())));
    } else {
        findings.push(bad("gateways", format!("silent: {}", late.join(", ")), "see their logs and processors"));
    }
    let mut versions: Vec<_> = nodes.iter().map(|node| output::cell(node, "version")).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.len() > 1 {
        findings.push(note("versions", versions.join(", "), "finish the roll-out"));
    }
    findings
}

/// Open files, as a process started from here would have them.
fn files() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4)).map(str::to_owned).unwrap_or_default();
    match hard.parse::<u64>() {
        Ok(hard) if hard < FILES_MIN => note(
            "files",
            format!("at most {hard} may be open in processes started from here"),
            "a gateway needs one for each client: LimitNOFILE= in its unit, or the container runtime's setting",
        ),
        _ => good("files", format!("{hard} may be open")),
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str) -> ServerInfo {
        ServerInfo { version: version.to_owned(), ..ServerInfo::default() }
    }

    fn states(findings: &[Finding]) -> Vec<State> {
        findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn versions_that_are_too_old_are_refused_and_missing_features_named() {
        assert_eq!(states(&version(&info("2.9.10"))), [State::Bad]);
        assert_eq!(states(&version(&info("2.10.24"))), [State::Good, State::Note, State::Note]);
        assert_eq!(states(&version(&info("2.15.1"))), [State::Good]);
        assert_eq!(states(&version(&info("3.0.0"))), [State::Good, State::Note]);
    }

    #[test]
    fn a_clock_is_wrong_only_by_more_than_the_question_took() {
        let said = json!({"ts": "2026-01-01T00:00:10Z"});
        let at = holdfast_protocol::kept::unix_ms("2026-01-01T00:00:10Z").expect("a time");

        assert_eq!(clock(&said, at - 2_000, at + 2_000).expect("a clock").state, State::Good);
        assert_eq!(clock(&said, at + 600, at + 700).expect("a clock").state, State::Bad);
        assert_eq!(clock(&said, at - 900, at - 800).expect("a clock").state, State::Bad);
    }

    #[test]
    fn a_stream_of_other_shape_is_told_with_what_differs() {
        let right = json!({
            "subjects": ["hf.keep.>"], "republish": {"dest": "hf.int.kept.>"}, "allow_direct": true,
            "metadata": {"holdfast-epoch": "1"}, "num_replicas": 3, "storage": "file",
        });
        assert_eq!(states(&shape(&Subjects::new("hf"), "HF_KEPT", &right)), [State::Good]);
        let found = shape(&Subjects::new("other"), "HF_KEPT", &right);
        assert_eq!(found[0].state, State::Bad);
        assert!(found[0].said.contains("other.keep.>"), "{found:?}");
    }
}
