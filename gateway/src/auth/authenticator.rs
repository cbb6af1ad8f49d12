//! Credentials that need more than the keys at hand: newer keys, or the word of a domain service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_protocol::subject::Subjects;
use hyper::http::request::Parts;

use super::{Identity, KeyRefresher, Refusal, Verifier, callout};
use crate::handshake::Endpoint;
use crate::session::Outcome;

/// What authentication needs of the bus; the hub provides it, for use on any thread.
pub trait Backend: Send + Sync {
    /// Asks a domain service and waits for its answer, at most `timeout`.
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = Outcome<Bytes>> + Send>>;

    /// Whether a connection can be served: at once where the bus and a live router are there, else after waiting at
    /// most 2 s for them.
    fn served(&self) -> Pin<Box<dyn Future<Output = bool> + Send>>;
}

/// Decides about credentials, with all that it may ask. Cheap to clone; works on any thread with a tokio runtime.
#[derive(Clone)]
pub struct Authenticator {
    verifier: Arc<Verifier>,
    refresher: Option<KeyRefresher>,
    backend: Arc<dyn Backend>,
    subjects: Subjects,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// `refresher` comes from [`super::Jwks`], where keys come from a key set.
    pub fn new(
        verifier: Arc<Verifier>,
        refresher: Option<KeyRefresher>,
        backend: Arc<dyn Backend>,
        subjects: Subjects,
    ) -> Self {
        Self { verifier, refresher, backend, subjects }
    }

    /// The part that decides at once.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// See [`Backend::served`].
    pub async fn served(&self) -> bool {
        self.backend.served().await
    }

    /// Who a credential makes on `endpoint`. `head` is the handshake's, where it is one; only a callout is asked without
    /// a token. Takes at most a few seconds. Cancel safe.
    ///
    /// # Errors
    /// Any refusal but [`Refusal::UnknownKey`].
    pub async fn authenticate(
        &self,
        endpoint: &Endpoint,
        token: Option<&str>,
        head: Option<&Parts>,
        now_unix_s: u64,
    ) -> Result<Identity, Refusal> {
        if endpoint.connect_callout {
            let payload = callout::connect_request(&endpoint.name, token, head);
            let answer = self.backend.request(self.subjects.auth_connect(&endpoint.name), payload, callout::TIMEOUT);
            return match answer.await {
                Ok(answer) => callout::connect_answer(&answer, now_unix_s),
                Err(_) => Err(Refusal::Unavailable),
            };
        }
        let token = token.ok_or(Refusal::Invalid)?;
        let first = self.verifier.verify(token, now_unix_s);
        let (Err(Refusal::UnknownKey | Refusal::Unavailable), Some(refresher)) = (&first, &self.refresher) else {
            return first.map_err(settled);
        };
        if !refresher.refresh().await {
            return first.map_err(settled);
        }
        self.verifier.verify(token, now_unix_s).map_err(settled)
    }
}

/// Nothing more can be asked: a key that is still unknown is a wrong one.
const fn settled(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::UnknownKey => Refusal::Invalid,
        other => other,
    }
}
