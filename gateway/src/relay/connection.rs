//! The I/O of one back end: bytes in and out, its messages to the bus, what it subscribed to, and heart-beats.
//!
//! A back end that does not read is not waited for: what is published meanwhile waits in the bus client, bounded, where
//! losses are counted.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::pin;
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Message};
use bytes::Bytes;
use holdfast_daemon::bus::{BusError, Outgoing, Subscription};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Relay;
use super::session::{Act, Publication, Session, Surroundings};

/// For CONNECT.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// For a write to get through.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the bus to confirm what was published.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// A back end that is silent for this many of its heart-beats is gone, as in Spring.
const HEARTBEATS_MISSED_MAX: u64 = 3;
/// Messages that wait between the bus and the socket.
const HEARD_QUEUE: usize = 256;
/// RECEIPTs that may be outstanding.
const CONFIRMS_MAX: usize = 1024;
const READ_BYTES: usize = 16 << 10;
/// For a back end that was told to go: what it has sent until it knows still counts.
const GOING_TIMEOUT: Duration = Duration::from_secs(5);
/// What subscriptions count as.
const CLASS: &str = "relay";

/// Why a session ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("socket failed")]
    Socket(#[from] io::Error),
    #[error("bus failed")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Refused(&'static str),
    #[error("silent for too long")]
    Silent,
    #[error("does not read")]
    Stuck,
    #[error("no TLS handshake in time")]
    NoTls,
}

/// A message of a subscription.
type Heard = (String, Message);

struct Connection<'a> {
    relay: &'a Relay,
    session: Session<'a>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    /// Where markers come back: what was published before one has reached the bus.
    inbox: String,
    markers: Subscription,
    /// Receipts whose markers are under way, oldest first.
    confirms: VecDeque<(String, Instant)>,
    /// One task per subject of a subscription; ends with this.
    hearing: HashMap<String, JoinSet<()>>,
    heard: mpsc::Sender<Heard>,
    delivered: u64,
    heard_by: Instant,
    silence_max: Option<Duration>,
    beat: Option<Duration>,
    beat_at: Instant,
}

/// Serves one back end until it leaves. Not cancel-safe: it ends with the socket.
pub(super) async fn run(
    relay: &Relay,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(), Ended> {
    let (mut read, write) = tokio::io::split(stream);
    let inbox = relay.bus.new_inbox();
    let markers = relay.bus.subscribe(inbox.clone(), CLASS).await?;
    let (heard, mut hearing) = mpsc::channel(HEARD_QUEUE);
    let around = Surroundings {
        subjects: &relay.subjects,
        destinations: &relay.destinations,
        login: &relay.login,
        passcode: relay.passcode.expose(),
    };
    let now = Instant::now();
    let mut connection = Connection {
        relay,
        session: Session::new(around),
        write: Box::new(write),
        inbox,
        markers,
        confirms: VecDeque::new(),
        hearing: HashMap::new(),
        heard,
        delivered: 0,
        heard_by: now,
        silence_max: Some(LOGIN_TIMEOUT),
        beat: None,
        beat_at: now,
    };
    let mut buffer = vec![0; READ_BYTES];
    let mut slot = pin!(relay.slot());
    loop {
        let deadline = connection.deadline();
        tokio::select! {
            length = read.read(&mut buffer) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                connection.heard_by = Instant::now();
                let acts = connection.session.feed(buffer.get(..length).unwrap_or_default());
                if connection.carry_out(acts).await? {
                    return Ok(());
                }
            }
            Some((id, message)) = hearing.recv() => connection.deliver(&id, &message).await?,
            Some(_) = connection.markers.next() => connection.confirmed().await?,
            () = tokio::time::sleep_until(deadline) => connection.on_time().await?,
            () = &mut slot => return connection.see_off(&mut read, &mut buffer).await,
        }
    }
}

impl Connection<'_> {
    /// When something is due next.
    fn deadline(&self) -> Instant {
        let silent = self.silence_max.map(|silence| self.heard_by + silence);
        let beat = self.beat.map(|_| self.beat_at);
        let confirm = self.confirms.front().map(|(_, by)| *by);
        let far = Instant::now() + Duration::from_secs(3600);
        [silent, beat, confirm].into_iter().flatten().min().unwrap_or(far)
    }

    async fn on_time(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        if self.silence_max.is_some_and(|silence| now >= self.heard_by + silence) {
            return Err(Ended::Silent);
        }
        if let Some((receipt, _)) = self.confirms.front().filter(|(_, by)| now >= *by) {
            let receipt = receipt.clone();
            let acts = self.session.unconfirmed(Some(&receipt));
            Box::pin(self.carry_out(acts)).await?;
        }
        if self.beat.is_some() && now >= self.beat_at {
            self.write(b"\n").await?;
        }
        Ok(())
    }

    /// Whether the back end has left.
    async fn carry_out(&mut self, acts: Vec<Act>) -> Result<bool, Ended> {
        for act in acts {
            match act {
                Act::Write(frame) => self.write(&frame).await?,
                Act::Publish(publication) => self.publish(publication).await?,
                Act::Confirm(receipt) => self.confirm(receipt).await?,
                Act::Subscribe { id, subjects } => self.subscribe(id, subjects).await?,
                Act::Unsubscribe(id) => drop(self.hearing.remove(&id)),
                Act::HeartBeat { in_ms, out_ms } => {
                    let every = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
                    self.silence_max = every(in_ms * HEARTBEATS_MISSED_MAX);
                    self.beat = every(out_ms);
                    self.rest();
                }
                Act::End(None) => {
                    self.settle().await?;
                    self.write.shutdown().await?;
                    return Ok(true);
                }
                Act::End(Some(reason)) => {
                    self.write.shutdown().await?;
                    return Err(Ended::Refused(reason));
                }
            }
        }
        Ok(false)
    }

    /// What was published is confirmed, as far as the bus does so in time.
    async fn settle(&mut self) -> Result<(), Ended> {
        while let Some((_, by)) = self.confirms.front() {
            match tokio::time::timeout_at(*by, self.markers.next()).await {
                Ok(Some(_)) => self.confirmed().await?,
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// The node leaves: says so, and publishes what the back end has sent until it knows.
    async fn see_off(&mut self, read: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<(), Ended> {
        self.settle().await?;
        let goodbye = self.session.going();
        self.write(&goodbye).await?;
        self.write.shutdown().await?;
        let by = Instant::now() + GOING_TIMEOUT;
        while let Ok(length) = tokio::time::timeout_at(by, read.read(buffer)).await {
            let length = length?;
            if length == 0 {
                break;
            }
            for act in self.session.feed(buffer.get(..length).unwrap_or_default()) {
                match act {
                    Act::Publish(publication) => self.publish(publication).await?,
                    Act::End(_) => return Ok(()),
                    // Nothing can be said any more.
                    Act::Write(_)
                    | Act::Confirm(_)
                    | Act::HeartBeat { .. }
                    | Act::Subscribe { .. }
                    | Act::Unsubscribe(_) => {}
                }
            }
        }
        Ok(())
    }

    async fn publish(&mut self, publication: Publication) -> Result<(), Ended> {
        let Publication { subject, headers: said, payload } = publication;
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            // The session lets no control characters through, which is all that can be wrong with a value.
            if let Ok(value) = value.parse::<HeaderValue>() {
                headers.insert(name, value);
            }
        }
        let message = Outgoing { subject, reply: None, headers: Some(headers), payload };
        if self.relay.bus.try_publish(message).is_ok() {
            self.relay.metrics.published.inc();
            return Ok(());
        }
        self.relay.metrics.publish_failed.inc();
        let acts = self.session.unconfirmed(None);
        Box::pin(self.carry_out(acts)).await.map(drop)
    }

    async fn confirm(&mut self, receipt: String) -> Result<(), Ended> {
        let marker = Outgoing { subject: self.inbox.clone(), reply: None, headers: None, payload: Bytes::new() };
        if self.confirms.len() >= CONFIRMS_MAX || self.relay.bus.try_publish(marker).is_err() {
            let acts = self.session.unconfirmed(Some(&receipt));
            return Box::pin(self.carry_out(acts)).await.map(drop);
        }
        self.confirms.push_back((receipt, Instant::now() + CONFIRM_TIMEOUT));
        Ok(())
    }

    /// A marker has come back.
    async fn confirmed(&mut self) -> Result<(), Ended> {
        match self.confirms.pop_front() {
            Some((receipt, _)) => self.write(&self.session.receipt(&receipt)).await,
            None => Ok(()),
        }
    }

    /// Hears the subjects of a subscription from now on.
    async fn subscribe(&mut self, id: String, subjects: [String; 2]) -> Result<(), Ended> {
        let mut tasks = JoinSet::new();
        for subject in subjects {
            let mut subscription = self.relay.bus.subscribe(subject, CLASS).await?;
            let (id, heard) = (id.clone(), self.heard.clone());
            tasks.spawn(async move {
                while let Some(message) = subscription.next().await {
                    if heard.send((id.clone(), message)).await.is_err() {
                        return;
                    }
                }
            });
        }
        self.hearing.insert(id, tasks);
        Ok(())
    }

    async fn deliver(&mut self, id: &str, message: &Message) -> Result<(), Ended> {
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
        self.delivered += 1;
        let message_id = header("Hf-Id").map_or_else(|| self.delivered.to_string(), str::to_owned);
        let frame = self.session.message(id, &message_id, header("Content-Type"), &message.payload);
        match frame {
            Some(frame) => {
                self.relay.metrics.delivered.inc();
                self.write(&frame).await
            }
            // It has unsubscribed meanwhile.
            None => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let written = tokio::time::timeout(WRITE_TIMEOUT, self.write.write_all(bytes)).await;
        written.map_err(|_| Ended::Stuck)??;
        // TLS keeps what the socket did not take.
        tokio::time::timeout(WRITE_TIMEOUT, self.write.flush()).await.map_err(|_| Ended::Stuck)??;
        self.rest();
        Ok(())
    }

    /// Any byte is a heart-beat.
    fn rest(&mut self) {
        self.beat_at = Instant::now() + self.beat.unwrap_or_default();
    }
}
