//! Questions about connections, answered as the public queries show them.

use holdfast_protocol::fact::rfc3339;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::wire::Ask;
use serde::Serialize;

use super::Shard;
use super::table::{Binding, Connection};
use crate::link::{AnswerPart, ToHub};
use crate::socket::Socket;

#[derive(Serialize)]
struct OfUser<'a> {
    connection: ConnectionId,
    node: NodeId,
    device: Option<&'a str>,
    endpoint: &'a str,
    rooms: usize,
}

#[derive(Serialize)]
struct OfRoom<'a> {
    connection: ConnectionId,
    user: &'a str,
    node: NodeId,
    device: Option<&'a str>,
}

#[derive(Serialize)]
struct Alone<'a> {
    connection: ConnectionId,
    user: &'a str,
    node: NodeId,
    device: Option<&'a str>,
    rooms: Vec<&'a str>,
    since: String,
}

fn json(entry: &impl Serialize) -> String {
    // Strings and numbers only: nothing in an entry can fail to serialise.
    serde_json::to_string(entry).unwrap_or_default()
}

impl<S: Socket> Shard<S> {
    pub(super) fn answer(&mut self, question: u64, ask: &Ask) {
        let part = match ask {
            Ask::User { user } => self.about_user(user),
            Ask::Room { room, after, limit } => self.about_room(room, *after, *limit as usize),
            Ask::Connection { connection } => self.about_connection(*connection),
            // The hub's: it counts for all shards.
            Ask::Count => AnswerPart::default(),
        };
        self.to_hub.push(ToHub::Answered { question, part });
    }

    fn user_of(&self, connection: &Connection<S>) -> Option<&str> {
        match connection.binding {
            Binding::Bound { user, .. } => Some(self.table.users.name(user)),
            Binding::None | Binding::Asked => None,
        }
    }

    fn about_user(&self, user: &str) -> AnswerPart {
        let members = self.table.users.find(user).map(|user| self.table.users.members(user)).unwrap_or_default();
        let mut entries: Vec<_> = members
            .iter()
            .filter_map(|member| self.table.get(member.connection))
            .map(|connection| {
                let entry = OfUser {
                    connection: connection.id(),
                    node: self.settings.node,
                    device: connection.session.device().map(|device| &**device),
                    endpoint: &connection.session.endpoint().name,
                    rooms: connection.memberships.len(),
                };
                (connection.id(), json(&entry))
            })
            .collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        AnswerPart { total: entries.len() as u64, entries }
    }

    fn about_room(&self, room: &str, after: Option<ConnectionId>, limit: usize) -> AnswerPart {
        let members = self.table.rooms.find(room).map(|room| self.table.rooms.members(room)).unwrap_or_default();
        let mut page: Vec<_> = members
            .iter()
            .filter_map(|member| self.table.get(member.connection))
            .filter(|connection| after.is_none_or(|after| connection.id() > after))
            .collect();
        page.sort_unstable_by_key(|connection| connection.id());
        page.truncate(limit);
        let entries = page
            .into_iter()
            .map(|connection| {
                let entry = OfRoom {
                    connection: connection.id(),
                    user: self.user_of(connection).unwrap_or_default(),
                    node: self.settings.node,
                    device: connection.session.device().map(|device| &**device),
                };
                (connection.id(), json(&entry))
            })
            .collect();
        AnswerPart { total: members.len() as u64, entries }
    }

    fn about_connection(&self, id: ConnectionId) -> AnswerPart {
        let connection = self.table.by_id(id).and_then(|index| self.table.get(index));
        let Some((connection, user)) = connection.and_then(|it| Some((it, self.user_of(it)?))) else {
            return AnswerPart::default();
        };
        let rooms = connection.memberships.iter().map(|membership| &**self.table.rooms.name(membership.room)).collect();
        let entry = Alone {
            connection: id,
            user,
            node: self.settings.node,
            device: connection.session.device().map(|device| &**device),
            rooms,
            since: rfc3339(self.wall_offset_ms + connection.since_ms),
        };
        AnswerPart { total: 1, entries: vec![(id, json(&entry))] }
    }
}
