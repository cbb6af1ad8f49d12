//! What nothing can beat by much: the bare system calls a server cannot do without, measured in the same run, on the
//! same cores, with the same clients.

pub(crate) mod accept;
pub(crate) mod send_loop;

use std::time::Duration;

/// What a floor took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
}
