//! Server frames. A MESSAGE is a short part per subscription and a tail that all its receivers share.

use bytes::Bytes;

use super::escape;
use super::version::Version;

/// What CONNECTED says.
#[derive(Debug, Clone, Copy)]
pub struct Connected<'a> {
    /// The settled version.
    pub version: Version,
    /// The connection's id.
    pub session: &'a str,
    /// The user.
    pub user: &'a str,
    /// What we guarantee to send, and wish to get, in milliseconds. Always sent: old clients fail without it.
    pub heart_beat_ms: (u64, u64),
    /// Name and version of the server.
    pub server: &'a str,
    /// Headers of our own.
    pub more: &'a [(&'static str, String)],
}

/// The part of a MESSAGE that does not depend on the subscription, from `destination` to the NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageTail(Bytes);

fn header(version: Version, name: &str, value: &str, out: &mut Vec<u8>) {
    escape::encode(version, name, out);
    out.push(b':');
    escape::encode(version, value, out);
    out.push(b'\n');
}

/// A CONNECTED frame. It is never escaped, so line ends in values are left out.
pub fn connected(connected: &Connected<'_>) -> Vec<u8> {
    let clean = |text: &str| text.replace(['\r', '\n', '\0'], "");
    let more: String = connected.more.iter().map(|(name, value)| format!("{name}:{}\n", clean(value))).collect();
    format!(
        "CONNECTED\nversion:{}\nheart-beat:{},{}\nsession:{}\nuser-name:{}\nserver:{}\n{more}\n\0",
        connected.version.as_str(),
        connected.heart_beat_ms.0,
        connected.heart_beat_ms.1,
        clean(connected.session),
        clean(connected.user),
        clean(connected.server),
    )
    .into_bytes()
}

/// A RECEIPT frame, with headers of our own.
pub fn receipt(version: Version, id: &str, more: &[(&str, String)]) -> Vec<u8> {
    let mut out = b"RECEIPT\n".to_vec();
    header(version, "receipt-id", id, &mut out);
    for (name, value) in more {
        header(version, name, value, &mut out);
    }
    out.extend_from_slice(b"\n\0");
    out
}

/// An ERROR frame; the connection ends after it. `message` and `detail` come from the catalogue.
pub fn error(version: Version, message: &str, receipt_id: Option<&str>, detail: &str) -> Vec<u8> {
    let mut out = b"ERROR\n".to_vec();
    header(version, "message", message, &mut out);
    if let Some(id) = receipt_id {
        header(version, "receipt-id", id, &mut out);
    }
    header(version, "content-type", "text/plain", &mut out);
    header(version, "content-length", &detail.len().to_string(), &mut out);
    out.push(b'\n');
    out.extend_from_slice(detail.as_bytes());
    out.push(0);
    out
}

/// The ERROR frame for a client that speaks no version we know.
pub fn unknown_version() -> Vec<u8> {
    let all = Version::ALL;
    format!("ERROR\nversion:{all}\nmessage:no common version\ncontent-type:text/plain\ncontent-length:0\n\n\0")
        .into_bytes()
}

impl MessageTail {
    /// Encodes the shared part once per message and version.
    pub fn new(
        version: Version,
        destination: &str,
        message_id: &str,
        content_type: Option<&str>,
        others: &[(&str, &str)],
        body: &[u8],
    ) -> Self {
        let mut out = Vec::with_capacity(body.len() + 128);
        header(version, "destination", destination, &mut out);
        header(version, "message-id", message_id, &mut out);
        if let Some(content_type) = content_type {
            header(version, "content-type", content_type, &mut out);
        }
        for (name, value) in others {
            header(version, name, value, &mut out);
        }
        header(version, "content-length", &body.len().to_string(), &mut out);
        out.push(b'\n');
        out.extend_from_slice(body);
        out.push(0);
        Self(Bytes::from(out))
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// A whole MESSAGE for one subscription: a client numbers its subscriptions alike (`sub-0`, …), so the frame is worth
/// keeping per distinct id.
pub fn message_frame(version: Version, subscription: &str, ack: Option<&str>, tail: &MessageTail) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + subscription.len() + tail.0.len());
    out.extend_from_slice(b"MESSAGE\n");
    header(version, "subscription", subscription, &mut out);
    if let Some(ack) = ack {
        header(version, "ack", ack, &mut out);
    }
    out.extend_from_slice(&tail.0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_subscription_and_the_shared_tail() {
        let tail = MessageTail::new(Version::V1_2, "/topic/a:b", "m-1", Some("text/plain"), &[], b"h\0i");

        let frame = message_frame(Version::V1_2, "sub-0", Some("m-1"), &tail);

        let expected = b"MESSAGE\nsubscription:sub-0\nack:m-1\ndestination:/topic/a\\cb\nmessage-id:m-1\n\
content-type:text/plain\ncontent-length:3\n\nh\0i\0";
        assert_eq!(frame, expected);
    }

    #[test]
    fn connected_always_names_heart_beats_and_cannot_be_injected_into() {
        let frame = connected(&Connected {
            version: Version::V1_1,
            session: "s",
            user: "ana\nevil:1",
            heart_beat_ms: (25_000, 0),
            server: "holdfast/1",
            more: &[("position", "e.7\n".to_owned())],
        });

        let text = String::from_utf8(frame).unwrap();
        assert!(text.contains("\nheart-beat:25000,0\n"));
        assert!(text.contains("\nuser-name:anaevil:1\n"));
    }

    #[test]
    fn errors_and_receipts_are_whole_frames() {
        assert_eq!(receipt(Version::V1_2, "a:1", &[]), b"RECEIPT\nreceipt-id:a\\c1\n\n\0");
        let more = [("position", "e.1\n".to_owned())];
        assert_eq!(receipt(Version::V1_1, "r", &more), b"RECEIPT\nreceipt-id:r\nposition:e.1\\n\n\n\0");
        assert_eq!(
            error(Version::V1_2, "frame too large", Some("7"), "64 KiB"),
            b"ERROR\nmessage:frame too large\nreceipt-id:7\ncontent-type:text/plain\ncontent-length:6\n\n64 KiB\0"
        );
    }
}
