//! Headers of sends and bodies of commands: any text is refused or understood, within bounds.
#![no_main]

use holdfast_protocol::command::{self, Audience};
use holdfast_protocol::limits::{FILTER_ENTRIES_MAX, MANY_TARGETS_MAX};
use holdfast_protocol::send::{SendOptions, parse_targets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _command = command::parse(data, Audience::Connections);
    let _command = command::parse(data, Audience::Node);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let headers: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(':')).collect();
    if let Ok(options) = SendOptions::parse(&headers[..]) {
        assert!(options.only.len() <= FILTER_ENTRIES_MAX);
        if let Ok(targets) = parse_targets(options.to) {
            assert!(!targets.is_empty() && targets.len() <= MANY_TARGETS_MAX);
        }
    }
});
