//! What an operator asks over the admin listener, under `/admin/`: read from the request, and answered as JSON.
//!
//! Knows no question but the profile that each process has; the rest is the services'.

use super::plain;
use super::profile;
use crate::shutdown::Tasks;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What is under here is the API's.
pub(super) const PREFIX: &str = "/admin/";

/// Orders are short.
const BODY_BYTES_MAX: usize = 4096;

/// A request that may be answered.
#[derive(Debug)]
pub struct Call {
    /// It changes something: it came as POST.
    pub writes: bool,
    path: String,
    query: String,
    body: Bytes,
}

impl Call {
    /// What is asked, as the parts of the path behind `/admin/`.
    pub fn path(&self) -> Vec<&str> {
        self.path.split('/').collect()
    }

    /// A parameter of the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The first parameter that is none of these.
    pub fn unknown_parameter(&self, known: &[&str]) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| !known.contains(&&**key)).map(|(key, _)| key.into_owned())
    }

    /// The body; without one as if it were `{}`.
    ///
    /// # Errors
    /// It is not what is wanted.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| Answer::refused(StatusCode::BAD_REQUEST, &error.to_string()))
    }
}

/// An answer, as JSON.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    json: String,
}

impl Answer {
    /// This.
    pub fn ok(json: &serde_json::Value) -> Self {
        Self { status: StatusCode::OK, json: json.to_string() }
    }

    /// This, which is JSON already.
    pub fn text(json: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, json: json.into() }
    }

    /// No, and why.
    pub fn refused(status: StatusCode, error: &str) -> Self {
        Self { status, json: serde_json::json!({ "error": error }).to_string() }
    }

    /// There is nothing by this name.
    pub fn nothing() -> Self {
        Self::refused(StatusCode::NOT_FOUND, "there is no such thing")
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = plain(self.status, self.json + "\n");
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Answers what a service alone can.
#[derive(Clone)]
pub struct Api {
    tasks: Tasks,
    answer: Arc<dyn Fn(Call) -> Answering + Send + Sync>,
    more: Arc<dyn Fn() -> Pin<Box<dyn Future<Output = serde_json::Value> + Send>> + Send + Sync>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    /// `answer` answers all but the profile, and `more` is what the profile says of the service beside its process.
    pub fn new<A, M>(
        tasks: &Tasks,
        answer: impl Fn(Call) -> A + Send + Sync + 'static,
        more: impl Fn() -> M + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = Answer> + Send + 'static,
        M: Future<Output = serde_json::Value> + Send + 'static,
    {
        Self {
            tasks: tasks.clone(),
            answer: Arc::new(move |call| Box::pin(answer(call))),
            more: Arc::new(move || Box::pin(more())),
        }
    }

    pub(super) async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let writes = match *request.method() {
            Method::GET | Method::HEAD => false,
            Method::POST => true,
            _ => return only("GET, HEAD, POST"),
        };
        let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
            return Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broke off").response();
        };
        let call = Call { writes, path, query, body: body.to_bytes() };
        if writes {
            // Who changed what, on the machine that did.
            tracing::info!(order = call.path, "Admin order");
        }
        let answer =
            if call.path == "profile" && !writes { self.profile(&call).await } else { (self.answer)(call).await };
        answer.response()
    }

    async fn profile(&self, call: &Call) -> Answer {
        let seconds = match call.parameter("seconds").map(|seconds| seconds.parse()) {
            None => 1,
            Some(Ok(seconds)) if (1..=profile::SECONDS_MAX).contains(&seconds) => seconds,
            Some(_) => {
                let why = format!("seconds is 1 to {}", profile::SECONDS_MAX);
                return Answer::refused(StatusCode::BAD_REQUEST, &why);
            }
        };
        let mut profile = profile::take(&self.tasks, seconds).await;
        if let (Some(profile), serde_json::Value::Object(more)) = (profile.as_object_mut(), (self.more)().await) {
            profile.extend(more);
        }
        Answer::ok(&profile)
    }
}

/// Another method.
pub(super) fn only(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, format!("only {methods}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}
