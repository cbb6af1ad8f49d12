//! What the hub says, one arm each: answers go to the session they were asked by, work goes to its module.

use std::sync::Arc;

use holdfast_protocol::close::Close;
use holdfast_protocol::position::{Position, Start};
use holdfast_protocol::wire::Cause;

use super::Shard;
use super::table::Binding;
use crate::clock::Now;
use crate::link::{ConnRef, Granted, JoinFor, Replay, ToHub, ToShard};
use crate::session::{Event, GapScope, Outcome};
use crate::socket::{OWN_STREAM, Socket};

impl<S: Socket> Shard<S> {
    /// Carries out the only message of a turn; [`Self::finish_turn`] follows.
    pub fn handle_lone(&mut self, now: Now, message: ToShard) {
        self.turn.lone = true;
        self.handle(now, message);
        self.turn.lone = false;
    }

    /// Carries out one message of the hub. A batch of them ends with [`Self::finish_turn`].
    pub fn handle(&mut self, now: Now, message: ToShard) {
        let ToShard::Deliver(delivery) = message else {
            self.end_row(now);
            return self.handle_other(now, message);
        };
        if self.turn.lone {
            self.deliver_lone(now, &delivery);
        } else {
            self.take_into_row(now, delivery);
        }
    }

    fn handle_other(&mut self, now: Now, message: ToShard) {
        match message {
            ToShard::Deliver(delivery) => self.deliver(now, &delivery, false),
            ToShard::Count(delivery) => self.deliver(now, &delivery, true),
            ToShard::Command(command) => self.command(now, &command),
            ToShard::Ask { question, ask } => self.answer(question, &ask),
            ToShard::Bound { conn, id, user, result } => self.bound(now, conn, id, user, result),
            ToShard::Joined { conn, on_behalf, room, result } => self.joined(now, conn, on_behalf, room, result),
            ToShard::Replayed { conn, room, since, result } => self.replayed(now, conn, (room, since), result),
            ToShard::History { conn, ticket, result } => self.history(now, conn, ticket, result),
            ToShard::KeptGap { target } => self.tell_kept_gap(now, &target),
            ToShard::Published { conn, ticket, result } => {
                self.feed_to(now, conn, Event::Published { ticket, result });
            }
            ToShard::Unpublished { conn, failure } => self.feed_to(now, conn, Event::Unpublished(failure)),
            ToShard::Replied { conn, ticket, result } => self.feed_to(now, conn, Event::Replied { ticket, result }),
            ToShard::Verified { conn, ticket, result } => {
                self.feed_to(now, conn, Event::Verified { ticket, result });
            }
            ToShard::Lost => self.feed_all(now, |_| true, || Event::Gap { scope: GapScope::All }),
            ToShard::Unserved => {
                self.feed_all(
                    now,
                    |binding| !matches!(binding, Binding::Bound { .. }),
                    || Event::Close(Close::BusGone),
                );
            }
            ToShard::Drain { window_ms, rate_milli } => self.start_drain(now, window_ms, rate_milli),
            ToShard::Shed { count, window_ms, rate_milli } => self.shed(now, count, window_ms, rate_milli),
            ToShard::Relieve { bytes } => self.relieve(now, bytes),
            ToShard::Pace { rate_milli } => self.pace(rate_milli),
            ToShard::Uncordon => self.stop_drain(now),
            ToShard::CloseAll(close) => self.close_all(now, close),
            // The runtime's.
            ToShard::Session(_) | ToShard::Inspect(_) => {}
        }
    }

    fn feed_to(&mut self, now: Now, conn: ConnRef, event: Event<'_>) {
        if let Some(index) = self.table.slot(conn.key) {
            self.feed(now, index, event);
        }
    }

    /// Feeds an event to each connection whose binding is as asked.
    pub(super) fn feed_all(&mut self, now: Now, wanted: impl Fn(&Binding) -> bool, event: impl Fn() -> Event<'static>) {
        let indices: Vec<u32> = self
            .table
            .connections
            .iter()
            .filter(|(_, connection)| wanted(&connection.binding))
            .filter_map(|(index, _)| u32::try_from(index).ok())
            .collect();
        for index in indices {
            self.feed(now, index, event());
        }
    }

    /// The slot of a connection that still takes part.
    fn present(&self, conn: ConnRef) -> Option<u32> {
        let index = self.table.slot(conn.key)?;
        self.table.get(index).filter(|connection| !connection.closing).map(|_| index)
    }

    fn bound(
        &mut self,
        now: Now,
        conn: ConnRef,
        id: holdfast_protocol::id::ConnectionId,
        user: Arc<str>,
        result: Outcome<Granted>,
    ) {
        let succeeded = result.is_ok();
        let floor = floor_of(&result);
        let (start, replay) = split(result);
        let index = self.present(conn);
        if let Some(index) = index {
            self.feed(now, index, Event::Bound(start));
        }
        // The event itself may have closed the connection.
        match index.and_then(|_| self.present(conn)) {
            Some(index) if succeeded => {
                self.table.bind(index, &user);
                if let Some(position) = &floor {
                    self.floors.note(index, OWN_STREAM, position);
                }
                self.replay_own(now, index, &replay);
                self.to_hub.push(ToHub::Opened { id, user });
            }
            _ if succeeded => {
                self.door.leave_user(&user);
                let (shard, cause) = (self.settings.number, Cause::Close);
                self.to_hub.push(ToHub::Unbind { id, user, shard, cause, opened: false });
            }
            _ => self.door.leave_user(&user),
        }
    }

    fn joined(&mut self, now: Now, conn: ConnRef, on_behalf: JoinFor, room: Arc<str>, result: Outcome<Granted>) {
        let succeeded = result.is_ok();
        let floor = floor_of(&result);
        let (result, replay) = split(result);
        let room = self.table.rooms.shared(room);
        match on_behalf {
            JoinFor::Client(ticket) => {
                if let Some(index) = self.present(conn) {
                    let room = Arc::clone(&room);
                    self.feed(now, index, Event::Joined { ticket, room, result });
                }
                if succeeded {
                    let index = self.present(conn);
                    let wanted = index
                        .and_then(|index| self.table.get(index))
                        .is_some_and(|connection| connection.session.is_in(&room));
                    let joined = self.become_member(index.unwrap_or(conn.key.index), room, wanted);
                    if let (Some(index), Some(room)) = (index, joined) {
                        if let Some(position) = &floor {
                            self.floors.note(index, room, position);
                        }
                        self.replay(now, index, room, &replay);
                    }
                }
            }
            JoinFor::Command(operation) => {
                let index = self.present(conn);
                let done = succeeded && index.is_some();
                if succeeded {
                    self.become_member(index.unwrap_or(conn.key.index), Arc::clone(&room), done);
                }
                if let Some(index) = index.filter(|_| done) {
                    let position = result.ok().and_then(|start| start.position);
                    self.feed(now, index, Event::Entered { room, position });
                }
                self.operation_step(operation, done);
            }
        }
    }
}

/// Up to where the client has what the other members may still get.
fn floor_of(result: &Outcome<Granted>) -> Option<Position> {
    result.as_ref().ok().filter(|granted| granted.is_ahead)?.start.position.clone()
}

/// What the client is told, and what it then gets.
fn split(result: Outcome<Granted>) -> (Outcome<Start>, Replay) {
    match result {
        Ok(Granted { start, replay, .. }) => (Ok(start), replay),
        Err(failure) => (Err(failure), Replay::default()),
    }
}
