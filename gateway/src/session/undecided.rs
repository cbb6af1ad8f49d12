//! Which dialect a connection speaks that has offered none: its first message tells, or that none comes.
//!
//! Only where the endpoint has `stomp` beside others. Between those others nobody guesses: it is the first in the
//! endpoint's list.

use holdfast_protocol::dialect::Dialect;

use super::action::Actions;
use super::on_tick::millis;
use super::{Session, State, stomp};
use crate::clock::Now;

/// How long a client that is known by its handshake, and may speak `stomp`, may take for its first message: then it is
/// welcomed in the endpoint's dialect. Longer than CONNECT is under way on a slow network.
pub(super) const FIRST_MESSAGE_WAIT_MS: u64 = 2000;

impl Session {
    /// The first message.
    pub(super) fn decide(&mut self, now: Now, first: &[u8], actions: &mut Actions) {
        let settled = self.dialect == Dialect::Stomp;
        match (stomp::begins(first), settled) {
            (true, true) => {}
            (true, false) => {
                self.dialect = Dialect::Stomp;
                self.stomp = Some(Box::default());
                let Some(rare) = &mut self.rare else { return };
                (rare.since, rare.url_rooms) = (None, Vec::new());
                if let State::Pending { deadline_ms } = &mut self.state
                    && rare.handshake.is_some()
                {
                    *deadline_ms = now.ms + millis(self.endpoint.limits.credential_timeout);
                }
            }
            (false, settled) => {
                if settled && let Some(other) = self.endpoint.dialects.iter().find(|other| **other != Dialect::Stomp) {
                    self.dialect = *other;
                    self.stomp = None;
                }
                self.settle(now, actions);
            }
        }
    }

    /// It is no STOMP client: whoever the handshake said it is, it is now. Whether the handshake said so.
    pub(super) fn settle(&mut self, now: Now, actions: &mut Actions) -> bool {
        if self.dialect == Dialect::Stomp {
            return false;
        }
        let known = self.rare.as_mut().and_then(|rare| Some((rare.handshake.take()?, rare.since.clone())));
        let Some((identity, since)) = known else { return false };
        self.undecided = false;
        self.bind(now, *identity, None, since, actions);
        true
    }
}
