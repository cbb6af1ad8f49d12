//! `holdfast token`: a signed token for development and tests. In production your own login service makes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use crate::args::{Global, parse_duration, parse_key};
use crate::exit::{Exit, Failure, Outcome};
use crate::output;

/// The shortest secret a gateway accepts: RFC 7518 §3.2 wants as many bytes as the hash has.
const SECRET_BYTES_MIN: usize = 32;

const AFTER_HELP: &str = "\
Examples:
  export HOLDFAST_AUTH__JWT__SECRET=development-secret-of-32-bytes-or-more
  holdfast token --user ana
  holdfast token --user ana --rooms 'chat/*,news/**' --ttl 10m --jti 7f3c
  holdfast token --user ana --device ios --attributes role=admin,level=3
  holdfast connect ws://127.0.0.1:8080/ws/chat --token \"$(holdfast token --user ana)\"";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TokenArgs {
    /// The user: claim `sub`.
    #[arg(long, value_parser = parse_key)]
    user: String,
    /// The gateway's HMAC secret, at least 32 bytes.
    #[arg(long, env = "HOLDFAST_AUTH__JWT__SECRET", hide_env_values = true)]
    secret: String,
    /// Patterns of rooms the user may join, separated by commas: * is one segment, ** the rest.
    #[arg(long, default_value = "**", value_delimiter = ',')]
    rooms: Vec<String>,
    /// Leave the claim `rooms` out: the user may join none itself.
    #[arg(long, conflicts_with = "rooms")]
    no_rooms: bool,
    /// Attributes for Hf-Only: name=value pairs separated by commas, or one JSON object.
    #[arg(long, value_parser = parse_attributes)]
    attributes: Option<Map<String, Value>>,
    /// How long it is valid.
    #[arg(long, default_value = "1h", value_parser = parse_duration, value_name = "DURATION")]
    ttl: Duration,
    /// The device it is for.
    #[arg(long)]
    device: Option<String>,
    /// Its id, so that `holdfast ctl … expire` can revoke it.
    #[arg(long)]
    jti: Option<String>,
}

fn parse_attributes(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let mut attributes = Map::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=').ok_or("write NAME=VALUE,… or a JSON object")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        attributes.insert(name.trim().to_owned(), value);
    }
    Ok(attributes)
}

fn claims(args: &TokenArgs, now: Duration) -> Value {
    let mut claims = json!({"sub": args.user, "iat": now.as_secs(), "exp": (now + args.ttl).as_secs()});
    if !args.no_rooms {
        claims["rooms"] = json!(args.rooms);
    }
    if let Some(attributes) = &args.attributes {
        claims["attributes"] = json!(attributes);
    }
    if let Some(device) = &args.device {
        claims["device"] = json!(device);
    }
    if let Some(jti) = &args.jti {
        claims["jti"] = json!(jti);
    }
    claims
}

/// Signs and prints.
pub(crate) fn run(global: &Global, args: TokenArgs) -> Outcome {
    if args.secret.len() < SECRET_BYTES_MIN {
        return Err(Failure::usage(format!(
            "the secret is shorter than {SECRET_BYTES_MIN} bytes: no gateway accepts it"
        )));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let claims = claims(&args, now);
    let key = EncodingKey::from_secret(args.secret.as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).context("cannot sign")?;
    output::line(&if global.json { json!({"token": token, "claims": claims}).to_string() } else { token })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn claims_of(line: &[&str]) -> Value {
        let head = ["holdfast", "token", "--secret", "0123456789abcdef0123456789abcdef", "--user", "ana"];
        let cli = Cli::try_parse_from(head.iter().chain(line)).unwrap();
        let Command::Token(args) = cli.command else { unreachable!("token was parsed") };
        claims(&args, Duration::from_secs(1_000))
    }

    #[test]
    fn options_become_claims() {
        assert_eq!(claims_of(&[]), json!({"sub": "ana", "iat": 1_000, "exp": 4_600, "rooms": ["**"]}));
        assert_eq!(
            claims_of(&[
                "--rooms",
                "chat/*,news/**",
                "--ttl",
                "10s",
                "--device",
                "ios",
                "--jti",
                "j1",
                "--attributes",
                "role=admin,level=3",
            ]),
            json!({"sub": "ana", "iat": 1_000, "exp": 1_010, "rooms": ["chat/*", "news/**"], "device": "ios",
                "jti": "j1", "attributes": {"role": "admin", "level": 3}})
        );
        assert_eq!(claims_of(&["--no-rooms"]), json!({"sub": "ana", "iat": 1_000, "exp": 4_600}));
    }

    #[test]
    fn attributes_may_be_a_json_object() {
        assert_eq!(claims_of(&["--attributes", r#"{"teams":["a","b"]}"#])["attributes"], json!({"teams": ["a", "b"]}));
        assert!(parse_attributes("role").is_err());
        assert!(parse_attributes("{").is_err());
    }
}
