//! The PROXY protocol (versions 1 and 2, as HAProxy's specification has them): a balancer in front says, before anything
//! else, whom it speaks for. Reads no byte beyond that head; bounded in length here, in time by the caller.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// What version 2 may carry: addresses and a few extensions, not the 64 KiB it could claim.
const BODY_BYTES_MAX: usize = 2048;

/// Reads the head; `None` where the balancer speaks for itself (a health check), or for a client it does not name.
///
/// # Errors
/// Those of the stream, and "invalid data" for what is no such head or longer than it may be.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return version_2(stream).await;
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_BYTES_MAX || !line.starts_with(b"PROXY ") {
            return Err(invalid());
        }
        // A byte at a time: what follows the line is TLS's or HTTP's.
        line.push(stream.read_u8().await?);
    }
    version_1(&line)
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > BODY_BYTES_MAX || command >> 4 != 2 {
        return Err(invalid());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    match (command & 0x0f, family >> 4) {
        // LOCAL: nobody but the balancer. Then families are to be ignored, as are those without addresses of IP.
        (0, _) | (1, 0 | 3) => Ok(None),
        (1, 1) if body.len() >= 12 => Ok(body.first_chunk::<4>().map(|address| Ipv4Addr::from(*address).into())),
        (1, 2) if body.len() >= 36 => Ok(body.first_chunk::<16>().map(|address| Ipv6Addr::from(*address).into())),
        _ => Err(invalid()),
    }
}

fn version_1(line: &[u8]) -> io::Result<Option<IpAddr>> {
    let line = std::str::from_utf8(line).map_err(|_| invalid())?;
    let mut words = line.trim_end_matches("\r\n").split(' ').skip(1);
    match words.next() {
        Some("UNKNOWN") => Ok(None),
        Some(family @ ("TCP4" | "TCP6")) => {
            let client: IpAddr = words.next().and_then(|word| word.parse().ok()).ok_or_else(invalid)?;
            if client.is_ipv6() != (family == "TCP6") || words.count() != 3 {
                return Err(invalid());
            }
            Ok(Some(client))
        }
        _ => Err(invalid()),
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no head of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the head says, and how many bytes behind it are left.
    async fn of(bytes: &[u8]) -> Option<(Option<String>, usize)> {
        let mut stream = bytes;
        let client = read(&mut stream).await.ok()?;
        Some((client.map(|client| client.to_string()), stream.len()))
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).expect("short").to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[tokio::test]
    async fn heads_of_both_versions_name_the_client_and_take_no_byte_more() {
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nGET /";
        assert_eq!(of(line).await, Some((Some("192.0.2.7".into()), 5)));
        let line = b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n";
        assert_eq!(of(line).await, Some((Some("2001:db8::7".into()), 0)));

        let mut body = vec![192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 187];
        body.extend(b"\x03\x00\x04abcd");
        let mut bytes = v2(0x21, 0x11, &body);
        bytes.extend(b"GET /");
        assert_eq!(of(&bytes).await, Some((Some("192.0.2.7".into()), 5)), "with an extension behind");
        let mut body = [0; 36];
        body[15] = 9;
        assert_eq!(of(&v2(0x21, 0x21, &body)).await, Some((Some("::9".into()), 0)));
    }

    #[tokio::test]
    async fn a_balancer_may_speak_for_itself() {
        assert_eq!(of(b"PROXY UNKNOWN\r\n").await, Some((None, 0)));
        assert_eq!(of(&v2(0x20, 0x00, b"")).await, Some((None, 0)));
        assert_eq!(of(&v2(0x21, 0x00, b"")).await, Some((None, 0)));
    }

    #[tokio::test]
    async fn anything_else_is_refused_within_bounds() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for bytes in [
            &b"GET /ws HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 nonsense 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY",
            &long,
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x41, &[0; 36]),
            &v2(0x21, 0x11, &vec![0; BODY_BYTES_MAX + 1]),
        ] {
            assert_eq!(of(bytes).await, None, "{bytes:?}");
        }
    }
}
