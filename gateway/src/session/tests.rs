//! Sessions on a bench, by themes.

mod bare;
mod bus;
mod credentials;
mod json;
mod kept;
mod kit;
mod limits;
mod random;
mod stomp;
mod undecided;
