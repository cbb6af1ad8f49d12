//! The name server of a stage: names of parts, and nothing else in the world. Knows of DNS what resolvers ask.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Longest question or answer without extensions.
const PACKET_BYTES_MAX: usize = 512;

/// Names and their addresses, shared with the thread that answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>);

impl Names {
    /// One more address for the name.
    pub(crate) fn add(&self, name: &str, address: Ipv4Addr) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = names.entry(name.to_lowercase()).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    fn get(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Answers questions on this address from now on.
    ///
    /// # Errors
    /// The address is taken.
    pub(crate) fn serve(&self, address: SocketAddr) -> Result<()> {
        let socket = UdpSocket::bind(address).with_context(|| format!("no name server on {address}"))?;
        let names = self.clone();
        std::thread::spawn(move || {
            let mut packet = [0; PACKET_BYTES_MAX];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let answer = packet.get(..length).and_then(|question| names.answer(question));
                if let Some(answer) = answer {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Ok(())
    }

    /// The answer to one question (RFC 1035 §4): addresses, or that there is no such name.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = name_of(question)?;
        let kind = question.get(end..end + 2)?;
        let known = self.get(&name);
        let addresses = if kind == [0, 1] { known.clone().unwrap_or_default() } else { Vec::new() };
        let mut answer = question.get(..2)?.to_vec();
        // An authoritative answer; recursion is offered so that nobody complains.
        answer.extend([0x85, if known.is_some() { 0x80 } else { 0x83 }, 0, 1, 0]);
        answer.push(u8::try_from(addresses.len()).ok()?);
        answer.extend([0; 4]);
        answer.extend(question.get(12..end + 4)?);
        for address in addresses {
            // The name as in the question, A, IN, one second, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}

/// The name asked for, in lower case, and where it ends.
fn name_of(question: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8(question.get(at..at + length)?.to_ascii_lowercase()).ok()?);
        at += length;
    }
}

/// Passes questions on, for a part that expects its name server at an address of its own.
///
/// # Errors
/// The address is taken, or the other end gone.
pub(crate) fn relay(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(from).with_context(|| format!("no relay on {from}"))?;
    let mut packet = [0; PACKET_BYTES_MAX];
    loop {
        let (length, asker) = socket.recv_from(&mut packet)?;
        let upstream = UdpSocket::bind("0.0.0.0:0")?;
        upstream.set_read_timeout(Some(Duration::from_secs(1)))?;
        upstream.send_to(packet.get(..length).unwrap_or_default(), to)?;
        if let Ok(length) = upstream.recv(&mut packet) {
            socket.send_to(packet.get(..length).unwrap_or_default(), asker)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01A\x02bc\x00\x00\x01\x00\x01";

    #[test]
    fn a_known_name_has_its_addresses_and_another_none() {
        let names = Names::default();
        assert_eq!(names.answer(QUESTION).expect("an answer").get(3), Some(&0x83));

        names.add("a.bc", Ipv4Addr::new(10, 0, 0, 7));
        let answer = names.answer(QUESTION).expect("an answer");

        assert_eq!((answer.get(..2), answer.get(3)), (Some(&[0x12, 0x34][..]), Some(&0x80)));
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 7]));
    }
}
