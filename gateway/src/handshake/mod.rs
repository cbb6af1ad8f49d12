//! From the head of an HTTP request to a decision: which endpoint, who, and in which dialect, or which status.
//!
//! The order is that of the checks: path (404, 400), then the RFC 6455 checks that `net` does (405, 426, 400), then
//! origin (403), sub-protocol (400), query (400), credential (401, 403, 503), and last whether the bus can serve the
//! connection (503). Knows no socket and writes no response.

mod credential;
mod destinations;
mod endpoint;
mod gatekeeper;
mod origin;
mod path;
mod query;
mod refusal;
mod subprotocol;

use std::sync::Arc;

use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::position::Position;

pub use destinations::{Destinations, Meaning, Sending, check_prefix};
pub use endpoint::{Devices, Endpoint, Limits, OutboxRules, Rules, Source, WhenFull};
pub use gatekeeper::{GateSettings, Gatekeeper, Lookup};
pub use origin::Origins;
pub use path::{PathRule, PathRules};
pub use refusal::HttpRefusal;

use crate::auth::Identity;

/// A connection that may be upgraded.
#[derive(Debug)]
pub struct Admission {
    /// Where it came in.
    pub endpoint: Arc<Endpoint>,
    /// What it speaks.
    pub dialect: Dialect,
    /// The sub-protocol to answer with; none where the client offered none.
    pub subprotocol: Option<&'static str>,
    /// Who it is, where the handshake carried a credential. Its device is that of the claim, else of the query.
    pub identity: Option<Identity>,
    /// The identity is what the client merely said (`?userId=` in the development profile).
    pub unsigned: bool,
    /// `?device=`
    pub device: Option<Arc<str>>,
    /// `?since=`, dialect `json` only.
    pub since: Option<Position>,
    /// `?room=`, dialect `bare` only: valid keys, and allowed where the identity is known.
    pub rooms: Vec<Arc<str>>,
}
