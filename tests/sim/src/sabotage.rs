//! Planted defects: proof that the checks can fail. Each is what a bug of that kind would look like to a client.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_protocol::receipt::Receipt;
use serde_json::Value;

use crate::client::{Client, Number, number_of};
use crate::socket::{frame_of, text_of};
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
    /// A kept message vanishes on its way to one client.
    LoseKept,
    /// A kept message comes twice.
    RepeatKept,
    /// Two kept messages change places.
    SwapKept,
    /// A client hears that what it missed is lost, and it is not.
    DenyRecovery,
    /// A client hears that nothing is lost, and what it missed never comes.
    HideReplay,
    /// A page of history lacks a message.
    LosePart,
    /// A client is told twice to go away.
    RepeatGoaway,
    /// A client that was told to go away is not told of its messages any more.
    Mute,
    /// The last message of a row counts as written, and never leaves.
    TearRow,
    /// A receipt claims a delivery that no client got.
    ClaimWritten,
    /// A receipt claims an acknowledgement that no client gave.
    ClaimAck,
    /// A receipt lacks an acknowledgement.
    ForgetAck,
    /// A receipt comes after its time.
    HoldReceipt,
    /// A receipt that waits for acknowledgements never comes.
    LoseAcked,
    /// A message vanishes on its way to a client that reads slowly.
    LoseSlow,
    /// A client does not hear that something gave way.
    HideGap,
    /// A slow client hears of a gap, and nothing is lost.
    InventGap,
    /// The newest message of a key vanishes as the older ones did.
    LoseNewest,
}

impl Sabotage {
    /// Each of them.
    pub const ALL: [Self; 23] = [
        Self::Lose,
        Self::Repeat,
        Self::Swap,
        Self::Leak,
        Self::LoseReceipt,
        Self::LoseKept,
        Self::RepeatKept,
        Self::SwapKept,
        Self::DenyRecovery,
        Self::HideReplay,
        Self::LosePart,
        Self::RepeatGoaway,
        Self::Mute,
        Self::TearRow,
        Self::ClaimWritten,
        Self::ClaimAck,
        Self::ForgetAck,
        Self::HoldReceipt,
        Self::LoseAcked,
        Self::LoseSlow,
        Self::HideGap,
        Self::InventGap,
        Self::LoseNewest,
    ];

    /// Whether it is about work that only a wide run does.
    pub const fn is_wide(self) -> bool {
        matches!(
            self,
            Self::TearRow
                | Self::ClaimAck
                | Self::ForgetAck
                | Self::LoseAcked
                | Self::LoseSlow
                | Self::HideGap
                | Self::InventGap
                | Self::LoseNewest
        )
    }
}

fn is_message(frame: &[u8]) -> bool {
    text_of(frame).is_some_and(|text| text.starts_with(r#"{"type":"message""#))
}

fn is_live(frame: &[u8]) -> bool {
    is_message(frame) && !is_kept(frame)
}

fn is_kept(frame: &[u8]) -> bool {
    is_message(frame) && text_of(frame).is_some_and(|text| text.contains(r#","seq":"#))
}

fn is_gap(frame: &[u8]) -> bool {
    text_of(frame).is_some_and(|text| text.starts_with(r#"{"type":"gap""#))
}

fn is_keyed(frame: &[u8]) -> bool {
    is_live(frame) && text_of(frame).is_some_and(|text| text.contains(r#","key":"#))
}

fn is_goaway(frame: &[u8]) -> bool {
    text_of(frame).is_some_and(|text| text.starts_with(r#"{"type":"goaway""#))
}

/// A page with its second message taken out.
fn without_part(frame: &[u8]) -> Option<Bytes> {
    let mut page: Value = serde_json::from_str(text_of(frame)?).ok()?;
    let messages = page["messages"].as_array_mut().filter(|messages| messages.len() > 2)?;
    messages.remove(1);
    Some(frame_of(&page.to_string()))
}

fn denied(frame: &[u8]) -> Option<Bytes> {
    let text = text_of(frame)?;
    let whole = r#","recovered":true"#;
    text.contains(whole).then(|| frame_of(&text.replace(whole, r#","recovered":false"#)))
}

fn is_of_a_room(frame: &[u8]) -> bool {
    is_live(frame) && text_of(frame).is_some_and(|text| text.contains(r#""room":"#))
}

impl World {
    /// Does its worst, once in a while and only in calm.
    pub(crate) fn sabotage(&mut self, what: Sabotage) {
        if self.phase != Phase::Calm
            || (!matches!(what, Sabotage::Swap | Sabotage::SwapKept | Sabotage::Mute) && !self.rng.chance(300))
        {
            return;
        }
        match what {
            Sabotage::Lose => self.drop_one(is_live),
            Sabotage::LoseKept => self.drop_one(is_kept),
            Sabotage::Repeat => self.repeat(is_live),
            Sabotage::RepeatKept => self.repeat(is_kept),
            Sabotage::RepeatGoaway => self.repeat(is_goaway),
            Sabotage::Swap => self.swap(false),
            Sabotage::SwapKept => self.swap(true),
            Sabotage::Leak => self.leak(),
            Sabotage::LoseReceipt => {
                if let Some(asked) = self.services.iter_mut().find_map(|service| service.asked.values_mut().next_back())
                {
                    asked.answers.clear();
                }
            }
            Sabotage::DenyRecovery => self.change(denied),
            Sabotage::LosePart => self.change(without_part),
            Sabotage::HideReplay => self.hide_replay(),
            Sabotage::Mute => {
                for client in self.clients.values().filter(|client| client.goaway.is_some()) {
                    client.wire.borrow_mut().frames.retain(|frame| !is_message(frame));
                }
            }
            Sabotage::ClaimWritten => self.falsify(false, |_, receipt| {
                receipt.matched += 1;
                receipt.written += 1;
            }),
            Sabotage::ClaimAck => self.falsify(true, |_, receipt| receipt.acked += 1),
            Sabotage::ForgetAck => self.falsify(true, |_, receipt| receipt.acked -= 1),
            Sabotage::HoldReceipt => self.falsify(false, |at_ms, _| *at_ms += 500),
            Sabotage::LoseSlow => {
                self.drop_from(|client| client.slow_until_ms > 0, |frame| is_live(frame) && !self.is_asked(frame))
            }
            Sabotage::LoseNewest => self.drop_from(|_| true, |frame| is_keyed(frame) && !self.is_asked(frame)),
            Sabotage::HideGap => {
                for client in self.clients.values() {
                    client.wire.borrow_mut().frames.retain(|frame| !is_gap(frame));
                }
            }
            Sabotage::InventGap => {
                let slow = self.clients.values().find(|client| client.slow_until_ms > 0 && !client.drops_oldest);
                if let Some(client) = slow {
                    client.wire.borrow_mut().frames.push_back(frame_of(r#"{"type":"gap"}"#));
                }
            }
            Sabotage::LoseAcked => {
                let asked = self.services.iter_mut().flat_map(|service| service.asked.values_mut());
                asked.filter(|asked| asked.acked).for_each(|asked| asked.answers.clear());
            }
            Sabotage::TearRow => {
                self.clients.values().for_each(|client| client.wire.borrow_mut().tears_row = true);
            }
        }
    }

    /// Changes a receipt, of the latest that have come and tell of clients.
    fn falsify(&mut self, acked: bool, how: fn(&mut u64, &mut Receipt)) {
        let asked = self.services.iter_mut().flat_map(|service| service.asked.values_mut().rev());
        let mut receipts = asked.flat_map(|asked| &mut asked.answers);
        if let Some((at_ms, receipt)) = receipts.find(|(_, receipt)| receipt.acked > 0 || !acked && receipt.written > 0)
        {
            how(at_ms, receipt);
        }
    }

    fn drop_one(&self, wanted: fn(&[u8]) -> bool) {
        self.drop_from(|_| true, wanted);
    }

    /// Whether a receipt tells of it.
    fn is_asked(&self, frame: &[u8]) -> bool {
        let value: Option<Value> = text_of(frame).and_then(|text| serde_json::from_str(text).ok());
        let number = value.as_ref().and_then(number_of);
        number.is_some_and(|Number { sender, number }| {
            self.services.iter().any(|service| service.sender == sender && service.asked.contains_key(&number))
        })
    }

    fn drop_from(&self, whose: fn(&Client) -> bool, wanted: impl Fn(&[u8]) -> bool) {
        for client in self.clients.values().filter(|client| whose(client)) {
            let mut wire = client.wire.borrow_mut();
            if let Some(at) = wire.frames.iter().position(|frame| wanted(frame)) {
                drop(wire.frames.remove(at));
                return;
            }
        }
    }

    fn repeat(&self, wanted: fn(&[u8]) -> bool) {
        for client in self.clients.values() {
            let mut wire = client.wire.borrow_mut();
            if let Some(frame) = wire.frames.iter().find(|frame| wanted(frame)).cloned() {
                wire.frames.push_back(frame);
                return;
            }
        }
    }

    fn change(&self, how: fn(&[u8]) -> Option<Bytes>) {
        for client in self.clients.values() {
            for frame in &mut client.wire.borrow_mut().frames {
                if let Some(changed) = how(frame) {
                    *frame = changed;
                    return;
                }
            }
        }
    }

    fn hide_replay(&self) {
        for client in self.clients.values() {
            let mut wire = client.wire.borrow_mut();
            if let Some(at) = wire.frames.iter().position(|frame| denied(frame).is_some()) {
                let mut place = 0;
                wire.frames.retain(|frame| {
                    place += 1;
                    place <= at || !is_kept(frame)
                });
            }
        }
    }

    /// Only messages of one sender to one target have an order that anybody promised.
    fn swap(&mut self, kept: bool) {
        for client in self.clients.values() {
            let mut wire = client.wire.borrow_mut();
            let mut first = BTreeMap::new();
            let pair = wire.frames.iter().enumerate().find_map(|(at, frame)| {
                let value: Value = serde_json::from_str(text_of(frame)?).ok()?;
                if value["type"] != "message" || value["seq"].is_u64() != kept {
                    return None;
                }
                let sender = value["data"]["sender"].as_u64().filter(|_| !kept);
                let stream = (value["room"].to_string(), sender, value["data"]["target"].to_string());
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
