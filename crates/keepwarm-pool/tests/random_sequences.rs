//! Long random sequences against the model and the audit, and the proof that they get everywhere.
//!
//! The seed is fixed, so that what passed once passes again. `PROPTEST_CASES` and
//! `PROPTEST_RNG_SEED` look further.

mod harness;

use std::collections::{BTreeMap, BTreeSet};

use harness::model::Rules;
use harness::paths::{Path, REPORTED};
use harness::{Driver, Operation, Pick};
use keepwarm_pool::{Closer, Replacement};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

const LONGEST: usize = 200;
const PHASES: usize = 8;

/// Of so many sequences, each path must be taken by so many: once could be chance.
const SEQUENCES: usize = 2_500;
const OFTEN_ENOUGH: u32 = 5;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(9112),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let none = None::<u32>;
    (
        prop_oneof![1 => Just(none), 2 => (0..4_u32).prop_map(Some)],
        prop_oneof![Just(none), (1..6_u32).prop_map(Some)],
        prop_oneof![Just(none), (0..4_u32).prop_map(Some)],
        prop_oneof![4 => Just(none), 1 => (0..5_u32).prop_map(Some)],
        (
            prop_oneof![1 => Just(None), 1 => Just(Some(0)), 3 => (1..10_u64).prop_map(Some)],
            prop_oneof![6 => Just(None), 1 => Just(Some(0)), 5 => (1..40_u64).prop_map(Some)],
            prop_oneof![3 => Just(None), 1 => (0..6_u64).prop_map(Some)],
        ),
    )
        .prop_map(|(max_idle, max_connections, max_waiters, max_exchanges, times)| Rules {
            max_idle,
            max_connections,
            max_waiters,
            max_exchanges,
            idle_timeout: times.0,
            max_lifetime: times.1,
            shared: times.2,
        })
}

/// How often the operations come that make the difference between a burst, in which requests and
/// connections accumulate, and a calm, in which connections come to rest and expire.
struct Weights {
    checkouts: u32,
    cancels: u32,
    returns: u32,
    passes: u32,
}

const BURST: Weights = Weights { checkouts: 300, cancels: 20, returns: 80, passes: 20 };

const CALM: Weights = Weights { checkouts: 60, cancels: 100, returns: 200, passes: 200 };

fn operation(weights: &Weights) -> impl Strategy<Value = Operation> {
    let pick = || any::<u8>().prop_map(|number| Pick::Any(usize::from(number)));
    let closed =
        (pick(), proptest::sample::select(&REPORTED), proptest::sample::select(&Closer::ALL));
    let said = |often| proptest::option::weighted(often, 0..12_u64);
    let advised = (pick(), said(0.9), said(0.2))
        .prop_map(|(pick, idle, left)| Operation::Advised(pick, idle, left));
    prop_oneof![
        weights.checkouts => Just(Operation::Checkout),
        20 => pick().prop_map(|pick| Operation::Replace(pick, Replacement::Fresh)),
        12 => pick().prop_map(|pick| Operation::Replace(pick, Replacement::Any)),
        4 => Just(Operation::Distrust(true)),
        30 => Just(Operation::Distrust(false)),
        130 => pick().prop_map(Operation::Dialed),
        40 => pick().prop_map(Operation::DialFailed),
        8 => pick().prop_map(Operation::DialRefused),
        weights.returns => pick().prop_map(Operation::Returned),
        30 => pick().prop_map(Operation::ReturnedUnused),
        60 => closed.prop_map(|(pick, reason, closer)| Operation::Closed(pick, reason, closer)),
        weights.cancels => pick().prop_map(Operation::Cancel),
        10 => pick().prop_map(Operation::CancelEnded),
        90 => advised,
        40 => pick().prop_map(Operation::Inspect),
        10 => pick().prop_map(Operation::InspectOther),
        15 => Just(Operation::Evict),
        130 => pick().prop_map(Operation::Granted),
        5 => pick().prop_map(Operation::GrantedLate),
        30 => pick().prop_map(Operation::Deferred),
        10 => proptest::option::of(0..30_u64).prop_map(Operation::OldestClaim),
        8 => Just(Operation::CloseIdle),
        weights.passes => (1..5_u64).prop_map(Operation::Pass),
        10 => (1..4_u64).prop_map(Operation::Rewind),
        15 => Just(Operation::Tick),
        10 => Just(Operation::TickAtDeadline),
        4 => Just(Operation::ShutDown),
    ]
}

fn sequence() -> impl Strategy<Value = (Rules, Vec<Operation>)> {
    let phase = |operation| proptest::collection::vec(operation, 5..=LONGEST / PHASES);
    let (burst, calm) = (operation(&BURST), operation(&CALM));
    let phases = proptest::collection::vec(prop_oneof![phase(burst), phase(calm)], 1..=PHASES);
    (rules(), phases.prop_map(|phases| phases.concat()))
}

/// Performs what can be performed, says what that reached, and drains.
fn run(rules: Rules, operations: &[Operation]) -> BTreeSet<Path> {
    let mut driver = Driver::new(rules);
    for operation in operations {
        driver.perform(*operation);
    }
    let reached = driver.reached().clone();
    driver.drain();
    reached
}

proptest! {
    #![proptest_config(config(800))]

    #[test]
    fn random_sequences_agree_with_the_model((rules, operations) in sequence()) {
        run(rules, &operations);
    }
}

/// A test that never gets to a decision proves nothing about it.
#[test]
fn generator_reaches_every_path() {
    let mut runner = TestRunner::new(config(1));
    let mut reached = BTreeMap::new();
    for _ in 0..SEQUENCES {
        let tree = sequence().new_tree(&mut runner).expect("a sequence");
        let (rules, operations) = tree.current();
        for path in run(rules, &operations) {
            *reached.entry(path).or_insert(0) += 1;
        }
    }
    let times = |path: &Path| reached.get(path).copied().unwrap_or(0);
    let all = Path::all().into_iter();
    let rare: Vec<_> = all.filter(|path| times(path) < OFTEN_ENOUGH).collect();
    assert!(rare.is_empty(), "hardly reached: {rare:?} in {reached:?}");
    // And nothing is reached that is not on the list.
    assert_eq!(reached.len(), Path::all().len(), "{reached:?}");
}
