//! The way from a shard to the hub: a bounded channel. Knows nothing of what goes through it.

use tokio::sync::mpsc;

use super::HubPort;
use crate::link::ToHub;

/// Takes a batch where there is place; the shard keeps it otherwise.
pub(super) struct ChannelPort(pub(super) mpsc::Sender<Vec<ToHub>>);

impl HubPort for ChannelPort {
    fn offer(&mut self, messages: &mut Vec<ToHub>) {
        if let Ok(place) = self.0.try_reserve() {
            place.send(std::mem::take(messages));
        }
    }
}
