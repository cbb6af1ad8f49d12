//! What operators ask of one gateway over its admin listener: its connections, and orders to the node.
//!
//! The whole fleet is asked over the bus (`docs/bus.md`); this is for what only the node itself knows, and for when
//! the bus is away. Knows no shard and no hub but through [`Inspector`] and [`Orders`].

use std::net::IpAddr;

use holdfast_daemon::admin::{Answer, Api, Call};
use holdfast_daemon::shutdown::Tasks;
use holdfast_protocol::close::{Close, may_disconnect_with};
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::limits::CLOSE_REASON_BYTES_MAX;
use holdfast_protocol::wire::Command;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::hub::shell::Orders;
use crate::inspector::{Inspector, Page, Place, Unanswered};
use crate::link::Whose;

/// Connections on a page, unless asked otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    #[serde(default = "disconnect_code")]
    code: u16,
    #[serde(default)]
    reason: String,
}

const fn disconnect_code() -> u16 {
    Close::Disconnected.code()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shed {
    percent: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The API of a node.
pub fn api(node: NodeId, inspector: Inspector, orders: Orders, tasks: &Tasks) -> Api {
    let asked = inspector.clone();
    let answer = move |call: Call| {
        let (inspector, orders) = (asked.clone(), orders.clone());
        async move { answer(&inspector, &orders, &call).await.unwrap_or_else(|refusal| refusal) }
    };
    let more = move || {
        let inspector = inspector.clone();
        async move { json!({"node": node, "shards": inspector.profiles().await.unwrap_or_default()}) }
    };
    Api::new(tasks, answer, more)
}

async fn answer(inspector: &Inspector, orders: &Orders, call: &Call) -> Result<Answer, Answer> {
    match (call.writes, call.path().as_slice()) {
        (false, ["connections"]) => list(inspector, call).await,
        (false, ["connections", id]) => match inspector.find(connection(id)?).await.map_err(unanswered)? {
            Some(found) => Ok(Answer::text(found)),
            None => Err(Answer::nothing()),
        },
        (true, ["connections", id, "disconnect"]) => {
            let Disconnect { code, reason } = call.body()?;
            if !may_disconnect_with(code) {
                return Err(bad("code is 1000, 1008, 1012, 1013 or 3000 to 4999"));
            }
            if reason.len() > CLOSE_REASON_BYTES_MAX {
                return Err(bad("reason is at most 123 bytes"));
            }
            if inspector.disconnect(connection(id)?, code, reason).await.map_err(unanswered)? {
                Ok(Answer::ok(&json!({"connections": 1})))
            } else {
                Err(Answer::nothing())
            }
        }
        (true, ["drain"]) => order(orders, call.body().map(|Nothing {}| Command::Drain)?).await,
        (true, ["uncordon"]) => order(orders, call.body().map(|Nothing {}| Command::Uncordon)?).await,
        (true, ["shed"]) => match call.body()? {
            Shed { percent: percent @ 1..=100 } => order(orders, Command::Shed { percent }).await,
            Shed { .. } => Err(bad("percent is 1 to 100")),
        },
        _ => Err(Answer::nothing()),
    }
}

async fn list(inspector: &Inspector, call: &Call) -> Result<Answer, Answer> {
    if let Some(unknown) = call.unknown_parameter(&["user", "room", "address", "after", "limit"]) {
        return Err(bad(&format!("{unknown} is no parameter: user, room, address, after, limit")));
    }
    let of = match (call.parameter("user"), call.parameter("room")) {
        (None, None) => Whose::All,
        (Some(user), None) => Whose::User(user),
        (None, Some(room)) => Whose::Room(room),
        (Some(_), Some(_)) => return Err(bad("user or room, not both")),
    };
    let address = match call.parameter("address") {
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| bad("address is no IP address"))?.to_canonical()),
        None => None,
    };
    let after = match call.parameter("after") {
        Some(text) => Place::parse(&text).ok_or_else(|| bad("after is the next of the page before"))?,
        None => Place::default(),
    };
    let limit = match call.parameter("limit") {
        Some(text) => text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)),
        None => Some(PAGE),
    };
    let limit = limit.ok_or_else(|| bad(&format!("limit is 1 to {PAGE_MAX}")))?;
    let Page { entries, next } = inspector.list(of, address, after, limit).await.map_err(unanswered)?;
    // JSON already; put together without reading it again.
    let entries: Vec<_> = entries.into_iter().filter_map(|entry| RawValue::from_string(entry.into()).ok()).collect();
    let page = Listed { connections: entries, next: next.map(|next| next.to_string()) };
    Ok(Answer::text(serde_json::to_string(&page).unwrap_or_default()))
}

#[derive(Debug, serde::Serialize)]
struct Listed {
    connections: Vec<Box<RawValue>>,
    next: Option<String>,
}

async fn order(orders: &Orders, command: Command) -> Result<Answer, Answer> {
    match orders.give(command).await {
        Some(affected) => Ok(Answer::ok(&json!({"connections": affected}))),
        None => Err(unanswered(Unanswered::Ending)),
    }
}

fn connection(id: &str) -> Result<ConnectionId, Answer> {
    ConnectionId::parse(id).ok_or_else(Answer::nothing)
}

fn bad(what: &str) -> Answer {
    Answer::refused(StatusCode::BAD_REQUEST, what)
}

fn unanswered(why: Unanswered) -> Answer {
    Answer::refused(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())
}
