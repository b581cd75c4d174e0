//! How old a connection may become, and what that does to the order of expiry.

use core::time::Duration;
use std::collections::BTreeSet;

use keepwarm_pool::{Capacity, CloseReason, Limit, Moment, Pool, Settings};

use crate::steps::*;

#[test]
fn lifetime_closes_idle_connection_exactly() {
    let mut pool = Pool::new(living(9));
    let connection = idles(&mut pool, 1)[0];
    assert_eq!(pool.next_deadline(), at(9));
    pool.tick(at(8));
    silent(&mut pool);
    pool.tick(at(9));
    let (closed, reason, _) = closes(&mut pool);
    assert_eq!((closed, reason), (connection, CloseReason::Lifetime));
    assert_eq!(pool.next_deadline(), Moment::NEVER);
}

/// Also without a tick.
#[test]
fn expired_lifetime_is_never_assigned() {
    let mut pool = Pool::new(living(9));
    idles(&mut pool, 1);
    pool.checkout(at(9));
    assert_eq!(closes(&mut pool).1, CloseReason::Lifetime);
    let _permit = dials(&mut pool);
    silent(&mut pool);
}

/// Also while a request waits.
#[test]
fn active_connection_closes_on_return() {
    let mut pool = Pool::new(Settings { max_connections: Limit::at_most(1), ..living(9) });
    let lease = lease(&mut pool);
    let waiter = pool.checkout(START);
    pool.tick(at(9));
    silent(&mut pool);
    pool.returned(lease, at(9));
    assert_eq!(closes(&mut pool).1, CloseReason::Lifetime);
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, at(9));
    assert_eq!(assigns(&mut pool).waiter, waiter);
}

#[test]
fn use_does_not_make_it_younger() {
    let mut pool = Pool::new(living(9));
    let mut lease = lease(&mut pool);
    for now in 1..9 {
        pool.returned(lease, at(now));
        assert_eq!(pool.next_deadline(), at(9));
        pool.checkout(at(now));
        lease = assigns(&mut pool).lease;
    }
    pool.returned_unused(lease, at(9));
    assert_eq!(closes(&mut pool).1, CloseReason::Lifetime);
}

/// The idle timeout, if both come at once.
#[test]
fn earliest_expiry_is_the_reason() {
    for (timeout, reason) in
        [(8, CloseReason::IdleTimeout), (9, CloseReason::IdleTimeout), (10, CloseReason::Lifetime)]
    {
        let idle_timeout = Duration::from_nanos(timeout);
        let mut pool = Pool::new(Settings { idle_timeout, ..living(9) });
        idles(&mut pool, 1);
        assert_eq!(pool.next_deadline(), at(timeout.min(9)));
        pool.tick(at(20));
        assert_eq!(closes(&mut pool).1, reason);
    }
}

/// Age and idleness differ: the one that has been idle for the shortest time is the oldest.
#[test]
fn first_expiry_need_not_be_oldest() {
    let mut pool = Pool::new(living(9));
    let old = lease(&mut pool);
    pool.checkout(at(5));
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, at(5));
    let young = assigns(&mut pool).lease;
    let (old_id, young_id) = (old.connection(), young.connection());
    pool.returned(young, at(6));
    assert_eq!(pool.next_deadline(), at(14));
    pool.returned(old, at(7));
    assert_eq!((pool.oldest_idle(), pool.next_deadline()), (Some(at(6)), at(9)));
    pool.tick(at(9));
    assert_eq!(closes(&mut pool).0, old_id);
    silent(&mut pool);
    assert_eq!(pool.next_deadline(), at(14));
    // Expired ones go in the order of their expiry.
    pool.tick(at(14));
    assert_eq!(closes(&mut pool).0, young_id);
}

/// The others keep both orders.
#[test]
fn any_idle_connection_may_leave() {
    // Every one of 40 taken out in turn, with expiries that are scattered.
    for out in 0..40 {
        let mut pool = Pool::new(Settings { seed: 7, ..living(1_000) });
        let mut idle = idles(&mut pool, 40);
        let taken = idle.remove(out);
        let lease = pool.inspect(taken, at(40)).expect("it is idle");
        let mut closed = BTreeSet::new();
        let mut last = Moment::ZERO;
        while !pool.next_deadline().is_never() {
            assert!(pool.next_deadline() > last);
            last = pool.next_deadline();
            pool.tick(last);
            while pool.idle() + closed.len() < 39 {
                closed.insert(closes(&mut pool).0);
            }
            silent(&mut pool);
        }
        assert_eq!(closed, idle.into_iter().collect());
        pool.returned_unused(lease, last);
    }
}

/// By up to a tenth, and differ.
#[test]
fn lifetimes_shrink_by_a_tenth() {
    let settings = living(1_000_000);
    let spans: BTreeSet<_> = (1..=1_000).map(|nth| settings.lifetime_of(nth).as_nanos()).collect();
    assert!(spans.len() > 900, "{}", spans.len());
    let (least, most) = (spans.first().expect("some"), spans.last().expect("some"));
    assert!((900_000..902_000).contains(least) && (998_000..=1_000_000).contains(most));
}

#[test]
fn lifetimes_follow_the_seed() {
    let of = |seed| {
        let settings = Settings { seed, ..living(1_000_000) };
        (1..=100).map(|nth| settings.lifetime_of(nth)).collect::<Vec<_>>()
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn lifetime_is_fixed_at_opening() {
    let settings = Settings { seed: 3, ..living(1_000) };
    let mut pool = Pool::new(settings);
    for nth in 1..=20 {
        pool.checkout(START);
        let permit = dials(&mut pool);
        pool.dialed(permit, Capacity::Exclusive, START);
        let lease = assigns(&mut pool).lease;
        pool.returned(lease, START);
        assert_eq!(pool.next_deadline(), START.after(settings.lifetime_of(nth)));
        pool.evict_oldest(CloseReason::TotalIdleLimit, START);
        closes(&mut pool);
    }
}

#[test]
fn lifetime_of_max_is_for_ever() {
    let mut pool = Pool::new(unlimited());
    assert_eq!(unlimited().lifetime_of(1), Duration::MAX);
    idles(&mut pool, 1);
    pool.tick(Moment::NEVER);
    silent(&mut pool);
}

#[test]
fn zero_lifetime_serves_one_exchange() {
    let mut pool = Pool::new(living(0));
    let lease = lease(&mut pool);
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::Lifetime);
    silent(&mut pool);
    // No request waits for this one any more.
    let waiter = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.cancel(waiter, START);
    pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!(closes(&mut pool).1, CloseReason::Lifetime);
    silent(&mut pool);
}
