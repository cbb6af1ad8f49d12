//! Opens a welcomed connection of dialect json, over TCP or TLS, with blocking calls. What happens on it afterwards is
//! the caller's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use holdfast_harness::Claims;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::frames;

/// How long a step of opening may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections per source address: well under half of the ports there are for one.
const CONNECTIONS_PER_SOURCE: usize = 4_000;

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) gateway: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) room: Option<String>,
}

/// A connection that has been welcomed, and has joined its room.
#[derive(Debug)]
pub(crate) enum Connection {
    Plain(TcpStream),
    #[expect(dead_code, reason = "held for as long as the connection is to live")]
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Opening {
    /// Opens the `number`th connection, for a user of its own: `u<number>`.
    pub(crate) fn open(&self, number: usize) -> anyhow::Result<Connection> {
        let tcp = self.dial(number)?;
        let token = Claims::of(&user(number)).expires_in(24 * 3600).sign();
        match &self.tls {
            None => {
                let mut tcp = tcp;
                self.greet(&mut tcp, &token)?;
                Ok(Connection::Plain(tcp))
            }
            Some(config) => {
                let name = ServerName::from(self.gateway.ip());
                let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, tcp);
                self.greet(&mut stream, &token)?;
                Ok(Connection::Tls(Box::new(stream)))
            }
        }
    }

    fn dial(&self, number: usize) -> anyhow::Result<TcpStream> {
        let source = u8::try_from(number / CONNECTIONS_PER_SOURCE + 2).context("too many connections")?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, source), 0)).into())?;
        socket.connect(&self.gateway.into()).with_context(|| format!("connection {number}"))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    fn greet(&self, stream: &mut (impl Read + Write), token: &str) -> anyhow::Result<()> {
        let request = format!(
            "GET /ws/bench HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: holdfast.v1.json\r\nAuthorization: Bearer {token}\r\n\r\n",
            self.gateway
        );
        stream.write_all(request.as_bytes())?;
        let mut input = Input { stream, pending: Vec::new() };
        let head = input.until_blank_line()?;
        ensure!(head.starts_with(b"HTTP/1.1 101 "), "refused: {}", String::from_utf8_lossy(&head));
        input.expect("welcome")?;
        if let Some(room) = &self.room {
            let join = serde_json::json!({"type": "join", "id": 1, "room": room});
            input.stream.write_all(&frames::text(&join.to_string()))?;
            input.expect("ok")?;
        }
        ensure!(input.pending.is_empty(), "the gateway said more than it was asked");
        Ok(())
    }
}

/// The user of the `number`th connection.
pub(crate) fn user(number: usize) -> String {
    format!("u{number}")
}

struct Input<'a, S> {
    stream: &'a mut S,
    /// Read, and not yet looked at.
    pending: Vec<u8>,
}

impl<S: Read> Input<'_, S> {
    fn fill(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        let length = self.stream.read(&mut buffer).context("no answer from the gateway")?;
        ensure!(length > 0, "the gateway closed");
        self.pending.extend(buffer.iter().take(length));
        Ok(())
    }

    fn until_blank_line(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(self.pending.drain(..at + 4).collect());
            }
            self.fill()?;
        }
    }

    /// Reads one text frame, which must be of this type.
    fn expect(&mut self, kind: &str) -> anyhow::Result<()> {
        while self.pending.len() < 2 {
            self.fill()?;
        }
        let (head, length) = match self.pending[1] {
            short @ 0..=125 => (2, usize::from(short)),
            126 => {
                while self.pending.len() < 4 {
                    self.fill()?;
                }
                (4, usize::from(self.pending[2]) << 8 | usize::from(self.pending[3]))
            }
            _ => bail!("the frame is larger than any answer"),
        };
        while self.pending.len() < head + length {
            self.fill()?;
        }
        let frame: Vec<u8> = self.pending.drain(..head + length).collect();
        ensure!(frame[0] == 0x81, "not a text frame: {:x}", frame[0]);
        let message: Value = serde_json::from_slice(frame.get(head..).unwrap_or_default())?;
        ensure!(message["type"] == kind, "{message} and not {kind}");
        Ok(())
    }
}
