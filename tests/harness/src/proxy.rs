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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::bounded;

    /// Answers each connection with one byte, again and again as it is asked.
    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _end = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (address, tasks)
    }

    async fn round_trip(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_u8(7).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn bytes_pass_until_the_link_is_cut_and_again_after_that() {
        let (target, _echo) = echo().await;
        let proxy = Proxy::start(target).await;
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(round_trip(&mut before).await.unwrap(), 7);

        proxy.set(Link::Cut);

        bounded("the end of the connection", round_trip(&mut before)).await.unwrap_err();
        let mut during = TcpStream::connect(proxy.address()).await.unwrap();
        bounded("the end of the connection", round_trip(&mut during)).await.unwrap_err();
        proxy.set(Link::Open);
        let mut after = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(round_trip(&mut after).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn stalled_link_holds_the_bytes_and_the_connection() {
        let (target, _echo) = echo().await;
        let proxy = Proxy::start(target).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut stream).await.unwrap();

        proxy.set(Link::Stalled);
        stream.write_u8(9).await.unwrap();
        let held = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        proxy.set(Link::Open);

        assert!(held.is_err(), "{held:?}");
        assert_eq!(bounded("the byte", stream.read_u8()).await.unwrap(), 9);
    }
}
