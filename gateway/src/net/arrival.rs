//! A socket that was just accepted: from where, and which place it has taken.

use std::net::IpAddr;

use hyper::HeaderMap;

use super::{Host, Net};
use crate::admission::{Seat, Turned};

/// Where a socket comes from, as far as that is known yet.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The socket's peer, or the client that the PROXY protocol named.
    pub(super) peer: IpAddr,
    /// The head of the PROXY protocol is still to be read.
    pub(super) proxied: bool,
    /// Its address's place, where places are counted and the address is known.
    pub(super) seat: Option<Seat>,
}

impl Arrival {
    /// Takes the peer's place; a proxy has none of its own, what it speaks for is known with the request.
    pub(super) fn take_seat<H: Host>(&mut self, net: &Net<H>) -> Result<(), Turned> {
        if !net.door.is_trusted(self.peer) {
            self.seat = net.door.arrive(net.host.now().ms, self.peer)?;
        }
        Ok(())
    }

    /// Takes the place of whom a proxy speaks for. One that was taken for an earlier request is given back first.
    pub(super) fn take_seat_for<H: Host>(&mut self, net: &Net<H>, headers: &HeaderMap) -> Result<(), Turned> {
        if net.door.is_trusted(self.peer) {
            self.seat = None;
            self.seat = net.door.arrive(net.host.now().ms, net.door.client_of(self.peer, headers))?;
        }
        Ok(())
    }
}
