//! Copies on their way to nodes: whose they are to forward, whose to answer, and what an heir forwards again.

use bytes::{Bytes, BytesMut};
use holdfast_protocol::kept::ReceiptTo;
use holdfast_protocol::token;
use holdfast_protocol::wire::{Delivery, Lane, ReceiptAsk, Target, TargetRef};
use smallvec::SmallVec;

use super::Recent;
use crate::core::Router;
use crate::core::event::Now;
use crate::core::ownership::Gained;
use crate::core::receipts::Opening;
use crate::core::route::{Job, bytes_of_target};
use crate::core::settings::KEPT_RECENT_MS;
use crate::core::table::Slot;
use crate::core::tally::{Kind, Routed};

/// What an item's target adds to its bytes besides what [`bytes_of_target`] says.
const ITEM_BYTES_MAX: usize = 32;

fn encoded(delivery: &Delivery) -> Bytes {
    let mut body = BytesMut::new();
    delivery.as_ref().encode_into(&mut body);
    body.freeze()
}

fn partition_of(target: &Target) -> Option<usize> {
    match target {
        Target::User(key) | Target::Room(key) => Some(token::partition_of_key(key)),
        Target::Connection(_) | Target::All => None,
    }
}

impl Router {
    pub(super) fn forward_kept(&mut self, now: Now, mut delivery: Delivery, receipt: Option<ReceiptTo>, is_late: bool) {
        let Some(target) = delivery.targets.pop() else { return };
        let Some(partition) = partition_of(&target) else { return };
        let body = encoded(&delivery);
        if self.membership.has_live_peer() {
            // Without a receipt: whoever forwards it again cannot tell whether that was answered.
            self.stream.remember(Recent { at_ms: now.ms, partition, target: target.clone(), body: body.clone() });
        }
        // Whoever forwards it first takes the numbers of a receipt away from the owner: nobody else does without need.
        let is_ours = self.ownership.handles(partition, now.ms) || (is_late && receipt.is_none());
        let receipt = receipt.filter(|_| self.handover.lane(Lane::Send).speaks(partition));
        if let Some(receipt) = receipt {
            self.forward_with_receipt(now, &target, partition, delivery, &receipt);
        } else if is_ours {
            self.forward_copy(&target, partition, &body);
        }
    }

    fn forward_with_receipt(
        &mut self,
        now: Now,
        target: &Target,
        partition: usize,
        mut delivery: Delivery,
        receipt: &ReceiptTo,
    ) {
        let (number, ReceiptTo { subject, acked, timeout_ms }) = (self.next_number(), receipt);
        delivery.receipt = Some(ReceiptAsk { number, acked: *acked, timeout_ms: *timeout_ms });
        let id = delivery.id.to_string();
        let job = Job { kind: Kind::Kept, reply: Some(subject) };
        match self.forward_copy(target, partition, &encoded(&delivery)) {
            Routed::Forwarded => {
                let nodes = self.slots_of(target, partition).into_iter().collect();
                let due_ms = now.ms + timeout_ms;
                self.open_receipt(number, Opening { reply: subject, id: &id, acked: *acked, due_ms, nodes });
            }
            Routed::TooLarge => self.refuse(job.reply, 413, "too large for a message to a node".to_owned()),
            Routed::Offline | Routed::Refused => self.answer_nobody(&job, &id),
        }
    }

    fn slots_of(&self, target: &Target, partition: usize) -> SmallVec<[Slot; 8]> {
        match target {
            Target::User(user) => self.table.nodes_of_user(partition, user).iter().copied().collect(),
            Target::Room(room) => self.table.nodes_of_room(partition, room).iter().map(|(slot, _)| *slot).collect(),
            Target::Connection(_) | Target::All => SmallVec::new(),
        }
    }

    fn forward_copy(&mut self, target: &Target, partition: usize, body: &Bytes) -> Routed {
        let reference = match target {
            Target::User(user) => TargetRef::User(user),
            Target::Room(room) => TargetRef::Room(room),
            Target::Connection(_) | Target::All => return Routed::Refused,
        };
        let slots = self.slots_of(target, partition);
        let bytes = body.len() + bytes_of_target(reference) + ITEM_BYTES_MAX;
        let routed = if slots.is_empty() {
            Routed::Offline
        } else if bytes > self.fleet.items_bytes_max() {
            Routed::TooLarge
        } else {
            Routed::Forwarded
        };
        self.tally.route(Kind::Kept, routed);
        if routed == Routed::Forwarded {
            let term = self.membership.term();
            for slot in slots {
                self.fleet.pack(slot, bytes, term, &mut self.actions, |packet| {
                    packet.push_delivery(std::iter::once(reference), body);
                });
            }
        }
        routed
    }

    /// Forwards again what the former owner of our new partitions may not have.
    pub(in crate::core) fn forward_recent(&mut self, now: Now, gained: &[Gained]) {
        let recent = std::mem::take(&mut self.stream.recent);
        for copy in &recent {
            let is_gained = gained.iter().any(|gained| gained.partition == copy.partition);
            if is_gained && now.ms <= copy.at_ms + KEPT_RECENT_MS {
                self.forward_copy(&copy.target, copy.partition, &copy.body);
                self.tally.kept_repeated += 1;
            }
        }
        self.stream.recent = recent;
    }
}
