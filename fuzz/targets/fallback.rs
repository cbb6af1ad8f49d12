//! Sessions over HTTP: whatever a client asks, whenever, and whichever answers are lost on the way, it hears each
//! message once and in order, behind one greeting and before the last words.
#![no_main]

use bytes::Bytes;
use holdfast_gateway::clock::Now;
use holdfast_gateway::fallback::{Answers, Channel, ChannelSettings, Form};
use holdfast_gateway::link::Asker;
use holdfast_gateway::outbox::{Bounds, WhenFull};
use holdfast_gateway::socket::{Class, Framing, Outgoing, Pushed, Socket};
use holdfast_gateway::ws::frame;
use holdfast_protocol::dialect::sockjs;
use holdfast_protocol::wire::{Caller, Exchanged};
use libfuzzer_sys::fuzz_target;

const FORMS: [Form; 6] = [Form::Xhr, Form::XhrStreaming, Form::EventSource, Form::Poll, Form::Stream, Form::Events];

/// One receiving request of the client.
struct Receiving {
    id: u64,
    form: Form,
    have: u64,
    body: Vec<u8>,
}

struct Client {
    channel: Channel,
    answers: Answers,
    now: Now,
    asked: u64,
    receiving: Option<Receiving>,
    receivers: u64,
    pushed: Vec<String>,
    heard: Vec<String>,
    greeted: bool,
    closed: bool,
    farewell: bool,
}

impl Client {
    fn new(framing: Framing) -> Self {
        let answers = Answers::default();
        let now = Now { ms: 1_000, unix_ms: 1_700_000_000_000 };
        let settings = ChannelSettings {
            name: "s".into(),
            caller: Caller::default(),
            framing,
            bounds: Bounds { bytes_max: 256 * 1024, age_max_ms: 30_000, when_full: WhenFull::Close },
            heartbeat_ms: 25_000,
            cells: Default::default(),
            answers: Answers::clone(&answers),
            from: Default::default(),
        };
        let mut channel = Channel::new(now, settings);
        channel.opened(now);
        Self {
            channel,
            answers,
            now,
            asked: 0,
            receiving: None,
            receivers: 0,
            pushed: Vec::new(),
            heard: Vec::new(),
            greeted: framing == Framing::Plain,
            closed: false,
            farewell: false,
        }
    }

    fn push(&mut self, times: u8, flush: bool) {
        // Long enough for several pieces, now and then.
        let text =
            format!("{} {}", self.pushed.len(), "한x\"\u{2028}".repeat(usize::from(times) * usize::from(times) / 8));
        let mut framed = Vec::new();
        match self.channel.framing() {
            Framing::SockJs => sockjs::message_into(&text, &mut framed),
            Framing::Plain => framed.extend_from_slice(text.as_bytes()),
        }
        let class = Class::Message { scope: 0, expires_ms: None, key: None, kept: None };
        match self.channel.push(self.now, Outgoing { frame: frame::text(&framed), class }) {
            Pushed::Queued(_) => {
                assert!(!self.closed);
                self.pushed.push(text);
            }
            Pushed::Dropped => assert!(self.closed),
            Pushed::Overflow => assert!(self.channel.queued_bytes() > 64 * 1024),
        }
        if flush {
            self.channel.flush(self.now);
        }
    }

    /// Asks on, or for the first time by another request.
    fn ask(&mut self, form: u8) {
        if self.receiving.is_none() {
            let fitting: Vec<_> = FORMS.into_iter().filter(|form| form.framing() == self.channel.framing()).collect();
            self.receivers += 1;
            let form = fitting[usize::from(form) % fitting.len()];
            self.receiving = Some(Receiving { id: self.receivers, form, have: 0, body: Vec::new() });
        }
        let Some(receiving) = &self.receiving else { return };
        self.asked += 1;
        self.channel.receive(self.now, Asker::Here(self.asked), receiving.id, receiving.form, receiving.have);
    }

    /// Another request at the same time is refused, and changes nothing.
    fn intrude(&mut self) {
        let attached = self.receiving.as_ref().filter(|receiving| receiving.have > 0);
        let Some(form) = attached.map(|receiving| receiving.form) else { return };
        self.take();
        // The end of the first may be on its way; then the second is as good as a next one.
        if self.receiving.is_none() || !self.answers.borrow().is_empty() {
            return;
        }
        self.channel.receive(self.now, Asker::Here(u64::MAX), u64::MAX, form, 0);
        let answer = self.answers.borrow_mut().pop_front();
        assert_eq!(answer, Some((Asker::Here(u64::MAX), Exchanged::Taken)));
    }

    /// All answers are lost.
    fn lose(&mut self) -> bool {
        let lost = !self.answers.borrow().is_empty();
        self.answers.borrow_mut().clear();
        lost
    }

    fn take(&mut self) {
        loop {
            let Some((asker, answer)) = self.answers.borrow_mut().pop_front() else { return };
            // What was given up in favour of a later question.
            if asker != Asker::Here(self.asked) {
                continue;
            }
            let Exchanged::Piece { number, bytes, end } = answer else { panic!("{answer:?}") };
            let Some(receiving) = &mut self.receiving else { panic!("an answer to nobody") };
            assert_eq!(number, receiving.have + 1, "pieces are counted");
            receiving.have = number;
            receiving.body.extend_from_slice(&bytes);
            if end && let Some(ended) = self.receiving.take() {
                self.read(&ended);
            }
        }
    }

    fn read(&mut self, ended: &Receiving) {
        let body = std::str::from_utf8(&ended.body).expect("text");
        let mut lines: Vec<&str> = match ended.form {
            Form::EventSource => body.split("\r\n\r\n").collect(),
            Form::Events => body.split("\n\n").collect(),
            Form::Xhr | Form::XhrStreaming | Form::Poll | Form::Stream => body.split('\n').collect(),
        };
        assert_eq!(lines.pop(), Some(""), "whole frames");
        assert!(ended.form != Form::Xhr || lines.len() <= 1, "one frame for each poll");
        for line in lines {
            // They are said again to who asks again.
            assert!(!self.farewell || is_farewell(line), "the last words are the last: {line}");
            let line = match ended.form {
                Form::EventSource => line.strip_prefix("data: ").expect("an event"),
                Form::Events if line == ":" => continue,
                Form::Events => line.strip_prefix("data: ").expect("an event"),
                Form::Xhr | Form::XhrStreaming | Form::Poll | Form::Stream => line,
            };
            match ended.form.framing() {
                Framing::SockJs => self.frame(line),
                Framing::Plain if line.is_empty() => {}
                Framing::Plain if is_farewell(line) => self.farewell = true,
                Framing::Plain => self.heard.push(line.to_owned()),
            }
        }
    }

    fn frame(&mut self, line: &str) {
        if line == sockjs::OPEN {
            assert!(!self.greeted && self.heard.is_empty(), "greeted once");
            self.greeted = true;
        } else if let Some(array) = line.strip_prefix('a') {
            assert!(self.greeted);
            self.heard.extend(sockjs::read(array).expect("JSON").into_iter().map(Into::into));
        } else if is_farewell(line) {
            self.farewell = true;
        } else {
            assert_eq!(line, sockjs::HEARTBEAT);
        }
    }

    /// True if the session ends by it.
    fn pass(&mut self, ms: u64) -> bool {
        self.now = Now { ms: self.now.ms + ms, unix_ms: self.now.unix_ms + ms };
        self.channel.pass(self.now) || self.channel.is_over(self.now).is_some()
    }

    fn step(&mut self, operation: u8, data: u8) -> bool {
        match operation % 10 {
            0 | 1 => self.push(data, data % 3 > 0),
            2 | 3 => self.ask(data),
            4 => self.take(),
            5 => {
                if self.lose() {
                    self.ask(data);
                }
            }
            6 => return !self.pass(u64::from(data) * 50),
            7 => {
                self.channel.flush(self.now);
            }
            8 => self.intrude(),
            _ if data == 0 => {
                self.closed = true;
                self.channel.close(self.now, 4000, "over\n\"and out\"");
            }
            _ => {}
        }
        true
    }

    /// A patient client hears the rest.
    fn finish(mut self) {
        self.lose();
        for _ in 0..2_000 {
            self.ask(0);
            self.take();
            let has_all = self.channel.queued_bytes() == 0 && (self.receiving.is_none() || self.waits());
            if self.farewell || (has_all && !self.closed) {
                break;
            }
        }
        if let Some(open) = self.receiving.take() {
            self.read(&open);
        }
        assert_eq!(self.heard, self.pushed);
        assert!(!self.closed || self.farewell);
    }

    /// The last question has no answer yet.
    fn waits(&mut self) -> bool {
        self.ask(0);
        let waits = self.answers.borrow().iter().all(|(asker, _)| *asker != Asker::Here(self.asked));
        self.take();
        waits
    }
}

fn is_farewell(line: &str) -> bool {
    let line = line.strip_prefix("data: ").unwrap_or(line);
    line.starts_with("c[") || line.starts_with("{\"code\":4000")
}

fuzz_target!(|data: &[u8]| {
    let Some((first, operations)) = data.split_first() else { return };
    let framing = if first % 2 == 0 { Framing::SockJs } else { Framing::Plain };
    let mut client = Client::new(framing);
    for operation in operations.chunks_exact(2).take(400) {
        if !client.step(operation[0], operation[1]) {
            return;
        }
    }
    client.finish();
    let _bytes: Bytes = Form::Xhr.farewell(4000, "");
});
