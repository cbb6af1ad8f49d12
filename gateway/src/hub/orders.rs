//! Orders of an operator to the node, given on the node itself: the same commands as over the bus.

use holdfast_protocol::wire::Command;
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait; an operator gives one at a time.
const QUEUE: usize = 8;

/// An order on its way to the hub.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) command: Command,
    /// How many connections it concerns.
    pub(super) affected: oneshot::Sender<u64>,
}

/// Gives orders. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Orders(mpsc::Sender<Order>);

impl Orders {
    /// Gives an order; how many connections it concerns, or nothing where the hub is gone. Cancel safe, but an order
    /// that was sent is carried out.
    pub async fn give(&self, command: Command) -> Option<u64> {
        let (affected, answered) = oneshot::channel();
        self.0.send(Order { command, affected }).await.ok()?;
        answered.await.ok()
    }
}

/// The hub's end of [`Orders`].
#[derive(Debug)]
pub struct Given(pub(super) mpsc::Receiver<Order>);

/// A way for orders, and the hub's end of it.
pub fn orders() -> (Orders, Given) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Orders(sender), Given(receiver))
}
