//! A TCP proxy with faults: a process reaches its bus through one, and the test cuts, stalls or slows that link alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::wait::pause;

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// They pass.
    Open,
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stay and nothing passes, as behind a dead switch.
    Stalled,
    /// Each piece waits this long before it passes.
    Slow(Duration),
}

/// A listening proxy. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    target: watch::Sender<SocketAddr>,
    _accept: JoinSet<()>,
}

impl Proxy {
    /// Starts one in front of `target`.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (link, link_seen) = watch::channel(Link::Open);
        let (target, target_seen) = watch::channel(target);
        let mut accept = JoinSet::new();
        accept.spawn(accept_all(listener, link_seen, target_seen));
        Self { address, link, target, _accept: accept }
    }

    /// What to connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of the bytes, on connections there are and to come.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// New connections go to `target`.
    pub fn retarget(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }
}

async fn accept_all(listener: TcpListener, link: watch::Receiver<Link>, target: watch::Receiver<SocketAddr>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        if *link.borrow() == Link::Cut {
            continue;
        }
        let target = *target.borrow();
        let link = link.clone();
        connections.spawn(async move {
            let mut ended = link.clone();
            let cut = ended.wait_for(|link| *link == Link::Cut);
            // Either end of a connection may break at any time; that is what a proxy for faults is for.
            tokio::select! {
                _ = relay(client, target, link) => {}
                _ = cut => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(client: TcpStream, target: SocketAddr, link: watch::Receiver<Link>) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        result = pass(client_read, server_write, link.clone()) => result,
        result = pass(server_read, client_write, link) => result,
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let seen = match link.wait_for(|link| *link != Link::Stalled).await {
            Ok(link) => *link,
            Err(_) => return Ok(()),
        };
        if let Link::Slow(delay) = seen {
            pause(delay).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
