//! Moves bytes between the socket, standard input and the session. Three sources of events meet in one loop: the
//! socket, standard input, the end of patience. Knows frames and phases; what a line or a message means is the
//! session's.

use std::io::BufRead as _;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ConnectArgs;
use super::dial::{Reader, Writer};
use super::session::{Line, Session, describe_close};
use crate::args::Global;
use crate::exit::{Exit, Outcome};
use crate::output;

/// How long the end of input waits for answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long our own close waits for the gateway's.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Lines or frames on their way to the loop; when full, the reader of standard input or of the socket waits.
const QUEUE_LEN: usize = 64;

/// What the socket said.
enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    /// To be answered with a pong.
    Ping(Vec<u8>),
    Close(Vec<u8>),
    Lost(WebSocketError),
}

/// The life of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Lines and frames.
    Open,
    /// The input has ended; frames still come, for as long as the gateway likes.
    Listening,
    /// The input has ended; answers are awaited until then.
    Finishing(Instant),
    /// We have sent our close; the gateway's is awaited until then.
    Closing(Instant),
}

struct Driver<'a> {
    args: &'a ConnectArgs,
    writer: Writer,
    session: Session,
    phase: Phase,
}

/// Runs a session over an open connection until either side ends it.
pub(super) async fn run(global: &Global, args: &ConnectArgs, reader: Reader, writer: Writer) -> Outcome {
    let (heard_tx, mut heard) = mpsc::channel(QUEUE_LEN);
    // Polled in place and never dropped half-way: reading a frame is not cancel-safe.
    let mut socket = pin!(read_socket(reader, heard_tx));
    let mut socket_open = true;
    let mut lines = read_lines();
    let session = Session::new(global.json, args.bare);
    let mut driver = Driver { args, writer, session, phase: Phase::Open };
    driver.greet().await?;
    loop {
        driver.close_when_finished().await?;
        tokio::select! {
            () = &mut socket, if socket_open => socket_open = false,
            event = heard.recv() => if let Some(exit) = driver.heard(event).await? {
                return Ok(exit);
            },
            line = lines.recv(), if driver.phase == Phase::Open => driver.line(line).await?,
            () = out_of_patience(driver.phase) => if let Some(exit) = driver.give_up() {
                return Ok(exit);
            },
        }
    }
}

async fn out_of_patience(phase: Phase) {
    match phase {
        Phase::Open | Phase::Listening => std::future::pending().await,
        Phase::Finishing(until) | Phase::Closing(until) => tokio::time::sleep_until(until).await,
    }
}

/// Standard input, line by line. Blocking reads need a thread of their own; it ends with the process, or with the
/// receiver.
fn read_lines() -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel(QUEUE_LEN);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tx.blocking_send(line).is_err() {
                break;
            }
        }
    });
    rx
}

/// Reads whole messages until the connection ends. Not cancel-safe.
async fn read_socket(reader: Reader, heard: mpsc::Sender<Heard>) {
    let mut reader = FragmentCollectorRead::new(reader);
    // Pongs and closes are answered by the driver, so nothing is ever owed here.
    let mut owe = |_: Frame<'_>| std::future::ready(Ok::<(), WebSocketError>(()));
    loop {
        let event = match reader.read_frame(&mut owe).await {
            Err(error) => Heard::Lost(error),
            Ok(frame) => match frame.opcode {
                OpCode::Text => Heard::Text(frame.payload.to_vec()),
                OpCode::Binary => Heard::Binary(frame.payload.to_vec()),
                OpCode::Ping => Heard::Ping(frame.payload.to_vec()),
                OpCode::Close => Heard::Close(frame.payload.to_vec()),
                OpCode::Continuation | OpCode::Pong => continue,
            },
        };
        let last = matches!(event, Heard::Lost(_) | Heard::Close(_));
        if heard.send(event).await.is_err() || last {
            return;
        }
    }
}

impl Driver<'_> {
    async fn write(&mut self, frame: Frame<'_>) -> Result<(), WebSocketError> {
        let frame = Frame::new(frame.fin, frame.opcode, None, Payload::Owned(frame.payload.to_vec()));
        self.writer.write_frame(frame).await?;
        self.writer.flush().await
    }

    async fn say(&mut self, text: &str) -> Result<(), WebSocketError> {
        self.write(Frame::text(Payload::Borrowed(text.as_bytes()))).await
    }

    /// The first message, where it carries the credential.
    async fn greet(&mut self) -> Result<(), WebSocketError> {
        let Some(token) = self.args.token.as_ref().filter(|_| self.args.first_message) else { return Ok(()) };
        let mut auth = json!({"type": "auth", "token": token});
        if let Some(device) = &self.args.device {
            auth["device"] = json!(device);
        }
        let auth = self.session.numbered(auth);
        self.say(&auth).await
    }

    async fn close_when_finished(&mut self) -> Result<(), WebSocketError> {
        let counted = self.args.count.is_some_and(|count| self.session.messages() >= count);
        let answered = matches!(self.phase, Phase::Finishing(_)) && self.session.all_answered();
        if (counted || answered) && !matches!(self.phase, Phase::Closing(_)) {
            self.phase = Phase::Closing(Instant::now() + CLOSE_PATIENCE);
            self.write(Frame::close(1000, b"")).await?;
        }
        Ok(())
    }

    async fn line(&mut self, line: Option<String>) -> Result<(), WebSocketError> {
        match line.map(|line| self.session.line(&line)) {
            None if self.args.stay => self.phase = Phase::Listening,
            None => self.phase = Phase::Finishing(Instant::now() + ANSWER_PATIENCE),
            Some(Line::Nothing) => {}
            Some(Line::Hint(text)) => output::note(&text),
            Some(Line::Quit) => {
                self.session.forget_unanswered();
                self.phase = Phase::Finishing(Instant::now());
            }
            Some(Line::Say(text)) => self.say(&text).await?,
        }
        Ok(())
    }

    /// What to do once patience has run out; a status where that is the end.
    fn give_up(&mut self) -> Option<Exit> {
        if let Phase::Closing(_) = self.phase {
            return Some(Exit::Done);
        }
        output::note("Not everything was answered in time; closing.");
        self.session.forget_unanswered();
        None
    }

    async fn heard(&mut self, event: Option<Heard>) -> Result<Option<Exit>, anyhow::Error> {
        let ours = matches!(self.phase, Phase::Closing(_));
        match event {
            Some(Heard::Text(bytes)) => {
                if let Some(line) = self.session.text(&bytes) {
                    output::line(&line)?;
                }
            }
            Some(Heard::Binary(bytes)) => output::line(&self.session.binary(&bytes))?,
            Some(Heard::Ping(payload)) => self.write(Frame::pong(Payload::Owned(payload))).await?,
            Some(Heard::Close(payload)) => {
                if !ours {
                    // The gateway may be gone by now; what it said matters, not whether it hears us.
                    drop(self.write(Frame::close_raw(Payload::Owned(payload.clone()))).await);
                }
                let (code, text) = describe_close(&payload);
                if !ours || code != 1000 {
                    output::note(&text);
                }
                return Ok(Some(if ours || code == 1000 { Exit::Done } else { Exit::Failed }));
            }
            Some(Heard::Lost(_)) | None if ours => return Ok(Some(Exit::Done)),
            Some(Heard::Lost(error)) => return Err(error).context("the connection broke"),
            None => anyhow::bail!("the connection ended without a close"),
        }
        Ok(None)
    }
}
