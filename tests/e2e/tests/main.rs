//! The promises of the contract, checked from outside: real nats-server, router and gateway processes, real sockets.
//!
//! One binary, so that the tests can share a cluster. Tests that need no fault and no setting of their own use
//! [`holdfast_harness::cluster::shared`] with keys of their own; the others start their own processes.

/// The admin listener, configuration, the echo route, the end of a process.
mod admin;
/// Who is let in at all: bounds per node, address and user, and proxies that speak for others.
mod admission;
/// The same for sessions over HTTP.
mod admission_http;
/// Dialect `bare`, and profile `dev` as the seed article uses it.
mod bare;
/// Random faults, one after the other, under traffic; then the truth.
mod chaos;
/// The command line.
mod cli;
/// Handshakes and credentials: who gets in, as whom, for how long.
mod connect;
/// Commands.
mod ctl;
/// Sends to users, rooms, connections, everybody and many.
mod deliver;
/// Nodes that send their connections away.
mod drain;
/// Endpoints of one's own: paths, dialects, callouts, bounds.
mod endpoints;
/// Facts.
mod facts;
/// Dialect `json` without WebSocket.
mod fallback;
/// The HTTP side of the public listener: statuses, origins, paths, sub-protocols.
mod handshake;
/// Headers of sends: filters, content types, time to live, conflation.
mod headers;
/// The roster after gateways die or freeze, and after the bus was away.
mod healing;
/// Kept messages and resume.
mod kept;
/// Signature algorithms, JWKS files and URLs.
mod keys;
/// Bad input, limits, and the close catalogue.
mod limits;
/// What is in the logs, and what never is.
mod logs;
/// A node that is short of memory.
mod memory;
/// A bus of two nats-servers.
mod nats_pair;
/// The device policy "newest replaces".
mod newest;
/// One publish, every kind of client, ten thousand times.
mod one_path;
/// What operators ask of one process.
mod operators;
/// Order of many messages over several routers.
mod order;
/// Clients' messages while the bus is away.
mod outage;
/// Queries and the micro service that answers them.
mod queries;
/// "ok to a join means that no later message is missed", ten thousand times.
mod races;
/// Receipts: what they count, when they come, and errors in their place.
mod receipts;
/// Back ends by STOMP over TCP.
mod relay;
/// What is taken up anew while a process runs.
mod reload;
/// Dialect `json`: join, leave, ids, errors, keys and patterns of rooms.
mod rooms;
/// One to three routers: killed, frozen, added, leaving in order, absent.
mod routers;
/// Routers that hear a part of the sends each.
mod sections;
/// More than fits one message of the bus, one page, one write: and nothing left behind.
mod size;
/// Clients that read too slowly.
mod slow;
/// SockJS: its URLs, and its framing over WebSocket.
mod sockjs;
/// SockJS without WebSocket: sessions over plain HTTP, at any gateway.
mod sockjs_http;
/// A thousand of those, and a gateway that dies.
mod sockjs_storm;
/// Dialect `stomp`.
mod stomp;
/// Dialect `stomp`: destinations by configuration, answers, errors, resuming.
mod stomp_rules;
/// wss.
mod tls;
/// Traces from hop to hop, as a collector gets them.
mod traces;
/// Clients' messages and requests to domain services.
mod upstream;
