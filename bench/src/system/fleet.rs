//! Holdfast: one nats-server, routers and gateways as processes, and how its clients and publishers reach them.

use std::net::SocketAddr;
use std::sync::Arc;

use holdfast_harness::{Cluster, eventually};
use holdfast_protocol::subject::{Kind, Subjects, Target};
use rustls::{ClientConfig, ServerConfig};
use serde_json::json;

use super::Part;
use crate::bus::Publisher;
use crate::cores;
use crate::load::Opening;
use crate::load::greet::{Json, Rooms, user};

/// What is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) gateways: usize,
    pub(crate) routers: usize,
    /// Into how many the routers are split, in turn.
    pub(crate) sections: usize,
    pub(crate) tls: bool,
    /// Each gateway has one shard on the server's core; everything else is on the load's.
    pub(crate) bound: bool,
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { gateways: 1, routers: 1, sections: 1, tls: false, bound: false, settings: Vec::new() }
    }
}

/// A running one.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    subjects: Subjects,
    tls: bool,
}

impl Fleet {
    /// Starts it and waits until it is whole.
    ///
    /// # Errors
    /// Processes cannot be bound to cores.
    pub(crate) async fn start(shape: &Shape) -> anyhow::Result<Self> {
        // A heartbeat would be work in the middle of a measurement; who wants it asks for it.
        let mut builder = Cluster::builder()
            .open_bus()
            .gateways(shape.gateways)
            .routers(shape.routers)
            .gateway_setting("HOLDFAST_SESSION__HEARTBEAT", "1h");
        if shape.bound {
            builder = builder.gateway_setting("HOLDFAST_LISTEN__SHARDS", "1");
        }
        for (name, value) in &shape.settings {
            builder = builder.gateway_setting(name, value);
        }
        if shape.sections > 1 {
            builder = builder.sections(shape.sections);
        }
        if shape.tls {
            builder = builder.tls();
        }
        let cluster = builder.start().await;
        if shape.bound {
            for gateway in cluster.gateways() {
                cores::bind_process(gateway.pid(), cores::SERVER)?;
            }
            for router in cluster.routers() {
                cores::bind_process(router.pid(), cores::LOAD)?;
            }
            cores::bind_process(cluster.nats().process().pid(), cores::LOAD)?;
        }
        Ok(Self { cluster, subjects: Subjects::new("hf"), tls: shape.tls })
    }

    /// How clients of dialect json come to a gateway, into these rooms.
    pub(crate) fn opening(&self, gateway: usize, rooms: Rooms) -> Opening {
        let server = self.server(gateway);
        Opening {
            server,
            tls: self.tls.then(|| self.cluster.certificate().client(rustls::DEFAULT_VERSIONS)),
            greeting: Arc::new(Json { host: server.to_string(), rooms, first: 0 }),
            source: gateway * 8,
        }
    }

    /// Where a gateway listens.
    pub(crate) fn server(&self, gateway: usize) -> SocketAddr {
        self.cluster.gateway(gateway).listen()
    }

    /// A domain service.
    ///
    /// # Errors
    /// NATS is not there.
    pub(crate) fn publisher(&self) -> anyhow::Result<Publisher> {
        Publisher::connect(self.cluster.nats().address())
    }

    /// What both ends of a bare loop over TLS need.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub(crate) fn floor_tls(&self) -> anyhow::Result<(Arc<ServerConfig>, Arc<ClientConfig>)> {
        let certificate = self.cluster.certificate();
        Ok((certificate.server()?, certificate.client(rustls::DEFAULT_VERSIONS)))
    }

    /// The subject that reaches the `number`th client.
    pub(crate) fn to_user(&self, number: usize) -> String {
        self.subjects.to(Kind::Send, &Target::User(user(number)))
    }

    /// The subject that reaches a room.
    pub(crate) fn to_room(&self, room: &str) -> String {
        self.subjects.to(Kind::Send, &Target::Room(room.to_owned()))
    }

    /// The processes that count.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let gateways = self.cluster.gateways().iter().map(|gateway| Part { name: "gateway", pid: gateway.pid() });
        let routers = self.cluster.routers().iter().map(|router| Part { name: "router", pid: router.pid() });
        let nats = Part { name: "nats", pid: self.cluster.nats().process().pid() };
        gateways.chain(routers).chain([nats]).collect()
    }

    /// Waits until the routers' books show so many connections.
    pub(crate) async fn connections(&self, wanted: usize) {
        let service = self.cluster.service().await;
        eventually("every connection is in the books", async || {
            let stats = service.try_query("stats", "").await?;
            if stats["connections"] == json!(wanted) { Ok(()) } else { Err(format!("{wanted} wanted: {stats}")) }
        })
        .await;
    }

    /// Waits until a room has so many members.
    pub(crate) async fn members(&self, room: &str, wanted: usize) {
        let service = self.cluster.service().await;
        let token = holdfast_protocol::token::encode(room);
        eventually("everybody is in the room", async || {
            let answer = service.try_query(&format!("room.{token}"), "{\"limit\":1}").await?;
            if answer["count"] == json!(wanted) { Ok(()) } else { Err(format!("{wanted} wanted: {answer}")) }
        })
        .await;
    }
}
