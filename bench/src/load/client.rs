//! One client of the benchmark: a socket, what it should get next, and what it got. Every delivery is checked: that it
//! is undamaged, of the right size, and the next one of its stream.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use rustls::{ClientConnection, StreamOwned};

use super::token::{self, STREAMS, Token};
use super::ws::{self, Decoder, Frame};

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What the bytes are.
#[derive(Debug)]
pub(crate) enum Framing {
    /// Frames of RFC 6455.
    WebSocket(Decoder),
    /// Text as it comes, the last bytes kept until they are a whole delivery: a subscriber of NATS.
    Lines(Vec<u8>),
    /// Both: such text in frames that end anywhere.
    WebSocketLines(Decoder, Vec<u8>),
}

/// One connection that is being read.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) framing: Framing,
    pub(crate) check: Check,
    /// The server closed, or the socket ended; with the close code, or 0.
    pub(crate) ended: Option<u16>,
    /// The server's own way to ask whether we are there, and the answer, for dialects that have one.
    pub(crate) heartbeat: Option<(&'static [u8], &'static [u8])>,
}

/// What has come on each stream, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Check {
    /// The number each stream's next delivery must have.
    next: [u32; STREAMS],
    /// Of a payload; 0 for any.
    pub(crate) bytes: usize,
    /// Since the last look.
    pub(crate) fresh: u64,
    pub(crate) wrong: Option<String>,
}

impl Check {
    /// Expects payloads of this size; 0 for any.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { next: [1; STREAMS], bytes, fresh: 0, wrong: None }
    }

    /// Deliveries of this stream so far.
    pub(crate) fn count(&self, stream: u8) -> u32 {
        self.next.get(usize::from(stream)).map_or(0, |next| next - 1)
    }

    /// Takes everything in a piece of text; calls `sent` with the time each was meant to be sent.
    pub(crate) fn take(&mut self, text: &[u8], sent: &mut impl FnMut(u64)) {
        token::scan(text, |token| match token {
            Ok(token) => {
                if let Some(at) = token.sent_us {
                    sent(at);
                }
                self.expect(token);
            }
            Err(damage) => self.fail(damage),
        });
    }

    /// The same for text that is cut anywhere; what may be incomplete is kept in `carry`.
    pub(crate) fn take_lines(&mut self, bytes: &[u8], carry: &mut Vec<u8>, sent: &mut impl FnMut(u64)) {
        carry.extend(bytes);
        let whole = carry.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.take(carry.get(..whole).unwrap_or_default(), sent);
        carry.drain(..whole);
    }

    fn expect(&mut self, token: Token) {
        self.fresh += 1;
        let Some(next) = self.next.get_mut(usize::from(token.stream)) else { return };
        if token.number != u64::from(*next) {
            let text = format!("stream {}: number {} where {next} was to come", token.stream, token.number);
            self.fail(text);
        } else if self.bytes > 0 && token.bytes != self.bytes {
            self.fail(format!("stream {}: {} bytes and not {}", token.stream, token.bytes, self.bytes));
        } else {
            *next += 1;
        }
    }

    /// The first fault counts.
    fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}

impl Client {
    /// Reads what is there into `buffer` and checks it.
    ///
    /// # Errors
    /// Those of the socket, except its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8], sent: &mut impl FnMut(u64)) -> io::Result<()> {
        while self.ended.is_none() {
            let length = match self.stream.read(buffer) {
                Ok(0) => {
                    self.ended = Some(0);
                    return Ok(());
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.ended = Some(0);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            self.take(buffer.get(..length).unwrap_or_default(), sent)?;
            // A short read has emptied the socket; TLS may hold more.
            if length < buffer.len() && matches!(self.stream, Stream::Plain(_)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes bytes of the stream, also those that came with the opening.
    ///
    /// # Errors
    /// A pong could not be written.
    pub(crate) fn take(&mut self, bytes: &[u8], sent: &mut impl FnMut(u64)) -> io::Result<()> {
        let Self { check, heartbeat, .. } = self;
        let mut answers = Vec::new();
        let mut ended = None;
        match &mut self.framing {
            Framing::WebSocket(decoder) => decoder.take(bytes, |frame| match frame {
                Frame::Data(text) => match heartbeat {
                    Some((asked, answer)) if text == *asked => answers.extend(ws::text(answer)),
                    _ => check.take(text, sent),
                },
                Frame::Ping(payload) => answers.extend(ws::pong(payload)),
                Frame::Close(code) => ended = Some(code),
            }),
            Framing::Lines(carry) => check.take_lines(bytes, carry, sent),
            Framing::WebSocketLines(decoder, carry) => decoder.take(bytes, |frame| match frame {
                Frame::Data(text) => match heartbeat {
                    Some((asked, answer)) if text == *asked => answers.extend(ws::binary(answer)),
                    _ => check.take_lines(text, carry, sent),
                },
                Frame::Ping(payload) => answers.extend(ws::pong(payload)),
                Frame::Close(code) => ended = Some(code),
            }),
        }
        self.ended = self.ended.or(ended);
        if answers.is_empty() { Ok(()) } else { self.stream.write_all(&answers) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(payloads: &[Vec<u8>]) -> Option<String> {
        let mut check = Check::new(64);
        for payload in payloads {
            check.take(payload, &mut |_| {});
        }
        check.wrong
    }

    #[test]
    fn every_wrong_delivery_is_seen() {
        let number = |number| token::payload(0, number, 5, 64);
        let damaged = {
            let mut payload = number(2);
            payload[50] = b'z';
            payload
        };

        assert_eq!(wrong(&[number(1), number(2), token::payload(1, 1, 5, 64)]), None);
        assert!(wrong(&[number(1), number(1)]).unwrap().contains("number 1 where 2"), "twice");
        assert!(wrong(&[number(1), number(3)]).unwrap().contains("number 3 where 2"), "one is missing");
        assert!(wrong(&[number(2), number(1)]).unwrap().contains("number 2 where 1"), "out of order");
        assert!(wrong(&[number(1), damaged]).unwrap().contains("damaged"));
        assert!(wrong(&[token::payload(0, 1, 5, 65)]).unwrap().contains("65 bytes and not 64"));
    }
}
