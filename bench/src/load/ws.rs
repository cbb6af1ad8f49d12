//! Frames of RFC 6455 as a client of a benchmark needs them: writes masked ones, takes a server's apart wherever the
//! stream is cut. Trusts the server to keep to the protocol; what it carries is checked elsewhere.

/// Data of a message, or of a part of one.
const CONTROL_BIT: u8 = 8;
const CLOSE: u8 = 8;
const PING: u8 = 9;
/// A held-back rest larger than this gives its memory back.
const CARRY_KEPT_BYTES: usize = 4 * 1024;

/// What a server's frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// Text or binary.
    Data(&'a [u8]),
    /// Wants a pong.
    Ping(&'a [u8]),
    /// The server closes, with this code.
    Close(u16),
}

/// A masked text frame. The key is zero: legal, and it costs the client nothing.
pub(crate) fn text(payload: &[u8]) -> Vec<u8> {
    frame(0x81, payload, true)
}

/// A masked binary frame.
pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload, true)
}

/// A masked pong.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(0x8A, payload, true)
}

/// An unmasked text frame, as a server writes it.
pub(crate) fn server_text(payload: &[u8]) -> Vec<u8> {
    frame(0x81, payload, false)
}

fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => frame.push(bit | length),
        (_, Ok(length)) => {
            frame.push(bit | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(bit | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// Takes a server's stream apart. Holds only what is incomplete.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    carry: Vec<u8>,
}

impl Decoder {
    /// Takes the next bytes of the stream and calls `each` for every frame that is whole now.
    pub(crate) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) {
        if self.carry.is_empty() {
            let used = whole(bytes, &mut each);
            self.carry.extend(bytes.get(used..).unwrap_or_default());
            return;
        }
        self.carry.extend(bytes);
        let used = whole(&self.carry, &mut each);
        self.carry.drain(..used);
        if self.carry.is_empty() && self.carry.capacity() > CARRY_KEPT_BYTES {
            self.carry = Vec::new();
        }
    }
}

/// Calls `each` for the whole frames in front; returns how many bytes they are.
fn whole(bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> usize {
    let mut used = 0;
    while let Some((first, payload, length)) = next(bytes.get(used..).unwrap_or_default()) {
        used += length;
        match first & 0x0F {
            CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                each(Frame::Close(code));
            }
            PING => each(Frame::Ping(payload)),
            data if data < CONTROL_BIT => each(Frame::Data(payload)),
            _ => {}
        }
    }
    used
}

/// The first byte, the payload and the whole length of the frame in front, once it is whole.
fn next(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head, payload) = match second & 0x7F {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let end = head + usize::try_from(payload).ok()?;
    Some((first, bytes.get(head..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_wherever_the_stream_is_cut() {
        let mut stream = Vec::new();
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            stream.extend(server_text(&vec![b'x'; length]));
        }
        stream.extend(frame(0x89, b"ping", false));
        stream.extend(frame(0x88, &[3, 232], false));

        for cut in [1, 2, 3, 7, 4096, stream.len()] {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for part in stream.chunks(cut) {
                decoder.take(part, |frame| {
                    seen.push(match frame {
                        Frame::Data(payload) => payload.len(),
                        Frame::Ping(payload) => 1_000_000 + payload.len(),
                        Frame::Close(code) => usize::from(code),
                    });
                });
            }
            assert_eq!(seen, [0, 1, 125, 126, 65_535, 65_536, 1_000_004, 1000], "cut every {cut}");
        }
    }
}
