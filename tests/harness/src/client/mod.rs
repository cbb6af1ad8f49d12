//! Clients of a gateway: the `json` dialect, the `bare` dialect, and a raw socket for what no library would send.
//!
//! [`Connect`] is what they have in common: an address, a path, credentials. Frames are read and written by
//! fastwebsockets, so that our own codec is never its own judge.

mod bare;
mod json;
mod line;
mod raw;
mod socket;
mod sockjs;
mod sockjs_http;

pub use bare::{BareClient, Payload};
pub use json::{Client, Message};
pub use line::{Incoming, LineReader, LineWriter, NotOpen};
pub use raw::{RawClient, RawFrame, opcode};
pub use socket::Ended;
pub use sockjs::{SockJsClient, messages};
pub use sockjs_http::{HttpSession, HttpStream};

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};

use crate::credentials::Claims;
use crate::http::{self, Response};
use crate::stream::{self, Reach, Stream};
use crate::wait::bounded;

/// The sub-protocol of dialect `json`.
pub const JSON: &str = "holdfast.v1.json";
/// The sub-protocol of dialect `bare`.
pub const BARE: &str = "holdfast.v1.bare";

/// A connection to be made. Starts without any credential.
#[derive(Debug, Clone)]
pub struct Connect {
    address: SocketAddr,
    host: Option<String>,
    path: String,
    headers: Vec<(String, String)>,
    protocols: Vec<String>,
    pipelined: Vec<u8>,
    reach: Reach,
}

pub(crate) struct Upgraded {
    pub(crate) stream: BufReader<Box<dyn Stream>>,
    pub(crate) response: Response,
}

impl Connect {
    /// To the listener at `address`, path `/ws/chat`, offering dialect `json`.
    pub fn to(address: SocketAddr) -> Self {
        Self {
            address,
            host: None,
            path: "/ws/chat".to_owned(),
            headers: Vec::new(),
            protocols: vec![JSON.to_owned()],
            pipelined: Vec::new(),
            reach: Reach::default(),
        }
    }

    /// As `user`, by a token in the `Authorization` header.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.claims(&Claims::of(user))
    }

    /// With these claims, by a token in the `Authorization` header.
    #[must_use]
    pub fn claims(self, claims: &Claims) -> Self {
        self.bearer(&claims.sign())
    }

    /// With this text as the bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Another `Host` than the address: what a proxy in front routes by.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// One more request header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another path, with its query.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Other sub-protocols; none at all is allowed.
    #[must_use]
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols.iter().map(|&protocol| protocol.to_owned()).collect();
        self
    }

    /// Bytes sent right behind the request, without waiting for its answer.
    #[must_use]
    pub fn pipelined(mut self, bytes: &[u8]) -> Self {
        self.pipelined.extend(bytes);
        self
    }

    /// Over TLS.
    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.reach.tls = Some(config);
        self
    }

    /// With a small kernel buffer, so that not reading is soon felt at the other end.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.reach.receive_buffer = Some(bytes);
        self
    }

    /// A client of dialect `json` that has been welcomed.
    ///
    /// # Panics
    /// If it is not.
    pub async fn open(self) -> Client {
        let client = self.pending().await;
        client.welcomed().await;
        client
    }

    /// A client of dialect `json` whose handshake carried no credential, and that sends `auth` with `token` first.
    pub async fn open_with_first_message(self, token: &str) -> Client {
        let client = self.pending().await;
        client.tell(json!({"type": "auth", "id": "first", "token": token})).await;
        client.welcomed().await;
        client
    }

    /// A client of dialect `json` after the upgrade, welcomed or not.
    pub async fn pending(self) -> Client {
        let upgraded = self.upgraded().await;
        Client::start(upgraded)
    }

    /// A client of dialect `bare`, asked for by name.
    pub async fn bare(self) -> BareClient {
        self.protocols(&[BARE]).endpoint_default().await
    }

    /// A client that takes payloads as they come, in whatever dialect the endpoint and the offer lead to.
    pub async fn endpoint_default(self) -> BareClient {
        let upgraded = self.upgraded().await;
        BareClient::start(upgraded)
    }

    /// A client whose frames are made by hand.
    pub async fn raw(self) -> RawClient {
        RawClient::new(self.upgraded().await)
    }

    /// A raw client that has read its `welcome`.
    pub async fn raw_welcomed(self) -> RawClient {
        let mut client = self.raw().await;
        client.json("welcome").await;
        client
    }

    /// The answer to a handshake that is to be refused.
    ///
    /// # Panics
    /// If it is accepted.
    pub async fn refused(self) -> Response {
        let upgraded = self.attempt().await.unwrap_or_else(|error| panic!("an HTTP answer: {error}"));
        assert_ne!(upgraded.response.status, 101, "the handshake was accepted");
        upgraded.response
    }

    /// Whatever the handshake leads to: `Ok` after 101.
    ///
    /// # Errors
    /// The answer, if it is another status.
    pub async fn try_open(self) -> Result<Client, Response> {
        let client = self.try_pending().await?;
        client.welcomed().await;
        Ok(client)
    }

    /// As [`Connect::try_open`], for where the connection may end before there is any answer.
    ///
    /// # Errors
    /// The transport's; within, the answer, if it is another status than 101.
    pub async fn try_connect(self) -> std::io::Result<Result<Client, Response>> {
        let upgraded = self.attempt().await?;
        if upgraded.response.status != 101 {
            return Ok(Err(upgraded.response));
        }
        let client = Client::start(upgraded);
        client.welcomed().await;
        Ok(Ok(client))
    }

    /// A client of dialect `json` after the upgrade, if there is one.
    ///
    /// # Errors
    /// The answer, if it is another status.
    pub async fn try_pending(self) -> Result<Client, Response> {
        self.if_upgraded().await.map(Client::start)
    }

    /// A client of dialect `bare`, asked for by name, if the handshake is accepted.
    ///
    /// # Errors
    /// The answer, if it is another status.
    pub async fn try_bare(self) -> Result<BareClient, Response> {
        self.protocols(&[BARE]).if_upgraded().await.map(BareClient::start)
    }

    /// The status of the answer, whatever it is.
    ///
    /// # Errors
    /// There is no HTTP answer at all.
    pub async fn status(self) -> std::io::Result<u16> {
        Ok(self.attempt().await?.response.status)
    }

    async fn if_upgraded(self) -> Result<Upgraded, Response> {
        let upgraded = self.attempt().await.unwrap_or_else(|error| panic!("an HTTP answer: {error}"));
        if upgraded.response.status == 101 { Ok(upgraded) } else { Err(upgraded.response) }
    }

    async fn upgraded(self) -> Upgraded {
        let upgraded = self.attempt().await.unwrap_or_else(|error| panic!("upgrade: {error}"));
        let Response { status, body, .. } = &upgraded.response;
        assert_eq!(*status, 101, "the handshake was refused: {body}");
        upgraded
    }

    /// One handshake, whatever comes of it; an error is one of the transport.
    pub(crate) async fn attempt(self) -> std::io::Result<Upgraded> {
        let attempt = async {
            let mut stream = BufReader::new(stream::open(self.address, &self.reach).await?);
            let mut request = self.request().into_bytes();
            request.extend(&self.pipelined);
            stream.write_all(&request).await?;
            let head = http::read_head(&mut stream).await?;
            let response = http::read_body(&mut stream, head).await?;
            Ok(Upgraded { stream, response })
        };
        bounded("the answer to a handshake", attempt).await
    }

    fn request(&self) -> String {
        let key = STANDARD.encode(crate::unique("0123456789abcdef").as_bytes().first_chunk::<16>().expect("16 bytes"));
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n",
            self.path,
            self.host.clone().unwrap_or_else(|| self.address.to_string())
        );
        if !self.protocols.is_empty() {
            request.push_str(&format!("Sec-WebSocket-Protocol: {}\r\n", self.protocols.join(", ")));
        }
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request
    }
}

/// The JSON text of `value`.
fn text(value: &Value) -> String {
    value.to_string()
}
