//! The server's advice on how long it keeps a connection.

use core::time::Duration;

use keepwarm_pool::{Advice, Capacity, CloseReason, Limit, Moment, Pool, Settings};

use crate::steps::*;

fn idle_for(nanos: u64) -> Advice {
    Advice { idle_timeout: Some(Duration::from_nanos(nanos)), ..Advice::default() }
}

fn exchanges_left(count: u64) -> Advice {
    Advice { exchanges_left: Some(count), ..Advice::default() }
}

/// A second less than the server said, or half of it.
#[test]
fn usable_time_has_a_margin() {
    let millis = |advice: u64| {
        let idle_timeout = Some(Duration::from_millis(advice));
        Advice { idle_timeout, exchanges_left: None }.usable_for().map(|span| span.as_millis())
    };
    assert_eq!(millis(60_000), Some(59_000));
    assert_eq!(millis(2_000), Some(1_000));
    assert_eq!(millis(1_000), Some(500));
    assert_eq!(millis(0), Some(0));
    assert_eq!(exchanges_left(5).usable_for(), None);
    let for_ever = Advice { idle_timeout: Some(Duration::MAX), ..Advice::default() };
    assert_eq!(for_ever.usable_for(), Some(Duration::MAX - Duration::from_secs(1)));
}

#[test]
fn advised_connection_expires_before_server_closes() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    pool.advised(&lease, idle_for(10));
    silent(&mut pool);
    pool.returned(lease, at(100));
    assert_eq!(pool.next_deadline(), at(105));
    pool.checkout(at(104));
    let lease = assigns(&mut pool).lease;
    // It holds until the server says something else, and counts from each exchange anew.
    pool.returned(lease, at(200));
    assert_eq!(pool.next_deadline(), at(205));
    pool.tick(at(205));
    assert_eq!(closes(&mut pool).1, CloseReason::ServerLimit);
    assert_eq!(pool.next_deadline(), Moment::NEVER);
}

#[test]
fn the_latest_idle_advice_counts() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    pool.advised(&lease, idle_for(10));
    pool.advised(&lease, idle_for(40));
    pool.advised(&lease, Advice::default());
    pool.returned(lease, START);
    assert_eq!(pool.next_deadline(), at(20));
}

/// The server saw nothing of it: its clock goes on.
#[test]
fn inspection_extends_no_advised_time() {
    let mut pool = Pool::new(unlimited());
    let lease = lease(&mut pool);
    let connection = lease.connection();
    pool.advised(&lease, idle_for(10));
    pool.returned(lease, START);
    let lease = pool.inspect(connection, at(3)).expect("it is idle");
    pool.returned_unused(lease, at(4));
    assert_eq!((pool.oldest_idle(), pool.next_deadline()), (Some(at(4)), at(5)));
    let lease = pool.inspect(connection, at(4)).expect("it is idle");
    pool.returned_unused(lease, at(5));
    assert_eq!(closes(&mut pool).1, CloseReason::ServerLimit);
}

#[test]
fn shorter_own_idle_timeout_holds() {
    let mut pool = Pool::new(expiring_after(3));
    let lease = lease(&mut pool);
    pool.advised(&lease, idle_for(10));
    pool.returned(lease, START);
    assert_eq!(pool.next_deadline(), at(3));
    pool.tick(at(9));
    assert_eq!(closes(&mut pool).1, CloseReason::IdleTimeout);
}

#[test]
fn one_connections_advice_is_not_anothers() {
    let mut pool = Pool::new(expiring_after(100));
    let mut leases = leases(&mut pool, 3);
    pool.advised(&leases[2], idle_for(10));
    let advised = leases[2].connection();
    for lease in leases.drain(..) {
        pool.returned(lease, START);
    }
    assert_eq!(pool.next_deadline(), at(5));
    pool.tick(at(5));
    assert_eq!(closes(&mut pool).0, advised);
    silent(&mut pool);
    assert_eq!((pool.idle(), pool.next_deadline()), (2, at(100)));
}

#[test]
fn reused_index_inherits_no_advice() {
    let mut pool = Pool::new(unlimited());
    let advised = lease(&mut pool);
    let index = advised.connection().index();
    pool.advised(&advised, Advice { exchanges_left: Some(0), ..idle_for(0) });
    pool.returned(advised, START);
    closes(&mut pool);
    let lease = lease(&mut pool);
    assert_eq!(lease.connection().index(), index);
    pool.returned(lease, START);
    silent(&mut pool);
    assert_eq!(pool.next_deadline(), Moment::NEVER);
}

#[test]
fn advised_exchange_limit_closes_connection() {
    let mut pool = Pool::new(unlimited());
    let mut lease = lease(&mut pool);
    pool.advised(&lease, exchanges_left(2));
    for _ in 0..2 {
        pool.returned(lease, START);
        pool.checkout(START);
        lease = assigns(&mut pool).lease;
    }
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::ServerLimit);
}

#[test]
fn smallest_exchange_limit_counts() {
    let mut pool = Pool::new(unlimited());
    let mut lease = lease(&mut pool);
    for _ in 0..2 {
        // The same number each time: the whole, and not what is left.
        pool.advised(&lease, exchanges_left(2));
        pool.returned(lease, START);
        pool.checkout(START);
        lease = assigns(&mut pool).lease;
    }
    pool.advised(&lease, exchanges_left(u64::MAX));
    pool.returned(lease, START);
    assert_eq!(closes(&mut pool).1, CloseReason::ServerLimit);
}

/// The waiter gets a dial.
#[test]
fn advice_holds_while_a_request_waits() {
    for advice in [exchanges_left(0), idle_for(0)] {
        let mut pool = Pool::new(Settings { max_connections: Limit::at_most(1), ..unlimited() });
        let lease = lease(&mut pool);
        let waiter = pool.checkout(START);
        pool.advised(&lease, advice);
        pool.returned(lease, START);
        assert_eq!(closes(&mut pool).1, CloseReason::ServerLimit);
        let permit = dials(&mut pool);
        pool.dialed(permit, Capacity::Exclusive, START);
        assert_eq!(assigns(&mut pool).waiter, waiter);
    }
}
