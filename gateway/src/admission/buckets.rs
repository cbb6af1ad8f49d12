//! Counts and rates by address and user, in tables that are bounded. Pure: the time is a parameter.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::Turned;

/// Addresses remembered at once. Beyond that those without a connection are forgotten, and if that is not enough, new
/// ones are not counted: the node's own bounds still hold.
const ADDRESSES_MAX: usize = 65_536;
/// Between two attempts to make room in a full table: a look at each entry costs about a millisecond.
const TIDIED_MS: u64 = 1000;

/// Tokens that come back evenly; a second's worth may be taken at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    /// When it is full again, monotonic microseconds.
    full_us: u64,
}

impl Bucket {
    /// Takes a token, `rate` of which come per second; whether there was one.
    pub(super) fn take(&mut self, now_ms: u64, rate: u64) -> bool {
        let (now_us, each_us) = (now_ms * 1000, 1_000_000 / rate.max(1));
        let full_us = self.full_us.max(now_us) + each_us;
        let taken = full_us <= now_us + 1_000_000.max(each_us);
        if taken {
            self.full_us = full_us;
        }
        taken
    }

    const fn is_full(self, now_ms: u64) -> bool {
        self.full_us <= now_ms * 1000
    }
}

/// An address as it is counted: an IPv4 address, or the network that one IPv6 client has at its disposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AddressKey {
    is_v6: bool,
    bits: u64,
}

impl AddressKey {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { is_v6: false, bits: u64::from(address.to_bits()) },
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let bits = [a, b, c, d].into_iter().fold(0, |bits, part| bits << 16 | u64::from(part));
                Self { is_v6: true, bits }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Address {
    connections: u64,
    bucket: Bucket,
}

/// What is known of addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: HashMap<AddressKey, Address>,
    tidied_ms: u64,
}

impl Addresses {
    /// A connection comes; `rate` and `most` of 0 are no bound. Whether a place was taken, which
    /// [`Self::leave`] gives back.
    pub(super) fn arrive(&mut self, now_ms: u64, key: AddressKey, rate: u64, most: u64) -> Result<bool, Turned> {
        if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&key) {
            if now_ms >= self.tidied_ms + TIDIED_MS {
                self.tidied_ms = now_ms;
                self.known.retain(|_, address| address.connections > 0 || !address.bucket.is_full(now_ms));
            }
            if self.known.len() >= ADDRESSES_MAX {
                return Ok(false);
            }
        }
        let address = self.known.entry(key).or_default();
        if most > 0 && address.connections >= most {
            return Err(Turned::AddressConnections);
        }
        if rate > 0 && !address.bucket.take(now_ms, rate) {
            return Err(Turned::AddressRate);
        }
        if most > 0 {
            address.connections += 1;
        }
        Ok(most > 0)
    }

    pub(super) fn leave(&mut self, key: AddressKey) {
        if let Some(address) = self.known.get_mut(&key) {
            address.connections = address.connections.saturating_sub(1);
            if address.connections == 0 && address.bucket.full_us == 0 {
                self.known.remove(&key);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Connections by user. Users are told apart by 64 bits of a keyed hash, not kept.
#[derive(Debug, Default)]
pub(super) struct Users {
    hasher: DefaultHashBuilder,
    counts: HashMap<u64, u64>,
}

impl Users {
    pub(super) fn count(&self, user: &str) -> u64 {
        self.counts.get(&self.hasher.hash_one(user)).copied().unwrap_or(0)
    }

    pub(super) fn enter(&mut self, user: &str, most: u64) -> bool {
        let count = self.counts.entry(self.hasher.hash_one(user)).or_insert(0);
        let enters = *count < most;
        *count += u64::from(enters);
        enters
    }

    pub(super) fn leave(&mut self, user: &str) {
        let hash = self.hasher.hash_one(user);
        if let Some(count) = self.counts.get_mut(&hash) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_seconds_worth_at_once_and_then_evenly() {
        let mut bucket = Bucket::default();
        let at = |bucket: &mut Bucket, ms| (0..100).filter(|_| bucket.take(ms, 20)).count();

        assert_eq!(at(&mut bucket, 5000), 20);
        assert_eq!(at(&mut bucket, 5049), 0);
        assert_eq!(at(&mut bucket, 5050), 1);
        assert_eq!(at(&mut bucket, 5550), 10);
        assert_eq!(at(&mut bucket, 60_000), 20, "no more than a second's worth");
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_ipv4_one_itself() {
        let key = |text: &str| AddressKey::of(text.parse().expect("an address"));

        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn a_full_table_forgets_who_is_gone_and_counts_nobody_else() {
        let mut addresses = Addresses::default();
        let key = |number: u64| AddressKey { is_v6: true, bits: number };
        for number in 0..ADDRESSES_MAX as u64 {
            // Every second one stays connected.
            assert_eq!(addresses.arrive(1000, key(number), 10, 5), Ok(true));
            if number % 2 == 0 {
                addresses.leave(key(number));
            }
        }
        assert_eq!(addresses.arrive(1000, key(u64::MAX), 10, 5), Ok(false), "all came within this second");
        assert_eq!(addresses.len(), ADDRESSES_MAX);

        assert_eq!(addresses.arrive(3000, key(u64::MAX), 10, 5), Ok(true));
        assert_eq!(addresses.len(), ADDRESSES_MAX / 2 + 1);
        assert_eq!(addresses.arrive(3000, key(1), 10, 1), Err(Turned::AddressConnections), "who stays is known");
    }
}
