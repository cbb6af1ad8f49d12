//! What this node has: its users and rooms, by shard, and the numbered batches that tell routers of changes.
//!
//! A batch carries net changes: what came and went within its few milliseconds is not told. Digests and sequence move
//! together with batches, so that a beat or a snapshot always describes the roster as of its sequence. Knows no bus.

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token::{is_reserved, partition_of_key};
use holdfast_protocol::wire::{
    Cause, Change, RosterBatch, Snapshot, SnapshotEntry, digest_of_claim, digest_of_room, digest_of_user,
};
use indexmap::IndexMap;
use smallvec::SmallVec;

use super::batches::{Batches, bytes_of};
use super::kept::Place;
use super::lately::Lately;

/// Longest time a change waits for others.
const BATCH_MS: u64 = 5;

/// Users or rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    User,
    Room,
}

/// Shards that hold a target, each once.
pub(super) type Shards = SmallVec<[u16; 8]>;

#[derive(Debug)]
struct Entry {
    /// Connections per shard, those that wait for the routers included.
    shards: SmallVec<[(u16, u32); 2]>,
    /// What routers were told: the count of a room, 1 for a user.
    published: u32,
    /// Whether it is in the list of changes.
    dirty: bool,
    /// Why it changed last.
    cause: Cause,
    /// The batch that made it present.
    since_seq: u64,
    /// How far it has seen the stream of kept messages.
    place: Place,
}

impl Entry {
    fn count(&self) -> u32 {
        self.shards.iter().map(|(_, count)| *count).fold(0, u32::saturating_add)
    }
}

/// When routers will know what was just entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// When they have acknowledged this batch.
    With(u64),
    /// When they have acknowledged the batch that is being collected.
    WithNext,
}

/// Targets by name. Their entries lie side by side and only the numbers of them in a table that is half empty: an entry is
/// ten times the size of its number.
type Targets = IndexMap<Arc<str>, Entry, DefaultHashBuilder>;

/// The node's roster.
#[derive(Debug)]
pub(super) struct Roster {
    node: NodeId,
    users: Targets,
    rooms: Targets,
    /// Under the policy `newest`: a user's connections and when they were accepted.
    claims: HashMap<Arc<str>, Vec<(ConnectionId, u64)>>,
    dirty: Vec<(Kind, Arc<str>)>,
    claim_changes: Vec<Change>,
    /// When the oldest change that waits happened: monotonic and Unix milliseconds.
    dirty_since: Option<(u64, u64)>,
    flushed_ms: u64,
    seq: u64,
    digests: Box<[u64; PARTITIONS]>,
    lately: Lately,
    /// Bound connections, by shard.
    connections: Vec<u64>,
}

impl Roster {
    pub(super) fn new(node: NodeId, shards: u16) -> Self {
        Self {
            node,
            users: Targets::default(),
            rooms: Targets::default(),
            claims: HashMap::new(),
            dirty: Vec::new(),
            claim_changes: Vec::new(),
            dirty_since: None,
            flushed_ms: 0,
            seq: 0,
            digests: Box::new([0; PARTITIONS]),
            lately: Lately::default(),
            connections: vec![0; usize::from(shards)],
        }
    }

    pub(super) const fn seq(&self) -> u64 {
        self.seq
    }

    pub(super) const fn digests(&self) -> &[u64; PARTITIONS] {
        &self.digests
    }

    /// Bound connections.
    pub(super) fn connections(&self) -> u64 {
        self.connections.iter().sum()
    }

    /// The same by shard.
    pub(super) fn connections_by_shard(&self) -> &[u64] {
        &self.connections
    }

    fn entries(&mut self, kind: Kind) -> &mut Targets {
        match kind {
            Kind::User => &mut self.users,
            Kind::Room => &mut self.rooms,
        }
    }

    /// Counts a connection of `shard` in.
    pub(super) fn enter(&mut self, now: crate::clock::Now, kind: Kind, name: &Arc<str>, shard: u16) -> Known {
        if kind == Kind::User {
            self.connections[usize::from(shard)] += 1;
        }
        let entry = self.entries(kind).entry(Arc::clone(name)).or_insert_with(|| Entry {
            shards: SmallVec::new(),
            published: 0,
            dirty: false,
            cause: Cause::Connect,
            since_seq: 0,
            place: Place::Unknown(0),
        });
        match entry.shards.iter_mut().find(|(number, _)| *number == shard) {
            Some((_, count)) => *count += 1,
            None => entry.shards.push((shard, 1)),
        }
        let known = if entry.published > 0 { Known::With(entry.since_seq) } else { Known::WithNext };
        self.touch(now, kind, name, Cause::Connect);
        known
    }

    /// Counts one out.
    pub(super) fn exit(&mut self, now: crate::clock::Now, kind: Kind, name: &Arc<str>, shard: u16, cause: Cause) {
        let Some(entry) = self.entries(kind).get_mut(name) else { return };
        let Some(place) = entry.shards.iter().position(|(number, _)| *number == shard) else { return };
        entry.shards[place].1 -= 1;
        if entry.shards[place].1 == 0 {
            entry.shards.swap_remove(place);
        }
        if kind == Kind::User {
            self.connections[usize::from(shard)] -= 1;
        }
        self.touch(now, kind, name, cause);
    }

    /// Under the policy `newest`: a connection of the user is there.
    pub(super) fn claim(&mut self, now: crate::clock::Now, user: &Arc<str>, connection: ConnectionId, since_ms: u64) {
        self.claims.entry(Arc::clone(user)).or_default().push((connection, since_ms));
        let user = (&**user).into();
        self.claim_changes.push(Change::Claim { user, connection, since_ms });
        self.dirty_since.get_or_insert((now.ms, now.unix_ms));
    }

    /// It is gone. Nothing happens where it made no claim.
    pub(super) fn unclaim(&mut self, now: crate::clock::Now, user: &Arc<str>, connection: ConnectionId) {
        let Some(list) = self.claims.get_mut(user) else { return };
        let before = list.len();
        list.retain(|(id, _)| *id != connection);
        let had = list.len() < before;
        if list.is_empty() {
            self.claims.remove(user);
        }
        if had {
            let user = (&**user).into();
            self.claim_changes.push(Change::Unclaim { user, connection });
            self.dirty_since.get_or_insert((now.ms, now.unix_ms));
        }
    }

    fn touch(&mut self, now: crate::clock::Now, kind: Kind, name: &Arc<str>, cause: Cause) {
        self.dirty_since.get_or_insert((now.ms, now.unix_ms));
        let Some(entry) = self.entries(kind).get_mut(name) else { return };
        entry.cause = cause;
        if !std::mem::replace(&mut entry.dirty, true) {
            self.dirty.push((kind, Arc::clone(name)));
        }
    }

    /// Where a target that is here stands in the stream of kept messages.
    pub(super) fn place(&mut self, kind: Kind, name: &str) -> Option<&mut Place> {
        let entries = match kind {
            Kind::User => &mut self.users,
            Kind::Room => &mut self.rooms,
        };
        entries.get_mut(name).map(|entry| &mut entry.place)
    }

    /// The first word of where the stream is: members that are here begin there, unless a copy came before. Returns
    /// where the first of them begins.
    pub(super) fn begin_places(&mut self, at: u64) -> u64 {
        let mut least = at;
        for entry in self.users.values_mut().chain(self.rooms.values_mut()) {
            match entry.place {
                Place::Open => entry.place = Place::At(at),
                Place::At(place) => least = least.min(place),
                Place::Unknown(_) => {}
            }
        }
        least
    }

    /// Each known place anew: the stream is another one.
    pub(super) fn reset_places(&mut self, to: u64) {
        for entry in self.users.values_mut().chain(self.rooms.values_mut()) {
            entry.place = match entry.place {
                Place::At(_) => Place::At(to),
                Place::Unknown(_) => Place::Unknown(0),
                Place::Open => Place::Open,
            };
        }
    }

    /// What lies before is given up.
    pub(super) fn raise_places(&mut self, to: u64) {
        for entry in self.users.values_mut().chain(self.rooms.values_mut()) {
            if let Place::At(place) = &mut entry.place {
                *place = (*place).max(to);
            }
        }
    }

    /// The shards that hold the target.
    pub(super) fn shards_of(&self, kind: Kind, name: &str, into: &mut Shards) {
        let entries = match kind {
            Kind::User => &self.users,
            Kind::Room => &self.rooms,
        };
        for (shard, _) in entries.get(name).map(|entry| &entry.shards[..]).unwrap_or_default() {
            if !into.contains(shard) {
                into.push(*shard);
            }
        }
    }

    /// When the changes that wait are due, in monotonic milliseconds: at once after a pause, else batched.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.dirty_since.map(|(since_ms, _)| since_ms.max(self.flushed_ms + BATCH_MS).min(since_ms + BATCH_MS))
    }

    /// Takes the changes that wait as batches of so many bytes, each numbered; none where nothing changed in the end.
    pub(super) fn flush(&mut self, now_ms: u64, bytes_max: usize) -> Vec<RosterBatch> {
        let Some((_, since_ms)) = self.dirty_since.take() else { return Vec::new() };
        self.flushed_ms = now_ms;
        let mut batches = Batches::new(self.node, self.seq, since_ms, bytes_max);
        for (kind, name) in std::mem::take(&mut self.dirty) {
            match kind {
                Kind::User => self.flush_user(&name, &mut batches),
                Kind::Room => self.flush_room(&name, &mut batches),
            }
        }
        for change in std::mem::take(&mut self.claim_changes) {
            if let Change::Claim { user, connection, .. } = &change {
                let digest = &mut self.digests[partition_of_key(user)];
                *digest = digest.wrapping_add(digest_of_claim(user, *connection));
            } else if let Change::Unclaim { user, connection } = &change {
                let digest = &mut self.digests[partition_of_key(user)];
                *digest = digest.wrapping_sub(digest_of_claim(user, *connection));
            }
            batches.push(change);
        }
        let (batches, seq) = batches.take();
        self.seq = seq;
        for batch in &batches {
            self.lately.made(batch.seq, now_ms);
        }
        batches
    }

    /// Forgets what happened a while ago and every router has acknowledged, up to this batch; how much had to be
    /// forgotten before, for want of room.
    pub(super) fn forget_lately(&mut self, now_ms: u64, acked: Option<u64>) -> u64 {
        if let Some(acked) = acked {
            self.lately.forget(now_ms, acked);
        }
        self.lately.take_dropped()
    }

    fn flush_user(&mut self, name: &Arc<str>, batches: &mut Batches) {
        let Some(entry) = self.users.get_mut(name) else { return };
        entry.dirty = false;
        let (was, is, cause) = (entry.published > 0, entry.count() > 0, entry.cause);
        let digest = &mut self.digests[partition_of_key(name)];
        let user = (&**name).into();
        match (was, is) {
            (false, true) => {
                *digest = digest.wrapping_add(digest_of_user(name));
                entry.published = 1;
                entry.since_seq = batches.push(Change::UserUp { user, cause });
            }
            (true, false) => {
                *digest = digest.wrapping_sub(digest_of_user(name));
                let seq = batches.push(Change::UserDown { user, cause });
                self.lately.gone(Kind::User, name, entry.since_seq, seq, cause);
            }
            (true, true) | (false, false) => {}
        }
        if !is {
            self.users.swap_remove(name);
        }
    }

    fn flush_room(&mut self, name: &Arc<str>, batches: &mut Batches) {
        let Some(entry) = self.rooms.get_mut(name) else { return };
        entry.dirty = false;
        let (was, count, cause) = (entry.published, entry.count(), entry.cause);
        if was != count {
            let digest = &mut self.digests[partition_of_key(name)];
            if was > 0 {
                *digest = digest.wrapping_sub(digest_of_room(name, u64::from(was)));
            }
            if count > 0 {
                *digest = digest.wrapping_add(digest_of_room(name, u64::from(count)));
            }
            let room = (&**name).into();
            let seq = batches.push(Change::Room { room, count: u64::from(count), cause });
            entry.published = count;
            if was == 0 {
                entry.since_seq = seq;
            } else if count == 0 && !is_reserved(name) {
                self.lately.gone(Kind::Room, name, entry.since_seq, seq, cause);
            }
        }
        if count == 0 {
            self.rooms.swap_remove(name);
        }
    }

    /// The roster whole, as of [`Self::seq`], in parts of so many bytes, and behind it what happened lately. Changes that
    /// wait must have been flushed.
    pub(super) fn snapshot(&self, now_ms: u64, bytes_max: usize) -> Vec<Snapshot> {
        let users = self.users.iter().filter(|(_, entry)| entry.published > 0);
        let rooms = self.rooms.iter().filter(|(_, entry)| entry.published > 0);
        let claims =
            self.claims.iter().flat_map(|(user, list)| list.iter().map(move |(id, since)| (user, *id, *since)));
        let entries = users
            .map(|(name, _)| SnapshotEntry::User((&**name).into()))
            .chain(rooms.map(|(name, entry)| SnapshotEntry::Room((&**name).into(), u64::from(entry.published))))
            .chain(claims.map(|(user, id, since)| SnapshotEntry::Claim((&**user).into(), id, since)))
            .chain(self.came_lately(now_ms))
            .chain(self.lately.went(now_ms));
        let mut parts = vec![self.part(0)];
        let mut bytes = 0;
        for entry in entries {
            let entry_bytes = bytes_of(&entry);
            bytes += entry_bytes;
            if bytes > bytes_max {
                bytes = entry_bytes;
                parts.push(self.part(parts.len() as u64));
            }
            if let Some(part) = parts.last_mut() {
                part.entries.push(entry);
            }
        }
        if let Some(last) = parts.last_mut() {
            last.last = true;
        }
        parts
    }

    fn came_lately(&self, now_ms: u64) -> impl Iterator<Item = SnapshotEntry> + '_ {
        let users = self.users.iter().map(|(name, entry)| (Kind::User, name, entry));
        let rooms = self.rooms.iter().map(|(name, entry)| (Kind::Room, name, entry));
        users
            .chain(rooms.filter(|(_, name, _)| !is_reserved(name)))
            .filter(|(.., entry)| entry.published > 0)
            .filter_map(move |(kind, name, entry)| self.lately.came(kind, name, entry.since_seq, now_ms))
    }

    const fn part(&self, part: u64) -> Snapshot {
        Snapshot { node: self.node, seq: self.seq, part, last: false, entries: Vec::new() }
    }
}
