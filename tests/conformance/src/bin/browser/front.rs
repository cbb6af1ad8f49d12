//! What stands before the gateways in the examples: files for the page, and a balancer that hands each connection to the
//! next gateway in turn. Nothing sticks: a request that is no upgrade gets a connection of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What is served, and to whom the rest goes.
#[derive(Debug)]
pub(crate) struct Front {
    /// Files by path.
    pub(crate) files: BTreeMap<&'static str, PathBuf>,
    /// A cookie that comes with each file, as a login would set it.
    pub(crate) cookie: Option<String>,
    /// Paths that begin so are the gateways'.
    pub(crate) sockets: &'static str,
    /// The gateways.
    pub(crate) gateways: Vec<SocketAddr>,
}

impl Front {
    /// Starts to serve on a port of its own, for as long as the runtime lives. The second is how many connections each
    /// gateway was given.
    pub(crate) async fn serve(self) -> std::io::Result<(SocketAddr, Arc<Vec<AtomicUsize>>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let given = Arc::new(self.gateways.iter().map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let (front, counts, next) = (Arc::new(self), Arc::clone(&given), Arc::new(AtomicUsize::new(0)));
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (front, counts, next) = (Arc::clone(&front), Arc::clone(&counts), Arc::clone(&next));
                // Either side may go away at any time; that is its own business.
                tokio::spawn(async move { drop(front.answer(stream, &counts, &next).await) });
            }
        };
        tokio::spawn(serve);
        Ok((address, given))
    }

    async fn answer(&self, mut client: TcpStream, counts: &[AtomicUsize], next: &AtomicUsize) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
            if client.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let path = text.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
        if !path.starts_with(self.sockets) {
            return self.file(client, path).await;
        }
        let turn = next.fetch_add(1, Ordering::Relaxed) % self.gateways.len();
        counts[turn].fetch_add(1, Ordering::Relaxed);
        let mut gateway = TcpStream::connect(self.gateways[turn]).await?;
        gateway.write_all(once(&text).as_bytes()).await?;
        copy_bidirectional(&mut client, &mut gateway).await.map(drop)
    }

    async fn file(&self, mut client: TcpStream, path: &str) -> std::io::Result<()> {
        let found = self.files.get(path).and_then(|file| std::fs::read(file).ok());
        let kind = if path.ends_with(".js") { "text/javascript" } else { "text/html; charset=utf-8" };
        let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
        let cookie = self.cookie.as_ref().map_or(String::new(), |cookie| format!("Set-Cookie: {cookie}\r\n"));
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{cookie}Connection: close\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await?;
        client.write_all(&body).await?;
        client.shutdown().await
    }
}

/// A request that is no upgrade ends its connection, so that the next one is balanced anew.
fn once(head: &str) -> String {
    let lower = head.to_ascii_lowercase();
    if lower.contains("\r\nupgrade:") {
        return head.to_owned();
    }
    let (lines, body) = head.split_once("\r\n\r\n").unwrap_or((head, ""));
    let kept: Vec<&str> =
        lines.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect();
    format!("{}\r\nConnection: close\r\n\r\n{body}", kept.join("\r\n"))
}
