//! What a path stands for: a name on the bus, and the rules for those who connect by it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use holdfast_protocol::dialect::Dialect;

use super::destinations::Destinations;

/// Where a client came in.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name on the bus: one token, whatever the path.
    pub name: Arc<str>,
    /// Shared by the endpoints of one rule.
    pub rules: Arc<Rules>,
}

impl Deref for Endpoint {
    type Target = Rules;

    fn deref(&self) -> &Rules {
        &self.rules
    }
}

/// What holds for the connections of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What may be spoken; the first where the client asks for nothing.
    pub dialects: Vec<Dialect>,
    /// Where credentials are looked for; the first that is there decides.
    pub sources: Vec<Source>,
    /// Bounds per connection.
    pub limits: Limits,
    /// Bounds of what waits for a client.
    pub outbox: OutboxRules,
    /// Ask `auth.connect.<endpoint>` who the client is, in place of verifying a token.
    pub connect_callout: bool,
    /// Ask `auth.join.<endpoint>` at each join, in place of the token's patterns.
    pub join_callout: bool,
    /// Dialect `bare`: the top-level string field that names the upstream path; `message` without it.
    pub type_field: Option<String>,
    /// `?userId=` and INIT without a token make somebody: the development profile.
    pub unsigned_users: bool,
    /// How many connections a user may have.
    pub devices: Devices,
    /// Dialect `stomp`: what destinations mean.
    pub destinations: Destinations,
}

/// A place where a handshake or a client may carry a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// `Authorization: Bearer …`
    Authorization,
    /// The cookie `holdfast_token`.
    Cookie,
    /// The query parameter `token`.
    Query,
    /// The sub-protocol `base64url.bearer.holdfast.…`.
    Subprotocol,
    /// `auth` or INIT, after the upgrade.
    FirstMessage,
}

impl Source {
    /// Each source, in the default order.
    pub const ALL: [Self; 5] = [Self::Authorization, Self::Cookie, Self::Query, Self::Subprotocol, Self::FirstMessage];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::Query => "query",
            Self::Subprotocol => "subprotocol",
            Self::FirstMessage => "first_message",
        }
    }

    /// The source with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// How many connections a user may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// Any number.
    All,
    /// One: the newest replaces the others.
    Newest,
}

/// Bounds per connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest message from a client; more is 1009.
    pub message_bytes_max: usize,
    /// Rooms a client may be in by its own will.
    pub rooms_max: usize,
    /// Requests that may wait for their reply.
    pub requests_max: usize,
    /// Messages upstream that may wait for their `ok`.
    pub publishes_max: usize,
    /// Messages and bytes a client may send ahead while it is being verified.
    pub held_max: usize,
    /// The same in bytes.
    pub held_bytes_max: usize,
    /// How long a connection may be nobody's.
    pub credential_timeout: Duration,
    /// How often the node pings.
    pub heartbeat: Duration,
    /// How long a request waits where the client does not say.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 * 1024,
            rooms_max: 128,
            requests_max: 64,
            // A batch of them is confirmed within a round trip to the bus; this is for a bus that stalls.
            publishes_max: 4096,
            held_max: 64,
            held_bytes_max: 128 * 1024,
            credential_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(25),
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// What to do with a client that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Close with 4008.
    Close,
    /// Drop the oldest messages, and send a `gap`.
    DropOldest,
}

/// Bounds of what waits for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRules {
    /// Bytes that may wait.
    pub bytes_max: usize,
    /// How long a message may wait.
    pub age_max: Duration,
    /// What to do then.
    pub when_full: WhenFull,
}

impl Default for OutboxRules {
    fn default() -> Self {
        Self { bytes_max: 1024 * 1024, age_max: Duration::from_secs(30), when_full: WhenFull::Close }
    }
}

impl Rules {
    /// The rules of `/ws` and `/ws/**` out of the box: dialect `json`, each source.
    pub fn json() -> Self {
        Self {
            dialects: vec![Dialect::Json, Dialect::Bare, Dialect::Stomp],
            sources: Source::ALL.to_vec(),
            limits: Limits::default(),
            outbox: OutboxRules::default(),
            connect_callout: false,
            join_callout: false,
            type_field: None,
            unsigned_users: false,
            devices: Devices::All,
            destinations: Destinations::default(),
        }
    }

    /// The same with dialect `bare` first: other paths.
    pub fn bare() -> Self {
        Self { dialects: vec![Dialect::Bare, Dialect::Json, Dialect::Stomp], ..Self::json() }
    }
}
