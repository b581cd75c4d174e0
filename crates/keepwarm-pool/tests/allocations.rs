//! A hit allocates nothing. Counted at the allocator.
#![allow(unsafe_code, reason = "an allocator that counts is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use keepwarm_pool::{Capacity, Effect, Lease, Moment, Pool, Settings, Sharing};

thread_local! {
    /// Counts allocations of this thread alone: other tests run beside it.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to `System` with the arguments it came with, so a caller that
// keeps our contract keeps its contract too. The counter neither allocates (it is const-initialised and has no destructor)
// nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

fn allocations_in(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const ROUNDS: u64 = 10_000;

/// A pool in which as many connections as asked for have served a request and are idle.
fn warm_pool(connections: usize) -> Pool {
    let mut pool = Pool::new(Settings::default());
    for _ in 0..connections {
        pool.checkout(Moment::ZERO);
    }
    let mut permits = Vec::new();
    while let Some(effect) = pool.poll_effect() {
        match effect {
            Effect::Dial(permit) => permits.push(permit),
            other => panic!("{other:?}"),
        }
    }
    for permit in permits {
        pool.dialed(permit, Capacity::Exclusive, Moment::ZERO);
    }
    let leases: Vec<_> = (0..connections).map(|_| assigned(&mut pool)).collect();
    for lease in leases {
        pool.returned(lease, Moment::ZERO);
    }
    pool
}

fn assigned(pool: &mut Pool) -> Lease {
    match pool.poll_effect() {
        Some(Effect::Assign(assigned)) => assigned.lease,
        other => panic!("expected an assignment, not {other:?}"),
    }
}

#[test]
fn counting_counts() {
    // An optimised build leaves out a box that no one looks at.
    assert_eq!(allocations_in(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(allocations_in(|| ()), 0);
}

#[test]
fn hit_and_return_allocate_nothing() {
    let mut pool = warm_pool(4);
    let allocations = allocations_in(|| {
        for round in 0..ROUNDS {
            let now = Moment::from_nanos(round);
            pool.checkout(now);
            let lease = assigned(&mut pool);
            pool.returned(lease, now);
            assert!(pool.poll_effect().is_none());
        }
    });
    assert_eq!(allocations, 0);
    assert_eq!(pool.counts().reused, ROUNDS);
}

#[test]
fn stream_and_its_return_allocate_nothing() {
    let mut pool = Pool::new(Settings { sharing: Sharing::Always, ..Settings::default() });
    pool.checkout(Moment::ZERO);
    let Some(Effect::Dial(permit)) = pool.poll_effect() else { panic!("a dial") };
    pool.dialed(permit, Capacity::Shared { streams: 100 }, Moment::ZERO);
    let held = assigned(&mut pool);
    let round = |pool: &mut Pool| {
        let now = Moment::ZERO;
        pool.checkout(now);
        pool.checkout(now);
        let (one, other) = (assigned(pool), assigned(pool));
        pool.returned(one, now);
        pool.returned(other, now);
        assert!(pool.poll_effect().is_none());
    };
    round(&mut pool);
    assert_eq!(allocations_in(|| (0..ROUNDS).for_each(|_| round(&mut pool))), 0);
    pool.returned(held, Moment::ZERO);
    round(&mut pool);
    assert_eq!(allocations_in(|| (0..ROUNDS).for_each(|_| round(&mut pool))), 0);
}

#[test]
fn inspection_ticks_and_gauges_allocate_nothing() {
    let mut pool = warm_pool(4);
    pool.checkout(Moment::ZERO);
    let lease = assigned(&mut pool);
    let connection = lease.connection();
    pool.returned(lease, Moment::ZERO);
    let allocations = allocations_in(|| {
        for round in 0..ROUNDS {
            let now = Moment::from_nanos(round);
            let lease = pool.inspect(connection, now).expect("it is idle");
            pool.returned_unused(lease, now);
            pool.tick(now);
            assert!(!pool.next_deadline().is_never());
            assert_eq!(pool.idle() + pool.active(), 4);
        }
    });
    assert_eq!(allocations, 0);
}
