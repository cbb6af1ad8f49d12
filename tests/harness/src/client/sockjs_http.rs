//! A SockJS client without WebSocket, request by request: each may go to another gateway.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::http::{self, Response};
use crate::stream::{self, Reach, Stream};
use crate::wait::bounded;

/// A session's URLs, and the headers that its requests carry.
#[derive(Debug, Clone)]
pub struct HttpSession {
    path: String,
    headers: String,
}

/// An answer that goes on.
pub struct HttpStream {
    /// Its head.
    pub response: Response,
    stream: BufReader<Box<dyn Stream>>,
    read: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpStream").field("response", &self.response).finish_non_exhaustive()
    }
}

impl HttpSession {
    /// A session that nobody has had, at a base path.
    pub fn new(base: &str) -> Self {
        Self { path: format!("{base}/000/{}", crate::unique("session")), headers: String::new() }
    }

    /// Its requests begin with this path, whatever it is.
    pub fn at(path: &str) -> Self {
        Self { path: path.to_owned(), headers: String::new() }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// As `user`, by a token.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        let token = crate::Claims::of(user).sign();
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// One poll at a gateway.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn poll(&self, gateway: SocketAddr) -> Response {
        self.request(gateway, "POST", "xhr", "").await
    }

    /// The body of a poll that is answered in order.
    ///
    /// # Panics
    /// If it is not.
    pub async fn frame(&self, gateway: SocketAddr) -> String {
        let response = self.poll(gateway).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.body.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {response:?}")).to_owned()
    }

    /// Sends messages.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn send(&self, gateway: SocketAddr, messages: &[&str]) -> Response {
        self.request(gateway, "POST", "xhr_send", &Value::from(messages).to_string()).await
    }

    /// One request with a body.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn request(&self, gateway: SocketAddr, method: &str, what: &str, body: &str) -> Response {
        http::exchange(gateway, self.text(gateway, method, what, body).as_bytes()).await
    }

    /// The same, where the gateway may be gone.
    ///
    /// # Errors
    /// It is.
    pub async fn try_request(
        &self,
        gateway: SocketAddr,
        method: &str,
        what: &str,
        body: &str,
    ) -> std::io::Result<Response> {
        http::try_exchange(gateway, self.text(gateway, method, what, body).as_bytes()).await
    }

    /// A request whose answer goes on.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn stream(&self, gateway: SocketAddr, method: &str, what: &str) -> HttpStream {
        let begin = async {
            let mut stream = BufReader::new(stream::open(gateway, &Reach::default()).await?);
            stream.write_all(self.text(gateway, method, what, "").as_bytes()).await?;
            let response = http::read_head(&mut stream).await?;
            Ok::<_, std::io::Error>(HttpStream { response, stream, read: Vec::new(), ended: false })
        };
        let begun = bounded("the head of a stream", begin).await;
        begun.unwrap_or_else(|error| panic!("a stream from {gateway}: {error}"))
    }

    fn text(&self, gateway: SocketAddr, method: &str, what: &str, body: &str) -> String {
        let Self { path, headers } = self;
        let length = body.len();
        format!(
            "{method} {path}/{what} HTTP/1.1\r\nHost: {gateway}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

impl HttpStream {
    /// The next line, without its end; `None` where the answer is over.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.ended || bounded("more of a stream", self.more()).await.is_err() {
                return None;
            }
        }
    }

    /// The next line that is not empty.
    ///
    /// # Panics
    /// If there is none.
    pub async fn words(&mut self) -> String {
        loop {
            match self.line().await {
                Some(line) if line.is_empty() => {}
                Some(line) => return line,
                None => panic!("the stream is over"),
            }
        }
    }

    async fn more(&mut self) -> std::io::Result<()> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim_end(), 16)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).await?;
        self.ended = length == 0;
        self.read.extend_from_slice(&chunk[..length]);
        Ok(())
    }
}
