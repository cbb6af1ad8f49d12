//! Routers driven by hand.
