//! The state machine: one pool, for one origin.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use crate::claims::Claims;
use crate::idle::{Expiry, IdleList};
use crate::learned::Learned;
use crate::token::{ClaimId, ConnectionId, DialId, DialPermit, Lease, Place, WaiterId};
use crate::{
    Advice, Assigned, CloseReason, Closer, Counts, Effect, Moment, RejectReason, Settings,
};

mod gauges;

/// The connection pool of one origin, as decisions. See the [crate documentation](crate).
///
/// After each input, call [`poll_effect`](Pool::poll_effect) until it returns `None`, and perform
/// what it returned. An effect may be performed late, by another thread, or together with others;
/// the pool's state is already what it will be.
///
/// Time never runs backwards in here: an input with an earlier `now` than a previous one counts as
/// happening at the latest moment seen. Threads that read a clock before they take a lock need this.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    now: Moment,
    shut_down: bool,
    /// How often all connections were dismissed: one that is older than that is closed on return.
    epoch: u64,
    /// By index; the index and the slot's generation make a `ConnectionId`.
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    /// The newest is taken, the oldest evicted, and the first to expire closed.
    idle: IdleList,
    /// How long the server keeps what is idle.
    learned: Learned,
    active: usize,
    dials: BTreeSet<DialId>,
    /// Since when each waits. Ids grow with time, so the smallest is the oldest.
    waiters: BTreeMap<WaiterId, Moment>,
    /// Those of them that only a dial can serve.
    newcomers_only: BTreeSet<WaiterId>,
    /// Those of them for whom a place was asked.
    claims: Claims,
    /// One for each dial and each connection, if the settings ask for places.
    places: Vec<Place>,
    /// Since when the oldest claim of any pool has waited.
    elder: Moment,
    next_id: u64,
    effects: VecDeque<Effect>,
    counts: Counts,
}

/// A connection, or the place of one that is gone.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u64,
    epoch: u64,
    exchanges: u64,
    /// The end of its lifetime.
    ends: Moment,
    /// How long it may be used after an exchange, by the server's advice.
    usable_for: Duration,
    /// When that is over, counted from its last exchange.
    usable_until: Moment,
    /// When its last exchange ended, and how long after that the present one began.
    rested_since: Moment,
    rested_for: Duration,
    /// Whether it is looked at, and not in use.
    inspected: bool,
    /// Exchanges that it may serve in all, by the server's advice.
    server_limit: u64,
    state: State,
}

impl Slot {
    const VACANT: Self = Self {
        generation: 0,
        epoch: 0,
        exchanges: 0,
        ends: Moment::NEVER,
        usable_for: Duration::MAX,
        usable_until: Moment::NEVER,
        rested_since: Moment::NEVER,
        rested_for: Duration::ZERO,
        inspected: false,
        server_limit: u64::MAX,
        state: State::Vacant,
    };

    /// Whether the server leaves open how long it keeps the connection.
    const fn says_nothing(&self) -> bool {
        self.usable_for.as_nanos() == Duration::MAX.as_nanos()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Vacant,
    Idle,
    Active,
}

/// Inputs.
impl Pool {
    /// A pool without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: Moment::ZERO,
            shut_down: false,
            epoch: 0,
            slots: Vec::new(),
            vacant: Vec::new(),
            idle: IdleList::new(),
            learned: Learned::new(),
            active: 0,
            dials: BTreeSet::new(),
            waiters: BTreeMap::new(),
            newcomers_only: BTreeSet::new(),
            claims: Claims::new(),
            places: Vec::new(),
            elder: Moment::NEVER,
            next_id: 0,
            effects: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// A request asks for a connection.
    ///
    /// It is answered by exactly one [`Effect::Assign`] or [`Effect::Reject`] for the id returned
    /// here, unless [`cancel`](Pool::cancel) comes first. The newest idle connection answers at
    /// once. Otherwise the request waits, and a dial is started if fewer dials than waiters are
    /// under way and the connection limit allows it. One that may not wait is rejected at once.
    pub fn checkout(&mut self, now: Moment) -> WaiterId {
        self.advance(now);
        self.counts.checkouts += 1;
        let waiter = WaiterId(self.mint_id());
        if self.shut_down {
            self.reject(waiter, RejectReason::ShutDown);
            return waiter;
        }
        self.expire();
        if let Some(newest) = self.idle.newest() {
            let since = self.idle.remove(newest);
            self.assign(waiter, newest, since);
        } else if self.may_wait() {
            self.waiters.insert(waiter, self.now);
            self.replenish();
        } else {
            self.reject(waiter, RejectReason::TooManyWaiters);
        }
        waiter
    }

    /// A request asks for a connection that nobody has used, because one that had been idle just
    /// failed it: the other idle ones may have ended in the same way.
    ///
    /// It is answered by a dial alone; idle connections and those that come back are for others.
    /// Where the connection limit leaves no room to dial, it is a [`checkout`](Pool::checkout)
    /// like any other: waiting for room that nobody need ever make would be worse.
    pub fn checkout_new(&mut self, now: Moment) -> WaiterId {
        self.advance(now);
        self.expire();
        if self.shut_down || !self.has_room_to_dial() {
            return self.checkout(now);
        }
        self.counts.checkouts += 1;
        let waiter = WaiterId(self.mint_id());
        self.waiters.insert(waiter, self.now);
        self.newcomers_only.insert(waiter);
        // There is room, so from here on at least as many dials are under way or claimed as there are
        // waiters up to this one, and each of them that ends takes the oldest waiter along.
        self.replenish();
        waiter
    }

    /// A waiter gives up. Returns whether it was still waiting: if not, its answer has been given,
    /// and a connection that was assigned to it comes back by [`put_back`](Pool::put_back).
    ///
    /// Its dial, if one was started for it, goes on and serves the next waiter, or becomes idle.
    pub fn cancel(&mut self, waiter: WaiterId, now: Moment) -> bool {
        self.advance(now);
        let waited = self.end_waiter(waiter);
        if waited {
            self.counts.cancelled += 1;
            self.replenish();
        }
        waited
    }

    /// A dial succeeded. The connection goes to the oldest waiter, whoever caused the dial; with no
    /// waiter it becomes idle, under the idle limit.
    ///
    /// The connection's id is returned, so that the driver can file the live handle under it
    /// before it performs the effects.
    pub fn dialed(&mut self, permit: DialPermit, now: Moment) -> ConnectionId {
        self.advance(now);
        self.end_dial(permit);
        self.counts.opened += 1;
        self.active += 1;
        let connection = self.occupy_slot();
        let oldest = self.waiters.first_key_value().map(|(waiter, _)| *waiter);
        self.settle(connection, oldest);
        connection
    }

    /// A dial failed, or was aborted.
    ///
    /// The oldest waiter is rejected if waiters now outnumber dials; otherwise every waiter still
    /// has a dial to wait for, and the failure concerns nobody. Freed room is used at once.
    pub fn dial_failed(&mut self, permit: DialPermit, now: Moment) {
        self.advance(now);
        self.end_dial(permit);
        self.counts.dials_failed += 1;
        self.release_place();
        if self.waiters.len() > self.dials.len()
            && let Some((&waiter, _)) = self.waiters.first_key_value()
        {
            self.end_waiter(waiter);
            self.reject(waiter, RejectReason::DialFailed);
        }
        self.replenish();
    }

    /// A place has been found for this claim. Returns whether it is still wanted: if so, a dial
    /// starts, for whoever waits the longest; if not, the place goes back.
    pub fn granted(&mut self, claim: ClaimId, place: Place, now: Moment) -> bool {
        self.advance(now);
        let wanted = self.claims.grant(claim);
        if wanted {
            self.places.push(place);
            self.start_dial();
        } else {
            self.effects.push_back(Effect::Release(place));
        }
        wanted
    }

    /// No place could be found for this claim at once. Its waiter waits on, unless as many as may wait
    /// already: then it is rejected.
    pub fn deferred(&mut self, claim: ClaimId, now: Moment) {
        self.advance(now);
        let Some(waiter) = self.claims.defer(claim) else {
            return;
        };
        let others = self.queued().saturating_sub(1);
        if !self.settings.max_waiters.has_room(others) {
            self.end_waiter(waiter);
            self.reject(waiter, RejectReason::TooManyWaiters);
            self.replenish();
        }
    }

    /// Since when the oldest claim of any pool has waited; [`Moment::NEVER`] if there is none. To be
    /// told before a connection comes back: if that claim is older than whoever waits here, by more
    /// than [`Settings::overtaking`], the connection is closed for the sake of its place. Nothing is
    /// emitted.
    pub const fn elder_waits(&mut self, since: Moment) {
        self.elder = since;
    }

    /// The server has said, in the exchange that this lease is for, how long it keeps the
    /// connection. To be told before [`returned`](Pool::returned); it holds until the server says
    /// something else. Nothing is emitted.
    ///
    /// The connection expires [`usable_for`](Advice::usable_for) after each exchange that follows,
    /// if our own settings do not end it before. Of several limits on exchanges the smallest counts:
    /// some servers say what is left, and some repeat the whole.
    pub fn advised(&mut self, lease: &Lease, advice: Advice) {
        self.check_active(lease.connection);
        let slot = &mut self.slots[lease.connection.index()];
        if let Some(usable_for) = advice.usable_for() {
            slot.usable_for = usable_for;
        }
        if let Some(left) = advice.exchanges_left {
            slot.server_limit = slot.server_limit.min((slot.exchanges + 1).saturating_add(left));
        }
    }

    /// An exchange ended and its connection can carry another one. It goes to the oldest waiter
    /// directly; with no waiter it becomes idle, or is closed if the idle limit is reached. One that
    /// [`close_idle`](Pool::close_idle) has dismissed is closed, and so is one that has served as
    /// many exchanges as it may; the room it leaves is used at once if somebody waits.
    pub fn returned(&mut self, lease: Lease, now: Moment) {
        self.advance(now);
        let connection = lease.connection;
        self.check_active(connection);
        let slot = &self.slots[connection.index()];
        let usable_until = self.now_and(slot.usable_for);
        let slot = &mut self.slots[connection.index()];
        slot.exchanges += 1;
        slot.usable_until = usable_until;
        slot.rested_since = self.now;
        let rested_for = slot.rested_for;
        self.learned.outlived(rested_for);
        self.come_back(connection);
    }

    /// A leased connection is over, for this reason, by this side. The room it leaves is used at
    /// once if somebody waits.
    pub fn closed(&mut self, lease: Lease, reason: CloseReason, closer: Closer, now: Moment) {
        self.advance(now);
        let connection = lease.connection;
        self.check_active(connection);
        if reason == CloseReason::PeerClosedIdle && closer == Closer::Server {
            self.learn_from(connection);
        }
        self.active -= 1;
        self.vacate(connection, reason, closer);
        self.replenish();
    }

    /// Takes one idle connection out, so that the driver may look at it: something happened on it.
    /// `None` if it is not idle any more; an expired one is closed instead.
    ///
    /// The lease ends like any other, with one difference: use [`put_back`](Pool::put_back) when
    /// nothing is wrong, since no exchange was served.
    pub fn inspect(&mut self, connection: ConnectionId, now: Moment) -> Option<Lease> {
        self.advance(now);
        self.expire();
        self.idle.remove(connection)?;
        self.activate(connection);
        self.slots[connection.index()].inspected = true;
        Some(Lease { connection })
    }

    /// A leased connection comes back unused, fit for the next exchange: it was inspected, or its
    /// request was dropped before it began. Otherwise like [`returned`](Pool::returned): if it
    /// becomes idle, it is the newest, and its idle time starts again.
    pub fn put_back(&mut self, lease: Lease, now: Moment) {
        self.advance(now);
        self.check_active(lease.connection);
        self.come_back(lease.connection);
    }

    /// Closes the connection that has been idle the longest, if any is idle, because all pools
    /// together have too many: idle ones ([`CloseReason::TotalIdleLimit`]), or connections
    /// ([`CloseReason::TotalLimit`]). Returns whether one was closed.
    pub fn evict_oldest(&mut self, reason: CloseReason, now: Moment) -> bool {
        self.advance(now);
        let Some((oldest, _)) = self.idle.oldest() else {
            return false;
        };
        self.idle.remove(oldest);
        self.vacate(oldest, reason, Closer::Client);
        true
    }

    /// Dismisses every connection that is open: those that are idle are closed now, those that are
    /// active when they come back. A connection whose dial is still under way is a new one, and
    /// waiters keep their places.
    pub fn close_idle(&mut self, now: Moment) {
        self.advance(now);
        self.epoch += 1;
        self.close_all_idle(CloseReason::CloseIdle);
    }

    /// Time has passed: closes every idle connection that has expired: by the idle timeout, by
    /// the end of its lifetime, or by the server's advice.
    pub fn tick(&mut self, now: Moment) {
        self.advance(now);
        self.expire();
    }

    /// The pool ends: waiters are rejected, dials aborted, idle connections closed; active ones are
    /// closed when they come back. Shutting down twice is the same as once.
    pub fn shut_down(&mut self, now: Moment) {
        self.advance(now);
        if self.shut_down {
            return;
        }
        self.shut_down = true;
        while let Some((&waiter, _)) = self.waiters.first_key_value() {
            self.end_waiter(waiter);
            self.reject(waiter, RejectReason::ShutDown);
        }
        for dial in &self.dials {
            self.effects.push_back(Effect::AbortDial(*dial));
        }
        self.close_all_idle(CloseReason::ShutDown);
    }
}

/// Outputs.
impl Pool {
    /// The next thing to do, in the order of decision.
    #[must_use = "an effect that is not performed is lost"]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`tick`](Pool::tick) next: the moment the first idle connection
    /// expires, [`Moment::NEVER`] if none will. Every input may change it, in both directions.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        self.idle.first_to_expire().map_or(Moment::NEVER, |(_, expiry)| expiry.moment)
    }
}

impl Pool {
    fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }

    /// A connection is active and unclaimed again, unless it may serve nobody any more. A new one is
    /// not asked: whoever waited for its dial is served, or dials would follow dials.
    fn come_back(&mut self, connection: ConnectionId) {
        match self.retirement(connection) {
            Some(reason) if !self.shut_down => {
                self.active -= 1;
                self.vacate(connection, reason, Closer::Client);
                self.replenish();
            }
            _ => {
                let waiter = self.oldest_content_with_used();
                if waiter.is_some_and(|waiter| self.overtakes_too_much(waiter)) {
                    self.active -= 1;
                    self.vacate(connection, CloseReason::TotalLimit, Closer::Client);
                    self.replenish();
                } else {
                    self.settle(connection, waiter);
                }
            }
        }
    }

    /// Whether somebody who needs a place has waited for so much longer than this waiter that a
    /// connection which this waiter could use has to make room.
    fn overtakes_too_much(&self, waiter: WaiterId) -> bool {
        let since = self.waiters.get(&waiter).copied().unwrap_or(Moment::ZERO);
        self.settings.shares_places && self.elder.after(self.settings.overtaking) < since
    }

    /// The oldest waiter but for those that want a connection nobody has used.
    fn oldest_content_with_used(&self) -> Option<WaiterId> {
        self.waiters.keys().find(|waiter| !self.newcomers_only.contains(waiter)).copied()
    }

    /// A connection that is active and unclaimed finds its place: this waiter, the idle list, or
    /// the end.
    fn settle(&mut self, connection: ConnectionId, waiter: Option<WaiterId>) {
        self.active -= 1;
        if self.shut_down {
            self.vacate(connection, CloseReason::ShutDown, Closer::Client);
        } else if let Some(waiter) = waiter {
            self.end_waiter(waiter);
            self.assign(waiter, connection, None);
            self.replenish();
        } else {
            self.rest(connection);
        }
    }

    /// The server has closed this connection. One that was in use may have been closed for another
    /// reason than its idle age: with its last response, for one.
    fn learn_from(&mut self, connection: ConnectionId) {
        let slot = &self.slots[connection.index()];
        let was_idle = slot.inspected && slot.exchanges > 0;
        if self.settings.learns_idle_timeout && was_idle && slot.says_nothing() {
            let age = self.now.since(slot.rested_since);
            self.learned.observe(age, self.now);
        }
    }

    /// When a connection is nearly as old as the server lets them become, as was learned.
    fn learned_end(&mut self, connection: ConnectionId) -> Moment {
        let slot = &self.slots[connection.index()];
        if !self.settings.learns_idle_timeout || slot.exchanges == 0 || !slot.says_nothing() {
            return Moment::NEVER;
        }
        let usable_for = self.learned.usable_for(self.now);
        usable_for.map_or(Moment::NEVER, |span| slot.rested_since.after(span))
    }

    /// Why a connection that is healthy and unclaimed must serve nobody any more.
    fn retirement(&mut self, connection: ConnectionId) -> Option<CloseReason> {
        let slot = &self.slots[connection.index()];
        if slot.epoch < self.epoch {
            Some(CloseReason::CloseIdle)
        } else if slot.exchanges > 0 && self.settings.max_exchanges.is_reached(slot.exchanges) {
            Some(CloseReason::ExchangeLimit)
        } else if !slot.ends.is_never() && slot.ends <= self.now {
            Some(CloseReason::Lifetime)
        } else if slot.exchanges >= slot.server_limit
            || (!slot.usable_until.is_never() && slot.usable_until <= self.now)
        {
            Some(CloseReason::ServerLimit)
        } else {
            let end = self.learned_end(connection);
            (!end.is_never() && end <= self.now).then_some(CloseReason::LearnedTimeout)
        }
    }

    /// A connection that nobody wants becomes idle, if that is allowed.
    fn rest(&mut self, connection: ConnectionId) {
        // An expired connection takes nobody's place; and with a timeout of zero this one expires.
        self.expire();
        if !self.settings.max_idle.has_room(self.idle.len()) {
            self.vacate(connection, CloseReason::IdleLimit, Closer::Client);
            return;
        }
        self.slots[connection.index()].state = State::Idle;
        let expiry = self.expiry(connection);
        self.idle.insert(connection, self.now, expiry);
        self.expire();
    }

    /// Starts dials, or asks for places to dial in, while waiters without one exist and the limit
    /// allows.
    fn replenish(&mut self) {
        if self.settings.shares_places {
            return self.balance_claims();
        }
        while self.waiters.len() > self.dials.len() && self.has_room_to_dial() {
            self.start_dial();
        }
    }

    fn start_dial(&mut self) {
        let dial = DialId(self.mint_id());
        self.dials.insert(dial);
        self.counts.dials += 1;
        self.effects.push_back(Effect::Dial(DialPermit { dial }));
    }

    /// Dials are for the oldest waiters; a place is claimed for each of those behind them, as far as
    /// the limit allows, and for nobody else.
    fn balance_claims(&mut self) {
        let alone = self.waiters.len().saturating_sub(self.dials.len());
        let room = self
            .settings
            .max_connections
            .get()
            .map_or(alone, |limit| (limit as usize).saturating_sub(self.alive()));
        let wanted = alone.min(room);
        while self.claims.len() > wanted
            && let Some(oldest) = self.claims.oldest()
        {
            self.withdraw(oldest);
        }
        while self.claims.len() < wanted
            && let Some((waiter, since)) = self.claims.next_of(&self.waiters, self.dials.len())
        {
            let claim = ClaimId(self.mint_id());
            self.claims.insert(waiter, claim);
            self.effects.push_back(Effect::Claim { claim, since });
        }
    }

    fn withdraw(&mut self, waiter: WaiterId) {
        self.effects.extend(self.claims.end_of(waiter).map(Effect::Withdraw));
    }

    /// A waiter ends, and with it the claim that was made for it. Returns whether it waited.
    fn end_waiter(&mut self, waiter: WaiterId) -> bool {
        let waited = self.waiters.remove(&waiter).is_some();
        self.newcomers_only.remove(&waiter);
        self.withdraw(waiter);
        waited
    }

    /// A dial or a connection is gone; if it had a place, that is free for any pool.
    fn release_place(&mut self) {
        self.effects.extend(self.places.pop().map(Effect::Release));
    }

    fn alive(&self) -> usize {
        self.dials.len() + self.active + self.idle.len()
    }

    fn has_room_to_dial(&self) -> bool {
        self.settings.max_connections.has_room(self.alive() + self.claims.len())
    }

    /// Waiters beyond those for whom a dial is under way, or may be in a moment.
    fn queued(&self) -> usize {
        self.waiters.len().saturating_sub(self.dials.len() + self.claims.unanswered())
    }

    /// Whether one more waiter may queue: a dial is or will be there for it, or the queue beyond
    /// the dials has room.
    fn may_wait(&self) -> bool {
        self.waiters.len() < self.dials.len()
            || self.has_room_to_dial()
            || self.settings.max_waiters.has_room(self.queued())
    }

    fn expire(&mut self) {
        while let Some((connection, expiry)) = self.idle.first_to_expire()
            && expiry.moment <= self.now
        {
            self.idle.remove(connection);
            self.vacate(connection, expiry.reason, Closer::Client);
        }
    }

    /// When a connection that becomes idle now expires, and why.
    fn expiry(&mut self, connection: ConnectionId) -> Expiry {
        let learned_end = self.learned_end(connection);
        let slot = &self.slots[connection.index()];
        let timeout = self.now_and(self.settings.idle_timeout);
        let mut first = Expiry { moment: timeout, reason: CloseReason::IdleTimeout };
        for (moment, reason) in [
            (slot.ends, CloseReason::Lifetime),
            (slot.usable_until, CloseReason::ServerLimit),
            (learned_end, CloseReason::LearnedTimeout),
        ] {
            if moment < first.moment {
                first = Expiry { moment, reason };
            }
        }
        first
    }

    /// The moment that is `span` from now. [`Duration::MAX`] is for ever.
    fn now_and(&self, span: Duration) -> Moment {
        if span == Duration::MAX { Moment::NEVER } else { self.now.after(span) }
    }

    fn close_all_idle(&mut self, reason: CloseReason) {
        while let Some((oldest, _)) = self.idle.oldest() {
            self.idle.remove(oldest);
            self.vacate(oldest, reason, Closer::Client);
        }
    }

    fn assign(&mut self, waiter: WaiterId, connection: ConnectionId, idle_since: Option<Moment>) {
        self.activate(connection);
        let slot = &mut self.slots[connection.index()];
        slot.rested_for = self.now.since(slot.rested_since);
        slot.inspected = false;
        let exchanges = slot.exchanges;
        if exchanges > 0 {
            self.counts.reused += 1;
        } else {
            self.counts.assigned_new += 1;
        }
        let lease = Lease { connection };
        self.effects.push_back(Effect::Assign(Assigned { waiter, lease, exchanges, idle_since }));
    }

    fn activate(&mut self, connection: ConnectionId) {
        self.slots[connection.index()].state = State::Active;
        self.active += 1;
    }

    fn reject(&mut self, waiter: WaiterId, reason: RejectReason) {
        self.counts.rejected[reason.index()] += 1;
        self.effects.push_back(Effect::Reject { waiter, reason });
    }

    fn end_dial(&mut self, permit: DialPermit) {
        let known = self.dials.remove(&permit.dial);
        debug_assert!(known, "a permit of another pool: {permit:?}");
    }

    fn check_active(&self, connection: ConnectionId) {
        let slot = self.slots[connection.index()];
        debug_assert!(
            slot.generation == connection.generation && slot.state == State::Active,
            "a lease of another pool: {connection:?} is {slot:?}"
        );
    }

    /// A place for a new connection, active until it settles.
    fn occupy_slot(&mut self) -> ConnectionId {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::VACANT);
            (self.slots.len() - 1) as u32
        });
        let ends = self.now_and(self.settings.lifetime_of(self.counts.opened));
        let slot = &mut self.slots[index as usize];
        let generation = slot.generation;
        *slot = Slot { generation, epoch: self.epoch, ends, state: State::Active, ..Slot::VACANT };
        ConnectionId { index, generation }
    }

    /// Forgets a connection. The one place where a connection ends.
    fn vacate(&mut self, connection: ConnectionId, reason: CloseReason, closer: Closer) {
        let slot = &mut self.slots[connection.index()];
        slot.state = State::Vacant;
        slot.generation += 1;
        self.vacant.push(connection.index);
        self.counts.closed[reason.index()][closer.index()] += 1;
        self.effects.push_back(Effect::Close { connection, reason, closer });
        self.release_place();
    }

    fn mint_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
