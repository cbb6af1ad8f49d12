//! What a node listens to, in the order in which it is read: the shell's business, but for the reading.

use holdfast_daemon::bus::{Bus, BusError, Subscription};

use super::core::Hub;

/// The subscriptions, in the order in which they are polled.
#[derive(Debug)]
pub(super) struct Subscriptions {
    pub(super) beats: Subscription,
    pub(super) discover: Subscription,
    pub(super) node: Subscription,
    pub(super) inbox: Subscription,
    pub(super) exchanges: Subscription,
}

impl Subscriptions {
    /// Subscribes to all of it.
    pub(super) async fn open(bus: &Bus, hub: &Hub) -> Result<Self, BusError> {
        let (subjects, node) = (&hub.subjects, hub.node());
        Ok(Self {
            beats: bus.subscribe(subjects.beat_routers(), "router_beats").await?,
            discover: bus.subscribe(subjects.discover(), "discover").await?,
            node: bus.subscribe(subjects.node(node), "packets").await?,
            inbox: bus.subscribe(hub.inbox.all(), "inbox").await?,
            exchanges: bus.subscribe(subjects.exchange(node), "http").await?,
        })
    }
}
