//! Sockets that listen: one per shard on the same address, so that the kernel spreads connections over the shards.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Arrival, Host, Net, http};
use crate::admission::Provenance;

/// Connections the kernel holds for us while we are busy; it takes the smaller of this and `somaxconn`.
const BACKLOG: i32 = 4096;

const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Binds one listening socket per shard to an address. With port 0 the first takes a free port and the others join it.
///
/// # Errors
/// An address that is not ours or that another process listens on: `SO_REUSEPORT` alone would share it silently.
pub fn bind(address: SocketAddr, shards: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&address.into())?;
        probe.listen(1)?;
    }
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(shards);
    let mut address = address;
    for _ in 0..shards {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Accepts until told to stop; what the kernel has accepted by then is still served.
pub(super) async fn accept<H: Host>(
    net: Rc<Net<H>>,
    listener: tokio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    proxied: bool,
) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = next(&net, &listener) => accepted,
            () = net.accepting.cancelled() => return,
        };
        match accepted {
            Ok((permit, tcp, peer)) => {
                backoff = BACKOFF_MIN;
                // Nothing has been spent on it yet; what a proxy says of an address comes later.
                let mut arrival = Arrival { peer: peer.ip(), proxied, provenance: Provenance::default() };
                if !proxied && let Err(turned) = arrival.take_seat(&net) {
                    net.cells.handshake(turned.counted()).add(1);
                    continue;
                }
                let net = Rc::clone(&net);
                let tls = tls.clone();
                drop(net.tasks.clone().spawn_local(http::serve(net, tcp, arrival, tls, permit)));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: accepting again at once would only burn the processor.
                tracing::warn!(%error, "Accepting failed");
                tokio::select! {
                    () = tokio::time::sleep(backoff) => {}
                    () = net.accepting.cancelled() => return,
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

async fn next<H: Host>(
    net: &Net<H>,
    listener: &tokio::net::TcpListener,
) -> io::Result<(tokio::sync::OwnedSemaphorePermit, tokio::net::TcpStream, SocketAddr)> {
    let permit = Arc::clone(&net.handshakes).acquire_owned().await.map_err(io::Error::other)?;
    let (tcp, peer) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    Ok((permit, tcp, peer))
}

/// Whether only this one connection is concerned.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput};
    // `InvalidInput` is what setting an option on a socket says that was reset meanwhile.
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_one_port_and_others_cannot_join_it() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();

        assert_ne!(addresses[0].port(), 0);
        assert!(addresses.iter().all(|address| *address == addresses[0]));
        assert_eq!(bind(addresses[0], 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn errors_of_one_client_do_not_slow_others_down() {
        assert!(is_the_clients(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!is_the_clients(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(!is_the_clients(&io::Error::from_raw_os_error(libc::ENOBUFS)));
    }
}
