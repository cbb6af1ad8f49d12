//! Random clients and random answers: what must hold whatever comes in whatever order.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kit::{Bench, START_S, ana};
use crate::auth::{Identity, Refusal, RoomPatterns};
use crate::handshake::Limits;
use crate::session::{Action, Event, Failure, HistoryPage};

/// SplitMix64: enough for choices, and the same everywhere.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// The shard's side of the bargain: what is under way, and who is a member.
#[derive(Default)]
struct World {
    under_way: Vec<Action>,
    members: BTreeSet<String>,
    /// Ids that wait for their answer.
    unanswered: BTreeSet<u64>,
}

impl World {
    fn carry_out(&mut self, bench: &mut Bench) {
        for action in bench.take_actions() {
            match action {
                Action::Reply(payload) => self.hear(&payload),
                Action::Join { ref room, leave_first, .. } => {
                    if leave_first {
                        self.members.remove(&**room);
                    }
                    self.under_way.push(action);
                }
                // While a re-join is under way there is no membership to end.
                Action::Leave { room } => {
                    self.members.remove(&*room);
                }
                Action::Publish { ticket: Some(_), .. }
                | Action::Request { .. }
                | Action::History { .. }
                | Action::Verify { .. } => {
                    self.under_way.push(action);
                }
                Action::Publish { ticket: None, .. } | Action::Rebind(_) | Action::Acked { .. } | Action::Gap(_) => {}
                Action::ReplyBinary(_) | Action::Bind { .. } | Action::Close { .. } => panic!("{action:?}"),
            }
        }
    }

    fn hear(&mut self, payload: &[u8]) {
        let said: Value = serde_json::from_slice(payload).unwrap();
        if let Some(id) = said["id"].as_u64() {
            assert!(self.unanswered.remove(&id), "answered out of turn: {said}");
        }
    }

    fn answer_one(&mut self, bench: &mut Bench, choices: &mut Choices) {
        if self.under_way.is_empty() {
            return;
        }
        let at = usize::try_from(choices.below(self.under_way.len() as u64)).unwrap();
        let good = choices.below(4) > 0;
        let result = || if good { Ok(()) } else { Err(Failure::Unavailable) };
        match self.under_way.swap_remove(at) {
            Action::Join { ticket, room, .. } => {
                bench.joined(ticket, &room, result());
                self.carry_out(bench);
                if good && bench.session.is_in(&room) {
                    self.members.insert(room.to_string());
                }
            }
            Action::Publish { ticket, .. } => {
                bench.apply(Event::Published { ticket: ticket.unwrap(), result: result() });
            }
            Action::Request { ticket, .. } => {
                bench.apply(Event::Replied { ticket, result: result().map(|()| "1".into()) });
            }
            Action::History { ticket, .. } => {
                let page = || HistoryPage { messages: Vec::new(), next: None };
                bench.apply(Event::History { ticket, result: result().map(|()| page()) });
            }
            Action::Verify { ticket, .. } => {
                let patterns = if choices.below(2) == 0 { "chat/*" } else { "chat/1" };
                let rooms = RoomPatterns::new(vec![patterns.to_owned()]);
                let identity = Identity { rooms, expires: Some(START_S + 600), ..ana() };
                bench.verified(ticket, if good { Ok(identity) } else { Err(Refusal::Invalid) });
            }
            other => panic!("{other:?}"),
        }
        self.carry_out(bench);
    }
}

fn step(bench: &mut Bench, world: &mut World, choices: &mut Choices, id: u64) {
    let room = format!("chat/{}", choices.below(4));
    let fields = match choices.below(13) {
        0..=2 => format!(r#""type":"join","room":"{room}""#),
        3 => format!(r#""type":"join","room":"{room}","since":{{"epoch":"e","seq":1}}"#),
        4 | 5 => format!(r#""type":"leave","room":"{room}""#),
        6 => r#""type":"send","to":"x""#.to_owned(),
        7 => r#""type":"request","to":"x""#.to_owned(),
        8 => r#""type":"auth","token":"t""#.to_owned(),
        11 => format!(r#""type":"history","room":"{room}","before":9"#),
        9 => r#""type":"fly""#.to_owned(),
        10 => {
            // A domain service's word; the shard acts first.
            let joined = choices.below(2) == 0;
            if joined {
                world.members.insert(room.clone());
            } else if !world.members.remove(&room) {
                return;
            }
            let room = room.as_str().into();
            let event = if joined { Event::Entered { room, position: None } } else { Event::Removed { room } };
            bench.apply(event);
            return world.carry_out(bench);
        }
        _ => return world.answer_one(bench, choices),
    };
    world.unanswered.insert(id);
    bench.text(&format!(r#"{{"id":{id},{fields}}}"#));
    world.carry_out(bench);
}

#[test]
fn each_message_with_an_id_has_one_answer_and_memberships_agree() {
    for seed in 0..300 {
        let mut choices = Choices(seed);
        let limits = Limits { rooms_max: 3, requests_max: 2, publishes_max: 3, ..Limits::default() };
        let (mut bench, mut world) = (Bench::welcomed(ana(), limits), World::default());
        for id in 0..300 {
            step(&mut bench, &mut world, &mut choices, id);
        }
        while !world.under_way.is_empty() {
            world.answer_one(&mut bench, &mut choices);
        }

        let rooms: BTreeSet<String> = bench.session.rooms().map(|room| room.to_string()).collect();
        assert_eq!(rooms, world.members, "seed {seed}");
        assert!(world.unanswered.is_empty(), "seed {seed}: {:?}", world.unanswered);
        assert!(bench.session.rare.is_none(), "seed {seed}: {:?}", bench.session.rare);
    }
}
