//! What the core wants done, one arm for each action. Decides nothing.

use async_nats::HeaderMap;
use bytes::Bytes;
use holdfast_daemon::bus::{BusError, Outgoing, PublishError};
use holdfast_daemon::logging::chain;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::NodeBound;
use tokio::time::Instant;

use super::Pump;
use crate::core::event::{Action, ServiceError};
use crate::inlets::Work;
use crate::read_back::Wanted;

impl Pump {
    pub(super) async fn perform(&mut self, action: Action) -> Result<(), BusError> {
        match action {
            Action::ToNode(node, payload) => {
                let subject = self.node_subject(node);
                self.publish(Outgoing { subject, payload, ..Default::default() });
            }
            Action::Ping(node) => {
                let (subject, reply) = (self.node_subject(node), Some(self.inlets.ping_reply(node)));
                self.publish(Outgoing { subject, reply, payload: NodeBound::Ping.encode(), ..Default::default() });
            }
            Action::Beat(payload) => {
                self.publish(Outgoing { subject: self.subjects.beat_routers(), payload, ..Default::default() });
            }
            Action::Discover(payload) => {
                self.publish(Outgoing { subject: self.subjects.discover(), payload, ..Default::default() });
            }
            Action::Fact { subject, body } => {
                self.publish(Outgoing { subject, payload: body, ..Default::default() });
            }
            Action::Publish { subject, payload } => self.publish(Outgoing { subject, payload, ..Default::default() }),
            Action::Answer { to, body } => self.answer(to.into_string(), body),
            Action::OpenWork => {
                self.work =
                    Some(Work::open(&self.bus, &self.subjects, self.router.section(), self.kept.is_some()).await?);
                if let Some(kept) = &self.kept {
                    kept.listening.begin();
                }
                tracing::info!("Router is live");
            }
            Action::CloseWork => {
                self.work = None;
                if !self.stopping {
                    tracing::warn!("Router stopped handling messages and joins anew");
                }
            }
            Action::LookAtStream => {
                if let Some(kept) = &self.kept {
                    kept.listening.look_again();
                }
            }
            Action::ReadKept { number, from, to } => {
                if let Some(kept) = &self.kept {
                    kept.read_back.read(Wanted { number, from, to });
                }
            }
            Action::Left => self.left = true,
        }
        Ok(())
    }

    fn node_subject(&mut self, node: NodeId) -> String {
        self.node_subjects.entry(node).or_insert_with(|| self.subjects.node(node)).clone()
    }

    fn answer(&mut self, to: String, body: Result<Bytes, ServiceError>) {
        let now = Instant::now();
        let message = match body {
            Ok(payload) => {
                self.service.note_answer(&to, None, now);
                Outgoing { subject: to, payload, ..Default::default() }
            }
            Err(ServiceError { code, text }) => {
                self.service.note_answer(&to, Some((code, &text)), now);
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Service-Error-Code", code.to_string());
                headers.insert("Nats-Service-Error", one_line(&text));
                Outgoing { subject: to, headers: Some(headers), ..Default::default() }
            }
        };
        self.publish(message);
    }

    /// Hands a message to the bus. What it does not take is counted there; no work is read while it is slow.
    fn publish(&self, message: Outgoing) {
        match self.bus.try_publish(message) {
            // Away: the core is told by the status, and starts over.
            Ok(()) | Err(PublishError::Disconnected) => {}
            Err(error @ (PublishError::Full | PublishError::TooBig | PublishError::Subject)) => {
                tracing::debug!(error = %chain(&error), "Message not taken by the bus");
            }
        }
    }
}

/// The longest error text that is sent; some quote what they refuse.
const ERROR_CHARS_MAX: usize = 256;

/// Header values have no line ends.
fn one_line(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
