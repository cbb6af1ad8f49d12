//! Planted defects: proof that the checks can fail. Each is what a bug of that kind would look like to a client.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::socket::text_of;
use crate::world::{Phase, World};

/// A defect to plant in calm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A delivery vanishes on its way to one client.
    Lose,
    /// A delivery comes twice.
    Repeat,
    /// Two deliveries to one client change places.
    Swap,
    /// A delivery reaches a client it is not for.
    Leak,
    /// A receipt is not told.
    LoseReceipt,
}

impl Sabotage {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Lose, Self::Repeat, Self::Swap, Self::Leak, Self::LoseReceipt];
}

fn is_message(frame: &[u8]) -> bool {
    text_of(frame).is_some_and(|text| text.starts_with(r#"{"type":"message""#))
}

fn is_of_a_room(frame: &[u8]) -> bool {
    is_message(frame) && text_of(frame).is_some_and(|text| text.contains(r#""room":"#))
}

impl World {
    /// Does its worst, once in a while and only in calm.
    pub(crate) fn sabotage(&mut self, what: Sabotage) {
        if self.phase != Phase::Calm || (what != Sabotage::Swap && !self.rng.chance(300)) {
            return;
        }
        match what {
            Sabotage::Lose | Sabotage::Repeat => self.tamper(what),
            Sabotage::Swap => self.swap(),
            Sabotage::Leak => self.leak(),
            Sabotage::LoseReceipt => {
                if let Some(asked) = self.services.iter_mut().find_map(|service| service.asked.values_mut().next_back())
                {
                    asked.answers.clear();
                }
            }
        }
    }

    fn tamper(&mut self, what: Sabotage) {
        for client in self.clients.values() {
            let mut wire = client.wire.borrow_mut();
            let Some(at) = wire.frames.iter().position(|frame| is_message(frame)) else { continue };
            match what {
                Sabotage::Lose => drop(wire.frames.remove(at)),
                Sabotage::Repeat | Sabotage::Swap | Sabotage::Leak | Sabotage::LoseReceipt => {
                    let Some(frame) = wire.frames.get(at).cloned() else { continue };
                    wire.frames.push_back(frame);
                }
            }
            return;
        }
    }

    /// Only messages of one sender to one target have an order that anybody promised.
    fn swap(&mut self) {
        for client in self.clients.values() {
            let mut wire = client.wire.borrow_mut();
            let mut first = BTreeMap::new();
            let pair = wire.frames.iter().enumerate().find_map(|(at, frame)| {
                let value: Value = serde_json::from_str(text_of(frame)?).ok()?;
                let stream =
                    (value["room"].to_string(), value["data"]["sender"].as_u64()?, value["data"]["target"].to_string());
                first.insert(stream, at).map(|earlier| (earlier, at))
            });
            if let Some((earlier, later)) = pair {
                wire.frames.swap(earlier, later);
                return;
            }
        }
    }

    fn leak(&mut self) {
        let leaked = self
            .clients
            .values()
            .find_map(|client| client.wire.borrow().frames.iter().find(|frame| is_of_a_room(frame)).cloned());
        let Some(frame) = leaked else { return };
        if let Some(stranger) = self.clients.values().find(|client| client.rooms.is_empty()) {
            stranger.wire.borrow_mut().frames.push_back(frame);
        }
    }
}
