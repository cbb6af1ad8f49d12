//! The router process and the stream of kept messages on a real JetStream. What whole fleets do with it is tested in
//! `tests/e2e`.

use std::process::Command;

use async_nats::jetstream::{self, stream::Info};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use holdfast_harness::nats::NatsServer;
use holdfast_harness::process::Process;
use holdfast_harness::wait::{bounded, eventually};
use holdfast_protocol::kept::EPOCH_METADATA;

const STREAM: &str = "HF_KEPT";

fn router(server: &NatsServer) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-router"));
    command.env_clear();
    command.env("HOLDFAST_BUS__SERVERS", format!("nats://{}", server.address()));
    command.env("HOLDFAST_ADMIN__ADDRESS", "127.0.0.1:0");
    Process::spawn("router", command)
}

async fn info(context: &jetstream::Context) -> Info {
    let stream = context.get_stream(STREAM).await.expect("the stream");
    stream.cached_info().clone()
}

fn epoch_of(info: &Info) -> String {
    info.config.metadata.get(EPOCH_METADATA).cloned().unwrap_or_default()
}

async fn keep(context: &jetstream::Context, count: usize) {
    for number in 0..count {
        let stored = context.publish("hf.keep.room.a", number.to_string().into()).await.expect("publish");
        stored.await.expect("stored");
    }
}

/// Waits until the router has looked at the stream as it is now: it asks anew once it has the answer before.
async fn looked(client: &Client) {
    let mut looks = looks(client).await;
    for _ in 0..2 {
        drop(bounded("a look at the stream", looks.next()).await);
    }
}

async fn looks(client: &Client) -> Subscriber {
    let looks = client.subscribe(format!("$JS.API.STREAM.INFO.{STREAM}")).await.expect("subscribe");
    client.flush().await.expect("flush");
    looks
}

/// A router at work on a stream in which something is, and knows it.
struct Scene {
    client: Client,
    context: jetstream::Context,
    before: Info,
    _router: Process,
    _server: NatsServer,
}

impl Scene {
    async fn start() -> Self {
        let server = NatsServer::start("").await;
        let client = server.connect().await;
        let context = jetstream::new(client.clone());
        let router = router(&server);
        router.ready().await.expect("ready");
        let before = info(&context).await;
        keep(&context, 5).await;
        looked(&client).await;
        Self { client, context, before, _router: router, _server: server }
    }
}

#[tokio::test]
async fn a_stream_put_back_with_less_in_it_gets_another_epoch() {
    let Scene { context, before, .. } = &Scene::start().await;

    put_back(context, before).await;

    until_epoch_is_not(context, &epoch_of(before)).await;
}

#[tokio::test]
async fn a_stream_put_back_with_less_in_it_after_another_was_there_gets_another_epoch_too() {
    let Scene { client, context, before, .. } = &Scene::start().await;
    context.delete_stream(STREAM).await.expect("delete");
    until_epoch_is_not(context, &epoch_of(before)).await;
    looked(client).await;

    put_back(context, before).await;

    until_epoch_is_not(context, &epoch_of(before)).await;
}

/// Puts the stream back as it was, without its messages.
async fn put_back(context: &jetstream::Context, before: &Info) {
    eventually("it is put back", async || {
        // The router may have made one of its own already.
        drop(context.delete_stream(STREAM).await);
        context.create_stream(before.config.clone()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

async fn until_epoch_is_not(context: &jetstream::Context, before: &str) {
    eventually("its epoch is another one", async || match context.get_stream(STREAM).await {
        Ok(stream) => {
            let epoch = epoch_of(stream.cached_info());
            if epoch.is_empty() || epoch == before { Err(epoch) } else { Ok(()) }
        }
        Err(error) => Err(error.to_string()),
    })
    .await;
}
