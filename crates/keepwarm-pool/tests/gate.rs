//! The forecast of what a dial brings: one connection for a burst, and no trap for it.

use core::time::Duration;

use keepwarm_pool::{
    Capacity, CloseReason, Closer, DialPermit, Effect, Lease, Limit, Moment, Pool, RejectReason,
    Settings, Sharing,
};

const START: Moment = Moment::ZERO;
const MANY: Capacity = Capacity::Shared { streams: 100 };

/// A pool, and the rights that it has handed out.
struct Stage {
    pool: Pool,
    permits: Vec<DialPermit>,
    leases: Vec<Lease>,
    rejected: Vec<RejectReason>,
    closed: Vec<(CloseReason, Closer)>,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        let pool = Pool::new(settings);
        let (permits, leases) = (Vec::new(), Vec::new());
        Self { pool, permits, leases, rejected: Vec::new(), closed: Vec::new() }
    }

    fn poll(&mut self) {
        while let Some(effect) = self.pool.poll_effect() {
            match effect {
                Effect::Dial(permit) => self.permits.push(permit),
                Effect::Assign(assigned) => self.leases.push(assigned.lease),
                Effect::Reject { reason, .. } => self.rejected.push(reason),
                Effect::Close { reason, closer, .. } => self.closed.push((reason, closer)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn burst(&mut self, requests: usize, now: Moment) {
        for _ in 0..requests {
            self.pool.checkout(now);
            self.poll();
        }
    }

    fn dialed(&mut self, capacity: Capacity, now: Moment) {
        let permit = self.permits.remove(0);
        self.pool.dialed(permit, capacity, now);
        self.poll();
    }

    fn dial_failed(&mut self, now: Moment) {
        let permit = self.permits.remove(0);
        self.pool.dial_failed(permit, now);
        self.poll();
    }

    fn returned(&mut self, now: Moment) {
        let lease = self.leases.remove(0);
        self.pool.returned(lease, now);
        self.poll();
    }
}

fn of(sharing: Sharing) -> Stage {
    Stage::new(Settings { sharing, ..Settings::default() })
}

fn at(millis: u64) -> Moment {
    START.after(Duration::from_millis(millis))
}

#[test]
fn burst_to_unknown_origin_dials_once() {
    for sharing in [Sharing::Unknown, Sharing::Always] {
        let mut stage = of(sharing);
        stage.burst(100, START);
        assert_eq!(stage.permits.len(), 1, "{sharing:?}");
        stage.dialed(MANY, at(1));
        assert_eq!((stage.leases.len(), stage.permits.len()), (100, 0));
        // The next burst needs one connection more, and no more than that.
        stage.burst(100, at(2));
        assert_eq!(stage.permits.len(), 1);
    }
}

#[test]
fn exclusive_answer_dials_for_all_others() {
    let mut stage = of(Sharing::Unknown);
    stage.burst(100, START);
    stage.dialed(Capacity::Exclusive, at(1));
    assert_eq!((stage.leases.len(), stage.permits.len(), stage.rejected.len()), (1, 99, 0));
    // The forecast stays: the next burst dials for each at once.
    stage.burst(10, at(2));
    assert_eq!(stage.permits.len(), 109);
}

#[test]
fn wrong_guess_rejects_no_request() {
    let mut stage = of(Sharing::Always);
    stage.burst(10, START);
    stage.dialed(Capacity::Exclusive, at(1));
    assert_eq!((stage.leases.len(), stage.permits.len()), (1, 9));
    stage.dialed(MANY, at(2));
    assert_eq!((stage.leases.len(), stage.pool.waiting()), (10, 0));
    while !stage.permits.is_empty() {
        stage.dialed(MANY, at(3));
    }
    assert_eq!((stage.rejected.len(), stage.pool.idle()), (0, 8), "surplus dials go idle");
}

#[test]
fn gated_failure_rejects_the_oldest_alone() {
    let mut stage = of(Sharing::Unknown);
    stage.burst(100, START);
    stage.dial_failed(at(1));
    assert_eq!(stage.rejected, [RejectReason::DialFailed]);
    assert_eq!(stage.permits.len(), 99, "the gate is open");
}

#[test]
fn known_origin_that_fails_answers_all() {
    let mut stage = of(Sharing::Always);
    stage.burst(100, START);
    stage.dial_failed(at(1));
    assert_eq!((stage.rejected.len(), stage.permits.len()), (1, 1), "the others came later");
    stage.dial_failed(at(2));
    assert_eq!((stage.rejected.len(), stage.permits.len()), (100, 0));
}

/// A black hole in front: one dial more for each step, and no more than one for each request.
#[test]
fn slow_first_dial_is_joined_by_others() {
    for sharing in [Sharing::Unknown, Sharing::Always] {
        let mut stage = of(sharing);
        stage.burst(3, START);
        for (millis, dials) in [(249, 1), (250, 2), (499, 2), (500, 3), (1_000, 3)] {
            stage.pool.tick(at(millis));
            stage.poll();
            assert_eq!(stage.permits.len(), dials, "after {millis} ms");
        }
        assert!(stage.pool.next_deadline().is_never(), "a dial for each");
    }
}

/// With the gate and a limit of two dials, no request waits for longer than two of them.
#[test]
fn gated_origin_that_is_down_fails_fast() {
    for limit in [1, 2, 10] {
        let max_connections = Limit::at_most(limit);
        let settings =
            Settings { sharing: Sharing::Unknown, max_connections, ..Settings::default() };
        let mut stage = Stage::new(settings);
        stage.burst(100, START);
        // Each dial takes four seconds.
        let mut ends = vec![at(4_000)];
        while let Some(end) = (!ends.is_empty()).then(|| ends.remove(0)) {
            let next = stage.pool.next_deadline();
            if next < end {
                ends.insert(0, end);
                stage.pool.tick(next);
                stage.poll();
                ends.push(next.after(Duration::from_secs(4)));
                continue;
            }
            let before = stage.permits.len();
            stage.dial_failed(end);
            ends.extend(
                (before - 1..stage.permits.len()).map(|_| end.after(Duration::from_secs(4))),
            );
            if stage.rejected.len() == 100 {
                assert!(end <= at(8_250), "limit {limit}: {end:?}");
                break;
            }
        }
        assert_eq!(stage.rejected.len(), 100, "limit {limit}");
    }
}

#[test]
fn streams_need_few_connections() {
    let settings = Settings { sharing: Sharing::Always, max_streams: 25, ..Settings::default() };
    let mut stage = Stage::new(settings);
    stage.burst(100, START);
    assert_eq!(stage.permits.len(), 4);
    while !stage.permits.is_empty() {
        stage.dialed(MANY, at(1));
    }
    assert_eq!((stage.leases.len(), stage.pool.active()), (100, 4));
    // Load falls to ten streams: they end on the fullest, and the others go idle.
    for millis in 0..2_000 {
        while stage.leases.len() >= 10 {
            stage.returned(at(millis));
        }
        stage.burst(1, at(millis));
    }
    assert_eq!((stage.pool.active(), stage.pool.idle()), (1, 3));
    assert_eq!(stage.pool.counts().opened, 4);
}

#[test]
fn spread_uses_the_emptiest() {
    let settings =
        Settings { sharing: Sharing::Always, max_streams: 5, spread: true, ..Settings::default() };
    let mut stage = Stage::new(settings);
    stage.burst(10, START);
    stage.dialed(MANY, at(1));
    stage.dialed(MANY, at(1));
    while !stage.leases.is_empty() {
        stage.returned(at(2));
    }
    stage.burst(4, at(3));
    assert_eq!((stage.pool.active(), stage.pool.idle()), (2, 0));
}

#[test]
fn shared_connections_end_by_draining() {
    let base = Settings { sharing: Sharing::Always, ..Settings::default() };
    let lived = Settings { max_lifetime: Duration::from_secs(1), ..base };
    let counted = Settings { max_exchanges: Limit::at_most(2), ..base };
    for (settings, reason) in
        [(lived, CloseReason::Lifetime), (counted, CloseReason::ExchangeLimit)]
    {
        let mut stage = Stage::new(settings);
        stage.burst(2, START);
        stage.dialed(MANY, START);
        stage.burst(1, at(1_000));
        assert_eq!((stage.leases.len(), stage.permits.len()), (2, 1), "{reason:?}");
        stage.returned(at(1_000));
        assert_eq!(stage.closed, [], "a stream is left");
        stage.returned(at(1_000));
        assert_eq!(stage.closed, [(reason, Closer::Client)]);
    }
}

/// A surplus that was counted on a dial that brings less is told so at once.
#[test]
fn surplus_waiters_are_shed() {
    let settings = Settings {
        sharing: Sharing::Unknown,
        max_connections: Limit::at_most(2),
        max_waiters: Limit::at_most(3),
        ..Settings::default()
    };
    let mut stage = Stage::new(settings);
    stage.burst(10, START);
    stage.dialed(Capacity::Exclusive, at(1));
    assert_eq!((stage.leases.len(), stage.permits.len(), stage.pool.waiting()), (1, 1, 4));
    assert_eq!(stage.rejected, [RejectReason::TooManyWaiters; 5]);
}

/// Settings of the peer: none, and then a hundred.
#[test]
fn peer_without_streams_is_waited_for() {
    let mut stage = of(Sharing::Always);
    stage.burst(5, START);
    let permit = stage.permits.remove(0);
    let connection = stage.pool.dialed(permit, Capacity::Shared { streams: 0 }, START);
    stage.poll();
    assert_eq!((stage.leases.len(), stage.permits.len()), (0, 0), "no storm of dials");
    stage.pool.resized(connection, 100, at(1));
    stage.poll();
    assert_eq!(stage.leases.len(), 5);
    stage.pool.resized(connection, 3, at(2));
    stage.returned(at(3));
    stage.burst(1, at(3));
    assert_eq!((stage.leases.len(), stage.permits.len()), (4, 1), "none beyond the limit");
}

#[test]
fn suspect_siblings_close_unless_answered() {
    for answered in [false, true] {
        let mut stage = of(Sharing::Never);
        stage.burst(2, START);
        let mut ids = Vec::new();
        while !stage.permits.is_empty() {
            let permit = stage.permits.remove(0);
            ids.push(stage.pool.dialed(permit, Capacity::Exclusive, START));
            stage.poll();
        }
        stage.returned(START);
        stage.returned(START);
        for id in &ids {
            assert!(stage.pool.suspect(*id, at(1)));
        }
        stage.burst(1, at(2));
        assert_eq!((stage.leases.len(), stage.permits.len()), (0, 1), "it dials");
        if answered {
            ids.iter().for_each(|id| stage.pool.trusted(*id, at(3)));
            stage.poll();
            assert_eq!(stage.leases.len(), 1);
        }
        let end = at(1).after(Pool::SUSPECT_FOR);
        stage.pool.tick(end);
        stage.poll();
        let left = if answered { (1, 0) } else { (0, 2) };
        assert_eq!((stage.pool.idle(), stage.closed.len()), left);
    }
}

/// Another origin's claim is served, though streams overlap for ever.
#[test]
fn busy_connection_yields_its_place() {
    let settings =
        Settings { sharing: Sharing::Always, shares_places: true, ..Settings::default() };
    let mut pool = Pool::new(settings);
    let mut limit = keepwarm_pool::SharedLimit::<u8, ()>::new(Limit::at_most(1));
    pool.checkout(START);
    let Some(Effect::Claim { claim, since }) = pool.poll_effect() else { panic!("a claim") };
    limit.claim(0, (), since);
    let Some(keepwarm_pool::Work::Grant { place, .. }) = limit.poll_work() else {
        panic!("a place")
    };
    assert!(pool.granted(claim, place, START));
    let Some(Effect::Dial(permit)) = pool.poll_effect() else { panic!("a dial") };
    pool.dialed(permit, MANY, START);
    let Some(Effect::Assign(one)) = pool.poll_effect() else { panic!("a stream") };
    pool.oldest_claim_waits(at(10));
    pool.checkout(at(50));
    let Some(Effect::Assign(other)) = pool.poll_effect() else { panic!("a stream") };
    pool.checkout(at(200));
    assert!(matches!(pool.poll_effect(), Some(Effect::Claim { .. })), "it waits its turn");
    pool.returned(one.lease, at(201));
    pool.returned(other.lease, at(202));
    let Some(Effect::Close { reason, .. }) = pool.poll_effect() else { panic!("a close") };
    assert_eq!(reason, CloseReason::TotalLimit);
    let Some(Effect::Release(place)) = pool.poll_effect() else { panic!("a place") };
    limit.release(place);
}
