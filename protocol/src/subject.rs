//! Every NATS subject of Holdfast, built and parsed: the only file where one is spelled.
//!
//! The prefix (`hf` by default) is a setting; all else is the contract of `docs/bus.md`. Knows nothing of
//! payloads and headers.

mod outside;
mod section;

use crate::id::{ConnectionId, NodeId};
use crate::token::{self, TokenError};

/// Builds and parses the subjects of one fleet.
#[derive(Debug, Clone)]
pub struct Subjects {
    prefix: String,
}

/// Whom a send, a kept publish or a command is for. Keys are decoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Each connection of a user.
    User(String),
    /// Each member of a room.
    Room(String),
    /// One connection; text that is no id of ours is kept, and is simply offline.
    Connection(String),
    /// Each connection.
    All,
}

/// What a subject under `send`, `ctl` or `keep` names, before headers are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A target in the subject itself.
    One(Target),
    /// `many`: the targets are in `Hf-To`.
    Many,
    /// `ctl.node.<node>`: the gateway itself.
    Node(NodeId),
}

/// The three kinds of downstream traffic; order holds within a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `send`: live.
    Send,
    /// `ctl`: a command.
    Ctl,
    /// `keep`: stored, then routed from the stream's copy.
    Keep,
}

/// What the router's queries are about. Keys are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// `query.user.<user>`
    User(String),
    /// `query.room.<room>`
    Room(String),
    /// `query.connection.<id>`
    Connection(String),
    /// `query.nodes`
    Nodes,
    /// `query.stats`
    Stats,
}

/// A message in the inbox of one process. The numbers are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbox {
    /// Sent to itself behind a batch: once it is back, the bus has the batch.
    Marker(u64),
    /// The reply to a request.
    Reply(u64),
}

/// The subjects of one process's own inbox: replies to its requests, and markers it sends to itself.
#[derive(Debug, Clone)]
pub struct InboxSubjects {
    base: String,
}

impl InboxSubjects {
    /// The inbox of `node` under the prefix for inboxes (`_INBOX` by default).
    pub fn new(prefix: &str, node: NodeId) -> Self {
        Self { base: format!("{prefix}.{node}") }
    }

    /// Everything in the inbox.
    pub fn all(&self) -> String {
        format!("{}.>", self.base)
    }

    /// One message of it.
    pub fn of(&self, message: Inbox) -> String {
        match message {
            Inbox::Marker(number) => format!("{}.m.{number}", self.base),
            Inbox::Reply(number) => format!("{}.r.{number}", self.base),
        }
    }

    /// What arrived with this subject.
    pub fn parse(&self, subject: &str) -> Option<Inbox> {
        let (kind, number) = subject.strip_prefix(&self.base)?.strip_prefix('.')?.split_once('.')?;
        let number = number.parse().ok()?;
        match kind {
            "m" => Some(Inbox::Marker(number)),
            "r" => Some(Inbox::Reply(number)),
            _ => None,
        }
    }
}

/// Why a subject names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// No such kind of target or query, or too many or too few tokens.
    #[error("unknown subject")]
    Unknown,
    /// A key is not a canonical token.
    #[error("malformed token in the subject")]
    Token(#[source] TokenError),
}

impl Subjects {
    /// Subjects under `prefix`, which the configuration has checked to be plain tokens joined by dots.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The prefix itself.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Any subject below the prefix; for tools that try what a user may.
    pub fn join(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    // --- what routers listen to ---

    /// All sends.
    pub fn send_all(&self) -> String {
        self.join("send.>")
    }

    /// All commands.
    pub fn ctl_all(&self) -> String {
        self.join("ctl.>")
    }

    /// All kept publishes; the stream captures these.
    pub fn keep_all(&self) -> String {
        self.join("keep.>")
    }

    /// Where the stream republishes what it stored; the rest of the subject is that of the kept publish.
    pub fn kept_all(&self) -> String {
        self.join("int.kept.>")
    }

    /// The subject of queries of one kind, as the micro service declares it: `user.*`, `nodes`, ….
    pub fn query(&self, kind: &str) -> String {
        format!("{}.query.{kind}", self.prefix)
    }

    // --- between gateways and routers ---

    /// All that is meant for one gateway: packets, acknowledgements, pings.
    pub fn node(&self, node: NodeId) -> String {
        format!("{}.int.node.{node}", self.prefix)
    }

    /// All that is meant for one router: reports, snapshots, answers.
    pub fn router(&self, router: NodeId) -> String {
        format!("{}.int.router.{router}", self.prefix)
    }

    /// One node's stream of roster changes.
    pub fn roster(&self, node: NodeId) -> String {
        format!("{}.int.roster.{node}", self.prefix)
    }

    /// Each node's roster changes.
    pub fn roster_all(&self) -> String {
        self.join("int.roster.*")
    }

    /// Beats of gateways.
    pub fn beat_nodes(&self) -> String {
        self.join("int.beat.node")
    }

    /// Beats of routers.
    pub fn beat_routers(&self) -> String {
        self.join("int.beat.router")
    }

    /// A cold router asks each gateway for its roster.
    pub fn discover(&self) -> String {
        self.join("int.discover")
    }

    /// Requests of clients for the HTTP sessions of one gateway.
    pub fn exchange(&self, node: NodeId) -> String {
        format!("{}.int.http.{node}", self.prefix)
    }

    /// Which node has an HTTP session: any router answers.
    pub fn find(&self) -> String {
        self.join("int.find")
    }

    // --- upstream ---

    /// A client's message: `up.<endpoint>.<path…>`; `to` is already checked and split.
    pub fn up<'a>(&self, endpoint: &str, to: impl IntoIterator<Item = &'a str>) -> String {
        self.upstream("up", endpoint, to)
    }

    /// A client's request: `req.<endpoint>.<path…>`.
    pub fn req<'a>(&self, endpoint: &str, to: impl IntoIterator<Item = &'a str>) -> String {
        self.upstream("req", endpoint, to)
    }

    fn upstream<'a>(&self, kind: &str, endpoint: &str, to: impl IntoIterator<Item = &'a str>) -> String {
        let mut subject = format!("{}.{kind}.", self.prefix);
        token::encode_into(endpoint, &mut subject);
        for segment in to {
            subject.push('.');
            token::encode_into(segment, &mut subject);
        }
        subject
    }

    /// The callout "who is this?".
    pub fn auth_connect(&self, endpoint: &str) -> String {
        self.keyed("auth.connect", endpoint)
    }

    /// The callout "may they join?".
    pub fn auth_join(&self, endpoint: &str) -> String {
        self.keyed("auth.join", endpoint)
    }

    // --- facts ---

    /// A fact about a key: `event.user.online.<user>` for `what` = `user.online`.
    pub fn event(&self, what: &str, key: &str) -> String {
        let mut subject = format!("{}.event.{what}.", self.prefix);
        token::encode_into(key, &mut subject);
        subject
    }

    /// Facts about users, for the routers themselves.
    pub fn event_users(&self) -> String {
        self.join("event.user.*.*")
    }

    /// Facts about rooms, for the routers themselves.
    pub fn event_rooms(&self) -> String {
        self.join("event.room.*.*")
    }

    fn keyed(&self, middle: &str, key: &str) -> String {
        let mut subject = format!("{}.{middle}.", self.prefix);
        token::encode_into(key, &mut subject);
        subject
    }

    // --- parsing ---

    /// The part behind the prefix and `head`, e.g. `user.42` of `hf.send.user.42` for `send`.
    pub fn strip<'a>(&self, subject: &'a str, head: &str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)?.strip_prefix('.')?.strip_prefix(head)?.strip_prefix('.')
    }

    /// What a subject under `send`, `ctl` or `keep` names, and the partition it belongs to. `many` has no
    /// partition of its own: it is that of its first target ([`partition_of_target`]).
    ///
    /// # Errors
    /// The subject names nothing that this kind can reach.
    pub fn parse_address(&self, kind: Kind, subject: &str) -> Result<(Address, Option<usize>), SubjectError> {
        let head = match kind {
            Kind::Send => "send",
            Kind::Ctl => "ctl",
            Kind::Keep => "keep",
        };
        let rest = self.strip(subject, head).ok_or(SubjectError::Unknown)?;
        match (rest.split_once('.'), rest, kind) {
            (None, "all", Kind::Send | Kind::Ctl) => {
                Ok((Address::One(Target::All), Some(token::partition_of_token("all"))))
            }
            (None, "many", Kind::Send) => Ok((Address::Many, None)),
            (None, ..) => Err(SubjectError::Unknown),
            (Some((what, key)), ..) => {
                let make = match (what, kind) {
                    ("user", _) => Target::User,
                    ("room", _) => Target::Room,
                    ("connection", Kind::Send | Kind::Ctl) => Target::Connection,
                    ("node", Kind::Ctl) => {
                        let node = NodeId::parse(key).ok_or(SubjectError::Unknown)?;
                        return Ok((Address::Node(node), Some(token::partition_of_token(key))));
                    }
                    _ => return Err(SubjectError::Unknown),
                };
                let decoded = token::decode(key).map_err(SubjectError::Token)?;
                Ok((Address::One(make(decoded)), Some(token::partition_of_token(key))))
            }
        }
    }

    /// What a query subject asks.
    ///
    /// # Errors
    /// No such query, or a malformed key.
    pub fn parse_query(&self, subject: &str) -> Result<Query, SubjectError> {
        let rest = self.strip(subject, "query").ok_or(SubjectError::Unknown)?;
        match rest.split_once('.') {
            None if rest == "nodes" => Ok(Query::Nodes),
            None if rest == "stats" => Ok(Query::Stats),
            Some((what @ ("user" | "room" | "connection"), key)) => {
                let key = token::decode(key).map_err(SubjectError::Token)?;
                Ok(match what {
                    "user" => Query::User(key),
                    "room" => Query::Room(key),
                    _ => Query::Connection(key),
                })
            }
            _ => Err(SubjectError::Unknown),
        }
    }
}

/// The partition of a target that was named by its key, as in `Hf-To`.
pub fn partition_of_target(target: &Target) -> usize {
    match target {
        Target::User(key) | Target::Room(key) | Target::Connection(key) => token::partition_of_key(key),
        Target::All => token::partition_of_token("all"),
    }
}

impl Target {
    /// The connection id, where the target is a connection and its text an id of ours.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Connection(text) => ConnectionId::parse(text),
            Self::User(_) | Self::Room(_) | Self::All => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, subject: &str) -> Result<Address, SubjectError> {
        Subjects::new("hf").parse_address(kind, subject).map(|(address, _)| address)
    }

    #[test]
    fn addresses_are_read_from_subjects() {
        assert_eq!(parse(Kind::Send, "hf.send.room.chat=2F5"), Ok(Address::One(Target::Room("chat/5".into()))));
        assert_eq!(parse(Kind::Send, "hf.send.all"), Ok(Address::One(Target::All)));
        assert_eq!(parse(Kind::Send, "hf.send.many"), Ok(Address::Many));
        assert_eq!(parse(Kind::Keep, "hf.keep.user.42"), Ok(Address::One(Target::User("42".into()))));
        assert_eq!(
            parse(Kind::Ctl, "hf.ctl.node.gbcdfghjkmnp"),
            NodeId::parse("gbcdfghjkmnp").map(Address::Node).ok_or(SubjectError::Unknown)
        );
    }

    #[test]
    fn what_a_kind_cannot_reach_is_unknown() {
        for (kind, subject) in [
            (Kind::Send, "hf.send.bogus.x"),
            (Kind::Send, "hf.send.user"),
            (Kind::Send, "hf.send.all.x"),
            (Kind::Send, "hf.send.node.gbcdfghjkmnp"),
            (Kind::Ctl, "hf.ctl.many"),
            (Kind::Ctl, "hf.ctl.node.nobody"),
            (Kind::Keep, "hf.keep.all"),
            (Kind::Keep, "hf.keep.connection.x"),
            (Kind::Send, "other.send.all"),
            (Kind::Send, "hfx.send.all"),
        ] {
            assert_eq!(parse(kind, subject), Err(SubjectError::Unknown), "{subject}");
        }
        for subject in ["hf.send.user.a.b", "hf.send.user.a=2f", "hf.send.user.a+b"] {
            assert!(matches!(parse(Kind::Send, subject), Err(SubjectError::Token(_))), "{subject}");
        }
    }

    #[test]
    fn what_a_domain_service_asks_and_hears_is_read_back() {
        let subjects = Subjects::new("hf");

        for query in [Query::User("a.b".into()), Query::Room("chat/5".into()), Query::Nodes, Query::Stats] {
            assert_eq!(subjects.parse_query(&subjects.ask(&query)), Ok(query));
        }
        let fact = subjects.event("user.online", "a.b");
        assert_eq!(subjects.parse_event(&fact), Some(("user.online", "a.b".to_owned())));
        assert_eq!(subjects.parse_event("hf.send.all"), None);
        assert_eq!(subjects.up_all("crowd/location"), "hf.up.crowd=2Flocation.>");
        assert_eq!(subjects.ctl_node("gbcdfghjkmnp"), "hf.ctl.node.gbcdfghjkmnp");
    }

    #[test]
    fn the_inbox_is_one_process_s_own() {
        let inbox = InboxSubjects::new("_INBOX", NodeId::gateway([1; 8]));

        for message in [Inbox::Marker(0), Inbox::Reply(u64::MAX)] {
            assert_eq!(inbox.parse(&inbox.of(message)), Some(message));
        }
        let other = InboxSubjects::new("_INBOX", NodeId::gateway([2; 8])).of(Inbox::Reply(1));
        assert_eq!(inbox.parse(&other), None);
    }

    #[test]
    fn upstream_subjects_encode_each_segment() {
        let subjects = Subjects::new("hf");

        assert_eq!(subjects.up("crowd/location", ["update"]), "hf.up.crowd=2Flocation.update");
        assert_eq!(subjects.req("chat", ["a b", "*"]), "hf.req.chat.a=20b.=2A");
    }
}
