//! Fan-out: one delivery to those of its targets that are here, encoded once, and what became of each copy.
//!
//! Copies go into the sockets' queues at once and are written at the end of the turn, so that all that is ready for one
//! socket leaves in one write; only then is it known whether a copy was `written` or is `queued`. The copies of a turn's
//! only message have nothing to leave with and are written straight from the loop; so are those of messages in a row for
//! the same receivers, all of them together (see `row`).

use std::num::NonZeroU64;

use holdfast_daemon::spans::Span;
use holdfast_protocol::wire::{Delivery, ReceiptPart, Target};

use super::Shard;
use super::frames::{Copies, Met, Terms};
use super::row::Row;
use super::table::{Binding, CLEAN};
use crate::clock::Now;
use crate::link::{Key, ReceiptRef, SharedDelivery, ToHub};
use crate::metrics::{Drop as DropReason, Reach};
use crate::session::Event;
use crate::socket::{OWN_STREAM, Pushed, Socket, Written};
use crate::traces;

/// Deliveries of a turn whose duration is measured; a turn has fewer.
const ARRIVALS_MAX: usize = 1_024;

/// What a turn has to settle at its end.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Connections with something to write; `None` where one has gone meanwhile.
    dirty: Vec<Option<u32>>,
    /// Per dirty connection, the last frame its socket handed over.
    passed: Vec<u64>,
    /// Frames of this turn that were taken back unwritten: the place among the dirty, and the number.
    withdrawn: Vec<(u32, u64)>,
    receipts: Vec<(ReceiptRef, ReceiptPart)>,
    copies: Vec<Copy>,
    /// Of sampled deliveries.
    spans: Vec<Span>,
    /// The turn has one message: there is nothing its copies could leave together with.
    pub(super) lone: bool,
    /// Deliveries that may leave together.
    pub(super) row: Row,
    /// What each delivery was for, when its router took it (Unix milliseconds), and how many copies it made.
    arrivals: Vec<(Reach, u64, u64)>,
}

/// A copy whose receipt waits for the end of the turn.
#[derive(Debug)]
struct Copy {
    receipt: usize,
    dirty: u32,
    number: u64,
}

impl Turn {
    pub(super) fn add_dirty(&mut self, index: u32) -> u32 {
        self.dirty.push(Some(index));
        self.passed.push(0);
        u32::try_from(self.dirty.len() - 1).unwrap_or(CLEAN - 1)
    }

    pub(super) fn forget_dirty(&mut self, place: u32) {
        if let Some(slot) = self.dirty.get_mut(place as usize) {
            *slot = None;
        }
    }

    /// The dirty connection at this place; the outer `None` is the end of the list.
    pub(super) fn dirty(&self, place: usize) -> Option<Option<u32>> {
        self.dirty.get(place).copied()
    }

    /// `withdrawn`: those of this turn that are passed and were not written.
    pub(super) fn set_passed(&mut self, place: usize, number: u64, withdrawn: Vec<u64>) {
        self.passed[place] = number;
        if !withdrawn.is_empty() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            self.withdrawn.extend(withdrawn.into_iter().map(|number| (place, number)));
        }
    }

    /// Deliveries since the last call.
    pub(super) fn take_arrivals(&mut self) -> std::vec::Drain<'_, (Reach, u64, u64)> {
        self.arrivals.drain(..)
    }

    /// The sockets were written.
    pub(super) fn finish_spans(&mut self) {
        self.spans.drain(..).for_each(Span::finish);
    }

    fn open_receipt(&mut self, receipt: ReceiptRef) -> usize {
        self.receipts.push((receipt, ReceiptPart { number: receipt.number, ..ReceiptPart::default() }));
        self.receipts.len() - 1
    }
}

/// One delivery under way: what is the same for each of its copies.
pub(super) struct Fan<'a> {
    shared: &'a SharedDelivery,
    mark: u32,
    key: Option<u64>,
    expires_ms: Option<u64>,
    receipt: Option<usize>,
    acked: bool,
    pub(super) part: ReceiptPart,
    reach: Reach,
    /// A read of the stream brings it: nothing is written, and whom it reaches is counted.
    is_read: bool,
    met: Met<'a>,
    /// Closed when all copies are out: closing changes the lists that are being walked.
    pub(super) overflowed: Vec<u32>,
}

/// The part of a delivery that is for one of its targets.
pub(super) struct Share {
    pub(super) target: usize,
    pub(super) scope: u32,
}

impl<S: Socket> Shard<S> {
    pub(super) fn deliver(&mut self, now: Now, shared: &SharedDelivery, is_read: bool) {
        let mut fan = self.begin(now, shared, is_read);
        let delivery = &shared.delivery;
        if fan.acked
            && let (Some(receipt), Some(ask)) = (shared.receipt, delivery.receipt)
        {
            fan.acked = self.acks.begin(&delivery.id, receipt, now.ms.saturating_add(ask.timeout_ms));
        }
        let span = shared.trace.as_ref().map(|trace| traces::writing(trace, self.settings.number));
        for target in 0..delivery.targets.len() {
            self.deliver_to_target(now, &mut fan, target);
        }
        if let Some(mut span) = span {
            traces::counted(&mut span, &fan.part);
            self.turn.spans.push(span);
        }
        self.conclude(now, fan);
    }

    pub(super) fn begin<'a>(&mut self, now: Now, shared: &'a SharedDelivery, is_read: bool) -> Fan<'a> {
        let delivery = &shared.delivery;
        Fan {
            shared,
            mark: self.table.next_mark(),
            key: delivery.key.as_ref().map(|key| conflation_key(key)),
            // `Hf-Ttl: 0` means at once or not at all: until the end of this turn, whatever the way here took.
            expires_ms: delivery.expires_ms.map(|at| if at == delivery.received_ms { now.unix_ms } else { at }),
            receipt: shared.receipt.map(|receipt| self.turn.open_receipt(receipt)),
            acked: delivery.receipt.is_some_and(|ask| ask.acked),
            part: ReceiptPart::default(),
            reach: reach_of(&delivery.targets),
            is_read,
            met: Met::none(delivery, 0),
            overflowed: Vec::new(),
        }
    }

    /// All copies of a delivery are out.
    pub(super) fn conclude(&mut self, now: Now, fan: Fan<'_>) {
        self.cells.filtered.add(fan.part.filtered);
        let copies = fan.part.matched.saturating_sub(fan.part.dropped);
        if copies > 0 && !fan.is_read && self.turn.arrivals.len() < ARRIVALS_MAX {
            self.turn.arrivals.push((fan.reach, fan.shared.delivery.received_ms, copies));
        }
        if let Some(receipt) = fan.receipt {
            let part = &mut self.turn.receipts[receipt].1;
            let number = part.number;
            *part = ReceiptPart { number, ..fan.part };
        }
        for index in fan.overflowed {
            self.overflow(now, index);
        }
    }

    fn deliver_to_target(&mut self, now: Now, fan: &mut Fan<'_>, target: usize) {
        let mut share = Share { target, scope: OWN_STREAM };
        fan.met = Met::none(&fan.shared.delivery, target);
        match &fan.shared.delivery.targets[target] {
            Target::User(name) => {
                let Some(user) = self.table.users.find(name) else { return };
                for place in 0..self.table.users.members(user).len() {
                    let index = self.table.users.members(user)[place].connection;
                    self.offer(now, fan, &share, index);
                }
            }
            Target::Room(name) => {
                let Some(room) = self.table.rooms.find(name) else { return };
                share.scope = room;
                for place in 0..self.table.rooms.members(room).len() {
                    let index = self.table.rooms.members(room)[place].connection;
                    self.offer(now, fan, &share, index);
                }
            }
            Target::Connection(id) => {
                if let Some(index) = self.table.by_id(*id) {
                    self.offer(now, fan, &share, index);
                }
            }
            Target::All => {
                for index in 0..self.highest_slot() {
                    self.offer(now, fan, &share, u32::try_from(index).unwrap_or(u32::MAX));
                }
            }
        }
    }

    /// Offers one copy: selection, filters, pause, queue.
    pub(super) fn offer(&mut self, now: Now, fan: &mut Fan<'_>, share: &Share, index: u32) {
        let Some(connection) = self.table.get_mut(index) else { return };
        if connection.closing || !matches!(connection.binding, Binding::Bound { .. }) || connection.mark == fan.mark {
            return;
        }
        connection.mark = fan.mark;
        let delivery = &fan.shared.delivery;
        if !passes(delivery, &connection.session, connection.id()) {
            fan.part.filtered += 1;
            return;
        }
        if self.floors.covers(index, share.scope, delivery.kept.as_ref()) {
            fan.part.filtered += 1;
            return;
        }
        let copies =
            Copies::of(fan.shared, share.target, &connection.session, connection.socket.framing(), &mut fan.met);
        let holds = share.scope == OWN_STREAM && delivery.kept.is_some() && connection.session.holds_own();
        if copies.is_empty() && !holds {
            // It listens to nothing of this target; as a member of another it may.
            connection.mark = fan.mark.wrapping_sub(1);
            fan.part.filtered += 1;
            return;
        }
        fan.part.matched += 1;
        if let Some(kept) = &delivery.kept
            && (fan.is_read
                || (holds || connection.lagging || connection.session.is_paused())
                    && self.lags(index, share.scope, kept))
        {
            // Not written now, and not lost: it is replayed, or was read from the stream.
            fan.part.queued += 1;
            return;
        }
        let Some(connection) = self.table.get_mut(index) else { return };
        if connection.session.is_paused() {
            fan.part.dropped += 1;
            self.count_drop(DropReason::Paused);
            let room = self.table.rooms.name_if_there(share.scope).cloned();
            self.feed(now, index, Event::MissedWhilePaused { room });
            return;
        }
        let can_ack = copies.can_ack;
        let kept = delivery.kept.as_ref().and_then(|kept| NonZeroU64::new(kept.seq));
        let terms = Terms { scope: share.scope, expires_ms: fan.expires_ms, key: fan.key, kept };
        let key = Key { index, generation: connection.generation };
        let lone = self.turn.lone && connection.dirty == CLEAN && connection.gap_queued == 0;
        let written = if lone { copies.write_now(now, &mut connection.socket, terms) } else { Written::Not };
        let pushed = match written {
            Written::Whole => {
                fan.part.written += u64::from(fan.receipt.is_some());
                self.count_copy(fan, share, key, can_ack);
                return;
            }
            Written::Begun(number) => Pushed::Queued(number),
            Written::Not => copies.push(now, &mut connection.socket, terms),
        };
        self.mark_dirty(index);
        match pushed {
            Pushed::Queued(number) => {
                self.count_copy(fan, share, key, can_ack);
                if let (Some(receipt), Some(connection)) = (fan.receipt, self.table.get(index)) {
                    self.turn.copies.push(Copy { receipt, dirty: connection.dirty, number });
                }
            }
            Pushed::Dropped => fan.part.dropped += 1,
            Pushed::Overflow => {
                fan.part.dropped += 1;
                fan.overflowed.push(index);
                self.count_drop(DropReason::Overflow);
            }
        }
    }

    /// One copy is on its way: counts it, and waits for its acknowledgement if somebody does.
    fn count_copy(&mut self, fan: &mut Fan<'_>, share: &Share, key: Key, can_ack: bool) {
        self.cells.deliveries[fan.reach as usize].add(1);
        if fan.acked && can_ack {
            if self.acks.track(key) {
                fan.part.ackable += 1;
                if let Some(connection) = self.table.get_mut(key.index) {
                    connection.session.owes(&fan.shared.delivery, share.target);
                }
            } else {
                self.cells.acks_untracked.add(1);
            }
        }
    }

    /// Counts what was written, and reports each receipt of the turn.
    pub(super) fn settle_receipts(&mut self) {
        let turn = &mut self.turn;
        turn.withdrawn.sort_unstable();
        for copy in turn.copies.drain(..) {
            let part = &mut turn.receipts[copy.receipt].1;
            if turn.withdrawn.binary_search(&(copy.dirty, copy.number)).is_ok() {
                part.dropped += 1;
                continue;
            }
            match turn.dirty.get(copy.dirty as usize) {
                Some(Some(_)) if turn.passed[copy.dirty as usize] >= copy.number => part.written += 1,
                Some(Some(_)) => part.queued += 1,
                Some(None) | None => part.dropped += 1,
            }
        }
        for (receipt, part) in turn.receipts.drain(..) {
            self.to_hub.push(ToHub::Receipt { receipt, part });
        }
        turn.dirty.clear();
        turn.passed.clear();
        turn.withdrawn.clear();
        self.acks.report(&mut self.to_hub);
    }

    /// A client acknowledged messages; ids that nobody waits for are ignored.
    pub(super) fn acknowledge(&mut self, index: u32, ids: &[String]) {
        if let Some(key) = self.table.key(index) {
            for id in ids {
                self.acks.acknowledge(id, key);
            }
        }
    }
}

pub(super) fn passes(
    delivery: &Delivery,
    session: &crate::session::Session,
    id: holdfast_protocol::id::ConnectionId,
) -> bool {
    let is_excepted = delivery.except_connections.contains(&id)
        || (!delivery.except_users.is_empty()
            && session
                .identity()
                .is_some_and(|identity| delivery.except_users.iter().any(|user| **user == *identity.user)));
    !is_excepted && delivery.only.iter().all(|condition| session.matches(condition))
}

/// `Hf-Key` as a number: FNV-1a with a final mix. Keys of one scope collide once in 2^32 pairs of them.
pub(super) fn conflation_key(key: &str) -> u64 {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const fn reach_of(targets: &[Target]) -> Reach {
    match targets {
        [Target::User(_)] => Reach::User,
        [Target::Room(_)] => Reach::Room,
        [Target::Connection(_)] => Reach::Connection,
        _ => Reach::Broadcast,
    }
}
