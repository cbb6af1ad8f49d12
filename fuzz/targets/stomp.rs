//! STOMP frames: the same frames, or the same refusal, whole or cut anywhere.
#![no_main]

use holdfast_protocol::dialect::stomp::{Command, Frame, Limits, ParseError, Parser, Version};
use libfuzzer_sys::fuzz_target;

fn parse(pieces: [&[u8]; 2]) -> (Vec<Frame>, Option<ParseError>) {
    let mut parser = Parser::new(Limits::default());
    let mut frames = Vec::new();
    for piece in pieces {
        let fed = parser.feed(piece, |frame| {
            let version = (frame.command == Command::Connect)
                .then(|| Version::negotiate(frame.header("accept-version")).ok())
                .flatten();
            frames.push(frame);
            version
        });
        assert!(parser.pending_bytes() <= Limits::default().frame_bytes_max + piece.len());
        if let Err(error) = fed {
            return (frames, Some(error));
        }
    }
    (frames, None)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, data) = input;
    let (head, tail) = data.split_at(usize::from(cut).min(data.len()));
    assert_eq!(parse([head, tail]), parse([data, &[]]));
});
