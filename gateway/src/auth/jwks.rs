//! Keeps the keys of a JSON Web Key Set fresh: a task on the hub thread that reads a file or a URL in good time, and
//! earlier when a token names an unknown key. While the source is down, the keys it gave last stay good.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::Verifier;
use super::keys::{self, KeyError};
use crate::clock::Clock;

/// Where keys come from.
#[derive(Debug, Clone)]
pub struct JwksSettings {
    /// A URL (`https://`, or `http://` for a side car), or the path of a file.
    pub source: String,
    /// How often to look for new keys.
    pub refresh: Duration,
}

/// Counts for metrics.
#[derive(Debug, Default)]
pub struct JwksStatus {
    /// Reads that gave keys.
    pub successes: AtomicU64,
    /// Reads that gave none.
    pub failures: AtomicU64,
    /// Unix seconds of the last success, 0 before the first.
    pub last_success_unix_s: AtomicU64,
}

/// Asks for keys now. Cheap to clone; works on any thread.
#[derive(Debug, Clone)]
pub struct KeyRefresher {
    asks: mpsc::Sender<oneshot::Sender<()>>,
}

/// The task that reads the source.
#[derive(Debug)]
pub struct Jwks {
    location: Location,
    refresh: Duration,
    refetch_interval_min: Duration,
    verifier: Arc<Verifier>,
    status: Arc<JwksStatus>,
    /// From handshakes that met an unknown key; 256 may wait, more are answered "nothing new". All get their answer
    /// from the same read.
    asks: mpsc::Receiver<oneshot::Sender<()>>,
    waiting: Vec<oneshot::Sender<()>>,
    clock: Clock,
}

#[derive(Debug)]
enum Location {
    File(PathBuf),
    Http { uri: Uri, tls: Option<TlsConfig> },
}

#[derive(Clone)]
struct TlsConfig(Arc<ClientConfig>);

impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConfig")
    }
}

/// Why a read gave no keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("cannot connect to the key server")]
    Connect(#[source] std::io::Error),
    #[error("the exchange with the key server failed")]
    Http(#[from] hyper::Error),
    #[error("the key server's answer is larger than {BODY_BYTES_MAX} bytes, or broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the key server answered with status {0}")]
    Status(StatusCode),
    #[error("no answer from the key server in {} s", FETCH_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// A read that takes longer has failed.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole key set is a few KiB.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Tokens with made-up key names must not make us a burden for the key server.
const REFETCH_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Without any keys, nobody gets in: worth a try each second.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const ASKS_MAX: usize = 256;

impl KeyRefresher {
    /// Has the source read soon; nobody waits. `false` if too many do already.
    pub fn hurry(&self) -> bool {
        let (answer, _answered) = oneshot::channel();
        self.asks.try_send(answer).is_ok()
    }

    /// Waits until the source was read again, or was read a moment ago. `false` if too many wait, or it takes longer than
    /// 6 s: then there is nothing new. Cancel safe.
    pub async fn refresh(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(answer).is_ok()
            && timeout(FETCH_TIMEOUT + RETRY_INTERVAL, answered).await.is_ok_and(|answer| answer.is_ok())
    }
}

impl Jwks {
    /// A task for this source, and the handle that hurries it. A file is read at once.
    ///
    /// # Errors
    /// A file that cannot be read or holds no usable keys, or a URL that is none.
    pub fn new(settings: &JwksSettings, verifier: Arc<Verifier>) -> Result<(Self, KeyRefresher), KeyError> {
        let location = if settings.source.contains("://") {
            let uri: Uri = settings.source.parse().map_err(|_| KeyError::Url)?;
            let tls = match uri.scheme_str() {
                Some("http") => None,
                Some("https") => Some(tls_config()?),
                _ => return Err(KeyError::Url),
            };
            Location::Http { uri, tls }
        } else {
            let path = PathBuf::from(&settings.source);
            verifier.replace_set(keys::read(&path)?.as_bytes())?;
            Location::File(path)
        };
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        let refresh = settings.refresh.max(RETRY_INTERVAL);
        let status = Arc::default();
        let jwks = Self {
            location,
            refresh,
            refetch_interval_min: REFETCH_INTERVAL_MIN,
            verifier,
            status,
            asks,
            waiting: Vec::new(),
            clock: Clock::start(),
        };
        Ok((jwks, KeyRefresher { asks: sender }))
    }

    /// The file it reads; `None` for a URL.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.location {
            Location::File(path) => Some(path.clone()),
            Location::Http { .. } => None,
        }
    }

    /// Counts for metrics.
    pub fn status(&self) -> Arc<JwksStatus> {
        self.status.clone()
    }

    /// Keeps the verifier's keys fresh for ever. Drop it to stop.
    pub async fn run(mut self) {
        loop {
            let read_at = Instant::now();
            self.turn().await;
            self.wait(read_at).await;
        }
    }

    /// Reads once, and answers those who waited for it.
    async fn turn(&mut self) {
        let found = self.read().await;
        self.record(found);
        for answer in self.waiting.drain(..) {
            // Whoever asked may be gone.
            answer.send(()).unwrap_or_default();
        }
    }

    /// Until it is time to read again: by the clock, or because somebody asked and the last time was long enough ago.
    async fn wait(&mut self, read_at: Instant) {
        let (next, earliest) = if self.verifier.has_fetched() {
            (read_at + self.refresh, read_at + self.refetch_interval_min)
        } else {
            (read_at + RETRY_INTERVAL, read_at + RETRY_INTERVAL)
        };
        loop {
            tokio::select! {
                () = sleep_until(next) => return,
                Some(answer) = self.asks.recv() => {
                    if Instant::now() >= earliest {
                        self.waiting.push(answer);
                        while let Ok(answer) = self.asks.try_recv() {
                            self.waiting.push(answer);
                        }
                        return;
                    }
                    // Too soon after the last read, which may be news to whoever asks.
                    answer.send(()).unwrap_or_default();
                }
            }
        }
    }

    async fn read(&self) -> Result<usize, FetchError> {
        let json = match &self.location {
            // A small local file: reading it blocks for microseconds.
            Location::File(path) => Bytes::from(keys::read(path)?),
            Location::Http { uri, tls } => {
                timeout(FETCH_TIMEOUT, fetch(uri, tls.as_ref())).await.map_err(|_| FetchError::Timeout)??
            }
        };
        Ok(self.verifier.replace_set(&json)?)
    }

    fn record(&self, found: Result<usize, FetchError>) {
        match found {
            Ok(keys) => {
                tracing::debug!(keys, "Read the key set");
                self.status.successes.fetch_add(1, Ordering::Relaxed);
                self.status.last_success_unix_s.store(self.clock.now().unix_ms / 1000, Ordering::Relaxed);
            }
            Err(error) => {
                let error = holdfast_daemon::logging::chain(&error);
                tracing::warn!(%error, stale_keys = self.verifier.has_fetched(), "Cannot read the key set");
                self.status.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Reads a file of keys now.
///
/// # Errors
/// It cannot be read or holds no usable keys; the verifier keeps those it has.
pub fn read_file(path: &Path, verifier: &Verifier) -> Result<(), KeyError> {
    verifier.replace_set(keys::read(path)?.as_bytes()).map(drop)
}

fn tls_config() -> Result<TlsConfig, KeyError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The default versions are those of the provider: this cannot fail with ours.
    let builder = builder.map_err(|_| KeyError::Url)?;
    Ok(TlsConfig(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}

async fn fetch(uri: &Uri, tls: Option<&TlsConfig>) -> Result<Bytes, FetchError> {
    let host = uri.host().ok_or(KeyError::Url)?;
    let bare_host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let socket = TcpStream::connect((bare_host, port)).await.map_err(FetchError::Connect)?;
    match tls {
        None => exchange(socket, uri).await,
        Some(config) => {
            let name = ServerName::try_from(bare_host.to_owned()).map_err(|_| KeyError::Url)?;
            let stream = TlsConnector::from(config.0.clone()).connect(name, socket).await;
            exchange(stream.map_err(FetchError::Connect)?, uri).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
) -> Result<Bytes, FetchError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| KeyError::Url)?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        // Redirects are not followed: whoever names the source names the right one.
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(FetchError::Body)?;
        Ok(body.to_bytes())
    };
    tokio::pin!(answer);
    // The connection is driven here, not by a task of its own. When it ends first, the answer's last bytes may still
    // wait to be collected.
    tokio::select! {
        result = &mut answer => return result,
        _ended = connection => {}
    }
    answer.await
}

#[cfg(test)]
mod tests;
