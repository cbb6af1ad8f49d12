//! The parser against frames whole, cut at every byte, packed together, and hostile.

use super::*;

fn parse_in(pieces: &[&[u8]], version: Version) -> Result<Vec<Frame>, ParseError> {
    let mut parser = Parser::new(Limits::default());
    parser.set_version(version);
    let mut frames = Vec::new();
    for piece in pieces {
        parser.feed(piece, |frame| {
            frames.push(frame);
            None
        })?;
    }
    Ok(frames)
}

fn parse(bytes: &[u8]) -> Result<Vec<Frame>, ParseError> {
    parse_in(&[bytes], Version::V1_2)
}

const STREAM: &[u8] = b"\nCONNECT\naccept-version:1.2\nAuthorization:Bearer a:b\\c\n\n\0\n\n\
SEND\r\ndestination:/app/x\r\ncontent-length:5\r\n\r\na\0b\nc\0\
SEND\ndestination:/app/y\n\nhi \xed\x95\x9c\0\r\n\
SUBSCRIBE\nid:sub-0\ndestination:/topic/a\\cb\n\n\0DISCONNECT\nreceipt:7\n\n\0";

#[test]
fn frames_are_read_whatever_way_they_are_cut() {
    let whole = parse(STREAM).unwrap();
    assert_eq!(whole.len(), 5);
    assert_eq!(whole[0].header("Authorization"), Some("Bearer a:b\\c"), "CONNECT is never escaped");
    assert_eq!(whole[1].body, b"a\0b\nc"[..]);
    assert_eq!(whole[2].body, "hi 한".as_bytes());
    assert_eq!(whole[3].header("destination"), Some("/topic/a:b"));
    assert_eq!(whole[4].command, Command::Disconnect);

    for cut in 0..=STREAM.len() {
        let (head, tail) = STREAM.split_at(cut);
        assert_eq!(parse_in(&[head, tail], Version::V1_2).as_ref(), Ok(&whole), "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
    assert_eq!(parse_in(&bytes, Version::V1_2), Ok(whole));
}

#[test]
fn nothing_is_held_between_frames() {
    let mut parser = Parser::new(Limits::default());

    parser.feed(STREAM, |_| None).unwrap();

    assert_eq!((parser.pending_bytes(), parser.buffer.capacity()), (0, 0));
}

#[test]
fn the_version_that_connect_settles_holds_for_frames_behind_it() {
    let mut parser = Parser::new(Limits::default());
    let mut values = Vec::new();

    parser
        .feed(b"CONNECT\n\n\0SEND\ndestination: /pub/chat\nx:a\\t\n\n\0", |frame| {
            values.extend(frame.headers.into_iter().map(|(_, value)| value));
            (frame.command == Command::Connect).then_some(Version::V1_0)
        })
        .unwrap();

    assert_eq!(values, ["/pub/chat", "a\\t"]);
}

#[test]
fn what_is_no_frame_is_refused() {
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\n\n\0"[..], ParseError::UnknownCommand),
        (b"MESSAGE\n\n\0", ParseError::UnknownCommand),
        (&[b'x'; 40], ParseError::UnknownCommand),
        (b"SEND\nno colon\n\n\0", ParseError::MalformedHeader),
        (b"SEND\na:b\rc\n\n\0", ParseError::MalformedHeader),
        (b"SEND\na:\xff\n\n\0", ParseError::MalformedHeader),
        (b"SEND\na:\\t\n\n\0", ParseError::MalformedHeader),
        (b"SEND\na:b\0\n\n\0", ParseError::MalformedHeader),
        (b"SEND\ncontent-length:1\n\nab\0", ParseError::BadLength),
        (b"SUBSCRIBE\nid:1\n\nbody\0", ParseError::UnexpectedBody),
        (b"SEND\ncontent-length:70000\n\n", ParseError::TooLarge),
        (b"SEND\ncontent-length:4294967295\n\n", ParseError::TooLarge),
    ] {
        assert_eq!(parse(bytes), Err(error), "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn each_bound_holds_also_for_what_never_ends() {
    let line = [&b"SEND\nx:"[..], &[b'a'; 17 << 10]].concat();
    let head = [&b"SEND\n"[..], &b"x:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(1000)].concat();
    let count = [&b"SEND\n"[..], &b"x:a\n".repeat(65), b"\n\0"].concat();
    let body = [&b"SEND\n\n"[..], &[b'a'; 64 << 10]].concat();

    for bytes in [line, head, count, body] {
        assert_eq!(parse(&bytes), Err(ParseError::TooLarge));
        let pieces: Vec<&[u8]> = bytes.chunks(100).collect();
        assert_eq!(parse_in(&pieces, Version::V1_2), Err(ParseError::TooLarge));
    }
}

#[test]
fn bodies_where_1_0_says_they_are_ignored_are_ignored() {
    let frames = parse_in(&[b"SUBSCRIBE\ndestination:/a\n\nbody\0"], Version::V1_0).unwrap();

    assert!(frames[0].body.is_empty());
}

#[test]
fn a_length_that_is_no_number_counts_as_absent() {
    let frames = parse(b"SEND\ncontent-length:false\n\nabc\0").unwrap();

    assert_eq!(frames[0].body, b"abc"[..]);
}

/// Each command of a client, with what it usually carries.
const COMMANDS: [&[u8]; 11] = [
    b"CONNECT\naccept-version:1.0,1.1,1.2\nheart-beat:10000,10000\nlogin:a\npasscode:b:c\n\n\0",
    b"STOMP\r\naccept-version:1.2\r\nhost:x\r\n\r\n\0",
    b"SEND\ndestination:/app/a\ncontent-type:text/plain\ncontent-length:9\n\n\xed\x95\x9c\0\0\nSEN\0",
    b"SUBSCRIBE\nid:sub-0\ndestination:/topic/a\nack:client\nreceipt:1\n\n\0",
    b"UNSUBSCRIBE\nid:sub-0\n\n\0",
    b"ACK\nid:m-1\nsubscription:sub-0\ntransaction:t\n\n\0",
    b"NACK\nmessage-id:m-1\n\n\0",
    b"BEGIN\ntransaction:t\n\n\0",
    b"COMMIT\ntransaction:t\n\n\0",
    b"ABORT\ntransaction:t\n\n\0",
    b"DISCONNECT\nreceipt:77\n\n\0",
];

#[test]
fn every_frame_is_read_in_every_version_whatever_way_it_is_cut() {
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        for bytes in COMMANDS {
            let whole = parse_in(&[bytes], version).unwrap();
            assert_eq!(whole.len(), 1);
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    assert_eq!(parse_in(&pieces, version).as_ref(), Ok(&whole), "cut at {first} and {second}");
                }
            }
        }
    }
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

#[test]
fn damaged_streams_end_alike_whatever_way_they_are_cut() {
    const BYTES: [u8; 12] = [0, b'\n', b'\r', b':', b'\\', b' ', b'0', b'9', b'S', 0x7f, 0xed, 0xff];
    let mut dice = Dice(1);
    let clean = COMMANDS.concat();
    for round in 0..3000 {
        let mut stream = clean.clone();
        for _ in 0..=dice.below(4) {
            let (at, byte) = (dice.below(stream.len()), BYTES[dice.below(BYTES.len())]);
            match dice.below(3) {
                0 => stream[at] = byte,
                1 => stream.insert(at, byte),
                _ => drop(stream.drain(at..(at + dice.below(20)).min(stream.len() - 1).max(at))),
            }
        }
        let version = [Version::V1_0, Version::V1_1, Version::V1_2][dice.below(3)];
        let whole = parse_in(&[&stream], version);
        let size = 1 + dice.below(40);
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        assert_eq!(parse_in(&pieces, version), whole, "round {round}, in pieces of {size}");
    }
}
