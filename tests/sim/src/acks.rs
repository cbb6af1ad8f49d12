//! What clients acknowledge, and what receipts may say of it and of deliveries: never more than clients saw and said, and
//! in time.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::receipt::Receipt;
use serde_json::json;

use crate::client::{Client, Number, Violation, number_of};
use crate::service::Asked;
use crate::socket::text_of;
use crate::world::World;

/// How long an acknowledgement may take to the router and a receipt to its asker: far more than any path through the
/// simulation.
const GRACE_MS: u64 = 500;
/// How late a client may be with an acknowledgement: later than some receipts are.
const LATE_MAX_MS: u64 = 1_500;
/// For how long acknowledgements are remembered: longer than receipts are looked at.
const REMEMBERED_MS: u64 = 6_000;

/// What one client has yet to acknowledge.
#[derive(Debug, Default)]
pub struct Owed {
    /// Ids of messages that were just read, and whether they were a room's.
    pub fresh: Vec<(String, bool)>,
    due: Vec<(u64, String)>,
}

/// Who acknowledged a message.
#[derive(Debug)]
struct Acknowledged {
    since_ms: u64,
    of_room: bool,
    /// Clients that were asked.
    asked: BTreeSet<u64>,
    /// Clients that did, and when.
    by: BTreeMap<u64, u64>,
}

/// Who acknowledged what lately.
#[derive(Debug, Default)]
pub struct Acks(BTreeMap<String, Acknowledged>);

impl Acks {
    fn times(&self, id: &str) -> impl Iterator<Item = u64> {
        self.0.get(id).into_iter().flat_map(|it| it.by.values().copied())
    }
}

impl World {
    /// Clients acknowledge what they were asked to: at once, late, twice, or never.
    pub(crate) fn acknowledge(&mut self) {
        let now = self.gateway_now();
        for (id, client) in &mut self.clients {
            for (message, of_room) in std::mem::take(&mut client.owed.fresh) {
                let known = self.acks.0.entry(message.clone()).or_insert_with(|| Acknowledged {
                    since_ms: now.ms,
                    of_room,
                    asked: BTreeSet::new(),
                    by: BTreeMap::new(),
                });
                known.asked.insert(*id);
                let wait_ms = match self.extra.below(10) {
                    0..6 => 0,
                    6..9 => self.extra.below(LATE_MAX_MS),
                    _ => continue,
                };
                if self.extra.chance(100) {
                    client.owed.due.push((now.ms + wait_ms + 1, message.clone()));
                }
                client.owed.due.push((now.ms + wait_ms, message));
            }
            let is_due = |(due_ms, _): &(u64, String)| *due_ms <= now.ms;
            let gateway = self.gateways.get_mut(&client.gateway).filter(|gateway| gateway.frozen_until_ms <= now.ms);
            let (true, Some(gateway)) = (client.owed.due.iter().any(is_due), gateway) else { continue };
            let (due, later) = std::mem::take(&mut client.owed.due).into_iter().partition(is_due);
            client.owed.due = later;
            let ids: BTreeSet<String> = Vec::into_iter(due).map(|(_, message)| message).collect();
            let text = json!({ "type": "ack", "ids": ids }).to_string();
            self.totals.steps += 1;
            self.totals.acks += ids.len() as u64;
            client.diary.note(now.ms, text.clone());
            gateway.client_says(now, client.shard, client.key, &text);
            for message in ids {
                if let Some(known) = self.acks.0.get_mut(&message) {
                    known.by.entry(*id).or_insert(now.ms);
                }
            }
        }
        self.acks.0.retain(|_, known| known.since_ms + REMEMBERED_MS > now.ms);
    }

    /// A client that was not asked, and is in no room, acknowledges what was for one.
    pub(crate) fn acknowledge_as_a_stranger(&mut self) {
        let now = self.gateway_now();
        let Some((message, known)) = self.acks.0.iter().rev().find(|(_, known)| known.of_room) else { return };
        let is_stranger = |id: &u64, client: &Client| {
            client.rooms.is_empty() && client.welcomed_ms.is_some() && !known.asked.contains(id)
        };
        let stranger = self.clients.iter_mut().find(|(id, client)| is_stranger(id, client));
        let Some((_, client)) = stranger else { return };
        let Some(gateway) = self.gateways.get_mut(&client.gateway) else { return };
        if gateway.frozen_until_ms <= now.ms {
            let text = json!({ "type": "ack", "ids": [message, "of-nobody"] }).to_string();
            client.diary.note(now.ms, text.clone());
            gateway.client_says(now, client.shard, client.key, &text);
        }
    }

    /// A message was handed to a client.
    pub(crate) fn note_heard(&mut self, Number { sender, number }: Number) {
        let service = self.services.iter_mut().find(|service| service.sender == sender);
        if let Some(asked) = service.and_then(|service| service.asked.get_mut(&number)) {
            asked.heard += 1;
        }
    }

    /// A connection ends: what it was handed and has not read counts as well.
    pub(crate) fn note_unread(&mut self, client: &Client) {
        let unread = std::mem::take(&mut client.wire.borrow_mut().frames);
        for value in unread.iter().filter_map(|frame| serde_json::from_str(text_of(frame)?).ok()) {
            number_of(&value).into_iter().for_each(|number| self.note_heard(number));
        }
    }

    /// A receipt never claims what no client saw or said, whatever went wrong. (Acknowledgements are told once, as NATS
    /// delivers once: where the weather doubles them they are counted twice.)
    pub(crate) fn check_claims(&self, number: u64, asked: &Asked, receipt: &Receipt) -> Result<(), Violation> {
        let acknowledged = if asked.acked { self.acks.times(&receipt.id).count() as u64 } else { 0 };
        if receipt.acked > acknowledged && asked.sent_ms > self.doubled_ms {
            return Err(Violation(format!("receipt {number}: {acknowledged} acknowledged, it says {receipt:?}")));
        }
        if receipt.written > asked.heard {
            return Err(Violation(format!("receipt {number}: written for {}, it says {receipt:?}", asked.heard)));
        }
        Ok(())
    }

    /// Where nothing failed it comes in time, with all that was acknowledged until then.
    pub(crate) fn check_acked(
        &self,
        number: u64,
        asked: &Asked,
        at_ms: u64,
        receipt: &Receipt,
    ) -> Result<(), Violation> {
        if at_ms > asked.sent_ms + asked.timeout_ms + GRACE_MS {
            return Err(Violation(format!("receipt {number} of {} came late, at {at_ms}", asked.sent_ms)));
        }
        if !asked.acked {
            return Ok(());
        }
        let in_time = self.acks.times(&receipt.id).filter(|said_ms| said_ms + GRACE_MS <= at_ms).count() as u64;
        if receipt.acked < in_time {
            return Err(Violation(format!("receipt {number}: {in_time} had acknowledged, it says {receipt:?}")));
        }
        let last_ms = self.acks.times(&receipt.id).max().unwrap_or(asked.sent_ms).max(asked.sent_ms);
        if receipt.acked == receipt.matched && receipt.late_nodes == 0 && at_ms > last_ms + GRACE_MS {
            return Err(Violation(format!("receipt {number}: all had acknowledged by {last_ms}, it came at {at_ms}")));
        }
        Ok(())
    }
}
