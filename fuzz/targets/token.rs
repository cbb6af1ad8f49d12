//! Tokens: what decodes encodes to the same token, and each key survives.
#![no_main]

use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::subject::{Kind, Subjects};
use holdfast_protocol::token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = token::decode(text) {
        assert_eq!(token::encode(&key), text);
    }
    if token::check_key(text).is_ok() {
        let encoded = token::encode(text);
        assert_eq!(token::decode(&encoded).as_deref(), Ok(text));
        assert_eq!(token::partition_of_key(text), token::partition_of_token(&encoded));
    }
    if let Some(id) = ConnectionId::parse(text) {
        assert_eq!(id.to_string(), text);
    }
    let subjects = Subjects::new("hf");
    for kind in [Kind::Send, Kind::Ctl, Kind::Keep] {
        let _parsed = subjects.parse_address(kind, text);
    }
    let _parsed = subjects.parse_query(text);
});
