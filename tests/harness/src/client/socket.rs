//! What the `json` and `bare` clients share: one task that reads into a list, one that writes.
//!
//! The list is not bounded: a test reads little, and wants to see all of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocketWrite, after_handshake_split};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Upgraded;
use crate::stream::Stream;
use crate::wait::PATIENCE;

/// Frames waiting to be written; a client that is asked for more waits.
const OUTGOING_FRAMES_MAX: usize = 1024;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The close code; 1005 for a close frame without one, 1006 for an end without a close frame.
    pub code: u16,
    /// The reason, or what broke.
    pub reason: String,
}

/// A data frame's payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Text(String),
    Binary(Vec<u8>),
}

/// What the reader has seen so far.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) frames: Vec<Data>,
    pub(crate) pings: u64,
    pub(crate) ended: Option<Ended>,
}

enum Outgoing {
    Data(Data),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// A WebSocket connection. Dropping it drops the TCP connection.
#[derive(Debug)]
pub(crate) struct Socket {
    inbox: Arc<Mutex<Inbox>>,
    changed: watch::Receiver<()>,
    outgoing: mpsc::Sender<Outgoing>,
    _tasks: JoinSet<()>,
}

pub(super) type Writer = WebSocketWrite<WriteHalf<tokio::io::BufReader<Box<dyn Stream>>>>;

impl Socket {
    pub(crate) fn start(upgraded: Upgraded) -> Self {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let (tell, changed) = watch::channel(());
        let (outgoing, to_write) = mpsc::channel(OUTGOING_FRAMES_MAX);
        let (read, write) = tokio::io::split(upgraded.stream);
        let (read, write) = after_handshake_split(read, write, Role::Client);
        let mut read = FragmentCollectorRead::new(read);
        let mut tasks = JoinSet::new();
        tasks.spawn(write_all(write, to_write));
        let (seen, answers) = (Arc::clone(&inbox), outgoing.clone());
        tasks.spawn(async move {
            let pinged = Arc::clone(&seen);
            let mut answer = |frame: Frame<'_>| {
                let (answers, answer) = (answers.clone(), obliged(&frame));
                if frame.opcode == OpCode::Pong {
                    pinged.lock().unwrap_or_else(PoisonError::into_inner).pings += 1;
                }
                async move {
                    // The writer is gone only when the connection is.
                    if let Some(answer) = answer
                        && answers.send(answer).await.is_err()
                    {
                        return Err(io::Error::from(io::ErrorKind::BrokenPipe));
                    }
                    Ok(())
                }
            };
            loop {
                let frame = read.read_frame(&mut answer).await;
                let mut inbox = seen.lock().unwrap_or_else(PoisonError::into_inner);
                note(&mut inbox, frame);
                let ended = inbox.ended.is_some();
                drop(inbox);
                tell.send_replace(());
                if ended {
                    return;
                }
            }
        });
        Self { inbox, changed, outgoing, _tasks: tasks }
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something among the frames; `what` and the end of the list go into the failure.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&Inbox) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let wait = async {
            loop {
                changed.mark_unchanged();
                {
                    let inbox = self.inbox();
                    if let Some(found) = look(&inbox) {
                        return Ok(found);
                    }
                    if let Some(ended) = &inbox.ended {
                        return Err(format!("the connection ended with {ended:?}"));
                    }
                }
                if changed.changed().await.is_err() {
                    // The reader has gone, and its last word may have come after the look.
                    let inbox = self.inbox();
                    return look(&inbox).ok_or_else(|| format!("the connection ended with {:?}", inbox.ended));
                }
            }
        };
        let why = match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(found)) => return found,
            Ok(Err(why)) => why,
            Err(_) => format!("not within {PATIENCE:?}"),
        };
        let inbox = self.inbox();
        let tail = &inbox.frames[inbox.frames.len().saturating_sub(5)..];
        panic!("{what}: {why}; {} frames, the last are {tail:?}", inbox.frames.len());
    }

    pub(crate) async fn send(&self, data: Data) {
        // A connection that has ended is found by whoever waits for an answer.
        let _closed = self.outgoing.send(Outgoing::Data(data)).await;
    }

    pub(crate) async fn ended(&self) -> Ended {
        self.until("the connection ends", |inbox| inbox.ended.clone()).await
    }

    /// The closing handshake, begun by us.
    pub(crate) async fn close(&self, code: u16, reason: &str) -> Ended {
        let _closed = self.outgoing.send(Outgoing::Close(code, reason.to_owned())).await;
        self.ended().await
    }
}

fn obliged(frame: &Frame<'_>) -> Option<Outgoing> {
    match frame.opcode {
        OpCode::Pong => Some(Outgoing::Pong(frame.payload.to_vec())),
        OpCode::Close => {
            let (code, reason) = close_of(&frame.payload);
            Some(Outgoing::Close(code, reason))
        }
        OpCode::Continuation | OpCode::Text | OpCode::Binary | OpCode::Ping => None,
    }
}

pub(super) fn close_of(payload: &[u8]) -> (u16, String) {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned()),
        None => (1005, String::new()),
    }
}

fn note(inbox: &mut Inbox, frame: Result<Frame<'_>, fastwebsockets::WebSocketError>) {
    let broken = |reason: String| Some(Ended { code: 1006, reason });
    match frame {
        Ok(frame) => match frame.opcode {
            OpCode::Text => match String::from_utf8(frame.payload.to_vec()) {
                Ok(text) => inbox.frames.push(Data::Text(text)),
                Err(error) => inbox.ended = broken(error.to_string()),
            },
            OpCode::Binary => inbox.frames.push(Data::Binary(frame.payload.to_vec())),
            OpCode::Close => {
                let (code, reason) = close_of(&frame.payload);
                inbox.ended = Some(Ended { code, reason });
            }
            // Pings are answered, and counted, on the way.
            OpCode::Ping | OpCode::Pong | OpCode::Continuation => {}
        },
        Err(error) => inbox.ended = broken(error.to_string()),
    }
}

/// Writes what it is given until a close, or until nobody can give it anything.
async fn write_all(mut writer: Writer, mut outgoing: mpsc::Receiver<Outgoing>) {
    while let Some(frame) = outgoing.recv().await {
        let last = matches!(frame, Outgoing::Close(..));
        let frame = match &frame {
            Outgoing::Data(Data::Text(text)) => Frame::text(Payload::Borrowed(text.as_bytes())),
            Outgoing::Data(Data::Binary(bytes)) => Frame::binary(Payload::Borrowed(bytes)),
            Outgoing::Pong(bytes) => Frame::pong(Payload::Borrowed(bytes)),
            Outgoing::Close(1005, _) => Frame::close_raw(Payload::Borrowed(&[])),
            Outgoing::Close(code, reason) => Frame::close(*code, reason.as_bytes()),
        };
        if writer.write_frame(frame).await.is_err() || last {
            break;
        }
    }
    while outgoing.recv().await.is_some() {}
}

/// Ends a stream in order; the other side sees the end of the bytes.
pub(crate) async fn shut_down(stream: &mut tokio::io::BufReader<Box<dyn Stream>>) {
    // An end that cannot be announced is one all the same.
    let _gone = stream.shutdown().await;
}
