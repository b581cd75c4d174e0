//! Looking at an idle connection, and bringing one back unused.

use keepwarm_pool::{CloseReason, Closer, Pool};

use crate::steps::*;

#[test]
fn inspected_connection_is_taken_out() {
    let mut pool = Pool::new(unlimited());
    let idle = idles(&mut pool, 2);
    let lease = pool.inspect(idle[0], START).expect("it is idle");
    silent(&mut pool);
    assert_eq!(lease.connection(), idle[0]);
    assert_eq!((pool.active(), pool.idle()), (1, 1));
    // No other request gets it meanwhile.
    pool.checkout(START);
    assert_eq!(assigns(&mut pool).lease.connection(), idle[1]);
    pool.checkout(START);
    let _permit = dials(&mut pool);
}

#[test]
fn inspection_finds_idle_connections_only() {
    let mut pool = Pool::new(unlimited());
    let held = lease(&mut pool);
    let connection = held.connection();
    assert!(pool.inspect(connection, START).is_none());
    pool.closed(held, CloseReason::NotPersistent, Closer::Client, START);
    closes(&mut pool);
    assert!(pool.inspect(connection, START).is_none());
    silent(&mut pool);
}

#[test]
fn inspection_finds_no_successor_index() {
    let mut pool = Pool::new(unlimited());
    let gone = idles(&mut pool, 1)[0];
    assert!(pool.evict_oldest(CloseReason::TotalIdleLimit, START));
    closes(&mut pool);
    let successor = idles(&mut pool, 1)[0];
    assert_eq!(gone.index(), successor.index());
    assert!(pool.inspect(gone, START).is_none());
    assert!(pool.inspect(successor, START).is_some());
}

#[test]
fn inspection_closes_an_expired_connection_instead() {
    let mut pool = Pool::new(expiring_after(10));
    let connection = idles(&mut pool, 1)[0];
    assert!(pool.inspect(connection, at(10)).is_none());
    let expected = (connection, CloseReason::IdleTimeout, Closer::Client);
    assert_eq!(closes(&mut pool), expected);
    silent(&mut pool);
}

/// Like any lease.
#[test]
fn inspection_of_closed_peer_ends() {
    let mut pool = Pool::new(unlimited());
    let connection = idles(&mut pool, 1)[0];
    let lease = pool.inspect(connection, START).expect("it is idle");
    pool.closed(lease, CloseReason::PeerClosedIdle, Closer::Server, START);
    let expected = (connection, CloseReason::PeerClosedIdle, Closer::Server);
    assert_eq!(closes(&mut pool), expected);
    assert_eq!(pool.idle() + pool.active(), 0);
}

#[test]
fn put_back_counts_no_exchange() {
    let mut pool = Pool::new(unlimited());
    let unused = lease(&mut pool);
    pool.returned_unused(unused, START);
    pool.checkout(START);
    let assigned = assigns(&mut pool);
    assert_eq!(assigned.exchanges, 0);
    assert!(!assigned.reused());
    assert_eq!((pool.counts().assigned_new, pool.counts().reused), (2, 0));
}

#[test]
fn unused_return_serves_oldest_waiter() {
    let mut pool = Pool::new(connections(1));
    let connection = idles(&mut pool, 1)[0];
    let lease = pool.inspect(connection, START).expect("it is idle");
    let oldest = pool.checkout(START);
    pool.checkout(START);
    silent(&mut pool);
    pool.returned_unused(lease, START);
    let assigned = assigns(&mut pool);
    assert_eq!((assigned.waiter, assigned.idle_since), (oldest, None));
}

/// The connection is then the newest.
#[test]
fn unused_return_restarts_idle_time() {
    let mut pool = Pool::new(expiring_after(10));
    let idle = idles(&mut pool, 2);
    let lease = pool.inspect(idle[0], at(4)).expect("it is idle");
    pool.returned_unused(lease, at(5));
    silent(&mut pool);
    assert_eq!(pool.oldest_idle(), Some(at(1)));
    pool.tick(at(11));
    assert_eq!(closes(&mut pool).0, idle[1]);
    assert_eq!(pool.next_deadline(), at(15));
    pool.checkout(at(14));
    assert_eq!(assigns(&mut pool).idle_since, Some(at(5)));
}

#[test]
fn unused_return_obeys_idle_limit() {
    let mut pool = Pool::new(idle(1));
    let mut leases = leases(&mut pool, 2);
    pool.returned(leases.remove(0), START);
    pool.returned_unused(leases.remove(0), START);
    assert_eq!(closes(&mut pool).1, CloseReason::IdleLimit);
}
