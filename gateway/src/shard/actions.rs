//! Carrying out what sessions want: answers to the client, binding, rooms, traffic upstream, closing.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_daemon::config::Secret;
use holdfast_protocol::close::Close;
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::Cause;

use super::Shard;
use super::frames::framed;
use super::table::Binding;
use crate::auth::{Identity, Refusal};
use crate::clock::Now;
use crate::handshake::Devices;
use crate::link::{JoinFor, Sender, ToHub};
use crate::metrics::Drop as DropReason;
use crate::session::{Action, Event, Ticket};
use crate::socket::{Class, Outgoing, Pushed, Socket};
use crate::traces;

/// Events that answer an action at once.
pub(super) type Follow = VecDeque<Event<'static>>;

impl<S: Socket> Shard<S> {
    pub(super) fn act(&mut self, now: Now, index: u32, action: Action, follow: &mut Follow) {
        match action {
            Action::Reply(payload) => {
                self.reply(now, index, true, &payload);
            }
            Action::ReplyBinary(payload) => {
                self.reply(now, index, false, &payload);
            }
            Action::Gap(payload) => {
                self.cells.gaps.add(1);
                if let Some(number) = self.reply(now, index, true, &payload)
                    && let Some(connection) = self.table.get_mut(index)
                {
                    connection.gap_queued = number;
                }
            }
            Action::Verify { ticket, token, device: _ } => self.verify(now, index, ticket, token, follow),
            Action::Bind { identity, since } => self.bind(index, &identity, since, follow),
            // What the shard shows of a connection it reads from the session.
            Action::Rebind(_) => {}
            Action::Join { ticket, room, since, leave_first, callout } => {
                if leave_first && let Some(slot) = self.membership_in(index, &room) {
                    self.leave_room(index, slot, Cause::Close);
                }
                if let Some(conn) = self.conn(index) {
                    let callout = if callout { self.sender(index) } else { None };
                    let on_behalf = JoinFor::Client(ticket);
                    self.to_hub.push(ToHub::Join { conn, on_behalf, room, callout, since });
                }
            }
            Action::Leave { room } => {
                if let Some(slot) = self.membership_in(index, &room) {
                    self.leave_room(index, slot, Cause::Close);
                }
            }
            Action::Publish { ticket, to, said, payload } => {
                if let (Some(conn), Some(mut sender)) = (self.conn(index), self.sender(index)) {
                    sender.trace = traces::received("receive message", &sender, payload.len(), self.lives.get(&index));
                    self.to_hub.push(ToHub::Publish { conn, ticket, sender, to, said, payload });
                }
            }
            Action::Request { ticket, to, said, payload, timeout } => {
                if let (Some(conn), Some(mut sender)) = (self.conn(index), self.sender(index)) {
                    sender.trace = traces::received("receive request", &sender, payload.len(), self.lives.get(&index));
                    self.to_hub.push(ToHub::Request { conn, ticket, sender, to, said, payload, timeout });
                }
            }
            Action::History { ticket, room, cursor: from, limit, callout } => {
                if let Some(conn) = self.conn(index) {
                    let callout = if callout { self.sender(index) } else { None };
                    self.to_hub.push(ToHub::History { conn, ticket, room, from, limit, callout });
                }
            }
            Action::Acked { ids } => self.acknowledge(index, &ids),
            Action::Close { code, reason, close } => self.close(now, index, code, &reason, close),
        }
    }

    /// Queues a control message; its number in the socket's queue.
    fn reply(&mut self, now: Now, index: u32, text: bool, payload: &Bytes) -> Option<u64> {
        let connection = self.table.get_mut(index)?;
        let frame = framed(connection.socket.framing(), text, payload)?;
        let pushed = connection.socket.push(now, Outgoing { frame, class: Class::Control });
        self.mark_dirty(index);
        match pushed {
            Pushed::Queued(number) => Some(number),
            Pushed::Dropped => None,
            Pushed::Overflow => {
                self.overflow(now, index);
                None
            }
        }
    }

    /// The queue is full and the policy closes. The frame that did not fit is counted where it was offered.
    pub(super) fn overflow(&mut self, now: Now, index: u32) {
        let close = Close::SlowConsumer;
        if let Some(connection) = self.table.get_mut(index)
            && !connection.closing
        {
            self.close(now, index, close.code(), close.reason(), Some(close));
        }
    }

    /// Starts the close handshake. Nobody is told to be there from now on.
    fn close(&mut self, now: Now, index: u32, code: u16, reason: &str, close: Option<Close>) {
        let Some(connection) = self.table.get_mut(index) else { return };
        connection.closing = true;
        connection.gap_queued = 0;
        connection.socket.close(now, code, reason);
        self.mark_dirty(index);
        if let Some(key) = self.table.key(index) {
            self.drain.forget(key);
        }
        self.end_presence(index, cause_of(close));
    }

    // --- who it is ---

    fn verify(&mut self, now: Now, index: u32, ticket: Ticket, token: Secret, follow: &mut Follow) {
        let Some(connection) = self.table.get(index) else { return };
        let endpoint = Arc::clone(connection.session.endpoint());
        let result = if endpoint.connect_callout {
            Err(Refusal::Unavailable)
        } else {
            self.verifier.verify(token.expose(), now.unix_ms / 1000)
        };
        match (result, self.conn(index)) {
            (Err(Refusal::Unavailable | Refusal::UnknownKey), Some(conn)) => {
                self.to_hub.push(ToHub::Verify { conn, ticket, endpoint, token });
            }
            (result, _) => follow.push_back(Event::Verified { ticket, result }),
        }
    }

    fn bind(&mut self, index: u32, identity: &Identity, since: Option<Position>, follow: &mut Follow) {
        let Some(conn) = self.conn(index) else { return };
        let Some(connection) = self.table.get_mut(index) else { return };
        let user = Arc::clone(&identity.user);
        if self.door.is_pressed() {
            return follow.push_back(Event::Close(Close::Overload));
        }
        // Whoever binds gives the place back: when unbound, or when the hub's answer binds nobody.
        if !self.door.enter_user(&user) {
            return follow.push_back(Event::Close(Close::TooMany));
        }
        connection.binding = Binding::Asked;
        let newest = connection.session.endpoint().devices == Devices::Newest;
        let since_ms = self.wall_offset_ms + connection.since_ms;
        self.to_hub.push(ToHub::Bind { conn, id: connection.id(), user, since_ms, newest, since });
    }

    fn sender(&self, index: u32) -> Option<Box<Sender>> {
        let connection = self.table.get(index)?;
        Some(Box::new(Sender {
            id: connection.id(),
            endpoint: Arc::clone(connection.session.endpoint()),
            identity: connection.session.identity().cloned(),
            device: connection.session.device().cloned(),
            trace: None,
        }))
    }

    // --- rooms ---

    fn membership_in(&self, index: u32, room: &str) -> Option<usize> {
        self.table.membership(index, self.table.rooms.find(room)?)
    }

    /// Makes the connection a member of a room the hub counts it in, and returns the room's number; where it is one
    /// already, or is not to become one, the hub's count is put right.
    pub(super) fn become_member(&mut self, index: u32, room: Arc<str>, wanted: bool) -> Option<u32> {
        if wanted && self.membership_in(index, &room).is_none() {
            self.table.join(index, &room);
            self.cells.memberships.add(1);
            return self.table.rooms.find(&room);
        }
        self.to_hub.push(ToHub::Leave { shard: self.settings.number, room, cause: Cause::Close });
        None
    }

    /// Ends a membership by command; whether there was one.
    pub(super) fn end_membership_by_command(&mut self, index: u32, room: &str) -> bool {
        let slot = self.membership_in(index, room);
        if let Some(slot) = slot {
            self.leave_room(index, slot, Cause::Ctl);
        }
        slot.is_some()
    }

    /// Counts a copy that was not delivered.
    pub(super) fn count_drop(&self, reason: DropReason) {
        self.cells.dropped(reason).add(1);
    }
}

/// What others are told of an ending.
fn cause_of(close: Option<Close>) -> Cause {
    match close {
        Some(Close::Drain) => Cause::Drain,
        Some(Close::Expired) => Cause::Expired,
        Some(Close::Replaced) => Cause::Replaced,
        Some(Close::Disconnected) | None => Cause::Ctl,
        Some(
            Close::Normal
            | Close::Protocol
            | Close::UnsupportedData
            | Close::InvalidUtf8
            | Close::Policy
            | Close::TooBig
            | Close::Internal
            | Close::Overload
            | Close::BusGone
            | Close::SlowConsumer
            | Close::Silent
            | Close::BadCredential
            | Close::NoCredential
            | Close::TooMany,
        ) => Cause::Close,
    }
}
