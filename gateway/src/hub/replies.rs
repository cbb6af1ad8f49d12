//! Answers in the process's inbox, each to whom it is for, and the callouts that come before joins.

use bytes::Bytes;

use super::core::{CALLOUT_MS, Hub};
use super::edge::{Edge, Publication, Received};
use super::held::From;
use super::upstream::{Purpose, end, identity_headers, refuse};
use crate::auth::callout;
use crate::clock::Now;
use crate::link::{Sender, ToShard};
use crate::session::{Failure, Outcome};

impl Hub {
    /// A client's message is on its way, or held (`true`), or neither; what is neither is told at once.
    pub(super) fn published(&self, edge: &mut dyn Edge, from: From, result: Outcome<bool>) {
        match result {
            Ok(false) => self.cells.published.add(1),
            Ok(true) => self.cells.upstream_held.add(1),
            Err(failure) => {
                self.cells.publish_failed.add(1);
                refuse(edge, from, failure);
            }
        }
    }

    /// A message in the process's inbox.
    pub fn on_inbox(&mut self, now: Now, edge: &mut dyn Edge, message: Received) {
        let Some((number, purpose)) = self.upstream.received(edge, &message) else { return };
        let more = match &purpose {
            Purpose::Read(read) => self.on_read(now, edge, *read, &message),
            Purpose::Reconcile(read) => self.on_reconcile(now, edge, *read, &message),
            Purpose::Epoch => {
                self.on_epoch(now, edge, &message);
                false
            }
            Purpose::Client { .. } | Purpose::Join { .. } | Purpose::History { .. } | Purpose::Caller(_) => {
                let outcome = match message.error {
                    _ if message.no_responders => Err(Failure::NoResponders),
                    Some((status, text)) => Err(Failure::Service { status, message: text }),
                    None => Ok(message.payload),
                };
                self.replied(now, edge, purpose, outcome);
                return;
            }
        };
        if more {
            self.upstream.keep_waiting(number, purpose);
        }
    }

    /// How a request ended. A failure ends any; a reply comes here only for those that have one.
    pub(super) fn replied(&mut self, now: Now, edge: &mut dyn Edge, purpose: Purpose, outcome: Outcome<Bytes>) {
        match purpose {
            Purpose::Client { conn, ticket, span } => {
                edge.to_shard(conn.shard, ToShard::Replied { conn, ticket, result: end(span, outcome) });
            }
            Purpose::Caller(caller) => edge.answer(caller, outcome),
            Purpose::Join { conn, on_behalf, room, since } => match allowed(outcome) {
                Ok(()) => self.join(now, edge, conn, on_behalf, room, since),
                Err(failure) => {
                    let result = Err(failure);
                    edge.to_shard(conn.shard, ToShard::Joined { conn, on_behalf, room, result });
                }
            },
            Purpose::History { conn, ticket, room, from, limit } => match allowed(outcome) {
                Ok(()) => self.start_history(now, edge, (conn, ticket), &room, from, limit),
                Err(failure) => edge.to_shard(conn.shard, ToShard::History { conn, ticket, result: Err(failure) }),
            },
            Purpose::Read(read) => self.read_failed(now, edge, read, &failure_of(outcome)),
            Purpose::Reconcile(read) => self.reconcile_failed(now, read),
            // The next mark of another epoch asks again.
            Purpose::Epoch => {}
        }
    }

    /// Asks whether a sender may join a room; what then happens is the purpose's.
    pub(super) fn ask_before_join(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        purpose: Purpose,
        room: &str,
        sender: &Sender,
    ) {
        let user = sender.identity.as_ref().map_or("", |identity| &*identity.user);
        let message = Publication {
            subject: self.subjects.auth_join(&sender.endpoint.name),
            reply: None,
            headers: identity_headers(sender, self.settings.node),
            payload: callout::join_request(&sender.endpoint.name, room, user),
        };
        if let Err((purpose, failure)) = self.upstream.try_ask(edge, purpose, message, now.ms + CALLOUT_MS) {
            self.replied(now, edge, purpose, Err(failure));
        }
    }
}

/// What a callout said; that nobody answers is no permission.
fn allowed(outcome: Outcome<Bytes>) -> Outcome<()> {
    outcome.and_then(|body| callout::join_answer(&body)).map_err(|failure| match failure {
        Failure::NoResponders | Failure::Timeout | Failure::Service { .. } => Failure::Unavailable,
        other => other,
    })
}

fn failure_of(outcome: Outcome<Bytes>) -> Failure {
    outcome.err().unwrap_or(Failure::Unavailable)
}
