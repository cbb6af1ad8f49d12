//! "Newest replaces": of a user's claims the last one wins, and the owner closes the others, again until they are gone.

use std::collections::VecDeque;

use holdfast_protocol::token;
use holdfast_protocol::wire::{Command, CommandItem, Item, Target};

use super::Router;
use super::event::Now;
use super::settings::CONTEST_RETRY_MS;

/// Users that are looked at again. Beyond that they are found at the next change of theirs or of the owner.
const CONTESTED_MAX: usize = 65_536;
/// A bound on an encoded replace command: kinds, flags and one connection.
const REPLACE_BYTES_MAX: usize = 64;

/// Users to look at again.
#[derive(Debug, Default)]
pub(super) struct Contested {
    queue: VecDeque<(u64, Box<str>)>,
}

impl Router {
    /// Closes what a newer claim of the user has replaced, where that is ours to do.
    pub(super) fn contest(&mut self, now: Now, partition: usize, user: &str) {
        if !self.is_able(now) || !self.ownership.handles(partition, now.ms) {
            return;
        }
        let Some((_, losers)) = self.table.claims_of_user(partition, user).split_last() else { return };
        if losers.is_empty() {
            return;
        }
        let term = self.membership.term();
        for claim in losers {
            let connection = claim.connection;
            let Some(slot) = self.fleet.slot(connection.node()) else { continue };
            let targets = vec![Target::Connection(connection)];
            let item = Item::Command(CommandItem { targets, command: Command::Replace, receipt: None });
            self.fleet.pack(slot, REPLACE_BYTES_MAX, term, &mut self.actions, |packet| packet.push(&item));
        }
        if self.contested.queue.len() < CONTESTED_MAX {
            self.contested.queue.push_back((now.ms + CONTEST_RETRY_MS, Box::from(user)));
        }
    }

    /// Looks at contested users again: a command may have been lost.
    pub(super) fn contest_again(&mut self, now: Now) {
        while self.contested.queue.front().is_some_and(|(due_ms, _)| *due_ms <= now.ms) {
            let Some((_, user)) = self.contested.queue.pop_front() else { break };
            self.contest(now, token::partition_of_key(&user), &user);
        }
    }
}
