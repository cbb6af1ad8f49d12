//! A short run of the simulation, and the proof that its checks can fail.

use holdfast_sim::sabotage::Sabotage;
use holdfast_sim::{run, run_with};

/// Steps per seed: a few rounds of trouble, healing, calm and silence.
const STEPS: u64 = 150_000;

fn check(seed: u64) {
    if let Err(failure) = run(seed, STEPS, |_| {}) {
        panic!(
            "seed {seed} at {} ms: {}\n{}\nrepeat with: holdfast-sim --seed {seed} --steps {STEPS}",
            failure.at_ms, failure.violation.0, failure.story
        );
    }
}

#[test]
fn promises_hold_for_seed_1() {
    check(1);
}

#[test]
fn promises_hold_for_seed_2() {
    check(2);
}

#[test]
fn promises_hold_for_seed_3() {
    check(3);
}

#[test]
fn a_run_is_decided_by_its_seed() {
    let totals = run(7, 60_000, |_| {});

    assert_eq!(totals, run(7, 60_000, |_| {}));
    assert_ne!(totals, run(8, 60_000, |_| {}));
}

#[test]
fn each_planted_defect_is_caught() {
    for what in Sabotage::ALL {
        let caught = run_with(1, STEPS, Some(what), |_| {});

        assert!(caught.is_err(), "{what:?} went unnoticed");
    }
}
