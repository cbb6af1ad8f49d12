//! The WebSocket decoder: the same items, or the same fault, whole or cut anywhere.
#![no_main]

use holdfast_gateway::ws::{Decoder, Limits};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { message_bytes_max: 4096, fragments_max: 16 };

fn decode(pieces: [&[u8]; 2]) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut items = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            match decoder.next(&LIMITS, &mut input) {
                Ok(Some(item)) => {
                    items.push(format!("{item:?}"));
                    // Nothing may be asked of a decoder behind a close.
                    if items.last().is_some_and(|item| item.starts_with("Close")) {
                        return items;
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    items.push(format!("{fault:?}"));
                    return items;
                }
            }
        }
    }
    items
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, data) = input;
    let (head, tail) = data.split_at(usize::from(cut).min(data.len()));
    assert_eq!(decode([head, tail]), decode([data, &[]]));
});
