//! A socket that was just accepted: from where, and which place it has taken.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::HeaderMap;

use super::{Host, Net};
use crate::admission::{Door, Provenance, Seat, Turned};

/// Where a socket comes from, as far as that is known yet.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The socket's peer, or the client that the PROXY protocol named.
    pub(super) peer: IpAddr,
    /// The head of the PROXY protocol is still to be read.
    pub(super) proxied: bool,
    /// The client where a proxy named one, and its place, where places are counted and the address is known.
    pub(super) provenance: Provenance,
}

impl Arrival {
    /// Takes the peer's place; a proxy has none of its own, what it speaks for is known with the request.
    pub(super) fn take_seat<H: Host>(&mut self, net: &Net<H>) -> Result<(), Turned> {
        if !net.door.is_trusted(self.peer) {
            self.provenance.seat = net.door.arrive(net.host.now().ms, self.peer)?;
        }
        Ok(())
    }

    /// Takes the place of whom a proxy speaks for. One that was taken for an earlier request is given back first.
    pub(super) fn take_seat_for<H: Host>(&mut self, net: &Net<H>, headers: &HeaderMap) -> Result<(), Turned> {
        if net.door.is_trusted(self.peer) {
            self.provenance.seat = None;
            let client = net.door.client_of(self.peer, headers);
            self.provenance.client = Some(client);
            self.provenance.seat = net.door.arrive(net.host.now().ms, client)?;
        }
        Ok(())
    }
}

/// Who asks for a page: it may begin something that outlives its requests, and has to pass the door for that.
#[derive(Debug, Clone)]
pub struct Guest {
    door: Arc<Door>,
    arrival: Rc<RefCell<Arrival>>,
}

/// A guest's place; back where it came from, unless it is kept.
#[derive(Debug)]
pub struct Place {
    client: IpAddr,
    seat: Option<Seat>,
    /// The socket that had it.
    of: Option<Rc<RefCell<Arrival>>>,
}

impl Guest {
    pub(super) fn new<H: Host>(net: &Net<H>, arrival: &Rc<RefCell<Arrival>>) -> Self {
        Self { door: Arc::clone(&net.door), arrival: Rc::clone(arrival) }
    }

    /// Passes the door as a handshake does: with the socket's place, or where another began something with that one, or a
    /// proxy speaks for many, with one more of its address.
    ///
    /// # Errors
    /// Turned away.
    pub fn enter(&self, now_ms: u64, headers: &HeaderMap) -> Result<Place, Turned> {
        let peer = self.arrival.borrow().peer;
        let own = self.arrival.borrow_mut().provenance.seat.take_if(|_| !self.door.is_trusted(peer));
        let place = match own {
            Some(seat) => Place { client: peer, seat: Some(seat), of: Some(Rc::clone(&self.arrival)) },
            None => {
                let client = if self.door.is_trusted(peer) { self.door.client_of(peer, headers) } else { peer };
                Place { client, seat: self.door.arrive(now_ms, client)?, of: None }
            }
        };
        self.door.handshake(now_ms)?;
        Ok(place)
    }
}

impl Place {
    /// It is taken for as long as the seat lives, where seats are counted.
    pub fn keep(mut self) -> Provenance {
        Provenance { client: Some(self.client), seat: self.seat.take() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(seat), Some(of)) = (self.seat.take(), self.of.take()) {
            of.borrow_mut().provenance.seat = Some(seat);
        }
    }
}
