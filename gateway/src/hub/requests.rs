//! Requests of the process itself (callouts during a handshake, from any thread), and whether the node can serve.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::life::Serving;
use crate::auth::Backend;
use crate::session::{Failure, Outcome};

/// Requests that may wait for the hub at once; more wait their turn in the handshake they belong to.
pub(super) const QUEUE: usize = 1024;

/// A request on its way to the hub.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) subject: String,
    pub(super) payload: Bytes,
    pub(super) timeout: Duration,
    /// Dropped unanswered only when the hub ends.
    pub(super) answer: oneshot::Sender<Outcome<Bytes>>,
}

/// A handle to the hub for handshakes. Cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct BusRequests {
    /// Many senders, the hub receives; when full, senders wait.
    asked: mpsc::Sender<Asked>,
    serving: watch::Receiver<Serving>,
}

impl BusRequests {
    pub(super) const fn new(asked: mpsc::Sender<Asked>, serving: watch::Receiver<Serving>) -> Self {
        Self { asked, serving }
    }

    /// Asks a domain service. Cancel safe: an answer nobody waits for is thrown away.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> Outcome<Bytes> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { subject, payload, timeout, answer };
        self.asked.send(asked).await.map_err(|_| Failure::BusUnavailable)?;
        answered.await.unwrap_or(Err(Failure::BusUnavailable))
    }

    /// Whether bus and router are there; waits for a router as long as one may still come.
    pub async fn served(&self) -> bool {
        let mut serving = self.serving.clone();
        let settled = serving.wait_for(|serving| *serving != Serving::Soon).await;
        settled.is_ok_and(|serving| *serving == Serving::Yes)
    }
}

impl Backend for BusRequests {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = Outcome<Bytes>> + Send>> {
        let this = self.clone();
        Box::pin(async move { Self::request(&this, subject, payload, timeout).await })
    }

    fn served(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let this = self.clone();
        Box::pin(async move { Self::served(&this).await })
    }
}
