//! Who may take a place on this node at all: handshakes per second, connections per address and user, room in memory.
//!
//! One [`Door`] per process, shared by all threads. What counts is decided at the earliest moment: an address before TLS,
//! the node's own bounds after the request's head, a user once the credential is known. It knows no socket and writes no
//! answer; who asks, answers.

mod buckets;
mod forwarded;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::HeaderMap;
use ipnet::IpNet;

use self::buckets::{AddressKey, Addresses, Bucket, Users};
pub use self::forwarded::ForwardedBy;
use crate::metrics::Handshake;

/// Bounds of a node; 0 is none.
#[derive(Debug, Clone, Default)]
pub struct DoorSettings {
    /// Handshakes per second.
    pub handshakes: u64,
    /// The same from one address.
    pub handshakes_per_address: u64,
    /// Connections from one address.
    pub connections_per_address: u64,
    /// Connections of one user.
    pub connections_per_user: u64,
    /// Addresses of proxies whose word about a client's address is taken.
    pub trusted: Vec<IpNet>,
    /// Which header they write.
    pub forwarded_by: ForwardedBy,
}

/// Why somebody is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// The address has as many connections as it may.
    AddressConnections,
    /// The address comes too often.
    AddressRate,
    /// The node takes no more handshakes in this second.
    NodeRate,
    /// The node is short of memory.
    Memory,
    /// The user has as many connections as they may.
    UserConnections,
}

impl Turned {
    /// What it counts as.
    pub const fn counted(self) -> Handshake {
        match self {
            Self::AddressConnections => Handshake::LimitAddress,
            Self::AddressRate => Handshake::RateAddress,
            Self::NodeRate => Handshake::RateNode,
            Self::Memory => Handshake::Memory,
            Self::UserConnections => Handshake::LimitUser,
        }
    }
}

/// The door of a process.
#[derive(Debug)]
pub struct Door {
    settings: DoorSettings,
    /// Held for one look-up, never across a wait.
    addresses: Mutex<Addresses>,
    users: Mutex<Users>,
    node: Mutex<Bucket>,
    pressed: AtomicBool,
}

/// A place that an address has taken; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    door: Arc<Door>,
    address: AddressKey,
}

/// What is known of where a connection comes from, and holds as long as it does.
#[derive(Debug, Default)]
pub struct Provenance {
    /// The client, where that is not who the socket is connected to.
    pub client: Option<IpAddr>,
    /// Its address's place, where places are counted.
    pub seat: Option<Seat>,
}

impl Provenance {
    /// Whether there is nothing to remember.
    pub const fn is_plain(&self) -> bool {
        self.client.is_none() && self.seat.is_none()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.door.addresses).leave(self.address);
    }
}

impl Door {
    /// A door with these bounds, nobody through it yet.
    pub fn new(settings: DoorSettings) -> Self {
        Self {
            settings,
            addresses: Mutex::default(),
            users: Mutex::default(),
            node: Mutex::default(),
            pressed: AtomicBool::new(false),
        }
    }

    /// Whether this peer is a proxy that tells whom it speaks for.
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.settings.trusted.iter().any(|net| net.contains(&peer))
    }

    /// Whom a trusted proxy speaks for by a request's head; the proxy itself where that says nothing.
    pub fn client_of(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        forwarded::client(self.settings.forwarded_by, headers, proxy, |peer| self.is_trusted(peer))
    }

    /// A connection from this address: its place, where places are counted.
    ///
    /// # Errors
    /// It comes too often, or has too many connections.
    pub fn arrive(self: &Arc<Self>, now_ms: u64, address: IpAddr) -> Result<Option<Seat>, Turned> {
        let (rate, most) = (self.settings.handshakes_per_address, self.settings.connections_per_address);
        if rate == 0 && most == 0 {
            return Ok(None);
        }
        let key = AddressKey::of(address);
        let seated = lock(&self.addresses).arrive(now_ms, key, rate, most)?;
        Ok(seated.then(|| Seat { door: Arc::clone(self), address: key }))
    }

    /// A handshake whose request is there; before anything is done for it.
    ///
    /// # Errors
    /// The node takes none now.
    pub fn handshake(&self, now_ms: u64) -> Result<(), Turned> {
        if self.is_pressed() {
            return Err(Turned::Memory);
        }
        match self.settings.handshakes {
            0 => Ok(()),
            rate if lock(&self.node).take(now_ms, rate) => Ok(()),
            _ => Err(Turned::NodeRate),
        }
    }

    /// Whether the user may have one more connection; takes no place.
    ///
    /// # Errors
    /// No.
    pub fn has_place_for(&self, user: &str) -> Result<(), Turned> {
        let most = self.settings.connections_per_user;
        if most == 0 || lock(&self.users).count(user) < most { Ok(()) } else { Err(Turned::UserConnections) }
    }

    /// Takes a place for a connection of the user; whether there was one. Given back by [`Self::leave_user`].
    pub fn enter_user(&self, user: &str) -> bool {
        let most = self.settings.connections_per_user;
        most == 0 || lock(&self.users).enter(user, most)
    }

    /// Gives it back.
    pub fn leave_user(&self, user: &str) {
        if self.settings.connections_per_user > 0 {
            lock(&self.users).leave(user);
        }
    }

    /// The node is short of memory, or no longer.
    pub fn press(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    /// Whether the node is short of memory.
    pub fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// Addresses that are remembered, for the eye.
    pub fn addresses(&self) -> usize {
        lock(&self.addresses).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here can be left half done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn door(settings: DoorSettings) -> Arc<Door> {
        Arc::new(Door::new(settings))
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let door = door(DoorSettings { connections_per_address: 2, ..DoorSettings::default() });
        let first = door.arrive(0, HOME).expect("a place");
        let _second = door.arrive(0, HOME).expect("a place");
        assert_eq!(door.arrive(0, HOME).expect_err("full"), Turned::AddressConnections);
        assert!(door.arrive(0, "192.0.2.2".parse().expect("an address")).is_ok(), "another address");

        drop(first);
        assert!(door.arrive(0, HOME).is_ok());
    }

    #[test]
    fn without_bounds_nothing_is_remembered() {
        let door = door(DoorSettings::default());
        for _ in 0..100 {
            assert!(door.arrive(0, HOME).expect("no bound").is_none());
            assert!(door.handshake(0).is_ok() && door.enter_user("ana"));
        }
        assert_eq!(door.addresses(), 0);
    }

    #[test]
    fn a_user_has_so_many_places_and_gets_them_back() {
        let door = door(DoorSettings { connections_per_user: 1, ..DoorSettings::default() });
        assert!(door.has_place_for("ana").is_ok() && door.enter_user("ana"));
        assert_eq!(door.has_place_for("ana"), Err(Turned::UserConnections));
        assert!(!door.enter_user("ana") && door.enter_user("bob"));

        door.leave_user("ana");
        assert!(door.enter_user("ana"));
    }

    #[test]
    fn a_node_takes_so_many_handshakes_a_second_and_none_while_it_is_short_of_memory() {
        let door = door(DoorSettings { handshakes: 10, ..DoorSettings::default() });
        let taken = (0..50).filter(|_| door.handshake(1000).is_ok()).count();
        assert_eq!(taken, 10);
        assert!(door.handshake(1099).is_err() && door.handshake(1100).is_ok() && door.handshake(1100).is_err());

        door.press(true);
        assert_eq!(door.handshake(9000), Err(Turned::Memory));
        door.press(false);
        assert!(door.handshake(9000).is_ok());
    }
}
