//! A client's byte stream, plain or TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Either kind of stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How to reach a listener.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    /// Speak TLS with these settings.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// A kernel receive buffer so small that an unread client is soon noticed.
    pub(crate) receive_buffer: Option<u32>,
}

/// Connects, and shakes hands where TLS is asked for.
pub(crate) async fn open(address: SocketAddr, reach: &Reach) -> std::io::Result<Box<dyn Stream>> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = reach.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream: TcpStream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    match &reach.tls {
        None => Ok(Box::new(stream)),
        Some(config) => {
            let name = ServerName::from(address.ip());
            Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
        }
    }
}
