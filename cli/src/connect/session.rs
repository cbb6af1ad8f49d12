//! What a typed line means and how a message looks: pure text in, text out. Knows no socket and no clock.

use std::collections::HashSet;

use holdfast_protocol::close::{Close, Reconnect};
use serde_json::{Value, json};

use crate::output::cell;

const HELP: &str = "\
/join ROOM   /leave ROOM   /send TO DATA   /request TO DATA   /ack ID…   /ping   /auth TOKEN   /quit
or any JSON object, sent as it is. DATA is JSON if it parses, else text.";

/// What a typed line leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// An empty line.
    Nothing,
    /// Something to tell the person at the keyboard.
    Hint(String),
    /// Close and leave.
    Quit,
    /// A message for the gateway.
    Say(String),
}

/// Numbers messages, remembers which are unanswered, and renders what comes.
#[derive(Debug)]
pub(super) struct Session {
    json: bool,
    bare: bool,
    last_id: u64,
    unanswered: HashSet<u64>,
    messages: u64,
}

impl Session {
    pub(super) fn new(json: bool, bare: bool) -> Self {
        Self { json, bare, last_id: 0, unanswered: HashSet::new(), messages: 0 }
    }

    /// Deliveries seen so far.
    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn all_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    pub(super) fn forget_unanswered(&mut self) {
        self.unanswered.clear();
    }

    /// A message with the next id, whose answer is awaited.
    pub(super) fn numbered(&mut self, mut message: Value) -> String {
        self.last_id += 1;
        self.unanswered.insert(self.last_id);
        message["id"] = json!(self.last_id);
        message.to_string()
    }

    /// What a line of input means.
    pub(super) fn line(&mut self, line: &str) -> Line {
        if self.bare {
            return if line == "/quit" { Line::Quit } else { Line::Say(line.to_owned()) };
        }
        let line = line.trim();
        if line.is_empty() {
            return Line::Nothing;
        }
        let Some(command) = line.strip_prefix('/') else {
            if !serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()) {
                return Line::Hint("Not a JSON object; /help shows the short commands.".to_owned());
            }
            return Line::Say(line.to_owned());
        };
        let (command, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let message = match (command, rest) {
            ("quit", _) => return Line::Quit,
            ("help", _) => return Line::Hint(HELP.to_owned()),
            ("ping", _) => json!({"type": "ping"}),
            ("join" | "leave", room) if !room.is_empty() => json!({"type": command, "room": room}),
            ("auth", token) if !token.is_empty() => json!({"type": "auth", "token": token}),
            ("ack", ids) if !ids.is_empty() => {
                // Acknowledgements are never answered.
                let ids: Vec<&str> = ids.split_whitespace().collect();
                return Line::Say(json!({"type": "ack", "ids": ids}).to_string());
            }
            ("send" | "request", rest) if !rest.is_empty() => {
                let (to, data) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let mut message = json!({"type": command, "to": to});
                if !data.trim().is_empty() {
                    message["data"] = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data.trim()));
                }
                message
            }
            _ => return Line::Hint(format!("No such command, or something is missing.\n{HELP}")),
        };
        Line::Say(self.numbered(message))
    }

    /// A text message as a line of output.
    pub(super) fn text(&mut self, bytes: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(bytes);
        if self.bare {
            self.messages += 1;
            return Some(text.into_owned());
        }
        let Ok(frame) = serde_json::from_slice::<Value>(bytes) else { return Some(text.into_owned()) };
        if let Some(id) = frame["id"].as_u64() {
            self.unanswered.remove(&id);
        }
        if frame["type"] == "message" {
            self.messages += 1;
        }
        Some(if self.json { text.into_owned() } else { render(&frame) })
    }

    /// A binary message, which only dialect bare sends.
    pub(super) fn binary(&mut self, bytes: &[u8]) -> String {
        self.messages += 1;
        let shown: String = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
        format!("binary, {} bytes: {shown}{}", bytes.len(), if bytes.len() > 64 { "…" } else { "" })
    }
}

/// A frame for reading: its type, then its small fields, then its data.
fn render(frame: &Value) -> String {
    let mut text = format!("{:<8}", cell(frame, "type"));
    if let Some(fields) = frame.as_object() {
        for (name, value) in fields {
            if !matches!(name.as_str(), "type" | "data" | "base64") && !value.is_null() {
                text.push_str(&format!(" {name}={}", cell(frame, name)));
            }
        }
    }
    for name in ["data", "base64"] {
        if let Some(value) = frame.get(name) {
            text.push_str(&format!("  {value}"));
        }
    }
    text
}

/// The code of a close frame's payload, and what it means.
pub(super) fn describe_close(payload: &[u8]) -> (u16, String) {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return (1005, "Closed by the gateway, without a code.".to_owned());
    };
    let code = u16::from_be_bytes(*code);
    let reason = String::from_utf8_lossy(reason);
    let advice = match Close::from_code(code).map(Close::reconnect) {
        Some(Reconnect::No) => "; it was meant: do not reconnect by yourself",
        Some(Reconnect::Yes) => "; reconnect, with jitter and back-off",
        Some(Reconnect::WithNewCredential) => "; reconnect with a new token",
        Some(Reconnect::Later) => "; reconnect, but later",
        None => "",
    };
    (code, format!("Closed by the gateway: {code} {reason}{advice}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(session: &mut Session, line: &str) -> Value {
        match session.line(line) {
            Line::Say(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn short_commands_become_messages_of_the_dialect() {
        let mut session = Session::new(false, false);
        for (line, message) in [
            ("/join chat/5", json!({"type": "join", "id": 1, "room": "chat/5"})),
            ("/leave a room ", json!({"type": "leave", "id": 2, "room": "a room"})),
            ("/send message.new {\"a\":1}", json!({"type": "send", "id": 3, "to": "message.new", "data": {"a": 1}})),
            ("/request who  hello there", json!({"type": "request", "id": 4, "to": "who", "data": "hello there"})),
            ("/send poke", json!({"type": "send", "id": 5, "to": "poke"})),
            ("/ping", json!({"type": "ping", "id": 6})),
            ("/auth abc", json!({"type": "auth", "id": 7, "token": "abc"})),
            ("/ack a b", json!({"type": "ack", "ids": ["a", "b"]})),
            ("{\"type\":\"ping\"}", json!({"type": "ping"})),
        ] {
            assert_eq!(said(&mut session, line), message, "{line}");
        }
        assert_eq!(session.line(""), Line::Nothing);
        assert_eq!(session.line("/quit"), Line::Quit);
        for line in ["hello", "[1]", "/join", "/send", "/fly"] {
            assert!(matches!(session.line(line), Line::Hint(_)), "{line}");
        }
    }

    #[test]
    fn bare_lines_go_as_they_are() {
        let mut session = Session::new(false, true);

        assert_eq!(session.line(" /join x"), Line::Say(" /join x".to_owned()));
        assert_eq!(session.line(""), Line::Say(String::new()));
    }

    #[test]
    fn an_answer_settles_its_message_and_a_delivery_counts() {
        let mut session = Session::new(false, false);
        assert!(matches!(session.line("/join chat/5"), Line::Say(_)));
        assert!(!session.all_answered());

        let ok = session.text(br#"{"type":"ok","id":1}"#);
        assert_eq!(ok.as_deref(), Some("ok       id=1"));
        assert!(session.all_answered());

        let message = session.text(br#"{"type":"message","id":"m","room":"chat/5","data":{"hi":1}}"#);
        assert_eq!(message.as_deref(), Some(r#"message  id=m room=chat/5  {"hi":1}"#));
        assert_eq!(session.messages(), 1);
    }

    #[test]
    fn each_close_says_what_to_do() {
        let frame = |code: u16, reason: &str| [&code.to_be_bytes(), reason.as_bytes()].concat();

        let (code, text) = describe_close(&frame(4003, "token expired"));
        assert_eq!(
            (code, text.as_str()),
            (4003, "Closed by the gateway: 4003 token expired; reconnect with a new token.")
        );
        assert_eq!(describe_close(&frame(4999, "bye")).1, "Closed by the gateway: 4999 bye.");
        assert_eq!(describe_close(b"").0, 1005);
        assert_eq!(describe_close(b"x").0, 1005);
    }
}
