//! Random bytes for connection ids, as a process takes them from the system.

use holdfast_daemon::random;

use super::Randomness;

/// Random bytes, fetched from the system many at a time.
pub(super) struct Pool {
    bytes: [u8; 4096],
    used: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self { bytes: [0; 4096], used: 4096 }
    }
}

impl Randomness for Pool {
    fn id(&mut self) -> [u8; 16] {
        if self.used == self.bytes.len() {
            self.bytes = random::bytes();
            self.used = 0;
        }
        let mut id = [0; 16];
        let taken = &mut self.bytes[self.used..self.used + 16];
        id.copy_from_slice(taken);
        taken.fill(0);
        self.used += 16;
        id
    }
}
