//! The bus as a program that runs once sees it: connect, ask, and tell apart the ways an answer can fail to come.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::client::RequestErrorKind;
use async_nats::{ConnectOptions, Event, HeaderMap};
use bytes::Bytes;
use holdfast_protocol::subject::Subjects;

use crate::args::BusOptions;
use crate::exit::{Exit, Failure};

/// A connection to NATS and the fleet's subjects.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) client: async_nats::Client,
    pub(crate) subjects: Subjects,
    wait: Duration,
}

/// A message for a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Bytes,
}

/// An answer that came.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The body.
    Body(Bytes),
    /// The micro-service headers of an error.
    Refused { code: u16, message: String },
}

impl Outgoing {
    fn header_map(&self) -> Result<Option<HeaderMap>, Failure> {
        if self.headers.is_empty() {
            return Ok(None);
        }
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let value: async_nats::HeaderValue =
                value.parse().map_err(|_| Failure::usage(format!("{name} must not contain line breaks")))?;
            map.insert(*name, value);
        }
        Ok(Some(map))
    }
}

impl Bus {
    /// Connects; a server that cannot be reached is an error at once, since a person waits.
    ///
    /// # Errors
    /// Unusable options, no server reached, or credentials refused.
    pub(crate) async fn connect(options: &BusOptions) -> Result<Self, Failure> {
        Self::connect_watched(options, |_| ()).await
    }

    /// The same, and `watch` hears what the client and the server report.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(crate) async fn connect_watched(
        options: &BusOptions,
        watch: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let connect = options.connect_options().await?.event_callback(move |event| {
            watch(event);
            async {}
        });
        let servers = servers(&options.server);
        let client = connect
            .connect(servers.as_slice())
            .await
            .with_context(|| format!("cannot reach NATS at {}", shown(&options.server)))?;
        Ok(Self { client, subjects: Subjects::new(&options.prefix), wait: options.wait })
    }

    /// Publishes without asking for an answer, and waits until the bytes are written.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn publish(&self, message: &Outgoing) -> Result<(), Failure> {
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        match message.header_map()? {
            Some(headers) => self.client.publish_with_headers(subject, headers, payload).await?,
            None => self.client.publish(subject, payload).await?,
        }
        self.client.flush().await?;
        Ok(())
    }

    /// Asks and waits for the one answer: `extra` longer than `--wait`.
    ///
    /// # Errors
    /// No responders, no answer in time, or the connection broke.
    pub(crate) async fn ask(&self, message: &Outgoing, extra: Duration) -> Result<Reply, Failure> {
        let mut request = async_nats::Request::new().payload(message.payload.clone()).timeout(Some(self.wait + extra));
        if let Some(headers) = message.header_map()? {
            request = request.headers(headers);
        }
        let answer = match self.client.send_request(message.subject.clone(), request).await {
            Ok(answer) => answer,
            Err(error) => {
                let subject = &message.subject;
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => {
                        Failure::new(Exit::NoResponders, format!("no router listens on {subject}"))
                    }
                    RequestErrorKind::TimedOut => {
                        Failure::new(Exit::TimedOut, format!("no answer on {subject} within {:?}", self.wait + extra))
                    }
                    _ => Failure::from(error),
                });
            }
        };
        let header = |name: &str| answer.headers.as_ref().and_then(|headers| headers.get(name)).map(|v| v.as_str());
        Ok(match header("Nats-Service-Error-Code") {
            Some(code) => Reply::Refused {
                code: code.parse().unwrap_or(500),
                message: header("Nats-Service-Error").unwrap_or("no reason given").to_owned(),
            },
            None => Reply::Body(answer.payload),
        })
    }
}

impl Reply {
    /// The body as JSON; a refusal is a failure, `404` one of its own.
    ///
    /// # Errors
    /// Refused, or not JSON.
    pub(crate) fn json(self) -> Result<serde_json::Value, Failure> {
        match self {
            Self::Body(body) => Ok(serde_json::from_slice(&body).context("the answer is not JSON")?),
            Self::Refused { code, message } => {
                let exit = if code == 404 { Exit::Nobody } else { Exit::Failed };
                Err(Failure::new(exit, format!("refused with {code}: {message}")))
            }
        }
    }
}

impl BusOptions {
    async fn connect_options(&self) -> Result<ConnectOptions, Failure> {
        let mut connect = ConnectOptions::new()
            .name("holdfast-cli")
            .connection_timeout(self.wait)
            .custom_inbox_prefix(self.inbox_prefix.as_str());
        if let Some(file) = &self.creds {
            let unreadable = || format!("cannot read credentials file {}", file.display());
            connect = connect.credentials_file(file).await.with_context(unreadable)?;
        }
        if let Some(file) = &self.nkey {
            let seed = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            connect = connect.nkey(seed.trim().to_owned());
        }
        if let Some(token) = &self.bus_token {
            connect = connect.token(token.clone());
        }
        if let (Some(user), Some(password)) = (&self.bus_user, &self.bus_password) {
            connect = connect.user_and_password(user.clone(), password.clone());
        }
        if let Some(file) = &self.bus_ca {
            connect = connect.add_root_certificates(file.clone());
        }
        match (&self.bus_certificate, &self.bus_key) {
            (Some(certificate), Some(key)) => {
                connect = connect.add_client_certificate(certificate.clone(), key.clone());
            }
            (None, None) => {}
            _ => return Err(Failure::usage("--bus-certificate and --bus-key go together")),
        }
        Ok(connect)
    }
}

/// The list in `HOLDFAST_BUS__SERVERS`, written with commas or as a TOML array.
fn servers(list: &str) -> Vec<String> {
    list.trim()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .split(',')
        .map(|server| server.trim().trim_matches('"').to_owned())
        .filter(|server| !server.is_empty())
        .collect()
}

/// The list of servers without the passwords that may stand in it.
fn shown(list: &str) -> String {
    let plain = |server: String| match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => server,
    };
    servers(list).into_iter().map(plain).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        assert_eq!(shown("nats://ana:s3cr@t@a:1, b:2, c:pw@d:3"), "nats://a:1, b:2, d:3");
    }

    #[test]
    fn a_list_of_servers_is_read_in_both_forms() {
        let expected = ["nats://a:1", "nats://b:2"];

        assert_eq!(servers("nats://a:1, nats://b:2"), expected);
        assert_eq!(servers(r#"["nats://a:1", "nats://b:2"]"#), expected);
    }
}
