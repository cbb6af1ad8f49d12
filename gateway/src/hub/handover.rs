//! Packets of a new owner that must wait for those of a former one: a router that takes partitions over says after which
//! packet of whom its own come. On one NATS server they come in that order by themselves; over several they may not.
//!
//! Bounded in items and time: what waits too long goes on, and is counted.

use std::collections::{BTreeMap, VecDeque};

use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::Item;

use super::core::Hub;
use super::edge::Edge;
use super::routers::Routers;
use crate::clock::Now;

/// How long packets wait for those of another router.
const PATIENCE_MS: u64 = 500;
/// Items of one router that may wait.
const ITEMS_MAX: usize = 65_536;

/// What one router's packets wait for.
#[derive(Debug)]
struct Waiting {
    former: NodeId,
    number: u64,
    since_ms: u64,
    items: VecDeque<Item>,
}

impl Waiting {
    fn is_over(&self, routers: &Routers, now_ms: u64) -> bool {
        routers.has_passed(self.former, self.number)
            || now_ms >= self.since_ms + PATIENCE_MS
            || self.items.len() > ITEMS_MAX
    }
}

/// Routers whose packets wait.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    waiting: BTreeMap<NodeId, Waiting>,
}

impl Handovers {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Hub {
    /// Items of a router's packet, in order: carried out, or kept until those of a former owner have come.
    pub(super) fn take_items(&mut self, now: Now, edge: &mut dyn Edge, router: NodeId, items: Vec<Item>) {
        if let Some(waiting) = self.handovers.waiting.get_mut(&router) {
            waiting.items.extend(items);
        } else {
            self.carry_out(now, edge, router, items.into());
        }
        if !self.handovers.is_empty() {
            self.go_on(now, edge);
        }
    }

    fn carry_out(&mut self, now: Now, edge: &mut dyn Edge, router: NodeId, mut items: VecDeque<Item>) {
        while let Some(item) = items.pop_front() {
            match item {
                Item::Deliver(delivery) => self.on_delivery(now, edge, router, delivery),
                Item::Command(item) => self.on_command(now, edge, router, item),
                Item::Ask { number, ask } => self.on_question(now, edge, router, number, ask),
                Item::After { router: former, number } => {
                    if !self.routers.has_passed(former, number) {
                        self.cells.handover_waits.add(1);
                        let waiting = Waiting { former, number, since_ms: now.ms, items };
                        self.handovers.waiting.insert(router, waiting);
                        return;
                    }
                }
            }
        }
    }

    /// Carries out what has waited long enough.
    pub(super) fn go_on(&mut self, now: Now, edge: &mut dyn Edge) {
        loop {
            let routers = &self.routers;
            let over = self.handovers.waiting.iter().find(|(_, waiting)| waiting.is_over(routers, now.ms));
            let Some(router) = over.map(|(router, _)| *router) else { return };
            let Some(waiting) = self.handovers.waiting.remove(&router) else { return };
            if !self.routers.has_passed(waiting.former, waiting.number) {
                self.cells.handover_waits_given_up.add(1);
            }
            self.carry_out(now, edge, router, waiting.items);
        }
    }
}
