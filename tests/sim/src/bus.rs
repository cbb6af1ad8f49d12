//! A simulated NATS server: subjects, subscriptions, per-connection order, and the faults of a network.
//!
//! What it promises is what core NATS promises: each connection gets what its subscriptions match, in the order the
//! server took it, or not at all. "No responders" is answered at once. Knows nothing of Holdfast.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;

use crate::rng::Rng;

/// One client connection of the bus.
pub type Link = usize;

/// A message as a subscriber gets it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Where it was sent.
    pub subject: String,
    /// Where an answer goes.
    pub reply: Option<String>,
    /// Headers; few, so a list.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub payload: Bytes,
    /// NATS's own "no responders" status in place of an answer.
    pub no_responders: bool,
    /// Any other status of the server.
    pub status: Option<u16>,
}

impl Message {
    /// A message without headers or reply subject.
    pub fn new(subject: impl Into<String>, payload: Bytes) -> Self {
        Self { subject: subject.into(), reply: None, headers: Vec::new(), payload, no_responders: false, status: None }
    }
}

/// How badly the network behaves right now, per mille of messages to one subscriber.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Lost.
    pub loss: u64,
    /// Delivered twice.
    pub duplication: u64,
    /// Overtakes what is before it.
    pub reordering: u64,
    /// Packets to gateways and copies of kept messages are spared: only what is told again suffers.
    pub spares_messages: bool,
}

#[derive(Debug, Default)]
struct Connection {
    subscriptions: Vec<String>,
    /// Cut off: nothing goes in or out.
    cut: bool,
    /// In which part of the cluster it is, while that is split.
    part: u8,
    /// When the last message queued for it arrives: later ones arrive no earlier.
    last_arrival_ms: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    arrival_ms: u64,
    number: u64,
    to: Link,
    message: Message,
}

/// The server and all its connections.
#[derive(Debug)]
pub struct Bus {
    connections: BTreeMap<Link, Connection>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    next_link: Link,
    next_number: u64,
    /// What happens to internal messages on their way.
    pub weather: Weather,
    /// Messages lost, doubled or reordered so far.
    pub disturbed: u64,
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus {
    /// A server nobody is connected to.
    pub const fn new() -> Self {
        Self {
            connections: BTreeMap::new(),
            in_flight: BinaryHeap::new(),
            next_link: 0,
            next_number: 0,
            weather: Weather { loss: 0, duplication: 0, reordering: 0, spares_messages: false },
            disturbed: 0,
        }
    }

    /// A new connection.
    pub fn connect(&mut self) -> Link {
        self.next_link += 1;
        self.connections.insert(self.next_link, Connection::default());
        self.next_link
    }

    /// The connection ends: its subscriptions and what is on the way to it are gone.
    pub fn disconnect(&mut self, link: Link) {
        self.connections.remove(&link);
    }

    /// Cuts a connection off, or lets it back in. While it is cut its subscriptions do not exist for the server.
    pub fn cut(&mut self, link: Link, cut: bool) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.cut = cut;
        }
        if cut {
            // What the server had sent is lost with the TCP connection.
            self.in_flight = self.in_flight.drain().filter(|Reverse(flight)| flight.to != link).collect();
        }
    }

    /// Splits the cluster in two: each connection is in one part, and hears nothing of the other.
    pub fn split(&mut self, part_of: impl Fn(Link) -> u8) {
        for (link, connection) in &mut self.connections {
            connection.part = part_of(*link);
        }
    }

    /// Whether the connection is cut off.
    pub fn is_cut(&self, link: Link) -> bool {
        self.connections.get(&link).is_none_or(|connection| connection.cut)
    }

    /// Adds a subscription; `*` and `>` as in NATS.
    pub fn subscribe(&mut self, link: Link, pattern: impl Into<String>) {
        if let Some(connection) = self.connections.get_mut(&link) {
            let pattern = pattern.into();
            if !connection.subscriptions.contains(&pattern) {
                connection.subscriptions.push(pattern);
            }
        }
    }

    /// Ends a subscription; what is under way for it still arrives, as in NATS.
    pub fn unsubscribe(&mut self, link: Link, pattern: &str) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.subscriptions.retain(|known| known != pattern);
        }
    }

    /// Takes a message from `from` and sends it to all whose subscriptions match. Returns whether it was taken.
    pub fn publish(&mut self, now_ms: u64, rng: &mut Rng, from: Link, message: Message) -> bool {
        if self.is_cut(from) {
            return false;
        }
        let part = self.connections.get(&from).map_or(0, |connection| connection.part);
        let receivers: Vec<Link> = self
            .connections
            .iter()
            .filter(|(_, c)| !c.cut && c.part == part)
            .filter(|(_, c)| c.subscriptions.iter().any(|p| matches(p, &message.subject)))
            .map(|(link, _)| *link)
            .collect();
        if receivers.is_empty() {
            if let Some(reply) = message.reply.clone() {
                let mut status = Message::new(reply, Bytes::new());
                status.no_responders = true;
                self.enqueue_matching(now_ms, rng, &status);
            }
            return true;
        }
        for to in receivers {
            self.enqueue_weathered(now_ms, rng, to, &message);
        }
        true
    }

    fn enqueue_matching(&mut self, now_ms: u64, rng: &mut Rng, message: &Message) {
        let receivers: Vec<Link> = self
            .connections
            .iter()
            .filter(|(_, c)| !c.cut && c.subscriptions.iter().any(|p| matches(p, &message.subject)))
            .map(|(link, _)| *link)
            .collect();
        for to in receivers {
            self.enqueue(now_ms, rng, to, message.clone(), true);
        }
    }

    fn enqueue_weathered(&mut self, now_ms: u64, rng: &mut Rng, to: Link, message: &Message) {
        let is_message = message.subject.contains(".int.node.") || message.subject.contains(".int.kept.");
        let suffers = message.subject.contains(".int.") && !(is_message && self.weather.spares_messages);
        let weather = if suffers { self.weather } else { Weather::default() };
        if rng.chance(weather.loss) {
            self.disturbed += 1;
            return;
        }
        let in_order = !rng.chance(weather.reordering);
        self.disturbed += u64::from(!in_order);
        self.enqueue(now_ms, rng, to, message.clone(), in_order);
        if rng.chance(weather.duplication) {
            self.disturbed += 1;
            self.enqueue(now_ms, rng, to, message.clone(), true);
        }
    }

    fn enqueue(&mut self, now_ms: u64, rng: &mut Rng, to: Link, message: Message, in_order: bool) {
        let Some(connection) = self.connections.get_mut(&to) else { return };
        let mut arrival_ms = now_ms + rng.below(4);
        if in_order {
            arrival_ms = arrival_ms.max(connection.last_arrival_ms);
            connection.last_arrival_ms = arrival_ms;
        }
        self.next_number += 1;
        self.in_flight.push(Reverse(InFlight { arrival_ms, number: self.next_number, to, message }));
    }

    /// When the next message arrives somewhere.
    pub fn next_arrival_ms(&self) -> Option<u64> {
        self.in_flight.peek().map(|Reverse(flight)| flight.arrival_ms)
    }

    /// The next message that has arrived by `now_ms`.
    pub fn pop(&mut self, now_ms: u64) -> Option<(Link, Message)> {
        if self.next_arrival_ms()? > now_ms {
            return None;
        }
        self.in_flight.pop().map(|Reverse(flight)| (flight.to, flight.message))
    }
}

/// Whether a NATS subscription pattern matches a subject.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for want in pattern.split('.') {
        match (want, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (want, Some(token)) if want == token => {}
            (_, Some(_)) => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_nats() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a", "a.b", false),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn a_connection_gets_messages_in_the_order_the_server_took_them() {
        let (mut bus, mut rng) = (Bus::new(), Rng::new(1));
        let (a, b) = (bus.connect(), bus.connect());
        bus.subscribe(b, "x.>");
        for n in 0..50_u8 {
            bus.publish(u64::from(n), &mut rng, a, Message::new("x.y", Bytes::copy_from_slice(&[n])));
        }

        let seen: Vec<u8> = std::iter::from_fn(|| bus.pop(1000)).map(|(_, m)| m.payload[0]).collect();

        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn the_parts_of_a_split_cluster_hear_nothing_of_each_other() {
        let (mut bus, mut rng) = (Bus::new(), Rng::new(1));
        let links = [bus.connect(), bus.connect(), bus.connect()];
        links.iter().for_each(|link| bus.subscribe(*link, "x"));
        let heard = |bus: &mut Bus, rng: &mut Rng| {
            bus.publish(0, rng, links[0], Message::new("x", Bytes::new()));
            let mut heard: Vec<Link> = std::iter::from_fn(|| bus.pop(100)).map(|(link, _)| link).collect();
            heard.sort_unstable();
            heard
        };

        bus.split(|link| u8::from(link == links[2]));
        assert_eq!(heard(&mut bus, &mut rng), links[..2]);
        bus.split(|_| 0);
        assert_eq!(heard(&mut bus, &mut rng), links);
    }

    #[test]
    fn a_request_nobody_hears_is_answered_with_no_responders() {
        let (mut bus, mut rng) = (Bus::new(), Rng::new(1));
        let a = bus.connect();
        bus.subscribe(a, "inbox.1");
        let mut request = Message::new("nobody", Bytes::new());
        request.reply = Some("inbox.1".to_owned());

        bus.publish(0, &mut rng, a, request);

        assert!(bus.pop(10).is_some_and(|(link, m)| link == a && m.no_responders));
    }
}
