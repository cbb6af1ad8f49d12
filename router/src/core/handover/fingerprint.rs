//! What two routers know a message by: all of it that both see. The same in each process and build of one version, so a
//! hash of our own; 64 bits, for the few tens of thousands of messages of a fraction of a second.

use crate::core::event::Request;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// Headers in which each hop names itself: those of one message differ from router to router.
const OF_HOPS: [&str; 2] = ["traceparent", "tracestate"];

/// The fingerprint of a message: subject, reply subject, headers in any order but those of traces, payload.
pub(in crate::core) fn fingerprint(request: &Request<'_>) -> u64 {
    let mut headers = 0_u64;
    // The client library shows headers in an order of its own in each process.
    request.headers.each(&mut |name, value| {
        if OF_HOPS.iter().all(|own| !name.eq_ignore_ascii_case(own)) {
            headers = headers.wrapping_add(mix(add(add(OFFSET, name.as_bytes()), value.as_bytes())));
        }
    });
    let mut hash = add(OFFSET, request.subject.as_bytes());
    hash = add(hash, request.reply.unwrap_or_default().as_bytes());
    hash = add(hash, request.payload);
    mix(hash ^ mix(headers))
}

/// The same of a text alone.
pub(in crate::core) fn hash_of_text(text: &str) -> u64 {
    mix(add(OFFSET, text.as_bytes()))
}

/// Appends a field: eight bytes at once, then its length, so that two fields never read as one.
fn add(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        hash = mix(hash ^ word).wrapping_mul(PRIME);
    }
    for byte in chunks.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    (hash ^ bytes.len() as u64).wrapping_mul(PRIME)
}

const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subject: &str, reply: Option<&str>, headers: &[(&str, &str)], payload: &[u8]) -> u64 {
        fingerprint(&Request { subject, reply, headers: &headers, payload })
    }

    #[test]
    fn any_difference_makes_another_and_the_order_of_headers_none() {
        let all = [
            of("a.b", None, &[], b"1"),
            of("a.c", None, &[], b"1"),
            of("a.b", Some("r"), &[], b"1"),
            of("a.b", None, &[("h", "v")], b"1"),
            of("a.b", None, &[("h", "w")], b"1"),
            of("a.b", None, &[("hv", "")], b"1"),
            of("a.b", None, &[("h", "v"), ("h", "v")], b"1"),
            of("a.b", None, &[], b"11"),
            of("a.b", None, &[], b"0123456789"),
            of("a.b", None, &[], b"0123456798"),
            of("a.b", None, &[], b""),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
        }
        let (x, y) = (("Hf-Id", "1"), ("Hf-Type", "2"));
        assert_eq!(of("a", None, &[x, y], b"1"), of("a", None, &[y, x], b"1"));
        let ours = [("traceparent", "00-1-2-01"), x];
        assert_eq!(of("a", None, &ours, b"1"), of("a", None, &[x], b"1"), "each router traces it as its own");
    }
}
