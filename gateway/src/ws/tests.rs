//! Frames as a client would send them, cut wherever the network may cut them.

use fastwebsockets::OpCode;

use super::*;

const LIMITS: Limits = Limits { message_bytes_max: 70_000, fragments_max: 8 };

#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn own(item: &Item<'_>) -> Got {
    match *item {
        Item::Text(text) => Got::Text(text.to_owned()),
        Item::Binary(bytes) => Got::Binary(bytes.to_vec()),
        Item::Ping(bytes) => Got::Ping(bytes.to_vec()),
        Item::Pong(bytes) => Got::Pong(bytes.to_vec()),
        Item::Close { code, reason } => Got::Close(code, reason.to_owned()),
    }
}

/// A masked frame in its shortest form.
fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![u8::from(fin) << 7 | opcode as u8];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(true, OpCode::Close, &[&code.to_be_bytes(), reason].concat())
}

/// Feeds the pieces one after the other; what came out, and the fault if one ended it.
fn decode(pieces: &[&[u8]]) -> (Vec<Got>, Option<Fault>) {
    let mut decoder = Decoder::default();
    let mut got = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = bytes.as_mut_slice();
        loop {
            match decoder.next(&LIMITS, &mut input) {
                Ok(Some(item)) => got.push(own(&item)),
                Ok(None) => break,
                Err(fault) => return (got, Some(fault)),
            }
        }
        assert!(input.is_empty(), "the decoder left bytes in the buffer");
    }
    (got, None)
}

fn fault_of(bytes: &[u8]) -> Fault {
    decode(&[bytes]).1.expect("a fault")
}

#[test]
fn messages_are_the_same_wherever_the_stream_is_cut() {
    let stream = [
        frame(true, OpCode::Text, "häuser".as_bytes()),
        frame(false, OpCode::Text, "κόσ".as_bytes()),
        frame(true, OpCode::Ping, b"are you there"),
        frame(false, OpCode::Continuation, b""),
        frame(true, OpCode::Continuation, "με".as_bytes()),
        frame(true, OpCode::Binary, &[7; 300]),
        frame(true, OpCode::Pong, b""),
        frame(true, OpCode::Text, b""),
        close_frame(1001, b"bye"),
    ]
    .concat();
    let expected = vec![
        Got::Text("häuser".to_owned()),
        Got::Ping(b"are you there".to_vec()),
        Got::Text("κόσμε".to_owned()),
        Got::Binary(vec![7; 300]),
        Got::Pong(Vec::new()),
        Got::Text(String::new()),
        Got::Close(Some(1001), "bye".to_owned()),
    ];

    assert_eq!(decode(&[&stream]), (expected.clone(), None));
    for cut in 0..=stream.len() {
        let (front, back) = stream.split_at(cut);
        assert_eq!(decode(&[front, back]), (expected.clone(), None), "cut at {cut}");
    }
    let bytes: Vec<_> = stream.chunks(1).collect();
    assert_eq!(decode(&bytes), (expected, None));
}

#[test]
fn each_length_form_carries_its_whole_range() {
    for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![b'x'; bytes];
        let wire = frame(true, OpCode::Text, &payload);
        let (front, back) = wire.split_at(wire.len() / 2);

        let expected = vec![Got::Text("x".repeat(bytes))];

        assert_eq!(decode(&[&wire]), (expected.clone(), None));
        assert_eq!(decode(&[front, back]), (expected, None));
    }
}

#[test]
fn bad_heads_are_refused_at_their_first_wrong_byte() {
    let cases: [(&[u8], Fault); 14] = [
        (&[0x80 | 0x40 | 0x1], Fault::ReservedBit),
        (&[0x80 | 0x20 | 0x1], Fault::ReservedBit),
        (&[0x80 | 0x10 | 0x1], Fault::ReservedBit),
        (&[0x80 | 0x3], Fault::Opcode(3)),
        (&[0x80 | 0xb], Fault::Opcode(11)),
        (&[0x09], Fault::ControlFragmented),
        (&[0x81, 0x05], Fault::Unmasked),
        (&[0x89, 0x80 | 126], Fault::ControlTooLong),
        (&[0x88, 0x80 | 127], Fault::ControlTooLong),
        (&[0x82, 0x80 | 127, 0x80], Fault::LengthTopBit),
        (&[0x82, 0x80 | 126, 0, 125], Fault::LengthNotMinimal),
        (&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Fault::LengthNotMinimal),
        (&[0x80, 0x80, 1, 2, 3, 4], Fault::StrayContinuation),
        (&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0x11, 0x71, 1, 2, 3, 4], Fault::MessageTooBig),
    ];
    for (bytes, fault) in cases {
        assert_eq!(fault_of(bytes), fault, "{bytes:x?}");
        let singly: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(decode(&singly).1, Some(fault), "{bytes:x?} byte by byte");
        let (front, _) = bytes.split_at(bytes.len() - 1);
        assert_eq!(decode(&[front]).1, None, "{bytes:x?} without its last byte");
    }
}

#[test]
fn a_message_inside_a_message_is_refused() {
    let stream = [frame(false, OpCode::Text, b"a"), frame(true, OpCode::Text, b"b")].concat();

    assert_eq!(fault_of(&stream), Fault::Interleaved);
}

#[test]
fn the_limit_counts_all_fragments_and_claims() {
    let half = vec![0; 35_000];
    let fits = [frame(false, OpCode::Binary, &half), frame(true, OpCode::Continuation, &half)].concat();
    let over = [frame(false, OpCode::Binary, &half), frame(true, OpCode::Continuation, &[0; 35_001])].concat();
    let head_of_over = over.get(..fits.len() - half.len()).unwrap();

    assert_eq!(decode(&[&fits]).0, vec![Got::Binary(vec![0; 70_000])]);
    assert_eq!(fault_of(&over), Fault::MessageTooBig);
    assert_eq!(fault_of(head_of_over), Fault::MessageTooBig);
}

#[test]
fn fragments_are_counted_even_when_they_are_empty() {
    let mut stream = frame(false, OpCode::Text, b"");
    for _ in 0..7 {
        stream.extend(frame(false, OpCode::Continuation, b""));
    }

    assert_eq!(decode(&[&stream]), (Vec::new(), None));
    stream.extend(frame(true, OpCode::Continuation, b""));
    assert_eq!(fault_of(&stream), Fault::TooManyFragments);
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let limits = Limits { message_bytes_max: usize::MAX, fragments_max: 1 };
    let mut head = vec![0x82, 0x80 | 127];
    head.extend((1_u64 << 40).to_be_bytes());
    head.extend([1, 2, 3, 4]);
    head.extend([9; 10]);
    let mut decoder = Decoder::default();

    let mut input = head.as_mut_slice();
    assert_eq!(decoder.next(&limits, &mut input), Ok(None));

    assert!(decoder.received_capacity() <= 32, "{}", decoder.received_capacity());
}

#[test]
fn bad_utf8_fails_at_its_first_byte() {
    // The head claims more than is there: the fault must not wait for the rest.
    let bad: [&[u8]; 7] =
        [b"ok \xff", b"ok \xc0", b"ok \xed\xa0", b"ok \xf4\x90", b"ok \xf8", b"ok \x80", b"\xce\xba\xfe"];
    for payload in bad {
        let whole = frame(true, OpCode::Text, &[payload, b"                 "].concat());
        let bad_end = 6 + payload.len();
        let (front, _) = whole.split_at(bad_end);
        let (good, _) = whole.split_at(bad_end - 1);

        assert_eq!(fault_of(front), Fault::InvalidUtf8, "{payload:x?}");
        assert_eq!(decode(&[good]).1, None, "{payload:x?} without its last byte");
        let singly: Vec<_> = front.chunks(1).collect();
        assert_eq!(decode(&singly).1, Some(Fault::InvalidUtf8), "{payload:x?} byte by byte");
    }
}

#[test]
fn characters_may_span_frames_but_not_the_message_end() {
    let [first, second] = [0xc3_u8, 0xa4];
    let spanning = [frame(false, OpCode::Text, &[first]), frame(true, OpCode::Continuation, &[second])].concat();
    let cut_off = [frame(false, OpCode::Text, b"a"), frame(true, OpCode::Continuation, &[first])].concat();

    assert_eq!(decode(&[&spanning]), (vec![Got::Text("ä".to_owned())], None));
    assert_eq!(fault_of(&cut_off), Fault::InvalidUtf8);
    assert_eq!(fault_of(&frame(true, OpCode::Text, &[first])), Fault::InvalidUtf8);
}

#[test]
fn binary_is_not_text() {
    let payload = [0xff, 0xfe, 0x00];
    let stream = [frame(false, OpCode::Binary, &payload), frame(true, OpCode::Continuation, &payload)].concat();

    assert_eq!(decode(&[&stream]), (vec![Got::Binary([payload, payload].concat())], None));
}

#[test]
fn close_codes_follow_the_registry() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        assert_eq!(decode(&[&close_frame(code, b"")]), (vec![Got::Close(Some(code), String::new())], None));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(fault_of(&close_frame(code, b"")), Fault::CloseCode(code));
    }
    assert_eq!(decode(&[&frame(true, OpCode::Close, b"")]), (vec![Got::Close(None, String::new())], None));
    assert_eq!(fault_of(&frame(true, OpCode::Close, &[3])), Fault::CloseTooShort);
    assert_eq!(fault_of(&close_frame(1000, b"\xc3\x28")), Fault::InvalidUtf8);
}

#[test]
fn nothing_is_held_when_nothing_is_incomplete() {
    let stream =
        [frame(false, OpCode::Text, b"a"), frame(true, OpCode::Ping, b"p"), frame(true, OpCode::Continuation, b"b")]
            .concat();
    for cut in 0..=stream.len() {
        let mut decoder = Decoder::default();
        let (front, back) = stream.split_at(cut);
        for piece in [front, back] {
            let mut piece = piece.to_vec();
            let mut input = piece.as_mut_slice();
            while decoder.next(&LIMITS, &mut input).unwrap().is_some() {}
        }
        assert!(!decoder.is_partial(), "cut at {cut}");
    }
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());
}

/// A small generator, so that a failure can be repeated from its seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn text(&mut self) -> String {
        let bytes = [0, 3, 40, 130, 5000][self.below(5)];
        (0..bytes).map(|_| ['a', 'ß', '€', '𐍈'][self.below(4)]).collect()
    }

    /// Cuts at most `cuts` times.
    fn cut<'a>(&mut self, bytes: &'a [u8], cuts: usize) -> Vec<&'a [u8]> {
        let mut at: Vec<_> = (0..self.below(cuts + 1)).map(|_| self.below(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).filter_map(|ends| bytes.get(ends[0]..ends[1])).collect()
    }
}

#[test]
fn random_messages_in_random_fragments_and_pieces_survive() {
    for seed in 0..300 {
        let mut seeded = Seeded(seed);
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..=seeded.below(6) {
            let text = seeded.text();
            let as_text = seeded.below(2) == 0;
            let fragments = seeded.cut(text.as_bytes(), 5);
            for (index, fragment) in fragments.iter().enumerate() {
                let kind = if as_text { OpCode::Text } else { OpCode::Binary };
                let opcode = if index == 0 { kind } else { OpCode::Continuation };
                stream.extend(frame(index + 1 == fragments.len(), opcode, fragment));
                if index + 1 < fragments.len() && seeded.below(3) == 0 {
                    let payload = vec![1; seeded.below(126)];
                    stream.extend(frame(true, OpCode::Ping, &payload));
                    expected.push(Got::Ping(payload));
                }
            }
            expected.push(if as_text { Got::Text(text) } else { Got::Binary(text.into_bytes()) });
        }
        let pieces = seeded.cut(&stream, 40);

        assert_eq!(decode(&pieces), (expected, None), "seed {seed}");
    }
}

#[test]
fn random_bytes_do_no_harm_and_do_not_depend_on_the_cut() {
    for seed in 0..3000 {
        let mut seeded = Seeded(seed);
        let mut stream = frame(true, OpCode::Text, b"good");
        stream.extend((0..seeded.below(200)).map(|_| u8::try_from(seeded.below(256)).unwrap()));
        // Bits that let the noise get past the first byte.
        if let Some(byte) = stream.get_mut(10) {
            *byte &= 0x8a;
        }
        if let Some(byte) = stream.get_mut(11) {
            *byte |= 0x80;
        }
        let singly: Vec<_> = stream.chunks(1).collect();

        assert_eq!(decode(&[&stream]), decode(&singly), "seed {seed}");
    }
}

#[test]
fn frames_of_ours_are_unmasked_and_whole() {
    assert_eq!(frame::text(b"hi").as_ref(), b"\x81\x02hi");
    assert_eq!(frame::binary(&[1]).as_ref(), b"\x82\x01\x01");
    assert_eq!(frame::pong(b"x").as_ref(), b"\x8a\x01x");
    assert_eq!(frame::text(&[b'a'; 126]).get(..4), Some(&b"\x81\x7e\x00\x7e"[..]));
    assert_eq!(frame::text(&vec![b'a'; 65_536]).get(..10), Some(&b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"[..]));
    assert_eq!(frame::close(1000, "ok").as_ref(), b"\x88\x04\x03\xe8ok");
    assert_eq!(frame::CLOSE_EMPTY.as_ref(), b"\x88\x00");
    assert_eq!(frame::PING.as_ref(), b"\x89\x00");
}

#[test]
fn close_reasons_are_cut_between_characters() {
    let frame = frame::close(4000, &"ü".repeat(80));

    assert_eq!(frame.len(), 2 + 2 + 122);
    assert!(std::str::from_utf8(frame.get(4..).unwrap()).is_ok());
}
