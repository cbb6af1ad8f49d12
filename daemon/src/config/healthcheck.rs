//! `healthcheck`: asks an admin listener whether a process is ready, for images without a shell and a client.
//!
//! Speaks just enough HTTP for that one question, and waits a bounded time for each step.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For connecting, for sending and for each part of the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What an answer may be long; reasons of unreadiness are a few lines.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The question a process answers about itself: an address that stands for all interfaces is asked on loopback.
pub(super) fn url_of(admin: SocketAddr) -> String {
    let host = match admin {
        SocketAddr::V4(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    format!("http://{host}:{}/readyz", admin.port())
}

/// Asks `url` and returns what a ready process said.
///
/// # Errors
/// In one line: the address is none, nobody answers, or the answer is not 200; then with what was said.
pub(super) fn ask(url: &str) -> Result<String, String> {
    let no_address = || format!("{url:?} is no address such as http://127.0.0.1:9090/readyz");
    let rest = url.strip_prefix("http://").ok_or_else(no_address)?;
    let (host, path) = rest.split_once('/').map_or((rest, "readyz"), |(host, path)| (host, path));
    let (name, _) = host.rsplit_once(':').ok_or_else(no_address)?;
    let addresses = host.to_socket_addrs().map_err(|error| format!("cannot resolve {name}: {error}"))?;
    let mut last = format!("{name} has no address");
    for address in addresses {
        match exchange(address, host, path) {
            Ok(answer) => return judge(&answer),
            Err(error) => last = format!("no answer from {address}: {error}"),
        }
    }
    Err(last)
}

fn exchange(address: SocketAddr, host: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn judge(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("none");
    if status == "200" { Ok(body.to_owned()) } else { Err(format!("status {status}\n{}", body.trim_end())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one question with these bytes, and tells its address.
    fn server(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut question = [0; 1024];
            let length = stream.read(&mut question).expect("a question");
            assert!(question[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).expect("room");
        });
        (address, thread)
    }

    fn ask_one(answer: &'static str) -> Result<String, String> {
        let (address, thread) = server(answer);
        let said = ask(&url_of(address));
        thread.join().expect("a good question");
        said
    }

    #[test]
    fn only_200_is_ready_and_reasons_are_told() {
        assert_eq!(ask_one("HTTP/1.1 200 OK\r\n\r\nready\n"), Ok("ready\n".to_owned()));
        let refused = ask_one("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready\nbus: away\n");
        assert_eq!(refused, Err("status 503\nnot ready\nbus: away".to_owned()));
        assert!(ask_one("nonsense").is_err());
    }

    #[test]
    fn what_is_no_address_or_answers_not_is_told() {
        assert!(ask("localhost:9090").is_err_and(|what| what.contains("no address such as")));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let gone = listener.local_addr().expect("an address");
        drop(listener);
        assert!(ask(&url_of(gone)).is_err_and(|what| what.contains("no answer from 127.0.0.1")));
    }

    #[test]
    fn all_interfaces_are_asked_on_loopback() {
        assert_eq!(url_of("0.0.0.0:9090".parse().expect("an address")), "http://127.0.0.1:9090/readyz");
        assert_eq!(url_of("[::]:9091".parse().expect("an address")), "http://[::1]:9091/readyz");
        assert_eq!(url_of("10.0.0.1:1".parse().expect("an address")), "http://10.0.0.1:1/readyz");
    }
}
