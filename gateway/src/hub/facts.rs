//! Facts about connections: the node's own to tell. All others come from routers.

use holdfast_protocol::fact::{FactBody, Transition, fact_id, rfc3339};
use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::wire::Cause;

use super::core::Hub;
use super::edge::{Edge, Publication};
use crate::clock::Now;

impl Hub {
    pub(super) fn publish_fact(
        &self,
        now: Now,
        edge: &mut dyn Edge,
        transition: Transition,
        id: ConnectionId,
        user: &str,
        cause: Cause,
    ) {
        let fact = fact_id(transition, &id.to_string(), self.settings.node, 0);
        let body = FactBody {
            id: &fact,
            time: &rfc3339(now.unix_ms),
            node: Some(self.settings.node),
            cause,
            user: Some(user),
            room: None,
            connection: Some(id),
            count: None,
        };
        let subject = self.subjects.event(transition.subject(), user);
        if edge.publish(Publication::plain(subject, body.encode().into())).is_err() {
            self.cells.facts_lost.add(1);
        }
    }
}
