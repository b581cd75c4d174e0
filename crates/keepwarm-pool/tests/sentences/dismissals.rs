//! All connections that are open are told to go.

use keepwarm_pool::{Capacity, CloseReason, Closer, Pool};

use crate::steps::*;

/// At once.
#[test]
fn idle_connections_close_oldest_first() {
    let mut pool = Pool::new(unlimited());
    let idle = idles(&mut pool, 3);
    pool.close_idle(at(5));
    for connection in idle {
        assert_eq!(closes(&mut pool), (connection, CloseReason::CloseIdle, Closer::Client));
    }
    silent(&mut pool);
    assert_eq!(pool.idle(), 0);
}

/// After an exchange or unused.
#[test]
fn active_connections_close_on_return() {
    let mut pool = Pool::new(unlimited());
    let mut leases = leases(&mut pool, 2);
    pool.close_idle(START);
    silent(&mut pool);
    pool.returned(leases.remove(0), START);
    assert_eq!(closes(&mut pool).1, CloseReason::CloseIdle);
    pool.returned_unused(leases.remove(0), START);
    assert_eq!(closes(&mut pool).1, CloseReason::CloseIdle);
    assert_eq!(pool.idle(), 0);
}

#[test]
fn drivers_reason_for_dismissed_connection_stands() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    pool.close_idle(START);
    pool.closed(lease, CloseReason::Abandoned, Closer::Client, START);
    assert_eq!(closes(&mut pool).1, CloseReason::Abandoned);
}

#[test]
fn dismissed_room_serves_a_waiter() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    let waiter = pool.checkout(START);
    pool.close_idle(START);
    silent(&mut pool);
    assert!(pool.is_waiting(waiter));
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::CloseIdle);
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!(assigns(&mut pool).waiter, waiter);
}

/// Connections of dials under way, and of later ones.
#[test]
fn later_connections_are_kept() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    let permit = dials(&mut pool);
    pool.close_idle(START);
    pool.dialed(permit, Capacity::Exclusive, START);
    let before = assigns(&mut pool).lease;
    let after = lease(&mut pool);
    pool.returned(before, START);
    pool.returned(after, START);
    silent(&mut pool);
    assert_eq!(pool.idle(), 2);
}

#[test]
fn reused_index_is_not_dismissed() {
    let mut pool = Pool::new(unlimited());
    let old = idles(&mut pool, 1)[0];
    pool.close_idle(START);
    closes(&mut pool);
    let lease = lease(&mut pool);
    assert_eq!(lease.connection().index(), old.index());
    pool.returned(lease, START);
    silent(&mut pool);
}

#[test]
fn after_shutdown_dismissal_does_nothing() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    pool.shut_down(START);
    pool.close_idle(START);
    silent(&mut pool);
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::ShutDown);
}
