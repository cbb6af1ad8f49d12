//! Clients that speak `stomp`, past the parser: whatever they send, and whatever the world answers, the same happens
//! whole or cut anywhere; an ERROR ends the connection, and nothing comes behind that end.
#![no_main]

use std::sync::Arc;

use holdfast_gateway::auth::{Identity, Refusal};
use holdfast_gateway::clock::Now;
use holdfast_gateway::handshake::{Admission, Destinations, Endpoint, Limits, Rules};
use holdfast_gateway::session::{Action, Actions, Event, Failure, Incoming, Session};
use holdfast_gateway::socket::Framing;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::position::Start;
use libfuzzer_sys::fuzz_target;

struct Scene {
    session: Session,
    now: Now,
    /// What happened, as text.
    log: Vec<String>,
    under_way: Actions,
    ended: bool,
    wrong: bool,
    good: u8,
}

impl Scene {
    fn open(framing: Framing, good: u8) -> Self {
        let limits = Limits { held_max: usize::MAX, held_bytes_max: usize::MAX, ..Limits::default() };
        let one = |prefix: &str| vec![prefix.to_owned()];
        let destinations = Destinations {
            requests: one("/ask"),
            relay: one("/topic/open"),
            forward: one("/topic/f"),
            ..Destinations::default()
        };
        let rules = Rules { limits, destinations, ..Rules::json() };
        let admission = Admission {
            endpoint: Arc::new(Endpoint { name: "chat".into(), rules: Arc::new(rules) }),
            dialect: Dialect::Stomp,
            subprotocol: Some("v12.stomp"),
            identity: (good & 1 == 0).then(|| Identity::unsigned("ana", None)),
            unsigned: false,
            device: None,
            since: None,
            rooms: Vec::new(),
        };
        let now = Now { ms: 5_000, unix_ms: 1_700_000_000_000 };
        let connection = ConnectionId::new(NodeId::gateway([7; 8]), [1; 16]);
        let mut actions = Vec::new();
        let session = Session::open(now, connection, admission, framing, &mut actions);
        let mut scene = Self { session, now, log: Vec::new(), under_way: Vec::new(), ended: false, wrong: false, good };
        scene.carry_out(actions);
        scene
    }

    fn apply(&mut self, event: Event<'_>) {
        let mut actions = Vec::new();
        self.session.apply(self.now, event, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Actions) {
        for action in actions {
            assert!(!self.ended, "after the end: {action:?}");
            assert!(!self.wrong || matches!(action, Action::Close { .. }), "after ERROR: {action:?}");
            self.log.push(format!("{action:?}"));
            match action {
                Action::Close { .. } => self.ended = true,
                Action::Reply(text) => {
                    let text = std::str::from_utf8(&text).expect("text");
                    assert!(text == "\n" || text.ends_with('\0'), "whole frames");
                    self.wrong = text.starts_with("ERROR\n");
                }
                other => self.under_way.push(other),
            }
        }
    }

    /// The world answers all it was asked, until it is asked nothing more.
    fn answer(&mut self) {
        let mut turn = 0_u32;
        while !self.ended && !self.under_way.is_empty() {
            for action in std::mem::take(&mut self.under_way) {
                turn = turn.wrapping_add(1);
                if self.ended || turn > 10_000 {
                    return;
                }
                let fine = self.good >> (turn % 7) & 1 == 0;
                let result = || if fine { Ok(()) } else { Err(Failure::Unavailable) };
                match action {
                    Action::Verify { ticket, .. } => {
                        let result = if fine { Ok(Identity::unsigned("ana", None)) } else { Err(Refusal::Expired) };
                        self.apply(Event::Verified { ticket, result });
                    }
                    Action::Bind { .. } => self.apply(Event::Bound(result().map(|()| Start::default()))),
                    Action::Join { ticket, room, .. } => {
                        self.apply(Event::Joined { ticket, room, result: result().map(|()| Start::default()) });
                    }
                    Action::Publish { ticket: Some(ticket), .. } => {
                        self.apply(Event::Published { ticket, result: result() });
                    }
                    Action::Request { ticket, .. } => {
                        self.apply(Event::Replied { ticket, result: result().map(|()| "1\0".into()) });
                    }
                    _ => {}
                }
            }
        }
    }

    fn tick(&mut self, seconds: u64) {
        for _ in 0..seconds {
            if self.ended {
                return;
            }
            self.now = Now { ms: self.now.ms + 1_000, unix_ms: self.now.unix_ms + 1_000 };
            self.apply(Event::Tick);
            self.answer();
        }
    }
}

fn run(pieces: [&[u8]; 2], framing: Framing, good: u8) -> Vec<String> {
    let mut scene = Scene::open(framing, good);
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        if !scene.ended {
            scene.apply(Event::Message(Incoming::Binary(piece)));
        }
    }
    scene.answer();
    scene.tick(35);
    scene.log
}

fuzz_target!(|input: (u16, u8, bool, &[u8])| {
    let (cut, good, sockjs, data) = input;
    let framing = if sockjs { Framing::SockJs } else { Framing::Plain };
    let (head, tail) = data.split_at(usize::from(cut).min(data.len()));
    assert_eq!(run([head, tail], framing, good), run([data, &[]], framing, good));
});
