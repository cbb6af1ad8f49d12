//! The core's way out in a real process: the bus, the shards' backlogs, callers, verifications.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use holdfast_daemon::bus::{Bus, Outgoing, PublishError};
use holdfast_daemon::config::Secret;
use tokio::sync::{mpsc, oneshot};

use super::edge::{Edge, Publication, Received, Unsent};
use crate::auth::{Authenticator, Identity, Refusal};
use crate::clock::Clock;
use crate::handshake::Endpoint;
use crate::link::{ConnRef, ToShard};
use crate::metrics::HubCells;
use crate::session::{Outcome, Ticket};

/// Messages in a shard's backlog beyond which the hub stops reading packets, until the shard has caught up.
pub(crate) const BACKLOG_MAX: usize = 50_000;
/// Verifications with callout or key fetch at once; more are refused as unavailable.
const VERIFICATIONS_MAX: usize = 4096;

pub(super) type Verifying = Pin<Box<dyn Future<Output = (ConnRef, Ticket, Result<Identity, Refusal>)>>>;

/// The core's way out: the bus, the shards' backlogs, verifications.
pub(super) struct Outside {
    pub(super) bus: Bus,
    pub(super) cells: Arc<HubCells>,
    pub(super) to_shards: Vec<mpsc::Sender<Vec<ToShard>>>,
    /// Per shard: read by nobody but [`Outside::hand_over`], bounded by not reading the bus over [`BACKLOG_MAX`].
    pub(super) backlogs: Vec<Vec<ToShard>>,
    pub(super) callers: HashMap<u64, oneshot::Sender<Outcome<Bytes>>>,
    pub(super) next_caller: u64,
    pub(super) authenticator: Authenticator,
    pub(super) clock: Clock,
    pub(super) verifying: FuturesUnordered<Verifying>,
}

impl Edge for Outside {
    fn publish(&mut self, message: Publication) -> Result<(), Unsent> {
        let headers = (!message.headers.is_empty()).then(|| {
            let mut headers = HeaderMap::new();
            for (name, value) in message.headers {
                headers.insert(name, value);
            }
            headers
        });
        let outgoing = Outgoing { subject: message.subject, reply: message.reply, headers, payload: message.payload };
        self.bus.try_publish(outgoing).map_err(|error| match error {
            PublishError::TooBig => Unsent::TooBig,
            PublishError::Disconnected | PublishError::Full | PublishError::Subject => Unsent::Away,
        })
    }

    fn to_shard(&mut self, shard: u16, message: ToShard) {
        if let Some(backlog) = self.backlogs.get_mut(usize::from(shard)) {
            backlog.push(message);
        }
    }

    fn answer(&mut self, caller: u64, result: Outcome<Bytes>) {
        if let Some(answer) = self.callers.remove(&caller) {
            // Nobody waits any more where the handshake was given up.
            drop(answer.send(result));
        }
    }

    fn verify(&mut self, conn: ConnRef, ticket: Ticket, endpoint: Arc<Endpoint>, token: Secret) {
        if self.verifying.len() >= VERIFICATIONS_MAX {
            let result = Err(Refusal::Unavailable);
            self.to_shard(conn.shard, ToShard::Verified { conn, ticket, result });
            return;
        }
        let (authenticator, clock) = (self.authenticator.clone(), self.clock);
        self.verifying.push(Box::pin(async move {
            let now_unix_s = clock.now().unix_ms / 1000;
            let result = authenticator.authenticate(&endpoint, Some(token.expose()), None, now_unix_s).await;
            (conn, ticket, result)
        }));
    }
}

impl Outside {
    /// Hands each shard its backlog where there is place.
    pub(super) fn hand_over(&mut self) {
        let mut waiting = 0;
        for (backlog, shard) in self.backlogs.iter_mut().zip(&self.to_shards) {
            if backlog.is_empty() {
                continue;
            }
            if let Ok(place) = shard.try_reserve() {
                place.send(std::mem::take(backlog));
            }
            waiting += backlog.len();
        }
        self.cells.shard_backlog.set(waiting as u64);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.backlogs.iter().any(|backlog| !backlog.is_empty())
    }

    pub(super) fn is_behind(&self) -> bool {
        self.backlogs.iter().any(|backlog| backlog.len() > BACKLOG_MAX)
    }
}

/// A message of the client library as the core sees it.
pub(super) fn received(message: Message) -> Received {
    let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string);
    let error = header("Nats-Service-Error-Code")
        .map(|code| (code.parse().unwrap_or(500), header("Nats-Service-Error").unwrap_or_default()));
    Received {
        status: message.status.map(|status| status.as_u16()),
        headers: message
            .headers
            .iter()
            .flat_map(|headers| headers.iter())
            .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.to_string())))
            .collect(),
        no_responders: message.status == Some(StatusCode::NO_RESPONDERS),
        error,
        subject: message.subject.into_string(),
        payload: message.payload,
    }
}
