//! A connection for those who expect it to break: nothing here panics, nothing is kept, one reader and one writer.
//!
//! For workloads of thousands of clients under faults; a test of one fact is better off with [`Client`](super::Client).

use std::io;
use std::time::Duration;

use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, Role, after_handshake_split};
use tokio::io::{BufReader, ReadHalf};
use tokio::sync::mpsc;

use super::socket::{Writer, close_of};
use super::{Connect, Ended};
use crate::http::Response;
use crate::stream::Stream;

/// Frames that wait between the reader and whoever takes them; a reader that finds no room waits, and TCP with it.
const INCOMING_FRAMES_MAX: usize = 256;

/// Why there is no connection.
#[derive(Debug)]
pub enum NotOpen {
    /// An HTTP answer other than 101.
    Refused(Response),
    /// No answer at all.
    Broken(io::Error),
}

/// What was read.
#[derive(Debug)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A ping, to be answered with [`LineWriter::pong`].
    Ping(Vec<u8>),
    /// The end: nothing comes after it.
    Ended(Ended),
}

/// The reading half: to be driven by [`LineReader::run`].
pub struct LineReader {
    read: FragmentCollectorRead<ReadHalf<BufReader<Box<dyn Stream>>>>,
    out: mpsc::Sender<Incoming>,
}

/// The writing half.
pub struct LineWriter(Writer);

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LineReader")
    }
}

impl std::fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LineWriter")
    }
}

impl Connect {
    /// A connection whose end is no failure of the test. What is read comes through the receiver while
    /// [`LineReader::run`] is polled.
    ///
    /// # Errors
    /// The handshake was refused, broke, or took longer than `patience` (at most [`PATIENCE`](crate::wait::PATIENCE)).
    pub async fn line(self, patience: Duration) -> Result<(LineReader, mpsc::Receiver<Incoming>, LineWriter), NotOpen> {
        let attempt = tokio::time::timeout(patience, self.attempt());
        let upgraded = match attempt.await {
            Ok(Ok(upgraded)) if upgraded.response.status == 101 => upgraded,
            Ok(Ok(upgraded)) => return Err(NotOpen::Refused(upgraded.response)),
            Ok(Err(error)) => return Err(NotOpen::Broken(error)),
            Err(_) => return Err(NotOpen::Broken(io::ErrorKind::TimedOut.into())),
        };
        let (read, write) = tokio::io::split(upgraded.stream);
        let (read, write) = after_handshake_split(read, write, Role::Client);
        let (out, incoming) = mpsc::channel(INCOMING_FRAMES_MAX);
        Ok((LineReader { read: FragmentCollectorRead::new(read), out }, incoming, LineWriter(write)))
    }
}

impl LineReader {
    /// Reads until the connection ends, or until nobody takes what is read.
    pub async fn run(mut self) {
        loop {
            let out = self.out.clone();
            // The library hands over what it would answer: a pong to a ping, a close to a close.
            let mut obliged = |frame: Frame<'_>| {
                let ping = (frame.opcode == OpCode::Pong).then(|| Incoming::Ping(frame.payload.to_vec()));
                let out = out.clone();
                async move {
                    match ping {
                        Some(ping) => out.send(ping).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe)),
                        None => Ok(()),
                    }
                }
            };
            let broken = |reason: String| Incoming::Ended(Ended { code: 1006, reason });
            let incoming = match self.read.read_frame(&mut obliged).await {
                Ok(frame) => match frame.opcode {
                    OpCode::Text => match String::from_utf8(frame.payload.to_vec()) {
                        Ok(text) => Incoming::Text(text),
                        Err(error) => broken(error.to_string()),
                    },
                    OpCode::Close => {
                        let (code, reason) = close_of(&frame.payload);
                        Incoming::Ended(Ended { code, reason })
                    }
                    OpCode::Binary => broken("a binary message".to_owned()),
                    OpCode::Ping | OpCode::Pong | OpCode::Continuation => continue,
                },
                Err(error) => broken(error.to_string()),
            };
            let last = matches!(incoming, Incoming::Ended(_));
            if self.out.send(incoming).await.is_err() || last {
                return;
            }
        }
    }
}

impl LineWriter {
    /// Sends a text message.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn text(&mut self, text: &str) -> io::Result<()> {
        self.write(Frame::text(Payload::Borrowed(text.as_bytes()))).await
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.write(Frame::pong(Payload::Borrowed(payload))).await
    }

    /// Begins or answers the closing handshake.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn close(&mut self, code: u16) -> io::Result<()> {
        self.write(Frame::close(code, &[])).await
    }

    async fn write(&mut self, frame: Frame<'_>) -> io::Result<()> {
        self.0.write_frame(frame).await.map_err(io::Error::other)
    }
}
