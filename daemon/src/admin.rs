//! The admin listener: is it alive, is it ready and if not why, its metrics, and what operators ask. Never the public
//! port.
//!
//! Knows HTTP; what the conditions and metrics mean is its callers' business.

mod api;
mod guard;
mod profile;

pub use self::api::{Answer, Api, Call};
pub use self::guard::Guard;
use self::guard::TOKEN_BYTES_MIN;
use crate::config::{Field, Key, Problems, Reader, Secret, Table};
use crate::logging::chain;
use crate::shutdown::Tasks;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

crate::choices! {
    /// Whether operators may ask and order more than health and metrics.
    pub enum AdminApi {
        /// Where a token is set, and on loopback.
        Auto = "auto",
        /// In any case; the start is refused where that is unsafe.
        On = "on",
        /// Never.
        Off = "off",
    }
}

/// The admin listener. Its default address is given where the section is used: `admin: AdminSettings = "…"`.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether there is an API.
    pub api: AdminApi,
    /// What its users must know.
    pub token: Option<Secret>,
    /// Where the token was read from, if that was a file.
    pub token_file: Option<PathBuf>,
}

const API: &str = "auto";

impl Field for AdminSettings {
    fn describe(key: &Key, doc: &str, default: Option<&str>, table: &mut Table) {
        table.section(key, doc);
        let doc = "Address and port of `/livez`, `/readyz`, `/metrics` and `/admin/`; keep it from the outside world.";
        SocketAddr::describe(&key.child("address"), doc, default, table);
        let doc = "Whether operators may look up connections and give orders under `/admin/`: `auto` is where a token is \
                   set, and on loopback.";
        AdminApi::describe(&key.child("api"), doc, Some(API), table);
        let doc = "Bearer token for `/admin/`, at least 16 bytes. Not for `/livez`, `/readyz` and `/metrics`.";
        <Option<Secret> as Field>::describe(&key.child("token"), doc, None, table);
    }

    fn read(key: &Key, default: Option<&str>, reader: &mut Reader<'_>) -> Option<Self> {
        let address = SocketAddr::read(&key.child("address"), default, reader);
        let api = AdminApi::read(&key.child("api"), Some(API), reader);
        let token = <Option<Secret> as Field>::read(&key.child("token"), None, reader);
        let token_file = Secret::file(&key.child("token"), reader);
        Some(Self { address: address?, api: api?, token: token?, token_file })
    }
}

impl AdminSettings {
    /// Notes what does not fit together.
    pub fn check(&self, problems: &mut Problems) {
        if self.token.as_ref().is_some_and(|token| token.expose().len() < TOKEN_BYTES_MIN) {
            problems.add("admin.token", format!("must be at least {TOKEN_BYTES_MIN} bytes"));
        }
        if self.api == AdminApi::On && self.token.is_none() && !self.address.ip().is_loopback() {
            problems.add("admin.token", "is required where admin.api is on and admin.address is not on loopback");
        }
    }
}

/// What a process needs to be ready, each condition with a name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<&'static str, State>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Met,
    /// Met, with something to say.
    Noted(String),
    Unmet(String),
}

impl Readiness {
    /// Nothing needed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, at first unmet for `reason`.
    pub fn condition(&self, name: &'static str, reason: &str) -> Condition {
        let condition = Condition { readiness: self.clone(), name };
        condition.unmet(reason);
        condition
    }

    /// Why the process is not ready, as `name: reason`; empty where it is.
    pub fn reasons(&self) -> Vec<String> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let unmet = conditions.iter().filter_map(|(name, state)| match state {
            State::Unmet(reason) => Some(format!("{name}: {reason}")),
            State::Met | State::Noted(_) => None,
        });
        unmet.collect()
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let reasons = self.reasons();
        let ready = reasons.is_empty();
        let mut text = if ready { "ready\n".to_owned() } else { "not ready\n".to_owned() };
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = conditions.iter().filter_map(|(name, state)| match state {
            State::Noted(note) => Some(format!("note: {name}: {note}")),
            State::Met | State::Unmet(_) => None,
        });
        for line in reasons.into_iter().chain(notes) {
            text.push_str(&line);
            text.push('\n');
        }
        plain(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
    }
}

/// One thing that must be so for the process to be ready.
#[derive(Debug, Clone)]
pub struct Condition {
    readiness: Readiness,
    name: &'static str,
}

impl Condition {
    /// It is so.
    pub fn met(&self) {
        self.set(State::Met);
    }

    /// It is so, but `/readyz` shall say something about it.
    pub fn noted(&self, note: impl Into<String>) {
        self.set(State::Noted(note.into()));
    }

    /// It is not so.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(State::Unmet(reason.into()));
    }

    fn set(&self, state: State) {
        let mut conditions = self.readiness.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = conditions.insert(self.name, state.clone());
        match (&before, &state) {
            (Some(before), now) if before == now => {}
            (_, State::Unmet(reason)) => tracing::info!(condition = self.name, %reason, "Not ready"),
            (Some(State::Unmet(_)), _) => tracing::info!(condition = self.name, "Condition of readiness met"),
            _ => {}
        }
    }
}

/// A text answer.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for admin requests")]
pub struct AdminError {
    address: SocketAddr,
    source: io::Error,
}

/// The listener, bound and not yet serving.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    routes: Routes,
}

struct Routes {
    registry: Registry,
    readiness: Readiness,
    api: Option<(Guard, Api)>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Nobody needs more at once; beyond it, connections wait in the backlog.
const CONNECTIONS_MAX: usize = 64;

/// For the head of a request, and for all of a connection's life: admin clients ask and go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Between attempts to accept, where the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Admin {
    /// Binds the listener, so that the address is known.
    ///
    /// # Errors
    /// Where the address is taken or not ours.
    pub async fn bind(settings: &AdminSettings, registry: Registry, readiness: Readiness) -> Result<Self, AdminError> {
        let failed = |source| AdminError { address: settings.address, source };
        let listener = TcpListener::bind(settings.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let routes = Routes { registry, readiness, api: None };
        Ok(Self { listener, address, routes })
    }

    /// The address really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers operators, too.
    #[must_use]
    pub fn api(mut self, guard: Guard, api: Api) -> Self {
        self.routes.api = Some((guard, api));
        self
    }

    /// Serves until the tasks are told to stop.
    pub fn serve(self, tasks: &Tasks) {
        let routes = Arc::new(self.routes);
        let listener = self.listener;
        let connections = tasks.clone();
        tasks.spawn("admin", async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let routes = Arc::clone(&routes);
                        connections.spawn("admin connection", async move {
                            serve_connection(stream, routes).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "Cannot accept an admin connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection(stream: TcpStream, routes: Arc<Routes>) {
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(error = %chain(&error), "Admin connection failed"),
    }
}

impl Routes {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some((guard, api)) = self.api.as_ref().filter(|_| request.uri().path().starts_with(api::PREFIX)) {
            return match guard.refusal(request.headers()) {
                Some(refusal) => refusal,
                None => api.serve(request).await,
            };
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return api::only("GET, HEAD");
        }
        match request.uri().path() {
            "/livez" => plain(StatusCode::OK, "alive\n"),
            "/readyz" => self.readiness.answer(),
            "/metrics" => self.metrics(),
            _ => plain(StatusCode::NOT_FOUND, "nothing here; try /livez, /readyz or /metrics\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut text = Vec::new();
        let encoder = TextEncoder::new();
        match encoder.encode(&self.registry.gather(), &mut text) {
            Ok(()) => {
                let mut response = plain(StatusCode::OK, text);
                let form = HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(CONTENT_TYPE, form);
                response
            }
            Err(error) => {
                tracing::error!(%error, "Cannot encode the metrics");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n")
            }
        }
    }
}

#[cfg(test)]
mod tests;
