//! Messages of a client that speaks `bare`: payloads, and perhaps a first message that says who it is.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::bare::{self, Init};

use super::action::{Action, Actions, Outward};
use super::event::Incoming;
use super::on_auth::First;
use super::{Session, State};
use crate::auth::Identity;
use crate::clock::Now;
use crate::handshake::Source;

/// Where messages go that name no path themselves.
const PATH_DEFAULT: &str = "message";

impl Session {
    /// A message, while the session is pending or open.
    pub(super) fn on_bare(&mut self, now: Now, message: Incoming<'_>, actions: &mut Actions) {
        match (&self.state, message) {
            (State::Pending { .. }, Incoming::Text(text)) => match bare::init(text) {
                Ok(Some(init)) => self.on_first_init(now, &init, actions),
                Ok(None) | Err(_) => self.close(Close::Policy, actions),
            },
            (State::Pending { .. }, Incoming::Binary(_)) => self.close(Close::Policy, actions),
            (_, Incoming::Text(text)) if self.unsigned => match bare::init(text) {
                Ok(Some(init)) => self.on_later_init(&init, actions),
                Ok(None) => self.publish_text(text, actions),
                Err(_) => self.close(Close::Policy, actions),
            },
            (_, Incoming::Text(text)) => self.publish_text(text, actions),
            (_, Incoming::Binary(data)) => Self::publish(vec![PATH_DEFAULT.to_owned()], data, actions),
        }
    }

    /// A token decides where there is one; a user that merely says so is believed in the development profile alone.
    fn on_first_init(&mut self, now: Now, init: &Init<'_>, actions: &mut Actions) {
        let device = init.device.as_deref();
        match (&init.token, &init.user) {
            (Some(token), user) if self.endpoint.sources.contains(&Source::FirstMessage) => {
                self.verify_first(now, token, First { device, user: user.as_deref(), ..First::default() }, actions);
            }
            (None, Some(user)) if self.endpoint.unsigned_users => {
                let (url_device, _) = self.said_in_url();
                self.unsigned = true;
                let identity = Identity::unsigned(user, device.map(Arc::from).or(url_device));
                self.bind(now, identity, None, None, actions);
            }
            _ => self.close(Close::Policy, actions),
        }
    }

    /// After `?userId=` (or a first INIT): names the device, and cannot change the user.
    fn on_later_init(&mut self, init: &Init<'_>, actions: &mut Actions) {
        let Some(current) = self.identity.clone() else { return };
        if init.user.as_deref().is_some_and(|user| *user != *current.user) {
            self.close(Close::Policy, actions);
            return;
        }
        if let Some(device) = init.device.as_deref().filter(|device| current.device.as_deref() != Some(device)) {
            let identity = Arc::new(Identity { device: Some(device.into()), ..Identity::clone(&current) });
            self.identity = Some(identity.clone());
            actions.push(Action::Rebind(identity));
        }
    }

    fn publish_text(&self, text: &str, actions: &mut Actions) {
        let path = self.endpoint.type_field.as_deref().and_then(|field| bare::path_of(text, field));
        Self::publish(path.unwrap_or_else(|| vec![PATH_DEFAULT.to_owned()]), text.as_bytes(), actions);
    }

    fn publish(to: Vec<String>, data: &[u8], actions: &mut Actions) {
        actions.push(Action::Publish {
            ticket: None,
            to: Outward::Service(to),
            said: None,
            payload: Bytes::copy_from_slice(data),
        });
    }
}
