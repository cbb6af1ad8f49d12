//! Buffers that all connections of a thread share: lent while bytes are handled, so that an idle connection has none.

use std::cell::Cell;

/// Enough for four TLS records, or for what a busy socket brings in one read.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    static SPARE: Cell<Vec<Box<[u8]>>> = const { Cell::new(Vec::new()) };
}

/// Lends a buffer of [`BUFFER_BYTES`]; its content is whatever the last user left. Nested calls get others.
pub(super) fn lend<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut spare = SPARE.take();
    let mut buffer = spare.pop().unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
    SPARE.set(spare);
    let result = work(&mut buffer);
    let mut spare = SPARE.take();
    // As many as were ever in use at once: two or three.
    spare.push(buffer);
    SPARE.set(spare);
    result
}
