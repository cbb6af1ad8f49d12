//! What the core needs to be told: bounds and times. All times in milliseconds.

use holdfast_protocol::subject::Subjects;

use super::announce::Pattern;
use super::sections::Sections;

/// Settings of one router.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Subjects of the fleet.
    pub subjects: Subjects,
    /// Into how many sections the routers of the fleet are split.
    pub sections: Sections,
    /// A node that is silent for so long is off the roster.
    pub node_timeout_ms: u64,
    /// A user is offline so long after the last connection went.
    pub linger_ms: u64,
    /// Rooms whose joins and leaves are facts.
    pub announce: Vec<Pattern>,
    /// Receipts waiting at the same time; the one due next is answered early when there are more.
    pub receipts_max: usize,
    /// Queries waiting for nodes at the same time; more are refused.
    pub queries_max: usize,
    /// Facts waiting to be published; the oldest are dropped when there are more.
    pub facts_max: usize,
    /// Seed of the hash tables: random in a process, fixed in a simulation.
    pub hash_seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            subjects: Subjects::new("hf"),
            sections: Sections::ONE,
            node_timeout_ms: 10_000,
            linger_ms: 5_000,
            announce: Vec::new(),
            receipts_max: 131_072,
            queries_max: 4_096,
            facts_max: 262_144,
            hash_seed: 0,
        }
    }
}

/// Between two beats of a router.
pub const BEAT_INTERVAL_MS: u64 = 100;
/// A node that was sent no packet for so long is sent an empty one.
pub const PACKET_SILENCE_MS: u64 = 400;
/// A router that has not heard a beat of its own for so long handles nothing.
pub const SELF_SILENCE_MS: u64 = 500;
/// How long it then waits for a fresh beat of its own to come back, holding what it has, before it throws that away.
pub const HOLD_MAX_MS: u64 = 2_000;
/// A router that others have not heard for so long has crashed. Longer than [`SELF_SILENCE_MS`]: it stops first.
pub const ROUTER_SILENCE_MS: u64 = 700;
/// How long a joining router listens before it may be whole: longer than nodes take from beat to beat, so that one whose
/// answer to our discovery is late has been heard, and is waited for.
pub const JOIN_WAIT_MS: u64 = 600;
/// How long one of several that join at the same time waits for those before it.
pub const FIRST_WAIT_MS: u64 = 1_000;
/// How long an old owner goes on forwarding kept messages after an orderly change, and the last router everything.
pub const HANDOVER_MS: u64 = 300;
/// How long whoever comes or goes listens first: each of the others has said meanwhile whether a move is under way.
pub const OWNERS_HEARD_MS: u64 = 150;
/// How long whoever comes or goes waits until the others agree on who the owners are.
pub const OWNERS_UNSURE_MS: u64 = 1_500;
/// How long others may name other owners than we know while no move is under way. Longer than a beat takes.
pub const OWNERS_DIFFER_MS: u64 = 1_000;
/// How far back an heir forwards kept messages again: longer than it takes to give up a router.
pub const KEPT_RECENT_MS: u64 = 3_000;
/// A node whose beat has not come for so long is pinged: its interval of 500 and 700 more.
pub const NODE_OVERDUE_MS: u64 = 1_200;
/// Between two pings of a node.
pub const PING_INTERVAL_MS: u64 = 300;
/// A node that is silent for so long is late.
pub const NODE_LATE_MS: u64 = 2_000;
/// Between two requests for the same snapshot.
pub const SNAPSHOT_RETRY_MS: u64 = 1_000;
/// How long a query waits for nodes.
pub const QUERY_TIMEOUT_MS: u64 = 500;
/// How long a leaving router waits at most: for its turn, its heirs and its receipts.
pub const LEAVE_MAX_MS: u64 = 5_000;
/// How long a contested claim of `newest` is left before the older connections are told again.
pub const CONTEST_RETRY_MS: u64 = 1_000;
