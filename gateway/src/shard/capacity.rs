//! How many connections the whole process may hold, and whether it does. Looked at before anything is spent on one more.

use std::rc::Rc;
use std::sync::Arc;

use hyper::StatusCode;

use crate::metrics::{Cell, Handshake, ShardCells};
use crate::net::Refused;

/// The connections of all shards, sessions over HTTP among them, and their bound.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    cells: Rc<[Arc<ShardCells>]>,
    connections_max: u64,
}

impl Capacity {
    pub(super) fn new(cells: Vec<Arc<ShardCells>>, connections_max: u64) -> Self {
        Self { cells: cells.into(), connections_max }
    }

    /// Whether there is no place for one more.
    pub(super) fn is_full(&self) -> bool {
        let each = self.cells.iter().flat_map(|cells| &cells.connections);
        each.map(Cell::value).fold(0, u64::wrapping_add) >= self.connections_max
    }

    /// Takes no place: a few that come at once may go over the bound.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        if !self.is_full() {
            return Ok(());
        }
        Err(Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: vec![("retry-after", "10")],
            body: "too many connections\n",
            counted: Handshake::LimitNode,
        })
    }
}
