//! The lessons that the pool draws from closes of idle connections, and those it must not draw.

use core::time::Duration;

use keepwarm_pool::{
    Advice, Capacity, CloseReason, Closer, ConnectionId, Effect, Lease, Moment, Pool, Settings,
};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

fn pool(learns_idle_timeout: bool) -> Pool {
    let idle_timeout = Duration::from_secs(90);
    Pool::new(Settings { learns_idle_timeout, idle_timeout, ..Settings::default() })
}

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

fn lease(pool: &mut Pool, now: u64) -> Lease {
    pool.checkout(at(now));
    loop {
        match pool.poll_effect() {
            Some(Effect::Dial(permit)) => drop(pool.dialed(permit, Capacity::Exclusive, at(now))),
            Some(Effect::Assign(assigned)) => return assigned.lease,
            Some(_) => {}
            None => panic!("an answer was due"),
        }
    }
}

/// A connection that has served one exchange, and is idle from now on.
fn idle(pool: &mut Pool, now: u64) -> ConnectionId {
    let lease = lease(pool, now);
    let connection = lease.connection();
    pool.returned(lease, at(now));
    connection
}

fn server_closes(pool: &mut Pool, connection: ConnectionId, now: u64) {
    let lease = pool.inspect(connection, at(now)).expect("it is idle");
    pool.closed(lease, CloseReason::PeerClosedIdle, Closer::Server, at(now));
    while pool.poll_effect().is_some() {}
}

/// The server closes connections that were idle for so long, one after the other. Returns when the
/// last one was closed.
fn closes(pool: &mut Pool, start: u64, ages: &[u64]) -> u64 {
    let mut now = start;
    for age in ages {
        let connection = idle(pool, now);
        now += age;
        server_closes(pool, connection, now);
    }
    now
}

fn learned(pool: &Pool) -> Option<u64> {
    pool.learned_idle_timeout().map(|timeout| timeout.as_nanos() as u64)
}

/// Our own close then comes a second earlier.
#[test]
fn five_equal_ages_teach_timeout() {
    let mut pool = pool(true);
    let now = closes(&mut pool, 0, &[5 * SECOND; 4]);
    assert_eq!(learned(&pool), None, "four might be chance");
    let now = closes(&mut pool, now, &[5 * SECOND]);
    assert_eq!(learned(&pool), Some(5 * SECOND));
    idle(&mut pool, now);
    assert_eq!(pool.next_deadline(), at(now + 4 * SECOND));
    pool.tick(at(now + 4 * SECOND));
    assert_eq!(pool.counts().closed_for(CloseReason::LearnedTimeout, Closer::Client), 1);
}

#[test]
fn smallest_of_similar_ages_counts() {
    let mut pool = pool(true);
    let ages = [1_010, 1_000, 1_050, 1_005, 1_020].map(|millis| millis * 1_000_000);
    closes(&mut pool, 0, &ages);
    assert_eq!(learned(&pool), Some(SECOND));
}

/// Among the last five.
#[test]
fn one_deviating_age_teaches_nothing() {
    for other in [1, 4 * SECOND, 6 * SECOND, 80 * SECOND] {
        for place in 0..5 {
            let mut ages = [5 * SECOND; 5];
            ages[place] = other;
            let mut pool = pool(true);
            let mut now = closes(&mut pool, 0, &ages);
            for _ in 0..=place {
                assert_eq!(learned(&pool), None, "{other} at {place}");
                now = closes(&mut pool, now, &[5 * SECOND]);
            }
            assert_eq!(learned(&pool), Some(5 * SECOND));
        }
    }
}

/// A restart closes all connections at once.
#[test]
fn restart_teaches_nothing() {
    let mut pool = pool(true);
    let mut now = 0;
    for restart in 1..=4 {
        // A burst: all of them idle since the same moment, and closed in the same one.
        let leases: Vec<_> = (0..50).map(|_| lease(&mut pool, now)).collect();
        let connections: Vec<_> = leases.iter().map(Lease::connection).collect();
        for lease in leases {
            pool.returned(lease, at(now));
        }
        now += restart * 7 * SECOND;
        for (nth, connection) in connections.into_iter().enumerate() {
            server_closes(&mut pool, connection, now + nth as u64 * 1_000_000);
        }
        assert_eq!(learned(&pool), None);
        now += MINUTE;
    }
}

#[test]
fn random_closes_teach_nothing() {
    let mut pool = pool(true);
    let (mut now, mut bits) = (0, 7_u64);
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let age = (bits >> 33) % 80_000 * 1_000_000;
        now = closes(&mut pool, now, &[age]);
        assert_eq!(learned(&pool), None);
    }
}

#[test]
fn close_after_exchange_teaches_nothing() {
    let mut pool = pool(true);
    let mut now = 0;
    for _ in 0..20 {
        // Asked again after ten seconds, the server closes with its response.
        idle(&mut pool, now);
        now += 10 * SECOND;
        let lease = lease(&mut pool, now);
        pool.closed(lease, CloseReason::PeerClosedIdle, Closer::Server, at(now));
    }
    assert_eq!(learned(&pool), None);
}

#[test]
fn immediate_close_teaches_nothing() {
    let mut pool = pool(true);
    closes(&mut pool, 0, &[SECOND / 100; 20]);
    assert_eq!(learned(&pool), None);
}

/// Nothing is learned from a server that announces its timeout.
#[test]
fn advice_takes_precedence_over_learning() {
    let mut pool = pool(true);
    let advice = Advice { idle_timeout: Some(Duration::from_secs(30)), exchanges_left: None };
    let mut now = 0;
    for _ in 0..9 {
        let lease = lease(&mut pool, now);
        let connection = lease.connection();
        pool.advised(&lease, advice);
        pool.returned(lease, at(now));
        now += 5 * SECOND;
        server_closes(&mut pool, connection, now);
    }
    assert_eq!(learned(&pool), None);
    now = closes(&mut pool, now, &[5 * SECOND; 5]);
    let lease = lease(&mut pool, now);
    pool.advised(&lease, advice);
    pool.returned(lease, at(now));
    assert_eq!(pool.next_deadline(), at(now + 29 * SECOND));
}

/// A pool that may not learn does not.
#[test]
fn shorter_own_timeout_counts() {
    let settings = Settings {
        learns_idle_timeout: true,
        idle_timeout: Duration::from_secs(3),
        ..Settings::default()
    };
    let mut short = Pool::new(settings);
    idle(&mut short, 0);
    assert_eq!(short.next_deadline(), at(3 * SECOND));
    let mut off = pool(false);
    closes(&mut off, 0, &[5 * SECOND; 20]);
    assert_eq!(learned(&off), None);
}

#[test]
fn outliving_connection_refutes_the_timeout() {
    let mut pool = pool(true);
    // It came to rest before anything was known.
    let held = lease(&mut pool, 0);
    let now = closes(&mut pool, 0, &[5 * SECOND; 4]);
    pool.returned(held, at(now));
    let survivor = now;
    // Newer ones are used, and closed, before it.
    let now = {
        let first = lease(&mut pool, now);
        let second = lease(&mut pool, now);
        let connection = second.connection();
        pool.returned(first, at(now));
        pool.returned(second, at(now));
        server_closes(&mut pool, connection, now + 5 * SECOND);
        now + 5 * SECOND
    };
    assert_eq!(learned(&pool), Some(5 * SECOND));
    let late = lease(&mut pool, now + 5 * SECOND);
    assert_eq!(now + 5 * SECOND - survivor, 10 * SECOND);
    pool.returned(late, at(now + 5 * SECOND));
    assert_eq!(learned(&pool), None);
}

/// Ten minutes after what was learned, with a connection that has just come to rest.
fn on_trial() -> (Pool, ConnectionId, u64) {
    let mut pool = pool(true);
    let now = closes(&mut pool, 0, &[5 * SECOND; 5]) + 10 * MINUTE;
    let connection = idle(&mut pool, now);
    assert_eq!(learned(&pool), None, "it has to be seen again");
    assert_eq!(pool.next_deadline(), at(now + 90 * SECOND));
    (pool, connection, now)
}

/// One close at that age.
#[test]
fn later_close_confirms_after_ten_minutes() {
    let (mut pool, connection, now) = on_trial();
    server_closes(&mut pool, connection, now + 5 * SECOND);
    assert_eq!(learned(&pool), Some(5 * SECOND));
}

/// After ten minutes, a close before that age.
#[test]
fn early_close_is_ignored_on_trial() {
    let (mut pool, connection, now) = on_trial();
    server_closes(&mut pool, connection, now + 2 * SECOND);
    assert_eq!(learned(&pool), None);
    closes(&mut pool, now + 2 * SECOND, &[5 * SECOND]);
    assert_eq!(learned(&pool), Some(5 * SECOND));
}

/// After ten minutes, a close or a request beyond that age.
#[test]
fn late_close_refutes_on_trial() {
    let (mut pool, connection, now) = on_trial();
    server_closes(&mut pool, connection, now + 8 * SECOND);
    let now = closes(&mut pool, now + 8 * SECOND, &[8 * SECOND; 3]);
    assert_eq!(learned(&pool), None);
    closes(&mut pool, now, &[8 * SECOND; 2]);
    assert_eq!(learned(&pool), Some(8 * SECOND), "from the beginning");

    let (mut pool, _, now) = on_trial();
    let lease = lease(&mut pool, now + 20 * SECOND);
    pool.returned(lease, at(now + 20 * SECOND));
    closes(&mut pool, now + 20 * SECOND, &[5 * SECOND; 1]);
    assert_eq!(learned(&pool), None);
}

/// An unused connection stays as old as its last exchange.
#[test]
fn unused_return_keeps_idle_age() {
    let mut pool = pool(true);
    let now = closes(&mut pool, 0, &[5 * SECOND; 5]);
    let connection = idle(&mut pool, now);
    let lease = pool.inspect(connection, at(now + 3 * SECOND)).expect("it is idle");
    pool.returned_unused(lease, at(now + 3 * SECOND));
    assert_eq!(pool.next_deadline(), at(now + 4 * SECOND));
}
