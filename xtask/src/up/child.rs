//! One process of the fleet: started in a group of its own, its output shown with its name, its end told.

use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;

/// The end of a child.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) how: String,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    id: u32,
    ready: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Child {
    /// Starts it. Three threads serve it until it ends: one for each stream, one that waits.
    pub(super) fn spawn(name: &str, mut command: Command, tell: SyncSender<Ended>) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (ready, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let child =
            Self { name: name.to_owned(), id: process.id(), ready: Arc::clone(&ready), ended: Arc::clone(&ended) };
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let name = name.to_owned();
        let prefix = prefix(&name);
        let streams = [
            stdout.map(|stream| show(stream, prefix.clone(), Some(ready))),
            stderr.map(|stream| show(stream, prefix, None)),
        ];
        thread::spawn(move || {
            let status = process.wait();
            // All that it said is shown before its end is told.
            for stream in streams.into_iter().flatten() {
                drop(stream.join());
            }
            ended.store(true, Ordering::Release);
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            drop(tell.send(Ended { name, how }));
        });
        Ok(child)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is its group's too.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Becomes true with its ready line.
    pub(super) fn ready(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ready)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Shows a stream line by line; a ready line is noted in place of being shown.
fn show(stream: impl Read + Send + 'static, prefix: String, ready: Option<Arc<AtomicBool>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            match &ready {
                Some(ready) if is_ready(&line) => ready.store(true, Ordering::Release),
                _ => drop(writeln!(std::io::stderr().lock(), "{prefix}{line}")),
            }
        }
    })
}

fn is_ready(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|value| value["ready"] == true)
}

/// `gateway-1 | `, in a colour of its own on a terminal.
fn prefix(name: &str) -> String {
    let plain = format!("{name:9} | ");
    if !std::io::stderr().is_terminal() {
        return plain;
    }
    let colour = 31 + name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(5).wrapping_add(byte.into())) % 6;
    format!("\x1b[{colour}m{plain}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_is_known_among_others() {
        assert!(is_ready(r#"{"ready":true,"service":"router","node":"n","admin":"127.0.0.1:1"}"#));
        assert!(!is_ready(r#"{"ready":false}"#));
        assert!(!is_ready("ready"));
    }
}
