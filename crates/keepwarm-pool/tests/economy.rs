//! No more connections than requests at once, however the requests come.
//!
//! Where nothing ends a connection early (no limit on idle ones, no timeout, no failure), the
//! number of connections ever *opened* is at most the peak number of simultaneous requests. The
//! workloads here know nothing of the model: they hold what they were given and count.

use core::time::Duration;

use keepwarm_pool::{Capacity, DialPermit, Effect, Lease, Moment, Pool, Settings, WaiterId};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const NOW: Moment = Moment::ZERO;

/// Requests, and the dials made for them.
struct Workload {
    pool: Pool,
    waiters: Vec<WaiterId>,
    permits: Vec<DialPermit>,
    leases: Vec<Lease>,
    peak: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Request,
    GiveUp(usize),
    DialEnds(usize),
    RequestEnds(usize),
}

impl Workload {
    fn new() -> Self {
        let settings = Settings { idle_timeout: Duration::MAX, ..Settings::default() };
        Self {
            pool: Pool::new(settings),
            waiters: Vec::new(),
            permits: Vec::new(),
            leases: Vec::new(),
            peak: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Request => {
                let waiter = self.pool.checkout(NOW);
                self.waiters.push(waiter);
                self.peak = self.peak.max(self.waiters.len() + self.leases.len());
            }
            Step::GiveUp(which) => {
                if let Some(waiter) = remove(&mut self.waiters, which) {
                    self.pool.cancel(waiter, NOW);
                }
            }
            Step::DialEnds(which) => {
                if let Some(permit) = remove(&mut self.permits, which) {
                    self.pool.dialed(permit, Capacity::Exclusive, NOW);
                }
            }
            Step::RequestEnds(which) => {
                if let Some(lease) = remove(&mut self.leases, which) {
                    self.pool.returned(lease, NOW);
                }
            }
        }
        while let Some(effect) = self.pool.poll_effect() {
            match effect {
                Effect::Dial(permit) => self.permits.push(permit),
                Effect::Assign(assigned) => {
                    self.waiters.retain(|waiter| *waiter != assigned.waiter);
                    self.leases.push(assigned.lease);
                }
                other => panic!("nothing fails or ends here, but: {other:?}"),
            }
        }
    }

    fn opened(&self) -> usize {
        usize::try_from(self.pool.counts().opened).expect("a small number")
    }

    fn dials(&self) -> usize {
        usize::try_from(self.pool.counts().dials).expect("a small number")
    }
}

fn remove<T>(held: &mut Vec<T>, which: usize) -> Option<T> {
    let which = which.checked_rem(held.len())?;
    Some(held.remove(which))
}

fn step() -> impl Strategy<Value = Step> {
    let which = || any::<u8>().prop_map(usize::from);
    prop_oneof![
        5 => Just(Step::Request),
        1 => which().prop_map(Step::GiveUp),
        3 => which().prop_map(Step::DialEnds),
        4 => which().prop_map(Step::RequestEnds),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: RngSeed::Fixed(9293),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn opened_never_exceeds_the_peak(steps in proptest::collection::vec(step(), 1..300)) {
        let mut workload = Workload::new();
        for step in steps {
            workload.step(step);
            prop_assert!(workload.opened() <= workload.peak);
            prop_assert!(workload.dials() <= workload.peak);
        }
    }
}

#[test]
fn repeated_bursts_open_one_burst() {
    let mut workload = Workload::new();
    for _ in 0..50 {
        for _ in 0..20 {
            workload.step(Step::Request);
        }
        while !workload.permits.is_empty() {
            workload.step(Step::DialEnds(0));
        }
        while !workload.leases.is_empty() {
            workload.step(Step::RequestEnds(0));
        }
    }
    assert_eq!((workload.opened(), workload.peak), (20, 20));
}

#[test]
fn sequential_requests_open_one_connection() {
    let mut workload = Workload::new();
    for _ in 0..1_000 {
        workload.step(Step::Request);
        workload.step(Step::DialEnds(0));
        workload.step(Step::RequestEnds(0));
    }
    assert_eq!(workload.opened(), 1);
}

#[test]
fn cancel_and_retry_dials_once() {
    let mut workload = Workload::new();
    for _ in 0..1_000 {
        workload.step(Step::Request);
        workload.step(Step::GiveUp(0));
    }
    assert_eq!(workload.dials(), 1);
}

/// The dials are not wasted: their connections serve later requests.
#[test]
fn quick_returns_outrun_slow_dials() {
    let mut workload = Workload::new();
    workload.step(Step::Request);
    workload.step(Step::DialEnds(0));
    // Each request meets a busy connection, causes a dial if none is under way, and is served by
    // the return.
    for _ in 0..1_000 {
        workload.step(Step::Request);
        workload.step(Step::RequestEnds(0));
    }
    assert_eq!((workload.dials(), workload.peak), (2, 2));
    workload.step(Step::DialEnds(0));
    assert_eq!(workload.pool.idle(), 1);
}
