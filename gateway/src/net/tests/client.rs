//! A client that says exactly what it is told to.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

pub(super) struct Client {
    pub(super) stream: Box<dyn Stream>,
    pub(super) read: Vec<u8>,
}

/// A masked frame, final, shorter than 64 KiB.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 9, 3];
    let mut bytes = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short @ 0..126) => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

pub(super) fn close(code: u16) -> Vec<u8> {
    frame(8, &code.to_be_bytes())
}

pub(super) const UPGRADE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self { stream: Box::new(TcpStream::connect(address).await.unwrap()), read: Vec::new() }
    }

    /// A client with little room for what it does not read.
    pub(super) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self { stream: Box::new(socket.connect(address).await.unwrap()), read: Vec::new() }
    }

    pub(super) async fn connect_tls(address: SocketAddr, certificate: &[u8]) -> Self {
        Self::connect_tls_with(address, certificate, &[]).await
    }

    /// Offering these protocols by ALPN.
    pub(super) async fn connect_tls_with(address: SocketAddr, certificate: &[u8], protocols: &[&str]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = TcpStream::connect(address).await.unwrap();
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        Self { stream: Box::new(stream), read: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The handshake's answer: its head as text.
    pub(super) async fn upgrade(&mut self, target: &str) -> String {
        self.request(&format!("GET {target} HTTP/1.1\r\n{UPGRADE}\r\n")).await
    }

    /// An answer's head as text; its body, if any, stays to be read.
    pub(super) async fn request(&mut self, request: &str) -> String {
        self.send(request.as_bytes()).await;
        self.head().await
    }

    pub(super) async fn head(&mut self) -> String {
        loop {
            let end = self.read.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.more().await, "the answer ended early: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// The body of an answer with this head.
    pub(super) async fn body(&mut self, head: &str) -> Vec<u8> {
        let head = head.to_ascii_lowercase();
        let bytes = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        self.take(bytes.parse().unwrap()).await
    }

    /// So many bytes.
    pub(super) async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.read.len() < bytes {
            assert!(self.more().await, "the stream ended after {} of {bytes} bytes", self.read.len());
        }
        self.read.drain(..bytes).collect()
    }

    /// One unmasked frame: its first byte and its payload.
    pub(super) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2).await;
        let bytes = match head[1] {
            126 => u64::from(u16::from_be_bytes(*self.take(2).await.first_chunk().unwrap())),
            127 => u64::from_be_bytes(*self.take(8).await.first_chunk().unwrap()),
            short => u64::from(short),
        };
        (head[0], self.take(usize::try_from(bytes).unwrap()).await)
    }

    pub(super) async fn expect_text(&mut self, text: &str) {
        assert_eq!(self.frame().await, (0x81, text.as_bytes().to_vec()));
    }

    /// A close frame's code; the end of the stream comes next.
    pub(super) async fn expect_close(&mut self) -> u16 {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x88);
        u16::from_be_bytes(*payload.first_chunk().unwrap())
    }

    /// Whether the stream ends here, cleanly or not.
    pub(super) async fn expect_end(&mut self) {
        assert!(self.read.is_empty(), "{:?}", String::from_utf8_lossy(&self.read));
        let mut rest = [0; 64];
        let read = self.stream.read(&mut rest).await;
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }

    async fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let bytes = self.stream.read(&mut piece).await.unwrap();
        self.read.extend(piece.iter().take(bytes));
        bytes > 0
    }
}
