//! Subjects as domain services see them: the CLI, tests and examples send, ask and listen by these. Knows nothing of what is
//! inside between gateways and routers.

use super::{Kind, Query, Subjects, Target};
use crate::token;

impl Subjects {
    /// The subject of a send, command or kept publish to `target`.
    pub fn to(&self, kind: Kind, target: &Target) -> String {
        let kind = match kind {
            Kind::Send => "send",
            Kind::Ctl => "ctl",
            Kind::Keep => "keep",
        };
        match target {
            Target::User(key) => self.keyed(&format!("{kind}.user"), key),
            Target::Room(key) => self.keyed(&format!("{kind}.room"), key),
            Target::Connection(key) => self.keyed(&format!("{kind}.connection"), key),
            Target::All => format!("{}.{kind}.all", self.prefix),
        }
    }

    /// The subject of a send to the targets that `Hf-To` names.
    pub fn many(&self) -> String {
        self.join("send.many")
    }

    /// The subject of a command to a gateway itself; `node` is checked by whoever reads the command.
    pub fn ctl_node(&self, node: &str) -> String {
        self.keyed("ctl.node", node)
    }

    /// The subject that asks `query`.
    pub fn ask(&self, query: &Query) -> String {
        match query {
            Query::User(key) => self.keyed("query.user", key),
            Query::Room(key) => self.keyed("query.room", key),
            Query::Connection(key) => self.keyed("query.connection", key),
            Query::Nodes => self.query("nodes"),
            Query::Stats => self.query("stats"),
        }
    }

    /// Each fact.
    pub fn event_all(&self) -> String {
        self.join("event.>")
    }

    /// What a fact's subject says: `("user.online", "ana")` of `hf.event.user.online.ana`. `None` for anything else.
    pub fn parse_event<'a>(&self, subject: &'a str) -> Option<(&'a str, String)> {
        let (what, token) = self.strip(subject, "event")?.rsplit_once('.')?;
        Some((what, token::decode(token).ok()?))
    }

    /// Each message of an endpoint's clients, for the domain service behind it.
    pub fn up_all(&self, endpoint: &str) -> String {
        format!("{}.>", self.up(endpoint, []))
    }

    /// Each request of an endpoint's clients.
    pub fn req_all(&self, endpoint: &str) -> String {
        format!("{}.>", self.req(endpoint, []))
    }
}
