//! A connection's life: dialed, assigned, returned, idle, closed.

use keepwarm_pool::{Capacity, CloseReason, Closer, Effect, Pool};

use crate::steps::*;

#[test]
fn new_pool_has_no_connections() {
    let mut pool = Pool::new(unlimited());
    assert_eq!((pool.dialing(), pool.active(), pool.idle()), (0, 0, 0));
    silent(&mut pool);
}

/// Dialing, active, idle, active, closed.
#[test]
fn connection_passes_through_all_states() {
    let mut pool = Pool::new(unlimited());
    let gauges = |pool: &Pool| (pool.dialing(), pool.active(), pool.idle());
    pool.checkout(START);
    let permit = dials(&mut pool);
    assert_eq!(gauges(&pool), (1, 0, 0));
    pool.dialed(permit, Capacity::Exclusive, START);
    let lease = assigns(&mut pool).lease;
    assert_eq!(gauges(&pool), (0, 1, 0));
    pool.returned(lease, START);
    assert_eq!(gauges(&pool), (0, 0, 1));
    pool.checkout(START);
    let lease = assigns(&mut pool).lease;
    assert_eq!(gauges(&pool), (0, 1, 0));
    pool.closed(lease, CloseReason::NotPersistent, Closer::Client, START);
    closes(&mut pool);
    assert_eq!(gauges(&pool), (0, 0, 0));
    silent(&mut pool);
}

#[test]
fn newest_idle_connection_answers_at_once() {
    let mut pool = Pool::new(unlimited());
    let idle = idles(&mut pool, 3);
    for newest in idle.into_iter().rev() {
        pool.checkout(at(9));
        assert_eq!(assigns(&mut pool).lease.connection(), newest);
        silent(&mut pool);
    }
}

/// And not the last that was opened.
#[test]
fn newest_is_last_to_become_idle() {
    let mut pool = Pool::new(unlimited());
    let mut leases = leases(&mut pool, 2);
    let (second, first) = (leases.remove(1), leases.remove(0));
    let newest = first.connection();
    pool.returned(second, START);
    pool.returned(first, START);
    pool.checkout(START);
    assert_eq!(assigns(&mut pool).lease.connection(), newest);
}

#[test]
fn assignment_tells_exchanges_and_idle_time() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, at(1));
    let fresh = assigns(&mut pool);
    assert_eq!((fresh.exchanges, fresh.idle_since), (0, None));
    assert!(!fresh.reused());

    pool.returned(fresh.lease, at(5));
    pool.checkout(at(8));
    let hit = assigns(&mut pool);
    assert_eq!((hit.exchanges, hit.idle_since), (1, Some(at(5))));
    assert!(hit.reused());
}

#[test]
fn direct_hand_over_skips_idle() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    pool.checkout(START);
    pool.returned(lease, at(5));
    let handed_on = assigns(&mut pool);
    assert_eq!((handed_on.exchanges, handed_on.idle_since), (1, None));
}

#[test]
fn oldest_waiter_gets_returned_connection() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    let oldest = pool.checkout(START);
    pool.checkout(START);
    pool.returned(lease, START);
    assert_eq!(assigns(&mut pool).waiter, oldest);
    silent(&mut pool);
}

#[test]
fn returned_connection_without_waiters_becomes_idle() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    pool.returned(lease, at(3));
    silent(&mut pool);
    assert_eq!((pool.idle(), pool.oldest_idle()), (1, Some(at(3))));
}

#[test]
fn idle_limit_closes_a_return() {
    let mut pool = Pool::new(idle(1));
    let mut leases = leases(&mut pool, 2);
    let kept = leases.remove(0);
    let closed = leases.remove(0);
    let connection = closed.connection();
    pool.returned(kept, START);
    silent(&mut pool);
    pool.returned(closed, START);
    let expected = (connection, CloseReason::IdleLimit, Closer::Client);
    assert_eq!(closes(&mut pool), expected);
    assert_eq!(pool.idle(), 1);
}

#[test]
fn closed_connection_keeps_reason_and_side() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    let connection = lease.connection();
    pool.closed(lease, CloseReason::ExchangeFailed, Closer::Server, START);
    let expected = (connection, CloseReason::ExchangeFailed, Closer::Server);
    assert_eq!(closes(&mut pool), expected);
    silent(&mut pool);
    assert_eq!(pool.active(), 0);
}

#[test]
fn closed_room_serves_a_waiter() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    pool.checkout(START);
    silent(&mut pool);
    pool.closed(lease, CloseReason::ExchangeFailed, Closer::Server, START);
    closes(&mut pool);
    let _permit = dials(&mut pool);
    silent(&mut pool);
}

#[test]
fn closed_room_is_left_without_waiter() {
    let mut pool = Pool::new(connections(1));
    let lease = lease(&mut pool);
    pool.closed(lease, CloseReason::ExchangeFailed, Closer::Server, START);
    closes(&mut pool);
    silent(&mut pool);
}

#[test]
fn eviction_closes_the_oldest_idle() {
    let mut pool = Pool::new(unlimited());
    let idle = idles(&mut pool, 2);
    assert!(pool.evict_oldest(CloseReason::TotalIdleLimit, at(9)));
    let expected = (idle[0], CloseReason::TotalIdleLimit, Closer::Client);
    assert_eq!(closes(&mut pool), expected);
    silent(&mut pool);
    assert_eq!(pool.idle(), 1);
}

#[test]
fn eviction_without_idle_closes_nothing() {
    let mut pool = Pool::new(unlimited());
    let _lease = lease(&mut pool);
    assert!(!pool.evict_oldest(CloseReason::TotalIdleLimit, START));
    silent(&mut pool);
}

#[test]
fn index_is_reused_id_is_not() {
    let mut pool = Pool::new(unlimited());
    let first = lease(&mut pool);
    let gone = first.connection();
    pool.closed(first, CloseReason::NotPersistent, Closer::Client, START);
    closes(&mut pool);
    let next = lease(&mut pool).connection();
    assert_ne!(next, gone);
    assert_eq!(next.index(), gone.index());
}

#[test]
fn reused_index_has_served_nothing() {
    let mut pool = Pool::new(unlimited());
    idles(&mut pool, 1);
    pool.evict_oldest(CloseReason::TotalIdleLimit, START);
    closes(&mut pool);
    pool.checkout(START);
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    let assigned = assigns(&mut pool);
    assert_eq!((assigned.lease.connection().index(), assigned.exchanges), (0, 0));
}

#[test]
fn indices_stay_below_the_peak() {
    let mut pool = Pool::new(unlimited());
    for _ in 0..5 {
        let leases = leases(&mut pool, 3);
        let mut indices: Vec<_> = leases.iter().map(|l| l.connection().index()).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
        for lease in leases {
            pool.closed(lease, CloseReason::NotPersistent, Closer::Client, START);
            closes(&mut pool);
        }
    }
}

/// And together.
#[test]
fn effects_may_be_performed_late() {
    let mut pool = Pool::new(unlimited());
    let (first, second) = (pool.checkout(START), pool.checkout(START));
    assert_eq!((pool.waiting(), pool.dialing()), (2, 2));
    assert!(pool.cancel(first, START));
    let permit = dials(&mut pool);
    let _other = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    pool.shut_down(START);
    assert_eq!(assigns(&mut pool).waiter, second);
    assert!(matches!(pool.poll_effect(), Some(Effect::AbortDial(_))));
    silent(&mut pool);
}
