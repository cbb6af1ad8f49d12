//! Routers driven by hand, over a bus that is a list: what a whole router does, rule by rule.

mod facts;
mod kept;
mod lives;
mod messages;
mod mirror;
mod world;
