//! Asking the node that has a session, and finding out which that is. From any thread of the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::wire::{Exchange, ExchangeAsk, Exchanged, Whereabouts};
use rustc_hash::FxHashMap;

use super::exchanges::Exchanges;
use super::receiver::REFRESH_MS;
use crate::auth::Backend;
use crate::session::Failure;

/// Sessions of other nodes whose place is remembered; forgotten all at once when there are more.
const KNOWN_MAX: usize = 65_536;
/// How long an answer may take beyond what the session itself takes for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The node is gone, or silent.
    Node,
    /// We are cut off ourselves.
    Bus,
    /// More than the bus carries.
    TooBig,
}

/// What asks nodes and routers.
pub struct Desk {
    bus: Arc<dyn Backend>,
    subjects: Subjects,
    node: NodeId,
    counted: Exchanges,
    /// Where sessions of other nodes were last. Held for a look-up, never across a wait.
    known: Mutex<FxHashMap<Arc<str>, NodeId>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk of this node.
    pub fn new(bus: Arc<dyn Backend>, subjects: Subjects, node: NodeId, counted: Exchanges) -> Self {
        Self { bus, subjects, node, counted, known: Mutex::default() }
    }

    /// This node.
    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    /// Asks a node, this one included. Cancel safe, but the question may have been heard.
    pub(super) async fn ask(&self, node: NodeId, exchange: Exchange) -> Result<Exchanged, Lost> {
        let timeout = match exchange.ask {
            ExchangeAsk::Receive { .. } => ANSWER_TIMEOUT + Duration::from_millis(REFRESH_MS),
            ExchangeAsk::Leave { .. } | ExchangeAsk::Send { .. } => ANSWER_TIMEOUT,
        };
        let question = exchange.encode();
        let answer = self.bus.request(self.subjects.exchange(node), question, timeout).await.map_err(lost);
        let answer = answer.and_then(|answer| Exchanged::decode(answer).map_err(|_| Lost::Node));
        if node != self.node {
            self.counted.passed_on(&exchange.ask, &answer);
        }
        answer
    }

    /// Which other node has a session, as far as this one remembers, or routers know.
    pub(super) async fn locate(&self, session: &Arc<str>) -> Result<Option<NodeId>, Lost> {
        if let Some(node) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(session) {
            self.counted.looked_up("remembered");
            return Ok(Some(*node));
        }
        let question = Bytes::copy_from_slice(session.as_bytes());
        let answer = self.bus.request(self.subjects.find(), question, ANSWER_TIMEOUT).await;
        let places = answer.ok().and_then(|answer| Whereabouts::decode(answer).ok());
        let Some(places) = places else {
            self.counted.looked_up("unavailable");
            return Err(Lost::Bus);
        };
        let place = places.nodes.into_iter().find(|node| *node != self.node);
        self.counted.looked_up(if place.is_some() { "found" } else { "nowhere" });
        if let Some(node) = place {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(Arc::clone(session), node);
        }
        Ok(place)
    }

    /// A session is not where it was.
    pub(super) fn forget(&self, session: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }
}

fn lost(failure: Failure) -> Lost {
    match failure {
        Failure::NoResponders | Failure::Timeout | Failure::Service { .. } => Lost::Node,
        Failure::TooBig => Lost::TooBig,
        Failure::BusUnavailable | Failure::Unavailable | Failure::Forbidden { .. } | Failure::OtherEpoch => Lost::Bus,
    }
}
