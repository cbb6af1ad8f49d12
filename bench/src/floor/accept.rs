//! The floor of handshakes: a thread on the server's core that accepts, completes TLS and answers one byte with one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::{ClientConfig, ServerConfig, ServerConnection, StreamOwned};

use super::Spent;
use super::send_loop::Silent;
use crate::cores;
use crate::load::Opening;
use crate::process::thread_cpu_time;

/// Accepts so many connections, opened by so many threads. What it took the accepting thread.
///
/// # Errors
/// Those of the sockets.
pub(crate) fn run(
    connections: usize,
    openers: usize,
    tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>,
) -> anyhow::Result<Spent> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server: SocketAddr = listener.local_addr()?;
    let (server_tls, client_tls) = tls.unzip();
    let accept = std::thread::spawn(move || -> anyhow::Result<Duration> {
        cores::bind_thread(cores::SERVER)?;
        let before = thread_cpu_time();
        // Held to the end: closing is not part of it.
        let mut held: Vec<Box<dyn Send>> = Vec::with_capacity(connections);
        for _ in 0..connections {
            let (mut tcp, _) = listener.accept()?;
            tcp.set_nodelay(true)?;
            match &server_tls {
                None => {
                    answer(&mut tcp)?;
                    held.push(Box::new(tcp));
                }
                Some(config) => {
                    let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, tcp);
                    answer(&mut tls)?;
                    held.push(Box::new(tls));
                }
            }
        }
        Ok(thread_cpu_time().saturating_sub(before))
    });
    let opening = Opening { server, tls: client_tls, greeting: Arc::new(Silent), source: 0 };
    let started = Instant::now();
    let opened = opening.open_many(0..connections, openers)?;
    let elapsed = started.elapsed();
    let cpu = accept.join().ok().context("the accepting thread panicked")??;
    drop(opened);
    Ok(Spent { elapsed, cpu })
}

fn answer(stream: &mut (impl Read + Write)) -> anyhow::Result<()> {
    stream.read_exact(&mut [0])?;
    stream.write_all(b"!")?;
    Ok(stream.flush()?)
}
