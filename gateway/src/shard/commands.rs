//! Commands of domain services, carried out on those of their targets that are here.
//!
//! `matched` counts the connections a command applied to, `written` those where it is done. A join is done once the hub
//! has confirmed the room, so its receipt may wait for that.

use std::sync::Arc;

use hashbrown::HashMap;
use holdfast_protocol::close::Close;
use holdfast_protocol::wire::{Command, ReceiptPart, Target};
use rustc_hash::FxBuildHasher;

use super::Shard;
use super::table::Binding;
use crate::clock::Now;
use crate::link::{JoinFor, ReceiptRef, SharedCommand, ToHub};
use crate::session::Event;
use crate::socket::Socket;

/// Commands that wait for the hub. Bounded by the hub's own time-out: it answers each join.
#[derive(Debug, Default)]
pub(super) struct Operations {
    open: HashMap<u32, Operation, FxBuildHasher>,
    next: u32,
}

#[derive(Debug)]
struct Operation {
    receipt: Option<ReceiptRef>,
    part: ReceiptPart,
    remaining: u64,
}

impl<S: Socket> Shard<S> {
    pub(super) fn command(&mut self, now: Now, shared: &SharedCommand) {
        let selected = self.select(&shared.targets);
        let part = match &shared.command {
            Command::Join { room } => return self.command_join(shared, &selected, Arc::from(room.as_str())),
            Command::Leave { room } => self.on_each(&selected, |shard, index| {
                if shard.end_membership_by_command(index, room) {
                    let room = Arc::from(room.as_str());
                    shard.feed(now, index, Event::Removed { room });
                }
                true
            }),
            Command::Disconnect { code, reason, device } => self.on_each(&selected, |shard, index| {
                let wanted = device.as_ref().is_none_or(|device| shard.device_of(index).as_deref() == Some(&**device));
                if wanted {
                    shard.feed(now, index, Event::Disconnect { code: *code, reason });
                }
                wanted
            }),
            Command::Expire { jti } => self.on_each(&selected, |shard, index| {
                let wanted = shard.holds_token(index, jti);
                if wanted {
                    shard.feed(now, index, Event::Close(Close::Expired));
                }
                wanted
            }),
            Command::Pause => self.feed_each(now, &selected, || Event::Pause),
            Command::Resume => self.on_each(&selected, |shard, index| {
                shard.feed(now, index, Event::Resume);
                shard.catch_up_if_drained(index);
                true
            }),
            Command::Replace => self.feed_each(now, &selected, || Event::Close(Close::Replaced)),
            // Commands to the node are the hub's.
            Command::Drain | Command::Uncordon | Command::Shed { .. } => ReceiptPart::default(),
        };
        self.report_command(shared.receipt, part);
    }

    /// The bound connections that are among the targets, each once.
    fn select(&mut self, targets: &[Target]) -> Vec<u32> {
        let mark = self.table.next_mark();
        let mut candidates = Vec::new();
        for target in targets {
            match target {
                Target::User(name) => {
                    let user = self.table.users.find(name);
                    let members = user.map(|user| self.table.users.members(user)).unwrap_or_default();
                    candidates.extend(members.iter().map(|member| member.connection));
                }
                Target::Room(name) => {
                    let room = self.table.rooms.find(name);
                    let members = room.map(|room| self.table.rooms.members(room)).unwrap_or_default();
                    candidates.extend(members.iter().map(|member| member.connection));
                }
                Target::Connection(id) => candidates.extend(self.table.by_id(*id)),
                Target::All => {
                    let all = self.table.connections.iter().filter_map(|(index, _)| u32::try_from(index).ok());
                    candidates.extend(all);
                }
            }
        }
        candidates.retain(|index| {
            let Some(connection) = self.table.get_mut(*index) else { return false };
            let fresh =
                !connection.closing && matches!(connection.binding, Binding::Bound { .. }) && connection.mark != mark;
            connection.mark = mark;
            fresh
        });
        candidates
    }

    fn on_each(&mut self, selected: &[u32], mut apply: impl FnMut(&mut Self, u32) -> bool) -> ReceiptPart {
        let mut part = ReceiptPart::default();
        for index in selected {
            if apply(self, *index) {
                part.matched += 1;
                part.written += 1;
            } else {
                part.filtered += 1;
            }
        }
        part
    }

    fn feed_each(&mut self, now: Now, selected: &[u32], event: impl Fn() -> Event<'static>) -> ReceiptPart {
        self.on_each(selected, |shard, index| {
            shard.feed(now, index, event());
            true
        })
    }

    fn device_of(&self, index: u32) -> Option<Arc<str>> {
        self.table.get(index)?.session.device().cloned()
    }

    fn holds_token(&self, index: u32, jti: &str) -> bool {
        let identity = self.table.get(index).and_then(|connection| connection.session.identity());
        identity.is_some_and(|identity| identity.jti.as_deref() == Some(jti))
    }

    fn command_join(&mut self, shared: &SharedCommand, selected: &[u32], room: Arc<str>) {
        let number = self.operations.next;
        self.operations.next = number.wrapping_add(1);
        let known = self.table.rooms.find(&room);
        let mut operation = Operation { receipt: shared.receipt, part: ReceiptPart::default(), remaining: 0 };
        for index in selected {
            operation.part.matched += 1;
            if known.is_some_and(|known| self.table.membership(*index, known).is_some()) {
                operation.part.written += 1;
            } else if let Some(conn) = self.conn(*index) {
                operation.remaining += 1;
                let on_behalf = JoinFor::Command(number);
                self.to_hub.push(ToHub::Join { conn, on_behalf, room: Arc::clone(&room), callout: None, since: None });
            }
        }
        if operation.remaining == 0 {
            self.report_command(operation.receipt, operation.part);
        } else {
            self.operations.open.insert(number, operation);
        }
    }

    /// One of a command's joins has ended.
    pub(super) fn operation_step(&mut self, number: u32, done: bool) {
        let Some(operation) = self.operations.open.get_mut(&number) else { return };
        operation.remaining -= 1;
        if done {
            operation.part.written += 1;
        } else {
            operation.part.dropped += 1;
        }
        if operation.remaining == 0
            && let Some(operation) = self.operations.open.remove(&number)
        {
            self.report_command(operation.receipt, operation.part);
        }
    }

    fn report_command(&mut self, receipt: Option<ReceiptRef>, part: ReceiptPart) {
        if let Some(receipt) = receipt {
            self.to_hub.push(ToHub::Receipt { receipt, part: ReceiptPart { number: receipt.number, ..part } });
        }
    }
}
