//! `holdfast demo-service`: the domain service behind the demo page, and an example of one.
//!
//! It uses nothing but the public bus contract: it hears what clients of the endpoint `demo` say, publishes to
//! rooms and users, answers requests, asks the router who is there, and follows facts. It never learns which
//! gateway holds whom.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt as _;
use holdfast_protocol::subject::{Kind, Query, Target};
use holdfast_protocol::token;
use serde_json::{Value, json};

use crate::args::Global;
use crate::bus::{Bus, Outgoing};
use crate::exit::{Exit, Failure, Outcome, chain};
use crate::output;

/// The endpoint whose clients it serves: `/ws/demo`.
const ENDPOINT: &str = "demo";
/// Where chat messages, the counter and the list of those online go.
const CHAT: &str = "demo/chat";
const COUNTER: &str = "demo/counter";
/// Instances share the work: a message goes to one of them.
const QUEUE_GROUP: &str = "holdfast-demo";
/// Longest text of a chat message or notification, in characters.
const TEXT_CHARS_MAX: usize = 500;
/// Most users it shows as online.
const ONLINE_MAX: usize = 1_000;

/// The demo service has no options of its own.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {}

/// What the service remembers; a restart forgets it.
#[derive(Debug, Default)]
struct Demo {
    counter: u64,
    online: BTreeSet<String>,
}

/// What a message leads to.
#[derive(Debug, PartialEq)]
enum Effect {
    /// Publish to a target: event name, body, conflation key.
    Publish(Target, &'static str, Value, Option<&'static str>),
    /// Answer a request.
    Answer(Value),
    /// Answer a request with what a send to this user came to.
    Notify(String, Value),
    /// Refuse a request.
    Refuse(u16, &'static str),
}

fn text_of(data: &Value) -> Option<String> {
    let text: String = data["text"].as_str()?.trim().chars().take(TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

impl Demo {
    /// A client's message, `to` as the client wrote it.
    fn up(&mut self, to: &str, user: &str, data: &Value) -> Option<Effect> {
        match to {
            "chat" => {
                let body = json!({"from": user, "text": text_of(data)?});
                Some(Effect::Publish(Target::Room(CHAT.to_owned()), "chat", body, None))
            }
            "count" => {
                self.counter += 1;
                Some(self.counter_effect())
            }
            _ => None,
        }
    }

    fn counter_effect(&self) -> Effect {
        // Only the newest value matters to a slow client: the key lets it replace one still unsent.
        let body = json!({"value": self.counter});
        Effect::Publish(Target::Room(COUNTER.to_owned()), "counter", body, Some("counter"))
    }

    /// A client's request.
    fn request(&self, to: &str, user: &str, data: &Value) -> Effect {
        match (to, data["to"].as_str(), text_of(data)) {
            ("online", ..) => Effect::Answer(self.online_body()),
            ("count", ..) => Effect::Answer(json!({"value": self.counter})),
            ("notify", Some(to), Some(text)) if token::check_key(to).is_ok() => {
                Effect::Notify(to.to_owned(), json!({"from": user, "text": text}))
            }
            ("notify", ..) => Effect::Refuse(400, "a notification wants to and text"),
            _ => Effect::Refuse(404, "the demo knows online, count and notify"),
        }
    }

    fn online_body(&self) -> Value {
        json!({"users": self.online})
    }

    /// A fact; `Some` where it changes who is online.
    fn fact(&mut self, what: &str, user: String) -> Option<Effect> {
        let changed = match what {
            "user.online" if self.online.len() < ONLINE_MAX => self.online.insert(user),
            "user.offline" => self.online.remove(&user),
            _ => false,
        };
        changed.then(|| {
            let target = Target::Room(CHAT.to_owned());
            Effect::Publish(target, "online", self.online_body(), Some("online"))
        })
    }
}

/// Serves until interrupted.
pub(crate) async fn run(global: &Global, _: DemoArgs) -> Outcome {
    let bus = Bus::connect(&global.bus).await?;
    let group = || QUEUE_GROUP.to_owned();
    let mut ups = bus.client.queue_subscribe(bus.subjects.up_all(ENDPOINT), group()).await?;
    let mut requests = bus.client.queue_subscribe(bus.subjects.req_all(ENDPOINT), group()).await?;
    let mut facts = bus.client.subscribe(bus.subjects.event_all()).await?;
    bus.client.flush().await?;
    let mut demo = Demo { counter: 0, online: who_is_there(&bus).await };
    output::note(&format!("Demo service is ready on {}.", global.bus.server));
    loop {
        let event = tokio::select! {
            message = ups.next() => message.map(|message| (Source::Up, message)),
            message = requests.next() => message.map(|message| (Source::Request, message)),
            message = facts.next() => message.map(|message| (Source::Fact, message)),
        };
        let Some((source, message)) = event else { return Ok(Exit::Done) };
        if let Some(effect) = demo.take(&bus, source, &message)
            && let Err(failure) = perform(&bus, &message, effect).await
        {
            // One message that cannot be served must not end the service for all others.
            output::note(&format!("holdfast demo-service: {}", chain(&failure.error)));
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Up,
    Request,
    Fact,
}

impl Demo {
    fn take(&mut self, bus: &Bus, source: Source, message: &Message) -> Option<Effect> {
        if let Source::Fact = source {
            let (what, user) = bus.subjects.parse_event(&message.subject)?;
            return self.fact(what, user);
        }
        let user = message.headers.as_ref()?.get("Hf-User")?.as_str();
        let to = message.subject.rsplit('.').next()?;
        let data = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
        match source {
            Source::Up => self.up(to, user, &data),
            Source::Request | Source::Fact => Some(self.request(to, user, &data)),
        }
    }
}

/// Users in the chat room now: what facts have told before this service was started.
async fn who_is_there(bus: &Bus) -> BTreeSet<String> {
    let query = Outgoing {
        subject: bus.subjects.ask(&Query::Room(CHAT.to_owned())),
        headers: Vec::new(),
        payload: Bytes::from(json!({"limit": ONLINE_MAX}).to_string()),
    };
    // Without a router there is nobody to be told about either.
    let answer = match bus.ask(&query, Duration::ZERO).await {
        Ok(reply) => reply.json().unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    let members = answer["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    members.iter().filter_map(|member| member["user"].as_str()).map(str::to_owned).collect()
}

async fn perform(bus: &Bus, request: &Message, effect: Effect) -> Result<(), Failure> {
    let (body, headers) = match effect {
        Effect::Publish(target, event, body, key) => {
            let mut headers = vec![("Hf-Type", event.to_owned())];
            headers.extend(key.map(|key| ("Hf-Key", key.to_owned())));
            let subject = bus.subjects.to(Kind::Send, &target);
            return bus.publish(&Outgoing { subject, headers, payload: Bytes::from(body.to_string()) }).await;
        }
        Effect::Answer(body) => (body.to_string(), Vec::new()),
        Effect::Notify(user, body) => {
            let send = Outgoing {
                subject: bus.subjects.to(Kind::Send, &Target::User(user)),
                headers: vec![("Hf-Type", "notification".to_owned())],
                payload: Bytes::from(body.to_string()),
            };
            // The receipt goes back to the client as it is: it says whether the other is there.
            (bus.ask(&send, Duration::ZERO).await?.json()?.to_string(), Vec::new())
        }
        Effect::Refuse(code, why) => {
            let headers = vec![("Nats-Service-Error-Code", code.to_string()), ("Nats-Service-Error", why.to_owned())];
            (String::new(), headers)
        }
    };
    let Some(reply) = &request.reply else { return Ok(()) };
    bus.publish(&Outgoing { subject: reply.to_string(), headers, payload: Bytes::from(body) }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_goes_to_the_room_with_the_verified_sender() {
        let effect = Demo::default().up("chat", "ana", &json!({"text": " hi ", "from": "ben"}));

        let body = json!({"from": "ana", "text": "hi"});
        assert_eq!(effect, Some(Effect::Publish(Target::Room(CHAT.into()), "chat", body, None)));
        assert_eq!(Demo::default().up("chat", "ana", &json!({"text": " "})), None);
        assert_eq!(Demo::default().up("fly", "ana", &Value::Null), None);
    }

    #[test]
    fn the_counter_counts_and_conflates() {
        let mut demo = Demo::default();
        demo.up("count", "ana", &Value::Null);
        let effect = demo.up("count", "ben", &Value::Null);

        let body = json!({"value": 2});
        assert_eq!(effect, Some(Effect::Publish(Target::Room(COUNTER.into()), "counter", body, Some("counter"))));
        assert_eq!(demo.request("count", "ana", &Value::Null), Effect::Answer(json!({"value": 2})));
    }

    #[test]
    fn who_is_online_follows_facts_and_tells_only_changes() {
        let mut demo = Demo::default();

        assert!(demo.fact("user.online", "ben".into()).is_some());
        assert!(demo.fact("user.online", "ana".into()).is_some());
        assert!(demo.fact("user.online", "ana".into()).is_none());
        assert!(demo.fact("room.occupied", CHAT.into()).is_none());
        assert_eq!(demo.request("online", "ana", &Value::Null), Effect::Answer(json!({"users": ["ana", "ben"]})));
        assert!(demo.fact("user.offline", "ben".into()).is_some());
        assert_eq!(demo.online_body(), json!({"users": ["ana"]}));
    }

    #[test]
    fn a_notification_names_one_user() {
        let demo = Demo::default();

        assert_eq!(
            demo.request("notify", "ana", &json!({"to": "ben", "text": "hey"})),
            Effect::Notify("ben".into(), json!({"from": "ana", "text": "hey"}))
        );
        assert!(matches!(demo.request("notify", "ana", &json!({"text": "hey"})), Effect::Refuse(400, _)));
        assert!(matches!(demo.request("fly", "ana", &Value::Null), Effect::Refuse(404, _)));
    }
}
