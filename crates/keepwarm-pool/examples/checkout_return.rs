//! The cost of a hit: nanoseconds per checkout and return of a warm pool.
//!
//! `cargo run --release -p keepwarm-pool --example checkout_return`. A benchmark, so it proves
//! nothing and no test runs it; the best of several runs is the one least disturbed.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::time::Duration;

use keepwarm_pool::{Capacity, Effect, Moment, Pool, Settings};

const ROUNDS: u32 = 2_000_000;
const RUNS: usize = 5;

fn main() {
    for connections in [1, 16, 256, 4_096] {
        let mut pool = warm_pool(connections);
        let best = (0..RUNS).map(|_| time(&mut pool)).min();
        let nanos = best.unwrap_or_default().as_secs_f64() * 1e9 / f64::from(ROUNDS);
        println!("{connections:5} idle connections: {nanos:6.1} ns per checkout and return");
    }
}

#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the pool reads no clock, its benchmark does"
)]
fn time(pool: &mut Pool) -> Duration {
    let start = std::time::Instant::now();
    for round in 0..ROUNDS {
        let now = Moment::from_nanos(u64::from(round));
        black_box(pool.checkout(now));
        let Some(Effect::Assign(assigned)) = pool.poll_effect() else {
            panic!("a warm pool answers at once");
        };
        black_box(assigned.exchanges);
        pool.returned(assigned.lease, now);
        assert!(pool.poll_effect().is_none());
    }
    start.elapsed()
}

/// A pool in which as many connections as asked for are idle.
fn warm_pool(connections: usize) -> Pool {
    let mut pool = Pool::new(Settings::default());
    for _ in 0..connections {
        pool.checkout(Moment::ZERO);
    }
    let mut leases = Vec::new();
    while let Some(effect) = pool.poll_effect() {
        match effect {
            Effect::Dial(permit) => {
                pool.dialed(permit, Capacity::Exclusive, Moment::ZERO);
            }
            Effect::Assign(assigned) => leases.push(assigned.lease),
            other => panic!("{other:?}"),
        }
    }
    for lease in leases {
        pool.returned(lease, Moment::ZERO);
    }
    pool
}
