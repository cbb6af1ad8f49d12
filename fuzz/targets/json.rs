//! Client messages of dialects `json` and `bare`: any text is refused or understood.
#![no_main]

use holdfast_protocol::dialect::{bare, json, split_to};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(head) = json::read(text) {
        let _body = head.body();
    }
    let _init = bare::init(text);
    let _path = bare::path_of(text, "type");
    if let Some(segments) = split_to(text) {
        assert_eq!(segments.join("."), text);
    }
});
