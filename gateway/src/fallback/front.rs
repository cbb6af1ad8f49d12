//! Where requests of sessions over HTTP reach the shard: who asks, a session made, or one found.
//!
//! One per shard; its borrows of the shard never last over a wait.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::wire::{Caller, Exchanged};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper::body::Incoming as RequestBody;
use hyper::http::request::Parts;
use tokio::sync::{Notify, mpsc};

use super::BODY_BYTES_MAX;
use super::client::Client;
use super::desk::Desk;
use super::form::Form;
use super::sessions::{NewSession, Sessions};
use super::transfer::{self, Leaving, Missing, Opening, Transfer};
use crate::admission::Door;
use crate::auth::Verifier;
use crate::clock::Clock;
use crate::handshake::{Endpoint, Gatekeeper, HttpRefusal};
use crate::metrics::Handshake;
use crate::net::{Guest, Refused, turned};
use crate::shard::Shard;
use crate::shard::capacity::Capacity;
use crate::socket::Framing;

/// Words of receivers that are gone, on their way.
const LEAVING_MAX: usize = 1024;

/// What requests of a shard use.
#[derive(Debug)]
pub struct Front {
    desk: Arc<Desk>,
    leaving: Leaving,
    door: Arc<Door>,
    capacity: Capacity,
    gatekeeper: Arc<Gatekeeper>,
    verifier: Arc<Verifier>,
    clock: Clock,
    shard: Rc<RefCell<Shard<Client>>>,
    sessions: Rc<RefCell<Sessions>>,
    turn: Rc<Notify>,
}

/// The part of a shard that the front works with.
#[derive(Debug)]
pub struct FrontParts {
    /// Asks other nodes.
    pub desk: Arc<Desk>,
    /// Who may take a place at all.
    pub door: Arc<Door>,
    /// Whether there is one.
    pub(crate) capacity: Capacity,
    /// Decides who may come in.
    pub gatekeeper: Arc<Gatekeeper>,
    /// Tells whose a credential is.
    pub verifier: Arc<Verifier>,
    /// The process's clock.
    pub clock: Clock,
    /// The shard.
    pub shard: Rc<RefCell<Shard<Client>>>,
    /// Its sessions.
    pub sessions: Rc<RefCell<Sessions>>,
    /// Ends the shard's turn.
    pub turn: Rc<Notify>,
}

/// What a client sent cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadBody {
    /// Nothing.
    Empty,
    /// Over [`BODY_BYTES_MAX`].
    TooBig,
    /// It ended early.
    Broken,
}

impl Front {
    /// A front, and the task that says which receivers are gone; it ends with the front.
    pub fn new(parts: FrontParts) -> (Rc<Self>, impl Future<Output = ()> + use<>) {
        let FrontParts { desk, door, capacity, gatekeeper, verifier, clock, shard, sessions, turn } = parts;
        let (leaving, mut gone) = mpsc::channel(LEAVING_MAX);
        let teller = Arc::clone(&desk);
        let tell = async move {
            while let Some((node, exchange)) = gone.recv().await {
                // One after the other: a node that does not answer is rare, and its sessions are over anyway.
                drop(teller.ask(node, exchange).await);
            }
        };
        (Rc::new(Self { desk, leaving, door, capacity, gatekeeper, verifier, clock, shard, sessions, turn }), tell)
    }

    /// Who sends a request, as far as it shows.
    pub(crate) fn caller(&self, endpoint: &Endpoint, head: &Parts) -> Caller {
        let Some(credential) = self.gatekeeper.credential(endpoint, head) else { return Caller::default() };
        let now_unix_s = self.clock.now().unix_ms / 1000;
        let user = self.verifier.verify(&credential, now_unix_s).ok();
        Caller { credential: hash(&credential), user: user.map(|identity| (&*identity.user).into()) }
    }

    /// Begins to receive, where the session is.
    pub(crate) async fn attach(&self, opening: &Opening, form: Form) -> Result<Transfer, Missing> {
        Transfer::begin(&self.desk, &self.leaving, opening, form).await
    }

    /// Begins to receive. A SockJS session that nobody has is made here.
    pub(crate) async fn receive(
        &self,
        endpoint: &Arc<Endpoint>,
        guest: &Guest,
        head: &Parts,
        opening: &Opening,
        form: Form,
    ) -> Result<Result<Transfer, Missing>, Refused> {
        let begun = self.attach(opening, form).await;
        if begun.as_ref().err() != Some(&Missing::Unknown) {
            return Ok(begun);
        }
        self.open(endpoint, guest, head, opening, form.framing()).await?;
        Ok(self.attach(opening, form).await)
    }

    /// Makes a session here, as a handshake makes a connection: it passes the door once, and has its places until it
    /// ends. Known to every router when this returns.
    pub(crate) async fn open(
        &self,
        endpoint: &Arc<Endpoint>,
        guest: &Guest,
        head: &Parts,
        opening: &Opening,
        framing: Framing,
    ) -> Result<(), Refused> {
        let opened = self.try_open(endpoint, guest, head, opening, framing).await;
        let counted = opened.as_ref().map_or_else(|refused| refused.counted, |()| Handshake::Ok);
        self.shard.borrow().cells().handshake(counted).add(1);
        opened
    }

    async fn try_open(
        &self,
        endpoint: &Arc<Endpoint>,
        guest: &Guest,
        head: &Parts,
        opening: &Opening,
        framing: Framing,
    ) -> Result<(), Refused> {
        let place = guest.enter(self.clock.now().ms, &head.headers).map_err(turned)?;
        self.capacity.check()?;
        let mut admission = self.gatekeeper.admit(endpoint, head, self.clock.now().unix_ms / 1000).await?;
        if let Some(who) = &admission.identity {
            self.door.has_place_for(&who.user).map_err(turned)?;
        }
        if framing == Framing::Plain {
            admission.dialect = Dialect::Json;
            admission.rooms = Vec::new();
        }
        let opened = {
            let (mut shard, mut sessions) = (self.shard.borrow_mut(), self.sessions.borrow_mut());
            let (now, caller) = (self.clock.now(), opening.caller.clone());
            let guest = NewSession { name: &opening.session, caller, framing, from: place.keep() };
            sessions.open(&mut shard, now, Box::new(admission), guest)
        };
        self.turn.notify_one();
        // False also where there is one of that name by now: the client's next request finds it.
        if opened.await == Ok(true) { Ok(()) } else { Err(HttpRefusal::UNAVAILABLE.into()) }
    }

    /// Hands a session what its client sent.
    pub(crate) async fn send(&self, opening: &Opening, body: Bytes) -> Result<Exchanged, Missing> {
        transfer::send(&self.desk, opening, body).await
    }

    /// This node, for names that say where their session is.
    pub(crate) fn node(&self) -> holdfast_protocol::id::NodeId {
        self.desk.node()
    }

    /// The Unix time, for caches.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.clock.now().unix_ms
    }
}

/// A request's body, of at most [`BODY_BYTES_MAX`].
pub(crate) async fn read_body(mut body: RequestBody) -> Result<Bytes, BadBody> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(BadBody::TooBig);
    }
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BadBody::Broken)?.into_data() else { continue };
        if read.len() + data.len() > BODY_BYTES_MAX {
            return Err(BadBody::TooBig);
        }
        read.extend_from_slice(&data);
    }
    if read.is_empty() { Err(BadBody::Empty) } else { Ok(read.into()) }
}

/// FNV-1a with a final mix. Only ever compared with the hash of what a client sent before; never 0.
fn hash(text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1)
}
