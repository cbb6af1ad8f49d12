//! A shard's turns: what the hub said is carried out, a bounded number of messages at a time, then written.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::TURN_MESSAGES;
use crate::admission::Provenance;
use crate::clock::{Clock, Now};
use crate::fallback::{Client, Sessions};
use crate::link::{Inquiry, Key, ToShard, ToShardOfSession};
use crate::shard::Shard;

/// Where connections come from, of those where there is more to know than their sockets tell.
pub(super) type Provenances = Rc<RefCell<HashMap<Key, Provenance, FxBuildHasher>>>;

/// Carries out what the hub said, in turns of a bounded size.
pub(super) fn turns(
    clock: Clock,
    shard: &RefCell<Shard<Client>>,
    sessions: &RefCell<Sessions>,
    provenances: &Provenances,
    batch: Vec<ToShard>,
) {
    let lone = batch.len() == 1;
    let mut messages = batch.into_iter();
    while messages.len() > 0 {
        let (now, mut shard, mut sessions) = (clock.now(), shard.borrow_mut(), sessions.borrow_mut());
        for message in messages.by_ref().take(TURN_MESSAGES) {
            match message {
                ToShard::Inspect(inquiry) => inspect(&mut shard, provenances, now, &inquiry),
                message => handle(&mut shard, &mut sessions, now, message, lone),
            }
        }
        end_turn(&mut shard, &sessions, now);
        shard.written(clock.now());
    }
}

/// Answers an operator, unless nobody waits any more.
fn inspect(shard: &mut Shard<Client>, provenances: &Provenances, now: Now, inquiry: &Inquiry) {
    let provenances = provenances.borrow();
    let answer = shard.inspect(now, &inquiry.ask, |key, client| {
        let named = provenances.get(&key).and_then(|provenance| provenance.client);
        named.or_else(|| client.peer())
    });
    drop(inquiry.answer.try_send(answer));
}

/// `lone`: the turn has no other message.
fn handle(shard: &mut Shard<Client>, sessions: &mut Sessions, now: Now, message: ToShard, lone: bool) {
    if let ToShard::Session(_) = message {
        shard.end_row(now);
    }
    match message {
        ToShard::Session(ToShardOfSession::Hosted { conn, ok }) => sessions.hosted(shard, now, conn, ok),
        ToShard::Session(ToShardOfSession::Exchange { conn, asker, caller, ask }) => {
            sessions.exchange(shard, now, conn, asker, &caller, ask);
        }
        other if lone => shard.handle_lone(now, other),
        other => shard.handle(now, other),
    }
}

/// Ends a turn; what sessions over HTTP answer is known only once it has ended, and goes out in one more.
pub(super) fn end_turn(shard: &mut Shard<Client>, sessions: &Sessions, now: Now) {
    shard.finish_turn(now);
    if sessions.hand_over(shard) {
        shard.finish_turn(now);
    }
}
