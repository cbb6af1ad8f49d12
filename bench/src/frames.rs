//! Frames of RFC 6455 as a client needs them: writes masked text, counts what comes. Keeps no payload.

/// A masked text frame. The key is zero: legal, and it costs the client nothing.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes(), true)
}

/// A masked pong.
pub(crate) fn pong() -> Vec<u8> {
    frame(0x8A, &[], true)
}

/// An unmasked text frame, as a server writes it.
pub(crate) fn server_text(payload: &[u8]) -> Vec<u8> {
    frame(0x81, payload, false)
}

fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
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

/// Counts frames in a stream of bytes that is cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    head: [u8; 10],
    head_len: usize,
    payload_left: u64,
    /// Data frames whose last byte has come.
    pub(crate) data: u64,
    /// Pings that wait for a pong.
    pub(crate) pings: u64,
    /// The server has closed.
    pub(crate) closed: bool,
}

impl Counter {
    /// Takes the next bytes of the stream.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        loop {
            if self.payload_left > 0 {
                let taken = usize::try_from(self.payload_left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.payload_left -= taken as u64;
                bytes = bytes.get(taken..).unwrap_or_default();
                if self.payload_left > 0 {
                    return;
                }
                self.finish();
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head[self.head_len] = byte;
            self.head_len += 1;
            if let Some(length) = self.length() {
                self.payload_left = length;
                if length == 0 {
                    self.finish();
                }
            }
        }
    }

    /// The payload's length, once the head is whole.
    fn length(&self) -> Option<u64> {
        let extended = |bytes: &[u8]| bytes.iter().fold(0_u64, |length, &byte| length << 8 | u64::from(byte));
        match (self.head_len, self.head[1] & 0x7F) {
            (2, short @ 0..=125) => Some(u64::from(short)),
            (4, 126) => Some(extended(&self.head[2..4])),
            (10, 127) => Some(extended(&self.head[2..10])),
            _ => None,
        }
    }

    fn finish(&mut self) {
        match self.head[0] & 0x0F {
            0..=2 => self.data += 1,
            8 => self.closed = true,
            9 => self.pings += 1,
            _ => {}
        }
        self.head_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_wherever_the_stream_is_cut() {
        let mut stream = Vec::new();
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            stream.extend(server_text(&vec![b'x'; length]));
        }
        stream.extend(frame(0x89, b"ping", false));
        stream.extend(frame(0x88, &[3, 232], false));

        for cut in [1, 2, 3, 7, 4096, stream.len()] {
            let mut counter = Counter::default();
            for part in stream.chunks(cut) {
                counter.take(part);
            }
            assert_eq!((counter.data, counter.pings, counter.closed), (6, 1, true), "cut every {cut}");
        }
    }

    #[test]
    fn a_frame_counts_when_its_last_byte_is_there() {
        let frame = server_text(b"abc");
        let mut counter = Counter::default();

        counter.take(&frame[..frame.len() - 1]);
        assert_eq!(counter.data, 0);
        counter.take(&frame[frame.len() - 1..]);
        assert_eq!(counter.data, 1);
    }
}
