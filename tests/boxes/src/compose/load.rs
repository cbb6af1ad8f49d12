//! A little of everything that a fleet does, for as long as it is held: so that every panel has something to show.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use holdfast_harness::client::Connect;
use holdfast_harness::{Service, To, wait};
use serde_json::json;
use tokio::task::JoinSet;

/// Users that stay.
const USERS: usize = 40;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends when dropped.
#[derive(Debug)]
pub(super) struct Load(#[expect(dead_code, reason = "held, not used: its tasks end with it")] JoinSet<()>);

impl Load {
    /// Begins; clients connect through `through`.
    pub(super) async fn start(through: SocketAddr, service: &Service) -> Self {
        quiet_refusals();
        let mut tasks = JoinSet::new();
        let requests = service.bus().subscribe(service.subject("req.>")).await;
        let mut requests = requests.expect("a domain service may hear requests");
        let answering = service.bus().clone();
        tasks.spawn(async move {
            while let Some(request) = requests.next().await {
                if let Some(reply) = request.reply {
                    drop(answering.publish(reply, "{}".into()).await);
                }
            }
        });
        let publisher = service.clone();
        tasks.spawn(async move {
            for round in 0_usize.. {
                let user = To::user(&format!("user-{}", round % USERS));
                publisher.send(user).publish().await;
                publisher.send(To::room("lobby")).header("Hf-Key", "newest").publish().await;
                publisher.send(To::raw("all")).publish().await;
                let kept = publisher.subject("keep.room.lobby");
                drop(publisher.bus().publish(kept, "{\"kept\":true}".into()).await);
                wait::pause(PAUSE).await;
            }
        });
        for number in 0..USERS {
            tasks.spawn(async move {
                loop {
                    visit(through, number).await;
                }
            });
        }
        Self(tasks)
    }
}

/// Comes, does what clients do, goes; whoever is refused comes back.
async fn visit(through: SocketAddr, number: usize) {
    let connect = Connect::to(through).user(&format!("user-{number}"));
    let mut visit = JoinSet::new();
    visit.spawn(async move {
        let client = connect.open().await;
        client.join("lobby").await;
        for round in 0..if number == 0 { 10 } else { 200 } {
            client.tell(json!({"type": "send", "to": "echo.say", "data": {"n": round}})).await;
            if round % 10 == 0 {
                client.tell(json!({"type": "request", "id": format!("r{round}"), "to": "echo.ask", "data": {}})).await;
            }
            if !client.is_open() {
                return;
            }
            wait::pause(PAUSE).await;
        }
        client.close().await;
    });
    // A panic is a refusal: faults are made on purpose here.
    if visit.join_next().await.is_some_and(|ended| ended.is_err()) {
        wait::pause(PAUSE * 5).await;
    }
}

/// Refused clients panic, as the harness has it; while faults are made on purpose that is no news.
fn quiet_refusals() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some("main") {
            report(panic);
        }
    }));
}
