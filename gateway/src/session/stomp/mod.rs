//! Clients that speak `stomp`: frames in, and what each makes happen.
//!
//! Frames are read as they come and carried out in order, as far as the session's state allows. An ERROR frame is always
//! followed by the connection's end. What destinations mean is in `destination`, who listens to what in
//! `subscriptions`, messages upstream and transactions in `upstream`, with what they say besides their bodies in `said`;
//! answers and errors on their way down are in `answers`.

mod answers;
mod destination;
mod listener;
mod said;
mod subscriptions;
mod upstream;

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::json::ErrorCode;
use holdfast_protocol::dialect::stomp::{self, Command, Connected, Frame, Limits, ParseError, Parser, Version};
use holdfast_protocol::dialect::{is_device, is_user};
use holdfast_protocol::position::{Position, Recovery, Start};
use smallvec::SmallVec;

pub use self::listener::{Heard, Listener, Variant};
use self::subscriptions::Subscription;
use self::upstream::Transactions;
use super::action::{Action, Actions};
use super::id::{Id, said_of};
use super::on_auth::First;
use super::on_tick::millis;
use super::{Session, State};
use crate::auth::Identity;
use crate::clock::Now;
use crate::handshake::Source;

/// How long a client may take to close after its DISCONNECT was answered, in milliseconds.
const CLOSE_WAIT_MS: u64 = 3000;
/// How long its messages may take to be confirmed before that, in milliseconds.
const CONFIRM_WAIT_MS: u64 = 2000;
/// Sessions hear of time about once a second: a heart-beat that would be due before the next time goes out now.
const HEARTBEAT_EARLY_MS: u64 = 1500;
/// How long after a SUBSCRIBE to the user's own messages those that the client missed wait for another.
const OWN_WAIT_MS: u64 = 500;
/// How long they wait after the first, in all.
const OWN_WAIT_MS_MAX: u64 = 5000;
/// Headers whose value means nothing with a space before it, though 1.1 and 1.2 forbid to trim it.
const UNPADDED: [&str; 4] = ["destination", "id", "ack", "receipt"];

/// What a client has set up.
#[derive(Debug)]
pub(super) struct Stomp {
    parser: Parser,
    pub(super) version: Version,
    /// Whole frames that wait until their time has come.
    frames: VecDeque<Frame>,
    /// Most clients have one.
    subscriptions: SmallVec<[Subscription; 1]>,
    transactions: Transactions,
    /// How often it wants to hear of us, in milliseconds; 0 is never.
    heartbeat_ms: u64,
    heartbeat_due_ms: u64,
    leaving: Option<Leaving>,
    own: Own,
}

/// What becomes of the user's kept messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    /// They are heard by whoever listens.
    Heard,
    /// The client resumes: they wait until it listens.
    Waiting,
    /// It listens to some; they wait until this millisecond for its other subscriptions, or longer where one comes.
    Due { ms: u64, ms_max: u64 },
    /// They have come: who subscribes now has missed those of its own.
    Gone,
}

/// A DISCONNECT was read.
#[derive(Debug)]
struct Leaving {
    receipt: Option<Box<str>>,
    confirm_by_ms: u64,
    close_by_ms: u64,
}

impl Default for Stomp {
    fn default() -> Self {
        Self {
            parser: Parser::new(Limits::default()),
            version: Version::V1_2,
            frames: VecDeque::new(),
            subscriptions: SmallVec::new(),
            transactions: Transactions::default(),
            heartbeat_ms: 0,
            heartbeat_due_ms: 0,
            leaving: None,
            own: Own::Heard,
        }
    }
}

/// Whether these are the first bytes of a client that speaks `stomp`: CONNECT, perhaps behind a heart-beat, or that.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let beats = bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
    let bytes = bytes.get(beats..).unwrap_or_default();
    if bytes.is_empty() {
        return beats > 0;
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.len() < bytes.len() && matches!(line.strip_suffix(b"\r").unwrap_or(line), b"CONNECT" | b"STOMP")
}

/// What a refusal names: the frame's receipt.
pub(super) fn receipt_of(frame: &Frame) -> Option<Id> {
    frame.header("receipt").map(|receipt| Id::Receipt(receipt.into()))
}

impl Session {
    /// Bytes of a message, text or binary: boundaries of messages mean nothing.
    pub(super) fn on_stomp(&mut self, now: Now, bytes: &[u8], actions: &mut Actions) {
        let Some(stomp) = &mut self.stomp else { return };
        let frames = &mut stomp.frames;
        let read = stomp.parser.feed(bytes, |frame| {
            let settles = frame.command == Command::Connect;
            let version = settles.then(|| Version::negotiate(frame.header("accept-version")).ok()).flatten();
            frames.push_back(frame);
            version
        });
        self.run_frames(now, actions);
        if self.is_closing() {
            return;
        }
        if let Err(error) = read {
            let close = if error == ParseError::TooLarge { Close::TooBig } else { Close::Protocol };
            return self.stomp_end(None, ErrorCode::BadMessage, &error.to_string(), close, actions);
        }
        let limits = &self.endpoint.limits;
        let held = self.stomp.as_ref().map(|stomp| &stomp.frames);
        let bytes: usize = held.into_iter().flatten().map(frame_bytes).sum();
        if held.is_some_and(|held| held.len() > limits.held_max) || bytes > limits.held_bytes_max {
            self.stomp_end(None, ErrorCode::TooMany, "too many frames before CONNECTED", Close::TooMany, actions);
        }
    }

    /// Carries out whole frames, as far as the state now allows.
    pub(super) fn run_frames(&mut self, now: Now, actions: &mut Actions) {
        while matches!(self.state, State::Pending { .. } | State::Open) {
            let Some(frame) = self.stomp.as_mut().and_then(|stomp| stomp.frames.pop_front()) else { return };
            self.on_frame(now, &frame, actions);
        }
    }

    fn on_frame(&mut self, now: Now, frame: &Frame, actions: &mut Actions) {
        if self.stomp.as_ref().is_none_or(|stomp| stomp.leaving.is_some()) {
            return;
        }
        let pending = matches!(self.state, State::Pending { .. });
        let id = receipt_of(frame);
        let refusal = match (frame.command, pending) {
            (Command::Connect, true) => return self.on_connect(now, frame, actions),
            (Command::Connect, false) => Some((ErrorCode::BadMessage, "CONNECT comes once", Close::Protocol)),
            (_, true) => Some((ErrorCode::Unauthenticated, "the first frame must be CONNECT", Close::Policy)),
            (_, false) => {
                let padded = UNPADDED.iter().any(|name| frame.header(name).is_some_and(|value| value.starts_with(' ')));
                padded.then_some((ErrorCode::BadMessage, "a header's value begins with a space", Close::Protocol))
            }
        };
        if let Some((code, message, close)) = refusal {
            return self.stomp_end(id.as_ref(), code, message, close, actions);
        }
        match frame.command {
            Command::Connect => {}
            Command::Send => self.on_send(frame, id, actions),
            Command::Subscribe => self.on_subscribe(now, frame, id.as_ref(), actions),
            Command::Unsubscribe => self.on_unsubscribe(frame, id.as_ref(), actions),
            Command::Ack | Command::Nack => self.on_ack(frame, id, actions),
            Command::Begin | Command::Commit | Command::Abort => self.on_transaction(frame, id, actions),
            Command::Disconnect => self.on_disconnect(now, frame, actions),
        }
    }

    /// Says ERROR, and ends the connection.
    pub(super) fn stomp_end(
        &mut self,
        id: Option<&Id>,
        code: ErrorCode,
        message: &str,
        close: Close,
        actions: &mut Actions,
    ) {
        self.error(id, code, message, actions);
        self.close(close, actions);
    }

    fn on_connect(&mut self, now: Now, frame: &Frame, actions: &mut Actions) {
        let Ok(version) = Version::negotiate(frame.header("accept-version")) else {
            actions.push(Action::Reply(Bytes::from(stomp::unknown_version())));
            return self.close(Close::Protocol, actions);
        };
        let Ok(since) = frame.header("since").map(|since| Position::parse(since).ok_or(())).transpose() else {
            return self.stomp_end(None, ErrorCode::BadMessage, "since is no position", Close::Protocol, actions);
        };
        let least_ms = millis(self.endpoint.limits.heartbeat);
        if let Some(stomp) = &mut self.stomp {
            stomp.version = version;
            let wanted = frame.header("heart-beat").and_then(|text| text.split_once(',')?.1.trim().parse::<u64>().ok());
            stomp.heartbeat_ms = match wanted {
                Some(wanted_ms) if wanted_ms > 0 && version != Version::V1_0 => wanted_ms.max(least_ms),
                _ => 0,
            };
        }
        let header = |name: &str| {
            let mut headers = frame.headers.iter();
            headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let device = header("device").filter(|device| is_device(device));
        let known = self.rare.as_mut().and_then(|rare| rare.handshake.take());
        let token = header("authorization").map(without_scheme).or_else(|| header("x-auth-token"));
        let token = token.or_else(|| header("token"));
        // Articles connect as guest/guest where the handshake says who it is.
        let token = token.or_else(|| header("passcode").filter(|passcode| known.is_none() && is_token(passcode)));
        let token = token.filter(|_| self.endpoint.sources.contains(&Source::FirstMessage));
        match (token, known) {
            (Some(token), _) => self.verify_first(now, token, First { device, since, ..First::default() }, actions),
            (None, Some(mut identity)) => {
                identity.device = identity.device.take().or_else(|| device.map(Into::into));
                self.bind(now, *identity, None, since, actions);
            }
            (None, None) if self.endpoint.unsigned_users => {
                let nobody = self.connection.to_string();
                let user = header("login").filter(|user| is_user(user)).unwrap_or(&nobody);
                let (from_url, _) = self.said_in_url();
                self.unsigned = true;
                let identity = Identity::unsigned(user, device.map(Into::into).or(from_url));
                self.bind(now, identity, None, since, actions);
            }
            (None, None) => {
                let message = "CONNECT needs a credential";
                self.stomp_end(None, ErrorCode::Unauthenticated, message, Close::BadCredential, actions);
            }
        }
    }

    /// The client is somebody, and hub and routers know.
    pub(super) fn stomp_connected(&mut self, now: Now, start: &Start, actions: &mut Actions) {
        let (Some(stomp), Some(identity)) = (&mut self.stomp, &self.identity) else { return };
        if start.recovery == Some(Recovery::Whole) {
            // Nobody listens yet.
            stomp.own = Own::Waiting;
        }
        stomp.heartbeat_due_ms = now.ms + stomp.heartbeat_ms;
        let connected = stomp::connected(&Connected {
            version: stomp.version,
            session: &self.connection.to_string(),
            user: &identity.user,
            heart_beat_ms: (millis(self.endpoint.limits.heartbeat), 0),
            server: concat!("holdfast/", env!("CARGO_PKG_VERSION")),
            more: &said_of(start),
        });
        actions.push(Action::Reply(Bytes::from(connected)));
    }

    /// Whether kept messages of the user's own must wait: the client resumes, and does not listen to them yet.
    pub fn holds_own(&self) -> bool {
        self.stomp.as_ref().is_some_and(|stomp| matches!(stomp.own, Own::Waiting | Own::Due { .. }))
    }

    /// The client listens to some of its own messages. False where those that it missed have gone by already.
    fn heard_own(&mut self, now: Now) -> bool {
        let Some(stomp) = &mut self.stomp else { return true };
        let ms_max = match stomp.own {
            Own::Heard => return true,
            Own::Gone => return false,
            Own::Waiting => now.ms + OWN_WAIT_MS_MAX,
            Own::Due { ms_max, .. } => ms_max,
        };
        stomp.own = Own::Due { ms: ms_max.min(now.ms + OWN_WAIT_MS), ms_max };
        true
    }

    fn on_disconnect(&mut self, now: Now, frame: &Frame, actions: &mut Actions) {
        let Some(stomp) = &mut self.stomp else { return };
        stomp.subscriptions = SmallVec::new();
        stomp.transactions = Transactions::default();
        stomp.frames = VecDeque::new();
        stomp.leaving = Some(Leaving {
            receipt: frame.header("receipt").map(Into::into),
            confirm_by_ms: now.ms + CONFIRM_WAIT_MS,
            close_by_ms: now.ms + CLOSE_WAIT_MS,
        });
        self.finish_disconnect(false, actions);
    }

    /// Answers a DISCONNECT once what came before it is confirmed, or anyway.
    pub(super) fn finish_disconnect(&mut self, anyway: bool, actions: &mut Actions) {
        if self.is_closing() {
            return;
        }
        let waits = self.rare.as_ref().is_some_and(|rare| !rare.publishes.is_empty());
        let leaving = self.stomp.as_mut().and_then(|stomp| stomp.leaving.as_mut());
        if let Some(leaving) = leaving.filter(|_| anyway || !waits) {
            let receipt = leaving.receipt.take();
            self.receipt(receipt.as_deref(), actions);
        }
    }

    pub(super) fn stomp_tick(&mut self, now: Now, actions: &mut Actions) {
        let Some(stomp) = &mut self.stomp else { return };
        if matches!(stomp.own, Own::Due { ms, .. } if now.ms >= ms) {
            stomp.own = Own::Gone;
        }
        let leaving = stomp.leaving.as_ref().map(|leaving| (leaving.confirm_by_ms, leaving.close_by_ms));
        let connected = matches!(self.state, State::Open);
        if connected && stomp.heartbeat_ms > 0 && now.ms + HEARTBEAT_EARLY_MS >= stomp.heartbeat_due_ms {
            stomp.heartbeat_due_ms = now.ms + stomp.heartbeat_ms;
            actions.push(Action::Reply(Bytes::from_static(b"\n")));
        }
        if let Some((confirm_by_ms, close_by_ms)) = leaving {
            self.finish_disconnect(now.ms >= confirm_by_ms, actions);
            if now.ms >= close_by_ms {
                self.close(Close::Normal, actions);
            }
        }
    }
}

/// `Bearer` may be left out: some clients do.
pub(super) fn without_scheme(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value,
    }
}

/// Whether a passcode has the form of a token: three parts, none of them empty.
fn is_token(text: &str) -> bool {
    text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty())
}

fn frame_bytes(frame: &Frame) -> usize {
    let headers: usize = frame.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    headers + frame.body.len()
}
