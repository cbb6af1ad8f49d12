//! One connection's protocol state: what the client may do now, and what each event makes happen.
//!
//! A session is synchronous and owns its state: [`Session::apply`] takes an event and appends actions. It knows no
//! socket, clock, bus, or other session; the shard carries its actions out and feeds it the answers.

mod event;
mod action;

pub use event::{Event, Failure, GapScope, Incoming, Outcome, Ticket};
pub use action::{Action, Actions};
