//! Deliveries in a row for the same receivers, or a single one: what each gets of them stands in one piece, and leaves in
//! one write from the loop over the receivers, without a place in any queue.
//!
//! Only of deliveries that ask nothing of a copy (no receipt, key, lifetime, condition, position or trace), and only to
//! sockets where nothing waits; everybody else is offered each delivery by itself. The order of a socket's frames is
//! the same either way.

use std::sync::Arc;

use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::dialect::stomp::Version;
use holdfast_protocol::wire::Target;
use smallvec::SmallVec;

use super::Shard;
use super::fanout::{Fan, Share};
use super::frames::frame_of;
use super::table::{Binding, CLEAN};
use crate::clock::Now;
use crate::link::SharedDelivery;
use crate::metrics::Reach;
use crate::session::{Heard, Listener, Session, Variant};
use crate::socket::{Class, Framing, OWN_STREAM, Outgoing, Run, Socket, Taken};

/// Payload bytes of a row: what is written at once, and copied once for that. How many deliveries it has is bounded by
/// what the turn has.
const ROW_BYTES_MAX: usize = 32 * 1024;
/// From so many deliveries on, a write for them alone costs each less than its place in a queue, though more may come
/// for the same sockets in this turn.
const WORTH_A_WRITE: usize = 16;
/// Receivers looked at before the first of them is written to: their memory, which is not in the caches where there are
/// many, is fetched for all at once and not for each behind the last one's system call.
const LOOK_AHEAD: usize = 8;
/// Kinds of receivers that get a row in one piece: names of STOMP subscriptions are the clients' to choose.
const KINDS_MAX: usize = 8;

/// Deliveries of the turn that may leave together: all plain, and for the same target.
#[derive(Debug, Default)]
pub(super) struct Row {
    deliveries: Vec<Arc<SharedDelivery>>,
    bytes: usize,
    /// The turn had something else.
    mixed: bool,
}

impl Row {
    fn continues_with(&self, next: &SharedDelivery) -> bool {
        self.deliveries.last().is_none_or(|last| last.delivery.targets == next.delivery.targets)
            && self.bytes + next.delivery.payload.len() <= ROW_BYTES_MAX
    }
}

/// Whether a copy of it is nothing but its frame.
fn is_plain(shared: &SharedDelivery) -> bool {
    let delivery = &shared.delivery;
    matches!(delivery.targets[..], [Target::User(_) | Target::Room(_)])
        && delivery.receipt.is_none()
        && delivery.key.is_none()
        && delivery.expires_ms.is_none()
        && delivery.kept.is_none()
        && delivery.only.is_empty()
        && delivery.except_connections.is_empty()
        && delivery.except_users.is_empty()
        && shared.trace.is_none()
}

/// A kind of receiver: all of a kind get the same bytes.
struct Kind {
    dialect: Dialect,
    framing: Framing,
    /// In dialect `stomp`: what it speaks, and the only subscription of its that hears the room.
    hearing: Option<(Version, Listener)>,
}

impl Kind {
    fn is(&self, dialect: Dialect, framing: Framing, variant: Option<Variant<'_>>) -> bool {
        self.dialect == dialect
            && self.framing == framing
            && match (&self.hearing, variant) {
                (None, None) => true,
                (Some((version, listener)), Some(variant)) => {
                    *version == variant.version && listener == variant.listener
                }
                _ => false,
            }
    }
}

/// The row as frames, once for each kind of receiver that there is.
struct Runs<'a> {
    deliveries: &'a [Arc<SharedDelivery>],
    scope: u32,
    /// By what members of the room hear the row; what is for a user, each subscription hears by the message's destination.
    heard: Option<Heard<'a>>,
    /// `None` where the row is not all frames for that kind: SockJS carries text only.
    kinds: SmallVec<[(Kind, Option<Run>); 2]>,
    /// The kind of the receiver before: most are alike.
    last: usize,
}

impl<'a> Runs<'a> {
    fn new(deliveries: &'a [Arc<SharedDelivery>], scope: u32) -> Self {
        let first = deliveries.first().filter(|_| scope != OWN_STREAM);
        let heard = first.map(|shared| Heard::of(&shared.delivery, 0));
        Self { deliveries, scope, heard, kinds: SmallVec::new(), last: 0 }
    }

    /// Which run a receiver may have.
    fn place_of(&mut self, session: &Session, framing: Framing) -> Option<usize> {
        let dialect = session.dialect();
        let variant = match dialect {
            Dialect::Json | Dialect::Bare => None,
            Dialect::Stomp => Some(self.only_variant(session)?),
        };
        let is = |(kind, _): &(Kind, Option<Run>)| kind.is(dialect, framing, variant);
        if !self.kinds.get(self.last).is_some_and(is) {
            self.last = match self.kinds.iter().position(is) {
                Some(known) => known,
                None if self.kinds.len() == KINDS_MAX => return None,
                None => {
                    let run = self.encode(dialect, framing, variant);
                    let hearing = variant.map(|variant| (variant.version, variant.listener.clone()));
                    self.kinds.push((Kind { dialect, framing, hearing }, run));
                    self.kinds.len() - 1
                }
            };
        }
        Some(self.last)
    }

    fn only_variant<'b>(&self, session: &'b Session) -> Option<Variant<'b>> {
        let heard = self.heard.as_ref()?;
        let mut hearing = session.variants().filter(|variant| heard.by(variant.listener));
        let only = hearing.next()?;
        hearing.next().is_none().then_some(only)
    }

    fn encode(&self, dialect: Dialect, framing: Framing, variant: Option<Variant<'_>>) -> Option<Run> {
        let class = Class::Message { scope: self.scope, expires_ms: None, key: None, kept: None };
        let mut run = Run::default();
        for shared in self.deliveries {
            let frame = frame_of(shared, dialect, framing, variant)?;
            run.push(Outgoing { frame, class: class.clone() });
        }
        Some(run)
    }

    fn get(&self, place: usize) -> Option<&Run> {
        self.kinds.get(place)?.1.as_ref()
    }
}

impl<S: Socket> Shard<S> {
    /// Delivers it with those of the turn before it if it may leave with them, else behind them.
    pub(super) fn take_into_row(&mut self, now: Now, shared: Arc<SharedDelivery>) {
        if !is_plain(&shared) {
            self.end_row(now);
            return self.deliver(now, &shared, false);
        }
        if !self.turn.row.continues_with(&shared) {
            self.end_row(now);
        }
        self.turn.row.bytes += shared.delivery.payload.len();
        self.turn.row.deliveries.push(shared);
    }

    /// Delivers the only message of a turn.
    pub(super) fn deliver_lone(&mut self, now: Now, shared: &Arc<SharedDelivery>) {
        if is_plain(shared) {
            self.deliver_together(now, std::slice::from_ref(shared));
        } else {
            self.deliver(now, shared, false);
        }
    }

    /// Something else comes behind the row in this turn, and finds it delivered. [`Self::handle`] sees to it by itself.
    pub fn end_row(&mut self, now: Now) {
        self.turn.row.mixed = true;
        self.deliver_row(now);
    }

    /// Nothing comes behind the row.
    pub(super) fn finish_row(&mut self, now: Now) {
        self.deliver_row(now);
        self.turn.row.mixed = false;
    }

    fn deliver_row(&mut self, now: Now) {
        let least = if self.turn.row.mixed { WORTH_A_WRITE } else { 2 };
        let mut deliveries = std::mem::take(&mut self.turn.row.deliveries);
        self.turn.row.bytes = 0;
        if deliveries.len() >= least {
            self.deliver_together(now, &deliveries);
        } else {
            deliveries.iter().for_each(|shared| self.deliver(now, shared, false));
        }
        deliveries.clear();
        self.turn.row.deliveries = deliveries;
    }

    fn deliver_together(&mut self, now: Now, deliveries: &[Arc<SharedDelivery>]) {
        let Some(target) = deliveries.first().and_then(|first| first.delivery.targets.first()) else { return };
        let (number, share) = match target {
            Target::User(name) => (self.table.users.find(name), Share { target: 0, scope: OWN_STREAM }),
            Target::Room(name) => {
                let room = self.table.rooms.find(name);
                (room, Share { target: 0, scope: room.unwrap_or(OWN_STREAM) })
            }
            Target::Connection(_) | Target::All => return,
        };
        let Some(number) = number else { return };
        let is_room = share.scope != OWN_STREAM;
        let reach = if is_room { Reach::Room } else { Reach::User };
        let mut fans: Vec<_> = deliveries.iter().map(|shared| self.begin(now, shared, false)).collect();
        let mut runs = Runs::new(deliveries, share.scope);
        let (mut whole, mut place) = (0, 0);
        loop {
            let names = if is_room { &self.table.rooms } else { &self.table.users };
            let ahead = names.members(number).iter().skip(place).take(LOOK_AHEAD);
            let ahead: SmallVec<[_; LOOK_AHEAD]> =
                ahead.map(|member| (member.connection, self.run_for(&mut runs, member.connection))).collect();
            if ahead.is_empty() {
                break;
            }
            place += ahead.len();
            for (index, run) in ahead {
                let taken = self.write_run(now, run.and_then(|run| runs.get(run)), index);
                self.cells.deliveries[reach as usize].add(taken.frames as u64);
                if taken.waits {
                    self.mark_dirty(index);
                }
                if taken.frames == fans.len() {
                    whole += 1;
                } else {
                    self.offer_rest(now, &mut fans, taken.frames, &share, index);
                }
            }
        }
        for mut fan in fans {
            fan.part.matched += whole;
            self.conclude(now, fan);
        }
    }

    /// The run for a connection that may have the row as it is.
    fn run_for(&self, runs: &mut Runs<'_>, index: u32) -> Option<usize> {
        let connection = self.table.get(index)?;
        let may_have_it = !connection.closing
            && matches!(connection.binding, Binding::Bound { .. })
            && connection.dirty == CLEAN
            && connection.gap_queued == 0
            && !connection.session.is_paused()
            && connection.socket.takes_runs();
        may_have_it.then(|| runs.place_of(&connection.session, connection.socket.framing()))?
    }

    fn write_run(&mut self, now: Now, run: Option<&Run>, index: u32) -> Taken {
        let (Some(run), Some(connection)) = (run, self.table.get_mut(index)) else { return Taken::default() };
        connection.socket.write_run(now, run)
    }

    /// Offers one connection what it did not get in one piece, until it is too slow for its policy.
    fn offer_rest(&mut self, now: Now, fans: &mut [Fan<'_>], taken: usize, share: &Share, index: u32) {
        let (taken, rest) = fans.split_at_mut(taken);
        taken.iter_mut().for_each(|fan| fan.part.matched += 1);
        for fan in rest {
            self.offer(now, fan, share, index);
            if fan.overflowed.last() == Some(&index) {
                break;
            }
        }
    }
}
