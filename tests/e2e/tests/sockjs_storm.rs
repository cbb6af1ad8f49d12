//! Many SockJS sessions over plain HTTP at once, each request at another gateway, and one gateway killed meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use holdfast_harness::client::{HttpSession, messages};
use holdfast_harness::http::Response;
use holdfast_harness::wait::{pause, within};
use holdfast_harness::{Cluster, unique};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::kept::keep;

const SESSIONS: usize = 1000;
const ROOMS: usize = 20;
const MESSAGES: usize = 10;

/// A client behind a balancer that takes turns, and that comes back when its session ends.
struct Follower {
    gateways: Vec<SocketAddr>,
    turn: usize,
    user: String,
    room: String,
    seen: Vec<Value>,
    since: Option<Value>,
    sessions: usize,
}

impl Follower {
    /// One request, at the next gateway that takes connections; `None` if it broke.
    async fn request(&mut self, session: &HttpSession, what: &str, body: &str) -> Option<Response> {
        for _ in 0..self.gateways.len() {
            self.turn += 1;
            let gateway = self.gateways[self.turn % self.gateways.len()];
            match session.try_request(gateway, "POST", what, body).await {
                Ok(response) => return Some(response),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Reads until all messages are there, in as many sessions as it takes.
    async fn follow(mut self) -> Self {
        while self.seen.len() < MESSAGES {
            self.sessions += 1;
            if self.session().await.is_none() {
                pause(Duration::from_millis(100)).await;
            }
        }
        self
    }

    /// One session, from its greeting until all is there or it ends.
    async fn session(&mut self) -> Option<()> {
        let session = HttpSession::new("/ws").user(&self.user);
        if self.request(&session, "xhr", "").await?.body != "o\n" {
            return None;
        }
        let mut join = json!({"type": "join", "id": 1, "room": self.room});
        if let Some(since) = &self.since {
            join["since"] = since.clone();
        }
        let body = Value::from(vec![join.to_string()]).to_string();
        if self.request(&session, "xhr_send", &body).await?.status != 204 {
            return None;
        }
        while self.seen.len() < MESSAGES {
            let frame = self.request(&session, "xhr", "").await?.body;
            if frame.trim_end() == "h" {
                continue;
            }
            for text in messages(frame.trim_end())? {
                self.take(&serde_json::from_str(&text).expect("JSON"));
            }
        }
        Some(())
    }

    fn take(&mut self, message: &Value) {
        if message["type"] == "ok" {
            assert_eq!(message["recovered"].as_bool(), self.since.as_ref().map(|_| true), "{message}");
            self.since.get_or_insert_with(|| message["position"].clone());
        } else if message["type"] == "message" {
            self.since = Some(json!({"epoch": message["epoch"], "seq": message["seq"]}));
            self.seen.push(message["data"].clone());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_lose_and_double_nothing_when_a_gateway_dies() {
    let builder = Cluster::builder().gateways(3).gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws");
    let mut cluster = builder.start().await;
    let service = cluster.service().await;
    let gateways: Vec<_> = cluster.gateways().iter().map(|gateway| gateway.listen()).collect();
    let mut followers = JoinSet::new();
    for number in 0..SESSIONS {
        let follower = Follower {
            gateways: gateways.clone(),
            turn: number,
            user: unique("user"),
            room: format!("r{}", number % ROOMS),
            seen: Vec::new(),
            since: None,
            sessions: 0,
        };
        followers.spawn(follower.follow());
    }
    within(Duration::from_secs(120), "every session is in its room", async || {
        for room in 0..ROOMS {
            let members = service.try_query(&format!("room.r{room}"), "").await?;
            if members["count"] != SESSIONS / ROOMS {
                return Err(members["count"].to_string());
            }
        }
        Ok(())
    })
    .await;

    for number in 0..MESSAGES {
        for room in 0..ROOMS {
            keep(&service, &format!("keep.room.r{room}"), &json!(number)).await;
        }
        if number == MESSAGES / 3 {
            cluster.remove_gateway(0);
        }
    }

    let done = tokio::time::timeout(Duration::from_secs(180), followers.join_all()).await.expect("all is read in time");
    for follower in &done {
        assert_eq!(follower.seen, (0..MESSAGES).map(Value::from).collect::<Vec<_>>(), "{}", follower.user);
    }
    let again = done.iter().filter(|follower| follower.sessions > 1).count();
    assert!((SESSIONS / 4..SESSIONS).contains(&again), "{again} sessions came back: those of one gateway in three");
}
