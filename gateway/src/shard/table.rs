//! The connections of one shard, and whose and where they are: users, rooms, memberships.
//!
//! Pure bookkeeping: what a change means for clients, hub and metrics is `Shard`'s business.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use holdfast_protocol::id::ConnectionId;
use slab::Slab;
use smallvec::SmallVec;

use super::names::{Member, Names};
use crate::link::Key;
use crate::metrics::Transport;
use crate::session::Session;

/// How far a connection is bound to its user.
#[derive(Debug)]
pub(super) enum Binding {
    /// Nobody's yet.
    None,
    /// The hub was asked.
    Asked,
    /// A member of the user's group, at this position.
    Bound { user: u32, position: u32 },
}

/// A room the connection is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub(super) room: u32,
    pub(super) position: u32,
}

/// Not in the list of dirty connections.
pub(super) const CLEAN: u32 = u32::MAX;

/// One connection. Boxed: the slab's growth moves pointers, not connections, and a closed one gives its memory back.
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) session: Session,
    pub(super) socket: S,
    pub(super) generation: u32,
    /// Where it is in the turn's list of dirty connections.
    pub(super) dirty: u32,
    /// The last selection that took it, so that none takes it twice.
    pub(super) mark: u32,
    /// The number of the last `gap` queued, until it is known to be written; 0 for none.
    pub(super) gap_queued: u64,
    /// The close handshake has begun: nothing but the socket's end matters any more.
    pub(super) closing: bool,
    /// It is behind in kept messages somewhere.
    pub(super) lagging: bool,
    pub(super) binding: Binding,
    pub(super) memberships: SmallVec<[Membership; 2]>,
    /// When it was accepted, monotonic milliseconds: a clock that is set makes nobody older.
    pub(super) since_ms: u64,
    /// How it reached us.
    pub(super) transport: Transport,
}

impl<S> Connection<S> {
    pub(super) fn id(&self) -> ConnectionId {
        self.session.connection()
    }
}

/// Connections by slot and by id; users and rooms by name.
#[derive(Debug)]
pub(super) struct Table<S> {
    pub(super) connections: Slab<Box<Connection<S>>>,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
    pub(super) users: Names,
    pub(super) rooms: Names,
    generation: u32,
    mark: u32,
}

impl<S> Table<S> {
    pub(super) fn new() -> Self {
        Self {
            connections: Slab::new(),
            by_id: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            users: Names::default(),
            rooms: Names::default(),
            generation: 0,
            mark: 0,
        }
    }

    pub(super) fn insert(&mut self, session: Session, socket: S, since_ms: u64, transport: Transport) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let connection = Box::new(Connection {
            session,
            socket,
            generation: self.generation,
            dirty: CLEAN,
            mark: self.mark.wrapping_sub(1),
            gap_queued: 0,
            closing: false,
            lagging: false,
            binding: Binding::None,
            memberships: SmallVec::new(),
            since_ms,
            transport,
        });
        let index = u32::try_from(self.connections.insert(connection)).expect("fewer connections than 2^32");
        let (connections, hasher) = (&self.connections, &self.hasher);
        let id = connections[index as usize].id();
        self.by_id.insert_unique(hasher.hash_one(id.random()), index, |i| {
            hasher.hash_one(connections[*i as usize].id().random())
        });
        Key { index, generation: self.generation }
    }

    /// Forgets a connection whose memberships and binding have ended already.
    pub(super) fn remove(&mut self, index: u32) -> Option<Box<Connection<S>>> {
        let connection = self.connections.try_remove(index as usize)?;
        let hash = self.hasher.hash_one(connection.id().random());
        if let Ok(entry) = self.by_id.find_entry(hash, |i| *i == index) {
            entry.remove();
        }
        Some(connection)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Connection<S>> {
        self.connections.get(index as usize).map(|connection| &**connection)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Connection<S>> {
        self.connections.get_mut(index as usize).map(|connection| &mut **connection)
    }

    /// The slot, if the key's connection still holds it.
    pub(super) fn slot(&self, key: Key) -> Option<u32> {
        self.get(key.index).filter(|connection| connection.generation == key.generation).map(|_| key.index)
    }

    pub(super) fn key(&self, index: u32) -> Option<Key> {
        self.get(index).map(|connection| Key { index, generation: connection.generation })
    }

    pub(super) fn by_id(&self, id: ConnectionId) -> Option<u32> {
        let hash = self.hasher.hash_one(id.random());
        self.by_id.find(hash, |i| self.connections[*i as usize].id() == id).copied()
    }

    // --- users ---

    /// Makes the connection one of the user's.
    pub(super) fn bind(&mut self, index: u32, name: &Arc<str>) {
        let user = self.users.reserve(name);
        let position = self.users.add(user, Member { connection: index, back: 0 });
        self.users.release(user);
        if let Some(connection) = self.get_mut(index) {
            connection.binding = Binding::Bound { user, position };
        }
    }

    /// Ends that; the user's name, if the connection was bound.
    pub(super) fn unbind(&mut self, index: u32) -> Option<Arc<str>> {
        let connection = self.get_mut(index)?;
        let Binding::Bound { user, position } = connection.binding else { return None };
        connection.binding = Binding::None;
        let name = Arc::clone(self.users.name(user));
        if let Some(moved) = self.users.remove(user, position)
            && let Some(other) = self.get_mut(moved.connection)
        {
            other.binding = Binding::Bound { user, position };
        }
        Some(name)
    }

    // --- rooms ---

    /// Where the connection keeps its membership of a room.
    pub(super) fn membership(&self, index: u32, room: u32) -> Option<usize> {
        self.get(index)?.memberships.iter().position(|membership| membership.room == room)
    }

    /// Makes the connection a member of a room that it is not in.
    pub(super) fn join(&mut self, index: u32, name: &Arc<str>) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let room = self.rooms.reserve(name);
        let back = u32::try_from(connection.memberships.len()).expect("far fewer rooms than 2^32");
        let position = self.rooms.add(room, Member { connection: index, back });
        connection.memberships.push(Membership { room, position });
        self.rooms.release(room);
    }

    /// Ends a membership; the room's name.
    pub(super) fn leave(&mut self, index: u32, slot: usize) -> Option<Arc<str>> {
        let connection = self.connections.get_mut(index as usize)?;
        let Membership { room, position } = connection.memberships.swap_remove(slot);
        if let Some(moved) = connection.memberships.get(slot) {
            let back = u32::try_from(slot).expect("far fewer rooms than 2^32");
            self.rooms.set_back(moved.room, moved.position, back);
        }
        let name = Arc::clone(self.rooms.name(room));
        if let Some(moved) = self.rooms.remove(room, position)
            && let Some(other) = self.connections.get_mut(moved.connection as usize)
            && let Some(membership) = other.memberships.get_mut(moved.back as usize)
        {
            membership.position = position;
        }
        Some(name)
    }

    /// A fresh mark: a selection gives it to each connection it takes.
    pub(super) fn next_mark(&mut self) -> u32 {
        self.mark = self.mark.wrapping_add(1);
        self.mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fallback::Client;

    #[test]
    fn a_connection_fits_the_allocator_s_class_of_320_bytes() {
        assert!(
            size_of::<Connection<Client>>() <= 320,
            "{} bytes: the next class is 384",
            size_of::<Connection<Client>>()
        );
    }
}
