//! `holdfast admin`: one process by its admin listener: what only the node itself knows, and when the bus is away.
//!
//! Speaks the HTTP of `docs/operations.md`, "Ask one process". Plain, since the listener is on loopback or inside the
//! cluster: through `kubectl port-forward`, as a rule.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::args::{Global, Paging, parse_key};
use crate::ctl::{parse_code, parse_reason};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, cell};

const AFTER_HELP: &str = "\
Examples:
  kubectl port-forward pod/holdfast-gateway-abc 9090 &
  holdfast admin connections --address 192.0.2.7     who comes from there
  holdfast admin connections --user ana --json
  holdfast admin connection \"$ID\"                    with its rooms
  holdfast admin disconnect \"$ID\" --reason bye
  holdfast admin shed 10                             a tenth of its clients, to other nodes
  holdfast admin profile --seconds 5                 threads, tasks, memory

Exit status 3: there is no such connection.";

/// The profile looks for a while before it answers.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AdminArgs {
    /// The admin listener of the process.
    #[arg(long, global = true, default_value = "http://127.0.0.1:9090", value_name = "URL")]
    url: Uri,
    /// Its token.
    #[arg(long, global = true, env = "HOLDFAST_ADMIN__TOKEN", hide_env_values = true, value_name = "TOKEN")]
    admin_token: Option<String>,
    /// A file with its token.
    #[arg(long, global = true, env = "HOLDFAST_ADMIN__TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Connections of this gateway, by page.
    Connections {
        /// Only this user's.
        #[arg(long, value_parser = parse_key, conflicts_with = "room")]
        user: Option<String>,
        /// Only this room's members.
        #[arg(long, value_parser = parse_key)]
        room: Option<String>,
        /// Only those from this IP address.
        #[arg(long)]
        address: Option<IpAddr>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One connection, with its rooms.
    Connection {
        #[arg(value_parser = parse_key)]
        id: String,
    },
    /// Close one connection.
    Disconnect {
        #[arg(value_parser = parse_key)]
        id: String,
        /// 1000, 1008, 1012, 1013 or 3000–4999; default 4000.
        #[arg(long, value_parser = parse_code)]
        code: Option<u16>,
        /// Shown to the client; at most 123 bytes.
        #[arg(long, value_parser = parse_reason)]
        reason: Option<String>,
    },
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
    /// What the process spends its time and memory on.
    Profile {
        /// How long to look.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
        seconds: u8,
    },
}

/// A request: method, path with its query, body.
#[derive(Debug, PartialEq, Eq)]
struct Asked(Method, String, String);

impl What {
    fn request(&self) -> Asked {
        let post = |path: &str, body: Value| Asked(Method::POST, format!("/admin/{path}"), body.to_string());
        let get = |path: String| Asked(Method::GET, format!("/admin/{path}"), String::new());
        match self {
            Self::Connections { user, room, address, paging } => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("limit", &paging.limit.to_string());
                let address = address.map(|address| address.to_string());
                for (name, value) in [("user", user), ("room", room), ("address", &address), ("after", &paging.after)] {
                    if let Some(value) = value {
                        query.append_pair(name, value);
                    }
                }
                get(format!("connections?{}", query.finish()))
            }
            Self::Connection { id } => get(format!("connections/{}", segment(id))),
            Self::Disconnect { id, code, reason } => {
                let mut body = json!({});
                for (name, value) in [("code", code.map(Value::from)), ("reason", reason.clone().map(Value::from))] {
                    if let Some(value) = value {
                        body[name] = value;
                    }
                }
                post(&format!("connections/{}/disconnect", segment(id)), body)
            }
            Self::Drain => post("drain", json!({})),
            Self::Uncordon => post("uncordon", json!({})),
            Self::Shed { percent } => post("shed", json!({ "percent": percent })),
            Self::Profile { seconds } => get(format!("profile?seconds={seconds}")),
        }
    }
}

/// Ids are plain; what is not cannot be one, but must not become another path.
fn segment(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

/// Asks and prints.
pub(crate) async fn run(global: &Global, mut args: AdminArgs) -> Outcome {
    let token = match (&args.admin_token, &args.admin_token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Some(text.trim_end().to_owned())
        }
        (None, None) => None,
    };
    let mut seen = 0;
    loop {
        let answer = ask(&args.url, token.as_deref(), args.what.request()).await?;
        if let What::Connections { paging, .. } = &mut args.what {
            seen += answer["connections"].as_array().map_or(0, Vec::len);
            print_page(global, &answer, paging.every)?;
            paging.after = answer["next"].as_str().map(str::to_owned);
            if paging.every && paging.after.is_some() {
                continue;
            }
            return Ok(if seen == 0 && paging.after.is_none() { Exit::Nobody } else { Exit::Done });
        }
        output::line(&if global.json { answer.to_string() } else { render(&args.what, &answer) })?;
        return Ok(Exit::Done);
    }
}

fn print_page(global: &Global, answer: &Value, every: bool) -> Result<(), Failure> {
    let list = answer["connections"].as_array().map(Vec::as_slice).unwrap_or_default();
    if global.json && every {
        for entry in list {
            output::line(&entry.to_string())?;
        }
    } else if global.json {
        output::line(&answer.to_string())?;
    } else {
        let fields =
            ["connection", "user", "device", "address", "transport", "state", "rooms", "queued_bytes", "since"];
        let rows: Vec<Vec<String>> =
            list.iter().map(|entry| fields.iter().map(|field| cell(entry, field)).collect()).collect();
        if !rows.is_empty() {
            output::line(&output::table(&fields, &rows))?;
        }
        if let (false, Some(next)) = (every, answer["next"].as_str()) {
            output::line(&format!("more: --after {next}"))?;
        }
    }
    Ok(())
}

fn render(what: &What, answer: &Value) -> String {
    match what {
        What::Drain | What::Uncordon | What::Shed { .. } | What::Disconnect { .. } => {
            format!("{} connections concerned", cell(answer, "connections"))
        }
        What::Connections { .. } | What::Connection { .. } | What::Profile { .. } => {
            format!("{answer:#}")
        }
    }
}

async fn ask(url: &Uri, token: Option<&str>, Asked(method, path, body): Asked) -> Result<Value, Failure> {
    let (Some("http"), Some(host)) = (url.scheme_str(), url.host()) else {
        return Err(Failure::usage(format!("{url} is no http://host:port")));
    };
    let port = url.port_u16().unwrap_or(80);
    let mut request = Request::builder().method(method).uri(path).header(HOST, format!("{host}:{port}"));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request =
        request.body(Full::new(Bytes::from(body))).map_err(|_| Failure::usage("the token is no line of text"))?;
    let exchange = async {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await.with_context(|| format!("cannot reach {url}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::pin!(answer, connection);
        let (status, body) = tokio::select! {
            answer = &mut answer => answer?,
            ended = &mut connection => {
                ended?;
                answer.await?
            }
        };
        Ok::<_, anyhow::Error>((status, body))
    };
    let answered = tokio::time::timeout(PATIENCE, exchange).await;
    let (status, body) = answered.map_err(|_| Failure::new(Exit::TimedOut, "no answer in time"))??;
    let said = String::from_utf8_lossy(&body);
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    match (status, json) {
        (StatusCode::OK, Some(json)) => Ok(json),
        (status, json) => {
            let said = json.as_ref().and_then(|json| json["error"].as_str()).unwrap_or_else(|| said.trim());
            let exit = if status == StatusCode::NOT_FOUND { Exit::Nobody } else { Exit::Failed };
            Err(Failure::new(exit, format!("{status}: {said}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn asked(line: &[&str]) -> Asked {
        let cli = Cli::try_parse_from(["holdfast", "admin"].iter().chain(line)).unwrap();
        let Command::Admin(args) = cli.command else { unreachable!("admin was parsed") };
        args.what.request()
    }

    #[test]
    fn each_command_is_a_request_of_the_admin_listener() {
        for (line, method, path, body) in [
            (&["connections"][..], Method::GET, "/admin/connections?limit=100", ""),
            (
                &["connections", "--user", "a&b c", "--address", "192.0.2.7", "--limit", "5", "--after", "1.2"],
                Method::GET,
                "/admin/connections?limit=5&user=a%26b+c&address=192.0.2.7&after=1.2",
                "",
            ),
            (&["connection", "a/../drain"], Method::GET, "/admin/connections/a%2F..%2Fdrain", ""),
            (&["disconnect", "x"], Method::POST, "/admin/connections/x/disconnect", "{}"),
            (
                &["disconnect", "x", "--code", "4001", "--reason", "bye"],
                Method::POST,
                "/admin/connections/x/disconnect",
                r#"{"code":4001,"reason":"bye"}"#,
            ),
            (&["drain"], Method::POST, "/admin/drain", "{}"),
            (&["uncordon"], Method::POST, "/admin/uncordon", "{}"),
            (&["shed", "10"], Method::POST, "/admin/shed", r#"{"percent":10}"#),
            (&["profile", "--seconds", "3"], Method::GET, "/admin/profile?seconds=3", ""),
        ] {
            assert_eq!(asked(line), Asked(method, path.to_owned(), body.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_before_it_is_sent() {
        for line in [
            &["shed", "0"][..],
            &["shed", "101"],
            &["connections", "--user", "a", "--room", "b"],
            &["connections", "--address", "here"],
            &["connections", "--limit", "1001"],
            &["disconnect", "x", "--code", "1001"],
        ] {
            assert!(Cli::try_parse_from(["holdfast", "admin"].iter().chain(line)).is_err(), "{line:?}");
        }
    }
}
