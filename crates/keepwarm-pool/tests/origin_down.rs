//! While an origin has no open connection, no waiter waits longer than two dials take.

use std::collections::BTreeMap;

use keepwarm_pool::{
    ClaimId, DialPermit, Effect, Limit, Moment, Pool, Settings, SharedLimit, WaiterId, Work,
};
use proptest::prelude::*;

/// The longest that a dial takes.
const DIAL: u64 = 1_000;

/// Pools whose dials all fail, with a clock.
struct Down {
    pools: Vec<Pool>,
    limit: SharedLimit<(usize, ClaimId), usize>,
    now: u64,
    /// Dials by the moment when they fail.
    dials: Vec<(u64, usize, DialPermit)>,
    /// When each waiter came, or its pool was first granted a place after that.
    waiters: BTreeMap<(usize, WaiterId), Option<u64>>,
    longest: u64,
    spans: std::vec::IntoIter<u64>,
}

impl Down {
    fn new(cap: Option<u32>, places: Option<u32>, pools: usize, spans: Vec<u64>) -> Self {
        let at_most = |limit: Option<u32>| limit.map_or(Limit::NONE, Limit::at_most);
        let settings = Settings {
            max_connections: at_most(cap),
            shares_places: places.is_some(),
            ..Settings::default()
        };
        Self {
            pools: (0..pools).map(|_| Pool::new(settings)).collect(),
            limit: SharedLimit::new(at_most(places)),
            now: 0,
            dials: Vec::new(),
            waiters: BTreeMap::new(),
            longest: 0,
            spans: spans.into_iter(),
        }
    }

    fn feed(&mut self, number: usize, input: impl FnOnce(&mut Pool, Moment)) {
        input(&mut self.pools[number], Moment::from_nanos(self.now));
        while let Some(effect) = self.pools[number].poll_effect() {
            match effect {
                Effect::Dial(permit) => {
                    let span = self.spans.next().unwrap_or(DIAL);
                    self.dials.push((self.now + span, number, permit));
                }
                Effect::Reject { waiter, .. } => {
                    let since = self.waiters.remove(&(number, waiter)).expect("a waiter");
                    self.longest = self.longest.max(self.now - since.unwrap_or(self.now));
                }
                Effect::Claim { claim, since } => self.limit.claim((number, claim), number, since),
                Effect::Withdraw(claim) => self.limit.withdraw((number, claim)),
                Effect::Release(place) => self.limit.release(place),
                other => panic!("{other:?}"),
            }
        }
    }

    fn work(&mut self) {
        if !self.limit.begin_work() {
            return;
        }
        while let Some(work) = self.limit.poll_work() {
            match work {
                Work::Grant { key, pool, place } => {
                    let mut over = false;
                    let now = self.now;
                    for ((number, _), since) in &mut self.waiters {
                        if *number == pool {
                            since.get_or_insert(now);
                        }
                    }
                    self.feed(pool, |pool, now| over = pool.granted(key.1, place, now));
                    self.limit.granted(key, over);
                }
                Work::Evict => self.limit.evicted(false),
                Work::Defer { key, pool } => {
                    self.feed(pool, |pool, now| pool.deferred(key.1, now));
                }
            }
        }
    }

    fn come(&mut self, pool: usize, shared: bool) {
        let mut waiter = None;
        let now = self.now;
        // Filed first: with a dial of no time it could end at once.
        self.feed(pool, |pool, now| waiter = Some(pool.checkout(now)));
        let waiter = waiter.expect("checked out");
        self.waiters.insert((pool, waiter), (!shared).then_some(now));
        self.work();
    }

    /// Lets the next dial fail. False if none is under way.
    fn fail_next(&mut self) -> bool {
        let Some(next) = (0..self.dials.len()).min_by_key(|dial| self.dials[*dial].0) else {
            return false;
        };
        let (moment, pool, permit) = self.dials.remove(next);
        self.now = self.now.max(moment);
        self.feed(pool, |pool, now| pool.dial_failed(permit, now));
        self.work();
        true
    }

    fn pass_until(&mut self, moment: u64) {
        while self.dials.iter().any(|(ends, ..)| *ends <= moment) {
            self.fail_next();
        }
        self.now = self.now.max(moment);
    }
}

/// A burst of a hundred, whose every dial takes the whole time: the case of the issue.
#[test]
fn burst_to_a_dead_origin_ends_within_two_dials() {
    for cap in [None, Some(1), Some(2), Some(10)] {
        let mut down = Down::new(cap, None, 1, Vec::new());
        for _ in 0..100 {
            down.come(0, false);
        }
        while down.fail_next() {}
        assert!(down.waiters.is_empty());
        assert!(down.longest <= 2 * DIAL, "cap {cap:?}: {}", down.longest);
    }
}

#[test]
fn places_granted_late_answer_for_all() {
    let mut down = Down::new(None, Some(1), 3, Vec::new());
    for pool in 0..3 {
        for _ in 0..100 {
            down.come(pool, true);
        }
    }
    while down.fail_next() {}
    assert!(down.waiters.is_empty());
    assert!(down.longest <= 2 * DIAL, "{}", down.longest);
    assert!(down.now <= 6 * DIAL, "a place goes round: {}", down.now);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn no_waiter_waits_longer_than_two_dials(
        cap in prop_oneof![Just(None), (1..5_u32).prop_map(Some)],
        places in prop_oneof![Just(None), (1..4_u32).prop_map(Some)],
        arrivals in proptest::collection::vec((0..400_u64, 0..2_usize, 1..6_usize), 1..60),
        spans in proptest::collection::vec(0..=DIAL, 200),
    ) {
        let mut down = Down::new(cap, places, 2, spans);
        for (pause, pool, count) in arrivals {
            down.pass_until(down.now + pause);
            for _ in 0..count {
                down.come(pool, places.is_some());
            }
        }
        while down.fail_next() {}
        prop_assert!(down.waiters.is_empty());
        prop_assert!(down.longest <= 2 * DIAL, "{}", down.longest);
    }
}
