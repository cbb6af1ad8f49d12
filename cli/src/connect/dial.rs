//! Opens a WebSocket to a gateway: TCP, TLS where the URL asks for it, and the handshake, whose refusals it explains.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fastwebsockets::{Role, WebSocketRead, WebSocketWrite, after_handshake_split, handshake};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, RETRY_AFTER, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::header::{SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ConnectArgs;

pub(super) type Reader = WebSocketRead<ReadHalf<TokioIo<Upgraded>>>;
pub(super) type Writer = WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>;

/// How long connecting and the handshake may take together.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);
/// The most we read of the body of a refusal.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    secure: bool,
    host: String,
    port: u16,
    /// `host[:port]` as written, for `Host`.
    authority: String,
    path_and_query: String,
}

fn place(url: &str) -> anyhow::Result<Place> {
    let uri: Uri = url.parse().context("the URL cannot be read")?;
    let secure = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => anyhow::bail!("the URL must start with ws:// or wss://"),
    };
    let authority = uri.authority().context("the URL has no host")?;
    Ok(Place {
        secure,
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        authority: authority.to_string(),
        path_and_query: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
    })
}

/// Connects and completes the handshake.
pub(super) async fn open(args: &ConnectArgs) -> anyhow::Result<(Reader, Writer)> {
    let place = place(&args.url)?;
    tokio::time::timeout(DIAL_PATIENCE, dial(args, &place))
        .await
        .with_context(|| format!("no answer from {} within {DIAL_PATIENCE:?}", place.authority))?
}

async fn dial(args: &ConnectArgs, place: &Place) -> anyhow::Result<(Reader, Writer)> {
    let tcp = TcpStream::connect((place.host.as_str(), place.port))
        .await
        .with_context(|| format!("cannot connect to {}", place.authority))?;
    tcp.set_nodelay(true)?;
    if place.secure {
        let name = ServerName::try_from(place.host.clone()).context("the host is no name a certificate can have")?;
        let tls = TlsConnector::from(Arc::new(tls(args)?))
            .connect(name, tcp)
            .await
            .context("TLS failed (a development certificate wants --ca FILE or --insecure)")?;
        upgrade(args, place, tls).await
    } else {
        upgrade(args, place, tcp).await
    }
}

fn request(args: &ConnectArgs, place: &Place) -> anyhow::Result<Request<Empty<Bytes>>> {
    let protocol = if args.bare { "holdfast.v1.bare" } else { "holdfast.v1.json" };
    let mut request = Request::builder()
        .uri(&place.path_and_query)
        .header(HOST, &place.authority)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(SEC_WEBSOCKET_PROTOCOL, protocol);
    if let (Some(token), false) = (&args.token, args.first_message) {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Empty::new()).context("the URL or the token has characters a request cannot carry")
}

async fn upgrade<S>(args: &ConnectArgs, place: &Place, stream: S) -> anyhow::Result<(Reader, Writer)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection.with_upgrades());
    let request = request(args, place)?;
    let exchange = async {
        let mut response = sender.send_request(request).await.context("the handshake failed")?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        hyper::upgrade::on(&mut response).await.context("the upgrade failed")
    };
    // The connection has to be driven while the exchange waits; it ends by itself once it is upgraded.
    let mut exchange = std::pin::pin!(exchange);
    let upgraded = tokio::select! {
        upgraded = &mut exchange => upgraded?,
        driven = &mut connection => {
            driven.context("the handshake failed")?;
            exchange.await?
        }
    };
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let (mut reader, writer) = after_handshake_split(read, write, Role::Client);
    reader.set_auto_close(false);
    reader.set_auto_pong(false);
    Ok((reader, writer))
}

async fn refusal(response: Response<Incoming>) -> anyhow::Error {
    let status = response.status();
    let retry = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    let mut text = format!("the gateway refused the handshake: {status}");
    if !body.is_empty() {
        text.push_str(&format!(" ({body})"));
    }
    text.push_str(match status.as_u16() {
        401 => "; the token is missing, wrong or expired",
        403 => "; the token is good but not for here, or the origin is not allowed",
        404 => "; no endpoint has this path",
        503 => "; the gateway has no bus or no router",
        _ => "",
    });
    if let Some(retry) = retry {
        text.push_str(&format!("; try again in {retry} s"));
    }
    anyhow::anyhow!(text)
}

fn tls(args: &ConnectArgs) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    if args.insecure {
        let verifier = Arc::new(NoVerification(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &args.ca {
        for certificate in
            CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))?
        {
            roots.add(certificate.with_context(|| format!("{} is no PEM file", file.display()))?)?;
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate: what `--insecure` asks for. Signatures are still checked, so that the handshake is real.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        assert_eq!(
            place("wss://example.com/ws/chat?room=a").unwrap(),
            Place {
                secure: true,
                host: "example.com".into(),
                port: 443,
                authority: "example.com".into(),
                path_and_query: "/ws/chat?room=a".into(),
            }
        );
        let ipv6 = place("ws://[::1]:8080").unwrap();
        assert_eq!((ipv6.host.as_str(), ipv6.port, ipv6.path_and_query.as_str()), ("::1", 8080, "/"));
        for url in ["http://example.com", "example.com", "ws://", ""] {
            assert!(place(url).is_err(), "{url}");
        }
    }
}
