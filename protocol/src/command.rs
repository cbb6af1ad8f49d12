//! Commands as domain services write them (`ctl.*`, JSON), checked into [`Command`]s. Knows no subject and no reply.

use serde::Deserialize;

use crate::close::{Close, may_disconnect_with};
use crate::limits::{CLOSE_REASON_BYTES_MAX, DEVICE_BYTES_MAX, KEY_BYTES_MAX};
use crate::wire::{Command, Text};

/// Longest `jti`: a token's id is a short word, but nobody fixes how short.
pub const JTI_BYTES_MAX: usize = 512;

/// Why a body is no command. The text is for the publisher: service error 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not a JSON object with fields of the right types.
    #[error("the command is not valid: {0}")]
    Body(String),
    /// No such `do`.
    #[error("unknown command: {0}")]
    Unknown(String),
    /// The command exists, but not for this kind of target.
    #[error("{0} is for {1} only")]
    Misdirected(&'static str, &'static str),
    /// A field that must be there is not.
    #[error("{0} needs a {1}")]
    Missing(&'static str, &'static str),
    /// A field is empty, too long or outside its range.
    #[error("{0} must be {1}")]
    Invalid(&'static str, &'static str),
}

/// What a command is addressed to: connections and nodes know different commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// `ctl.user`, `ctl.connection`, `ctl.room`, `ctl.all`.
    Connections,
    /// `ctl.node`.
    Node,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "do")]
    verb: Option<String>,
    room: Option<String>,
    code: Option<u64>,
    reason: Option<String>,
    device: Option<String>,
    jti: Option<String>,
    percent: Option<u64>,
}

/// Reads a command's body. Unknown fields are ignored.
///
/// # Errors
/// The body is no command for this audience; the text says why.
pub fn parse(body: &[u8], audience: Audience) -> Result<Command, CommandError> {
    let body: Body = serde_json::from_slice(body).map_err(|error| CommandError::Body(error.to_string()))?;
    let Some(verb) = body.verb.as_deref() else {
        return Err(CommandError::Body("no field \"do\"".to_owned()));
    };
    let (command, meant_for) = match verb {
        "join" => (Command::Join { room: key("join", "room", body.room)? }, Audience::Connections),
        "leave" => (Command::Leave { room: key("leave", "room", body.room)? }, Audience::Connections),
        "disconnect" => (disconnect(body.code, body.reason, body.device)?, Audience::Connections),
        "expire" => {
            let jti = body.jti.ok_or(CommandError::Missing("expire", "jti"))?;
            if jti.is_empty() || jti.len() > JTI_BYTES_MAX {
                return Err(CommandError::Invalid("jti", "1 to 512 bytes"));
            }
            (Command::Expire { jti: jti.into() }, Audience::Connections)
        }
        "pause" => (Command::Pause, Audience::Connections),
        "resume" => (Command::Resume, Audience::Connections),
        "drain" => (Command::Drain, Audience::Node),
        "uncordon" => (Command::Uncordon, Audience::Node),
        "shed" => {
            let percent = body.percent.ok_or(CommandError::Missing("shed", "percent"))?;
            match u8::try_from(percent) {
                Ok(percent @ 1..=100) => (Command::Shed { percent }, Audience::Node),
                _ => return Err(CommandError::Invalid("percent", "1 to 100")),
            }
        }
        other => return Err(CommandError::Unknown(other.chars().take(64).collect())),
    };
    match (meant_for, audience) {
        (Audience::Connections, Audience::Node) => {
            Err(CommandError::Misdirected("this command", "users, rooms, connections and all"))
        }
        (Audience::Node, Audience::Connections) => Err(CommandError::Misdirected("this command", "nodes")),
        (Audience::Connections, Audience::Connections) | (Audience::Node, Audience::Node) => Ok(command),
    }
}

fn key(verb: &'static str, field: &'static str, value: Option<String>) -> Result<Text, CommandError> {
    let value = value.ok_or(CommandError::Missing(verb, field))?;
    if value.is_empty() || value.len() > KEY_BYTES_MAX {
        return Err(CommandError::Invalid(field, "1 to 200 bytes"));
    }
    Ok(value.into())
}

fn disconnect(code: Option<u64>, reason: Option<String>, device: Option<String>) -> Result<Command, CommandError> {
    let code = match code {
        None => Close::Disconnected.code(),
        Some(code) => match u16::try_from(code) {
            Ok(code) if may_disconnect_with(code) => code,
            _ => return Err(CommandError::Invalid("code", "1000, 1008, 1012, 1013 or 3000 to 4999")),
        },
    };
    // Without words of its own the publisher gets the catalogue's, where the code is in it.
    let reason = reason.unwrap_or_else(|| Close::from_code(code).map_or("", Close::reason).to_owned());
    if reason.len() > CLOSE_REASON_BYTES_MAX {
        return Err(CommandError::Invalid("reason", "at most 123 bytes"));
    }
    if let Some(device) = &device
        && (device.is_empty() || device.len() > DEVICE_BYTES_MAX)
    {
        return Err(CommandError::Invalid("device", "1 to 64 bytes"));
    }
    Ok(Command::Disconnect { code, reason: reason.into(), device: device.map(Text::from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Result<Command, CommandError> {
        parse(body.as_bytes(), Audience::Connections)
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(check(r#"{"do":"join","room":"chat/5"}"#), Ok(Command::Join { room: "chat/5".into() }));
        assert_eq!(check(r#"{"do":"leave","room":"한","extra":[]}"#), Ok(Command::Leave { room: "한".into() }));
        assert_eq!(check(r#"{"do":"pause"}"#), Ok(Command::Pause));
        assert_eq!(check(r#"{"do":"expire","jti":"x"}"#), Ok(Command::Expire { jti: "x".into() }));
        assert_eq!(
            check(r#"{"do":"disconnect","code":4321,"reason":"bye","device":"ios"}"#),
            Ok(Command::Disconnect { code: 4321, reason: "bye".into(), device: Some("ios".into()) })
        );
        assert_eq!(parse(br#"{"do":"shed","percent":5}"#, Audience::Node), Ok(Command::Shed { percent: 5 }));
    }

    #[test]
    fn a_disconnect_has_a_default() {
        let Ok(Command::Disconnect { code, reason, device }) = check(r#"{"do":"disconnect"}"#) else {
            panic!("refused");
        };
        assert_eq!((code, &*reason, device), (4000, Close::Disconnected.reason(), None));
    }

    #[test]
    fn what_is_no_command_says_why() {
        let long = format!(r#"{{"do":"disconnect","reason":"{}"}}"#, "x".repeat(124));
        for (body, words) in [
            ("", "not valid"),
            ("{", "not valid"),
            ("[]", "not valid"),
            ("{}", "\"do\""),
            (r#"{"do":"fly"}"#, "fly"),
            (r#"{"do":"join"}"#, "room"),
            (r#"{"do":"join","room":""}"#, "room"),
            (r#"{"do":"join","room":7}"#, "string"),
            (r#"{"do":"disconnect","code":1005}"#, "code"),
            (r#"{"do":"disconnect","code":99999}"#, "code"),
            (r#"{"do":"disconnect","code":-1}"#, "-1"),
            (r#"{"do":"disconnect","device":""}"#, "device"),
            (&long, "reason"),
            (r#"{"do":"expire"}"#, "jti"),
            (r#"{"do":"drain"}"#, "nodes"),
        ] {
            let error = check(body).expect_err(body).to_string();
            assert!(error.contains(words), "{body}: {error}");
        }
        for body in
            [r#"{"do":"shed","percent":0}"#, r#"{"do":"shed","percent":101}"#, r#"{"do":"shed"}"#, r#"{"do":"pause"}"#]
        {
            assert!(parse(body.as_bytes(), Audience::Node).is_err(), "{body}");
        }
    }
}
