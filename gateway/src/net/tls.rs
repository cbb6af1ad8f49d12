//! TLS of one connection over borrowed buffers: ciphertext in, plaintext out, and back. No socket.
//!
//! rustls' unbuffered interface keeps no ciphertext of its own, so that an idle connection is little more than its
//! keys: what is incomplete is held here, exactly as long as it is.

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::scratch;

/// The largest plaintext of one record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// What a record adds at most: head, explicit nonce, content type, tag (64 is more than any suite here needs).
const RECORD_OVERHEAD: usize = 64;
/// Plaintext taken for one write to the socket: what fits a lent buffer once encrypted.
const WRITE_BYTES: usize = 3 * RECORD_BYTES;

/// One side of a TLS connection: ours.
pub(super) struct Tls {
    session: UnbufferedServerConnection,
    /// Ciphertext of a record that is not complete.
    incoming: Vec<u8>,
    /// Ciphertext the socket did not take yet; it goes first.
    outgoing: Vec<u8>,
    /// Plaintext that the reader had no room for.
    plain: Vec<u8>,
    /// The peer said that it sends no more.
    ended: bool,
    /// The peer broke TLS: the session must not be used any more.
    failed: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            session: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            plain: Vec::new(),
            ended: false,
            failed: false,
        })
    }

    /// What ALPN has settled on.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// The peer closed its side: after [`Self::take_plain`] says 0 there is nothing more to read.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Ciphertext that came earlier and must stand before new one in the buffer given to [`Self::receive`].
    pub(super) fn incoming(&self) -> &[u8] {
        &self.incoming
    }

    /// Moves plaintext that waits into `out`.
    pub(super) fn take_plain(&mut self, out: &mut [u8]) -> usize {
        let bytes = out.len().min(self.plain.len());
        for (to, from) in out.iter_mut().zip(self.plain.drain(..bytes)) {
            *to = from;
        }
        if self.plain.is_empty() {
            self.plain = Vec::new();
        }
        bytes
    }

    /// Takes ciphertext: all of [`Self::incoming`], then what the socket brought. Plaintext goes to `out` as far as
    /// it fits and waits for [`Self::take_plain`] otherwise; how much went there is returned. What TLS itself has to
    /// say is appended to [`Self::outgoing`].
    ///
    /// # Errors
    /// The peer does not speak TLS as it should; the alert for it is in [`Self::outgoing`].
    pub(super) fn receive(&mut self, ciphertext: &mut [u8], out: &mut [u8]) -> Result<usize, rustls::Error> {
        if self.failed {
            return Err(rustls::Error::General("used after an error".to_owned()));
        }
        let mut start = 0;
        let mut produced = 0;
        loop {
            let rest = ciphertext.get_mut(start..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(rest);
            let mut done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let room = out.get_mut(produced..).unwrap_or_default();
                        // Once something waits, all that follows must wait behind it.
                        let fits = if self.plain.is_empty() { record.payload.len().min(room.len()) } else { 0 };
                        let (now, later) = record.payload.split_at(fits);
                        for (to, from) in room.iter_mut().zip(now) {
                            *to = *from;
                        }
                        produced += fits;
                        self.plain.extend_from_slice(later);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::ReadEarlyData(mut early)) => {
                    // Never enabled; what comes nevertheless is not for us.
                    while early.next_record().is_some() {}
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
                    done = true;
                }
                Ok(_) => done = true,
                Err(error) => {
                    self.encode_alert();
                    return Err(error);
                }
            }
            start += discard;
            if done {
                break;
            }
        }
        let rest = ciphertext.get(start..).unwrap_or_default();
        self.incoming = if rest.is_empty() { Vec::new() } else { rest.to_vec() };
        Ok(produced)
    }

    /// After an error. The session must not see its input again, nor be asked without input unless it has output:
    /// rustls asserts both.
    fn encode_alert(&mut self) {
        self.incoming = Vec::new();
        while self.session.wants_write() {
            match self.session.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => while traffic.next_record().is_some() {},
                Ok(_) | Err(_) => break,
            }
        }
        self.failed = true;
    }

    /// Ciphertext the socket must take before anything else.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// The socket took so much of [`Self::outgoing`].
    pub(super) fn sent(&mut self, bytes: usize) {
        self.outgoing.drain(..bytes.min(self.outgoing.len()));
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Encrypts from the front of `slices` and offers the ciphertext to `write` in one piece; what `write` does not
    /// take waits in [`Self::outgoing`], which must be empty before. Returns how much plaintext was taken: none if
    /// there is none, otherwise always some, since a record cannot be taken back.
    ///
    /// # Errors
    /// Those of `write` except "would block", and a session that cannot encrypt any more.
    pub(super) fn send(
        &mut self,
        slices: &[IoSlice<'_>],
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        scratch::lend(|ciphertext| {
            let mut filled = 0;
            let taken = gather(slices, |plaintext| {
                let room = ciphertext.get_mut(filled..).unwrap_or_default();
                filled += self.encrypt(plaintext, room)?;
                Ok(())
            })?;
            let ready = ciphertext.get(..filled).unwrap_or_default();
            let written = match self.outgoing.is_empty().then(|| write(ready)) {
                Some(Ok(written)) => written,
                // Behind what TLS itself had to say while we encrypted.
                None => 0,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Some(Err(error)) => return Err(error),
            };
            self.outgoing.extend_from_slice(ready.get(written..).unwrap_or_default());
            Ok(taken)
        })
    }

    /// Says that we send no more; goes behind what waits.
    pub(super) fn close(&mut self) {
        let mut alert = [0; 256];
        if let Ok(bytes) = self.with_session(|writer| writer.queue_close_notify(&mut alert)) {
            self.outgoing.extend(alert.iter().take(bytes));
        }
    }

    fn encrypt(&mut self, plaintext: &[u8], room: &mut [u8]) -> io::Result<usize> {
        self.with_session(|writer| writer.encrypt(plaintext, room))
    }

    fn with_session(
        &mut self,
        act: impl FnOnce(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>,
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        // With the ciphertext that is still incomplete, since the session keeps offsets into it; it is not consumed,
        // for `receive` has processed all of it that could be. Whatever TLS itself has to say comes first.
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for _ in 0..32 {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(&mut self.incoming);
            match state {
                Ok(ConnectionState::WriteTraffic(mut writer)) => return act(&mut writer).map_err(io::Error::other),
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(mut data)) => {
                    if let Some(mut writer) = data.may_encrypt_app_data() {
                        return act(&mut writer).map_err(io::Error::other);
                    }
                    data.done();
                }
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => break,
                Err(error) => {
                    self.encode_alert();
                    return Err(io::Error::other(error));
                }
            }
            self.incoming.drain(..discard);
        }
        Err(io::Error::other("the TLS session cannot send"))
    }
}

fn encode<Data>(data: &mut rustls::unbuffered::EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let at = outgoing.len();
    let mut room = 1024;
    loop {
        outgoing.resize(at + room, 0);
        match data.encode(outgoing.get_mut(at..).unwrap_or_default()) {
            Ok(bytes) => break outgoing.truncate(at + bytes),
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => room = needed.required_size,
            Err(_) => break outgoing.truncate(at),
        }
    }
}

/// Calls `each` with pieces of at most one record, small slices joined, up to [`WRITE_BYTES`] in all.
fn gather(slices: &[IoSlice<'_>], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<usize> {
    scratch::lend(|joined| {
        let (mut taken, mut held) = (0, 0);
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() && taken < WRITE_BYTES {
                let room = (RECORD_BYTES - held).min(WRITE_BYTES - taken).min(rest.len());
                let (now, later) = rest.split_at(room);
                if let Some(place) = joined.get_mut(held..held + room) {
                    place.copy_from_slice(now);
                }
                (held, taken, rest) = (held + room, taken + room, later);
                if held == RECORD_BYTES {
                    each(joined.get(..held).unwrap_or_default())?;
                    held = 0;
                }
            }
        }
        if held > 0 {
            each(joined.get(..held).unwrap_or_default())?;
        }
        Ok(taken)
    })
}

const _: () = assert!(WRITE_BYTES + 4 * (RECORD_OVERHEAD + 256) <= scratch::BUFFER_BYTES);

#[cfg(test)]
mod tests;
