//! Serves `deploy/demo` and a generated `config.js`, as `cargo xtask up` does: files and nothing else.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Starts to serve on a port of its own, for as long as the runtime lives.
pub(crate) async fn serve(config: &Value) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let config = format!("window.HOLDFAST = {config};\n");
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A browser that goes away in the middle of an answer is its own business.
            drop(answer(stream, &config).await);
        }
    };
    tokio::spawn(serve);
    Ok(address)
}

async fn answer(stream: TcpStream, config: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
    let found = match path.trim_start_matches('/') {
        "config.js" => Some(config.as_bytes().to_vec()),
        "" => file("index.html"),
        // One folder, no sub-folders: a slash leads nowhere.
        name if !name.contains('/') => file(name),
        _ => None,
    };
    let kind = match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        _ => "text/html; charset=utf-8",
    };
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

fn file(name: &str) -> Option<Vec<u8>> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/demo").join(name)).ok()
}
