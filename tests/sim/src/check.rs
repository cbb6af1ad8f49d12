//! The promises: what must have happened, compared with what did.

use std::collections::BTreeSet;

use holdfast_protocol::subject::Target;

use crate::client::{Client, GoAway, Violation};
use crate::service::{Asked, Promise};
use crate::slow::Explained;
use crate::world::World;

/// How long a promised delivery, and a receipt, may take: far more than any path through the simulation.
const DUE_MS: u64 = 2_500;
/// How exactly the slot of a drain is kept, and how long a message is under way at most in calm.
const SLOT_MS: u64 = 300;

impl World {
    /// Looks at promises and receipts that are due.
    pub(crate) fn check_expectations(&mut self) -> Result<(), Violation> {
        let due_ms = self.now_ms.saturating_sub(DUE_MS);
        for index in 0..self.services.len() {
            while self.services[index].promises.front().is_some_and(|promise| promise.sent_ms <= due_ms) {
                if let Some(promise) = self.services[index].promises.pop_front() {
                    self.check_promise(&promise)?;
                }
            }
            while self.services[index].asked.first_key_value().is_some_and(|(_, asked)| asked.sent_ms <= due_ms) {
                if let Some((number, asked)) = self.services[index].asked.pop_first() {
                    self.check_receipt(number, &asked)?;
                }
            }
        }
        Ok(())
    }

    fn held_since(&self, ms: u64) -> bool {
        self.calm_since_ms.is_some_and(|since_ms| since_ms <= ms)
    }

    fn check_promise(&mut self, promise: &Promise) -> Result<(), Violation> {
        if !self.held_since(promise.sent_ms) {
            return Ok(());
        }
        for id in &promise.sure {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let is_seen = client.seen.contains(&(promise.room.clone(), promise.number));
            if !stayed(client, promise) {
                continue;
            }
            if client.wire.borrow().stalled || promise.sent_ms <= client.unsteady_until_ms {
                if self.plan.wide && !is_seen {
                    client.doubts.put_off(promise);
                }
                continue;
            }
            self.totals.promised += 1;
            if !is_seen && client.doubts.explain(promise) == Some(Explained::Replaced) {
                self.totals.replaced += 1;
            } else if !is_seen {
                let Client { user, gateway, .. } = client;
                return Err(Violation(format!(
                    "{user} on gateway {gateway} (welcomed {:?}, stalled {}) never got {:?}, sent to {:?} at {}",
                    client.welcomed_ms,
                    client.wire.borrow().stalled,
                    promise.number,
                    promise.targets,
                    promise.sent_ms
                )));
            }
        }
        Ok(())
    }

    /// A connection was closed with 1012: it was told when, and got everything until then.
    pub(crate) fn check_drained(&self, id: u64) -> Result<(), Violation> {
        let Some(client) = self.clients.get(&id) else { return Ok(()) };
        let wire_stalled = client.wire.borrow().stalled;
        if self.now_ms <= client.unsteady_until_ms || wire_stalled || self.calm_since_ms.is_none() {
            return Ok(());
        }
        let Some(GoAway { told_ms, after_ms }) = client.goaway else {
            return Err(Violation(format!("{}: closed without a goaway\n{}", client.user, client.diary)));
        };
        // Who did not read when it was told heard of it late.
        if told_ms > client.unsteady_until_ms && self.now_ms.abs_diff(told_ms + after_ms) > SLOT_MS {
            return Err(Violation(format!(
                "{}: told at {told_ms} to go in {after_ms} ms, closed at {}\n{}",
                client.user, self.now_ms, client.diary
            )));
        }
        let promises = self.services.iter().flat_map(|service| &service.promises);
        let missed = promises
            .filter(|promise| self.held_since(promise.sent_ms) && promise.sent_ms + SLOT_MS < self.now_ms)
            .filter(|promise| promise.sent_ms > client.unsteady_until_ms && promise.sure.contains(&id))
            .filter(|promise| stayed(client, promise))
            .filter(|promise| !client.seen.contains(&(promise.room.clone(), promise.number)))
            .find(|promise| client.doubts.explain(promise) != Some(Explained::Replaced));
        match missed {
            Some(promise) => Err(Violation(format!(
                "{}: closed without {:?} of {} to {:?}\n{}",
                client.user, promise.number, promise.sent_ms, promise.targets, client.diary
            ))),
            None => Ok(()),
        }
    }

    fn check_receipt(&mut self, number: u64, asked: &Asked) -> Result<(), Violation> {
        for (_, receipt) in &asked.answers {
            let whole = receipt.matched == receipt.written + receipt.queued + receipt.dropped;
            let offline = receipt.matched + receipt.filtered == 0 && receipt.late_nodes == 0;
            if !whole || receipt.offline != offline {
                return Err(Violation(format!("receipt {number} contradicts itself: {receipt:?}")));
            }
            self.check_claims(number, asked, receipt)?;
        }
        if !self.held_since(asked.sent_ms) {
            return Ok(());
        }
        match &asked.answers[..] {
            [(at_ms, receipt)] => {
                self.totals.receipts += 1;
                self.totals.acked += receipt.acked;
                self.check_acked(number, asked, *at_ms, receipt)?;
                let stayed = asked.sure.iter().filter(|id| self.clients.contains_key(id)).count() as u64;
                let stays_by_itself = !asked.targets.iter().any(|target| matches!(target, Target::Room(_)));
                if stays_by_itself && receipt.matched < stayed {
                    return Err(Violation(format!(
                        "receipt {number} for {:?} at {} claims too few for {stayed}: {receipt:?}",
                        asked.targets, asked.sent_ms
                    )));
                }
                Ok(())
            }
            [] => Err(Violation(format!("no receipt {number} for {:?} sent at {}", asked.targets, asked.sent_ms))),
            several => Err(Violation(format!("{} receipts {number} at {}", several.len(), asked.sent_ms))),
        }
    }

    /// At the end of a silence: each client that is there has all kept messages of what it follows.
    pub(crate) fn check_kept(&mut self) -> Result<(), Violation> {
        for client in self.clients.values().filter(|client| !client.wire.borrow().stalled) {
            self.totals.followed += client.follows.len() as u64;
            if let Some((subject, seq)) = client.owed(self.now_ms, &self.stream) {
                let Client { user, gateway, .. } = client;
                return Err(Violation(format!(
                    "{user} on gateway {gateway} never got kept message {seq} of {subject}, stored {:?}: {:?}\n{}",
                    self.stream.stored_ms(&subject, seq),
                    client.follows,
                    client.diary,
                )));
            }
        }
        Ok(())
    }

    /// At the end of a silence: mirrors, facts and truth agree.
    pub(crate) fn compare_views(&self) -> Result<(), Violation> {
        let users: BTreeSet<&str> = self.clients.values().map(|client| client.user.as_str()).collect();
        let rooms: BTreeSet<&str> =
            self.clients.values().flat_map(|client| client.rooms.keys()).map(String::as_str).collect();
        if let Some(client) = self.clients.values().find(|c| c.welcomed_ms.is_none() && !c.wire.borrow().stalled) {
            return Err(Violation(format!("{} was never welcomed", client.user)));
        }
        // Clients that do not read may not know yet what they are; the comparison is for rounds without them.
        if self.clients.values().any(|client| client.wire.borrow().stalled) {
            return Ok(());
        }
        for router in self.routers.values() {
            let gauges = router.core.gauges(self.now_ms);
            let truth = (true, self.gateways.len() as u64, users.len() as u64, rooms.len() as u64);
            let mirror = (gauges.live, gauges.nodes.iter().sum::<u64>(), gauges.users, gauges.rooms);
            if mirror != truth || gauges.connections != self.clients.len() as u64 {
                return Err(Violation(format!(
                    "mirror of {} differs: live, nodes, users, rooms {mirror:?}, truth {truth:?}; connections {} of {}",
                    router.core.id(),
                    gauges.connections,
                    self.clients.len()
                )));
            }
        }
        // What a router told in its part of the bus and died, nobody knows in the other.
        if self.plan.splits { Ok(()) } else { self.compare_facts(&users, &rooms) }
    }

    fn compare_facts(&self, users: &BTreeSet<&str>, rooms: &BTreeSet<&str>) -> Result<(), Violation> {
        for (views, truth) in [(&self.facts.online, users), (&self.facts.occupied, rooms)] {
            let believed: BTreeSet<&str> = views.iter().filter(|(_, there)| **there).map(|(key, _)| &**key).collect();
            if believed != *truth {
                return Err(Violation(format!(
                    "facts say {believed:?}, truth is {truth:?}; last facts: {:#?}",
                    self.facts.recent
                )));
            }
        }
        Ok(())
    }
}

/// Whether nothing has changed for the client since the message was sent.
pub(crate) fn stayed(client: &Client, promise: &Promise) -> bool {
    if promise.room.is_empty() {
        client.welcomed_ms.is_some_and(|since_ms| since_ms <= promise.sent_ms)
    } else {
        client.is_member_since(&promise.room, promise.sent_ms)
    }
}
