//! Bodies of queries and their answers, as domain services see them. What a node knows comes as finished JSON and is
//! passed on untouched.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{ConnectionId, NodeId};
use crate::limits::{QUERY_MEMBERS_DEFAULT, QUERY_MEMBERS_MAX};

/// Which part of a room's members is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: u32,
    /// Only those after this one.
    pub after: Option<ConnectionId>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: QUERY_MEMBERS_DEFAULT, after: None }
    }
}

/// Why the body of a room query is refused: service error 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not a JSON object with fields of the right types.
    #[error("the body is not valid: {0}")]
    Body(String),
    /// Zero or over the maximum.
    #[error("limit must be 1 to {QUERY_MEMBERS_MAX}")]
    Limit,
    /// Not what an answer's `next` held.
    #[error("after must be the next of an earlier answer")]
    After,
}

impl Page {
    /// Reads the body of a room query; empty means the defaults.
    ///
    /// # Errors
    /// The body asks for no page that exists.
    pub fn parse(body: &[u8]) -> Result<Self, PageError> {
        #[derive(Deserialize)]
        struct Body {
            limit: Option<u64>,
            after: Option<String>,
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let body: Body = serde_json::from_slice(body).map_err(|error| PageError::Body(error.to_string()))?;
        let limit = match body.limit.map(u32::try_from) {
            None => QUERY_MEMBERS_DEFAULT,
            Some(Ok(limit @ 1..=QUERY_MEMBERS_MAX)) => limit,
            Some(_) => return Err(PageError::Limit),
        };
        let after = match body.after {
            None => None,
            Some(after) => Some(ConnectionId::parse(&after).ok_or(PageError::After)?),
        };
        Ok(Self { limit, after })
    }
}

/// The answer about a user.
#[derive(Debug, Serialize)]
pub struct UserAnswer<'a> {
    /// Who.
    pub user: &'a str,
    /// Whether a connection exists now.
    pub online: bool,
    /// Whether the last connection is gone, but the fact `user.offline` not yet out.
    pub lingering: bool,
    /// `{"connection","node","device","endpoint","rooms"}` each.
    pub connections: Vec<&'a RawValue>,
    /// Nodes that did not answer in time: what they hold is missing above. Absent where all did.
    #[serde(skip_serializing_if = "is_zero")]
    pub late_nodes: u64,
}

/// The answer about a room.
#[derive(Debug, Serialize)]
pub struct RoomAnswer<'a> {
    /// Which.
    pub room: &'a str,
    /// All members.
    pub count: u64,
    /// `{"connection","user","node","device"}` each, ordered by connection.
    pub members: Vec<&'a RawValue>,
    /// What to ask for next, null at the end.
    pub next: Option<String>,
    /// Nodes that did not answer in time: what they hold is missing above. Absent where all did.
    #[serde(skip_serializing_if = "is_zero")]
    pub late_nodes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// One node in the answer about nodes.
#[derive(Debug, Serialize)]
pub struct NodeAnswer<'a> {
    /// Which.
    pub node: NodeId,
    /// `live`, `draining` or `late`.
    pub state: &'static str,
    /// Its connections at its last beat.
    pub connections: u64,
    /// Its build.
    pub version: &'a str,
    /// What it sends away, paced; absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingAnswer>,
}

/// How far a node is that sends connections away: a drain, a part that is shed, or connections over their age.
#[derive(Debug, Serialize)]
pub struct DrainingAnswer {
    /// Connections that are still to be closed.
    pub left: u64,
    /// Closes per second.
    pub rate: f64,
    /// When the last is closed at this rate, RFC 3339.
    pub until: String,
}

/// The answer about all nodes.
#[derive(Debug, Serialize)]
pub struct NodesAnswer<'a> {
    /// Each node, ordered by id.
    pub nodes: Vec<NodeAnswer<'a>>,
}

/// The answer about the fleet.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StatsAnswer {
    /// Connections.
    pub connections: u64,
    /// Users with a connection.
    pub users: u64,
    /// Rooms with a member.
    pub rooms: u64,
    /// Gateways.
    pub nodes: u64,
    /// Routers that own partitions.
    pub routers: u64,
}

/// The connection a node's entry is about; what pages continue from.
pub fn connection_of_entry(entry: &str) -> Option<ConnectionId> {
    #[derive(Deserialize)]
    struct Entry<'a> {
        connection: &'a str,
    }
    serde_json::from_str::<Entry<'_>>(entry).ok().and_then(|entry| ConnectionId::parse(entry.connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_defaults_and_bounds() {
        let id = ConnectionId::new(NodeId::gateway([1; 8]), [2; 16]);
        assert_eq!(Page::parse(b""), Ok(Page::default()));
        assert_eq!(Page::parse(b" {} "), Ok(Page::default()));
        assert_eq!(
            Page::parse(format!(r#"{{"limit":2,"after":"{id}"}}"#).as_bytes()),
            Ok(Page { limit: 2, after: Some(id) })
        );
        assert_eq!(Page::parse(br#"{"limit":null,"after":null}"#), Ok(Page::default()));
        assert_eq!(Page::parse(br#"{"limit":0}"#), Err(PageError::Limit));
        assert_eq!(Page::parse(br#"{"limit":1001}"#), Err(PageError::Limit));
        assert_eq!(Page::parse(br#"{"after":"x"}"#), Err(PageError::After));
        assert!(matches!(Page::parse(b"[1"), Err(PageError::Body(_))));
    }

    #[test]
    fn answers_have_the_contract_s_fields() {
        let entry = RawValue::from_string(r#"{"connection":"c"}"#.to_owned()).expect("valid");
        let user = UserAnswer { user: "42", online: true, lingering: false, connections: vec![&entry], late_nodes: 0 };
        assert_eq!(
            serde_json::to_string(&user).ok().as_deref(),
            Some(r#"{"user":"42","online":true,"lingering":false,"connections":[{"connection":"c"}]}"#)
        );
        let room = RoomAnswer { room: "r", count: 0, members: vec![], next: None, late_nodes: 1 };
        assert_eq!(
            serde_json::to_string(&room).ok().as_deref(),
            Some(r#"{"room":"r","count":0,"members":[],"next":null,"late_nodes":1}"#)
        );
    }

    #[test]
    fn an_entry_names_its_connection() {
        let id = ConnectionId::new(NodeId::gateway([1; 8]), [2; 16]);
        assert_eq!(connection_of_entry(&format!(r#"{{"connection":"{id}","user":"x"}}"#)), Some(id));
        assert_eq!(connection_of_entry("{}"), None);
    }
}
