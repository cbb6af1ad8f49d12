//! The frames that one connection gets of a delivery, each encoded once per node and form.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::dialect::{self, Dialect, sockjs, stomp};
use holdfast_protocol::wire::Delivery;
use smallvec::SmallVec;

use crate::clock::Now;
use crate::link::{Form, STOMP_FORMS_MAX, SharedDelivery, StompForm};
use crate::session::{Heard, Session, Variant};
use crate::socket::{Class, Framing, Outgoing, Pushed, Socket, Written};
use crate::ws::frame;

/// One frame; in dialect `stomp` one for each subscription that hears the delivery, and perhaps none.
pub(super) struct Copies {
    frames: SmallVec<[Bytes; 1]>,
    /// The client acknowledges messages.
    pub(super) can_ack: bool,
}

/// What is the same for all copies.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) scope: u32,
    pub(super) expires_ms: Option<u64>,
    pub(super) key: Option<u64>,
    pub(super) kept: Option<NonZeroU64>,
}

/// Forms in dialect `stomp` that this shard has met of the delivery under way, by way of one of its targets: looked
/// through before those that all shards share, which are behind a lock.
pub(super) struct Met<'a> {
    heard: Heard<'a>,
    forms: SmallVec<[Arc<StompForm>; 2]>,
    /// The one that was wanted last: most members of a room listen alike.
    last: usize,
}

impl<'a> Met<'a> {
    /// None yet, by way of the target with this index.
    pub(super) fn none(delivery: &'a Delivery, target: usize) -> Self {
        Self { heard: Heard::of(delivery, target), forms: SmallVec::new(), last: 0 }
    }

    /// What such listeners get, if they hear it.
    fn form(&mut self, shared: &SharedDelivery, variant: Variant<'_>) -> Option<&StompForm> {
        if self.forms.get(self.last).is_none_or(|last| !last.is(variant)) {
            if !self.heard.by(variant.listener) {
                return None;
            }
            let known = self.forms.iter().position(|known| known.is(variant));
            self.last = known.unwrap_or_else(|| self.add(shared, variant));
        }
        self.forms.get(self.last).map(|form| &**form)
    }

    fn add(&mut self, shared: &SharedDelivery, variant: Variant<'_>) -> usize {
        let form = shared.stomp(variant, |delivery| stomp_of(delivery, self.heard, variant));
        self.forms.truncate(STOMP_FORMS_MAX - 1);
        self.forms.push(form);
        self.forms.len() - 1
    }
}

impl Copies {
    /// Those of a delivery, by way of its target with this index.
    pub(super) fn of(
        shared: &SharedDelivery,
        target: usize,
        session: &Session,
        framing: Framing,
        met: &mut Met<'_>,
    ) -> Self {
        let mut copies = Self { frames: SmallVec::new(), can_ack: false };
        match session.dialect() {
            Dialect::Json => {
                copies.can_ack = true;
                copies.add(shared.json(target, json_of), framing);
            }
            Dialect::Bare => copies.add(shared.bare(bare_of), framing),
            Dialect::Stomp => {
                for variant in session.variants() {
                    if let Some(form) = met.form(shared, variant) {
                        copies.can_ack |= variant.listener.acknowledges();
                        copies.add(form.form(), framing);
                    }
                }
            }
        }
        copies
    }

    fn add(&mut self, form: &Form, framing: Framing) {
        if let Some(frame) = form.frame(framing, sockjs_of) {
            self.frames.push(frame);
        }
    }

    /// Bytes of all frames.
    pub(super) fn bytes(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Writes it past the queue, where it is one frame and its time is not over; what else there is must be queued.
    pub(super) fn write_now<S: Socket>(&self, now: Now, socket: &mut S, terms: Terms) -> Written {
        let [frame] = &*self.frames else { return Written::Not };
        if terms.expires_ms.is_some_and(|at| at < now.unix_ms) {
            return Written::Not;
        }
        let Terms { scope, expires_ms, key, kept } = terms;
        let class = Class::Message { scope, expires_ms, key, kept };
        socket.write_now(now, &Outgoing { frame: frame.clone(), class })
    }

    /// Queues them all; what became of the last that was not simply refused.
    pub(super) fn push<S: Socket>(self, now: Now, socket: &mut S, terms: Terms) -> Pushed {
        let mut pushed = Pushed::Dropped;
        for (place, frame) in self.frames.into_iter().enumerate() {
            // Frames of one message for several subscriptions do not replace one another.
            let key = terms.key.map(|key| key.wrapping_add(place as u64));
            let class = Class::Message { scope: terms.scope, expires_ms: terms.expires_ms, key, kept: terms.kept };
            match socket.push(now, Outgoing { frame, class }) {
                Pushed::Dropped => {}
                Pushed::Overflow => return Pushed::Overflow,
                queued @ Pushed::Queued(_) => pushed = queued,
            }
        }
        pushed
    }
}

/// The frame of a delivery that each member of its only target gets who speaks this dialect in this framing, in dialect
/// `stomp` each who hears it as this variant; `None` where there is no such frame.
pub(super) fn frame_of(
    shared: &SharedDelivery,
    dialect: Dialect,
    framing: Framing,
    variant: Option<Variant<'_>>,
) -> Option<Bytes> {
    match dialect {
        Dialect::Json => shared.json(0, json_of).frame(framing, sockjs_of),
        Dialect::Bare => shared.bare(bare_of).frame(framing, sockjs_of),
        Dialect::Stomp => {
            let variant = variant?;
            let heard = Heard::of(&shared.delivery, 0);
            shared.stomp(variant, |delivery| stomp_of(delivery, heard, variant)).form().frame(framing, sockjs_of)
        }
    }
}

fn json_of(delivery: &Delivery, room: Option<&str>) -> Bytes {
    frame::text(&dialect::json::delivery(delivery, room))
}

fn bare_of(delivery: &Delivery) -> Bytes {
    let (text, payload) = dialect::bare::delivery(delivery);
    if text { frame::text(&payload) } else { frame::binary(&payload) }
}

/// The same message in SockJS framing.
fn sockjs_of(plain: &Bytes) -> Option<Bytes> {
    let (text, payload) = frame::payload(plain);
    framed(Framing::SockJs, text, &payload)
}

/// The complete frame of one message; `None` where the framing has no room for what is not text.
pub(super) fn framed(framing: Framing, text: bool, payload: &[u8]) -> Option<Bytes> {
    match framing {
        Framing::Plain if text => Some(frame::text(payload)),
        Framing::Plain => Some(frame::binary(payload)),
        Framing::SockJs if text => {
            let mut message = Vec::new();
            sockjs::message_into(std::str::from_utf8(payload).ok()?, &mut message);
            Some(frame::text(&message))
        }
        Framing::SockJs => None,
    }
}

fn stomp_of(delivery: &Delivery, heard: Heard<'_>, Variant { version, listener }: Variant<'_>) -> Bytes {
    let (id, destination, ack) = (listener.id(), heard.shown(listener), listener.acknowledges());
    match stomp::message(&stomp::Message::of(delivery, version, id, destination, ack)) {
        stomp::Body::Text(payload) => frame::text(&payload),
        stomp::Body::Binary(payload) => frame::binary(&payload),
    }
}
