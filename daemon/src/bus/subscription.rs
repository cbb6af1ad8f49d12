//! A subscription that counts what it gets, and knows under which name its losses are counted.

use super::BusMetrics;
use async_nats::{Message, Subscriber};
use futures_util::{Stream, StreamExt};
use prometheus::IntCounter;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Under which class each of the client's subscriptions is counted, by the client's own number for it.
pub(super) type Classes = Arc<Mutex<HashMap<u64, &'static str>>>;

/// Messages of one subject, in the order in which the server sent them. Ends only with the client.
///
/// Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    subscriber: Subscriber,
    number: Option<u64>,
    classes: Classes,
    received: IntCounter,
    metrics: BusMetrics,
}

impl Subscription {
    pub(super) fn new(subscriber: Subscriber, class: &'static str, classes: &Classes, metrics: &BusMetrics) -> Self {
        let number = number_of(&subscriber);
        if let Some(number) = number {
            classes.lock().unwrap_or_else(PoisonError::into_inner).insert(number, class);
        }
        let received = metrics.received(class);
        Self { subscriber, number, classes: Arc::clone(classes), received, metrics: metrics.clone() }
    }

    /// The next message. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message> {
        StreamExt::next(&mut self.subscriber).await.inspect(|message| self.account(message))
    }

    /// The next message, as a poll; `Ready(None)` where the client has ended.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.subscriber.poll_next_unpin(cx).map(|next| next.inspect(|message| self.account(message)))
    }

    fn account(&self, message: &Message) {
        self.received.inc();
        self.metrics.messages_in.inc();
        self.metrics.bytes_in.inc_by(u64::try_from(message.payload.len()).unwrap_or(u64::MAX));
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        Self::poll_next(&mut self, cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.classes.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
    }
}

/// The client tells of losses by its own number of a subscription, which it shows in no other way than this.
fn number_of(subscriber: &Subscriber) -> Option<u64> {
    let text = format!("{subscriber:?}");
    let (_, rest) = text.split_once("sid: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
