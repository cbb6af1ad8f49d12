//! Handshakes from the request to admission or refusal.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use holdfast_daemon::config::Secret;
use holdfast_protocol::subject::Subjects;
use hyper::Request;
use serde_json::{Value, json};

use super::*;
use crate::auth::{Backend, JwtSettings, Verifier};
use crate::handshake::PathRule;
use crate::session::{Failure, Outcome};

const NOW: u64 = 1_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A bus with one domain service that answers as the test says, and remembers what it was asked.
struct Bus {
    served: bool,
    answers: Mutex<VecDeque<Outcome<Bytes>>>,
    asked: Mutex<Vec<(String, Value)>>,
}

impl Backend for Bus {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        _timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = Outcome<Bytes>> + Send>> {
        self.asked.lock().unwrap().push((subject, serde_json::from_slice(&payload).unwrap()));
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Err(Failure::NoResponders));
        Box::pin(std::future::ready(answer))
    }

    fn served(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(std::future::ready(self.served))
    }
}

/// Target, headers, and the decision as text.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

struct Gate {
    gatekeeper: Gatekeeper,
    bus: Arc<Bus>,
}

impl Gate {
    fn new(settings: GateSettings, answers: Vec<Outcome<Bytes>>) -> Self {
        Self::on(Bus { served: true, answers: Mutex::new(answers.into()), asked: Mutex::default() }, settings)
    }

    fn on(bus: Bus, settings: GateSettings) -> Self {
        let jwt = JwtSettings { secret: Some(Secret::new(SECRET)), ..JwtSettings::default() };
        let verifier = Arc::new(Verifier::new(&jwt).unwrap());
        let bus = Arc::new(bus);
        let authenticator = Authenticator::new(verifier, None, bus.clone(), Subjects::new("hf"));
        Self { gatekeeper: Gatekeeper::new(settings, authenticator), bus }
    }

    /// The decision, as text: who by which dialect with which answer, or the status.
    fn decide(&self, target: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::builder().uri(target).header("host", "gw.example:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let endpoint = match self.gatekeeper.lookup(&head) {
            Lookup::Endpoint(endpoint, _) => endpoint,
            Lookup::Echo => return "echo".to_owned(),
            other @ (Lookup::SockJs(_) | Lookup::SockJsSession(..) | Lookup::Native(..)) => {
                return format!("{other:?}");
            }
            Lookup::Refuse(refusal) => return refusal.status.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(self.gatekeeper.admit(&endpoint, &head, NOW)) {
            Ok(admission) => show(&admission),
            Err(refusal) => refusal.status.to_string(),
        }
    }

    #[track_caller]
    fn check(&self, cases: &[Case<'_>]) {
        for (target, headers, expected) in cases {
            assert_eq!(self.decide(target, headers), *expected, "{target} {headers:?}");
        }
    }
}

fn show(admission: &Admission) -> String {
    let who = match &admission.identity {
        None => "nobody yet".to_owned(),
        Some(identity) => match &identity.device {
            None => identity.user.to_string(),
            Some(device) => format!("{} on {device}", identity.user),
        },
    };
    let rooms: Vec<&str> = admission.rooms.iter().map(|room| &**room).collect();
    let said = if admission.unsigned { " unsigned" } else { "" };
    let answer = admission.subprotocol.map_or(String::new(), |name| format!(" ({name})"));
    let since = admission.since.as_ref().map_or(String::new(), |since| format!(" after {}.{}", since.epoch, since.seq));
    format!("{} {:?}{answer} {who}{said}{since} {}", admission.endpoint.name, admission.dialect, rooms.join(" "))
        .trim_end()
        .to_owned()
}

fn paths(ws: Rules, others: Option<Rules>) -> PathRules {
    PathRules { configured: Vec::new(), ws: Arc::new(ws), others: others.map(Arc::new), echo: None }
}

fn production() -> GateSettings {
    GateSettings {
        paths: paths(Rules::json(), None),
        origins: Origins::Same,
        loopback_origins: false,
        sockjs: Vec::new(),
        fallbacks: Vec::new(),
    }
}

fn development() -> GateSettings {
    let others = Rules { unsigned_users: true, ..Rules::bare() };
    let ws = Rules { unsigned_users: true, ..Rules::json() };
    GateSettings {
        paths: paths(ws, Some(others)),
        origins: Origins::Same,
        loopback_origins: true,
        sockjs: Vec::new(),
        fallbacks: Vec::new(),
    }
}

fn token(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

fn good() -> String {
    token(&json!({"sub": "ana", "rooms": ["chat/*"], "exp": NOW + 60}))
}

#[test]
fn credentials_come_from_each_source() {
    let gate = Gate::new(production(), Vec::new());
    let good = good();
    let (bearer, cookie) = (format!("Bearer {good}"), format!("a=b; holdfast_token={good}"));
    let protocol = format!("holdfast.v1.json, base64url.bearer.holdfast.{good}");
    let with_query = format!("/ws/chat?token={good}");
    gate.check(&[
        ("/ws/chat", &[("authorization", &bearer)], "chat Json ana"),
        ("/ws/chat", &[("cookie", &cookie)], "chat Json ana"),
        (&with_query, &[], "chat Json ana"),
        ("/ws/chat", &[("sec-websocket-protocol", &protocol)], "chat Json (holdfast.v1.json) ana"),
        ("/ws/chat", &[], "chat Json nobody yet"),
        ("/ws", &[], "default Json nobody yet"),
        ("/nowhere", &[("authorization", &bearer)], "404"),
    ]);
}

#[test]
fn a_bad_credential_is_401_and_nothing_else_is_tried() {
    let gate = Gate::new(production(), Vec::new());
    let expired = token(&json!({"sub": "ana", "exp": NOW}));
    let nobody = token(&json!({}));
    let bearer = |token: &str| format!("Bearer {token}");
    let with_query = format!("/ws/chat?token={}", good());
    for bad in ["abc", "", &expired, &nobody] {
        gate.check(&[
            ("/ws/chat", &[("authorization", &bearer(bad))], "401"),
            (&with_query, &[("authorization", &bearer(bad))], "401"),
            (&format!("/ws/chat?token={bad}"), &[], "401"),
        ]);
    }
}

#[test]
fn without_the_first_message_as_a_source_a_credential_must_be_there() {
    let mut settings = production();
    settings.paths = paths(Rules { sources: vec![Source::Query], ..Rules::json() }, None);
    let gate = Gate::new(settings, Vec::new());
    let good = good();
    gate.check(&[
        ("/ws/chat", &[], "401"),
        ("/ws/chat", &[("authorization", &format!("Bearer {good}"))], "401"),
        (&format!("/ws/chat?token={good}"), &[], "chat Json ana"),
    ]);
}

#[test]
fn the_sub_protocol_chooses_the_dialect() {
    let gate = Gate::new(production(), Vec::new());
    let bearer = format!("base64url.bearer.holdfast.{}", good());
    let protocols =
        |value: &str, expected: &str| gate.check(&[("/ws/chat", &[("sec-websocket-protocol", value)], expected)]);
    protocols("holdfast.v1.json", "chat Json (holdfast.v1.json) nobody yet");
    protocols("x, holdfast.v1.bare, holdfast.v1.json", "chat Bare (holdfast.v1.bare) nobody yet");
    protocols("x", "400");
    protocols(&bearer, "400");
    protocols(&format!("x, {bearer}"), "400");
    protocols("", "400");

    let mut settings = production();
    settings.paths = paths(Rules { dialects: vec![Dialect::Bare], ..Rules::bare() }, None);
    let bare = Gate::new(settings, Vec::new());
    bare.check(&[
        ("/ws/chat", &[], "chat Bare nobody yet"),
        ("/ws/chat", &[("sec-websocket-protocol", "holdfast.v1.json")], "400"),
    ]);
}

#[test]
fn strangers_pages_are_refused_before_their_credentials_are_looked_at() {
    let gate = Gate::new(production(), Vec::new());
    gate.check(&[
        ("/ws/chat", &[("origin", "http://gw.example:8080")], "chat Json nobody yet"),
        ("/ws/chat", &[("origin", "https://evil.example"), ("authorization", "Bearer x")], "403"),
        ("/ws/chat", &[("origin", "http://gw.example:8080"), ("origin", "https://evil.example")], "403"),
        ("/ws/chat", &[("origin", "http://localhost:3000")], "403"),
        ("/ws/chat", &[("origin", "null")], "403"),
        ("http://other.example/ws/chat", &[("origin", "http://gw.example:8080")], "403"),
    ]);
    Gate::new(development(), Vec::new()).check(&[
        ("/ws/chat", &[("origin", "http://localhost:3000")], "chat Json nobody yet"),
        ("/ws/chat", &[("origin", "null")], "chat Json nobody yet"),
        ("/ws/chat", &[("origin", "https://evil.example")], "403"),
    ]);
}

#[test]
fn an_unsigned_user_exists_in_development_alone() {
    let good = good();
    Gate::new(development(), Vec::new()).check(&[
        ("/notifications?userId=123", &[], "notifications Bare 123 unsigned"),
        ("/notifications", &[], "notifications Bare nobody yet"),
        ("/a/b?userId=1&device=web&room=x&room=y%2F1", &[], "a/b Bare 1 on web unsigned x y/1"),
        ("/ws/chat?userId=1&room=x", &[], "chat Json 1 unsigned"),
        (&format!("/n?userId=1&token={good}"), &[], "n Bare ana"),
        ("/n?userId=1&token=bad", &[], "401"),
        ("/n?userId=", &[], "400"),
        ("/n?userId=1&userId=2", &[], "400"),
        ("/livez", &[], "404"),
    ]);
    Gate::new(production(), Vec::new())
        .check(&[("/ws/chat?userId=999", &[], "chat Json nobody yet"), ("/notifications?userId=999", &[], "404")]);
}

#[test]
fn rooms_of_the_url_are_subject_to_the_token() {
    let gate = Gate::new(production(), Vec::new());
    let bearer = format!("Bearer {}", good());
    let bare: [(&str, &str); 2] = [("sec-websocket-protocol", "holdfast.v1.bare"), ("authorization", &bearer)];
    let many: String = (0..129).map(|n| format!("room=chat%2F{n}&")).collect();
    gate.check(&[
        ("/ws/x?room=chat/1&room=chat/2&room=chat/1", &bare, "x Bare (holdfast.v1.bare) ana chat/1 chat/2"),
        ("/ws/x?room=chat/1&room=news", &bare, "403"),
        ("/ws/x?room=", &bare, "400"),
        (&format!("/ws/x?{many}"), &bare, "400"),
        ("/ws/x?room=news", &[("authorization", &bearer)], "x Json ana"),
        ("/ws/x?room=news", &bare[..1], "x Bare (holdfast.v1.bare) nobody yet news"),
    ]);
}

#[test]
fn a_client_that_resumes_says_where() {
    let gate = Gate::new(production(), Vec::new());
    let bearer = format!("Bearer {}", good());
    let bare: [(&str, &str); 2] = [("sec-websocket-protocol", "holdfast.v1.bare"), ("authorization", &bearer)];
    gate.check(&[
        ("/ws/x?since=a.b%2Fc.17", &[("authorization", &bearer)], "x Json ana after a.b/c.17"),
        ("/ws/x?since=e.17", &[], "x Json nobody yet after e.17"),
        ("/ws/x?since=17", &[("authorization", &bearer)], "400"),
        ("/ws/x?since=e.17", &bare, "x Bare (holdfast.v1.bare) ana"),
        ("/ws/x?since=17", &bare, "400"),
    ]);
}

#[test]
fn the_device_of_the_url_yields_to_that_of_the_token() {
    let gate = Gate::new(production(), Vec::new());
    let named = format!("Bearer {}", token(&json!({"sub": "ana", "device": "ios"})));
    let plain = format!("Bearer {}", good());
    gate.check(&[
        ("/ws/x?device=web", &[("authorization", &plain)], "x Json ana on web"),
        ("/ws/x?device=web", &[("authorization", &named)], "x Json ana on ios"),
        ("/ws/x?device=%0A", &[("authorization", &plain)], "400"),
    ]);
}

#[test]
fn without_bus_or_router_it_is_503() {
    let bus = || Bus { served: false, answers: Mutex::default(), asked: Mutex::default() };
    let gate = Gate::on(bus(), production());
    gate.check(&[("/ws/chat", &[], "503"), ("/ws/chat?token=bad", &[], "401"), ("/x", &[], "404")]);
}

#[test]
fn a_callout_decides_where_it_is_configured() {
    let yes = || Ok(Bytes::from_static(br#"{"ok":true,"user":"eve","rooms":["a"]}"#));
    let no = |code: &str| Ok(Bytes::from(json!({"ok": false, "code": code}).to_string()));
    let mut settings = production();
    settings.paths = paths(Rules { connect_callout: true, ..Rules::json() }, None);
    let answers = vec![yes(), no("expired"), no("forbidden"), no(""), Ok(Bytes::new()), Err(Failure::Timeout)];
    let gate = Gate::new(settings.clone(), answers);
    gate.check(&[
        ("/ws/chat?token=opaque&x=1", &[("cookie", "sid=7")], "chat Json eve"),
        ("/ws/chat?token=opaque", &[], "401"),
        ("/ws/chat?token=opaque", &[], "403"),
        ("/ws/chat?token=opaque", &[], "401"),
        ("/ws/chat?token=opaque", &[], "503"),
        ("/ws/chat?token=opaque", &[], "503"),
        ("/ws/chat?token=opaque", &[], "503"),
        ("/ws/chat", &[], "chat Json nobody yet"),
    ]);
    let asked = gate.bus.asked.lock().unwrap();
    assert_eq!(asked.len(), 7, "nothing is asked about nothing while a first message may come");
    assert_eq!(asked[0].0, "hf.auth.connect.chat");
    assert_eq!(asked[0].1["token"], "opaque");
    assert_eq!(asked[0].1["headers"]["cookie"], "sid=7");

    settings.paths =
        paths(Rules { connect_callout: true, sources: vec![Source::Authorization], ..Rules::json() }, None);
    let gate = Gate::new(settings, vec![yes()]);
    gate.check(&[("/ws/chat", &[("cookie", "sid=7")], "chat Json eve")]);
    assert_eq!(gate.bus.asked.lock().unwrap()[0].1.get("token"), None);
}

#[test]
fn endpoints_are_shared_and_what_is_kept_of_them_is_bounded() {
    let mut settings = production();
    settings.paths.configured.push(PathRule {
        path: "/n".into(),
        endpoint: Arc::new(Endpoint { name: "notify".into(), rules: Arc::new(Rules::bare()) }),
    });
    let gate = Gate::new(settings, Vec::new());
    let find = |path: &str| match gate.gatekeeper.endpoint(path, Framing::Plain) {
        Lookup::Endpoint(endpoint, _) => endpoint,
        other => panic!("{other:?}"),
    };
    let kept = || gate.gatekeeper.endpoints.lock().unwrap().len();

    let chat = find("/ws/chat");
    assert!(Arc::ptr_eq(&chat, &find("/ws/chat/")));
    assert!(Arc::ptr_eq(&find("/n"), &find("/n")));
    let used: Vec<_> = (0..2000).map(|n| find(&format!("/ws/used/{n}"))).collect();
    assert_eq!(kept(), ENDPOINTS_KEPT_MAX);
    drop(used);
    for n in 0..2000 {
        find(&format!("/ws/random/{n}"));
    }
    assert!(kept() <= ENDPOINTS_KEPT_MAX);
    assert!(Arc::ptr_eq(&chat, &find("/ws/chat")), "an endpoint in use stays");
}
