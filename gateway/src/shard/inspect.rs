//! Connections as an operator sees them on this node: also those that are nobody's yet, with address and queue.

use std::net::IpAddr;

use holdfast_protocol::fact::rfc3339;
use holdfast_protocol::id::ConnectionId;
use serde::Serialize;

use super::Shard;
use super::names::Names;
use super::table::{Binding, Connection};
use crate::clock::Now;
use crate::link::{Inspect, Inspected, Key, ShardProfile, Whose};
use crate::session::Event;
use crate::socket::Socket;

/// Connections that are looked at for one question: the thread has clients to serve. The page is then short, and says
/// where to go on.
const VISITS_MAX: usize = 4096;

#[derive(Serialize)]
struct Entry<'a> {
    connection: ConnectionId,
    user: Option<&'a str>,
    device: Option<&'a str>,
    endpoint: &'a str,
    transport: &'static str,
    address: Option<IpAddr>,
    state: &'static str,
    since: String,
    queued_bytes: usize,
    rooms: Rooms<'a>,
}

/// How many, or which.
#[derive(Serialize)]
#[serde(untagged)]
enum Rooms<'a> {
    Count(usize),
    Names(Vec<&'a str>),
}

impl<S: Socket> Shard<S> {
    /// Answers an operator. `address_of` knows where a connection's client is.
    pub fn inspect(&mut self, now: Now, ask: &Inspect, address_of: impl Fn(Key, &S) -> Option<IpAddr>) -> Inspected {
        match ask {
            Inspect::List { of, address, from, limit } => self.list(of, *address, *from, *limit, address_of),
            Inspect::Find(id) => {
                let index = self.table.by_id(*id);
                let found = index.and_then(|index| self.table.get(index)).zip(index);
                Inspected::Found(found.map(|(connection, index)| {
                    let names = connection.memberships.iter().map(|at| &**self.table.rooms.name(at.room)).collect();
                    let key = Key { index, generation: connection.generation };
                    self.entry(connection, address_of(key, &connection.socket), Rooms::Names(names))
                }))
            }
            Inspect::Disconnect { connection, code, reason } => {
                let index = self.table.by_id(*connection);
                if let Some(index) = index {
                    self.feed(now, index, Event::Disconnect { code: *code, reason });
                }
                Inspected::Disconnected(index.is_some())
            }
            Inspect::Profile => Inspected::Profile(self.profile()),
        }
    }

    fn list(
        &self,
        of: &Whose,
        address: Option<IpAddr>,
        from: u32,
        limit: usize,
        address_of: impl Fn(Key, &S) -> Option<IpAddr>,
    ) -> Inspected {
        let slots = match of {
            Whose::All => self.slots(from),
            Whose::User(name) => slots_in(&self.table.users, name, from),
            Whose::Room(name) => slots_in(&self.table.rooms, name, from),
        };
        let mut entries = Vec::new();
        for (visits, index) in slots.into_iter().enumerate() {
            if visits >= VISITS_MAX || entries.len() >= limit {
                return Inspected::Page { entries, next: Some(index) };
            }
            let Some(connection) = self.table.get(index) else { continue };
            let from = address_of(Key { index, generation: connection.generation }, &connection.socket);
            if address.is_none() || address == from {
                entries.push(self.entry(connection, from, Rooms::Count(connection.memberships.len())));
            }
        }
        Inspected::Page { entries, next: None }
    }

    /// Slots that are taken, from one on: as many as one question looks at, and the next.
    fn slots(&self, from: u32) -> Vec<u32> {
        let all = from as usize..self.highest_slot();
        let taken = all.filter(|slot| self.table.connections.contains(*slot));
        taken.take(VISITS_MAX + 1).filter_map(|slot| u32::try_from(slot).ok()).collect()
    }

    fn entry(&self, connection: &Connection<S>, address: Option<IpAddr>, rooms: Rooms<'_>) -> Box<str> {
        let (user, state) = match connection.binding {
            _ if connection.closing => (None, "closing"),
            Binding::Bound { user, .. } if connection.session.is_paused() => (Some(user), "paused"),
            Binding::Bound { user, .. } => (Some(user), "open"),
            Binding::None | Binding::Asked => (None, "pending"),
        };
        let entry = Entry {
            connection: connection.id(),
            user: user.map(|user| &**self.table.users.name(user)),
            device: connection.session.device().map(|device| &**device),
            endpoint: &connection.session.endpoint().name,
            transport: connection.transport.label(),
            address,
            state,
            since: rfc3339(self.wall_offset_ms + connection.since_ms),
            queued_bytes: connection.socket.queued_bytes(),
            rooms,
        };
        // Strings and numbers only: nothing in an entry can fail to serialise.
        serde_json::to_string(&entry).unwrap_or_default().into()
    }

    fn profile(&self) -> ShardProfile {
        let runtime = tokio::runtime::Handle::current().metrics();
        ShardProfile {
            shard: self.settings.number,
            connections: self.table.connections.len(),
            users: self.table.users.len(),
            rooms: self.table.rooms.len(),
            connections_bytes: self.table.connections.len() * size_of::<Connection<S>>(),
            outbox_bytes: self.cells.outbox_bytes.value(),
            tasks: runtime.num_alive_tasks(),
            busy_seconds: runtime.worker_total_busy_duration(0).as_secs_f64(),
            parks: runtime.worker_park_count(0),
        }
    }
}

/// Slots of a user's or room's connections, from one on.
fn slots_in(names: &Names, name: &str, from: u32) -> Vec<u32> {
    let members = names.find(name).map(|number| names.members(number)).unwrap_or_default();
    let mut slots: Vec<u32> = members.iter().map(|member| member.connection).filter(|slot| *slot >= from).collect();
    slots.sort_unstable();
    slots
}
