//! A router on a bus where its own beats come back and nothing else happens: what benchmarks of the core drive.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{RouterBeat, RouterBound, Snapshot, SnapshotEntry};
use holdfast_router::core::Router;
use holdfast_router::core::event::{Action, Event, Now, Request};
use holdfast_router::core::settings::Settings;

/// Messages that a turn takes.
const SENDS_PER_TURN: u32 = 256;

/// The router, its clock, and what it sent.
pub(crate) struct Rig {
    router: Router,
    ms: u64,
    actions: Vec<Action>,
    /// Packets for gateways so far.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: usize,
}

impl Rig {
    /// With a bus, and without rosters.
    pub(crate) fn new() -> Self {
        let router = Router::new(NodeId::router([1; 8]), Settings::default());
        let mut rig = Self { router, ms: 0, actions: Vec::new(), packets: 0, bytes: 0 };
        let now = rig.now();
        rig.router.apply(now, Event::BusUp { max_payload: 1 << 20 });
        rig.turn();
        rig
    }

    fn now(&self) -> Now {
        Now { ms: self.ms, unix_ms: 1_700_000_000_000 + self.ms }
    }

    /// The whole roster of a gateway, with these users.
    pub(crate) fn roster(&mut self, node: u8, users: impl Iterator<Item = u32>) {
        let user = |n| SnapshotEntry::User(format!("user-{n}").as_str().into());
        let roster = Snapshot {
            node: NodeId::gateway([node; 8]),
            seq: 1,
            part: 0,
            last: true,
            entries: users.map(user).collect(),
        };
        let now = self.now();
        self.router.apply(now, Event::Told(RouterBound::Snapshot(roster)));
        self.turn();
    }

    /// Waits until it handles messages.
    ///
    /// # Panics
    /// If it does not: there are no rosters.
    pub(crate) fn until_live(&mut self) {
        (0..20).for_each(|_| self.tick());
        assert!(self.router.is_live(), "a router with whole rosters is live");
    }

    /// Takes messages as a service does, in turns and with the time going on; `request` is told which one it is.
    pub(crate) fn sends(&mut self, count: u32, mut send: impl FnMut(u32, &mut dyn FnMut(Request<'_>))) {
        for n in 0..count {
            let now = self.now();
            send(n, &mut |request| self.router.apply(now, Event::Send(request)));
            if n % SENDS_PER_TURN == 0 {
                self.turn();
            }
            if n % 10_000 == 0 {
                self.tick();
            }
        }
        self.turn();
    }

    fn turn(&mut self) {
        let now = self.now();
        self.router.end_turn(now, usize::MAX, &mut self.actions);
        let mut beats = Vec::new();
        for action in self.actions.drain(..) {
            match action {
                Action::ToNode(_, payload) => {
                    self.packets += 1;
                    self.bytes += payload.len();
                }
                Action::Beat(payload) => beats.extend(RouterBeat::decode(payload)),
                Action::Ping(node) => self.router.apply(now, Event::NodeAnswered(node)),
                Action::Discover(_)
                | Action::Answer { .. }
                | Action::LookAtStream
                | Action::ReadKept { .. }
                | Action::Publish { .. }
                | Action::Fact { .. }
                | Action::OpenWork
                | Action::CloseWork
                | Action::Left => {}
            }
        }
        for beat in beats {
            self.router.apply(now, Event::RouterBeat(beat));
        }
    }

    fn tick(&mut self) {
        self.ms += 50;
        let now = self.now();
        self.router.apply(now, Event::Tick);
        self.turn();
    }
}
