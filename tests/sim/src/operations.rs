//! What clients and services do, and what goes wrong, drawn from the seed.

use holdfast_protocol::subject::Target;

use crate::bus::Weather;
use crate::client::{Membership, Memory};
use crate::history::Page;
use crate::maintain::UNSTEADY_MS;
use crate::service::{KeepOptions, SendOptions};
use crate::world::{Phase, World};

/// Few users and rooms, so that they meet; keys that need encoding among them.
pub(crate) const USERS: [&str; 8] = ["ana", "ben", "c d", "d.e", "한글", "f/6", "42", "=2F"];
pub(crate) const ROOMS: [&str; 6] = ["chat/1", "chat/2", "a.b", "*", "방", "news"];
/// Connections at the same time.
const CLIENTS_MAX: usize = 40;

impl World {
    /// A millisecond's worth of work.
    pub(crate) fn operate(&mut self) {
        if self.rng.chance(60) {
            self.totals.steps += 1;
            self.client_operation();
        }
        if self.rng.chance(120) {
            self.totals.steps += 1;
            self.service_operation();
        }
    }

    fn client_operation(&mut self) {
        let user = self.rng.pick(&USERS).map_or_else(String::new, |user| (*user).to_owned());
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        match self.rng.below(100) {
            0..15 if ids.len() + self.away.len() < CLIENTS_MAX => self.open_client(Memory::of(user)),
            15..22 => {
                if let Some(&id) = self.rng.pick(&ids) {
                    let comes_back = self.rng.chance(800);
                    self.end_client(id, comes_back);
                }
            }
            30..36 => {
                if let Some(&id) = self.rng.pick(&ids) {
                    self.ask_history(id);
                }
            }
            36..39 if self.phase != Phase::Healing => {
                if let Some(&id) = self.rng.pick(&ids) {
                    self.pause(id);
                }
            }
            // Never while healing: what was queued in trouble must be read before calm.
            22..30 if self.phase != Phase::Healing => {
                if let Some(&id) = self.rng.pick(&ids) {
                    self.toggle_stall(id);
                }
            }
            _ => {
                if let Some(&id) = self.rng.pick(&ids) {
                    self.join_or_leave(id);
                }
            }
        }
    }

    fn ask_history(&mut self, id: u64) {
        let now = self.gateway_now();
        let room = self.rng.pick(&ROOMS).copied().unwrap_or_default();
        let (before, limit, back) = (self.rng.chance(500), 1 + self.rng.index(9), self.rng.below(60));
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(gateway) = self.gateways.get_mut(&client.gateway) else { return };
        if !client.is_settled(room) || gateway.frozen_until_ms > now.ms {
            return;
        }
        let place = client.follows.get(room).and_then(|follow| follow.place.as_ref());
        let seq = place.map_or(1, |place| place.seq).saturating_sub(back).max(1);
        let text = client.ask_history(room, Page { before, seq, asked_ms: now.ms, limit });
        client.diary.note(now.ms, text.clone());
        gateway.client_says(now, client.shard, client.key, &text);
    }

    pub(crate) fn toggle_stall(&mut self, id: u64) {
        let now = self.gateway_now();
        let Some(client) = self.clients.get_mut(&id) else { return };
        let stalled = !client.wire.borrow().stalled;
        client.diary.note(now.ms, if stalled { "stops reading" } else { "reads again" });
        client.wire.borrow_mut().stalled = stalled;
        client.unsteady_until_ms = if stalled { u64::MAX } else { now.ms + UNSTEADY_MS };
        if !stalled && let Some(gateway) = self.gateways.get_mut(&client.gateway) {
            gateway.unstalled(now, client.shard, client.key);
        }
    }

    fn join_or_leave(&mut self, id: u64) {
        let now = self.gateway_now();
        let room = self.rng.pick(&ROOMS).copied().unwrap_or_default();
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(gateway) = self.gateways.get_mut(&client.gateway) else { return };
        if !client.is_settled(room) || gateway.frozen_until_ms > now.ms {
            return;
        }
        let join = !client.rooms.contains_key(room);
        if join {
            // Of its own will: from now on.
            client.follows.remove(room);
        }
        let text = client.ask(room, join);
        client.diary.note(now.ms, text.clone());
        gateway.client_says(now, client.shard, client.key, &text);
    }

    fn service_operation(&mut self) {
        if self.rng.chance(220) {
            self.keep();
            return;
        }
        let target = match self.rng.below(100) {
            0..55 => Target::Room(self.rng.pick(&ROOMS).map_or_else(String::new, |room| (*room).to_owned())),
            55..85 => Target::User(self.rng.pick(&USERS).map_or_else(String::new, |user| (*user).to_owned())),
            85..97 => {
                let ids: Vec<String> = self.clients.values().filter_map(|client| client.connection.clone()).collect();
                Target::Connection(self.rng.pick(&ids).cloned().unwrap_or_else(|| "nobody".to_owned()))
            }
            _ => Target::All,
        };
        let sure = self.sure(&target);
        let (ask, index) = (self.rng.chance(300), self.rng.index(self.services.len()));
        self.totals.sent += 1;
        self.services[index].send(
            &mut self.bus,
            &mut self.rng,
            self.now_ms,
            &target,
            sure,
            SendOptions { ask, ..SendOptions::default() },
        );
    }

    fn keep(&mut self) {
        let target = if self.rng.chance(650) {
            Target::Room(self.rng.pick(&ROOMS).map_or_else(String::new, |room| (*room).to_owned()))
        } else {
            Target::User(self.rng.pick(&USERS).map_or_else(String::new, |user| (*user).to_owned()))
        };
        let options = match self.rng.below(20) {
            0..3 => KeepOptions { key: self.rng.pick(&["price", "place"]).copied(), ..KeepOptions::default() },
            3..5 => KeepOptions { ttl_ms: Some(self.rng.below(3_000)), ..KeepOptions::default() },
            5 => KeepOptions { except: self.rng.pick(&USERS).map(|user| (*user).to_owned()), ..KeepOptions::default() },
            _ => KeepOptions::default(),
        };
        let index = self.rng.index(self.services.len());
        self.totals.sent += 1;
        self.services[index].keep(&mut self.bus, &mut self.rng, self.now_ms, &target, &options);
    }

    /// Clients that belong to the target by what they were told.
    pub(crate) fn sure(&self, target: &Target) -> Vec<u64> {
        let belongs = |client: &crate::client::Client| match target {
            Target::User(user) => client.welcomed_ms.is_some() && client.user == *user,
            Target::Room(room) => matches!(client.rooms.get(room), Some(Membership::In { .. })),
            Target::Connection(id) => client.connection.as_ref() == Some(id),
            Target::All => client.welcomed_ms.is_some(),
        };
        self.clients.iter().filter(|(_, client)| belongs(client)).map(|(id, _)| *id).collect()
    }

    // --- what goes wrong ---

    pub(crate) fn trouble(&mut self) {
        if !self.rng.chance(2) {
            return;
        }
        self.totals.faults += 1;
        self.totals.steps += 1;
        let routers: Vec<u64> = self.routers.keys().copied().collect();
        let gateways: Vec<u64> = self.gateways.keys().copied().collect();
        let until_ms = self.now_ms + 50 + self.rng.below(4_000);
        match self.rng.below(if self.plan.splits { 15 } else { 13 }) {
            0 => {
                if let Some(router) = self.rng.pick(&routers).and_then(|id| self.routers.remove(id)) {
                    self.cut_until.remove(&router.link);
                    self.bus.disconnect(router.link);
                }
            }
            1 => {
                if let Some(router) = self.rng.pick(&routers).and_then(|id| self.routers.get_mut(id)) {
                    router.frozen_until_ms = until_ms;
                }
            }
            2 if routers.len() < 3 => self.start_router(),
            3 => self.orderly_change(),
            4 => {
                if let Some(&id) = self.rng.pick(&gateways) {
                    self.kill_gateway(id);
                    self.start_gateway();
                }
            }
            5 => {
                let long = self.rng.chance(200);
                if let Some(gateway) = self.rng.pick(&gateways).and_then(|id| self.gateways.get_mut(id)) {
                    gateway.frozen_until_ms = if long { until_ms + 9_000 } else { until_ms };
                }
            }
            6 => {
                let mut links: Vec<_> = self.routers.values().map(|router| router.link).collect();
                links.extend(self.gateways.values().map(|gateway| gateway.link));
                if let Some(&link) = self.rng.pick(&links)
                    && !self.cut_until.contains_key(&link)
                {
                    self.cut_until.insert(link, until_ms);
                    self.bus.cut(link, true);
                    self.bus_changed(link, false);
                }
            }
            7 if gateways.len() < 4 => self.start_gateway(),
            8 => {
                if let Some(gateway) = self.rng.pick(&gateways).and_then(|id| self.gateways.get_mut(id)) {
                    gateway.behind_until_ms = until_ms;
                }
            }
            9 => self.stream.away_until_ms = until_ms,
            10 if self.rng.chance(500) => self.stream.lagging_until_ms = until_ms,
            10 => self.stream.slow_until_ms = until_ms,
            11 if self.rng.chance(150) => self.stream.delete(),
            11 => self.drain(),
            13.. => self.split(until_ms),
            _ => {
                self.bus.weather =
                    Weather { loss: 20, duplication: 20, reordering: 20, spares_messages: !self.plan.harsh };
                self.weather_until_ms = until_ms;
            }
        }
    }

    /// Routers and gateways are in two parts of the bus; the stream and those who publish to it are in one of them.
    fn split(&mut self, until_ms: u64) {
        let links = self.routers.values().map(|router| router.link);
        let links: Vec<_> = links.chain(self.gateways.values().map(|gateway| gateway.link)).collect();
        let away: Vec<_> = links.into_iter().filter(|_| self.rng.chance(400)).collect();
        self.bus.split(|link| u8::from(away.contains(&link)));
        self.split_until_ms = Some(until_ms);
    }

    fn kill_gateway(&mut self, id: u64) {
        if let Some(gateway) = self.gateways.remove(&id) {
            self.cut_until.remove(&gateway.link);
            self.bus.disconnect(gateway.link);
            let held: Vec<u64> =
                self.clients.iter().filter(|(_, client)| client.gateway == id).map(|(id, _)| *id).collect();
            for id in held {
                self.end_client(id, true);
            }
        }
    }

    /// A node drains by command, sheds some of its connections, or is taken back into service.
    pub(crate) fn drain(&mut self) {
        let now = self.gateway_now();
        let draining = self.gateways.values().find(|gateway| gateway.is_draining()).map(|gateway| gateway.node);
        let ids: Vec<u64> = self.gateways.keys().copied().collect();
        let picked = self.rng.pick(&ids).and_then(|id| self.gateways.get(id)).map(|gateway| gateway.node);
        let Some((node, body)) = (match draining {
            Some(node) => Some((node, r#"{"do":"uncordon"}"#)),
            None if self.rng.chance(400) => picked.map(|node| (node, r#"{"do":"shed","percent":50}"#)),
            None => picked.map(|node| (node, r#"{"do":"drain"}"#)),
        }) else {
            return;
        };
        if draining.is_some() {
            let recalled = |id: u64| self.gateways.get(&id).is_some_and(|gateway| gateway.node == node);
            self.clients
                .values_mut()
                .filter(|client| recalled(client.gateway))
                .for_each(|client| client.recalled = true);
        }
        self.totals.steps += 1;
        self.services[0].command_node(&mut self.bus, &mut self.rng, now.ms, node.as_str(), body);
    }

    /// A router joins, or one of several leaves, in order.
    pub(crate) fn orderly_change(&mut self) {
        let now = self.router_now();
        let working: Vec<u64> =
            self.routers.iter().filter(|(_, router)| router.core.is_live()).map(|(id, _)| *id).collect();
        if self.routers.len() < 3 && (working.len() < 2 || self.rng.chance(500)) {
            self.start_router();
        } else if working.len() > 1
            && let Some(router) = self.rng.pick(&working).and_then(|id| self.routers.get_mut(id))
        {
            router.leave(now);
        } else {
            return;
        }
        self.handovers_ms.push(now.ms);
        self.totals.steps += 1;
    }

    /// Ends all trouble: from here on the world has time to get over it.
    pub(crate) fn heal(&mut self) {
        for router in self.routers.values_mut() {
            router.frozen_until_ms = 0;
        }
        for gateway in self.gateways.values_mut() {
            gateway.frozen_until_ms = 0;
            gateway.behind_until_ms = 0;
        }
        (self.stream.away_until_ms, self.stream.slow_until_ms, self.stream.lagging_until_ms) = (0, 0, 0);
        self.weather_until_ms = self.now_ms;
        self.split_until_ms = self.split_until_ms.map(|_| self.now_ms);
        for until_ms in self.cut_until.values_mut() {
            *until_ms = self.now_ms;
        }
        let stalled: Vec<u64> =
            self.clients.iter().filter(|(_, client)| client.wire.borrow().stalled).map(|(id, _)| *id).collect();
        for id in stalled {
            self.toggle_stall(id);
        }
    }
}
