//! What the network side asks of the rest of the thread: which paths there are, who may come in, and who owns the
//! connections. The shard with its gatekeeper is the real one; tests have a small one of their own.

use std::fmt::Debug;
use std::future::Future;

use holdfast_protocol::close::Close;
use hyper::body::Incoming as RequestBody;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};

use super::arrival::Guest;
use super::body::Body;
use super::connection::{Connection, Limits};
use crate::admission::Provenance;
use crate::clock::Now;
use crate::session::Incoming;
use crate::shard::ClosedBy;
use crate::socket::Framing;

/// Where a request leads.
#[derive(Debug)]
pub enum Route<E, P> {
    /// To an endpoint.
    Endpoint(E, Framing),
    /// To the echo route.
    Echo,
    /// To something that is no WebSocket; see [`Host::respond`].
    Page(P),
    /// Nowhere.
    Refuse(Refused),
}

/// A handshake answered with something else than 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// Headers that go with it.
    pub headers: Vec<(&'static str, &'static str)>,
    /// A line for people.
    pub body: &'static str,
    /// What it counts as.
    pub counted: crate::metrics::Handshake,
}

/// A handshake that succeeds.
#[derive(Debug)]
pub struct Admitted<A> {
    /// What the connection is opened with.
    pub admission: A,
    /// The sub-protocol that is chosen; never one that carries a credential.
    pub subprotocol: Option<&'static str>,
    /// For its socket.
    pub limits: Limits,
}

/// The owner of a thread's connections. Cheap to clone; all calls return at once except [`Self::admit`].
pub trait Host: Clone + 'static {
    /// What a path leads to.
    type Endpoint;
    /// What is no endpoint.
    type Page;
    /// What a connection is opened with.
    type Admission: 'static;
    /// Names a connection.
    type Key: Copy + Debug + 'static;

    /// The time.
    fn now(&self) -> Now;

    /// Where a request leads.
    fn route(&self, head: &Parts) -> Route<Self::Endpoint, Self::Page>;

    /// Answers a request that is none for a WebSocket. The future may take long, and is dropped when the client is gone.
    fn respond(
        &self,
        page: Self::Page,
        guest: Guest,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Body>>;

    /// Who may come in: origin, sub-protocol, credential.
    fn admit(
        &self,
        endpoint: &Self::Endpoint,
        head: &Parts,
    ) -> impl Future<Output = Result<Admitted<Self::Admission>, Refused>>;

    /// Takes a connection over, with what is known of where it comes from.
    fn open(
        &self,
        now: Now,
        admission: Self::Admission,
        connection: Connection,
        secure: bool,
        provenance: Provenance,
    ) -> Self::Key;

    /// A message came.
    fn receive(&self, now: Now, key: Self::Key, incoming: Incoming<'_>);

    /// The client broke the protocol: close with this.
    fn fail(&self, now: Now, key: Self::Key, close: Close);

    /// The socket is done with: forget the connection.
    fn closed(&self, now: Now, key: Self::Key, by: ClosedBy);

    /// Lends the connection; `None` if it is forgotten.
    fn with<R>(&self, key: Self::Key, work: impl FnOnce(&mut Connection) -> R) -> Option<R>;

    /// Whether reading must pause.
    fn congested(&self) -> bool;

    /// A driver did its share of this turn.
    fn finish_turn(&self, now: Now);
}
