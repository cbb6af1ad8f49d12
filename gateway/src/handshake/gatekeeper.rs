//! The checks of a handshake in their order; see the module's head.

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_protocol::dialect::Dialect;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use rustc_hash::FxHashMap;

use super::Admission;
use super::credential::{self, find};
use super::endpoint::{Endpoint, Rules, Source};
use super::origin::Origins;
use super::path::{PathRules, Resolved};
use super::query::Query;
use super::refusal::HttpRefusal;
use super::subprotocol::Offer;
use crate::auth::{Authenticator, Identity, Refusal};
use crate::fallback::{NativePage, NativePaths};
use crate::socket::Framing;
use crate::sockjs::{self, Found, Sites};

/// What holds for all handshakes of a process.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// Paths and their endpoints.
    pub paths: PathRules,
    /// Which pages may connect.
    pub origins: Origins,
    /// Also pages of this machine: the development profile.
    pub loopback_origins: bool,
    /// Base paths at which SockJS is spoken, as configured.
    pub sockjs: Vec<String>,
    /// Paths of endpoints with native fallbacks over HTTP, as configured.
    pub fallbacks: Vec<String>,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Lookup {
    /// An endpoint, for [`Gatekeeper::admit`], and how messages travel there.
    Endpoint(Arc<Endpoint>, Framing),
    /// An URL of SockJS that is no WebSocket.
    SockJs(sockjs::Page),
    /// A request of a SockJS session at this endpoint, by its name among the nodes.
    SockJsSession(Arc<Endpoint>, Arc<str>, sockjs::Transport),
    /// A request for the native fallbacks of this endpoint.
    Native(Arc<Endpoint>, NativePage),
    /// The echo route: no origin, credential or sub-protocol is looked at.
    Echo,
    /// No upgrade here.
    Refuse(HttpRefusal),
}

/// Endpoints named by their path that are kept for the next one that names them. Beyond that many, each connection
/// holds its own: names are the clients' to choose.
const ENDPOINTS_KEPT_MAX: usize = 1024;

/// Decides about handshakes. One per process, shared by all threads.
#[derive(Debug)]
pub struct Gatekeeper {
    settings: GateSettings,
    authenticator: Authenticator,
    /// By name, separately for `/ws/**` and other paths. Held for one look-up, never across a wait.
    endpoints: Mutex<FxHashMap<(String, bool), Arc<Endpoint>>>,
    sockjs: Sites,
    native: NativePaths,
}

impl Gatekeeper {
    /// A gatekeeper with these settings.
    pub fn new(settings: GateSettings, authenticator: Authenticator) -> Self {
        let sockjs = Sites::new(settings.sockjs.clone());
        let native = NativePaths::new(settings.fallbacks.clone());
        Self { settings, authenticator, endpoints: Mutex::default(), sockjs, native }
    }

    /// What decides about credentials.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// What a request leads to.
    pub fn lookup(&self, head: &Parts) -> Lookup {
        let (path, upgrade) = (head.uri.path(), head.headers.contains_key(header::UPGRADE));
        if !upgrade && let Some((base, page)) = self.native.find(path) {
            return self.page(base, |endpoint| Lookup::Native(endpoint, page));
        }
        match self.sockjs.find(path, upgrade) {
            None => self.endpoint(path, Framing::Plain),
            Some(Found::WebSocket { base, framing }) => self.endpoint(base, framing),
            Some(Found::Page(page)) => Lookup::SockJs(page),
            Some(Found::Session { base, session, transport }) => {
                let name = sockjs::session_name(base, session);
                self.page(base, |endpoint| Lookup::SockJsSession(endpoint, name, transport))
            }
        }
    }

    /// A page of the endpoint that a path leads to, for the pages it is meant for.
    fn page(&self, base: &str, page: impl FnOnce(Arc<Endpoint>) -> Lookup) -> Lookup {
        match self.endpoint(base, Framing::Plain) {
            Lookup::Endpoint(endpoint, _) => page(endpoint),
            other => other,
        }
    }

    /// The credential that a request carries, as it came: a token, or a user who merely says so.
    pub fn credential(&self, endpoint: &Endpoint, head: &Parts) -> Option<String> {
        let query = Query::read(head.uri.query().unwrap_or(""), endpoint.unsigned_users, endpoint.limits.rooms_max)?;
        match find(&endpoint.sources, &head.headers, query.token.as_deref(), None) {
            credential::Found::Token(token) => Some(token.to_owned()),
            credential::Found::Unreadable => None,
            credential::Found::Nothing => query.user.clone(),
        }
    }

    /// What a path leads to; the path as it came, without the query.
    fn endpoint(&self, path: &str, framing: Framing) -> Lookup {
        // The base path of SockJS at the root.
        match self.settings.paths.resolve(if path.is_empty() { "/" } else { path }) {
            Ok(Resolved::Endpoint(endpoint)) => Lookup::Endpoint(endpoint, framing),
            Ok(Resolved::Named(name, rules)) => Lookup::Endpoint(self.named(name, rules), framing),
            Ok(Resolved::Echo) => Lookup::Echo,
            Err(refusal) => Lookup::Refuse(refusal),
        }
    }

    fn named(&self, name: String, rules: Arc<Rules>) -> Arc<Endpoint> {
        let key = (name, Arc::ptr_eq(&rules, &self.settings.paths.ws));
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(&key) {
            return endpoint.clone();
        }
        if endpoints.len() == ENDPOINTS_KEPT_MAX {
            // Nobody is connected there now.
            endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        let endpoint = Arc::new(Endpoint { name: key.0.as_str().into(), rules });
        if endpoints.len() < ENDPOINTS_KEPT_MAX {
            endpoints.insert(key, endpoint.clone());
        }
        endpoint
    }

    /// Whether this request, which is a proper upgrade, is let in, and as whom, at this Unix second. May wait for a key
    /// server, a callout, and 2 s for a router. Cancel safe.
    ///
    /// # Errors
    /// What to answer in place of the upgrade.
    pub async fn admit(
        &self,
        endpoint: &Arc<Endpoint>,
        head: &Parts,
        now_unix_s: u64,
    ) -> Result<Admission, HttpRefusal> {
        self.check_origin(head)?;
        let offers = texts(&head.headers, &header::SEC_WEBSOCKET_PROTOCOL).ok_or(HttpRefusal::SUBPROTOCOL)?;
        let offer = Offer::read(offers.into_iter(), &endpoint.dialects).ok_or(HttpRefusal::SUBPROTOCOL)?;
        let dialect = match (offer.any, offer.dialect) {
            (true, asked) => asked.ok_or(HttpRefusal::SUBPROTOCOL)?,
            (false, _) => endpoint.dialects.first().copied().unwrap_or(Dialect::Json),
        };
        let query = Query::read(head.uri.query().unwrap_or(""), endpoint.unsigned_users, endpoint.limits.rooms_max)
            .ok_or(HttpRefusal::QUERY)?;
        let device: Option<Arc<str>> = query.device.as_deref().map(Arc::from);
        let found = find(&endpoint.sources, &head.headers, query.token.as_deref(), offer.token);
        let pending = endpoint.sources.contains(&Source::FirstMessage);
        let mut unsigned = false;
        let mut identity = match (found, &query.user) {
            (credential::Found::Unreadable, _) => return Err(HttpRefusal::CREDENTIAL),
            (credential::Found::Token(token), _) => {
                Some(self.authenticate(endpoint, Some(token), head, now_unix_s).await?)
            }
            (credential::Found::Nothing, Some(user)) => {
                unsigned = true;
                Some(Identity::unsigned(user, None))
            }
            (credential::Found::Nothing, None) if pending || endpoint.unsigned_users => None,
            // A service may know the client by more than a token: its session cookie, say.
            (credential::Found::Nothing, None) if endpoint.connect_callout => {
                Some(self.authenticate(endpoint, None, head, now_unix_s).await?)
            }
            (credential::Found::Nothing, None) => return Err(HttpRefusal::CREDENTIAL),
        };
        if let Some(identity) = &mut identity {
            identity.device = identity.device.take().or_else(|| device.clone());
        }
        // The first message of a client that offered nothing may show that it does not speak `stomp`.
        let another = || endpoint.dialects.iter().copied().find(|other| *other != Dialect::Stomp);
        let spoken = if offer.any { dialect } else { another().unwrap_or(dialect) };
        let (rooms, since) = match spoken {
            Dialect::Bare => (query.rooms, None),
            Dialect::Json => (Vec::new(), query.since),
            Dialect::Stomp => (Vec::new(), None),
        };
        let allowed = identity.as_ref().is_none_or(|who| rooms.iter().all(|room| who.rooms.allow(room)));
        if !allowed && !endpoint.join_callout {
            return Err(HttpRefusal::FORBIDDEN);
        }
        if !self.authenticator.served().await {
            return Err(HttpRefusal::UNAVAILABLE);
        }
        Ok(Admission {
            endpoint: endpoint.clone(),
            dialect,
            subprotocol: offer.name,
            identity,
            unsigned,
            device,
            since,
            rooms,
        })
    }

    /// Whether the page that asks is one of ours.
    ///
    /// # Errors
    /// It is not.
    pub fn check_origin(&self, head: &Parts) -> Result<(), HttpRefusal> {
        let origins = texts(&head.headers, &header::ORIGIN).ok_or(HttpRefusal::ORIGIN)?;
        // In a request in absolute form the target counts, not the header (RFC 9112 §3.2.2).
        let target = head.uri.authority().map(|authority| authority.as_str());
        let host = target.or_else(|| head.headers.get(header::HOST).and_then(|host| host.to_str().ok()));
        let allow = |origin: &&str| self.settings.origins.allow(origin, host, self.settings.loopback_origins);
        if origins.iter().all(allow) { Ok(()) } else { Err(HttpRefusal::ORIGIN) }
    }

    async fn authenticate(
        &self,
        endpoint: &Endpoint,
        token: Option<&str>,
        head: &Parts,
        now_unix_s: u64,
    ) -> Result<Identity, HttpRefusal> {
        self.authenticator.authenticate(endpoint, token, Some(head), now_unix_s).await.map_err(
            |refusal| match refusal {
                Refusal::Invalid | Refusal::Expired | Refusal::UnknownKey => HttpRefusal::CREDENTIAL,
                Refusal::Forbidden => HttpRefusal::FORBIDDEN,
                Refusal::Unavailable => HttpRefusal::UNAVAILABLE,
            },
        )
    }
}

/// All values of a header as text. `None` if one of them is none.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Vec<&'a str>> {
    headers.get_all(name).into_iter().map(|value| value.to_str().ok()).collect()
}

#[cfg(test)]
mod tests;
