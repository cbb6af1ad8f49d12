//! Key sets: read, kept while their source is away, asked again for a key nobody knows.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::auth::kit::{Signer, set};
use crate::auth::{JwtSettings, Refusal};

const NOW: u64 = 1_000_000;

/// A key server that answers each request with what the test put there.
struct KeyServer {
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<AtomicUsize>,
    url: String,
    /// Ends with the test.
    _tasks: JoinSet<()>,
}

impl KeyServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys?x=1", listener.local_addr().unwrap());
        let (answer, requests) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let server = (answer.clone(), requests.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).await.unwrap();
                    request.extend(byte);
                }
                let request = String::from_utf8(request).unwrap();
                assert!(request.starts_with("GET /keys?x=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{request}");
                server.1.fetch_add(1, Ordering::SeqCst);
                let answer = server.0.lock().unwrap().clone();
                socket.write_all(&answer).await.unwrap();
            }
        });
        Self { answer, requests, url, _tasks: tasks }
    }

    fn answer(&self, status: &str, body: &[u8]) {
        let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn verifier() -> Arc<Verifier> {
    Arc::new(Verifier::new(&JwtSettings { jwks: true, ..JwtSettings::default() }).unwrap())
}

fn settings(source: &str) -> JwksSettings {
    JwksSettings { source: source.to_owned(), refresh: Duration::from_secs(600) }
}

#[tokio::test]
async fn keys_come_from_a_url_and_stay_while_it_is_down() {
    let server = KeyServer::start().await;
    let signer = Signer::new(Algorithm::ES256);
    let verifier = verifier();
    let (jwks, _refresher) = Jwks::new(&settings(&server.url), verifier.clone()).unwrap();
    let token = signer.token_by(Some("k1"), &json!({"sub": "ana"}));

    for (status, body) in [("404 Not Found", &b"{}"[..]), ("302 Found", b""), ("200 OK", b"{\"keys\":[]}")] {
        server.answer(status, body);
        assert!(jwks.read().await.is_err(), "{status}");
        assert_eq!(verifier.verify(&token, NOW), Err(Refusal::Unavailable));
    }
    server.answer("200 OK", &set(&[signer.jwk(Some("k1"))]));
    assert_eq!(jwks.read().await.unwrap(), 1);
    assert!(verifier.verify(&token, NOW).is_ok());
    server.answer("500 Internal Server Error", b"");
    assert!(jwks.read().await.is_err());
    assert!(verifier.verify(&token, NOW).is_ok(), "the last good keys stay");
    server.answer("200 OK", &vec![b' '; BODY_BYTES_MAX + 1]);
    assert!(matches!(jwks.read().await, Err(FetchError::Body(_))));
}

#[tokio::test]
async fn an_unknown_key_hurries_the_next_read() {
    let server = KeyServer::start().await;
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::EdDSA));
    let verifier = verifier();
    let (mut jwks, refresher) = Jwks::new(&settings(&server.url), verifier.clone()).unwrap();
    jwks.refetch_interval_min = Duration::ZERO;
    let status = jwks.status();
    server.answer("200 OK", &set(&[old.jwk(Some("old"))]));
    jwks.read().await.unwrap();
    let token = new.token_by(Some("new"), &json!({"sub": "ana"}));
    assert_eq!(verifier.verify(&token, NOW), Err(Refusal::UnknownKey));
    server.answer("200 OK", &set(&[old.jwk(Some("old")), new.jwk(Some("new"))]));

    // Both ask before the task looks: one read serves them.
    let (one, two, ()) = tokio::join!(refresher.refresh(), refresher.refresh(), async {
        jwks.wait(Instant::now()).await;
        jwks.turn().await;
    });

    assert!(one && two);
    assert!(verifier.verify(&token, NOW).is_ok());
    assert_eq!((server.requests(), status.successes.load(Ordering::Relaxed)), (2, 1));
}

#[tokio::test]
async fn made_up_keys_do_not_bother_the_key_server() {
    let server = KeyServer::start().await;
    let signer = Signer::new(Algorithm::ES256);
    let verifier = verifier();
    let (jwks, refresher) = Jwks::new(&settings(&server.url), verifier.clone()).unwrap();
    server.answer("200 OK", &set(&[signer.jwk(Some("k1"))]));
    let mut tasks = JoinSet::new();
    tasks.spawn(jwks.run());

    for _ in 0..100 {
        assert!(refresher.refresh().await);
        assert_eq!(verifier.verify(&signer.token_by(Some("x"), &json!({"sub": "a"})), NOW), Err(Refusal::UnknownKey));
    }

    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn keys_come_over_tls_from_a_server_that_is_who_it_says() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: Uri = format!("https://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let trusting = TlsConfig(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));

    let (fetched, ()) = tokio::join!(fetch(&uri, Some(&trusting)), async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(socket).await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkeys").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let native = tls_config().unwrap();
    let (stranger, _refused) = tokio::join!(fetch(&uri, Some(&native)), async {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await
    });

    assert_eq!(fetched.unwrap(), "keys");
    assert!(matches!(stranger, Err(FetchError::Connect(_))));
}

#[tokio::test]
async fn a_file_is_read_at_the_start_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (old, new) = (Signer::new(Algorithm::EdDSA), Signer::new(Algorithm::EdDSA));
    std::fs::write(&path, set(&[old.jwk(Some("old"))])).unwrap();
    let verifier = verifier();
    let (jwks, _refresher) = Jwks::new(&settings(path.to_str().unwrap()), verifier.clone()).unwrap();
    assert!(verifier.verify(&old.token_by(Some("old"), &json!({"sub": "ana"})), NOW).is_ok());

    std::fs::write(&path, set(&[new.jwk(Some("new"))])).unwrap();
    jwks.read().await.unwrap();

    assert!(verifier.verify(&new.token_by(Some("new"), &json!({"sub": "ana"})), NOW).is_ok());
    std::fs::write(&path, b"half a fi").unwrap();
    assert!(jwks.read().await.is_err());
    assert!(verifier.verify(&new.token_by(Some("new"), &json!({"sub": "ana"})), NOW).is_ok());
}

#[test]
fn a_source_that_cannot_be_is_refused_at_the_start() {
    for (source, error) in [
        ("ftp://id.example/keys", "not an http:// or https:// URL"),
        ("http://", "not an http:// or https:// URL"),
        ("/nonexistent/keys.json", "cannot read /nonexistent/keys.json"),
    ] {
        assert_eq!(Jwks::new(&settings(source), verifier()).unwrap_err().to_string(), error);
    }
    assert!(Jwks::new(&settings("https://id.example/keys"), verifier()).is_ok());
}
