//! What a receiving request's bytes look like. Pure.

use bytes::Bytes;
use holdfast_protocol::dialect::sockjs;

use crate::socket::Framing;
use crate::ws::frame;

/// A kind of receiving request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// SockJS: one frame, then the answer ends.
    Xhr,
    /// SockJS: frames until so many bytes.
    XhrStreaming,
    /// SockJS: the same as server-sent events.
    EventSource,
    /// Native: the messages that are there, then the answer ends.
    Poll,
    /// Native: one message per line.
    Stream,
    /// Native: one message per server-sent event.
    Events,
}

/// After so many bytes a SockJS stream ends, and its client opens another: old browsers keep all of an answer.
const STREAM_BYTES_MAX: usize = 128 * 1024;

impl Form {
    const ALL: [Self; 6] = [Self::Xhr, Self::XhrStreaming, Self::EventSource, Self::Poll, Self::Stream, Self::Events];

    /// Its number between nodes.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The form with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// How the session's messages travel.
    pub const fn framing(self) -> Framing {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::EventSource => Framing::SockJs,
            Self::Poll | Self::Stream | Self::Events => Framing::Plain,
        }
    }

    /// Whether an answer ends with the first bytes that it has.
    pub const fn is_once(self) -> bool {
        matches!(self, Self::Xhr | Self::Poll)
    }

    /// Bytes after which an answer ends.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::XhrStreaming | Self::EventSource => STREAM_BYTES_MAX,
            Self::Xhr | Self::Poll | Self::Stream | Self::Events => usize::MAX,
        }
    }

    /// Appends the payloads of complete WebSocket frames.
    pub(super) fn messages_into(self, frames: &[Bytes], out: &mut Vec<u8>) {
        let payloads = frames.iter().map(|frame| frame::payload(frame).1);
        match self.framing() {
            Framing::SockJs => {
                // Each is `a["…"]` already: several become one array.
                let mut joined = b"a[".to_vec();
                for (place, payload) in payloads.enumerate() {
                    if place > 0 {
                        joined.push(b',');
                    }
                    joined.extend_from_slice(payload.get(2..payload.len().saturating_sub(1)).unwrap_or_default());
                }
                joined.push(b']');
                self.line_into(&joined, out);
            }
            Framing::Plain => payloads.for_each(|payload| self.line_into(&payload, out)),
        }
    }

    /// Appends what a session begins with.
    pub(super) fn greeting_into(self, out: &mut Vec<u8>) {
        if self.framing() == Framing::SockJs {
            self.line_into(sockjs::OPEN.as_bytes(), out);
        }
    }

    /// Appends a sign of life. A native poll has none: it simply ends.
    pub(super) fn heartbeat_into(self, out: &mut Vec<u8>) {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::EventSource => self.line_into(sockjs::HEARTBEAT.as_bytes(), out),
            Self::Poll => {}
            Self::Stream => out.push(b'\n'),
            Self::Events => out.extend_from_slice(b":\n\n"),
        }
    }

    /// Appends the last words of a session.
    pub(super) fn farewell_into(self, code: u16, reason: &str, out: &mut Vec<u8>) {
        match self.framing() {
            Framing::SockJs => self.line_into(&sockjs::close(code, reason), out),
            Framing::Plain => {
                let close = serde_json::json!({"type": "close", "code": code, "reason": reason});
                self.line_into(close.to_string().as_bytes(), out);
            }
        }
    }

    /// The last words alone, for a receiver whose session another node cannot give any more.
    pub fn farewell(self, code: u16, reason: &str) -> Bytes {
        let mut out = Vec::new();
        self.farewell_into(code, reason, &mut out);
        out.into()
    }

    /// One line or event. In JSON a line end is white space, and would end ours.
    fn line_into(self, text: &[u8], out: &mut Vec<u8>) {
        if matches!(self, Self::EventSource | Self::Events) {
            out.extend_from_slice(b"data: ");
        }
        let start = out.len();
        out.extend_from_slice(text);
        for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        out.extend_from_slice(match self {
            Self::Xhr | Self::XhrStreaming | Self::Poll | Self::Stream => b"\n",
            Self::EventSource => b"\r\n\r\n",
            Self::Events => b"\n\n",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn several_sockjs_messages_are_one_array() {
        let frames = [frame::text(br#"a["x"]"#), frame::text(br#"a["y,]"]"#)];

        assert_eq!(written(|out| Form::Xhr.messages_into(&frames, out)), "a[\"x\",\"y,]\"]\n");
        assert_eq!(written(|out| Form::EventSource.messages_into(&frames, out)), "data: a[\"x\",\"y,]\"]\r\n\r\n");
    }

    #[test]
    fn native_messages_are_lines_or_events_whatever_their_white_space() {
        let frames = [frame::text(b"{\"a\":\r\n1}"), frame::text(&[b'1'; 200])];
        let ones = "1".repeat(200);

        assert_eq!(written(|out| Form::Stream.messages_into(&frames, out)), format!("{{\"a\":  1}}\n{ones}\n"));
        assert_eq!(
            written(|out| Form::Events.messages_into(&frames, out)),
            format!("data: {{\"a\":  1}}\n\ndata: {ones}\n\n")
        );
    }

    #[test]
    fn beginnings_signs_of_life_and_ends_have_the_form_s_own_look() {
        assert_eq!(written(|out| Form::Xhr.greeting_into(out)), "o\n");
        assert_eq!(written(|out| Form::Events.greeting_into(out)), "");
        assert_eq!(written(|out| Form::EventSource.heartbeat_into(out)), "data: h\r\n\r\n");
        assert_eq!(written(|out| Form::Events.heartbeat_into(out)), ":\n\n");
        assert_eq!(Form::XhrStreaming.farewell(3000, "Go away!"), "c[3000,\"Go away!\"]\n");
        assert_eq!(Form::Poll.farewell(1012, "x"), "{\"code\":1012,\"reason\":\"x\",\"type\":\"close\"}\n");
    }

    #[test]
    fn forms_survive_the_wire() {
        for form in Form::ALL {
            assert_eq!(Form::from_code(form.code()), Some(form));
        }
        assert_eq!(Form::from_code(6), None);
    }
}
