//! Several nats-servers that form one cluster with JetStream, each route between two of them behind a proxy: servers can
//! be killed, sent away as lame ducks, and cut off from one another.

use std::net::SocketAddr;

use serde_json::Value;

use crate::nats::NatsServer;
use crate::proxy::{Link, Proxy};
use crate::wait::eventually;

/// Where nothing listens: a route is known by its proxy alone, never by the address a server would tell the others.
const NOWHERE: &str = "127.0.0.1:1";

/// The servers. One alone is a plain server without a cluster.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
    /// `routes[from][to]`: how `from` reaches `to`.
    routes: Vec<Vec<Proxy>>,
}

impl NatsCluster {
    /// Starts `count` servers and waits until JetStream answers.
    ///
    /// # Panics
    /// If that does not come to be.
    pub async fn start(count: usize) -> Self {
        let nowhere: SocketAddr = NOWHERE.parse().expect("an address");
        let mut routes = Vec::new();
        for _ in 0..count {
            let mut row = Vec::new();
            for _ in 0..count {
                row.push(Proxy::start(nowhere).await);
            }
            routes.push(row);
        }
        let mut cluster = Self { servers: Vec::new(), routes };
        for number in 0..count {
            let config = cluster.config(number, count);
            cluster.servers.push(NatsServer::start(&config).await);
            cluster.route_to(number);
        }
        cluster.serves().await;
        cluster
    }

    fn config(&self, number: usize, count: usize) -> String {
        // A lame duck may not take less than 30 s by its own rule; it ends as soon as its clients are gone.
        let mut config =
            format!("server_name: \"n{number}\"\nlame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"\n");
        if count > 1 {
            let routes: Vec<_> =
                self.routes[number].iter().map(|proxy| format!("\"nats://{}\"", proxy.address())).collect();
            config.push_str(&format!(
                "cluster {{\n  name: \"tests\"\n  listen: \"127.0.0.1:-1\"\n  no_advertise: true\n  advertise: \
                 \"{NOWHERE}\"\n  ping_interval: \"2s\"\n  routes: [{}]\n}}\n",
                routes.join(", ")
            ));
        }
        config
    }

    fn route_to(&self, number: usize) {
        if let Some(address) = self.servers[number].cluster_address() {
            for row in &self.routes {
                row[number].retarget(address);
            }
        }
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub const fn len(&self) -> usize {
        self.servers.len()
    }

    /// One of them.
    pub fn server(&self, number: usize) -> &NatsServer {
        &self.servers[number]
    }

    /// Where clients reach them.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(NatsServer::address).collect()
    }

    /// Starts a server again on its port and store, ending it first if need be.
    pub async fn restart(&mut self, number: usize) {
        self.servers[number].restart().await;
        self.route_to(number);
    }

    /// Cuts a server off from the others, or joins it to them again. Its clients keep their connections.
    pub fn isolate(&self, number: usize, link: Link) {
        for (from, row) in self.routes.iter().enumerate() {
            for (to, proxy) in row.iter().enumerate() {
                if (from == number) != (to == number) {
                    proxy.set(link);
                }
            }
        }
    }

    /// Waits until JetStream answers through each running server.
    pub async fn serves(&self) {
        for server in self.servers.iter().filter(|server| server.process().is_running()) {
            let client = server.connect().await;
            eventually("JetStream answers", async || {
                let request = client.request("$JS.API.INFO", "".into());
                let answer = tokio::time::timeout(std::time::Duration::from_secs(2), request).await;
                let message = answer.map_err(|_| "silence")?.map_err(|error| error.to_string())?;
                let info: Value = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
                if info.get("error").is_none() { Ok(()) } else { Err(info.to_string()) }
            })
            .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Service;
    use serde_json::json;

    async fn stream_info(service: &Service) -> Result<Value, String> {
        let message = service.bus().request("$JS.API.STREAM.INFO.S", "".into()).await;
        let message = message.map_err(|error| error.to_string())?;
        serde_json::from_slice(&message.payload).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn three_servers_hold_a_stream_and_elect_another_leader_when_its_own_is_cut_off() {
        let cluster = NatsCluster::start(3).await;
        let mut services = Vec::new();
        for number in 0..3 {
            services.push(Service::new(cluster.server(number).connect().await, "hf"));
        }
        let settings = json!({"name": "S", "subjects": ["s.>"], "num_replicas": 3});
        eventually("the stream is made", async || {
            let made = services[0].bus().request("$JS.API.STREAM.CREATE.S", settings.to_string().into()).await;
            let made: Value = serde_json::from_slice(&made.map_err(|error| error.to_string())?.payload)
                .map_err(|error| error.to_string())?;
            if made.get("error").is_none() { Ok(()) } else { Err(made.to_string()) }
        })
        .await;
        let leader = stream_info(&services[0]).await.unwrap()["cluster"]["leader"].as_str().unwrap().to_owned();
        let number = (0..3).find(|number| leader == format!("n{number}")).unwrap();

        cluster.isolate(number, Link::Cut);

        let other = &services[(number + 1) % 3];
        eventually("another server leads", async || {
            let request = tokio::time::timeout(std::time::Duration::from_secs(2), stream_info(other));
            let info = request.await.map_err(|_| "silence")??;
            let now = info["cluster"]["leader"].as_str().unwrap_or("").to_owned();
            if !now.is_empty() && now != leader { Ok(()) } else { Err(info.to_string()) }
        })
        .await;
        cluster.isolate(number, Link::Open);
        cluster.serves().await;
    }
}
