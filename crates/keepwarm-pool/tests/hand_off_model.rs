//! Loom model of the hand-off: no wake-up and no place is lost, however the threads interleave.
//!
//! The pools and the shared limit are the product's own. Around them stands a copy of the client's
//! code, with loom's locks: one lock for each pool, one function that feeds it and performs the effects
//! after the lock (`pool/origin/feed.rs`); an answer in a channel whose receiver may be dropped at any
//! time, with a lease in it that returns by being dropped (`exchange/acquire.rs`, `pool/lease.rs`); a
//! dial in a thread of its own; one worker for the shared limit (`pool/connection_limit.rs`). The
//! client also skips the search for idle connections when a counter says that there are none, which
//! needs sequentially consistent atomics; loom has none, so here the search is always made.
//!
//! A thread that waits for ever is a deadlock, which loom reports.

#![allow(clippy::unwrap_used, reason = "a poisoned lock has failed the test already")]

use std::collections::BTreeMap;
use std::sync::Arc;

use keepwarm_pool::{
    Capacity, ClaimId, CloseReason, DialPermit, Effect, Lease, Limit, Moment, Place, Pool,
    RejectReason, Settings, SharedLimit, Sharing, WaiterId, Work,
};
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Condvar, Mutex};

const NOW: Moment = Moment::ZERO;

type Answer = Result<Granted, RejectReason>;

/// A connection on loan. Dropped, it returns.
struct Granted {
    house: Arc<House>,
    pool: usize,
    lease: Option<Lease>,
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.house.feed(self.pool, |state| state.pool.returned(lease, NOW));
        }
    }
}

/// A channel for one answer.
#[derive(Default)]
struct Channel {
    state: Mutex<Letter>,
    arrived: Condvar,
}

#[derive(Default)]
enum Letter {
    #[default]
    None,
    Sent(Answer),
    Gone,
}

impl Channel {
    /// Sends an answer; returns it if the receiver is gone.
    fn send(&self, answer: Answer) -> Option<Answer> {
        let mut state = self.state.lock().unwrap();
        if matches!(*state, Letter::Gone) {
            return Some(answer);
        }
        *state = Letter::Sent(answer);
        drop(state);
        self.arrived.notify_one();
        None
    }

    fn receive(&self) -> Answer {
        let mut state = self.state.lock().unwrap();
        loop {
            match std::mem::replace(&mut *state, Letter::Gone) {
                Letter::Sent(answer) => return answer,
                Letter::None => *state = Letter::None,
                Letter::Gone => panic!("received once"),
            }
            state = self.arrived.wait(state).unwrap();
        }
    }

    /// Drops the receiver, and returns the letter that has arrived.
    fn abandon(&self) -> Letter {
        std::mem::replace(&mut *self.state.lock().unwrap(), Letter::Gone)
    }
}

struct State {
    pool: Pool,
    waiters: BTreeMap<WaiterId, Arc<Channel>>,
}

/// Action to perform after the lock.
enum Action {
    Dial(DialPermit),
    Answer(Arc<Channel>, Answer),
    Claim(ClaimId, Moment),
    Withdraw(ClaimId),
    Release(Place),
}

struct House {
    pools: Vec<Mutex<State>>,
    limit: Option<Mutex<SharedLimit<(usize, ClaimId), usize>>>,
    oldest_claim: AtomicU64,
    dials: Mutex<Vec<loom::thread::JoinHandle<()>>>,
    capacity: Capacity,
}

impl House {
    fn new(pools: usize, settings: Settings, places: Option<u32>) -> Arc<Self> {
        let settings = Settings { shares_places: places.is_some(), ..settings };
        let state = || State { pool: Pool::new(settings), waiters: BTreeMap::new() };
        Arc::new(Self {
            pools: (0..pools).map(|_| Mutex::new(state())).collect(),
            limit: places.map(|count| Mutex::new(SharedLimit::new(Limit::at_most(count)))),
            oldest_claim: AtomicU64::new(Moment::NEVER.as_nanos()),
            dials: Mutex::new(Vec::new()),
            capacity: match settings.sharing {
                Sharing::Never => Capacity::Exclusive,
                _ => Capacity::Shared { streams: settings.max_streams },
            },
        })
    }

    fn feed<R>(self: &Arc<Self>, number: usize, input: impl FnOnce(&mut State) -> R) -> R {
        self.feed_answered(number, input).0
    }

    /// Locks, feeds one input, moves the effects out, unlocks, performs them. Returns the answer to
    /// the checkout that this very input made, if it has one.
    fn feed_answered<R>(
        self: &Arc<Self>,
        number: usize,
        input: impl FnOnce(&mut State) -> R,
    ) -> (R, Option<Answer>) {
        let (mut actions, mut own) = (Vec::new(), None);
        let mut state = self.pools[number].lock().unwrap();
        let idle = state.pool.idle();
        state.pool.oldest_claim_waits(self.oldest_claim());
        let result = input(&mut state);
        while let Some(effect) = state.pool.poll_effect() {
            let (waiter, answer) = match effect {
                Effect::Assign(assigned) => {
                    let (house, lease) = (Arc::clone(self), Some(assigned.lease));
                    (assigned.waiter, Ok(Granted { house, pool: number, lease }))
                }
                Effect::Reject { waiter, reason } => (waiter, Err(reason)),
                Effect::Dial(permit) => {
                    actions.push(Action::Dial(permit));
                    continue;
                }
                Effect::Claim { claim, since } => {
                    actions.push(Action::Claim(claim, since));
                    continue;
                }
                Effect::Withdraw(claim) => {
                    actions.push(Action::Withdraw(claim));
                    continue;
                }
                Effect::Release(place) => {
                    actions.push(Action::Release(place));
                    continue;
                }
                Effect::Close { .. } | Effect::AbortDial(_) => continue,
            };
            match state.waiters.remove(&waiter) {
                Some(channel) => actions.push(Action::Answer(channel, answer)),
                None => own = Some(answer),
            }
        }
        let idle_appeared = state.pool.idle() > idle;
        drop(state);
        self.perform(number, actions, idle_appeared);
        (result, own)
    }

    fn perform(self: &Arc<Self>, number: usize, actions: Vec<Action>, idle_appeared: bool) {
        let mut moved = false;
        for action in actions {
            match action {
                Action::Dial(permit) => {
                    let house = Arc::clone(self);
                    let dial = loom::thread::spawn(move || {
                        let capacity = house.capacity;
                        house.feed(number, |state| state.pool.dialed(permit, capacity, NOW));
                    });
                    self.dials.lock().unwrap().push(dial);
                }
                Action::Answer(channel, answer) => drop(channel.send(answer)),
                Action::Claim(claim, since) => {
                    self.with_limit(|limit| limit.claim((number, claim), number, since));
                    moved = true;
                }
                Action::Withdraw(claim) => {
                    self.with_limit(|limit| limit.withdraw((number, claim)));
                    moved = true;
                }
                Action::Release(place) => {
                    self.with_limit(|limit| limit.release(place));
                    moved = true;
                }
            }
        }
        if idle_appeared && !self.oldest_claim().is_never() {
            self.with_limit(SharedLimit::idle_appeared);
            moved = true;
        }
        if moved {
            self.work();
        }
    }

    /// Works for the limit; there is one worker at a time.
    fn work(self: &Arc<Self>) {
        if !self.with_limit(SharedLimit::begin_work) {
            return;
        }
        while let Some(work) = self.with_limit(SharedLimit::poll_work) {
            match work {
                Work::Grant { key, pool, place } => {
                    let over = self.feed(pool, |state| state.pool.granted(key.1, place, NOW));
                    self.with_limit(|limit| limit.granted(key, over));
                }
                Work::Evict => {
                    let found = self.evict();
                    self.with_limit(|limit| limit.evicted(found));
                }
                Work::Defer { key, pool } => {
                    self.feed(pool, |state| state.pool.deferred(key.1, NOW));
                }
            }
        }
    }

    fn evict(self: &Arc<Self>) -> bool {
        loop {
            let since = |pool: &usize| self.pools[*pool].lock().unwrap().pool.oldest_idle();
            let found = (0..self.pools.len()).find(|pool| since(pool).is_some());
            let Some(pool) = found else { return false };
            let reason = CloseReason::TotalLimit;
            if self.feed(pool, |state| state.pool.evict_oldest(reason, NOW)) {
                return true;
            }
        }
    }

    fn oldest_claim(&self) -> Moment {
        match self.limit {
            Some(_) => Moment::from_nanos(self.oldest_claim.load(Ordering::SeqCst)),
            None => Moment::NEVER,
        }
    }

    fn with_limit<R>(
        &self,
        change: impl FnOnce(&mut SharedLimit<(usize, ClaimId), usize>) -> R,
    ) -> R {
        let mut limit = self.limit.as_ref().expect("places are shared").lock().unwrap();
        let result = change(&mut limit);
        self.oldest_claim.store(limit.oldest_claim().as_nanos(), Ordering::SeqCst);
        result
    }

    /// Asks for a connection for a request, which may have to wait.
    fn ask(self: &Arc<Self>, pool: usize) -> Result<Answer, Waiting> {
        let (queued, own) = self.feed_answered(pool, |state| {
            let waiter = state.pool.checkout(NOW);
            state.pool.is_waiting(waiter).then(|| {
                let channel = Arc::new(Channel::default());
                state.waiters.insert(waiter, Arc::clone(&channel));
                (waiter, channel)
            })
        });
        match (own, queued) {
            (Some(answer), _) => Ok(answer),
            (None, Some((waiter, channel))) => {
                Err(Waiting { house: Arc::clone(self), pool, waiter, channel })
            }
            (None, None) => panic!("answered, or waits"),
        }
    }

    /// Runs a request from the beginning to the end of its exchange.
    fn request(self: &Arc<Self>, pool: usize) {
        let answer = match self.ask(pool) {
            Ok(answer) => answer,
            Err(waiting) => waiting.channel.receive(),
        };
        assert!(answer.is_ok(), "nothing fails here");
    }

    /// Runs a request that gives up as soon as it has to wait.
    fn hasty_request(self: &Arc<Self>, pool: usize) {
        if let Err(waiting) = self.ask(pool) {
            waiting.give_up();
        }
    }

    /// Opens a connection that stays in use.
    fn open(self: &Arc<Self>, pool: usize) -> Granted {
        let answer = match self.ask(pool) {
            Ok(answer) => answer,
            Err(waiting) => waiting.channel.receive(),
        };
        self.join_dials();
        answer.unwrap_or_else(|reason| panic!("{reason:?}"))
    }

    fn join_dials(&self) {
        loop {
            let dial = self.dials.lock().unwrap().pop();
            let Some(dial) = dial else { return };
            dial.join().unwrap();
        }
    }

    /// Checks after all threads have ended: every connection is idle, no request waits, none is lost.
    fn assert_at_rest(&self, most: usize) {
        self.join_dials();
        let mut alive = 0;
        for state in &self.pools {
            let state = state.lock().unwrap();
            assert_eq!(
                (state.pool.active(), state.pool.waiting(), state.pool.dialing()),
                (0, 0, 0)
            );
            assert!(state.waiters.is_empty());
            alive += state.pool.idle();
        }
        assert!(alive <= most, "{alive} connections");
        if self.limit.is_some() {
            self.with_limit(|limit| {
                assert_eq!((limit.taken(), limit.waiting()), (alive, 0));
                assert!(limit.is_settled());
            });
        }
    }
}

struct Waiting {
    house: Arc<House>,
    pool: usize,
    waiter: WaiterId,
    channel: Arc<Channel>,
}

impl Waiting {
    /// Gives up like a dropped future: leaves the queue, and then drops the channel.
    fn give_up(self) {
        self.house.feed(self.pool, |state| {
            state.pool.cancel(self.waiter, NOW).then(|| state.waiters.remove(&self.waiter))
        });
        drop(self.channel.abandon());
    }
}

fn one_connection() -> Settings {
    Settings { max_connections: Limit::at_most(1), ..Settings::default() }
}

/// Explores every interleaving with up to so many switches away from a thread that could have gone on.
fn explore(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(scenario);
}

fn spawn(
    house: &Arc<House>,
    work: impl FnOnce(&Arc<House>) + 'static,
) -> loom::thread::JoinHandle<()> {
    let house = Arc::clone(house);
    loom::thread::spawn(move || work(&house))
}

#[test]
fn return_serves_crossing_checkout() {
    explore(3, || {
        let house = House::new(1, one_connection(), None);
        let held = house.open(0);
        let other = spawn(&house, |house| house.request(0));
        drop(held);
        other.join().unwrap();
        house.assert_at_rest(1);
    });
}

#[test]
fn return_survives_crossing_cancellation() {
    explore(3, || {
        let house = House::new(1, one_connection(), None);
        let held = house.open(0);
        let Err(waiting) = house.ask(0) else { panic!("the one connection is in use") };
        let patient = spawn(&house, |house| house.request(0));
        let hasty = spawn(&house, move |_| waiting.give_up());
        drop(held);
        hasty.join().unwrap();
        patient.join().unwrap();
        house.assert_at_rest(1);
    });
}

#[test]
fn dial_survives_crossing_cancellation() {
    explore(3, || {
        let house = House::new(1, one_connection(), None);
        house.hasty_request(0);
        house.request(0);
        house.assert_at_rest(1);
        assert_eq!(house.pools[0].lock().unwrap().pool.counts().opened, 1);
    });
}

fn one_connection_of(max_streams: u32) -> Settings {
    Settings { sharing: Sharing::Always, max_streams, ..one_connection() }
}

/// A stream is free at the moment when another request asks for one, and its connection is lost
/// for a third one at most.
#[test]
fn returned_stream_serves_crossing_checkout() {
    explore(3, || {
        let house = House::new(1, one_connection_of(2), None);
        let held = [house.open(0), house.open(0)];
        let other = spawn(&house, |house| house.request(0));
        drop(held);
        other.join().unwrap();
        house.assert_at_rest(1);
    });
}

#[test]
fn two_requests_share_one_dial() {
    explore(2, || {
        let house = House::new(1, one_connection_of(2), None);
        let others = [0, 0].map(|pool| spawn(&house, move |house| house.request(pool)));
        for other in others {
            other.join().unwrap();
        }
        house.assert_at_rest(1);
        assert_eq!(house.pools[0].lock().unwrap().pool.counts().opened, 1);
    });
}

/// Two pools of streams share one place: neither keeps it for ever.
#[test]
fn freed_stream_serves_crossing_claim() {
    explore(2, || {
        let house = House::new(2, one_connection_of(2), Some(1));
        let held = house.open(0);
        let other = spawn(&house, |house| house.request(1));
        drop(held);
        other.join().unwrap();
        house.assert_at_rest(1);
    });
}

/// One pool frees the room, another one claims it.
#[test]
fn freed_room_serves_crossing_claim() {
    explore(3, || {
        let house = House::new(2, Settings::default(), Some(1));
        let held = house.open(0);
        let other = spawn(&house, |house| house.request(1));
        drop(held);
        other.join().unwrap();
        house.assert_at_rest(1);
    });
}

/// The claim is withdrawn, maybe before it has arrived.
/// The claim is of its own pool.
#[test]
fn return_leaves_no_crossing_claim() {
    explore(3, || {
        let house = House::new(1, Settings::default(), Some(1));
        let held = house.open(0);
        let other = spawn(&house, |house| house.request(0));
        drop(held);
        other.join().unwrap();
        house.assert_at_rest(1);
    });
}

#[test]
fn two_claims_share_one_place() {
    explore(2, || {
        let house = House::new(2, Settings::default(), Some(1));
        let others = [0, 1].map(|pool| spawn(&house, move |house| house.request(pool)));
        for other in others {
            other.join().unwrap();
        }
        house.assert_at_rest(1);
    });
}

/// The claim is given up while room is found for it.
#[test]
fn withdrawn_claim_takes_no_room() {
    explore(3, || {
        let house = House::new(2, Settings::default(), Some(1));
        let held = house.open(0);
        let Err(waiting) = house.ask(1) else { panic!("the one place is taken") };
        let hasty = spawn(&house, move |_| waiting.give_up());
        drop(held);
        hasty.join().unwrap();
        house.assert_at_rest(1);
        house.request(1);
        house.assert_at_rest(1);
    });
}
