//! A waiter's life: it ends once, and is never overtaken.

use keepwarm_pool::{Capacity, CloseReason, Closer, Pool, RejectReason};

use crate::steps::*;

#[test]
fn checkout_without_idle_waits_and_dials() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    let _permit = dials(&mut pool);
    silent(&mut pool);
    assert_eq!((pool.waiting(), pool.dialing()), (1, 1));
}

#[test]
fn checkout_has_exactly_one_answer() {
    let mut pool = Pool::new(unlimited());
    let waiter = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    let assigned = assigns(&mut pool);
    assert_eq!(assigned.waiter, waiter);
    pool.returned(assigned.lease, START);
    pool.shut_down(START);
    closes(&mut pool);
    silent(&mut pool);
}

#[test]
fn later_checkouts_have_greater_ids() {
    let mut pool = Pool::new(waiters(0, 1));
    let ids = [START; 4].map(|now| pool.checkout(now));
    assert!(ids.is_sorted());
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn waiters_are_served_in_order() {
    let mut pool = Pool::new(connections(1));
    let mut lease = lease(&mut pool);
    let queue = [START; 4].map(|now| pool.checkout(now));
    for waiter in queue {
        pool.returned(lease, START);
        let assigned = assigns(&mut pool);
        assert_eq!(assigned.waiter, waiter);
        lease = assigned.lease;
    }
}

#[test]
fn new_checkout_overtakes_no_waiter() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    let waiter = pool.checkout(START);
    pool.returned(lease, START);
    let barging = pool.checkout(START);
    let assigned = assigns(&mut pool);
    assert_eq!(assigned.waiter, waiter);
    assert!(pool.is_waiting(barging));
    silent(&mut pool);
}

#[test]
fn checkout_at_limit_waits_without_dial() {
    let mut pool = Pool::new(connections(1));
    let _lease = lease(&mut pool);
    pool.checkout(START);
    silent(&mut pool);
    assert_eq!((pool.waiting(), pool.dialing()), (1, 0));
}

#[test]
fn cancelled_waiter_emits_nothing() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    let waiter = pool.checkout(START);
    assert!(pool.cancel(waiter, START));
    silent(&mut pool);
    assert_eq!(pool.waiting(), 0);
    pool.returned(lease, START);
    silent(&mut pool);
    assert_eq!(pool.idle(), 1);
}

/// A late cancel changes nothing.
#[test]
fn cancel_after_the_end_is_false() {
    let mut pool = Pool::new(unlimited());
    let assigned = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    let lease = assigns(&mut pool).lease;
    let cancelled = pool.checkout(START);
    let _permit = dials(&mut pool);
    assert!(pool.cancel(cancelled, START));

    let before = *pool.counts();
    assert!(!pool.cancel(assigned, START));
    assert!(!pool.cancel(cancelled, START));
    silent(&mut pool);
    assert_eq!(*pool.counts(), before);
    pool.returned_unused(lease, START);
    assert_eq!(pool.idle(), 1);
}

#[test]
fn is_waiting_until_answered_or_cancelled() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    let (served, cancelled) = (pool.checkout(START), pool.checkout(START));
    assert!(pool.is_waiting(served) && pool.is_waiting(cancelled));
    pool.returned(lease, START);
    assert!(!pool.is_waiting(served));
    pool.cancel(cancelled, START);
    assert!(!pool.is_waiting(cancelled));
}

#[test]
fn cancelled_waiters_dial_serves_next() {
    let mut pool = Pool::new(unlimited());
    let gone = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.cancel(gone, START);
    let next = pool.checkout(START);
    // One dial for one waiter: the one under way.
    silent(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!(assigns(&mut pool).waiter, next);
}

/// Without a next waiter.
#[test]
fn cancelled_waiters_dial_becomes_idle() {
    let mut pool = Pool::new(unlimited());
    let gone = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.cancel(gone, START);
    pool.dialed(permit, Capacity::Exclusive, at(7));
    silent(&mut pool);
    assert_eq!(pool.oldest_idle(), Some(at(7)));
}

/// The first of them.
#[test]
fn waiter_takes_return_or_dial() {
    let mut pool = Pool::new(unlimited());
    let held = lease(&mut pool);
    let connection = held.connection();
    let waiter = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.returned(held, START);
    let assigned = assigns(&mut pool);
    assert_eq!(assigned.waiter, waiter);
    assert_eq!(assigned.lease.connection(), connection);
    // The dial it caused is a surplus now.
    pool.dialed(permit, Capacity::Exclusive, START);
    silent(&mut pool);
    assert_eq!((pool.active(), pool.idle()), (1, 1));
}

#[test]
fn expiry_beneath_waiters_strands_none() {
    let mut pool = Pool::new(keepwarm_pool::Settings {
        max_connections: keepwarm_pool::Limit::at_most(1),
        ..expiring_after(10)
    });
    idles(&mut pool, 1);
    pool.checkout(at(10));
    let (_, reason, _) = closes(&mut pool);
    assert_eq!(reason, CloseReason::IdleTimeout);
    let _permit = dials(&mut pool);
    silent(&mut pool);
}

#[test]
fn dials_serve_queue_after_breaks() {
    let mut pool = Pool::new(connections(2));
    let leases = leases(&mut pool, 2);
    let queue = [START; 2].map(|now| pool.checkout(now));
    for (lease, waiter) in leases.into_iter().zip(queue) {
        pool.closed(lease, CloseReason::ExchangeFailed, Closer::Server, START);
        closes(&mut pool);
        let permit = dials(&mut pool);
        pool.dialed(permit, Capacity::Exclusive, START);
        assert_eq!(assigns(&mut pool).waiter, waiter);
    }
    silent(&mut pool);
}

#[test]
fn rejected_waiter_has_ended() {
    let mut pool = Pool::new(waiters(0, 1));
    let _lease = lease(&mut pool);
    let waiter = pool.checkout(START);
    assert_eq!(rejects(&mut pool), (waiter, RejectReason::TooManyWaiters));
    assert!(!pool.is_waiting(waiter));
    assert!(!pool.cancel(waiter, START));
}
