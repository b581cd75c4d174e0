//! Counters and gauges, and the identities between them.

use keepwarm_pool::{Capacity, CloseReason, Closer, Counts, Pool, RejectReason};

use crate::steps::*;

#[test]
fn counts_start_at_zero() {
    let pool = Pool::new(unlimited());
    assert_eq!(*pool.counts(), Counts::default());
    assert_eq!((pool.counts().closed(), pool.counts().rejected()), (0, 0));
}

#[test]
fn each_counter_moves_in_its_input() {
    let mut pool = Pool::new(connections(1));
    let first = pool.checkout(START);
    assert_eq!((pool.counts().checkouts, pool.counts().dials), (1, 1));
    let permit = dials(&mut pool);
    pool.cancel(first, START);
    assert_eq!(pool.counts().cancelled, 1);
    pool.checkout(START);
    pool.dial_failed(permit, START);
    assert_eq!(pool.counts().dials_failed, 1);
    assert_eq!(pool.counts().rejected_for(RejectReason::DialFailed), 1);
    rejects(&mut pool);

    pool.checkout(START);
    let permit = dials(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, START);
    assert_eq!((pool.counts().opened, pool.counts().assigned_new), (1, 1));
    let lease = assigns(&mut pool).lease;
    pool.returned(lease, START);
    pool.checkout(START);
    assert_eq!(pool.counts().reused, 1);
    let lease = assigns(&mut pool).lease;
    pool.closed(lease, CloseReason::Abandoned, Closer::Client, START);
    assert_eq!(pool.counts().closed(), 1);
}

#[test]
fn opened_is_active_plus_idle_plus_closed() {
    let mut pool = Pool::new(unlimited());
    let mut leases = leases(&mut pool, 3);
    pool.returned(leases.remove(0), START);
    let broken = leases.remove(0);
    pool.closed(broken, CloseReason::ExchangeFailed, Closer::Server, START);
    let counts = pool.counts();
    assert_eq!((pool.active(), pool.idle(), counts.closed()), (1, 1, 1));
    assert_eq!(counts.opened, 3);
}

#[test]
fn dials_are_dialing_failed_and_opened() {
    let mut pool = Pool::new(unlimited());
    for _ in 0..3 {
        pool.checkout(START);
    }
    let permits = [dials(&mut pool), dials(&mut pool), dials(&mut pool)];
    let [succeeds, fails, _runs] = permits;
    pool.dialed(succeeds, Capacity::Exclusive, START);
    pool.dial_failed(fails, START);
    let counts = pool.counts();
    assert_eq!((pool.dialing(), counts.dials_failed, counts.opened), (1, 1, 1));
    assert_eq!(counts.dials, 3);
}

/// New, reused, rejected, cancelled and waiting.
#[test]
fn checkouts_are_the_sum_of_outcomes() {
    let mut pool = Pool::new(waiters(1, 1));
    let new = lease(&mut pool);
    let cancelled = pool.checkout(START);
    pool.checkout(START);
    rejects(&mut pool);
    pool.cancel(cancelled, START);
    pool.checkout(START);
    pool.returned(new, START);
    assigns(&mut pool);
    pool.checkout(START);
    let counts = pool.counts();
    assert_eq!((counts.assigned_new, counts.reused), (1, 1));
    assert_eq!((counts.rejected(), counts.cancelled), (1, 1));
    assert_eq!((pool.waiting(), counts.checkouts), (1, 5));
}

#[test]
fn closes_are_counted_by_reason_and_side() {
    let mut pool = Pool::new(unlimited());
    let reported = [
        (CloseReason::NotPersistent, Closer::Client),
        (CloseReason::NotPersistent, Closer::Server),
        (CloseReason::ExchangeFailed, Closer::Server),
    ];
    let leases = leases(&mut pool, reported.len());
    for (lease, (reason, closer)) in leases.into_iter().zip(reported) {
        pool.closed(lease, reason, closer, START);
    }
    let counts = pool.counts();
    for (reason, closer) in reported {
        assert_eq!(counts.closed_for(reason, closer), 1);
    }
    assert_eq!(counts.closed_by(Closer::Client), 1);
    assert_eq!(counts.closed_by(Closer::Server), 2);
    assert_eq!(counts.closed(), 3);
}

#[test]
fn rejected_is_told_by_reason() {
    let mut pool = Pool::new(waiters(0, 1));
    pool.checkout(START);
    let permit = dials(&mut pool);
    pool.checkout(START);
    pool.dial_failed(permit, START);
    pool.shut_down(START);
    pool.checkout(START);
    for reason in RejectReason::ALL {
        assert_eq!(pool.counts().rejected_for(reason), 1, "{reason:?}");
    }
    assert_eq!(pool.counts().rejected(), 3);
}

#[test]
fn gauges_only_look() {
    let mut pool = Pool::new(expiring_after(10));
    idles(&mut pool, 2);
    pool.checkout(START);
    let before = format!("{pool:?}");
    let _ = (pool.dialing(), pool.active(), pool.idle(), pool.waiting());
    let _ = (pool.oldest_idle(), pool.is_shut_down(), pool.next_deadline());
    assert_eq!(format!("{pool:?}"), before);
}
