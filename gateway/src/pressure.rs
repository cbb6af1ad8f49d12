//! Whether the process is short of memory, with two marks so that it does not waver, and how much it may use at all.
//!
//! The judgement is pure; the figures are the kernel's.

use std::fs;

/// Of what may be used, in percent: from here on the node defends itself.
const HIGH_PERCENT: u64 = 85;
/// And below this it takes part again.
const LOW_PERCENT: u64 = 75;

/// The state of a process's memory.
#[derive(Debug)]
pub struct Pressure {
    high_bytes: u64,
    low_bytes: u64,
    pressed: bool,
}

/// What a look at the memory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Enough is free.
    Free,
    /// Enough is free again.
    Relieved,
    /// The node is short of memory since now; so many bytes are to be given back.
    Pressed(u64),
    /// It still is.
    StillPressed(u64),
}

impl Pressure {
    /// Nothing is known yet; `max_bytes` of 0 is no bound.
    pub const fn new(max_bytes: u64) -> Self {
        let max_bytes = if max_bytes == 0 { u64::MAX } else { max_bytes };
        Self { high_bytes: max_bytes / 100 * HIGH_PERCENT, low_bytes: max_bytes / 100 * LOW_PERCENT, pressed: false }
    }

    /// Judges what is in use.
    pub const fn look(&mut self, used_bytes: u64) -> Look {
        let excess = used_bytes.saturating_sub(self.low_bytes);
        match self.pressed {
            false if used_bytes >= self.high_bytes => {
                self.pressed = true;
                Look::Pressed(excess)
            }
            false => Look::Free,
            true if used_bytes <= self.low_bytes => {
                self.pressed = false;
                Look::Relieved
            }
            true => Look::StillPressed(excess),
        }
    }

    /// Whether the node is short of memory.
    pub const fn is_pressed(&self) -> bool {
        self.pressed
    }
}

/// Bytes of memory that the process holds, as the kernel counts them. `None` where the kernel does not say.
pub fn used_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmRSS:")
}

/// What the process may use where no setting says: what its control group allows, else what the machine has.
pub fn allowed_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemTotal:"));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = group.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    // A group without a limit says "max", or a number no machine has.
    group.into_iter().chain(machine).min()
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_marks_keep_it_from_wavering() {
        let mut pressure = Pressure::new(1000);

        let looks = [840, 850, 900, 760, 750, 849].map(|used| pressure.look(used));

        let wanted = [
            Look::Free,
            Look::Pressed(100),
            Look::StillPressed(150),
            Look::StillPressed(10),
            Look::Relieved,
            Look::Free,
        ];
        assert_eq!(looks, wanted);
    }

    #[test]
    fn without_a_bound_nothing_is_too_much() {
        assert_eq!(Pressure::new(0).look(1 << 50), Look::Free);
    }

    #[test]
    fn the_kernel_tells_both_figures() {
        let used = used_bytes().expect("Linux says");
        let allowed = allowed_bytes().expect("Linux says");

        assert!(used > 1 << 20 && used < allowed, "{used} of {allowed}");
        assert_eq!(kibibytes("A: 1 kB\nVmRSS:\t   123 kB\n", "VmRSS:"), Some(123 * 1024));
        assert_eq!(kibibytes("VmRSS: many", "VmRSS:"), None);
    }
}
