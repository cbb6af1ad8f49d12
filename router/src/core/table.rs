//! The mirror's tables: users → nodes, rooms → (node, count), and under `newest` users → connections.
//!
//! Nothing but the mapping: who changes it and what follows from a change is decided elsewhere. One table per partition,
//! so that growing one stops the router for a 64th of the time. A user takes at most 110 bytes at the worst fill.

use std::slice;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token::is_reserved;

/// A node's place in the fleet, small enough to be held per user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot(pub u32);

/// Where something is: on one node, as nearly all is, or on several.
#[derive(Debug)]
enum Places<T> {
    One(T),
    #[expect(clippy::box_collection, reason = "a thin pointer keeps the table's entry at 32 bytes")]
    Many(Box<Vec<T>>),
}

impl<T> Places<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(place) => slice::from_ref(place),
            Self::Many(places) => places,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::One(place) => slice::from_mut(place),
            Self::Many(places) => places,
        }
    }
}

impl<T: Copy> Places<T> {
    fn push(&mut self, place: T) {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, place])),
            Self::Many(places) => places.push(place),
        }
    }

    /// Takes out the place at `index`; `false` where it was the only one: then the entry itself must go.
    fn remove(&mut self, index: usize) -> bool {
        match self {
            Self::One(_) => false,
            Self::Many(places) => {
                places.swap_remove(index);
                if let [only] = places[..] {
                    *self = Self::One(only);
                }
                true
            }
        }
    }
}

/// A connection that claims to be its user's newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// Which.
    pub(super) connection: ConnectionId,
    /// When it was accepted, Unix milliseconds.
    pub(super) since_ms: u64,
}

type Map<V> = HashMap<Box<str>, V, FixedState>;

#[derive(Debug)]
struct Partition {
    users: Map<Places<Slot>>,
    rooms: Map<Places<(Slot, u32)>>,
    /// Entries among the rooms that are none: their names are reserved.
    reserved: usize,
    /// In the order they came; the last one wins.
    claims: Map<Vec<Claim>>,
}

/// What a change of one entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Shift {
    /// What the node had before: 0 or 1 for a user, members for a room.
    pub(super) on_node_before: u32,
    /// All nodes together before, …
    pub(super) before: u64,
    /// … and after.
    pub(super) after: u64,
}

/// The tables.
#[derive(Debug)]
pub(super) struct Table {
    partitions: Vec<Partition>,
}

/// What a sweep found of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held<'a> {
    /// A user.
    User(&'a str),
    /// A room and its members there.
    Room(&'a str, u32),
    /// A connection of a user under `newest`.
    Claim(&'a str, Claim),
}

impl Table {
    /// Empty tables.
    pub(super) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        let partitions = (0..PARTITIONS)
            .map(|_| Partition {
                users: Map::with_hasher(hasher.clone()),
                rooms: Map::with_hasher(hasher.clone()),
                reserved: 0,
                claims: Map::with_hasher(hasher.clone()),
            })
            .collect();
        Self { partitions }
    }

    /// Users with a connection.
    pub(super) fn users(&self) -> usize {
        self.partitions.iter().map(|partition| partition.users.len()).sum()
    }

    /// Rooms with a member.
    pub(super) fn rooms(&self) -> usize {
        self.partitions.iter().map(|partition| partition.rooms.len() - partition.reserved).sum()
    }

    /// Nodes that hold a connection of the user.
    pub(super) fn nodes_of_user(&self, partition: usize, user: &str) -> &[Slot] {
        self.partitions[partition].users.get(user).map_or(&[], Places::as_slice)
    }

    /// Nodes with members of the room, and how many.
    pub(super) fn nodes_of_room(&self, partition: usize, room: &str) -> &[(Slot, u32)] {
        self.partitions[partition].rooms.get(room).map_or(&[], Places::as_slice)
    }

    /// The user's connections under `newest`, the winner last.
    pub(super) fn claims_of_user(&self, partition: usize, user: &str) -> &[Claim] {
        self.partitions[partition].claims.get(user).map_or(&[], Vec::as_slice)
    }

    /// Users of the partition with more than one claim.
    pub(super) fn contested(&self, partition: usize) -> impl Iterator<Item = &str> {
        self.partitions[partition].claims.iter().filter(|(_, claims)| claims.len() > 1).map(|(user, _)| &**user)
    }

    /// Puts a user on a node, or takes it off.
    pub(super) fn set_user(&mut self, partition: usize, user: &str, slot: Slot, present: bool) -> Shift {
        let entry = self.partitions[partition].users.entry_ref(user);
        let mut entry = match entry {
            EntryRef::Occupied(entry) => entry,
            EntryRef::Vacant(_) if !present => return Shift::default(),
            EntryRef::Vacant(entry) => {
                entry.insert(Places::One(slot));
                return Shift { on_node_before: 0, before: 0, after: 1 };
            }
        };
        let places = entry.get_mut();
        let before = places.as_slice().len() as u64;
        match (places.as_slice().iter().position(|place| *place == slot), present) {
            (None, false) => Shift { on_node_before: 0, before, after: before },
            (Some(_), true) => Shift { on_node_before: 1, before, after: before },
            (None, true) => {
                places.push(slot);
                Shift { on_node_before: 0, before, after: before + 1 }
            }
            (Some(index), false) => {
                if !places.remove(index) {
                    entry.remove();
                }
                Shift { on_node_before: 1, before, after: before - 1 }
            }
        }
    }

    /// Sets how many members of a room a node has.
    pub(super) fn set_room(&mut self, partition: usize, room: &str, slot: Slot, count: u32) -> Shift {
        let reserved = usize::from(is_reserved(room));
        let Partition { rooms, reserved: among, .. } = &mut self.partitions[partition];
        let entry = rooms.entry_ref(room);
        let mut entry = match entry {
            EntryRef::Occupied(entry) => entry,
            EntryRef::Vacant(_) if count == 0 => return Shift::default(),
            EntryRef::Vacant(entry) => {
                entry.insert(Places::One((slot, count)));
                *among += reserved;
                return Shift { on_node_before: 0, before: 0, after: u64::from(count) };
            }
        };
        let places = entry.get_mut();
        let before: u64 = places.as_slice().iter().map(|(_, members)| u64::from(*members)).sum();
        let index = places.as_slice().iter().position(|(place, _)| *place == slot);
        let on_node_before = index.map_or(0, |index| places.as_slice()[index].1);
        match index {
            Some(index) if count > 0 => places.as_mut_slice()[index].1 = count,
            Some(index) => {
                let only = !places.remove(index);
                if only {
                    entry.remove();
                    *among -= reserved;
                }
            }
            None if count > 0 => places.push((slot, count)),
            None => {}
        }
        Shift { on_node_before, before, after: before - u64::from(on_node_before) + u64::from(count) }
    }

    /// Adds a claim, as the winner or (from a snapshot) where its age puts it; `false` where it was there.
    pub(super) fn add_claim(&mut self, partition: usize, user: &str, claim: Claim, by_age: bool) -> bool {
        let claims = match self.partitions[partition].claims.entry_ref(user) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(entry) => entry.insert(Vec::with_capacity(1)),
        };
        if claims.iter().any(|other| other.connection == claim.connection) {
            return false;
        }
        let at = if by_age {
            claims.iter().position(|other| other.since_ms > claim.since_ms).unwrap_or(claims.len())
        } else {
            claims.len()
        };
        claims.insert(at, claim);
        true
    }

    /// Takes a claim off; `false` where it was not there.
    pub(super) fn remove_claim(&mut self, partition: usize, user: &str, connection: ConnectionId) -> bool {
        let EntryRef::Occupied(mut entry) = self.partitions[partition].claims.entry_ref(user) else {
            return false;
        };
        let claims = entry.get_mut();
        let before = claims.len();
        claims.retain(|claim| claim.connection != connection);
        let removed = claims.len() < before;
        if claims.is_empty() {
            entry.remove();
        }
        removed
    }

    /// All that is held for a node, partition by partition. A pass over everything: for a node that went, or to compare
    /// with a snapshot.
    pub(super) fn sweep<'a>(
        &'a self,
        slot: Slot,
        node: holdfast_protocol::id::NodeId,
        mut visit: impl FnMut(usize, Held<'a>),
    ) {
        for (index, partition) in self.partitions.iter().enumerate() {
            for (user, places) in &partition.users {
                if places.as_slice().contains(&slot) {
                    visit(index, Held::User(user));
                }
            }
            for (room, places) in &partition.rooms {
                if let Some((_, count)) = places.as_slice().iter().find(|(place, _)| *place == slot) {
                    visit(index, Held::Room(room, *count));
                }
            }
            for (user, claims) in &partition.claims {
                for claim in claims.iter().filter(|claim| claim.connection.node() == node) {
                    visit(index, Held::Claim(user, *claim));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::id::NodeId;

    const A: Slot = Slot(0);
    const B: Slot = Slot(1);
    const C: Slot = Slot(2);

    #[test]
    fn an_entry_of_the_table_stays_small() {
        assert_eq!(size_of::<(Box<str>, Places<Slot>)>(), 32);
        assert_eq!(size_of::<(Box<str>, Places<(Slot, u32)>)>(), 32);
    }

    #[test]
    fn users_are_on_the_nodes_they_were_put_on() {
        let mut table = Table::new(1);
        let p = 3;

        assert_eq!(table.set_user(p, "u", A, true), Shift { on_node_before: 0, before: 0, after: 1 });
        assert_eq!(table.set_user(p, "u", A, true), Shift { on_node_before: 1, before: 1, after: 1 });
        assert_eq!(table.set_user(p, "u", B, true), Shift { on_node_before: 0, before: 1, after: 2 });
        assert_eq!(table.nodes_of_user(p, "u"), [A, B]);
        assert_eq!(table.set_user(p, "u", C, false), Shift { on_node_before: 0, before: 2, after: 2 });
        assert_eq!(table.set_user(p, "u", A, false), Shift { on_node_before: 1, before: 2, after: 1 });
        assert_eq!(table.nodes_of_user(p, "u"), [B]);
        assert_eq!(table.set_user(p, "u", B, false), Shift { on_node_before: 1, before: 1, after: 0 });
        assert_eq!((table.users(), table.nodes_of_user(p, "u")), (0, &[][..]));
        assert_eq!(table.set_user(p, "u", B, false), Shift::default());
    }

    #[test]
    fn rooms_count_their_members_per_node() {
        let mut table = Table::new(1);
        let p = 0;

        assert_eq!(table.set_room(p, "r", A, 2), Shift { on_node_before: 0, before: 0, after: 2 });
        assert_eq!(table.set_room(p, "r", B, 3), Shift { on_node_before: 0, before: 2, after: 5 });
        assert_eq!(table.set_room(p, "r", A, 1), Shift { on_node_before: 2, before: 5, after: 4 });
        assert_eq!(table.nodes_of_room(p, "r"), [(A, 1), (B, 3)]);
        assert_eq!(table.set_room(p, "r", B, 0), Shift { on_node_before: 3, before: 4, after: 1 });
        assert_eq!(table.set_room(p, "r", A, 0), Shift { on_node_before: 1, before: 1, after: 0 });
        assert_eq!(table.rooms(), 0);
        assert_eq!(table.set_room(p, "r", A, 0), Shift::default());
    }

    #[test]
    fn entries_with_reserved_names_are_no_rooms() {
        let mut table = Table::new(1);
        let name = format!("{}x", holdfast_protocol::token::RESERVED);

        table.set_room(0, &name, A, 1);
        table.set_room(0, &name, B, 1);
        table.set_room(0, "r", A, 1);
        assert_eq!((table.rooms(), table.nodes_of_room(0, &name).len()), (1, 2));
        table.set_room(0, &name, A, 0);
        table.set_room(0, &name, B, 0);
        assert_eq!((table.rooms(), table.nodes_of_room(0, &name).len()), (1, 0));
    }

    #[test]
    fn the_last_claim_wins_or_the_youngest_of_a_snapshot() {
        let mut table = Table::new(1);
        let node = NodeId::gateway([1; 8]);
        let claim = |n: u8, since_ms| Claim { connection: ConnectionId::new(node, [n; 16]), since_ms };

        assert!(table.add_claim(0, "u", claim(1, 50), false));
        assert!(table.add_claim(0, "u", claim(2, 40), false));
        assert!(!table.add_claim(0, "u", claim(2, 40), false));
        assert_eq!(table.claims_of_user(0, "u").last(), Some(&claim(2, 40)));
        assert!(table.add_claim(0, "u", claim(3, 30), true));
        assert_eq!(table.claims_of_user(0, "u"), [claim(3, 30), claim(1, 50), claim(2, 40)]);
        assert_eq!(table.contested(0).collect::<Vec<_>>(), ["u"]);
        assert!(table.remove_claim(0, "u", claim(1, 0).connection));
        assert!(table.remove_claim(0, "u", claim(3, 0).connection));
        assert!(table.remove_claim(0, "u", claim(2, 0).connection));
        assert!(!table.remove_claim(0, "u", claim(2, 0).connection));
        assert_eq!(table.claims_of_user(0, "u"), []);
    }

    #[test]
    fn a_sweep_finds_all_of_a_node_and_nothing_else() {
        let mut table = Table::new(1);
        let node = NodeId::gateway([1; 8]);
        let claim = Claim { connection: ConnectionId::new(node, [1; 16]), since_ms: 1 };
        table.set_user(1, "u", A, true);
        table.set_user(1, "u", B, true);
        table.set_user(2, "v", B, true);
        table.set_room(3, "r", A, 4);
        table.set_room(3, "s", B, 1);
        table.add_claim(1, "u", claim, false);

        let mut found = Vec::new();
        table.sweep(A, node, |partition, held| found.push((partition, held)));

        assert_eq!(found, [(1, Held::User("u")), (1, Held::Claim("u", claim)), (3, Held::Room("r", 4))]);
    }
}
