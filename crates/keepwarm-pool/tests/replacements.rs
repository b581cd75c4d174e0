//! Requests whose connection broke, and that ask for another one.

use keepwarm_pool::{
    Assigned, Capacity, CloseReason, Closer, DialPermit, Effect, Lease, Limit, Moment, Place, Pool,
    Replacement, Settings, SharedLimit, WaiterId, Work,
};

const NOW: Moment = Moment::ZERO;
const BROKEN: (CloseReason, Closer) = (CloseReason::ExchangeFailed, Closer::Server);

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
    pool.dialed(permit, Capacity::Exclusive, NOW);
    assigned(pool, waiter)
}

fn replace(pool: &mut Pool, lease: Lease, wanted: Replacement) -> WaiterId {
    let waiter = pool.replace(lease, BROKEN, wanted, NOW);
    let closed = pool.poll_effect();
    let reason = CloseReason::ExchangeFailed;
    assert!(matches!(closed, Some(Effect::Close { reason: why, .. }) if why == reason));
    waiter
}

fn nothing_to_do(pool: &mut Pool) {
    let effect = pool.poll_effect();
    assert!(effect.is_none(), "{effect:?}");
}

#[test]
fn fresh_replacement_passes_idle_connections() {
    let mut pool = Pool::new(Settings::default());
    let (first, second) = (open(&mut pool), open(&mut pool));
    pool.returned(first.lease, NOW);
    let waiter = replace(&mut pool, second.lease, Replacement::Fresh);
    let permit = dial(&mut pool);
    assert_eq!((pool.idle(), pool.waiting()), (1, 1));
    pool.dialed(permit, Capacity::Exclusive, NOW);
    assert_eq!(assigned(&mut pool, waiter).exchanges, 0);
    assert_eq!((pool.idle(), pool.active(), pool.waiting()), (1, 1, 0));
}

#[test]
fn any_replacement_takes_an_idle_connection() {
    let mut pool = capped(2);
    let (first, second) = (open(&mut pool), open(&mut pool));
    pool.returned(first.lease, NOW);
    let waiter = replace(&mut pool, second.lease, Replacement::Any);
    assert_eq!(assigned(&mut pool, waiter).exchanges, 1);
    nothing_to_do(&mut pool);
}

/// At a limit of one, with others in the queue: the room of the broken connection is its own.
#[test]
fn room_stays_with_the_broken_request() {
    for wanted in [Replacement::Any, Replacement::Fresh] {
        let mut pool = capped(1);
        let first = open(&mut pool);
        let queued = [pool.checkout(NOW), pool.checkout(NOW)];
        nothing_to_do(&mut pool);
        let again = replace(&mut pool, first.lease, wanted);
        let permit = dial(&mut pool);
        nothing_to_do(&mut pool);
        pool.dialed(permit, Capacity::Exclusive, NOW);
        let served = assigned(&mut pool, again);
        assert_eq!(served.exchanges, 0);
        pool.returned(served.lease, NOW);
        let next = assigned(&mut pool, queued[0]);
        pool.returned(next.lease, NOW);
        assigned(&mut pool, queued[1]);
    }
}

/// A request that takes any connection is served by the first one that returns, before others.
#[test]
fn any_replacement_is_served_first() {
    let mut pool = capped(2);
    let (first, second) = (open(&mut pool), open(&mut pool));
    let queued = pool.checkout(NOW);
    let again = replace(&mut pool, first.lease, Replacement::Any);
    let permit = dial(&mut pool);
    pool.returned(second.lease, NOW);
    assigned(&mut pool, again);
    pool.dialed(permit, Capacity::Exclusive, NOW);
    assigned(&mut pool, queued);
}

/// A used connection goes to the next waiter, or becomes idle.
#[test]
fn returned_connection_passes_fresh_waiter() {
    let mut pool = capped(3);
    let (first, second, third) = (open(&mut pool), open(&mut pool), open(&mut pool));
    let plain = pool.checkout(NOW);
    let picky = replace(&mut pool, third.lease, Replacement::Fresh);
    let permit = dial(&mut pool);
    pool.returned(first.lease, NOW);
    assigned(&mut pool, plain);
    pool.returned_unused(second.lease, NOW);
    nothing_to_do(&mut pool);
    assert_eq!((pool.idle(), pool.waiting()), (1, 1));
    pool.dialed(permit, Capacity::Exclusive, NOW);
    assigned(&mut pool, picky);
}

#[test]
fn failed_dial_ends_the_earliest_waiter() {
    let mut pool = capped(2);
    let (first, _second) = (open(&mut pool), open(&mut pool));
    let queued = pool.checkout(NOW);
    let again = replace(&mut pool, first.lease, Replacement::Fresh);
    let permit = dial(&mut pool);
    pool.dial_failed(permit, NOW);
    let ended = pool.poll_effect();
    assert!(matches!(ended, Some(Effect::Reject { waiter, .. }) if waiter == queued));
    // One more dial, in the same room.
    let permit = dial(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, NOW);
    assigned(&mut pool, again);
}

/// Given up, failed or shut down.
#[test]
fn ended_fresh_waiter_leaves_no_trace() {
    let mut pool = Pool::new(Settings::default());
    let first = open(&mut pool);
    let waiter = replace(&mut pool, first.lease, Replacement::Fresh);
    let permit = dial(&mut pool);
    assert!(pool.cancel(waiter, NOW));
    pool.dialed(permit, Capacity::Exclusive, NOW);
    assert_eq!((pool.idle(), pool.waiting()), (1, 0));

    let plain = pool.checkout(NOW);
    let first = assigned(&mut pool, plain);
    let waiter = replace(&mut pool, first.lease, Replacement::Fresh);
    let permit = dial(&mut pool);
    pool.dial_failed(permit, NOW);
    let told = pool.poll_effect();
    assert!(matches!(told, Some(Effect::Reject { waiter: told, .. }) if told == waiter));

    let first = open(&mut pool);
    pool.shut_down(NOW);
    let late = replace(&mut pool, first.lease, Replacement::Fresh);
    while let Some(effect) = pool.poll_effect() {
        assert!(!matches!(effect, Effect::Dial(_)), "{effect:?}");
    }
    assert!(!pool.is_waiting(late));
    assert_eq!((pool.active(), pool.counts().checkouts), (0, 6));
}

/// The place of the broken connection is not released to other pools.
#[test]
fn place_stays_with_the_broken_request() {
    let settings = Settings { shares_places: true, ..Settings::default() };
    let mut pool = Pool::new(settings);
    let waiter = pool.checkout(NOW);
    let Some(Effect::Claim { claim, .. }) = pool.poll_effect() else { panic!("a claim") };
    assert!(pool.granted(claim, only_place(), NOW));
    let permit = dial(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, NOW);
    let first = assigned(&mut pool, waiter);
    let again = replace(&mut pool, first.lease, Replacement::Fresh);
    let permit = dial(&mut pool);
    nothing_to_do(&mut pool);
    pool.dialed(permit, Capacity::Exclusive, NOW);
    let served = assigned(&mut pool, again);
    pool.closed(served.lease, CloseReason::NotPersistent, Closer::Client, NOW);
    assert!(matches!(pool.poll_effect(), Some(Effect::Close { .. })));
    assert!(matches!(pool.poll_effect(), Some(Effect::Release(_))));
}

fn only_place() -> Place {
    let mut limit = SharedLimit::new(Limit::at_most(1));
    limit.claim(0, (), NOW);
    match limit.poll_work() {
        Some(Work::Grant { place, .. }) => place,
        other => panic!("a place, and not {other:?}"),
    }
}

#[test]
fn distrusted_connections_serve_one_exchange() {
    let mut pool = capped(1);
    let first = open(&mut pool);
    pool.returned(first.lease, NOW);
    pool.distrust_used(NOW);
    let distrusted = CloseReason::Distrusted;
    let closed =
        |effect| matches!(effect, Some(Effect::Close { reason, .. }) if reason == distrusted);
    assert!(closed(pool.poll_effect()));
    for _ in 0..3 {
        let second = open(&mut pool);
        let queued = pool.checkout(NOW);
        pool.returned(second.lease, NOW);
        assert!(closed(pool.poll_effect()), "though a request waits");
        let permit = dial(&mut pool);
        pool.dialed(permit, Capacity::Exclusive, NOW);
        let queued = assigned(&mut pool, queued);
        assert_eq!(queued.exchanges, 0);
        pool.returned(queued.lease, NOW);
        assert!(closed(pool.poll_effect()));
    }
    pool.trust_used(NOW);
    let first = open(&mut pool);
    pool.returned(first.lease, NOW);
    assert_eq!(pool.idle(), 1);
}
