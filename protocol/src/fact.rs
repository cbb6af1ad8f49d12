//! Facts: what is published once something has become true (`event.*`), and their ids.
//!
//! An id is a function of key, transition and roster position, so that whoever publishes a fact again after a fail-over
//! gives it the same one. Also the one place that writes times for the public.

use std::fmt::Write as _;

use serde::Serialize;

use crate::id::{ConnectionId, NodeId};
use crate::wire::Cause;

/// What became true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// A connection is bound to its user.
    ConnectionOpened,
    /// It is gone.
    ConnectionClosed,
    /// A user's first connection.
    UserOnline,
    /// A user's last connection went, and none came within the linger.
    UserOffline,
    /// A room's first member.
    RoomOccupied,
    /// A room's last member left.
    RoomVacated,
    /// A member more, in rooms that are announced.
    RoomJoined,
    /// A member less, in rooms that are announced.
    RoomLeft,
    /// A node is gone without having said so.
    NodeLost,
}

impl Transition {
    /// The part of the subject between `event` and the key.
    pub const fn subject(self) -> &'static str {
        match self {
            Self::ConnectionOpened => "connection.opened",
            Self::ConnectionClosed => "connection.closed",
            Self::UserOnline => "user.online",
            Self::UserOffline => "user.offline",
            Self::RoomOccupied => "room.occupied",
            Self::RoomVacated => "room.vacated",
            Self::RoomJoined => "room.joined",
            Self::RoomLeft => "room.left",
            Self::NodeLost => "node.lost",
        }
    }
}

/// The body of a fact.
#[derive(Debug, Clone, Serialize)]
pub struct FactBody<'a> {
    /// The fact's id ([`fact_id`]).
    pub id: &'a str,
    /// When, RFC 3339 in UTC.
    pub time: &'a str,
    /// The node where it happened.
    pub node: Option<NodeId>,
    /// Why.
    #[serde(serialize_with = "cause")]
    pub cause: Cause,
    /// The user, in facts about users and connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The room, in facts about rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a str>,
    /// The connection, in facts about connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// Members now, in facts about announced rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn cause<S: serde::Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cause.as_str())
}

impl FactBody<'_> {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers only: nothing in here can fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The id of a fact: the transition of `key` at `node`'s roster batch `seq` (for connections: the connection's id as
/// key and 0).
pub fn fact_id(transition: Transition, key: &str, node: NodeId, seq: u64) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in transition.subject().bytes().chain([0]).chain(key.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{node}-{seq:x}-{hash:016x}")
}

/// A moment as RFC 3339 in UTC with milliseconds, from Unix milliseconds.
pub fn rfc3339(unix_ms: u64) -> String {
    let (seconds, millis) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days, for days since 1970 that are never negative here.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = String::with_capacity(24);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to a String does not fail.
    write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z").unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (1_763_721_003_042, "2025-11-21T10:30:03.042Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }

    #[test]
    fn a_fact_s_id_tells_transitions_keys_and_positions_apart() {
        let node = NodeId::gateway([3; 8]);
        let id = fact_id(Transition::UserOnline, "42", node, 7);

        assert_eq!(fact_id(Transition::UserOnline, "42", node, 7), id);
        for other in [
            fact_id(Transition::UserOffline, "42", node, 7),
            fact_id(Transition::UserOnline, "43", node, 7),
            fact_id(Transition::UserOnline, "42", node, 8),
            fact_id(Transition::UserOnline, "42", NodeId::gateway([4; 8]), 7),
        ] {
            assert_ne!(other, id);
        }
    }

    #[test]
    fn bodies_leave_out_what_does_not_apply() {
        let body = FactBody {
            id: "i",
            time: "t",
            node: None,
            cause: Cause::NodeLost,
            user: Some("42"),
            room: None,
            connection: None,
            count: None,
        };
        assert_eq!(body.encode(), br#"{"id":"i","time":"t","node":null,"cause":"node_lost","user":"42"}"#);
    }
}
