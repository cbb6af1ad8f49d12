//! One HTTP/1.1 exchange on a connection of its own, written and read by hand: the requests may be wrong on purpose.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::stream::{self, Reach, Stream};
use crate::wait::bounded;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty after 101.
    pub body: String,
}

impl Response {
    /// The value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// `GET path` with no more than HTTP asks for.
///
/// # Panics
/// If there is no answer.
pub async fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path, &[]).await
}

/// One request with these fields.
///
/// # Panics
/// If there is no answer.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
        head.push_str("Connection: close\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    exchange(address, head.as_bytes()).await
}

/// Sends these bytes and reads one answer.
///
/// # Panics
/// If there is none.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Response {
    try_exchange(address, bytes).await.unwrap_or_else(|error| panic!("HTTP exchange with {address}: {error}"))
}

/// Sends these bytes and reads one answer, if there is one before the connection ends.
///
/// # Errors
/// The connection ended without an answer that could be read.
///
/// # Panics
/// If neither comes.
pub async fn try_exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Response> {
    let exchange = async {
        let stream = stream::open(address, &Reach::default()).await?;
        let mut stream = BufReader::new(stream);
        stream.write_all(bytes).await?;
        let head = read_head(&mut stream).await?;
        // RFC 9110 section 9.3.2: its length is that of the body a GET would have.
        if bytes.starts_with(b"HEAD ") { Ok(head) } else { read_body(&mut stream, head).await }
    };
    bounded("an HTTP answer", exchange).await
}

/// Reads up to the blank line; bytes behind it stay in the buffer.
pub(crate) async fn read_head(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<Response> {
    let invalid = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP head: {line:?}"));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let first = lines.first().ok_or_else(|| invalid(""))?;
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let fields = lines[1..].iter().map(|line| line.split_once(':').ok_or_else(|| invalid(line)));
    let headers = fields.map(|field| field.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())));
    Ok(Response {
        status: status.ok_or_else(|| invalid(first))?,
        headers: headers.collect::<io::Result<_>>()?,
        body: String::new(),
    })
}

pub(crate) async fn read_body(stream: &mut BufReader<Box<dyn Stream>>, mut head: Response) -> io::Result<Response> {
    let mut body = Vec::new();
    if head.status == 101 {
        return Ok(head);
    }
    if let Some(length) = head.header("content-length").and_then(|length| length.parse().ok()) {
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
    } else if head.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim_end(), 16)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let start = body.len();
            body.resize(start + length + 2, 0);
            stream.read_exact(&mut body[start..]).await?;
            body.truncate(start + length);
            if length == 0 {
                break;
            }
        }
    } else {
        stream.read_to_end(&mut body).await?;
    }
    head.body = String::from_utf8_lossy(&body).into_owned();
    Ok(head)
}

/// A server that answers every request with the same text, until the text is changed.
#[derive(Debug)]
pub struct StaticServer {
    address: SocketAddr,
    body: watch::Sender<String>,
    _accept: JoinSet<()>,
}

impl StaticServer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (body, current) = watch::channel(body.to_owned());
        let mut accept = JoinSet::new();
        accept.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let body = current.borrow().clone();
                // A client that goes away early is none of ours.
                let _gone = answer(stream, &body).await;
            }
        });
        Self { address, body, _accept: accept }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Changes the text.
    pub fn set(&self, body: &str) {
        self.body.send_replace(body.to_owned());
    }
}

async fn answer(stream: TcpStream, body: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
    stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    stream.shutdown().await
}
