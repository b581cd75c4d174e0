//! Drives a real pool and the model side by side, and audits after each input.
//!
//! An [`Operation`] says "the second outstanding permit"; the [`Driver`] turns it into an
//! [`Input`] for what is outstanding, gives that to the pool, to the [`Model`] that predicts the
//! effects, to the [`Ledger`] that knows no prediction but the obligations, and to the [`Coverage`]
//! that notes which paths were taken.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod coverage;
pub(crate) mod ledger;
pub(crate) mod model;
pub(crate) mod paths;

use std::collections::BTreeSet;

use keepwarm_pool::{
    Advice, Capacity, ClaimId, CloseReason, Closer, ConnectionId, DialId, DialPermit, Effect,
    Lease, Limit, Moment, Place, Pool, Replacement, SharedLimit, WaiterId, Work,
};

use self::coverage::Coverage;
use self::ledger::Ledger;
use self::model::{Decision, Model, Rules};
use self::paths::Path;

/// Something to try. It is refused when there is nothing to pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The driver's clock moves; the pool hears of it with the next input.
    Pass(u64),
    /// The driver's clock is behind: the next inputs come from a thread that read it earlier.
    Rewind(u64),
    Checkout,
    /// A leased connection breaks, and its request asks for another one.
    Replace(Pick, Replacement),
    Cancel(Pick),
    /// Cancel a waiter that has ended.
    CancelEnded(Pick),
    Dialed(Pick),
    DialFailed(Pick),
    DialRefused(Pick),
    /// The server says how long it keeps the connection, and for how many exchanges more.
    Advised(Pick, Option<u64>, Option<u64>),
    Returned(Pick),
    ReturnedUnused(Pick),
    Closed(Pick, CloseReason, Closer),
    Inspect(Pick),
    /// Inspect a connection that is active or closed.
    InspectOther(Pick),
    Evict,
    /// A place is found for the claim, or for one that was withdrawn; or none is found.
    Granted(Pick),
    GrantedLate(Pick),
    Deferred(Pick),
    /// The oldest claim of another pool waits since then; or there is none.
    OldestClaim(Option<u64>),
    CloseIdle,
    /// Used connections are closed from now on, or used again.
    Distrust(bool),
    Tick,
    /// The clock moves to the next deadline, and the pool is told.
    TickAtDeadline,
    ShutDown,
}

/// A choice among those that are outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    Oldest,
    /// Refused where it would be the oldest.
    Newest,
    /// Any number, modulo.
    Any(usize),
}

impl Pick {
    fn of(self, count: usize) -> Option<usize> {
        match self {
            Self::Oldest => (count > 0).then_some(0),
            Self::Newest => (count > 1).then(|| count - 1),
            Self::Any(number) => number.checked_rem(count),
        }
    }
}

/// An input, with what it is about as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Checkout,
    Replace(usize, Replacement),
    Cancel(usize),
    Dialed(usize),
    DialFailed(usize),
    DialRefused(usize),
    Advised(usize, Option<u64>, Option<u64>),
    Returned(usize),
    ReturnedUnused(usize),
    Closed(usize, CloseReason, Closer),
    Inspect(usize),
    Evict,
    Granted(usize),
    Deferred(usize),
    OldestClaim(Option<u64>),
    CloseIdle,
    Distrust(bool),
    Tick,
    ShutDown,
}

/// How a connection ends whose request asks for another one.
const BROKEN: (CloseReason, Closer) = (CloseReason::ExchangeFailed, Closer::Server);

impl Input {
    /// Returns true if a request asks for a connection.
    pub(crate) const fn asks(self) -> bool {
        matches!(self, Self::Checkout | Self::Replace(..))
    }
}

pub(crate) struct Driver {
    pool: Pool,
    model: Model,
    ledger: Ledger,
    coverage: Coverage,
    limit: SharedLimit<u8, ()>,
    clock: u64,
    permits: Vec<(usize, DialPermit)>,
    leases: Vec<(usize, Lease)>,
    waiters: Vec<WaiterId>,
    claims: Vec<ClaimId>,
    dials: Vec<DialId>,
    connections: Vec<ConnectionId>,
    history: Vec<(u64, Input)>,
    /// Number of operations at the start that are not audited: an earlier sequence began with them.
    audited: usize,
    operations: usize,
}

impl Driver {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            pool: rules.pool(),
            model: Model::new(rules),
            ledger: Ledger::new(rules),
            coverage: Coverage::default(),
            limit: SharedLimit::new(Limit::NONE),
            clock: 0,
            permits: Vec::new(),
            leases: Vec::new(),
            waiters: Vec::new(),
            claims: Vec::new(),
            dials: Vec::new(),
            connections: Vec::new(),
            history: Vec::new(),
            audited: 0,
            operations: 0,
        }
    }

    /// For a sequence whose first operations, as many as `shared`, were audited in another one.
    /// The effects are compared all the same.
    pub(crate) fn new_after(rules: Rules, shared: usize) -> Self {
        Self { audited: shared, ..Self::new(rules) }
    }

    pub(crate) const fn reached(&self) -> &BTreeSet<Path> {
        self.coverage.reached()
    }

    /// Returns whether there was something to do it with.
    pub(crate) fn perform(&mut self, operation: Operation) -> bool {
        self.operations += 1;
        match operation {
            Operation::Pass(span) => self.clock += span,
            Operation::Rewind(_) if self.clock == 0 => return false,
            Operation::Rewind(span) => self.clock = self.clock.saturating_sub(span),
            Operation::TickAtDeadline => {
                let deadline = self.pool.next_deadline();
                if deadline.is_never() {
                    return false;
                }
                self.clock = self.clock.max(deadline.as_nanos());
                let coming = self.pool.dialing() + self.pool.claiming();
                let idle = self.pool.idle();
                self.feed(Input::Tick);
                let progress =
                    self.pool.idle() < idle || self.pool.dialing() + self.pool.claiming() > coming;
                self.hold(progress, "a tick at the next deadline changes something");
            }
            other => match self.resolve(other) {
                None => return false,
                Some(input) => self.feed(input),
            },
        }
        true
    }

    fn resolve(&self, operation: Operation) -> Option<Input> {
        let permit = |pick: Pick| Some(self.permits[pick.of(self.permits.len())?].0);
        let lease = |pick: Pick| Some(self.leases[pick.of(self.leases.len())?].0);
        let among = |numbers: &[usize], pick: Pick| Some(numbers[pick.of(numbers.len())?]);
        let others =
            |all: usize, but: &[usize]| (0..all).filter(|n| !but.contains(n)).collect::<Vec<_>>();
        Some(match operation {
            Operation::Checkout => Input::Checkout,
            Operation::Replace(pick, wanted) => Input::Replace(lease(pick)?, wanted),
            Operation::Cancel(pick) => Input::Cancel(among(&self.model.waiting(), pick)?),
            Operation::CancelEnded(pick) => {
                let ended = others(self.waiters.len(), &self.model.waiting());
                Input::Cancel(among(&ended, pick)?)
            }
            Operation::Dialed(pick) => Input::Dialed(permit(pick)?),
            Operation::DialFailed(pick) => Input::DialFailed(permit(pick)?),
            Operation::DialRefused(pick) => Input::DialRefused(permit(pick)?),
            Operation::Advised(pick, idle, left) => Input::Advised(lease(pick)?, idle, left),
            Operation::Returned(pick) => Input::Returned(lease(pick)?),
            Operation::ReturnedUnused(pick) => Input::ReturnedUnused(lease(pick)?),
            Operation::Closed(pick, why, by) => Input::Closed(lease(pick)?, why, by),
            Operation::Inspect(pick) => Input::Inspect(among(&self.model.idle(), pick)?),
            Operation::InspectOther(pick) => {
                let others = others(self.connections.len(), &self.model.idle());
                Input::Inspect(among(&others, pick)?)
            }
            Operation::Evict => Input::Evict,
            Operation::Granted(pick) => Input::Granted(among(&self.model.claims(), pick)?),
            Operation::GrantedLate(pick) => Input::Granted(among(&self.model.withdrawn(), pick)?),
            Operation::Deferred(pick) => Input::Deferred(among(&self.model.claims(), pick)?),
            Operation::OldestClaim(since) => Input::OldestClaim(since),
            Operation::CloseIdle => Input::CloseIdle,
            Operation::Distrust(distrusts) => Input::Distrust(distrusts),
            Operation::Tick => Input::Tick,
            Operation::ShutDown => Input::ShutDown,
            Operation::Pass(_) | Operation::Rewind(_) | Operation::TickAtDeadline => return None,
        })
    }

    /// One input, everywhere, and all the checks.
    fn feed(&mut self, input: Input) {
        self.history.push((self.clock, input));
        self.coverage.before(&self.model, self.clock);
        let predicted = self.predict(input);
        let answer = self.apply(input);
        let decisions = self.poll();
        let expected = self.model.take_decisions();
        self.hold_equal(&answer, &predicted, "the answer");
        self.hold_equal(&decisions, &expected, "the effects");
        self.coverage.after(input, answer, &decisions, &self.connections);
        if let Err(broken) = self.audit(input, answer, &decisions) {
            self.hold(false, &broken);
        }
    }

    fn audit(
        &mut self,
        input: Input,
        answer: Option<bool>,
        decisions: &[Decision],
    ) -> Result<(), String> {
        self.ledger.enter(input, answer, decisions, self.clock)?;
        if self.operations > self.audited {
            self.ledger.audit(&self.pool)?;
            self.compare()?;
        }
        Ok(())
    }

    /// The input's answer, for those that have one.
    fn predict(&mut self, input: Input) -> Option<bool> {
        let (model, now) = (&mut self.model, self.clock);
        match input {
            Input::Checkout => model.checkout(now),
            Input::Replace(connection, wanted) => model.replace(connection, BROKEN, wanted, now),
            Input::Cancel(waiter) => return Some(model.cancel(waiter, now)),
            Input::Dialed(dial) => model.dialed(dial, now),
            Input::DialFailed(dial) => model.dial_failed(dial, now),
            Input::DialRefused(dial) => model.dial_refused(dial, now),
            Input::Advised(connection, idle, left) => model.advised(connection, idle, left),
            Input::Returned(connection) => model.returned(connection, now),
            Input::ReturnedUnused(connection) => model.returned_unused(connection, now),
            Input::Closed(connection, why, by) => model.closed(connection, why, by, now),
            Input::Inspect(connection) => return Some(model.inspect(connection, now)),
            Input::Evict => return Some(model.evict_oldest(now)),
            Input::Granted(waiter) => return Some(model.granted(waiter, now)),
            Input::Deferred(waiter) => model.deferred(waiter, now),
            Input::OldestClaim(since) => model.oldest_claim_waits(since),
            Input::CloseIdle => model.close_idle(now),
            Input::Distrust(distrusts) => model.distrust(distrusts, now),
            Input::Tick => model.tick(now),
            Input::ShutDown => model.shut_down(now),
        }
        None
    }

    fn apply(&mut self, input: Input) -> Option<bool> {
        let now = Moment::from_nanos(self.clock);
        match input {
            Input::Checkout => {
                let waiter = self.pool.checkout(now);
                let later = self.waiters.iter().all(|earlier| *earlier < waiter);
                self.hold(later, "later checkouts have greater ids");
                self.waiters.push(waiter);
            }
            Input::Replace(number, wanted) => {
                let lease = take(&mut self.leases, number);
                let waiter = self.pool.replace(lease, BROKEN, wanted, now);
                self.hold(!self.waiters.contains(&waiter), "a waiter's id is new");
                self.waiters.push(waiter);
            }
            Input::Cancel(number) => return Some(self.pool.cancel(self.waiters[number], now)),
            Input::Dialed(number) => {
                let permit = take(&mut self.permits, number);
                let connection = self.pool.dialed(permit, Capacity::Exclusive, now);
                self.check_name(connection);
                self.connections.push(connection);
            }
            Input::DialFailed(number) => {
                let permit = take(&mut self.permits, number);
                self.pool.dial_failed(permit, now);
            }
            Input::DialRefused(number) => {
                let permit = take(&mut self.permits, number);
                self.pool.dial_refused(permit, now);
            }
            Input::Advised(number, idle, left) => {
                let idle_timeout = idle.map(core::time::Duration::from_nanos);
                let advice = Advice { idle_timeout, exchanges_left: left };
                let lease = self.leases.iter().find(|(held, _)| *held == number);
                self.pool.advised(&lease.expect("resolved from those held").1, advice);
            }
            Input::Returned(number) => self.pool.returned(take(&mut self.leases, number), now),
            Input::ReturnedUnused(number) => {
                self.pool.returned_unused(take(&mut self.leases, number), now)
            }
            Input::Closed(number, why, by) => {
                let lease = take(&mut self.leases, number);
                self.pool.closed(lease, why, by, now);
            }
            Input::Inspect(number) => {
                let lease = self.pool.inspect(self.connections[number], now);
                let found = lease.is_some();
                self.leases.extend(lease.map(|lease| (number, lease)));
                return Some(found);
            }
            Input::Evict => {
                return Some(self.pool.evict_oldest(CloseReason::TotalIdleLimit, now));
            }
            Input::Granted(number) => {
                let place = self.place();
                return Some(self.pool.granted(self.claims[number], place, now));
            }
            Input::Deferred(number) => self.pool.deferred(self.claims[number], now),
            Input::OldestClaim(since) => {
                let since = since.map_or(Moment::NEVER, Moment::from_nanos);
                self.pool.oldest_claim_waits(since);
            }
            Input::CloseIdle => self.pool.close_idle(now),
            Input::Distrust(true) => self.pool.distrust_used(now),
            Input::Distrust(false) => self.pool.trust_used(now),
            Input::Tick => self.pool.tick(now),
            Input::ShutDown => self.pool.shut_down(now),
        }
        None
    }

    /// Takes the effects, keeps the rights in them, and puts them into numbers.
    fn poll(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while let Some(effect) = self.pool.poll_effect() {
            decisions.push(match effect {
                Effect::Dial(permit) => {
                    let number = self.dials.len();
                    let known = self.dials.contains(&permit.dial());
                    self.hold(!known, "a dial's name is new");
                    self.dials.push(permit.dial());
                    self.permits.push((number, permit));
                    Decision::Dial(number)
                }
                Effect::Claim { claim, since } => {
                    let known = self.claims.contains(&claim);
                    self.hold(!known, "a claim's name is new");
                    self.claims.push(claim);
                    Decision::Claim(since.as_nanos())
                }
                Effect::Withdraw(claim) => Decision::Withdraw(number_of(&self.claims, claim)),
                Effect::Release(place) => {
                    self.limit.release(place);
                    Decision::Release
                }
                Effect::AbortDial(dial) => Decision::Abort(number_of(&self.dials, dial)),
                Effect::Assign(assigned) => {
                    let reused = assigned.reused() == (assigned.exchanges > 0);
                    self.hold(reused, "reused is: has served an exchange before");
                    let lease = assigned.lease;
                    let connection = number_of(&self.connections, lease.connection());
                    self.leases.push((connection, lease));
                    Decision::Assign {
                        waiter: number_of(&self.waiters, assigned.waiter),
                        connection,
                        exchanges: assigned.exchanges,
                        idle_since: assigned.idle_since.map(Moment::as_nanos),
                    }
                }
                Effect::Reject { waiter, reason } => {
                    Decision::Reject { waiter: number_of(&self.waiters, waiter), reason }
                }
                Effect::Close { connection, reason, closer } => Decision::Close {
                    connection: number_of(&self.connections, connection),
                    reason,
                    closer,
                },
            });
        }
        decisions
    }

    /// A place for a claim, from a limit that never runs out: when there is one is the sequence's
    /// part.
    fn place(&mut self) -> Place {
        self.limit.claim(0, (), Moment::ZERO);
        let work = self.limit.poll_work();
        self.limit.granted(0, true);
        match work {
            Some(Work::Grant { place, .. }) => place,
            other => panic!("a place was due, and not {other:?}"),
        }
    }

    fn check_name(&self, connection: ConnectionId) {
        let known = self.connections.contains(&connection);
        self.hold(!known, "a connection's id is never used again");
        let open = self.ledger.open();
        let taken =
            open.iter().any(|number| self.connections[*number].index() == connection.index());
        self.hold(!taken, "an index is unique among the connections alive");
        let small = connection.index() < self.ledger.peak_open().max(open.len() + 1);
        self.hold(small, "an index stays below the most connections ever alive");
    }

    /// The gauges, counters and deadline against the model's.
    fn compare(&self) -> Result<(), String> {
        let (pool, model, counts) = (&self.pool, &self.model, self.pool.counts());
        let moment = |nanos: u64| Moment::from_nanos(nanos);
        let mut pairs = vec![
            ("dialing", pool.dialing() as u64, model.running().len() as u64),
            ("active", pool.active() as u64, model.active().len() as u64),
            ("idle", pool.idle() as u64, model.idle().len() as u64),
            ("waiting", pool.waiting() as u64, model.waiting().len() as u64),
            ("claiming", pool.claiming() as u64, model.claims().len() as u64),
            ("checkouts", counts.checkouts, model.checkouts()),
            ("assigned_new", counts.assigned_new, model.served(false)),
            ("reused", counts.reused, model.served(true)),
            ("cancelled", counts.cancelled, model.cancelled()),
            ("dials", counts.dials, model.dials()),
            ("dials_failed", counts.dials_failed, model.dials_failed()),
            ("opened", counts.opened, model.opened()),
        ];
        for reason in keepwarm_pool::RejectReason::ALL {
            let expected = model.rejected_for(reason);
            pairs.push(("rejected", counts.rejected_for(reason), expected));
        }
        for reason in CloseReason::ALL {
            for closer in Closer::ALL {
                let expected = model.closed_for(reason, closer);
                pairs.push((reason.name(), counts.closed_for(reason, closer), expected));
            }
        }
        if let Some((name, real, expected)) = pairs.iter().find(|(_, a, b)| a != b) {
            return Err(format!("{name} is {real}, expected {expected}"));
        }
        let deadline = model.next_deadline().map_or(Moment::NEVER, moment);
        if pool.next_deadline() != deadline {
            let real = pool.next_deadline();
            return Err(format!("the deadline is {real:?}, expected {deadline:?}"));
        }
        if pool.oldest_idle() != model.oldest_idle().map(moment) {
            return Err(format!("oldest_idle is {:?}", pool.oldest_idle()));
        }
        if pool.is_shut_down() != model.is_shut_down() {
            return Err(format!("is_shut_down is {}", pool.is_shut_down()));
        }
        Ok(())
    }

    /// Ends everything, in one of two orders, and checks that nothing is left.
    pub(crate) fn drain(mut self) {
        let shut_down_first = self.history.len().is_multiple_of(2);
        if shut_down_first {
            self.perform(Operation::ShutDown);
        }
        // Each round ends a permit or a lease. Only a waiter or an ended lease makes a new one.
        let bound = 8 * (self.waiters.len() + self.permits.len() + self.leases.len()) + 1;
        let mut rounds = 0;
        while !(self.permits.is_empty() && self.leases.is_empty() && self.pool.claiming() == 0) {
            rounds += 1;
            self.hold(rounds <= bound, "the drain ends");
            let closed = Operation::Closed(
                Pick::Oldest,
                CloseReason::NotPersistent,
                Closer::ALL[rounds % 2],
            );
            for end in [Operation::Dialed(Pick::Oldest), Operation::Returned(Pick::Newest), closed]
            {
                self.perform(end);
            }
            self.perform(Operation::Granted(Pick::Oldest));
            if rounds % 3 == 2 {
                self.perform(Operation::DialFailed(Pick::Oldest));
            }
        }
        if !shut_down_first {
            while self.perform(Operation::TickAtDeadline) {}
            self.perform(Operation::ShutDown);
        }
        if let Err(broken) = self.ledger.audit_end(&self.pool) {
            self.hold(false, &broken);
        }
        self.hold(self.limit.taken() == 0, "every place has been released");
    }

    fn hold(&self, holds: bool, sentence: &str) {
        assert!(holds, "broken: {sentence}\nafter {:?}", self.history);
    }

    fn hold_equal<T: PartialEq + core::fmt::Debug>(&self, real: &T, expected: &T, what: &str) {
        assert!(
            real == expected,
            "{what}: {real:?}, expected {expected:?}\nafter {:?}",
            self.history
        );
    }
}

fn take<T>(held: &mut Vec<(usize, T)>, number: usize) -> T {
    let position = held.iter().position(|(held, _)| *held == number);
    held.remove(position.expect("resolved from those held")).1
}

fn number_of<T: PartialEq + core::fmt::Debug>(ids: &[T], id: T) -> usize {
    let number = ids.iter().position(|known| *known == id);
    number.unwrap_or_else(|| panic!("an effect about {id:?}, which is unknown"))
}
