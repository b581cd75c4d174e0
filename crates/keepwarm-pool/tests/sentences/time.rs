//! Moments, deadlines, and a clock that is not the pool's.

use core::time::Duration;

use keepwarm_pool::{Capacity, CloseReason, Closer, Moment, Pool};

use crate::steps::*;

#[test]
fn moment_is_a_number_of_nanoseconds() {
    assert_eq!(Moment::ZERO.as_nanos(), 0);
    assert_eq!(Moment::from_nanos(7).as_nanos(), 7);
    assert!(Moment::from_nanos(7) < Moment::from_nanos(8));
}

#[test]
fn never_is_the_latest_moment() {
    assert!(Moment::NEVER > at(u64::MAX - 1));
    assert!(Moment::NEVER.is_never() && !Moment::ZERO.is_never());
    assert!(!at(u64::MAX - 1).is_never());
}

#[test]
fn moment_out_of_range_is_never() {
    assert_eq!(at(5).after(Duration::from_nanos(3)), at(8));
    assert!(at(5).after(Duration::from_nanos(u64::MAX)).is_never());
    assert!(Moment::ZERO.after(Duration::MAX).is_never());
    assert!(Moment::NEVER.after(Duration::ZERO).is_never());
}

#[test]
fn time_since_later_is_zero() {
    assert_eq!(at(8).since(at(5)), Duration::from_nanos(3));
    assert_eq!(at(5).since(at(8)), Duration::ZERO);
}

#[test]
fn time_never_runs_backwards() {
    let mut pool = Pool::new(expiring_after(10));
    let lease = lease(&mut pool);
    pool.tick(at(100));
    // A thread that read its clock before it got the lock.
    pool.returned(lease, at(3));
    assert_eq!(pool.oldest_idle(), Some(at(100)));
    assert_eq!(pool.next_deadline(), at(110));
    pool.tick(at(4));
    silent(&mut pool);
}

#[test]
fn earlier_input_still_closes_expired() {
    let mut pool = Pool::new(expiring_after(10));
    let mut leases = leases(&mut pool, 2);
    pool.returned(leases.remove(0), START);
    pool.closed(leases.remove(0), CloseReason::NotPersistent, Closer::Client, at(10));
    assert_eq!(closes(&mut pool).1, CloseReason::NotPersistent);
    pool.checkout(at(2));
    assert_eq!(closes(&mut pool).1, CloseReason::IdleTimeout);
}

type Input = fn(&mut Pool, Moment);

#[test]
fn every_input_moves_time() {
    // Each leaves no request waiting.
    let inputs: [(&str, Input); 10] = [
        ("checkout", |pool, now| {
            let waiter = pool.checkout(now);
            pool.cancel(waiter, START);
        }),
        ("cancel", |pool, now| {
            let waiter = pool.checkout(START);
            pool.cancel(waiter, now);
        }),
        ("dialed", |pool, now| {
            pool.checkout(START);
            let permit = dials(pool);
            pool.dialed(permit, Capacity::Exclusive, now);
        }),
        ("dial_failed", |pool, now| {
            pool.checkout(START);
            let permit = dials(pool);
            pool.dial_failed(permit, now);
        }),
        ("returned", |pool, now| {
            let lease = lease(pool);
            pool.returned(lease, now);
        }),
        ("returned_unused", |pool, now| {
            let lease = lease(pool);
            pool.returned_unused(lease, now);
        }),
        ("closed", |pool, now| {
            let lease = lease(pool);
            pool.closed(lease, CloseReason::Abandoned, Closer::Client, now);
        }),
        ("inspect", |pool, now| {
            let connection = lease(pool).connection();
            assert!(pool.inspect(connection, now).is_none());
        }),
        ("evict_oldest", |pool, now| assert!(!pool.evict_oldest(CloseReason::TotalIdleLimit, now))),
        ("tick", Pool::tick),
    ];
    for (name, input) in inputs {
        let mut pool = Pool::new(unlimited());
        let held = lease(&mut pool);
        input(&mut pool, at(50));
        pool.returned(held, START);
        assert_eq!(pool.oldest_idle(), Some(at(50)), "{name}");
    }
    // One that dismisses the connections that are open shows it on the next one.
    let mut pool = Pool::new(unlimited());
    pool.close_idle(at(50));
    idles(&mut pool, 1);
    assert_eq!(pool.oldest_idle(), Some(at(50)));
}

#[test]
fn tick_closes_expired_oldest_first() {
    let mut pool = Pool::new(expiring_after(10));
    let idle = idles(&mut pool, 3);
    pool.tick(at(11));
    for connection in &idle[..2] {
        let expected = (*connection, CloseReason::IdleTimeout, Closer::Client);
        assert_eq!(closes(&mut pool), expected);
    }
    silent(&mut pool);
    assert_eq!((pool.idle(), pool.oldest_idle()), (1, Some(at(2))));
}

#[test]
fn next_deadline_is_first_expiry() {
    let mut pool = Pool::new(expiring_after(10));
    assert_eq!(pool.next_deadline(), Moment::NEVER);
    idles(&mut pool, 3);
    assert_eq!(pool.next_deadline(), at(10));
}

#[test]
fn next_deadline_moves_in_both_directions() {
    let mut pool = Pool::new(expiring_after(10));
    idles(&mut pool, 2);
    // Later: the oldest is gone.
    pool.evict_oldest(CloseReason::TotalIdleLimit, at(5));
    closes(&mut pool);
    assert_eq!(pool.next_deadline(), at(11));
    // To never: none is left.
    pool.checkout(at(5));
    let lease = assigns(&mut pool).lease;
    assert_eq!(pool.next_deadline(), Moment::NEVER);
    // Earlier: one is back.
    pool.returned(lease, at(6));
    assert_eq!(pool.next_deadline(), at(16));
}

#[test]
fn tick_at_deadline_changes_something() {
    let mut pool = Pool::new(expiring_after(10));
    idles(&mut pool, 3);
    for left in (0..3).rev() {
        pool.tick(pool.next_deadline());
        closes(&mut pool);
        silent(&mut pool);
        assert_eq!(pool.idle(), left);
    }
    assert_eq!(pool.next_deadline(), Moment::NEVER);
}
