//! The hostile and the harmless streams that the fuzz target of STOMP begins with, and those that it found: the same
//! frames, or the same refusal, whole and cut, within bounds.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
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

#[test]
fn what_the_fuzzer_found_means_the_same_wherever_it_is_cut() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/stomp.tar.gz");
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(&file).expect("the corpus is in the repository")));
    let mut refused = 0;
    let mut inputs = 0;
    for entry in archive.entries().expect("a tar") {
        let mut input = Vec::new();
        let mut entry = entry.expect("an entry");
        entry.read_to_end(&mut input).expect("an input");
        let name = entry.path().expect("a name").display().to_string();
        // As the target reads it: where to cut, then the stream.
        let Some((cut, stream)) = input.split_first_chunk() else { continue };
        let (head, tail) = stream.split_at(usize::from(u16::from_le_bytes(*cut)).min(stream.len()));
        let whole = parse([stream]);
        assert_eq!(parse([head, tail]), whole, "{name} cut at {}", head.len());
        assert_eq!(parse(stream.chunks(1)), whole, "{name} byte by byte");
        assert_eq!(parse(stream.chunks(7)), whole, "{name} by seven");
        refused += usize::from(whole.1.is_some());
        inputs += 1;
    }
    assert!(inputs > 200 && refused > 50, "{inputs} inputs, {refused} of them refused");
}
