//! Unguessable and spread-out numbers, from the operating system.

use std::time::Duration;

/// Bytes nobody can guess.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes once it has started");
    bytes
}

/// A number from the whole range.
pub fn number() -> u64 {
    u64::from_le_bytes(bytes())
}

/// A duration from zero up to `most`, evenly spread: for delays that must not coincide.
pub fn up_to(most: Duration) -> Duration {
    // 32 bits of randomness are plenty for a delay, and keep the product in range.
    let share = u32::from_le_bytes(bytes());
    most.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_delay_stays_in_range_and_varies() {
        let most = Duration::from_secs(4);
        let delays: Vec<_> = (0..64).map(|_| up_to(most)).collect();

        assert!(delays.iter().all(|delay| *delay <= most));
        assert!(delays.iter().any(|delay| *delay != delays[0]));
    }
}
