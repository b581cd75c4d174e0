//! Closed lists: why a connection was closed, by whom, and why a checkout was rejected.

use std::collections::BTreeSet;

use keepwarm_pool::{Advice, CloseReason, Closer, Pool, RejectReason};

use crate::steps::*;

#[test]
fn names_of_reasons_are_stable() {
    let names = CloseReason::ALL.map(CloseReason::name);
    let stable = [
        "idle_limit",
        "total_idle_limit",
        "total_limit",
        "idle_timeout",
        "shut_down",
        "close_idle",
        "exchange_limit",
        "lifetime",
        "server_limit",
        "learned_timeout",
        "distrusted",
        "address_gone",
        "suspect",
        "go_away",
        "ping_timeout",
        "reset_budget",
        "stream_ids",
        "peer_closed_idle",
        "stray_bytes",
        "not_persistent",
        "exchange_failed",
        "abandoned",
        "upload_unfinished",
    ];
    assert_eq!(names, stable);
    assert_eq!(Closer::ALL.map(Closer::name), ["client", "server"]);
}

#[test]
fn lists_hold_each_reason_once() {
    assert_eq!(BTreeSet::from(CloseReason::ALL).len(), CloseReason::ALL.len());
    assert_eq!(BTreeSet::from(Closer::ALL).len(), Closer::ALL.len());
    assert_eq!(BTreeSet::from(RejectReason::ALL).len(), RejectReason::ALL.len());
}

#[test]
fn every_drivers_reason_counts_alone() {
    for reason in CloseReason::ALL {
        for closer in Closer::ALL {
            let mut pool = Pool::new(unlimited());
            let lease = lease(&mut pool);
            let connection = lease.connection();
            pool.closed(lease, reason, closer, START);
            assert_eq!(closes(&mut pool), (connection, reason, closer));
            let counts = pool.counts();
            assert_eq!((counts.closed(), counts.closed_for(reason, closer)), (1, 1));
            assert_eq!(counts.closed_by(closer), 1);
        }
    }
}

/// Healthy, while no request waits.
#[test]
fn idle_limit_is_a_surplus_return() {
    let mut pool = Pool::new(idle(0));
    let lease = lease(&mut pool);
    pool.returned(lease, START);
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::IdleLimit, Closer::Client));
}

#[test]
fn total_idle_limit_is_an_eviction() {
    let mut pool = Pool::new(unlimited());
    idles(&mut pool, 1);
    pool.evict_oldest(CloseReason::TotalIdleLimit, START);
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::TotalIdleLimit, Closer::Client));
}

#[test]
fn idle_timeout_is_an_expiry() {
    let mut pool = Pool::new(expiring_after(1));
    idles(&mut pool, 1);
    pool.tick(at(1));
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::IdleTimeout, Closer::Client));
}

#[test]
fn shut_down_is_pool_end() {
    let mut pool = Pool::new(unlimited());
    idles(&mut pool, 1);
    pool.shut_down(START);
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::ShutDown, Closer::Client));
}

#[test]
fn close_idle_is_a_dismissal() {
    let mut pool = Pool::new(unlimited());
    idles(&mut pool, 1);
    pool.close_idle(START);
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::CloseIdle, Closer::Client));
}

/// A healthy return of a connection that has served its share.
#[test]
fn exchange_limit_is_a_full_share() {
    let mut pool = Pool::new(exchanges(1));
    let lease = lease(&mut pool);
    pool.returned(lease, START);
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::ExchangeLimit, Closer::Client));
}

#[test]
fn lifetime_is_age_and_not_idleness() {
    let mut pool = Pool::new(living(1));
    idles(&mut pool, 1);
    pool.tick(at(1));
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::Lifetime, Closer::Client));
}

#[test]
fn server_limit_is_advice_followed() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    pool.advised(&lease, Advice { exchanges_left: Some(0), ..Advice::default() });
    pool.returned(lease, START);
    let (_, reason, closer) = closes(&mut pool);
    assert_eq!((reason, closer), (CloseReason::ServerLimit, Closer::Client));
}

#[test]
fn too_many_waiters_is_full_queue() {
    let mut pool = Pool::new(waiters(1, 1));
    let _lease = lease(&mut pool);
    pool.checkout(START);
    silent(&mut pool);
    pool.checkout(START);
    assert_eq!(rejects(&mut pool).1, RejectReason::TooManyWaiters);
}

/// When fewer dials than waiters are left.
#[test]
fn dial_failed_rejects_the_oldest_waiter() {
    let mut pool = Pool::new(unlimited());
    let oldest = pool.checkout(START);
    pool.checkout(START);
    let (_first, second) = (dials(&mut pool), dials(&mut pool));
    pool.dial_failed(second, START);
    assert_eq!(rejects(&mut pool), (oldest, RejectReason::DialFailed));
}

/// Waiters and later ones.
#[test]
fn shut_down_rejects_all_checkouts() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    let _permit = dials(&mut pool);
    pool.shut_down(START);
    assert_eq!(rejects(&mut pool).1, RejectReason::ShutDown);
    assert_eq!(pool.counts().rejected_for(RejectReason::ShutDown), 1);
}
