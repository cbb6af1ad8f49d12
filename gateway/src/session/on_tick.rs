//! What time does to a session: deadlines for credentials, and their end.

use std::time::Duration;

use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::dialect::json::ErrorCode;

use super::action::Actions;
use super::{Session, State};
use crate::clock::Now;

impl Session {
    pub(super) fn on_tick(&mut self, now: Now, actions: &mut Actions) {
        if matches!(self.state, State::Pending { deadline_ms } if now.ms >= deadline_ms) && self.settle(now, actions) {
            return;
        }
        let overdue = match &self.state {
            State::Pending { deadline_ms } => (now.ms >= *deadline_ms).then_some(Close::NoCredential),
            // Whoever verifies or binds answers in 2 s or so; this only ends what nobody answers.
            State::Verifying(verifying) => (now.ms >= verifying.answer_by_ms).then_some(Close::NoCredential),
            State::Binding(binding) => (now.ms >= binding.answer_by_ms).then_some(Close::BusGone),
            State::Open | State::Closing => None,
        };
        let expired = self.identity.as_ref().is_some_and(|identity| identity.is_expired(now.unix_ms));
        if expired {
            if self.dialect == Dialect::Stomp {
                self.error(None, ErrorCode::BadCredential, "the credential has expired", actions);
            }
            self.close(Close::Expired, actions);
        } else if let Some(close) = overdue {
            self.close(close, actions);
        } else {
            self.stomp_tick(now, actions);
        }
    }
}

/// A setting as milliseconds. The longest is far below what fits.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}
