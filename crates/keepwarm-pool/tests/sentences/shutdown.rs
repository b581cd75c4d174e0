//! The end of a pool.

use keepwarm_pool::{Capacity, CloseReason, Closer, Effect, Moment, Pool, RejectReason};

use crate::steps::*;

/// Waiters are rejected, dials aborted, idle connections closed.
#[test]
fn shutdown_ends_all_but_active() {
    let mut pool = Pool::new(unlimited());
    let idle = idles(&mut pool, 1)[0];
    let _inspected = pool.inspect(idle, START).expect("it is idle");
    let waiter = pool.checkout(START);
    let permit = dials(&mut pool);
    pool.shut_down(START);
    assert_eq!(rejects(&mut pool), (waiter, RejectReason::ShutDown));
    match pool.poll_effect() {
        Some(Effect::AbortDial(dial)) => assert_eq!(dial, permit.dial()),
        other => panic!("expected an abort, not {other:?}"),
    }
    silent(&mut pool);

    let mut pool = Pool::new(unlimited());
    let idle = idles(&mut pool, 2);
    pool.shut_down(START);
    for connection in idle {
        let expected = (connection, CloseReason::ShutDown, Closer::Client);
        assert_eq!(closes(&mut pool), expected);
    }
    silent(&mut pool);
    assert_eq!(pool.next_deadline(), Moment::NEVER);
}

#[test]
fn active_connections_close_on_return() {
    let mut pool = Pool::new(unlimited());
    let mut leases = leases(&mut pool, 3);
    pool.shut_down(START);
    silent(&mut pool);
    assert_eq!(pool.active(), 3);
    pool.returned(leases.remove(0), START);
    assert_eq!(closes(&mut pool).1, CloseReason::ShutDown);
    pool.returned_unused(leases.remove(0), START);
    assert_eq!(closes(&mut pool).1, CloseReason::ShutDown);
    // The reason that the driver reports is kept.
    let last = leases.remove(0);
    pool.closed(last, CloseReason::Abandoned, Closer::Client, START);
    assert_eq!(closes(&mut pool).1, CloseReason::Abandoned);
    assert_eq!(pool.active(), 0);
}

#[test]
fn aborted_dial_ends_either_way() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    pool.checkout(START);
    let (fails, succeeds) = (dials(&mut pool), dials(&mut pool));
    pool.shut_down(START);
    while pool.poll_effect().is_some() {}
    assert_eq!(pool.dialing(), 2);

    pool.dial_failed(fails, START);
    silent(&mut pool);
    let connection = pool.dialed(succeeds, Capacity::Exclusive, START);
    let expected = (connection, CloseReason::ShutDown, Closer::Client);
    assert_eq!(closes(&mut pool), expected);
    assert_eq!((pool.dialing(), pool.idle()), (0, 0));
}

#[test]
fn checkout_after_shutdown_is_rejected() {
    let mut pool = Pool::new(unlimited());
    assert!(!pool.is_shut_down());
    pool.shut_down(START);
    assert!(pool.is_shut_down());
    let waiter = pool.checkout(START);
    assert_eq!(rejects(&mut pool), (waiter, RejectReason::ShutDown));
    assert_eq!(pool.waiting(), 0);
}

#[test]
fn second_shutdown_changes_nothing() {
    let mut pool = Pool::new(unlimited());
    pool.checkout(START);
    let _permit = dials(&mut pool);
    pool.shut_down(START);
    while pool.poll_effect().is_some() {}
    let before = *pool.counts();
    pool.shut_down(START);
    silent(&mut pool);
    assert_eq!(*pool.counts(), before);
}

/// And the end of leases and permits.
#[test]
fn nothing_is_left_after_shutdown() {
    let mut pool = Pool::new(unlimited());
    let leases = leases(&mut pool, 3);
    pool.checkout(START);
    let permit = dials(&mut pool);
    pool.shut_down(START);
    for lease in leases {
        pool.returned(lease, START);
    }
    pool.dialed(permit, Capacity::Exclusive, START);
    while pool.poll_effect().is_some() {}
    assert_eq!(pool.dialing() + pool.active() + pool.idle(), 0);
    assert_eq!(pool.counts().opened, pool.counts().closed());
}
