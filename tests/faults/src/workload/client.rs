//! A client as it should be: it remembers a position for each of its streams, resumes from there, waits before it tries
//! again, and goes when it is told to. It also leaves rooms, comes back, and loses its connection now and then.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use harness::Claims;
use harness::client::{Connect, Incoming, LineWriter, NotOpen};
use harness::wait::pause;
use holdfast_harness as harness;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};

use super::frames::Frame;
use super::publisher::MARKER;
use super::{Phase, Shared};
use crate::history::{Event, Position, Resumed, Target};
use crate::random::Random;

/// How long a handshake and the welcome after it may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(8);
/// A gateway pings every 5 s: one that is silent for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(13);
/// How long a write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How often it looks what there is to do.
const TICK: Duration = Duration::from_millis(250);
/// Before a join is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What a client believes.
#[derive(Debug, Default)]
pub struct Status {
    /// Its connection.
    pub connection: Option<String>,
    /// Rooms that it is in.
    pub joined: BTreeSet<u32>,
    /// Rooms that it means to be in.
    pub wanted: BTreeSet<u32>,
    /// Targets whose last message has come.
    pub marks: HashSet<Target>,
}

/// What an id stands for.
enum Ask {
    Join(u32, Option<Position>),
    Leave(u32),
    Send(u32),
}

/// How a connection came to its end.
enum Way {
    /// By the other side, or broken.
    Ended(u16, String),
    /// By us, to come again.
    Dropped,
    /// By us, for good.
    Gone,
}

/// One client of the workload.
pub struct Client {
    number: u32,
    user: u32,
    token: String,
    shared: Arc<Shared>,
    random: Random,
    positions: HashMap<Target, Position>,
    /// Where something is missing: not moved by what comes until it was asked for.
    gaps: HashSet<Target>,
    sends: u32,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client {}", self.number)
    }
}

impl Client {
    /// Ready to run.
    pub fn new(number: u32, shared: Arc<Shared>, random: Random) -> Self {
        let user = shared.plan.users[number as usize];
        let token = Claims::of(&Target::User(user).key()).expires_in(6 * 3600).sign();
        shared.status(number).wanted = shared.plan.rooms[number as usize].iter().copied().collect();
        Self { number, user, token, shared, random, positions: HashMap::new(), gaps: HashSet::new(), sends: 0 }
    }

    /// Lives until the end of the run, or its farewell.
    pub async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            if self.leaves() {
                return;
            }
            let Some(address) = self.shared.balancer.pick(&mut self.random) else {
                pause(Duration::from_millis(self.random.between(100, 300))).await;
                continue;
            };
            self.note(Event::Opening(address.to_string()));
            let mut path = "/ws/chat".to_owned();
            let since = self.positions.get(&Target::User(self.user)).cloned();
            if let Some(Position { epoch, seq }) = &since {
                path.push_str(&format!("?since={epoch}.{seq}"));
            }
            match Connect::to(address).bearer(&self.token).path(&path).line(OPEN_TIMEOUT).await {
                Err(why) => {
                    let why = match why {
                        NotOpen::Refused(response) => format!("{} {}", response.status, response.body.trim()),
                        NotOpen::Broken(error) => error.to_string(),
                    };
                    self.note(Event::NotOpened(why));
                    failures = (failures + 1).min(4);
                }
                Ok((reader, incoming, writer)) => {
                    let welcomed = self.connection(reader, incoming, writer, since).await;
                    match welcomed {
                        Some(true) => failures = 0,
                        Some(false) => failures = (failures + 1).min(4),
                        None => return,
                    }
                }
            }
            // Full jitter: nobody comes back in step with the others.
            let longest = 50_u64 << (failures + 1);
            pause(Duration::from_millis(self.random.between(10, longest))).await;
        }
    }

    fn leaves(&self) -> bool {
        match self.shared.now() {
            Phase::End => true,
            Phase::Farewell => self.number % 2 == 1,
            Phase::Start | Phase::Load | Phase::Rest => false,
        }
    }

    /// One connection; whether it was welcomed, or `None` if the client is done.
    async fn connection(
        &mut self,
        reader: harness::client::LineReader,
        mut incoming: mpsc::Receiver<Incoming>,
        writer: LineWriter,
        since: Option<Position>,
    ) -> Option<bool> {
        let mut session = Session {
            client: self,
            writer,
            since,
            asks: HashMap::new(),
            next: 1,
            retries: Vec::new(),
            welcomed: false,
        };
        let way = tokio::select! {
            way = session.live(&mut incoming) => way,
            // What it has read is still to be taken.
            () = async { reader.run().await; std::future::pending().await } => Way::Dropped,
        };
        let welcomed = session.welcomed;
        {
            let mut status = self.shared.status(self.number);
            status.connection = None;
            status.joined.clear();
        }
        match way {
            Way::Ended(code, reason) => self.note(Event::Ended(code, reason)),
            Way::Dropped => self.note(Event::Dropped),
            Way::Gone => {
                self.note(Event::Dropped);
                return None;
            }
        }
        Some(welcomed)
    }

    fn note(&self, event: Event) {
        self.shared.recorder.client(self.number, event);
    }
}

/// A client on one connection.
struct Session<'a> {
    client: &'a mut Client,
    writer: LineWriter,
    since: Option<Position>,
    asks: HashMap<u64, Ask>,
    next: u64,
    retries: Vec<(Instant, u32)>,
    welcomed: bool,
}

impl Session<'_> {
    async fn live(&mut self, incoming: &mut mpsc::Receiver<Incoming>) -> Way {
        let (opened, mut heard) = (Instant::now(), Instant::now());
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                next = incoming.recv() => {
                    heard = Instant::now();
                    let done = match next {
                        Some(Incoming::Text(text)) => self.frame(&text).await,
                        Some(Incoming::Ping(payload)) => bounded(self.writer.pong(&payload)).await,
                        Some(Incoming::Ended(ended)) => Err(Way::Ended(ended.code, ended.reason)),
                        None => Err(Way::Ended(1006, "the reader has gone".to_owned())),
                    };
                    if let Err(way) = done {
                        // The other half of the closing handshake; the connection is over in any case.
                        let _closed = timeout(TICK, self.writer.close(1000)).await;
                        return way;
                    }
                }
                _ = ticks.tick() => {
                    if !self.welcomed && opened.elapsed() > OPEN_TIMEOUT {
                        return Way::Ended(1006, "no welcome".to_owned());
                    }
                    if heard.elapsed() > SILENCE_MAX {
                        return Way::Ended(1006, format!("silent for {SILENCE_MAX:?}"));
                    }
                    if self.client.leaves() {
                        return self.leave(incoming).await;
                    }
                    if let Err(way) = self.tick().await {
                        return way;
                    }
                }
            }
        }
    }

    /// Closes in order.
    async fn leave(&mut self, incoming: &mut mpsc::Receiver<Incoming>) -> Way {
        if bounded(self.writer.close(1000)).await.is_ok() {
            let end = async { while !matches!(incoming.recv().await, None | Some(Incoming::Ended(_))) {} };
            // One that never answers is left all the same.
            let _ended = timeout(WRITE_TIMEOUT, end).await;
        }
        Way::Gone
    }

    async fn tick(&mut self) -> Result<(), Way> {
        let now = Instant::now();
        let due: Vec<_> = self.retries.iter().filter(|(at, _)| *at <= now).map(|(_, room)| *room).collect();
        self.retries.retain(|(at, _)| *at > now);
        for room in due {
            self.join(room).await?;
        }
        if !self.welcomed || self.client.shared.now() != Phase::Load {
            return Ok(());
        }
        // Per mille and tick: a send every 10 s, a room left or joined again every minute, a dropped connection each
        // second minute, about.
        match self.client.random.below(1000) {
            0..25 => {
                let number = self.client.sends;
                self.client.sends += 1;
                self.client.note(Event::Sending(number));
                let data = json!({"c": self.client.number, "n": number});
                self.ask(Ask::Send(number), json!({"type": "send", "to": "message", "data": data})).await
            }
            25..29 => {
                let rooms = &self.client.shared.plan.rooms[self.client.number as usize];
                let room = rooms[self.client.random.below(rooms.len())];
                // One thing at a time for each room.
                if self.asks.values().any(|ask| matches!(ask, Ask::Join(of, _) | Ask::Leave(of) if *of == room)) {
                    return Ok(());
                }
                let wanted = self.client.shared.status(self.client.number).wanted.remove(&room);
                if wanted {
                    self.client.note(Event::Leaving(room));
                    let message = json!({"type": "leave", "room": Target::Room(room).key()});
                    self.ask(Ask::Leave(room), message).await
                } else {
                    self.client.shared.status(self.client.number).wanted.insert(room);
                    self.join(room).await
                }
            }
            29..31 => Err(Way::Dropped),
            _ => Ok(()),
        }
    }

    async fn join(&mut self, room: u32) -> Result<(), Way> {
        if !self.client.shared.status(self.client.number).wanted.contains(&room) {
            return Ok(());
        }
        let since = self.client.positions.get(&Target::Room(room)).cloned();
        let mut message = json!({"type": "join", "room": Target::Room(room).key()});
        if let Some(Position { epoch, seq }) = &since {
            message["since"] = json!({"epoch": &**epoch, "seq": seq});
        }
        self.client.note(Event::Joining(room, since.clone()));
        self.ask(Ask::Join(room, since), message).await
    }

    async fn ask(&mut self, ask: Ask, mut message: serde_json::Value) -> Result<(), Way> {
        let id = self.next;
        self.next += 1;
        message["id"] = json!(id);
        self.asks.insert(id, ask);
        bounded(self.writer.text(&message.to_string())).await
    }

    async fn frame(&mut self, text: &str) -> Result<(), Way> {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            return Err(Way::Ended(1006, format!("not understood: {text}")));
        };
        match &*frame.kind {
            "message" => self.message(&frame).await,
            "welcome" => self.welcome(&frame).await,
            "ok" => self.answered(&frame).await,
            "error" => self.refused(&frame),
            "gap" => self.gap(&frame).await,
            "goaway" => {
                self.client.note(Event::GoAway(frame.retry_after.unwrap_or(0)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn message(&mut self, frame: &Frame<'_>) -> Result<(), Way> {
        let target = frame.room.as_deref().map_or(Some(Target::User(self.client.user)), Target::room);
        let (Some(target), Some(name)) = (target, frame.name()) else { return Ok(()) };
        let kept = frame.kept(&self.client.shared.recorder);
        if let Some(position) = kept.as_ref().filter(|_| !self.client.gaps.contains(&target)) {
            self.client.positions.insert(target, position.clone());
        }
        self.client.note(Event::Seen { target, name, kept });
        if name.source == MARKER {
            self.client.shared.status(self.client.number).marks.insert(target);
        }
        if let Some(id) = frame.id.as_ref().filter(|_| frame.ack) {
            self.client.note(Event::Acked(name));
            let ack = json!({"type": "ack", "ids": [id]}).to_string();
            bounded(self.writer.text(&ack)).await?;
        }
        Ok(())
    }

    async fn welcome(&mut self, frame: &Frame<'_>) -> Result<(), Way> {
        let text = |field: &Option<std::borrow::Cow<'_, str>>| field.as_deref().unwrap_or_default().to_owned();
        let (connection, node) = (text(&frame.connection), text(&frame.node));
        self.welcomed = true;
        let resumed = self.resumed(Target::User(self.client.user), self.since.clone(), frame);
        self.client.shared.status(self.client.number).connection = Some(connection.clone());
        self.client.note(Event::Welcome { connection, node, resumed });
        let wanted: Vec<_> = self.client.shared.status(self.client.number).wanted.iter().copied().collect();
        for room in wanted {
            self.join(room).await?;
        }
        Ok(())
    }

    /// What an answer says about a stream; moves the client's position where there is nothing to come.
    fn resumed(&mut self, target: Target, since: Option<Position>, frame: &Frame<'_>) -> Resumed {
        let position = frame.position(&self.client.shared.recorder);
        if since.is_some() {
            self.client.gaps.remove(&target);
        }
        if frame.recovered != Some(true)
            && let Some(position) = &position
        {
            self.client.positions.insert(target, position.clone());
        }
        Resumed { since, position, recovered: frame.recovered }
    }

    async fn answered(&mut self, frame: &Frame<'_>) -> Result<(), Way> {
        match frame.asked().and_then(|id| self.asks.remove(&id)) {
            Some(Ask::Join(room, since)) => {
                let resumed = self.resumed(Target::Room(room), since, frame);
                self.client.note(Event::Joined(room, resumed));
                let mut status = self.client.shared.status(self.client.number);
                status.joined.insert(room);
            }
            Some(Ask::Leave(room)) => {
                self.client.note(Event::Left(room));
                self.client.shared.status(self.client.number).joined.remove(&room);
            }
            Some(Ask::Send(number)) => self.client.note(Event::Sent(number)),
            None => {}
        }
        Ok(())
    }

    fn refused(&mut self, frame: &Frame<'_>) -> Result<(), Way> {
        let code = frame.code.as_deref().unwrap_or_default().to_owned();
        match frame.asked().and_then(|id| self.asks.remove(&id)) {
            Some(Ask::Join(room, _)) => {
                self.client.note(Event::NotJoined(room, code));
                self.client.shared.status(self.client.number).joined.remove(&room);
                if frame.retry {
                    self.retries.push((Instant::now() + RETRY, room));
                }
                Ok(())
            }
            Some(Ask::Send(number)) => {
                self.client.note(Event::NotSent(number, code));
                Ok(())
            }
            Some(Ask::Leave(_)) | None => Err(Way::Ended(1006, format!("refused: {code}"))),
        }
    }

    /// Kept messages of the target may be missing: asks for them again. A gap of everything is about live ones alone.
    async fn gap(&mut self, frame: &Frame<'_>) -> Result<(), Way> {
        if frame.all {
            self.client.note(Event::Gap(None));
            return Ok(());
        }
        match frame.room.as_deref().map(Target::room) {
            Some(Some(Target::Room(room))) => {
                self.client.note(Event::Gap(Some(Target::Room(room))));
                self.client.gaps.insert(Target::Room(room));
                self.join(room).await
            }
            // Its own stream is asked for with the credential: on another connection.
            _ => {
                self.client.note(Event::Gap(Some(Target::User(self.client.user))));
                self.client.gaps.insert(Target::User(self.client.user));
                Err(Way::Dropped)
            }
        }
    }
}

async fn bounded(write: impl Future<Output = std::io::Result<()>>) -> Result<(), Way> {
    match timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Way::Ended(1006, error.to_string())),
        Err(_) => Err(Way::Ended(1006, "cannot write".to_owned())),
    }
}
