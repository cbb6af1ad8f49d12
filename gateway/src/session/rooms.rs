//! The rooms of one connection. A short list: a hundred or so at most, one or two as a rule.

use std::sync::Arc;

/// Who made the connection a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinedBy {
    /// The client, by its token's rights: ends with them.
    Client,
    /// A domain service: whatever the token says.
    Service,
}

#[derive(Debug, Default)]
pub(super) struct Rooms(Vec<(Arc<str>, JoinedBy)>);

impl Rooms {
    pub(super) fn contains(&self, room: &str) -> bool {
        self.0.iter().any(|(known, _)| **known == *room)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(room, _)| room)
    }

    /// How many the client joined by itself.
    pub(super) fn by_client(&self) -> usize {
        self.0.iter().filter(|(_, by)| *by == JoinedBy::Client).count()
    }

    /// Adds a room. A domain service's word outlasts the client's.
    pub(super) fn add(&mut self, room: &Arc<str>, by: JoinedBy) {
        match self.0.iter_mut().find(|(known, _)| known == room) {
            Some((_, known)) if by == JoinedBy::Service => *known = by,
            Some(_) => {}
            None => {
                if self.0.len() == self.0.capacity() {
                    // Most connections are in one room: a list that doubled from four would hold more air than rooms.
                    self.0.reserve_exact(self.0.len().max(1));
                }
                self.0.push((room.clone(), by));
            }
        }
    }

    /// Removes a room, if it is there.
    pub(super) fn remove(&mut self, room: &str) -> Option<Arc<str>> {
        let at = self.0.iter().position(|(known, _)| **known == *room)?;
        let (room, _) = self.0.swap_remove(at);
        if self.0.is_empty() {
            // Gives the memory back.
            self.0 = Vec::new();
        }
        Some(room)
    }

    /// Removes those that the client joined and may not be in any more.
    pub(super) fn remove_forbidden(&mut self, allowed: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let mut removed = Vec::new();
        self.0.retain(|(room, by)| {
            let keep = *by == JoinedBy::Service || allowed(room);
            if !keep {
                removed.push(room.clone());
            }
            keep
        });
        removed
    }
}
