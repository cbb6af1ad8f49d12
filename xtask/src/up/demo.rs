//! Serves the files of the demo page: a handful of static files and the generated `config.js`, on loopback.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The files by their path on the site.
type Site = BTreeMap<String, (&'static str, Vec<u8>)>;

/// More at once are turned away: it is one person's page.
const CONNECTIONS_MAX: usize = 32;

/// The longest head of a request that is read, and how long it is waited for.
const HEAD_BYTES_MAX: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves the folder from now on, in threads of its own.
pub(super) fn serve(address: SocketAddr, folder: &Path, config: &str) -> Result<()> {
    let site = Arc::new(load(folder, config)?);
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address} (demo page)"))?;
    let open = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (site, open) = (Arc::clone(&site), Arc::clone(&open));
            thread::spawn(move || {
                // A browser that went away is no failure of ours.
                drop(answer(&stream, &site));
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(())
}

/// Read once, so that nothing outside the folder can ever be asked for.
fn load(folder: &Path, config: &str) -> Result<Site> {
    let mut site = Site::new();
    let entries = fs::read_dir(folder).with_context(|| format!("no demo page in {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => continue,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        site.insert(name, (kind, fs::read(&path)?));
    }
    site.insert("/config.js".to_owned(), ("text/javascript; charset=utf-8", config.as_bytes().to_vec()));
    Ok(site)
}

fn answer(stream: &TcpStream, site: &Site) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(HEAD_BYTES_MAX)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut out = stream;
    let (status, kind, body) = respond(&request, site);
    write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    )?;
    out.write_all(body)?;
    out.flush()
}

fn respond<'a>(request: &str, site: &'a Site) -> (&'static str, &'static str, &'a [u8]) {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    if method != "GET" {
        return ("405 Method Not Allowed", PLAIN, b"only GET\n");
    }
    match site.get(path) {
        Some((kind, body)) => ("200 OK", kind, body),
        None => ("404 Not Found", PLAIN, b"not found\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loaded_files_are_served() {
        let site = Site::from([("/".to_owned(), ("text/html", b"page".to_vec()))]);

        assert_eq!(respond("GET /?user=ana HTTP/1.1", &site).2, b"page");
        assert!(respond("GET /../Cargo.toml HTTP/1.1", &site).0.starts_with("404"));
        assert!(respond("POST / HTTP/1.1", &site).0.starts_with("405"));
        assert!(respond("", &site).0.starts_with("405"));
    }
}
