//! Bounded runs of the simulation, and the proof that its checks can fail.

use holdfast_sim::sabotage::Sabotage;
use holdfast_sim::{Plan, run};

/// Steps per seed: a few rounds of trouble, healing, calm and silence.
const STEPS: u64 = 150_000;

fn check(seed: u64) {
    if let Err(failure) = run(Plan::new(seed, STEPS)) {
        panic!(
            "seed {seed} at {} ms: {}\n{}\nrepeat with: holdfast-sim --seed {seed} --steps {STEPS}",
            failure.at_ms, failure.violation.0, failure.story
        );
    }
}

// The first eight seeds; `holdfast-sim` runs as many as one likes.
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
fn promises_hold_for_seed_4() {
    check(4);
}

#[test]
fn promises_hold_for_seed_5() {
    check(5);
}

#[test]
fn promises_hold_for_seed_6() {
    check(6);
}

#[test]
fn promises_hold_for_seed_7() {
    check(7);
}

#[test]
fn promises_hold_for_seed_8() {
    check(8);
}

/// With work of more kinds; it must really have been done.
fn check_wide(seed: u64) {
    match run(Plan { wide: true, ..Plan::new(seed, STEPS) }) {
        Ok(totals) => {
            let done = [totals.rows, totals.acked, totals.slow, totals.replaced, totals.told, totals.many];
            assert!(done.iter().all(|count| *count > 0), "seed {seed}: {totals:?}");
        }
        Err(failure) => panic!(
            "seed {seed} at {} ms: {}\n{}\nrepeat with: holdfast-sim --seed {seed} --steps {STEPS} --wide",
            failure.at_ms, failure.violation.0, failure.story
        ),
    }
}

#[test]
fn promises_hold_for_seed_1_with_wide_work() {
    check_wide(1);
}

#[test]
fn promises_hold_for_seed_2_with_wide_work() {
    check_wide(2);
}

#[test]
fn a_run_is_decided_by_its_seed() {
    let totals = run(Plan::new(7, 60_000));

    assert_eq!(totals, run(Plan::new(7, 60_000)));
    let wide = Plan { wide: true, ..Plan::new(7, 60_000) };
    assert_eq!(run(wide), run(wide));
    assert_ne!(totals, run(Plan::new(8, 60_000)));
}

#[test]
fn each_planted_defect_is_caught() {
    for what in Sabotage::ALL {
        let caught = run(Plan { sabotage: Some(what), wide: what.is_wide(), ..Plan::new(1, 4 * STEPS) });

        assert!(caught.is_err(), "{what:?} went unnoticed");
    }
}
