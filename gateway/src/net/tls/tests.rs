//! A client of rustls' buffered kind against our side, with the wire between them in the test's hands.

use std::io::{Read, Write};

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};

use super::*;
use crate::net::certificates::tests::{Pair, pair};

struct Wire {
    client: ClientConnection,
    server: Tls,
    /// Plaintext the server read.
    received: Vec<u8>,
    /// Plaintext the client read.
    answered: Vec<u8>,
    /// Bytes that reach the server at a time.
    piece: usize,
}

fn client_config(pair: &Pair, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(pair.certificate.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

impl Wire {
    fn new(client: Arc<ClientConfig>, server: Arc<ServerConfig>, piece: usize) -> Self {
        let client = ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
        Self { client, server: Tls::new(server).unwrap(), received: Vec::new(), answered: Vec::new(), piece }
    }

    fn over(versions: &[&'static rustls::SupportedProtocolVersion], piece: usize) -> Self {
        let pair = pair();
        let mut wire = Self::new(client_config(&pair, versions), pair.server(), piece);
        wire.settle();
        wire
    }

    /// Carries bytes to and fro until both are silent.
    fn settle(&mut self) {
        loop {
            let mut flight = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut flight).unwrap();
            }
            let silent = flight.is_empty();
            for piece in flight.chunks(self.piece) {
                self.deliver(piece).unwrap();
            }
            let answer = self.server.outgoing().to_vec();
            self.server.sent(answer.len());
            if silent && answer.is_empty() {
                return;
            }
            self.hand_to_client(&answer);
        }
    }

    fn deliver(&mut self, piece: &[u8]) -> Result<(), rustls::Error> {
        let mut ciphertext = [self.server.incoming(), piece].concat();
        let mut out = vec![0; 100];
        let produced = self.server.receive(&mut ciphertext, &mut out)?;
        self.received.extend(out.iter().take(produced));
        loop {
            let waiting = self.server.take_plain(&mut out);
            if waiting == 0 {
                return Ok(());
            }
            self.received.extend(out.iter().take(waiting));
        }
    }

    fn hand_to_client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets().unwrap();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut plain).unwrap();
            self.answered.extend(plain);
        }
    }

    /// The server sends over a socket that takes so many bytes at a time.
    fn send(&mut self, slices: &[&[u8]], takes: usize) {
        let mut rest: Vec<u8> = slices.concat();
        let mut first = slices.to_vec();
        while !rest.is_empty() {
            let given: Vec<IoSlice<'_>> = first.iter().map(|slice| IoSlice::new(slice)).collect();
            let mut flight = Vec::new();
            let taken = self
                .server
                .send(&given, |ciphertext| {
                    let taken = ciphertext.len().min(takes);
                    flight.extend(ciphertext.iter().take(taken));
                    if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
                })
                .unwrap();
            assert!(taken > 0);
            flight.extend(self.server.outgoing());
            self.server.sent(usize::MAX);
            self.hand_to_client(&flight);
            rest.drain(..taken);
            first = vec![];
            let again = rest.clone();
            if !again.is_empty() {
                return self.send(&[&again], takes);
            }
        }
    }
}

const VERSIONS: [&[&rustls::SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect()
}

#[test]
fn data_flows_both_ways_however_the_wire_cuts_it() {
    for version in VERSIONS {
        for piece in [1, 7, 4096, usize::MAX] {
            let mut wire = Wire::over(version, piece);
            assert!(!wire.server.is_handshaking());
            assert_eq!(wire.client.alpn_protocol(), Some(&b"http/1.1"[..]));

            let upload = noise(60_000);
            for part in upload.chunks(20_000) {
                wire.client.writer().write_all(part).unwrap();
                wire.settle();
            }
            let download = noise(200_000);
            let (front, back) = download.split_at(1000);
            wire.send(&[front, &[], back], piece);
            wire.send(&[b"end"], 0);

            assert_eq!(wire.received, upload, "in pieces of {piece}");
            assert_eq!(wire.answered, [&download, &b"end"[..]].concat(), "in pieces of {piece}");
        }
    }
}

#[test]
fn nothing_is_held_between_records() {
    let mut wire = Wire::over(VERSIONS[0], usize::MAX);
    wire.client.writer().write_all(&noise(30_000)).unwrap();
    let mut flight = Vec::new();
    while wire.client.wants_write() {
        wire.client.write_tls(&mut flight).unwrap();
    }
    let (front, back) = flight.split_at(20_000);

    wire.deliver(front).unwrap();
    assert!(!wire.server.incoming.is_empty());
    wire.deliver(back).unwrap();

    assert_eq!(wire.received.len(), 30_000);
    assert_eq!(wire.server.incoming.capacity(), 0);
    assert_eq!(wire.server.plain.capacity(), 0);
    assert_eq!(wire.server.outgoing.capacity(), 0);
}

#[test]
fn the_end_is_told_both_ways() {
    for version in VERSIONS {
        let mut wire = Wire::over(version, 3);
        wire.client.writer().write_all(b"last words").unwrap();
        wire.client.send_close_notify();
        wire.settle();
        assert_eq!(wire.received, b"last words");
        assert!(wire.server.is_ended());

        wire.send(&[b"still heard"], usize::MAX);
        wire.server.close();
        let alert = wire.server.outgoing().to_vec();
        wire.client.read_tls(&mut alert.as_slice()).unwrap();

        assert!(wire.client.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(wire.answered, b"still heard");
    }
}

#[test]
fn keys_may_change_at_any_time() {
    let mut wire = Wire::over(VERSIONS[0], 5);
    for round in 0..5 {
        wire.client.refresh_traffic_keys().unwrap();
        wire.client.writer().write_all(b"up").unwrap();
        wire.settle();
        wire.send(&[b"down"], usize::MAX);

        assert_eq!((wire.received.len(), wire.answered.len()), (2 * (round + 1), 4 * (round + 1)));
    }
}

#[test]
fn a_key_change_half_way_does_not_disturb_what_we_send() {
    let mut wire = Wire::over(VERSIONS[0], usize::MAX);
    wire.client.refresh_traffic_keys().unwrap();
    let mut flight = Vec::new();
    while wire.client.wants_write() {
        wire.client.write_tls(&mut flight).unwrap();
    }
    let (front, back) = flight.split_at(flight.len() / 2);

    wire.deliver(front).unwrap();
    wire.send(&[b"meanwhile"], usize::MAX);
    wire.deliver(back).unwrap();
    wire.settle();
    wire.send(&[b" and after"], usize::MAX);

    assert_eq!(wire.answered, b"meanwhile and after");
}

#[test]
fn a_second_connection_resumes_by_ticket() {
    let pair = pair();
    let server = pair.server();
    for version in VERSIONS {
        let client = client_config(&pair, version);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut wire = Wire::new(Arc::clone(&client), Arc::clone(&server), usize::MAX);
            wire.settle();
            kinds.push(wire.client.handshake_kind());
        }

        assert!(
            matches!(kinds.as_slice(), [Some(first), Some(HandshakeKind::Resumed)] if *first != HandshakeKind::Resumed)
        );
    }
}

#[test]
fn what_is_not_tls_is_answered_with_an_alert() {
    let mut server = Tls::new(pair().server()).unwrap();
    let mut noise = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec();

    assert!(server.receive(&mut noise, &mut []).is_err());
    assert_eq!(server.outgoing().first(), Some(&21));
    server.close();
    assert!(server.receive(&mut noise, &mut []).is_err());
}

#[test]
fn noise_in_place_of_a_handshake_does_no_harm() {
    let config = pair().server();
    let mut state = 1_u64;
    for _ in 0..500 {
        let mut noise = b"\x16\x03\x01\x00\x28\x01\x00\x00\x24".to_vec();
        for _ in 0..120 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noise.push((state >> 56).try_into().unwrap());
        }
        let mut server = Tls::new(Arc::clone(&config)).unwrap();
        let mut input = noise.clone();
        if server.receive(&mut input, &mut []).is_ok() {
            let mut again = [server.incoming(), noise.as_slice()].concat();
            drop(server.receive(&mut again, &mut []));
        }
        drop(server.send(&[IoSlice::new(b"x")], |bytes| Ok(bytes.len())));
        server.close();
    }
}

#[test]
fn noise_behind_a_handshake_does_no_harm() {
    let pair = pair();
    for version in VERSIONS {
        let client = client_config(&pair, version);
        let server = pair.server();
        for kind in 0..64_u8 {
            let mut wire = Wire::new(Arc::clone(&client), Arc::clone(&server), usize::MAX);
            wire.settle();
            let noise = [20 + kind % 5, 3, 3, 0, 1 + kind, kind, 0, 0, kind];
            let noise = [&noise[..], &[kind; 80]].concat();
            drop(wire.deliver(&noise));
            drop(wire.deliver(&noise));
            drop(wire.server.send(&[IoSlice::new(b"x")], |bytes| Ok(bytes.len())));
            wire.server.close();
        }
    }
}

#[test]
fn a_broken_record_is_an_error_and_an_alert() {
    let mut wire = Wire::over(VERSIONS[0], usize::MAX);
    wire.client.writer().write_all(b"hello").unwrap();
    let mut flight = Vec::new();
    wire.client.write_tls(&mut flight).unwrap();
    if let Some(last) = flight.last_mut() {
        *last ^= 1;
    }

    assert!(wire.deliver(&flight).is_err());
    assert!(!wire.server.outgoing().is_empty());
    assert!(wire.received.is_empty());
}
