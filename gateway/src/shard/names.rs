//! Named groups of connections: the users and the rooms of one shard. Adding and removing a member is O(1).
//!
//! Knows neither sessions nor sockets; who is in a group is a slot number and a back-index that the owner keeps.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use smallvec::SmallVec;

/// One member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// The connection's slot.
    pub(super) connection: u32,
    /// Where that connection keeps this membership.
    pub(super) back: u32,
}

#[derive(Debug)]
struct Group {
    name: Arc<str>,
    members: SmallVec<[Member; 2]>,
    /// Holds the group's number while members come or go.
    reserved: u32,
}

/// Groups by name and by number. A group is there while it has members or reservations; numbers are reused.
#[derive(Debug, Default)]
pub(super) struct Names {
    groups: Slab<Group>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |number| &*self.groups[*number as usize].name == name).copied()
    }

    /// The group's number, reserved until [`Self::release`].
    pub(super) fn reserve(&mut self, name: &Arc<str>) -> u32 {
        let number = self.find(name).unwrap_or_else(|| self.insert(Arc::clone(name)));
        self.groups[number as usize].reserved += 1;
        number
    }

    fn insert(&mut self, name: Arc<str>) -> u32 {
        let hash = self.hasher.hash_one(&*name);
        let group = Group { name, members: SmallVec::new(), reserved: 0 };
        let number = u32::try_from(self.groups.insert(group)).expect("fewer groups than 2^32 fit in memory");
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.by_name.insert_unique(hash, number, |n| hasher.hash_one(&*groups[*n as usize].name));
        number
    }

    /// Gives a reservation back; the group goes if nothing else holds it.
    pub(super) fn release(&mut self, number: u32) {
        self.groups[number as usize].reserved -= 1;
        self.drop_if_empty(number);
    }

    /// Adds a member and returns its position.
    pub(super) fn add(&mut self, number: u32, member: Member) -> u32 {
        let members = &mut self.groups[number as usize].members;
        members.push(member);
        u32::try_from(members.len() - 1).expect("fewer members than 2^32 fit in memory")
    }

    /// Removes the member at `position`; the last member takes its place and is returned, so that its owner can note the
    /// new position.
    pub(super) fn remove(&mut self, number: u32, position: u32) -> Option<Member> {
        let members = &mut self.groups[number as usize].members;
        members.swap_remove(position as usize);
        let moved = members.get(position as usize).copied();
        if members.spilled() && members.len() <= 2 {
            members.shrink_to_fit();
        }
        self.drop_if_empty(number);
        moved
    }

    /// Notes where a member's connection keeps this membership now.
    pub(super) fn set_back(&mut self, number: u32, position: u32, back: u32) {
        self.groups[number as usize].members[position as usize].back = back;
    }

    pub(super) fn name(&self, number: u32) -> &Arc<str> {
        &self.groups[number as usize].name
    }

    /// The same, where the number may be of a group that is gone.
    pub(super) fn name_if_there(&self, number: u32) -> Option<&Arc<str>> {
        self.groups.get(number as usize).map(|group| &group.name)
    }

    /// The name as the group holds it, if there is one: whoever keeps it keeps no copy of its own.
    pub(super) fn shared(&self, name: Arc<str>) -> Arc<str> {
        self.find(&name).map_or(name, |number| Arc::clone(self.name(number)))
    }

    pub(super) fn members(&self, number: u32) -> &[Member] {
        &self.groups[number as usize].members
    }

    /// Groups that are there.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    fn drop_if_empty(&mut self, number: u32) {
        let group = &self.groups[number as usize];
        if group.reserved > 0 || !group.members.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(&*group.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |n| *n == number) {
            entry.remove();
        }
        self.groups.remove(number as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_member_takes_the_place_of_a_removed_one() {
        let mut names = Names::default();
        let room: Arc<str> = "chat/5".into();
        let number = names.reserve(&room);
        for connection in 0..3 {
            names.add(number, Member { connection, back: 10 + connection });
        }
        names.release(number);

        let moved = names.remove(number, 0);

        assert_eq!(moved, Some(Member { connection: 2, back: 12 }));
        assert_eq!(names.members(number).len(), 2);
        assert_eq!(names.remove(number, 1), None, "the last one leaves nobody to move");
    }

    #[test]
    fn a_group_goes_with_its_last_holder() {
        let mut names = Names::default();
        let number = names.reserve(&"a".into());
        names.add(number, Member { connection: 1, back: 0 });

        names.remove(number, 0);
        assert_eq!(names.find("a"), Some(number), "still reserved");
        names.release(number);

        assert_eq!((names.find("a"), names.len()), (None, 0));
    }
}
