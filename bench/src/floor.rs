//! The floor: a bare loop that writes the same frame to as many sockets, from one thread, with one `send` each. What a
//! gateway's fan-out is measured against, in the same run.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::frames;
use crate::process::thread_cpu_time;
use crate::readers::Readers;

/// What the loop took.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
}

/// Writes `messages` frames with this payload to each of `sockets` sockets, at most `window` of them on their way.
pub(crate) async fn run(sockets: usize, messages: u64, window: u64, payload: &[u8]) -> anyhow::Result<Floor> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut near = Vec::with_capacity(sockets);
    let mut far = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        near.push(TcpStream::connect(address)?);
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        far.push(socket);
    }
    let mut readers = Readers::start(near)?;
    let frame = frames::server_text(payload);
    let half = window.div_ceil(2);
    let mut cpu = Duration::ZERO;
    let mut sent = 0;
    let started = Instant::now();
    while sent < messages {
        let batch = half.min(messages - sent);
        let (sockets, frame) = (std::mem::take(&mut far), frame.clone());
        let writing = tokio::task::spawn_blocking(move || write(sockets, &frame, batch));
        let (sockets, used) = writing.await.context("the writing thread panicked")??;
        far = sockets;
        cpu += used;
        sent += batch;
        readers.at_least(sent.saturating_sub(window - half) * far.len() as u64).await?;
    }
    readers.exactly(messages * far.len() as u64).await?;
    Ok(Floor { elapsed: started.elapsed(), cpu })
}

/// One `send` per socket and message. Gives the sockets back, and the CPU time it took.
fn write(mut sockets: Vec<TcpStream>, frame: &[u8], messages: u64) -> anyhow::Result<(Vec<TcpStream>, Duration)> {
    let before = thread_cpu_time()?;
    for _ in 0..messages {
        for socket in &mut sockets {
            socket.write_all(frame)?;
        }
    }
    Ok((sockets, thread_cpu_time()?.saturating_sub(before)))
}
