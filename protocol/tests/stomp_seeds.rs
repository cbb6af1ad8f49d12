//! The hostile and the harmless streams that the fuzz target of STOMP begins with: the same frames, or the same refusal,
//! whole and cut at every byte, within bounds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use holdfast_protocol::dialect::stomp::{Command, Frame, Limits, ParseError, Parser, Version};

fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<ParseError>) {
    let mut parser = Parser::new(Limits::default());
    let mut frames = Vec::new();
    for piece in pieces {
        let fed = parser.feed(piece, |frame| {
            let settles = frame.command == Command::Connect;
            let version = settles.then(|| Version::negotiate(frame.header("accept-version")).ok()).flatten();
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

#[test]
fn every_seed_means_the_same_wherever_it_is_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/stomp");
    let mut refusals = BTreeSet::new();
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).expect("the seeds are in the repository") {
        let path = entry.expect("an entry").path();
        let stream = fs::read(&path).expect("a seed");
        let whole = parse([&stream[..]]);
        // Long ones are long by one thing repeated: cutting at each byte of that tells nothing more.
        let every = if stream.len() > 4096 { 997 } else { 1 };
        for cut in (0..stream.len()).step_by(every) {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(parse([head, tail]), whole, "{} cut at {cut}", path.display());
        }
        assert_eq!(parse(stream.chunks(1)), whole, "{} byte by byte", path.display());
        refusals.extend(whole.1.map(|error| error.to_string()));
        seeds += 1;
    }
    assert!(seeds >= 30, "{seeds} seeds in {}", folder.display());
    assert_eq!(refusals.len(), 5, "each refusal has its seed: {refusals:?}");
}
