//! What a back end says, frame by frame, and what each frame makes happen. No socket, no bus, no clock in it.
//!
//! Spring opens one "system" session and publishes through it, and one more for each client of its own. A destination
//! with a room's prefix is that room; `/user/<name>/<rest>` is that user's `/<rest>`, also where Spring only names it in
//! `simpOrigDestination`, because it has found no session of the user's.

use std::borrow::Cow;

use bytes::Bytes;
use holdfast_protocol::dialect::stomp::{self, Command, Connected, Frame, Limits, ParseError, Parser, Version};
use holdfast_protocol::subject::{Kind, Subjects, Target};
use holdfast_protocol::token::check_key;

use super::transactions::Transactions;
use crate::handshake::{Destinations, Meaning};

/// Subscriptions of one session: a system session has a handful, one for a client of Spring's a few.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Largest frame: what the bus carries by default.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// How often each side is to hear of the other, in milliseconds.
pub(super) const HEARTBEAT_MS: u64 = 10_000;
/// Where Spring says for whom a message was that it could not place.
const ORIGINAL: &str = "simpOrigDestination";
/// What back ends may say of a message, as on the bus.
const HEADERS: [&str; 7] =
    ["Hf-Id", "Hf-Type", "Hf-Only", "Hf-Except-Connection", "Hf-Except-User", "Hf-Ttl", "Hf-Key"];

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Write a frame.
    Write(Vec<u8>),
    /// Publish a message.
    Publish(Publication),
    /// Write a RECEIPT once the bus has all that was published before.
    Confirm(String),
    /// Hear what is published to a room.
    Subscribe {
        /// The subscription's id.
        id: String,
        /// The room's subjects.
        subjects: [String; 2],
    },
    /// Hear it no more.
    Unsubscribe(String),
    /// Each side hears of the other this often from now on, in milliseconds; 0 is never.
    HeartBeat {
        /// We of them.
        in_ms: u64,
        /// They of us.
        out_ms: u64,
    },
    /// Close once all is written; with the reason, if it is an error.
    End(Option<&'static str>),
}

/// A message for the bus.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) subject: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) payload: Bytes,
}

/// What a session is told of its surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) subjects: &'a Subjects,
    pub(super) destinations: &'a Destinations,
    pub(super) login: &'a str,
    pub(super) passcode: &'a str,
}

/// One back end's protocol state.
#[derive(Debug)]
pub(super) struct Session<'a> {
    around: Surroundings<'a>,
    parser: Parser,
    version: Version,
    connected: bool,
    ended: bool,
    /// Ids and destinations.
    subscriptions: Vec<(String, String)>,
    transactions: Transactions,
}

impl<'a> Session<'a> {
    pub(super) fn new(around: Surroundings<'a>) -> Self {
        // Until it has logged in, a stranger is given no more room than a client.
        let parser = Parser::new(Limits::default());
        Self {
            around,
            parser,
            version: Version::V1_2,
            connected: false,
            ended: false,
            subscriptions: Vec::new(),
            transactions: Transactions::default(),
        }
    }

    /// Bytes came.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Act> {
        let mut frames = Vec::new();
        let read = self.parser.feed(bytes, |frame| {
            let settles = frame.command == Command::Connect;
            let version = settles.then(|| Version::negotiate(frame.header("accept-version")).ok()).flatten();
            frames.push(frame);
            version
        });
        let mut acts = Vec::new();
        for frame in &frames {
            if self.ended {
                return acts;
            }
            self.on_frame(frame, &mut acts);
        }
        if let (Err(error), false) = (read, self.ended) {
            let message = match error {
                ParseError::TooLarge => "the frame is too large",
                _ => "this is no frame",
            };
            self.refuse(None, message, &mut acts);
        }
        acts
    }

    /// The frame for a message that a subscription hears.
    pub(super) fn message(
        &self,
        id: &str,
        message_id: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let (_, destination) = self.subscriptions.iter().find(|(known, _)| known == id)?;
        let tail = stomp::MessageTail::new(self.version, destination, message_id, content_type, &[], body);
        Some(stomp::message_frame(self.version, id, None, &tail))
    }

    /// The RECEIPT for what [`Act::Confirm`] asked for.
    pub(super) fn receipt(&self, receipt: &str) -> Vec<u8> {
        stomp::receipt(self.version, receipt, &[])
    }

    /// What a back end is told when the node leaves.
    pub(super) fn going(&self) -> Vec<u8> {
        stomp::error(self.version, "the node is going away", None, "connect again")
    }

    /// What was published has not reached the bus: told, and ended.
    pub(super) fn unconfirmed(&mut self, receipt: Option<&str>) -> Vec<Act> {
        let mut acts = Vec::new();
        self.refuse(receipt, "the bus is not available", &mut acts);
        acts
    }

    fn refuse(&mut self, receipt: Option<&str>, message: &'static str, acts: &mut Vec<Act>) {
        self.ended = true;
        acts.push(Act::Write(stomp::error(self.version, message, receipt, message)));
        acts.push(Act::End(Some(message)));
    }

    fn on_frame(&mut self, frame: &Frame, acts: &mut Vec<Act>) {
        let receipt = frame.header("receipt");
        match (frame.command, self.connected) {
            (Command::Connect, false) => return self.on_connect(frame, acts),
            (Command::Connect, true) => return self.refuse(receipt, "CONNECT comes once", acts),
            (_, false) => return self.refuse(receipt, "the first frame must be CONNECT", acts),
            (_, true) => {}
        }
        let transaction = frame.header("transaction");
        let done = match (frame.command, transaction) {
            (Command::Send, Some(transaction)) => self.transactions.add(transaction, frame),
            (Command::Send, None) => self.on_send(frame, acts),
            (Command::Subscribe, _) => self.on_subscribe(frame, acts),
            (Command::Unsubscribe, _) => self.on_unsubscribe(frame, acts),
            // What was heard is not sent again.
            (Command::Ack | Command::Nack | Command::Connect | Command::Disconnect, _) => Ok(()),
            (Command::Begin, name) => self.transactions.begin(name),
            (Command::Commit, name) => self.commit(name, acts),
            (Command::Abort, name) => self.transactions.end(name).map(drop),
        };
        if let Err(message) = done {
            return self.refuse(receipt, message, acts);
        }
        acts.extend(receipt.map(|receipt| Act::Confirm(receipt.to_owned())));
        if frame.command == Command::Disconnect {
            self.ended = true;
            acts.push(Act::End(None));
        }
    }

    fn on_connect(&mut self, frame: &Frame, acts: &mut Vec<Act>) {
        let Ok(version) = Version::negotiate(frame.header("accept-version")) else {
            self.ended = true;
            acts.push(Act::Write(stomp::unknown_version()));
            return acts.push(Act::End(Some("no common version")));
        };
        self.version = version;
        let (login, passcode) = (frame.header("login").unwrap_or_default(), frame.header("passcode"));
        let is_known = login == self.around.login
            && passcode.is_some_and(|passcode| is_same(passcode.as_bytes(), self.around.passcode.as_bytes()));
        if !is_known {
            return self.refuse(None, "login or passcode is wrong", acts);
        }
        self.connected = true;
        self.parser.set_limits(Limits { frame_bytes_max: FRAME_BYTES_MAX, ..Limits::default() });
        let theirs = frame.header("heart-beat").and_then(|text| text.split_once(',')).unwrap_or_default();
        let agreed = |text: &str| match text.trim().parse::<u64>() {
            Ok(wanted_ms) if wanted_ms > 0 && version != Version::V1_0 => wanted_ms.max(HEARTBEAT_MS),
            _ => 0,
        };
        acts.push(Act::Write(stomp::connected(&Connected {
            version,
            session: "",
            user: login,
            heart_beat_ms: (HEARTBEAT_MS, HEARTBEAT_MS),
            server: concat!("holdfast/", env!("CARGO_PKG_VERSION")),
            more: &[],
        })));
        acts.push(Act::HeartBeat { in_ms: agreed(theirs.0), out_ms: agreed(theirs.1) });
    }

    fn commit(&mut self, name: Option<&str>, acts: &mut Vec<Act>) -> Result<(), &'static str> {
        let frames = self.transactions.end(name)?;
        frames.iter().try_for_each(|frame| self.on_send(frame, acts))
    }

    fn on_send(&self, frame: &Frame, acts: &mut Vec<Act>) -> Result<(), &'static str> {
        let said = frame.header("destination").ok_or("SEND needs a destination")?;
        let destination = frame.header(ORIGINAL).unwrap_or(said);
        let (target, shown) = self.target(destination).ok_or("there is nothing at this destination")?;
        let kept = frame.header("persistent") == Some("true");
        let mut headers = vec![("Hf-Destination", shown)];
        let line = |value: &str| !value.chars().any(char::is_control);
        for (name, as_published) in
            [("content-type", "Content-Type")].into_iter().chain(HEADERS.map(|name| (name, name)))
        {
            let value = frame.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            match value {
                Some((_, value)) if line(value) => headers.push((as_published, value.clone())),
                Some(_) => return Err("a header has control characters"),
                None => {}
            }
        }
        let subject = self.around.subjects.to(if kept { Kind::Keep } else { Kind::Send }, &target);
        acts.push(Act::Publish(Publication { subject, headers, payload: frame.body.clone() }));
        Ok(())
    }

    /// Whom a destination is for, and the destination that clients see.
    fn target(&self, destination: &str) -> Option<(Target, String)> {
        let (meaning, rest) = self.around.destinations.meaning(destination)?;
        let key = match meaning {
            Meaning::Room => rest,
            Meaning::Queue => destination.strip_prefix('/')?,
            Meaning::User => {
                let (user, own) = rest.split_once('/')?;
                let user = unescaped(user);
                let known = check_key(&user).is_ok() && !own.is_empty();
                return known.then(|| (Target::User(user.into_owned()), format!("/{own}")));
            }
            Meaning::Upstream | Meaning::Request => return None,
        };
        let odd = key.split('/').any(|segment| matches!(segment, "" | "." | ".." | "*" | "**"));
        (!odd && check_key(key).is_ok()).then(|| (Target::Room(key.to_owned()), destination.to_owned()))
    }

    fn on_subscribe(&mut self, frame: &Frame, acts: &mut Vec<Act>) -> Result<(), &'static str> {
        let destination = frame.header("destination").ok_or("SUBSCRIBE needs a destination")?;
        let id = frame.header("id").unwrap_or(destination);
        if let Some((_, known)) = self.subscriptions.iter().find(|(known, _)| known == id) {
            return if known == destination { Ok(()) } else { Err("the id has another destination") };
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err("too many subscriptions");
        }
        let Some((target @ Target::Room(_), _)) = self.target(destination) else {
            return Err("there is nothing to subscribe to at this destination");
        };
        self.subscriptions.push((id.to_owned(), destination.to_owned()));
        let subjects = [Kind::Send, Kind::Keep].map(|kind| self.around.subjects.to(kind, &target));
        acts.push(Act::Subscribe { id: id.to_owned(), subjects });
        Ok(())
    }

    fn on_unsubscribe(&mut self, frame: &Frame, acts: &mut Vec<Act>) -> Result<(), &'static str> {
        let id = frame.header("id").or_else(|| frame.header("destination")).ok_or("UNSUBSCRIBE needs an id")?;
        if let Some(at) = self.subscriptions.iter().position(|(known, _)| known == id) {
            let (id, _) = self.subscriptions.swap_remove(at);
            acts.push(Act::Unsubscribe(id));
        }
        Ok(())
    }
}

/// Compared in the same time wherever they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Spring writes `%2F` for a slash in a user's name.
fn unescaped(name: &str) -> Cow<'_, str> {
    if name.contains("%2F") { Cow::Owned(name.replace("%2F", "/")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: &str = "CONNECT|accept-version:1.1,1.2|login:spring|passcode:a passcode 1|heart-beat:10000,5000||^";

    fn said(text: &str) -> Vec<Act> {
        let subjects = Subjects::new("hf");
        let destinations = Destinations::default();
        let around = Surroundings {
            subjects: &subjects,
            destinations: &destinations,
            login: "spring",
            passcode: "a passcode 1",
        };
        Session::new(around).feed(text.replace('|', "\n").replace('^', "\0").as_bytes())
    }

    /// What comes of a frame after CONNECT.
    fn after_connect(frame: &str) -> Vec<Act> {
        let mut acts = said(&format!("{CONNECT}{frame}"));
        acts.drain(..2);
        acts
    }

    fn published(frame: &str) -> (String, Vec<(&'static str, String)>, Bytes) {
        match after_connect(frame).swap_remove(0) {
            Act::Publish(Publication { subject, headers, payload }) => (subject, headers, payload),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_knows_the_passcode_is_connected() {
        let acts = said(CONNECT);

        let Act::Write(connected) = &acts[0] else { panic!("{acts:?}") };
        assert!(connected.starts_with(b"CONNECTED\nversion:1.2\nheart-beat:10000,10000\n"));
        assert_eq!(acts[1..], [Act::HeartBeat { in_ms: 10_000, out_ms: 10_000 }]);
        for refused in [
            "CONNECT|login:spring|passcode:a passcode 2||^",
            "CONNECT|login:spring||^",
            "CONNECT|accept-version:2.0|login:spring|passcode:a passcode 1||^",
            "SEND|destination:/topic/x||^",
            "NONSENSE||^",
        ] {
            let acts = said(refused);
            assert!(matches!(acts[..], [Act::Write(_), Act::End(Some(_))]), "{refused}: {acts:?}");
        }
    }

    #[test]
    fn what_spring_sends_is_published_as_a_domain_service_would() {
        let header = |value: &str| vec![("Hf-Destination", value.to_owned())];
        for (frame, subject, shown) in [
            ("SEND|destination:/topic/chat/5||hi^", "hf.send.room.chat=2F5", "/topic/chat/5"),
            ("SEND|destination:/queue/x||hi^", "hf.send.room.queue=2Fx", "/queue/x"),
            ("SEND|destination:/user/ana/queue/x||hi^", "hf.send.user.ana", "/queue/x"),
            ("SEND|destination:/user/a%2Fb/queue/x||hi^", "hf.send.user.a=2Fb", "/queue/x"),
            (
                "SEND|destination:/topic/unresolved-user|simpOrigDestination:/user/ana/queue/x||hi^",
                "hf.send.user.ana",
                "/queue/x",
            ),
            ("SEND|destination:/topic/chat/5|persistent:true||hi^", "hf.keep.room.chat=2F5", "/topic/chat/5"),
        ] {
            assert_eq!(published(frame), (subject.to_owned(), header(shown), "hi".into()), "{frame}");
        }
        let (_, headers, _) = published("SEND|destination:/topic/x|content-type:text/plain|hf-ttl:5|other:1||^");
        assert_eq!(headers[1..], [("Content-Type", "text/plain".to_owned()), ("Hf-Ttl", "5".to_owned())]);
    }

    #[test]
    fn receipts_wait_for_the_bus() {
        let acts =
            after_connect("SEND|destination:/topic/x|receipt:r||^DISCONNECT|receipt:d||^SEND|destination:/topic/x||^");

        let expected = [Act::Confirm("r".to_owned()), Act::Confirm("d".to_owned()), Act::End(None)];
        assert_eq!(acts[1..], expected);
    }

    #[test]
    fn a_transaction_is_published_in_order_when_it_is_committed_and_never_when_it_is_not() {
        let acts = after_connect(
            "BEGIN|transaction:a||^BEGIN|transaction:b||^SEND|destination:/topic/x|transaction:a||1^\
             SEND|destination:/topic/x|transaction:b||never^SEND|destination:/topic/x||0^\
             SEND|destination:/topic/x|transaction:a||2^ABORT|transaction:b||^COMMIT|transaction:a|receipt:r||^",
        );

        let (last, published) = acts.split_last().expect("acts");
        let bodies: Vec<_> = published
            .iter()
            .map(|act| match act {
                Act::Publish(publication) => String::from_utf8_lossy(&publication.payload).into_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(bodies, ["0", "1", "2"]);
        assert_eq!(*last, Act::Confirm("r".to_owned()));
    }

    #[test]
    fn a_subscription_hears_what_is_published_to_its_room() {
        let acts = after_connect(
            "SUBSCRIBE|id:1|destination:/topic/a||^SUBSCRIBE|id:1|destination:/topic/a||^UNSUBSCRIBE|id:1||^",
        );

        let subjects = ["hf.send.room.a".to_owned(), "hf.keep.room.a".to_owned()];
        assert_eq!(acts, [Act::Subscribe { id: "1".to_owned(), subjects }, Act::Unsubscribe("1".to_owned())]);
    }

    #[test]
    fn what_means_nothing_here_ends_the_session() {
        for frame in [
            "SEND|destination:/app/x||^",
            "SEND|destination:/topic/*||^",
            "SEND|destination:/user/ana||^",
            "SEND|destination:/topic/x|Hf-Id:a\\nb||^",
            "SEND||^",
            "SUBSCRIBE|id:1|destination:/user/queue/x||^",
            "BEGIN||^",
            "COMMIT|transaction:t||^",
            "SEND|destination:/topic/x|transaction:t||^",
            "BEGIN|transaction:t||^BEGIN|transaction:t||^",
            "BEGIN|transaction:t||^SEND|destination:/app/x|transaction:t||^COMMIT|transaction:t||^",
            "CONNECT|login:spring||^",
        ] {
            let acts = after_connect(frame);
            assert!(matches!(acts[..], [Act::Write(_), Act::End(Some(_))]), "{frame}: {acts:?}");
        }
    }
}
