//! All sequences of operations, not a sample: every one that a short alphabet can write, up to a
//! length that runs in seconds, against the model and the audit.
//!
//! The counts of sequences are part of the test: a change that makes operations inapplicable, and
//! so silently explores less, has to change a number here.

mod harness;

use harness::model::Rules;
use harness::{Driver, Operation, Pick};
use keepwarm_pool::{CloseReason, Closer, Replacement};

/// A connection breaks while it is in use.
const BROKEN: Operation =
    Operation::Closed(Pick::Oldest, CloseReason::ExchangeFailed, Closer::Server);

/// Waiters, dials and their outcomes.
const DEMAND: &[Operation] = &[
    Operation::Checkout,
    Operation::Cancel(Pick::Oldest),
    Operation::Cancel(Pick::Newest),
    Operation::Dialed(Pick::Oldest),
    Operation::Dialed(Pick::Newest),
    Operation::DialFailed(Pick::Oldest),
    Operation::DialFailed(Pick::Newest),
    Operation::Returned(Pick::Oldest),
    Operation::Returned(Pick::Newest),
    BROKEN,
    Operation::ShutDown,
];

/// Ends of an unused connection.
const REST: &[Operation] = &[
    Operation::Checkout,
    Operation::Dialed(Pick::Oldest),
    Operation::Returned(Pick::Oldest),
    Operation::ReturnedUnused(Pick::Newest),
    Operation::Inspect(Pick::Oldest),
    Operation::Inspect(Pick::Newest),
    Operation::Evict,
    Operation::CloseIdle,
    Operation::Pass(1),
    Operation::Tick,
    Operation::TickAtDeadline,
    Operation::ShutDown,
];

/// Ends of a healthy connection, while a request waits and while none does.
const RETIREMENT: &[Operation] = &[
    Operation::Checkout,
    Operation::Dialed(Pick::Oldest),
    Operation::Returned(Pick::Oldest),
    Operation::ReturnedUnused(Pick::Oldest),
    Operation::CloseIdle,
    Operation::Pass(1),
    Operation::TickAtDeadline,
    Operation::ShutDown,
];

/// The server's advice on a connection, and its effects.
const ADVICE: &[Operation] = &[
    Operation::Checkout,
    Operation::Dialed(Pick::Oldest),
    Operation::Advised(Pick::Oldest, Some(2), None),
    Operation::Advised(Pick::Oldest, None, Some(1)),
    Operation::Advised(Pick::Oldest, Some(0), Some(0)),
    Operation::Returned(Pick::Oldest),
    Operation::ReturnedUnused(Pick::Oldest),
    Operation::Inspect(Pick::Oldest),
    Operation::Pass(1),
    Operation::TickAtDeadline,
];

/// A connection breaks, and its request asks for another one, of either kind.
const FRESH: Operation = Operation::Replace(Pick::Oldest, Replacement::Fresh);
const AGAIN: Operation = Operation::Replace(Pick::Oldest, Replacement::Any);

/// Requests whose connections broke, beside others.
const BROKEN_IN_USE: &[Operation] = &[
    Operation::Checkout,
    FRESH,
    AGAIN,
    Operation::Cancel(Pick::Oldest),
    Operation::Cancel(Pick::Newest),
    Operation::Dialed(Pick::Oldest),
    Operation::DialFailed(Pick::Oldest),
    Operation::Returned(Pick::Oldest),
    BROKEN,
    Operation::TickAtDeadline,
    Operation::ShutDown,
];

/// Used connections that are distrusted, and trusted again.
const DISTRUST: &[Operation] = &[
    Operation::Checkout,
    FRESH,
    Operation::Dialed(Pick::Oldest),
    Operation::DialFailed(Pick::Oldest),
    Operation::Returned(Pick::Oldest),
    Operation::ReturnedUnused(Pick::Oldest),
    Operation::Inspect(Pick::Oldest),
    Operation::Distrust(true),
    Operation::Distrust(false),
];

/// Dials that fail while others run, with a queue behind them.
const FAILURES: &[Operation] = &[
    Operation::Checkout,
    Operation::DialFailed(Pick::Oldest),
    Operation::DialFailed(Pick::Newest),
    Operation::Dialed(Pick::Oldest),
    Operation::Cancel(Pick::Oldest),
    BROKEN,
    FRESH,
];

/// Dials that this host refuses, at a limit and without one.
const REFUSALS: &[Operation] = &[
    Operation::Checkout,
    Operation::DialRefused(Pick::Oldest),
    Operation::DialRefused(Pick::Newest),
    Operation::Dialed(Pick::Oldest),
    Operation::DialFailed(Pick::Oldest),
    Operation::Returned(Pick::Oldest),
    BROKEN,
    FRESH,
    Operation::TickAtDeadline,
];

/// Places that come from a shared limit, or do not.
const PLACES: &[Operation] = &[
    Operation::Checkout,
    FRESH,
    Operation::Cancel(Pick::Oldest),
    Operation::Granted(Pick::Oldest),
    Operation::GrantedLate(Pick::Newest),
    Operation::Deferred(Pick::Oldest),
    Operation::Dialed(Pick::Oldest),
    Operation::DialFailed(Pick::Oldest),
    Operation::Returned(Pick::Oldest),
    Operation::Evict,
    Operation::ShutDown,
];

/// Everything that there is.
const ALL: &[Operation] = &[
    Operation::Checkout,
    FRESH,
    AGAIN,
    Operation::Cancel(Pick::Oldest),
    Operation::Cancel(Pick::Newest),
    Operation::CancelEnded(Pick::Oldest),
    Operation::Dialed(Pick::Oldest),
    Operation::Dialed(Pick::Newest),
    Operation::DialFailed(Pick::Oldest),
    Operation::Returned(Pick::Oldest),
    Operation::Returned(Pick::Newest),
    Operation::ReturnedUnused(Pick::Oldest),
    BROKEN,
    Operation::Inspect(Pick::Oldest),
    Operation::Inspect(Pick::Newest),
    Operation::InspectOther(Pick::Oldest),
    Operation::Evict,
    Operation::CloseIdle,
    Operation::Distrust(true),
    Operation::Distrust(false),
    Operation::Pass(1),
    Operation::Rewind(1),
    Operation::Tick,
    Operation::TickAtDeadline,
    Operation::ShutDown,
];

const TIGHT: Rules = Rules {
    max_idle: Some(1),
    max_connections: Some(2),
    max_waiters: Some(1),
    max_exchanges: None,
    idle_timeout: Some(2),
    max_lifetime: None,
    shared: None,
};

/// Where a sequence starts from when its subject is not the beginning.
const TWO_ACTIVE: &[Operation] = &[
    Operation::Checkout,
    Operation::Checkout,
    Operation::Dialed(Pick::Oldest),
    Operation::Dialed(Pick::Oldest),
];

/// Runs every sequence of each length up to `longest`, with a drain after each, and returns how
/// many there were. A sequence is left out when one of its operations has nothing to work on.
fn explore(rules: Rules, start: &[Operation], alphabet: &[Operation], longest: usize) -> u64 {
    let lengths = 1..=longest;
    lengths.map(|length| explore_length(rules, start, alphabet, length)).sum()
}

fn explore_length(rules: Rules, start: &[Operation], alphabet: &[Operation], length: usize) -> u64 {
    let mut explored = 0;
    let mut word = vec![0; length];
    // How far this sequence repeats the one before it.
    let mut shared = 0;
    loop {
        let mut driver = Driver::new_after(rules, shared);
        for operation in start {
            assert!(driver.perform(*operation), "the start can be made");
        }
        let mut letters = word.iter();
        let refused = letters.position(|letter| !driver.perform(alphabet[*letter]));
        if refused.is_none() {
            driver.drain();
            explored += 1;
        }
        match next_word(&mut word, refused.unwrap_or(length - 1), alphabet.len()) {
            Some(changed) => shared = start.len() + changed,
            None => return explored,
        }
    }
}

/// Advances at `place`, since no other word with the same letters up to there is of use, and
/// returns where the word has changed. `None` after the last word.
fn next_word(word: &mut [usize], place: usize, letters: usize) -> Option<usize> {
    word[place + 1..].fill(0);
    let changed = (0..=place).rev().find(|place| word[*place] + 1 < letters)?;
    word[changed] += 1;
    word[changed + 1..].fill(0);
    Some(changed)
}

#[test]
fn every_demand_under_tight_limits() {
    assert_eq!(explore(TIGHT, &[], DEMAND, 8), 58_439);
}

#[test]
fn every_demand_without_limits() {
    assert_eq!(explore(Rules::UNLIMITED, &[], DEMAND, 7), 15_137);
}

#[test]
fn every_demand_without_a_queue() {
    let rules = Rules { max_connections: Some(1), max_waiters: Some(0), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, &[], DEMAND, 8), 7_560);
}

#[test]
fn every_rest_under_tight_limits() {
    assert_eq!(explore(TIGHT, TWO_ACTIVE, REST, 5), 35_740);
}

#[test]
fn every_rest_of_connections_that_expire() {
    let rules = Rules { idle_timeout: Some(2), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, TWO_ACTIVE, REST, 5), 39_997);
}

#[test]
fn every_rest_with_no_idle_allowed() {
    let rules = Rules { max_idle: Some(0), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, TWO_ACTIVE, REST, 5), 33_945);
}

#[test]
fn every_return_with_zero_timeout() {
    let rules = Rules { idle_timeout: Some(0), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, TWO_ACTIVE, REST, 5), 33_945);
}

#[test]
fn every_retirement_on_one_connection() {
    let rules = Rules { max_connections: Some(1), max_exchanges: Some(2), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, &[], RETIREMENT, 7), 46_892);
}

#[test]
fn every_retirement_by_age() {
    let rules = Rules { max_lifetime: Some(2), idle_timeout: Some(2), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, TWO_ACTIVE, RETIREMENT, 6), 60_330);
    let rules = Rules { max_lifetime: Some(0), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, &[], RETIREMENT, 6), 10_186);
}

#[test]
fn every_refusal() {
    let rules = Rules { max_connections: Some(3), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, TWO_ACTIVE, REFUSALS, 5), 3_318);
    assert_eq!(explore(Rules::UNLIMITED, &[], REFUSALS, 6), 1_198);
    let rules = Rules { shared: Some(2), ..Rules::UNLIMITED };
    let start = [
        Operation::Checkout,
        Operation::Checkout,
        Operation::Granted(Pick::Oldest),
        Operation::Granted(Pick::Oldest),
        Operation::Dialed(Pick::Oldest),
    ];
    let alphabet = [REFUSALS, &[Operation::Granted(Pick::Oldest)]].concat();
    assert_eq!(explore(rules, &start, &alphabet, 5), 4_283);
}

#[test]
fn every_distrust() {
    let rules = Rules { max_connections: Some(2), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, &[], DISTRUST, 6), 6_957);
    assert_eq!(explore(Rules::UNLIMITED, TWO_ACTIVE, DISTRUST, 5), 14_178);
}

#[test]
fn every_failure_at_a_limit() {
    for (limit, explored) in [(1, 5_776), (2, 15_336), (3, 17_849)] {
        let rules = Rules { max_connections: Some(limit), ..Rules::UNLIMITED };
        assert_eq!(explore(rules, &[], FAILURES, 8), explored, "limit {limit}");
    }
}

#[test]
fn every_fresh_checkout_under_tight_limits() {
    assert_eq!(explore(TIGHT, TWO_ACTIVE, BROKEN_IN_USE, 5), 10_771);
}

#[test]
fn every_fresh_checkout_without_limits() {
    assert_eq!(explore(Rules::UNLIMITED, TWO_ACTIVE, BROKEN_IN_USE, 4), 2_108);
}

#[test]
fn every_fresh_checkout_beside_closes() {
    let rules = Rules {
        max_connections: Some(3),
        max_exchanges: Some(2),
        idle_timeout: Some(2),
        ..Rules::UNLIMITED
    };
    assert_eq!(explore(rules, TWO_ACTIVE, BROKEN_IN_USE, 4), 2_185);
}

#[test]
fn every_place_without_limits() {
    let rules = Rules { shared: Some(2), ..Rules::UNLIMITED };
    assert_eq!(explore(rules, &[], PLACES, 6), 6_582);
}

#[test]
fn every_place_under_tight_limits() {
    let rules = Rules { shared: Some(2), ..TIGHT };
    assert_eq!(explore(rules, &[], PLACES, 6), 6_569);
}

/// Another pool's claim has waited longer than the waiter here, or not quite.
#[test]
fn every_place_that_others_wait_for() {
    let rules = Rules { shared: Some(1), ..Rules::UNLIMITED };
    let alphabet = [
        Operation::Checkout,
        Operation::OldestClaim(Some(0)),
        Operation::OldestClaim(None),
        Operation::Returned(Pick::Oldest),
        Operation::ReturnedUnused(Pick::Oldest),
        Operation::Granted(Pick::Oldest),
        Operation::Dialed(Pick::Oldest),
        Operation::Pass(1),
    ];
    let start =
        [Operation::Checkout, Operation::Granted(Pick::Oldest), Operation::Dialed(Pick::Oldest)];
    assert_eq!(explore(rules, &start, &alphabet, 5), 7_179);
}

#[test]
fn every_advice() {
    let rules = Rules { max_connections: Some(1), idle_timeout: Some(3), ..Rules::UNLIMITED };
    assert_eq!(
        explore(rules, &[Operation::Checkout, Operation::Dialed(Pick::Oldest)], ADVICE, 6),
        68_178
    );
}

#[test]
fn every_operation_under_tight_limits() {
    assert_eq!(explore(TIGHT, &[], ALL, 5), 67_243);
}

#[test]
fn every_operation_without_limits() {
    assert_eq!(explore(Rules::UNLIMITED, TWO_ACTIVE, ALL, 4), 72_355);
}
