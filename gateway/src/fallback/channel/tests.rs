//! A channel with its clock in the test's hands, and receivers that keep count.

use holdfast_protocol::wire::Caller;

use super::*;
use crate::outbox::WhenFull;
use crate::ws::frame;

const HEARTBEAT_MS: u64 = 25_000;

struct Scene {
    channel: Channel,
    answers: Answers,
    now: Now,
    asked: u64,
    /// What the receiver that asked last has.
    have: u64,
}

impl Scene {
    fn opening(framing: Framing) -> Self {
        let answers = Answers::default();
        let now = Now { ms: 1_000, unix_ms: 1_700_000_000_000 };
        let settings = ChannelSettings {
            name: "s".into(),
            caller: Caller { credential: 7, user: Some("ana".into()) },
            framing,
            bounds: Bounds { bytes_max: 512 * 1024, age_max_ms: 30_000, when_full: WhenFull::Close },
            heartbeat_ms: HEARTBEAT_MS,
            cells: Arc::default(),
            answers: Answers::clone(&answers),
            from: Provenance::default(),
        };
        Self { channel: Channel::new(now, settings), answers, now, asked: 0, have: 0 }
    }

    fn open(framing: Framing) -> Self {
        let mut scene = Self::opening(framing);
        scene.channel.opened(scene.now);
        scene
    }

    fn later(&mut self, ms: u64) {
        self.now = Now { ms: self.now.ms + ms, unix_ms: self.now.unix_ms + ms };
    }

    fn push(&mut self, text: &str) -> Pushed {
        let mut framed = Vec::new();
        match self.channel.framing() {
            Framing::SockJs => holdfast_protocol::dialect::sockjs::message_into(text, &mut framed),
            Framing::Plain => framed.extend_from_slice(text.as_bytes()),
        }
        let class = Class::Message { scope: 0, expires_ms: None, key: None, kept: None };
        let pushed = self.channel.push(self.now, Outgoing { frame: frame::text(&framed), class });
        self.channel.flush(self.now);
        pushed
    }

    fn ask(&mut self, receiver: u64, form: Form) {
        self.asked += 1;
        self.channel.receive(self.now, Asker::Here(self.asked), receiver, form, self.have);
    }

    /// The answer to the last question, if there is one: its bytes, and whether it is the last.
    fn answer(&mut self) -> Option<(String, bool)> {
        let (asker, answer) = self.answers.borrow_mut().pop_front()?;
        assert_eq!(asker, Asker::Here(self.asked));
        let Exchanged::Piece { number, bytes, end } = answer else { panic!("{answer:?}") };
        self.have = if end { 0 } else { number };
        Some((String::from_utf8(bytes.to_vec()).unwrap(), end))
    }

    #[track_caller]
    fn check(&mut self, bytes: &str, end: bool) {
        assert_eq!(self.answer(), Some((bytes.to_owned(), end)));
    }

    /// A stream that has had its greeting, and asks for more.
    fn streaming(receiver: u64) -> Self {
        let mut scene = Self::open(Framing::SockJs);
        scene.ask(receiver, Form::XhrStreaming);
        scene.check("o\n", false);
        scene.ask(receiver, Form::XhrStreaming);
        assert_eq!(scene.answer(), None);
        scene
    }
}

#[test]
fn a_poll_gets_the_greeting_and_then_all_that_waits_as_one_frame() {
    let mut scene = Scene::open(Framing::SockJs);
    scene.push("x");

    scene.ask(1, Form::Xhr);
    scene.check("o\n", true);
    scene.push("y");
    scene.ask(2, Form::Xhr);
    scene.check("a[\"x\",\"y\"]\n", true);
    scene.ask(3, Form::Xhr);
    scene.check("", false);
    scene.ask(3, Form::Xhr);
    assert_eq!(scene.answer(), None, "nothing yet");
    scene.push("z");
    scene.check("a[\"z\"]\n", true);
}

#[test]
fn nothing_is_said_before_routers_know_of_the_session() {
    let mut scene = Scene::opening(Framing::SockJs);
    scene.push("x");
    scene.ask(1, Form::XhrStreaming);
    scene.check("", false);
    scene.ask(1, Form::XhrStreaming);
    assert_eq!(scene.answer(), None);

    scene.channel.opened(scene.now);

    scene.check("o\na[\"x\"]\n", false);
    let mut never = Scene::opening(Framing::SockJs);
    assert_eq!(never.channel.is_over(never.now), None);
    never.later(OPENING_MS);
    assert_eq!(never.channel.is_over(never.now), Some(ClosedBy::Network));
}

#[test]
fn a_stream_ends_after_its_bytes_and_another_goes_on() {
    let mut scene = Scene::streaming(1);
    let text = "x".repeat(50_000);
    let mut seen = 0;
    for round in 1.. {
        scene.push(&text);
        let mut ended = false;
        while let Some((bytes, end)) = scene.answer() {
            seen += bytes.len();
            ended = end;
            if !end {
                scene.ask(1, Form::XhrStreaming);
            }
        }
        assert_eq!(ended, seen >= 128 * 1024, "round {round}: {seen}");
        if ended {
            break;
        }
    }

    scene.push("y");
    scene.ask(2, Form::XhrStreaming);
    scene.check("a[\"y\"]\n", false);
}

#[test]
fn a_second_receiver_is_told_of_the_first() {
    let mut scene = Scene::streaming(1);

    scene.channel.receive(scene.now, Asker::Here(9), 2, Form::Xhr, 0);

    assert_eq!(scene.answers.borrow_mut().pop_front(), Some((Asker::Here(9), Exchanged::Taken)));
    scene.push("x");
    scene.check("a[\"x\"]\n", false);
}

#[test]
fn a_receiver_that_goes_ends_the_session_and_the_next_hears_why() {
    let mut scene = Scene::streaming(1);
    assert!(!scene.channel.leave(scene.now, 5), "another's word");

    assert!(scene.channel.leave(scene.now, 1));

    assert_eq!(scene.answers.borrow_mut().pop_front(), Some((Asker::Here(scene.asked), Exchanged::Unknown)));
    assert_eq!(scene.push("x"), Pushed::Dropped);
    scene.have = 0;
    for receiver in 2..4 {
        scene.ask(receiver, Form::Xhr);
        scene.check("c[1002,\"Connection interrupted\"]\n", true);
    }
    scene.later(FAREWELL_MS);
    assert_eq!(scene.channel.is_over(scene.now), Some(ClosedBy::Network));
}

#[test]
fn what_was_queued_comes_before_the_last_words() {
    let mut scene = Scene::open(Framing::SockJs);
    scene.ask(1, Form::Xhr);
    scene.check("o\n", true);
    scene.push("x");
    scene.channel.close(scene.now, 3000, "Go away!");
    scene.channel.close(scene.now, 1008, "too late");

    scene.ask(2, Form::Xhr);
    scene.check("a[\"x\"]\n", true);
    scene.ask(3, Form::Xhr);
    scene.check("c[3000,\"Go away!\"]\n", true);
    let mut drained = Scene::streaming(1);
    drained.channel.close(drained.now, 1012, "service restart");
    drained.channel.flush(drained.now);
    drained.check("c[1001,\"Going away\"]\n", true);
    drained.later(FAREWELL_MS);
    assert_eq!(drained.channel.is_over(drained.now), Some(ClosedBy::Server(1012)));
}

#[test]
fn a_session_without_receiver_ends() {
    let mut scene = Scene::open(Framing::SockJs);
    scene.ask(1, Form::Xhr);
    scene.check("o\n", true);
    scene.later(ALONE_SOCKJS_MS - 1);
    assert_eq!(scene.channel.is_over(scene.now), None);
    scene.ask(2, Form::Xhr);
    scene.later(60_000);
    assert_eq!(scene.channel.is_over(scene.now), None, "one is there");
    scene.check("", false);
    scene.push("x");
    scene.ask(2, Form::Xhr);
    scene.check("a[\"x\"]\n", true);
    scene.later(ALONE_SOCKJS_MS);
    assert_eq!(scene.channel.is_over(scene.now), Some(ClosedBy::Network));
}

#[test]
fn a_lost_piece_comes_again() {
    let mut scene = Scene::streaming(1);
    let before = scene.have;
    scene.push("x");
    scene.check("a[\"x\"]\n", false);
    scene.push("y");

    scene.have = before;
    scene.ask(1, Form::XhrStreaming);
    scene.check("a[\"x\"]\n", false);
    scene.ask(1, Form::XhrStreaming);
    scene.check("a[\"y\"]\n", false);

    let mut poll = Scene::open(Framing::SockJs);
    poll.ask(1, Form::Xhr);
    poll.check("o\n", true);
    poll.ask(1, Form::Xhr);
    poll.check("o\n", true);
}

#[test]
fn receivers_hear_heart_beats_and_answers_refresh() {
    let mut scene = Scene::streaming(1);
    for _ in 0..4 {
        scene.later(REFRESH_MS);
        assert!(!scene.channel.pass(scene.now));
        scene.check("", false);
        scene.ask(1, Form::XhrStreaming);
    }
    scene.later(REFRESH_MS);
    scene.channel.pass(scene.now);
    scene.check("h\n", false);
    scene.later(SILENT_MS);
    assert!(scene.channel.pass(scene.now), "it does not ask any more");
}

#[test]
fn a_large_message_comes_in_pieces() {
    let mut scene = Scene::streaming(1);
    let text = "x".repeat(100_000);
    scene.push(&text);

    let mut all = String::new();
    while let Some((bytes, end)) = scene.answer() {
        assert!(bytes.len() <= PIECE_BYTES_MAX && !end);
        all.push_str(&bytes);
        scene.ask(1, Form::XhrStreaming);
    }
    assert_eq!(all, format!("a[\"{text}\"]\n"));
}

#[test]
fn what_waits_is_bounded() {
    let mut scene = Scene::open(Framing::Plain);
    let text = "1".repeat(100_000);
    for _ in 0..5 {
        assert!(matches!(scene.push(&text), Pushed::Queued(_)));
    }
    assert_eq!(scene.push(&text), Pushed::Overflow);
}

#[test]
fn only_its_own_client_may_use_a_session() {
    let scene = Scene::open(Framing::SockJs);
    let caller = |credential, user: Option<&str>| Caller { credential, user: user.map(Into::into) };

    assert!(scene.channel.is_of(&caller(7, None)), "the same credential, expired");
    assert!(scene.channel.is_of(&caller(8, Some("ana"))), "a fresh one of the same user");
    assert!(!scene.channel.is_of(&caller(8, Some("bob"))));
    assert!(!scene.channel.is_of(&caller(0, None)));
    assert!(Scene::open(Framing::Plain).channel.is_of(&caller(0, None)), "its name is a secret");
}

#[test]
fn native_receivers_get_lines_events_and_polls() {
    let mut scene = Scene::open(Framing::Plain);
    scene.push("{\"a\":\n1}");
    scene.push("2");
    scene.ask(1, Form::Poll);
    scene.check("{\"a\": 1}\n2\n", true);
    scene.ask(2, Form::Poll);
    scene.check("", false);
    scene.ask(2, Form::Poll);
    scene.later(HEARTBEAT_MS);
    scene.channel.pass(scene.now);
    scene.check("", true);
    scene.ask(3, Form::Events);
    scene.check("", false);
    scene.ask(3, Form::Events);
    scene.channel.close(scene.now, 1012, "bye");
    scene.channel.flush(scene.now);
    scene.check("data: {\"code\":1012,\"reason\":\"bye\",\"type\":\"close\"}\n\n", true);
}
