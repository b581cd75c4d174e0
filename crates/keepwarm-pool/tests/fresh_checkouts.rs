//! Checkouts that want a fresh connection.

use keepwarm_pool::{
    Assigned, CloseReason, Closer, DialPermit, Effect, Limit, Moment, Pool, Settings, WaiterId,
};

const NOW: Moment = Moment::ZERO;

fn capped(limit: u32) -> Pool {
    Pool::new(Settings { max_connections: Limit::at_most(limit), ..Settings::default() })
}

fn dial(pool: &mut Pool) -> DialPermit {
    match pool.poll_effect() {
        Some(Effect::Dial(permit)) => permit,
        other => panic!("a dial was due, and not {other:?}"),
    }
}

fn assigned(pool: &mut Pool, waiter: WaiterId) -> Assigned {
    match pool.poll_effect() {
        Some(Effect::Assign(assigned)) if assigned.waiter == waiter => assigned,
        other => panic!("{waiter:?} was to be served, and not {other:?}"),
    }
}

fn open(pool: &mut Pool) -> Assigned {
    let waiter = pool.checkout(NOW);
    let permit = dial(pool);
    pool.dialed(permit, NOW);
    assigned(pool, waiter)
}

fn nothing_to_do(pool: &mut Pool) {
    let effect = pool.poll_effect();
    assert!(effect.is_none(), "{effect:?}");
}

/// A dial serves it.
#[test]
fn fresh_checkout_passes_idle_connections() {
    let mut pool = Pool::new(Settings::default());
    let first = open(&mut pool);
    pool.returned(first.lease, NOW);
    let waiter = pool.checkout_fresh(NOW);
    let permit = dial(&mut pool);
    assert_eq!((pool.idle(), pool.waiting()), (1, 1));
    pool.dialed(permit, NOW);
    assert_eq!(assigned(&mut pool, waiter).exchanges, 0);
    assert_eq!((pool.idle(), pool.active(), pool.waiting()), (1, 1, 0));
}

/// It goes to the next waiter, or becomes idle.
#[test]
fn returned_connection_passes_fresh_waiter() {
    let mut pool = Pool::new(Settings::default());
    let (first, second) = (open(&mut pool), open(&mut pool));
    let picky = pool.checkout_fresh(NOW);
    let permit = dial(&mut pool);
    let plain = pool.checkout(NOW);
    let other = dial(&mut pool);
    pool.returned(first.lease, NOW);
    assigned(&mut pool, plain);
    pool.returned_unused(second.lease, NOW);
    nothing_to_do(&mut pool);
    assert_eq!((pool.idle(), pool.waiting()), (1, 1));
    pool.dial_failed(permit, NOW);
    nothing_to_do(&mut pool);
    pool.dialed(other, NOW);
    assigned(&mut pool, picky);
}

#[test]
fn plain_checkout_takes_the_idle_one() {
    let mut pool = Pool::new(Settings::default());
    let first = open(&mut pool);
    pool.returned(first.lease, NOW);
    pool.checkout_fresh(NOW);
    let _permit = dial(&mut pool);
    let plain = pool.checkout(NOW);
    assert_eq!(assigned(&mut pool, plain).exchanges, 1);
    assert_eq!(pool.waiting(), 1);
}

#[test]
fn without_room_fresh_is_plain() {
    let mut pool = capped(1);
    let first = open(&mut pool);
    pool.returned(first.lease, NOW);
    let waiter = pool.checkout_fresh(NOW);
    let served = assigned(&mut pool, waiter);
    assert_eq!(served.exchanges, 1);
    let waiter = pool.checkout_fresh(NOW);
    nothing_to_do(&mut pool);
    pool.returned(served.lease, NOW);
    assigned(&mut pool, waiter);
}

#[test]
fn broken_connections_room_stays_reserved() {
    let mut pool = capped(2);
    let (first, second) = (open(&mut pool), open(&mut pool));
    pool.returned(first.lease, NOW);
    pool.closed(second.lease, CloseReason::ExchangeFailed, Closer::Server, NOW);
    while pool.poll_effect().is_some() {}
    let waiter = pool.checkout_fresh(NOW);
    let permit = dial(&mut pool);
    // Another request comes, and takes the idle one back and forth: never the fresh's dial.
    let plain = pool.checkout(NOW);
    let plain = assigned(&mut pool, plain);
    pool.returned(plain.lease, NOW);
    assert_eq!((pool.idle(), pool.waiting()), (1, 1));
    pool.dialed(permit, NOW);
    assigned(&mut pool, waiter);
}

/// Given up, failed or shut down.
#[test]
fn ended_fresh_waiter_leaves_no_trace() {
    let mut pool = Pool::new(Settings::default());
    let waiter = pool.checkout_fresh(NOW);
    let permit = dial(&mut pool);
    assert!(pool.cancel(waiter, NOW));
    pool.dialed(permit, NOW);
    assert_eq!((pool.idle(), pool.waiting()), (1, 0));

    let waiter = pool.checkout_fresh(NOW);
    let permit = dial(&mut pool);
    pool.dial_failed(permit, NOW);
    let told = pool.poll_effect();
    assert!(matches!(told, Some(Effect::Reject { waiter: told, .. }) if told == waiter));

    pool.checkout_fresh(NOW);
    let _permit = dial(&mut pool);
    pool.shut_down(NOW);
    assert_eq!((pool.idle(), pool.waiting()), (0, 0));
    let late = pool.checkout_fresh(NOW);
    while let Some(effect) = pool.poll_effect() {
        assert!(!matches!(effect, Effect::Dial(_)), "{effect:?}");
    }
    assert!(!pool.is_waiting(late));
    assert_eq!(pool.counts().checkouts, 4);
}
