//! Clients that read slowly: what they did not get they were told of by `gap`, or a newer one of its key took its place.
//!
//! A client that hears a gap comes back or asks again by itself, and begins anew there; so what is looked at here is
//! what nobody told it of.

use std::collections::BTreeMap;

use crate::check::stayed;
use crate::client::{Client, Violation};
use crate::maintain::UNSTEADY_MS;
use crate::service::Promise;
use crate::world::{Phase, World};

/// Bytes per millisecond that a slow client reads at most.
const BYTES_MAX: usize = 8;
/// Bytes that the kernel takes ahead of it.
const AHEAD_BYTES: usize = 400;
/// For how long a client is slow at most.
const SLOW_MAX_MS: u64 = 3_000;

/// How fast a slow client reads.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes per millisecond.
    pub bytes: usize,
    /// Bytes that the kernel takes now.
    pub room: usize,
}

/// What one client was told of messages that it did not get, and what is not settled yet.
#[derive(Debug, Default)]
pub struct Doubts {
    /// By room, and the own stream's empty name: when it last heard of a gap.
    pub gap_ms: BTreeMap<String, u64>,
    /// By room and key: the newest message that came.
    pub newest: BTreeMap<(String, String), u64>,
    /// Messages that came while the client was slow, or never.
    open: Vec<Promise>,
}

impl Doubts {
    /// Whether the client knows that this message is not to come.
    pub(crate) fn explain(&self, promise: &Promise) -> Option<Explained> {
        let newer = promise.key.and_then(|key| self.newest.get(&(promise.room.clone(), key.to_owned())));
        if newer.is_some_and(|newest| *newest > promise.number.number) {
            return Some(Explained::Replaced);
        }
        self.gap_ms.get(&promise.room).filter(|told_ms| **told_ms >= promise.sent_ms).map(|_| Explained::Told)
    }

    /// Looked at when the client has had the time to read.
    pub(crate) fn put_off(&mut self, promise: &Promise) {
        self.open.push(promise.clone());
    }

    /// Nothing is promised any more.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }
}

/// Why a message does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explained {
    /// A newer one of its key did.
    Replaced,
    /// There was a gap.
    Told,
}

impl World {
    /// A client reads slowly from now on.
    pub(crate) fn slow_down(&mut self) {
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        let Some(client) = self.extra.pick(&ids).and_then(|id| self.clients.get_mut(id)) else { return };
        let bytes = 1 + self.extra.index(BYTES_MAX);
        client.slow_until_ms = self.now_ms + 1 + self.extra.below(SLOW_MAX_MS);
        client.diary.note(self.now_ms, format!("reads {bytes} bytes in a millisecond"));
        client.wire.borrow_mut().pace = Some(Pace { bytes, room: self.extra.index(AHEAD_BYTES) });
        self.totals.slow += 1;
    }

    /// Slow clients read on, and some are no longer slow.
    pub(crate) fn read_on(&mut self) {
        let now = self.gateway_now();
        for client in self.clients.values_mut().filter(|client| client.slow_until_ms > 0) {
            client.unsteady_until_ms = client.unsteady_until_ms.max(now.ms + UNSTEADY_MS);
            if client.slow_until_ms <= now.ms {
                client.slow_until_ms = 0;
                client.wire.borrow_mut().pace = None;
                client.diary.note(now.ms, "reads as fast as it can");
            } else if let Some(pace) = &mut client.wire.borrow_mut().pace {
                pace.room = (pace.room + pace.bytes).min(AHEAD_BYTES);
            }
            let gateway = self.gateways.get_mut(&client.gateway);
            if let Some(gateway) = gateway.filter(|gateway| gateway.frozen_until_ms <= now.ms) {
                gateway.unstalled(now, client.shard, client.key);
            }
        }
    }

    /// Silence is for what all have read.
    pub(crate) fn read_all(&mut self) {
        let stalled = self.clients.iter().filter(|(_, client)| client.wire.borrow().stalled);
        let stalled: Vec<u64> = stalled.map(|(id, _)| *id).collect();
        stalled.into_iter().for_each(|id| self.toggle_stall(id));
    }

    /// Looks at what clients that were slow did not get, once they have had the time to read.
    pub(crate) fn check_doubts(&mut self) -> Result<(), Violation> {
        let now_ms = self.now_ms;
        for client in self.clients.values_mut() {
            let waits = client.wire.borrow().stalled || now_ms <= client.unsteady_until_ms;
            if client.doubts.open.is_empty() || waits {
                continue;
            }
            for promise in std::mem::take(&mut client.doubts.open) {
                if client.seen.contains(&(promise.room.clone(), promise.number)) || !stayed(client, &promise) {
                    continue;
                }
                match client.doubts.explain(&promise) {
                    Some(Explained::Replaced) => self.totals.replaced += 1,
                    Some(Explained::Told) => self.totals.told += 1,
                    None => return Err(untold(client, &promise)),
                }
            }
        }
        Ok(())
    }

    /// A client hears of a gap where its messages wait until it is closed, and nothing else was done to it.
    pub(crate) fn check_gap(&self, client: &Client) -> Result<(), Violation> {
        let gapless = !client.drops_oldest && !client.was_paused;
        if self.plan.wide && gapless && self.phase != Phase::Trouble && self.calm_since_ms.is_some() {
            return Err(Violation(format!("{}: a gap, and nothing was lost\n{}", client.user, client.diary)));
        }
        Ok(())
    }
}

fn untold(client: &Client, promise: &Promise) -> Violation {
    let Client { user, gateway, doubts, drops_oldest, .. } = client;
    Violation(format!(
        "{user} on gateway {gateway}, slow (drops oldest: {drops_oldest}), was never told of {:?} to {:?} at {} (key {:?}; \
         gaps {:?})\n{}",
        promise.number, promise.targets, promise.sent_ms, promise.key, doubts.gap_ms, client.diary
    ))
}
