//! The steps that the examples are told in. Each one expects exactly one effect, of one kind.

use core::time::Duration;

use keepwarm_pool::{
    Assigned, Capacity, CloseReason, Closer, ConnectionId, DialPermit, Effect, Lease, Limit,
    Moment, Pool, RejectReason, Settings, WaiterId,
};

/// `nanos` after the zero of the examples.
pub(crate) const fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

pub(crate) const START: Moment = Moment::ZERO;

/// No limits, and nothing expires.
pub(crate) fn unlimited() -> Settings {
    Settings { idle_timeout: Duration::MAX, ..Settings::default() }
}

pub(crate) fn expiring_after(nanos: u64) -> Settings {
    Settings { idle_timeout: Duration::from_nanos(nanos), ..Settings::default() }
}

pub(crate) fn connections(limit: u32) -> Settings {
    Settings { max_connections: Limit::at_most(limit), ..unlimited() }
}

pub(crate) fn idle(limit: u32) -> Settings {
    Settings { max_idle: Limit::at_most(limit), ..unlimited() }
}

pub(crate) fn waiters(limit: u32, max_connections: u32) -> Settings {
    Settings { max_waiters: Limit::at_most(limit), ..connections(max_connections) }
}

pub(crate) fn exchanges(limit: u32) -> Settings {
    Settings { max_exchanges: Limit::at_most(limit), ..unlimited() }
}

pub(crate) fn living(nanos: u64) -> Settings {
    Settings { max_lifetime: Duration::from_nanos(nanos), ..unlimited() }
}

/// Nothing to do.
#[track_caller]
pub(crate) fn silent(pool: &mut Pool) {
    if let Some(effect) = pool.poll_effect() {
        panic!("nothing was expected, but: {effect:?}");
    }
}

#[track_caller]
pub(crate) fn dials(pool: &mut Pool) -> DialPermit {
    match pool.poll_effect() {
        Some(Effect::Dial(permit)) => permit,
        other => panic!("expected a dial, not {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assigns(pool: &mut Pool) -> Assigned {
    match pool.poll_effect() {
        Some(Effect::Assign(assigned)) => assigned,
        other => panic!("expected an assignment, not {other:?}"),
    }
}

#[track_caller]
pub(crate) fn rejects(pool: &mut Pool) -> (WaiterId, RejectReason) {
    match pool.poll_effect() {
        Some(Effect::Reject { waiter, reason }) => (waiter, reason),
        other => panic!("expected a rejection, not {other:?}"),
    }
}

#[track_caller]
pub(crate) fn closes(pool: &mut Pool) -> (ConnectionId, CloseReason, Closer) {
    match pool.poll_effect() {
        Some(Effect::Close { connection, reason, closer }) => (connection, reason, closer),
        other => panic!("expected a close, not {other:?}"),
    }
}

/// Returns `count` leases of new connections, all at the start of time.
#[track_caller]
pub(crate) fn leases(pool: &mut Pool, count: usize) -> Vec<Lease> {
    let permits: Vec<_> = (0..count)
        .map(|_| {
            pool.checkout(START);
            dials(pool)
        })
        .collect();
    let leases = permits.into_iter().map(|permit| {
        pool.dialed(permit, Capacity::Exclusive, START);
        assigns(pool).lease
    });
    leases.collect()
}

#[track_caller]
pub(crate) fn lease(pool: &mut Pool) -> Lease {
    leases(pool, 1).remove(0)
}

/// Returns `count` idle connections; the first became idle at 0, the second at 1, and so on.
#[track_caller]
pub(crate) fn idles(pool: &mut Pool, count: usize) -> Vec<ConnectionId> {
    let leases = leases(pool, count);
    let connections = leases.into_iter().zip(0..).map(|(lease, nanos)| {
        let connection = lease.connection();
        pool.returned(lease, at(nanos));
        silent(pool);
        connection
    });
    connections.collect()
}
