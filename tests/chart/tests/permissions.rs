//! The permissions of `deploy/nats` on a real nats-server: what each kind of program needs works, and the rest is denied.

use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt as _;
use holdfast_chart::repository;
use holdfast_harness::nats::NatsServer;
use holdfast_harness::wait::eventually;
use std::time::Duration;
use tokio::sync::mpsc;

/// The configuration as it is deployed, with passwords in place of the environment.
fn config() -> String {
    let permissions = repository::read("deploy/nats/permissions.conf").expect("permissions");
    let accounts = repository::read("deploy/nats/accounts-password.conf").expect("accounts");
    let mut text = accounts.replace("include ./permissions.conf", &permissions);
    for user in ["GATEWAY", "ROUTER", "SERVICE", "OBSERVER", "OPERATOR", "SYSTEM"] {
        text = text.replace(&format!("$NATS_{user}_PASSWORD"), &format!("p{}", user.to_lowercase()));
    }
    text
}

/// A program of one kind, and what the server told it. The channel holds more than a test provokes.
struct Program {
    client: Client,
    told: mpsc::Receiver<String>,
}

async fn program(server: &NatsServer, user: &str) -> Program {
    let (tell, told) = mpsc::channel(64);
    let client = ConnectOptions::with_user_and_password(user.to_owned(), format!("p{user}"))
        .custom_inbox_prefix(format!("_INBOX.{user}"))
        .request_timeout(Some(Duration::from_secs(20)))
        .event_callback(move |event| {
            let tell = tell.clone();
            async move {
                if let Event::ServerError(error) = event {
                    tell.send(error.to_string()).await.expect("the test listens");
                }
            }
        })
        .connect(format!("nats://{}", server.address()))
        .await
        .expect("connects");
    Program { client, told }
}

impl Program {
    async fn publish(&self, subject: &str) {
        self.client.publish(subject.to_owned(), "".into()).await.expect("handed over");
    }

    /// The next thing the server refuses is this.
    async fn is_denied(&mut self, what: &str, subject: &str) {
        let told = tokio::time::timeout(Duration::from_secs(20), self.told.recv()).await;
        let told = told.unwrap_or_else(|_| panic!("{what} {subject} was not denied")).expect("connected");
        let (told, subject) = (told.to_lowercase(), subject.to_lowercase());
        assert!(
            told.contains("permissions violation") && told.contains(&format!("\"{subject}\"")),
            "{what} {subject}: {told}"
        );
    }
}

const MAY_PUBLISH: &[(&str, &[&str])] = &[
    (
        "gateway",
        &[
            "hf.int.router.r",
            "hf.int.roster.n",
            "hf.int.beat.node",
            "hf.up.chat.message.new",
            "hf.req.chat.a.b.c",
            "hf.auth.connect.chat",
            "hf.auth.join.chat",
            "hf.event.connection.opened.ana",
            "hf.event.connection.closed.ana",
            "hf.int.http.n",
            "hf.int.find",
            "_INBOX.router.a.1",
            "_INBOX.gateway.a.1",
            "$JS.API.STREAM.INFO.HF_KEPT",
            "$JS.API.STREAM.MSG.GET.HF_KEPT",
            "$JS.API.DIRECT.GET.HF_KEPT",
        ],
    ),
    (
        "router",
        &[
            "hf.int.node.n",
            "hf.int.beat.router",
            "hf.int.discover",
            "hf.send.move",
            "hf.ctl.move",
            "hf.int.send.1.move",
            "hf.int.router.r",
            "hf.event.user.online.ana",
            "hf.event.room.vacated.r",
            "hf.event.node.lost.n",
            "_INBOX.service.a.1",
            "_INBOX.anybody",
            "hf.receipt.orders.1",
            "$JS.API.STREAM.INFO.HF_KEPT",
            "$JS.API.STREAM.MSG.GET.HF_KEPT",
        ],
    ),
    (
        "service",
        &[
            "hf.send.user.ana",
            "hf.send.room.r",
            "hf.send.connection.c",
            "hf.send.all",
            "hf.send.many",
            "hf.keep.user.ana",
            "hf.ctl.user.ana",
            "hf.ctl.all",
            "hf.query.user.ana",
            "hf.query.stats",
        ],
    ),
    ("operator", &["hf.send.all", "hf.ctl.node.n", "hf.query.nodes", "$SRV.PING"]),
];

const MAY_NOT_PUBLISH: &[(&str, &[&str])] = &[
    (
        "gateway",
        &[
            "hf.send.user.ana",
            "hf.ctl.all",
            "hf.int.node.n",
            "hf.int.beat.router",
            "hf.int.discover",
            "hf.event.user.online.ana",
            "hf.query.stats",
            "_INBOX.service.a.1",
            "$JS.API.INFO",
        ],
    ),
    (
        "router",
        &["hf.send.user.ana", "hf.up.chat.a", "hf.int.roster.n", "hf.int.beat.node", "hf.event.connection.opened.ana"],
    ),
    (
        "service",
        &[
            "hf.int.node.n",
            "hf.int.http.n",
            "hf.int.find",
            "hf.int.roster.n",
            "hf.ctl.node.n",
            "hf.int.send.1.move",
            "hf.event.user.online.ana",
            "hf.up.chat.a",
            "_INBOX.gateway.a.1",
            "$JS.API.INFO",
        ],
    ),
    ("observer", &["hf.send.all", "hf.query.stats", "anything"]),
    ("operator", &["hf.int.node.n", "hf.event.user.online.ana", "hf.up.chat.a"]),
];

const MAY_HEAR: &[(&str, &[&str])] = &[
    ("gateway", &["hf.int.node.n", "hf.int.http.n", "hf.int.discover", "hf.int.beat.router", "_INBOX.gateway.>"]),
    (
        "router",
        &[
            "hf.send.>",
            "hf.ctl.>",
            "hf.query.user.*",
            "hf.int.roster.*",
            "hf.int.beat.node",
            "hf.int.beat.router",
            "hf.int.router.r",
            "hf.int.find",
            "hf.event.user.*.*",
            "hf.event.room.*.*",
            "$SRV.PING",
            "$SRV.INFO.holdfast",
            "_INBOX.router.>",
        ],
    ),
    ("service", &["hf.up.chat.>", "hf.req.chat.>", "hf.auth.connect.chat", "hf.event.>", "_INBOX.service.>"]),
    ("observer", &["hf.event.>"]),
    ("operator", &["hf.event.>"]),
];

const MAY_NOT_HEAR: &[(&str, &[&str])] = &[
    ("gateway", &["hf.send.>", "hf.up.>", "_INBOX.>", "_INBOX.service.>", ">"]),
    ("router", &["hf.up.>", "hf.int.node.*", "_INBOX.>", "_INBOX.gateway.>", ">"]),
    ("service", &["hf.send.>", "hf.int.>", "_INBOX.>", "_INBOX.gateway.>", ">"]),
    ("observer", &["hf.up.>", "hf.send.>", "_INBOX.observer.>"]),
    ("operator", &["hf.send.>", "hf.up.>", "_INBOX.gateway.>"]),
];

#[tokio::test]
async fn what_is_not_granted_is_denied_and_what_is_granted_is_not() {
    let server = NatsServer::start(&config()).await;
    for user in ["gateway", "router", "service", "observer", "operator"] {
        let mut program = program(&server, user).await;
        let of = |table: &'static [(&str, &[&'static str])]| {
            table.iter().filter(move |(name, _)| *name == user).flat_map(|(_, all)| *all)
        };

        // Refusals come in the order of what was refused: had anything granted been denied, it would be the next.
        for subject in of(MAY_PUBLISH) {
            program.publish(subject).await;
        }
        let mut heard = Vec::new();
        for subject in of(MAY_HEAR) {
            heard.push(program.client.subscribe((*subject).to_owned()).await.expect("handed over"));
        }
        for subject in of(MAY_NOT_PUBLISH) {
            program.publish(subject).await;
            program.is_denied("publishing", subject).await;
        }
        for subject in of(MAY_NOT_HEAR) {
            heard.push(program.client.subscribe((*subject).to_owned()).await.expect("handed over"));
            program.is_denied("hearing", subject).await;
        }
        assert!(program.told.try_recv().is_err(), "{user}: more was denied than should be");
    }
}

#[tokio::test]
async fn each_kind_of_question_finds_its_way_back() {
    let server = NatsServer::start(&config()).await;
    // Who answers, where it listens, who asks, and what.
    for (answers, hears, asks, subject) in [
        ("router", "hf.send.>", "service", "hf.send.user.ana"),
        ("router", "hf.query.*", "operator", "hf.query.stats"),
        ("service", "hf.req.chat.>", "gateway", "hf.req.chat.history"),
        ("service", "hf.auth.join.chat", "gateway", "hf.auth.join.chat"),
        ("gateway", "hf.int.node.n", "router", "hf.int.node.n"),
    ] {
        let (one, other) = (program(&server, answers).await, program(&server, asks).await);
        let mut questions = one.client.subscribe(hears).await.expect("handed over");

        // The one who answers goes on until the one who asks has heard; the first questions may come before its
        // subscription has reached the server.
        let answers = async {
            while let Some(question) = questions.next().await {
                let reply = question.reply.expect("a reply subject");
                one.client.publish(reply, "answer".into()).await.expect("handed over");
            }
            panic!("{subject}: the subscription ended");
        };
        let asks = eventually(subject, async || {
            other.client.request(subject, "question".into()).await.map_err(|error| error.to_string())
        });
        let answered = tokio::select! {
            answered = asks => answered,
            () = answers => unreachable!("it does not end"),
        };

        assert_eq!(answered.payload, "answer", "{subject}");
    }
}

#[tokio::test]
async fn send_that_nats_maps_to_a_section_is_allowed_and_heard() {
    let mapping = r#"mappings { "hf.send.room.*": "hf.int.send.{{partition(2,1)}}.room.{{wildcard(1)}}" }"#;
    let config = config().replace("jetstream: enabled", &format!("jetstream: enabled\n{mapping}"));
    let server = NatsServer::start(&config).await;
    let (router, service) = (program(&server, "router").await, program(&server, "service").await);
    let mut heard = router.client.subscribe("hf.int.send.>").await.expect("handed over");

    let message = eventually("the router hears a send", async || {
        service.publish("hf.send.room.r").await;
        let next = tokio::time::timeout(Duration::from_millis(100), heard.next()).await;
        next.map_err(|_| "nothing yet".to_owned())
    })
    .await;
    let subject = message.expect("a message").subject.to_string();
    assert!(subject.starts_with("hf.int.send.") && subject.ends_with(".room.r"), "{subject}");
}

#[tokio::test]
async fn a_service_answers_a_request_once_and_nothing_else() {
    let server = NatsServer::start(&config()).await;
    let mut service = program(&server, "service").await;
    let gateway = program(&server, "gateway").await;
    let mut requests = service.client.subscribe("hf.req.chat.>").await.expect("handed over");

    let mut attempts = 0..;
    let request = eventually("the service hears a request", async || {
        let reply = format!("_INBOX.gateway.x.{}", attempts.next().unwrap_or_default());
        let asked = gateway.client.publish_with_reply("hf.req.chat.a", reply, "".into()).await;
        asked.map_err(|error| error.to_string())?;
        let heard = tokio::time::timeout(Duration::from_millis(100), requests.next()).await;
        heard.map_err(|_| "nothing yet".to_owned())
    })
    .await;
    let reply = request.expect("a request").reply.expect("a reply subject");

    service.publish(&reply).await;
    service.publish(&reply).await;
    service.is_denied("answering twice", &reply).await;
}

#[tokio::test]
async fn nobody_connects_without_a_password() {
    let server = NatsServer::start(&config()).await;

    let refused = ConnectOptions::new().connect(format!("nats://{}", server.address())).await;

    assert!(refused.is_err_and(|error| error.to_string().to_lowercase().contains("authorization")));
}
