//! Dials belong to the pool, not to the request that caused them.

use keepwarm_pool::{Capacity, CloseReason, Closer, Pool, RejectReason};

use crate::steps::*;

/// Also if another one caused it.
#[test]
fn oldest_waiter_gets_the_dial() {
    let mut pool = Pool::new(unlimited());
    let (first, second) = (pool.checkout(START), pool.checkout(START));
    let (slow, fast) = (dials(&mut pool), dials(&mut pool));
    pool.dialed(fast, Capacity::Exclusive, START);
    assert_eq!(assigns(&mut pool).waiter, first);
    pool.dialed(slow, Capacity::Exclusive, START);
    assert_eq!(assigns(&mut pool).waiter, second);
}

#[test]
fn dialed_returns_the_effects_id() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    let permit = dials(&mut pool);
    let connection = pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!(assigns(&mut pool).lease.connection(), connection);
}

#[test]
fn surplus_dial_obeys_idle_limit() {
    let mut pool = Pool::new(idle(1));
    let waiters = [START; 2].map(|now| pool.checkout(now));
    let (first, second) = (dials(&mut pool), dials(&mut pool));
    for waiter in waiters {
        pool.cancel(waiter, START);
    }
    pool.dialed(first, Capacity::Exclusive, START);
    silent(&mut pool);
    let surplus = pool.dialed(second, Capacity::Exclusive, START);
    let expected = (surplus, CloseReason::IdleLimit, Closer::Client);
    assert_eq!(closes(&mut pool), expected);
}

#[test]
fn dials_never_outnumber_waiters_at_start() {
    let mut pool = Pool::new(unlimited());
    let gone = pool.checkout(START);
    let _permit = dials(&mut pool);
    pool.cancel(gone, START);
    pool.checkout(START);
    silent(&mut pool);
    pool.checkout(START);
    let _second = dials(&mut pool);
    silent(&mut pool);
    assert_eq!((pool.waiting(), pool.dialing()), (2, 2));
}

#[test]
fn failed_dial_rejects_the_oldest_waiter() {
    let mut pool = Pool::new(unlimited());
    let (oldest, other) = (pool.checkout(START), pool.checkout(START));
    let (_slow, fails) = (dials(&mut pool), dials(&mut pool));
    pool.dial_failed(fails, START);
    assert_eq!(rejects(&mut pool), (oldest, RejectReason::DialFailed));
    silent(&mut pool);
    assert!(pool.is_waiting(other));
}

/// While every waiter has a dial none is rejected.
#[test]
fn failed_dial_spares_covered_waiters() {
    let mut pool = Pool::new(unlimited());
    let held = lease(&mut pool);
    pool.checkout(START);
    let waiter = pool.checkout(START);
    let (fails, _other) = (dials(&mut pool), dials(&mut pool));
    pool.returned(held, START);
    assigns(&mut pool);
    pool.dial_failed(fails, START);
    silent(&mut pool);
    assert!(pool.is_waiting(waiter));
}

#[test]
fn failed_dial_without_waiters_rejects_none() {
    let mut pool = Pool::new(unlimited());
    let gone = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.cancel(gone, START);
    pool.dial_failed(permit, START);
    silent(&mut pool);
    assert_eq!((pool.dialing(), pool.counts().rejected()), (0, 0));
}

#[test]
fn failed_dials_room_is_used() {
    let mut pool = Pool::new(connections(1));
    let oldest = pool.checkout(START);
    let permit = dials(&mut pool);
    let next = pool.checkout(START);
    silent(&mut pool);
    pool.dial_failed(permit, START);
    assert_eq!(rejects(&mut pool), (oldest, RejectReason::DialFailed));
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!(assigns(&mut pool).waiter, next);
}

#[test]
fn permit_names_its_own_dial() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    pool.checkout(START);
    let (first, second) = (dials(&mut pool), dials(&mut pool));
    assert_ne!(first.dial(), second.dial());
}

#[test]
fn dropped_permit_is_capacity_lost() {
    let mut pool = Pool::new(connections(1));
    pool.checkout(START);
    drop(dials(&mut pool));
    pool.checkout(START);
    silent(&mut pool);
    assert_eq!(pool.dialing(), 1);
}

#[test]
fn dropped_lease_is_a_connection_lost() {
    let mut pool = Pool::new(connections(1));
    drop(lease(&mut pool));
    pool.checkout(START);
    silent(&mut pool);
    assert_eq!(pool.active(), 1);
}
