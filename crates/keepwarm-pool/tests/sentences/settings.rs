//! The meaning of each setting: at zero, at `None`, and on both sides of its limit.

use core::time::Duration;

use keepwarm_pool::{Capacity, CloseReason, Limit, Moment, Pool, RejectReason, Settings};

use crate::steps::*;

/// After 90 seconds, with no limit on counts.
#[test]
fn default_closes_by_age_only() {
    let settings = Settings::default();
    assert_eq!(settings.max_idle, Limit::NONE);
    assert_eq!(settings.max_connections, Limit::NONE);
    assert_eq!(settings.max_waiters, Limit::NONE);
    assert_eq!(settings.idle_timeout, Duration::from_secs(90));
}

#[test]
fn limit_has_room_below_its_count() {
    let two = Limit::at_most(2);
    assert!(two.has_room(0) && two.has_room(1));
    assert!(!two.has_room(2) && !two.has_room(3));
    assert_eq!(two.get(), Some(2));
    assert_eq!(Limit::from(2), two);
}

#[test]
fn limit_of_zero_allows_nothing() {
    assert!(!Limit::at_most(0).has_room(0));
    assert_eq!(Limit::at_most(0).get(), Some(0));
}

#[test]
fn no_limit_is_a_value() {
    assert!(Limit::NONE.has_room(usize::MAX));
    assert_eq!(Limit::NONE.get(), None);
    assert_eq!(Limit::at_most(u32::MAX), Limit::NONE);
}

#[test]
fn max_idle_allows_exactly_as_many() {
    let mut pool = Pool::new(idle(2));
    for lease in leases(&mut pool, 3) {
        pool.returned(lease, START);
    }
    assert_eq!(closes(&mut pool).1, CloseReason::IdleLimit);
    silent(&mut pool);
    assert_eq!(pool.idle(), 2);
}

/// The limit does not matter while a request waits.
#[test]
fn max_idle_is_ignored_while_waiting() {
    let mut pool = Pool::new(Settings { max_connections: Limit::at_most(1), ..idle(0) });
    let lease = lease(&mut pool);
    let waiter = pool.checkout(START);
    pool.returned(lease, START);
    assert_eq!(assigns(&mut pool).waiter, waiter);
}

#[test]
fn max_idle_of_zero_keeps_none() {
    let mut pool = Pool::new(idle(0));
    let lease = lease(&mut pool);
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::IdleLimit);
    assert_eq!(pool.idle(), 0);
}

#[test]
fn max_idle_of_none_keeps_all() {
    let mut pool = Pool::new(unlimited());
    assert_eq!(idles(&mut pool, 50).len(), pool.idle());
}

#[test]
fn max_connections_counts_those_being_dialled() {
    let mut pool = Pool::new(connections(2));
    let _active = lease(&mut pool);
    pool.checkout(START);
    let _permit = dials(&mut pool);
    pool.checkout(START);
    silent(&mut pool);
    assert_eq!((pool.active(), pool.dialing(), pool.waiting()), (1, 1, 2));
}

#[test]
fn max_connections_counts_an_inspected_connection() {
    let mut pool = Pool::new(connections(1));
    let connection = idles(&mut pool, 1)[0];
    let _lease = pool.inspect(connection, START).expect("it is idle");
    pool.checkout(START);
    silent(&mut pool);
}

/// Until they end.
#[test]
fn max_connections_counts_aborted_dials() {
    let mut pool = Pool::new(connections(1));
    pool.checkout(START);
    let permit = dials(&mut pool);
    pool.shut_down(START);
    assert_eq!(pool.dialing(), 1);
    pool.dial_failed(permit, START);
    assert_eq!(pool.dialing(), 0);
}

#[test]
fn requests_beyond_max_connections_wait() {
    let mut pool = Pool::new(connections(1));
    let _lease = lease(&mut pool);
    for _ in 0..9 {
        pool.checkout(START);
    }
    silent(&mut pool);
    assert_eq!(pool.waiting(), 9);
}

#[test]
fn max_connections_zero_serves_none() {
    let mut pool = Pool::new(connections(0));
    pool.checkout(START);
    pool.tick(at(1));
    silent(&mut pool);
    assert_eq!((pool.waiting(), pool.dialing()), (1, 0));
    let mut pool = Pool::new(waiters(0, 0));
    pool.checkout(START);
    assert_eq!(rejects(&mut pool).1, RejectReason::TooManyWaiters);
}

#[test]
fn max_connections_none_always_dials() {
    let mut pool = Pool::new(unlimited());
    assert_eq!(leases(&mut pool, 50).len(), pool.active());
}

#[test]
fn max_waiters_excludes_waiters_with_dial() {
    let mut pool = Pool::new(waiters(2, 1));
    pool.checkout(START);
    let _permit = dials(&mut pool);
    pool.checkout(START);
    pool.checkout(START);
    silent(&mut pool);
    let next = pool.checkout(START);
    assert_eq!(rejects(&mut pool), (next, RejectReason::TooManyWaiters));
    assert_eq!(pool.waiting(), 3);
}

#[test]
fn max_waiters_has_room_again() {
    let mut pool = Pool::new(waiters(1, 1));
    let _lease = lease(&mut pool);
    let queued = pool.checkout(START);
    pool.checkout(START);
    rejects(&mut pool);
    pool.cancel(queued, START);
    pool.checkout(START);
    silent(&mut pool);
    assert_eq!(pool.waiting(), 1);
}

/// A checkout is rejected if neither an idle connection nor a dial can serve it.
#[test]
fn max_waiters_zero_rejects_the_unservable() {
    let mut pool = Pool::new(waiters(0, 1));
    // A dial can.
    let gone = pool.checkout(START);
    let permit = dials(&mut pool);
    // The same dial can again, once the one who caused it is gone.
    pool.cancel(gone, START);
    pool.checkout(START);
    silent(&mut pool);
    // Not for two.
    pool.checkout(START);
    assert_eq!(rejects(&mut pool).1, RejectReason::TooManyWaiters);
    // An idle connection can.
    pool.dialed(permit, Capacity::Exclusive, START);
    let lease = assigns(&mut pool).lease;
    pool.returned(lease, START);
    pool.checkout(START);
    assigns(&mut pool);
}

#[test]
fn max_waiters_of_none_queues_all() {
    let mut pool = Pool::new(connections(1));
    for _ in 0..100 {
        pool.checkout(START);
    }
    assert_eq!((pool.waiting(), pool.counts().rejected()), (100, 0));
}

#[test]
fn max_exchanges_closes_after_as_many() {
    let mut pool = Pool::new(exchanges(3));
    let mut lease = lease(&mut pool);
    for served in 1..3 {
        pool.returned(lease, START);
        pool.checkout(START);
        let assigned = assigns(&mut pool);
        assert_eq!(assigned.exchanges, served);
        lease = assigned.lease;
    }
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::ExchangeLimit);
    silent(&mut pool);
}

/// The waiter gets a dial.
#[test]
fn max_exchanges_holds_while_waiting() {
    let settings = Settings { max_connections: Limit::at_most(1), ..exchanges(1) };
    let mut pool = Pool::new(settings);
    let lease = lease(&mut pool);
    let waiter = pool.checkout(START);
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::ExchangeLimit);
    let permit = dials(&mut pool);
    silent(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!(assigns(&mut pool).waiter, waiter);
}

/// No inspection and no unused lease.
#[test]
fn max_exchanges_counts_served_exchanges_only() {
    let mut pool = Pool::new(exchanges(1));
    let lease = lease(&mut pool);
    let connection = lease.connection();
    pool.returned_unused(lease, START);
    for _ in 0..3 {
        let lease = pool.inspect(connection, START).expect("it is idle");
        pool.returned_unused(lease, START);
    }
    silent(&mut pool);
    assert_eq!(pool.idle(), 1);
}

#[test]
fn max_exchanges_zero_counts_as_one() {
    let mut pool = Pool::new(exchanges(0));
    let lease = lease(&mut pool);
    pool.returned_unused(lease, START);
    pool.checkout(START);
    let lease = assigns(&mut pool).lease;
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::ExchangeLimit);
}

#[test]
fn max_exchanges_of_none_never_closes() {
    let mut pool = Pool::new(unlimited());
    let mut lease = lease(&mut pool);
    for _ in 0..1_000 {
        pool.returned(lease, START);
        pool.checkout(START);
        lease = assigns(&mut pool).lease;
    }
    pool.returned(lease, START);
    silent(&mut pool);
}

#[test]
fn idle_timeout_closes_exactly_then() {
    let mut pool = Pool::new(expiring_after(10));
    let connection = idles(&mut pool, 1)[0];
    pool.tick(at(9));
    silent(&mut pool);
    pool.tick(at(10));
    let (closed, reason, _) = closes(&mut pool);
    assert_eq!((closed, reason), (connection, CloseReason::IdleTimeout));
}

/// Also without a tick.
#[test]
fn expired_connection_is_not_assigned() {
    let mut pool = Pool::new(expiring_after(10));
    idles(&mut pool, 1);
    pool.checkout(at(10));
    assert_eq!(closes(&mut pool).1, CloseReason::IdleTimeout);
    let _permit = dials(&mut pool);
    silent(&mut pool);
}

/// Until the moment before.
#[test]
fn connection_is_assigned_until_expiry() {
    let mut pool = Pool::new(expiring_after(10));
    idles(&mut pool, 1);
    pool.checkout(at(9));
    assert_eq!(assigns(&mut pool).idle_since, Some(START));
}

#[test]
fn expired_connection_counts_under_no_limit() {
    let mut pool = Pool::new(Settings { max_idle: Limit::at_most(1), ..expiring_after(10) });
    let mut leases = leases(&mut pool, 2);
    let (second, first) = (leases.remove(1), leases.remove(0));
    let expired = first.connection();
    pool.returned(first, START);
    pool.returned(second, at(10));
    let (closed, reason, _) = closes(&mut pool);
    assert_eq!((closed, reason), (expired, CloseReason::IdleTimeout));
    silent(&mut pool);
    assert_eq!(pool.oldest_idle(), Some(at(10)));
}

#[test]
fn idle_timeout_max_is_for_ever() {
    let mut pool = Pool::new(unlimited());
    idles(&mut pool, 1);
    assert_eq!(pool.next_deadline(), Moment::NEVER);
    for late in [at(u64::MAX - 1), Moment::NEVER] {
        pool.tick(late);
        silent(&mut pool);
    }
    pool.checkout(Moment::NEVER);
    assigns(&mut pool);
}

/// A connection is closed as soon as no request waits.
#[test]
fn idle_timeout_zero_closes_at_once() {
    let mut pool = Pool::new(Settings { max_connections: Limit::at_most(1), ..expiring_after(0) });
    let lease = lease(&mut pool);
    pool.checkout(START);
    pool.returned(lease, START);
    let lease = assigns(&mut pool).lease;
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::IdleTimeout);
    assert_eq!(pool.idle(), 0);
}

#[test]
fn limits_come_from_any_count() {
    assert_eq!(Limit::from(7), Limit::at_most(7));
    assert_eq!(Limit::from(7_usize), Limit::at_most(7));
    assert_eq!(Limit::from(usize::MAX), Limit::NONE);
    assert_eq!(Limit::from(-7), Limit::at_most(0));
}

#[test]
fn jitter_bounds_what_a_lifetime_loses() {
    let span = Duration::from_secs(100);
    for (jitter, least) in [(None, 90), (Some(0), 100), (Some(50), 50), (Some(500), 0)] {
        let lifetime_jitter = jitter.map(Duration::from_secs);
        let settings = Settings { max_lifetime: span, lifetime_jitter, ..unlimited() };
        let lifetimes: Vec<Duration> = (1..=200).map(|nth| settings.lifetime_of(nth)).collect();
        let least = Duration::from_secs(least);
        assert!(lifetimes.iter().all(|lived| (least..=span).contains(lived)), "{jitter:?}");
        let shortest = lifetimes.into_iter().min().expect("some");
        assert!(shortest <= least + (span - least) / 20, "all of it is used: {jitter:?}");
    }
}

#[test]
fn unkept_connection_never_becomes_idle() {
    let mut pool = Pool::new(Settings { keeps_connections: false, ..unlimited() });
    let waiter = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.cancel(waiter, START);
    pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!(closes(&mut pool).1, CloseReason::NotPersistent);
    assert_eq!(pool.idle(), 0);
}
