//! Several pools that share a limit, with their messages delivered in any order.
//!
//! The sequence of steps decides when each message between a pool and the limit is delivered; the
//! worker is interrupted between any two of its steps. There are never more dials and connections than
//! places, and once all is delivered no claim waits for a place that is free.

use std::collections::VecDeque;

use keepwarm_pool::{
    Capacity, ClaimId, CloseReason, Closer, DialPermit, Effect, Lease, Limit, Moment, Place, Pool,
    RejectReason, Replacement, Settings, SharedLimit, WaiterId, Work,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

type Key = (usize, ClaimId);

/// Call that a thread still has to make on the limit, after it has left the pool's lock. A place is
/// released after the close that it comes from, so those two are one message.
#[derive(Debug)]
enum Message {
    Claim(Key, Moment),
    Withdraw(Key),
    Release(Place),
    /// A pool has another idle connection: the limit is told if a claim waits.
    Idle,
}

/// Step of the one worker.
#[derive(Debug)]
enum Worker {
    Away,
    Free,
    Granting(Key, Place),
    Settling(Key, bool),
    /// Has looked at so many pools, and found the oldest idle connection there.
    Looking(usize, Option<(Moment, usize)>),
    Evicting(usize),
    Deferring(Key),
}

struct World {
    cap: u32,
    of_one: Limit,
    pools: Vec<Pool>,
    limit: SharedLimit<Key, usize>,
    worker: Worker,
    messages: Vec<Message>,
    permits: Vec<(usize, DialPermit)>,
    leases: Vec<(usize, Lease)>,
    waiters: Vec<(usize, WaiterId)>,
    clock: u64,
    /// Nanoseconds that the clock advances at each `Step::Pass`.
    tick: u64,
    rejected: u32,
    made_room: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(usize),
    Replace(usize),
    GiveUp(usize),
    Dialed(usize),
    DialFailed(usize),
    Returned(usize),
    Broken(usize),
    Deliver(usize),
    Work,
    Pass,
    CloseIdle(usize),
}

impl World {
    fn new(cap: u32, pools: usize, settings: Settings) -> Self {
        let settings = Settings { shares_places: true, ..settings };
        Self {
            cap,
            of_one: settings.max_connections,
            pools: (0..pools).map(|_| Pool::new(settings)).collect(),
            limit: SharedLimit::new(Limit::at_most(cap)),
            worker: Worker::Away,
            messages: Vec::new(),
            permits: Vec::new(),
            leases: Vec::new(),
            waiters: Vec::new(),
            clock: 0,
            tick: 1,
            rejected: 0,
            made_room: 0,
        }
    }

    fn now(&self) -> Moment {
        Moment::from_nanos(self.clock)
    }

    /// Feeds one input, and performs its effects: those for the limit become messages, the others are
    /// performed at once.
    fn feed<R>(&mut self, number: usize, input: impl FnOnce(&mut Pool, Moment) -> R) -> R {
        let now = self.now();
        let oldest = self.limit.oldest_claim();
        let pool = &mut self.pools[number];
        let idle = pool.idle();
        pool.oldest_claim_waits(oldest);
        let result = input(pool, now);
        while let Some(effect) = pool.poll_effect() {
            match effect {
                Effect::Dial(permit) => self.permits.push((number, permit)),
                Effect::AbortDial(_) => {}
                Effect::Assign(assigned) => {
                    self.waiters.retain(|waiter| *waiter != (number, assigned.waiter));
                    self.leases.push((number, assigned.lease));
                }
                Effect::Reject { waiter, reason } => {
                    self.waiters.retain(|other| *other != (number, waiter));
                    self.rejected += u32::from(reason == RejectReason::TooManyWaiters);
                }
                Effect::Close { reason, .. } => {
                    self.made_room += u32::from(reason == CloseReason::TotalLimit);
                }
                Effect::Claim { claim, since } => {
                    self.messages.push(Message::Claim((number, claim), since));
                }
                Effect::Withdraw(claim) => self.messages.push(Message::Withdraw((number, claim))),
                Effect::Release(place) => self.messages.push(Message::Release(place)),
            }
        }
        if self.pools[number].idle() > idle {
            self.messages.push(Message::Idle);
        }
        result
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask(which) => {
                let pool = which % self.pools.len();
                let waiter = self.feed(pool, Pool::checkout);
                if self.pools[pool].is_waiting(waiter) {
                    self.waiters.push((pool, waiter));
                }
            }
            Step::Replace(which) => {
                if let Some((pool, lease)) = remove(&mut self.leases, which) {
                    let end = (CloseReason::ExchangeFailed, Closer::Server);
                    let waiter = self
                        .feed(pool, |pool, now| pool.replace(lease, end, Replacement::Fresh, now));
                    if self.pools[pool].is_waiting(waiter) {
                        self.waiters.push((pool, waiter));
                    }
                }
            }
            Step::GiveUp(which) => {
                if let Some((pool, waiter)) = remove(&mut self.waiters, which) {
                    self.feed(pool, |pool, now| pool.cancel(waiter, now));
                }
            }
            Step::Dialed(which) => {
                if let Some((pool, permit)) = remove(&mut self.permits, which) {
                    self.feed(pool, |pool, now| pool.dialed(permit, Capacity::Exclusive, now));
                }
            }
            Step::DialFailed(which) => {
                if let Some((pool, permit)) = remove(&mut self.permits, which) {
                    self.feed(pool, |pool, now| pool.dial_failed(permit, now));
                }
            }
            Step::Returned(which) => {
                if let Some((pool, lease)) = remove(&mut self.leases, which) {
                    self.feed(pool, |pool, now| pool.returned(lease, now));
                }
            }
            Step::Broken(which) => {
                if let Some((pool, lease)) = remove(&mut self.leases, which) {
                    let reason = CloseReason::ExchangeFailed;
                    self.feed(pool, |pool, now| pool.closed(lease, reason, Closer::Server, now));
                }
            }
            Step::Deliver(which) => {
                if let Some(message) = remove(&mut self.messages, which) {
                    self.deliver(message);
                }
            }
            Step::Work => self.work(),
            Step::Pass => self.clock += self.tick,
            Step::CloseIdle(which) => {
                let pool = which % self.pools.len();
                self.feed(pool, Pool::close_idle);
            }
        }
        self.audit();
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Claim(key, since) => self.limit.claim(key, key.0, since),
            Message::Withdraw(key) => self.limit.withdraw(key),
            Message::Release(place) => self.limit.release(place),
            Message::Idle if self.limit.oldest_claim().is_never() => return,
            Message::Idle => self.limit.idle_appeared(),
        }
        if self.limit.begin_work() {
            assert!(matches!(self.worker, Worker::Away), "one worker at a time");
            self.worker = Worker::Free;
        }
    }

    fn work(&mut self) {
        self.worker = match std::mem::replace(&mut self.worker, Worker::Away) {
            Worker::Away => Worker::Away,
            Worker::Free => match self.limit.poll_work() {
                None => Worker::Away,
                Some(Work::Grant { key, place, .. }) => Worker::Granting(key, place),
                Some(Work::Evict) => Worker::Looking(0, None),
                Some(Work::Defer { key, .. }) => Worker::Deferring(key),
            },
            Worker::Granting(key, place) => {
                let wanted = self.feed(key.0, |pool, now| pool.granted(key.1, place, now));
                Worker::Settling(key, wanted)
            }
            Worker::Settling(key, wanted) => {
                self.limit.granted(key, wanted);
                Worker::Free
            }
            Worker::Looking(looked, oldest) if looked < self.pools.len() => {
                let here = self.pools[looked].oldest_idle().map(|since| (since, looked));
                let older = [oldest, here].into_iter().flatten().min();
                Worker::Looking(looked + 1, older)
            }
            Worker::Looking(_, Some((_, pool))) => Worker::Evicting(pool),
            Worker::Looking(_, None) => {
                self.limit.evicted(false);
                Worker::Free
            }
            Worker::Evicting(pool) => {
                let reason = CloseReason::TotalLimit;
                if self.feed(pool, |pool, now| pool.evict_oldest(reason, now)) {
                    self.limit.evicted(true);
                    Worker::Free
                } else {
                    Worker::Looking(0, None)
                }
            }
            Worker::Deferring(key) => {
                self.feed(key.0, |pool, now| pool.deferred(key.1, now));
                Worker::Free
            }
        };
    }

    fn alive(&self) -> usize {
        self.pools.iter().map(|pool| pool.dialing() + pool.active() + pool.idle()).sum()
    }

    fn audit(&self) {
        assert!(self.alive() <= self.limit.taken(), "a place for each");
        assert!(self.limit.taken() <= self.cap as usize, "no more than there are");
    }

    /// Delivers all messages, and checks what holds then.
    fn settle(&mut self, order: usize) {
        let mut rounds = 0;
        while !(self.messages.is_empty() && matches!(self.worker, Worker::Away)) {
            rounds += 1;
            assert!(rounds < 100_000, "it comes to rest");
            self.step(if rounds % 2 == 0 { Step::Work } else { Step::Deliver(order + rounds) });
        }
        let claiming: usize = self.pools.iter().map(Pool::claiming).sum();
        assert_eq!(self.limit.waiting(), claiming, "every claim is known on both sides");
        assert_eq!(self.limit.taken(), self.alive(), "no place is lost");
        assert_eq!(self.limit.is_settled(), claiming == 0, "nothing is remembered in vain");
        if claiming > 0 {
            assert_eq!(self.alive(), self.cap as usize, "no claim waits while a place is free");
            let idle: usize = self.pools.iter().map(Pool::idle).sum();
            assert_eq!(idle, 0, "no claim waits while a connection is idle in any pool");
        }
        for pool in &self.pools {
            let coming = pool.dialing() + pool.claiming();
            let room = self.of_one.has_room(pool.active() + pool.idle() + coming);
            assert!(
                pool.waiting() <= coming || !room,
                "no waiter without a dial, a claim or a limit"
            );
        }
    }

    /// Ends all waiters, dials and leases, and shuts down.
    fn end(mut self, order: usize) {
        let mut rounds = 0;
        while !(self.waiters.is_empty() && self.permits.is_empty() && self.leases.is_empty()) {
            rounds += 1;
            assert!(rounds < 10_000, "everybody is served");
            self.settle(order);
            self.step(Step::Dialed(0));
            self.step(Step::Returned(rounds));
        }
        for pool in 0..self.pools.len() {
            self.feed(pool, Pool::shut_down);
        }
        self.settle(order);
        assert_eq!((self.limit.taken(), self.limit.is_settled()), (0, true));
    }
}

fn remove<T>(held: &mut Vec<T>, which: usize) -> Option<T> {
    let which = which.checked_rem(held.len())?;
    Some(held.remove(which))
}

fn step() -> impl Strategy<Value = Step> {
    let which = || any::<u8>().prop_map(usize::from);
    prop_oneof![
        10 => which().prop_map(Step::Ask),
        1 => which().prop_map(Step::Replace),
        3 => which().prop_map(Step::GiveUp),
        6 => which().prop_map(Step::Dialed),
        1 => which().prop_map(Step::DialFailed),
        8 => which().prop_map(Step::Returned),
        1 => which().prop_map(Step::Broken),
        14 => which().prop_map(Step::Deliver),
        14 => Just(Step::Work),
        2 => Just(Step::Pass),
        1 => which().prop_map(Step::CloseIdle),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (proptest::option::of(1..4_u32), proptest::option::weighted(0.2, 0..4_u32)).prop_map(
        |(connections, waiters)| Settings {
            max_connections: connections.map_or(Limit::NONE, Limit::at_most),
            max_waiters: waiters.map_or(Limit::NONE, Limit::at_most),
            ..Settings::default()
        },
    )
}

/// Returns the length of a tick, so that as many of them as `passes` are the most that a waiter may
/// overtake a claim.
fn tick_of(passes: u64) -> u64 {
    let most = Pool::MAX_OVERTAKING.as_nanos() as u64;
    most.checked_div(passes).unwrap_or(2 * most)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        rng_seed: RngSeed::Fixed(6265),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_place_or_claim_is_lost(
        cap in 1..5_u32,
        pools in 1..4_usize,
        settings in settings(),
        overtaking in 0..20_u64,
        rest in 10..60_usize,
        steps in proptest::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(cap, pools, settings);
        world.tick = tick_of(overtaking);
        let order = steps.len();
        for (number, step) in steps.into_iter().enumerate() {
            // Later messages repair a lost one, so the checks are frequent.
            if number % rest == 0 {
                world.settle(order);
            }
            world.step(step);
        }
        world.settle(order);
        world.end(order);
    }
}

/// Runs every order of up to five steps of two pools with one place.
#[test]
fn every_short_sequence_comes_to_rest() {
    let alphabet = [
        Step::Ask(0),
        Step::Ask(1),
        Step::GiveUp(0),
        Step::Dialed(0),
        Step::Returned(0),
        Step::Deliver(0),
        Step::Deliver(1),
        Step::Work,
    ];
    let mut words: VecDeque<Vec<Step>> = VecDeque::from([Vec::new()]);
    let mut explored = 0;
    while let Some(word) = words.pop_front() {
        let mut world = World::new(1, 2, Settings::default());
        for step in &word {
            world.step(*step);
        }
        world.settle(word.len());
        world.end(word.len());
        explored += 1;
        if word.len() < 5 {
            words.extend(alphabet.map(|step| [word.as_slice(), &[step]].concat()));
        }
    }
    assert_eq!(explored, (0..=5).map(|length| 8_u32.pow(length)).sum::<u32>());
}

fn asked(world: &mut World, pool: usize) {
    world.step(Step::Ask(pool));
    world.settle(0);
}

/// Across pools.
#[test]
fn places_follow_the_claims_order() {
    let mut world = World::new(1, 3, Settings::default());
    for pool in [0, 2, 1, 2, 0] {
        asked(&mut world, pool);
        world.step(Step::Pass);
    }
    let mut served = Vec::new();
    while world.permits.len() + world.leases.len() > 0 {
        if let Some((pool, _)) = world.permits.first() {
            served.push(*pool);
        }
        world.step(Step::Dialed(0));
        world.step(Step::Broken(0));
        world.settle(0);
    }
    assert_eq!(served, [0, 2, 1, 2, 0]);
}

/// The oldest idle connection of all pools is closed.
#[test]
fn oldest_idle_connection_makes_room() {
    let mut world = World::new(2, 3, Settings::default());
    for pool in [1, 0] {
        asked(&mut world, pool);
        world.step(Step::Dialed(0));
        world.step(Step::Returned(0));
        world.step(Step::Pass);
    }
    asked(&mut world, 2);
    assert_eq!(world.pools.iter().map(Pool::idle).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!((world.made_room, world.permits.len()), (1, 1));
}

/// Returns how many connections made room. Pool 0 has the one connection and always a waiter; pool 1 has
/// one waiter.
fn overtaken(lateness: u64) -> u32 {
    let mut world = World::new(1, 2, Settings::default());
    asked(&mut world, 0);
    world.step(Step::Dialed(0));
    asked(&mut world, 1);
    world.clock += lateness * tick_of(10);
    asked(&mut world, 0);
    world.step(Step::Returned(0));
    world.settle(0);
    world.made_room
}

/// Within the limit a returned connection serves its own pool.
#[test]
fn overtaking_is_limited() {
    assert_eq!(overtaken(10), 0, "overtaken by a little, for the sake of a connection");
    assert_eq!(overtaken(11), 1, "no claim starves");
}

/// Only if no room can be made.
#[test]
fn waiter_limit_rejects_without_room() {
    let settings = Settings { max_waiters: Limit::at_most(0), ..Settings::default() };
    let mut world = World::new(1, 2, settings);
    asked(&mut world, 0);
    assert_eq!(world.rejected, 0, "there is room");
    world.step(Step::Dialed(0));
    asked(&mut world, 1);
    assert_eq!(world.rejected, 1, "it is in use");
    world.step(Step::Returned(0));
    asked(&mut world, 1);
    assert_eq!((world.rejected, world.made_room), (1, 1), "it was idle");
}
