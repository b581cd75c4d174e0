//! The state machine: one pool, for one origin.
//!
//! This file has the state, and the inputs and outputs. `placing` decides where a free connection
//! goes, and when it ends; `dialing` decides when a dial starts, and which waiter claims a place;
//! `sharing` has the connections that serve several requests at once, and those in doubt; `gauges` has the methods that only read.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use crate::claims::Claims;
use crate::idle::IdleList;
use crate::idle_closes::Tally;
use crate::learned::Learned;
use crate::settings::Sharing;
use crate::token::{
    Capacity, ClaimId, ConnectionId, DialId, DialPermit, Lease, Place, Rank, Replacement, WaiterId,
};
use crate::{Advice, CloseReason, Closer, Counts, Effect, Moment, RejectReason, Settings};

use self::sharing::{Forecast, NOWHERE};

mod dialing;
mod gauges;
mod placing;
mod sharing;

/// The connection pool of one origin, as decisions. See the [crate documentation](crate).
///
/// After each input, call [`poll_effect`](Pool::poll_effect) until it returns `None`, and perform
/// the effects. An effect may be performed late, by another thread, or together with others;
/// the pool's state does not depend on it.
///
/// Time never runs backwards in here: an input with an earlier `now` than a previous one counts as
/// happening at the latest moment seen. Threads that read a clock before they take a lock need
/// this.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    now: Moment,
    shut_down: bool,
    /// Number of dismissals of all connections: a connection of an earlier epoch is closed on
    /// return.
    epoch: u64,
    /// Connections by index; the index and the slot's generation make a `ConnectionId`.
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    /// Idle connections: the newest is assigned, the oldest evicted, the first to expire closed.
    idle: IdleList,
    /// The server's idle timeout, as learned.
    learned: Learned,
    /// The pattern of the server's idle closes, for people.
    idle_closes: Tally,
    active: usize,
    /// Leases that are out; of them, those whose connections have ended.
    leases: usize,
    orphans: usize,
    /// Active shared connections with room, by index.
    roomy: Vec<u32>,
    /// Connections that are suspect, or whose peers allow no stream.
    doubtful: usize,
    /// The expected outcome of the next dials, and when one more may start for waiters that
    /// share one.
    forecast: Forecast,
    gate_step: Moment,
    /// Dials under way. Ids grow with time, so the smallest began first.
    dials: BTreeMap<DialId, DialState>,
    /// True if a dial under way may have a failure filed with it.
    failures_filed: bool,
    /// True while used connections are closed instead of used again.
    distrusts_used: bool,
    /// Set while this host has no room for another connection.
    crowded: Option<Crowded>,
    /// Waiters, with the moment since when each waits. The smallest is served first.
    waiters: BTreeMap<WaiterId, Moment>,
    /// Waiters that want a fresh connection: only a dial can serve them.
    wants_fresh: BTreeSet<WaiterId>,
    /// Open claims for places, each for a waiter.
    claims: Claims,
    /// Places: one for each dial and each connection, if the settings ask for places.
    places: Vec<Place>,
    /// The most that a waiter may overtake the oldest claim, see [`Pool::MAX_OVERTAKING`].
    max_overtaking: Duration,
    /// The moment since when the oldest claim of any pool has waited.
    oldest_claim: Moment,
    next_id: u64,
    effects: VecDeque<Effect>,
    counts: Counts,
}

/// Limit of this host, found by a dial that it refused.
#[derive(Clone, Copy, Debug)]
struct Crowded {
    /// Dials and connections that there were without that dial: no more until the moment.
    most: usize,
    until: Moment,
}

/// State of a dial under way.
#[derive(Clone, Copy, Debug, Default)]
struct DialState {
    /// A later dial that failed while this one is under way; of several, the one begun last. A dial
    /// that began after the next one still under way belongs to that one instead.
    failed_behind: Option<DialId>,
}

/// State of a connection, or of a vacant index.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u64,
    epoch: u64,
    exchanges: u64,
    /// The end of its lifetime.
    ends: Moment,
    /// Idle time after which it is not used any more, by the server's advice.
    usable_for: Duration,
    /// The moment at which that idle time is over, counted from its last exchange.
    usable_until: Moment,
    /// End of its last exchange, and the time from then to the start of the present one.
    rested_since: Moment,
    rested_for: Duration,
    /// Leased for an inspection, and not for an exchange.
    inspected: bool,
    /// Exchanges that it may serve in all, by the server's advice.
    server_limit: u64,
    state: SlotState,
    /// True if it serves several requests at once; then how many it does, and how many it may.
    shared: bool,
    in_use: u32,
    limit: u32,
    /// Set once it takes no new requests: how it will be closed.
    drains: Option<(CloseReason, Closer)>,
    /// Set while its peer may be gone: when it is closed if it is idle.
    suspect_until: Option<Moment>,
    /// Position among the active ones with room.
    roomy_at: u32,
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
        state: SlotState::Vacant,
        shared: false,
        in_use: 0,
        limit: 1,
        drains: None,
        suspect_until: None,
        roomy_at: NOWHERE,
    };

    /// Returns true if a shared connection takes another stream, as far as it knows itself.
    const fn has_room(&self) -> bool {
        self.shared && self.in_use < self.limit && self.drains.is_none()
    }

    /// Returns true if it is not to be used like others: suspect, or without any stream.
    const fn is_doubtful(&self) -> bool {
        self.suspect_until.is_some() || self.limit == 0
    }

    /// Returns true if its peer allows no stream now, and may later.
    const fn is_parked(&self) -> bool {
        self.limit == 0 && self.drains.is_none() && self.suspect_until.is_none()
    }

    /// Returns true if the server has announced no idle timeout on it.
    const fn has_no_advice(&self) -> bool {
        self.usable_for.as_nanos() == Duration::MAX.as_nanos()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    Vacant,
    Idle,
    Active,
}

/// Inputs.
impl Pool {
    /// How much later than the oldest claim of any pool a waiter may have come, and yet be served
    /// before it by a connection of this pool that returns. Beyond it the connection is closed,
    /// with [`CloseReason::TotalLimit`], and its place goes to that claim.
    ///
    /// Zero would be the strict order, at the price of a dial wherever two pools alternate; 100 ms
    /// bounds the wait that this adds for a claim.
    pub const MAX_OVERTAKING: Duration = Duration::from_millis(100);

    /// Time for which no dial goes beyond what this host had room for, see
    /// [`dial_refused`](Self::dial_refused).
    pub const CROWDED_FOR: Duration = Duration::from_secs(1);

    /// Creates a pool without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_max_overtaking(settings, Self::MAX_OVERTAKING)
    }

    /// Creates a pool with another value of [`MAX_OVERTAKING`](Self::MAX_OVERTAKING), for tests
    /// whose clock counts single nanoseconds.
    #[doc(hidden)]
    #[must_use]
    pub fn with_max_overtaking(settings: Settings, max_overtaking: Duration) -> Self {
        Self {
            settings,
            now: Moment::ZERO,
            shut_down: false,
            epoch: 0,
            slots: Vec::new(),
            vacant: Vec::new(),
            idle: IdleList::new(),
            learned: Learned::new(),
            idle_closes: Tally::default(),
            active: 0,
            leases: 0,
            orphans: 0,
            roomy: Vec::new(),
            doubtful: 0,
            forecast: Forecast::of(settings.sharing, settings.max_streams),
            gate_step: Moment::NEVER,
            dials: BTreeMap::new(),
            failures_filed: false,
            distrusts_used: false,
            crowded: None,
            waiters: BTreeMap::new(),
            wants_fresh: BTreeSet::new(),
            claims: Claims::new(),
            places: Vec::new(),
            max_overtaking,
            oldest_claim: Moment::NEVER,
            next_id: 0,
            effects: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Asks for a connection for a request.
    ///
    /// The answer is exactly one [`Effect::Assign`] or [`Effect::Reject`] for the id returned here,
    /// unless [`cancel`](Pool::cancel) comes first. The newest idle connection is assigned at once.
    /// Otherwise the request waits, and a dial is started if fewer dials than waiters are under way
    /// and the connection limit allows it. A request that may not wait is rejected at once.
    pub fn checkout(&mut self, now: Moment) -> WaiterId {
        self.advance(now);
        self.counts.checkouts += 1;
        let waiter = WaiterId { rank: Rank::First, number: self.mint_id() };
        if self.shut_down {
            self.reject(waiter, RejectReason::ShutDown);
            return waiter;
        }
        self.expire();
        self.end_crowding();
        if let Some(free) = self.pick() {
            self.assign_picked(waiter, free);
        } else if self.may_wait() {
            self.waiters.insert(waiter, self.now);
            self.replenish();
        } else if self.doubtful > 0
            && let Some(doubtful) = self.pick_in_doubt()
        {
            self.assign_picked(waiter, doubtful);
        } else {
            self.reject(waiter, RejectReason::TooManyWaiters);
        }
        waiter
    }

    /// Ends a leased connection that broke, as [`closed`](Pool::closed) does, and asks for another
    /// one for its request, which is to be sent again.
    ///
    /// The room of the broken connection is the request's own: a dial starts in it, also at the
    /// connection limit and with waiters in the queue, and without asking for another place. The
    /// request is served before those waiters. An idle connection serves it at once if it takes
    /// [`Any`](Replacement::Any); if it wants a [`Fresh`](Replacement::Fresh) one, idle and
    /// returning connections are for other requests. While this host refuses dials, any will do.
    pub fn replace(
        &mut self,
        lease: Lease,
        (reason, closer): (CloseReason, Closer),
        wanted: Replacement,
        now: Moment,
    ) -> WaiterId {
        self.advance(now);
        self.leases -= 1;
        if self.end_orphan(lease.connection) {
            return self.ask_again(wanted);
        }
        self.check_active(lease.connection);
        self.learn_if_closed_idle(lease.connection, reason, closer);
        self.end_stream(lease.connection);
        self.counts.checkouts += 1;
        let waiter = WaiterId { rank: Rank::Again, number: self.mint_id() };
        let crowded = self.crowded.is_some();
        let wanted = if crowded { Replacement::Any } else { wanted };
        self.active -= 1;
        self.forget(lease.connection, reason, closer);
        self.expire();
        let idle = if wanted == Replacement::Any { self.pick() } else { None };
        if self.shut_down {
            self.release_place();
            self.reject(waiter, RejectReason::ShutDown);
        } else if let Some(free) = idle {
            self.release_place();
            self.assign_picked(waiter, free);
            self.replenish();
        } else {
            self.waiters.insert(waiter, self.now);
            if wanted == Replacement::Fresh {
                self.wants_fresh.insert(waiter);
            }
            if self.waiters.len() > self.cover() {
                self.start_dial();
            } else {
                self.release_place();
            }
            self.replenish();
        }
        waiter
    }

    /// Ends a waiter that gives up. False if it was not waiting any more: then it has been
    /// answered, and a connection that was assigned to it returns by
    /// [`returned_unused`](Pool::returned_unused).
    ///
    /// A dial that was started for it goes on and serves the next waiter, or becomes idle.
    pub fn cancel(&mut self, waiter: WaiterId, now: Moment) -> bool {
        self.advance(now);
        let waited = self.end_waiter(waiter);
        if waited {
            self.counts.cancelled += 1;
            self.replenish();
        }
        waited
    }

    /// Takes the connection of a dial that succeeded. It goes to the oldest waiter, also if another
    /// one caused the dial; with no waiter it becomes idle, under the idle limit.
    ///
    /// The connection's id is returned, so that the driver can file the live handle under it
    /// before it performs the effects.
    ///
    /// The capacity corrects the forecast for the dials that follow. A shared connection serves as
    /// many of the oldest waiters as it has streams; an exclusive one where a shared one was
    /// expected serves one, and dials start at once for the others.
    pub fn dialed(&mut self, permit: DialPermit, capacity: Capacity, now: Moment) -> ConnectionId {
        self.advance(now);
        self.end_dial(permit);
        self.counts.opened += 1;
        self.active += 1;
        let connection = self.occupy_slot();
        self.learn_capacity(capacity);
        if let Capacity::Shared { streams } = capacity {
            self.begin_sharing(connection, streams);
            return connection;
        }
        let oldest = self.waiters.first_key_value().map(|(waiter, _)| *waiter);
        self.place(connection, oldest);
        if self.settings.sharing != Sharing::Never {
            self.settle();
        }
        connection
    }

    /// Ends a dial that failed, or was aborted.
    ///
    /// While no connection is open, a dial that failed has answered for every waiter that came
    /// before it began: all of them are rejected, once no dial that began earlier is under way. So
    /// no waiter waits longer than two dials take, however many wait and however few dials the
    /// connection limit allows. (With shared places that time begins with the first place that is
    /// granted.)
    ///
    /// Otherwise the waiter that has waited longest is rejected if waiters now outnumber dials; if
    /// not, every waiter still has a dial to wait for, and none is rejected. Freed room is used at
    /// once.
    pub fn dial_failed(&mut self, permit: DialPermit, now: Moment) {
        self.advance(now);
        let answered = self.fail_dial(permit, false);
        self.counts.dials_failed += 1;
        self.release_place();
        let was_gated = self.open_gate();
        if (was_gated || !self.reject_answered(answered)) && self.waiters.len() > self.cover() {
            self.reject_longest_waiting();
        }
        self.replenish();
    }

    /// Ends a dial that this host refused, having no room for another connection: no descriptor is
    /// left (EMFILE, ENFILE). Its waiter waits on for one of the connections that are open or being
    /// dialled, used or not, and for [`CROWDED_FOR`](Self::CROWDED_FOR) no dial starts beyond the
    /// present number of those. If there is none there is nothing to wait for: the dial has failed,
    /// as it has for waiters beyond [`max_waiters`](Settings::max_waiters).
    pub fn dial_refused(&mut self, permit: DialPermit, now: Moment) {
        self.counts.dials_refused += 1;
        // This dial is one of them.
        if self.alive() <= 1 {
            return self.dial_failed(permit, now);
        }
        self.advance(now);
        let answered = self.fail_dial(permit, true);
        self.counts.dials_failed += 1;
        self.release_place();
        let until = self.now.after(Self::CROWDED_FOR);
        self.crowded = Some(Crowded { most: self.alive(), until });
        // A connection that was never used may not be had.
        self.wants_fresh.clear();
        self.reject_answered(answered);
        self.expire();
        while let Some((&waiter, _)) = self.waiters.first_key_value()
            && let Some(newest) = self.pick()
        {
            self.end_waiter(waiter);
            self.assign_picked(waiter, newest);
        }
        self.replenish();
        while self.queued() > 0 && !self.settings.max_waiters.has_room(self.queued() - 1) {
            self.reject_longest_waiting();
        }
        self.replenish();
    }

    /// Takes a place that was granted to this claim. True if the claim is still open: then a dial
    /// starts, for the oldest waiter; if not, the place is released.
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

    /// Notes that no place was free for this claim. Its waiter waits on, unless as many wait
    /// already as may: then it is rejected.
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
        } else if self.settings.sharing != Sharing::Never {
            self.replenish();
        }
    }

    /// Sets the moment since when the oldest claim of any pool has waited; [`Moment::NEVER`] if
    /// there is none. Called before a connection returns: if that claim is older than the waiter of
    /// this pool, by more than [`MAX_OVERTAKING`](Self::MAX_OVERTAKING), the connection is closed
    /// to free its place. No effect is emitted.
    pub const fn oldest_claim_waits(&mut self, since: Moment) {
        self.oldest_claim = since;
    }

    /// Takes the server's advice, from the exchange of this lease, on how long it keeps the
    /// connection. Called before [`returned`](Pool::returned); holds until the server's next
    /// advice. No effect is emitted.
    ///
    /// The connection expires [`usable_for`](Advice::usable_for) after each exchange that follows,
    /// if our own settings do not end it before. Of several limits on exchanges the smallest
    /// counts: some servers announce the exchanges left, and some repeat the total.
    pub fn advised(&mut self, lease: &Lease, advice: Advice) {
        if !self.is_open(lease.connection) {
            return;
        }
        self.check_active(lease.connection);
        let slot = &mut self.slots[lease.connection.index()];
        if let Some(usable_for) = advice.usable_for() {
            slot.usable_for = usable_for;
        }
        if let Some(left) = advice.exchanges_left {
            slot.server_limit = slot.server_limit.min((slot.exchanges + 1).saturating_add(left));
        }
    }

    /// Takes a connection back after an exchange, fit for another one. It goes to the oldest waiter
    /// directly; with no waiter it becomes idle, or is closed if the idle limit is reached. A
    /// connection that [`close_idle`](Pool::close_idle) has dismissed is closed, and so is one that
    /// has served as many exchanges as it may; the room it leaves is used at once if a request
    /// waits.
    pub fn returned(&mut self, lease: Lease, now: Moment) {
        self.advance(now);
        let connection = lease.connection;
        self.leases -= 1;
        if self.end_orphan(connection) {
            return;
        }
        self.check_active(connection);
        let slot = &self.slots[connection.index()];
        let usable_until = self.now_and(slot.usable_for);
        let slot = &mut self.slots[connection.index()];
        slot.exchanges += u64::from(!slot.shared);
        slot.usable_until = usable_until;
        slot.rested_since = self.now;
        let rested_for = slot.rested_for;
        self.learned.outlived(rested_for);
        if self.doubtful > 0 {
            // The waiter has been answered already.
            self.clear_doubt(connection);
        }
        self.place_or_close(connection);
    }

    /// Ends a leased connection that was closed, for this reason, by this side. The room it leaves
    /// is used at once if a request waits.
    pub fn closed(&mut self, lease: Lease, reason: CloseReason, closer: Closer, now: Moment) {
        self.advance(now);
        let connection = lease.connection;
        self.leases -= 1;
        if self.end_orphan(connection) {
            return;
        }
        self.check_active(connection);
        self.learn_if_closed_idle(connection, reason, closer);
        self.end_stream(connection);
        self.active -= 1;
        self.vacate(connection, reason, closer);
        self.replenish();
    }

    /// Takes an idle connection out, so that the driver may inspect it: its socket became ready.
    /// `None` if it is not idle any more; an expired one is closed instead.
    ///
    /// The lease ends like any other, with one difference: a healthy connection returns by
    /// [`returned_unused`](Pool::returned_unused), since no exchange was served.
    pub fn inspect(&mut self, connection: ConnectionId, now: Moment) -> Option<Lease> {
        self.advance(now);
        self.expire();
        if !self.waiters.is_empty() {
            self.replenish();
        }
        self.idle.remove(connection)?;
        self.activate(connection);
        let slot = &mut self.slots[connection.index()];
        slot.inspected = true;
        slot.in_use += u32::from(slot.shared);
        self.leases += 1;
        self.note_room(connection);
        Some(Lease { connection })
    }

    /// Takes a leased connection back unused, fit for the next exchange: it was inspected, or its
    /// request was dropped before it began. Otherwise like [`returned`](Pool::returned): if it
    /// becomes idle, it is the newest, and its idle time starts again.
    pub fn returned_unused(&mut self, lease: Lease, now: Moment) {
        self.advance(now);
        self.leases -= 1;
        if self.end_orphan(lease.connection) {
            return;
        }
        self.check_active(lease.connection);
        self.place_or_close(lease.connection);
    }

    /// Closes the connection that has been idle the longest, if any is idle, because all pools
    /// together have too many: idle ones ([`CloseReason::TotalIdleLimit`]), or connections
    /// ([`CloseReason::TotalLimit`]). False if none was idle.
    pub fn evict_oldest(&mut self, reason: CloseReason, now: Moment) -> bool {
        self.advance(now);
        let Some((oldest, _)) = self.idle.oldest() else {
            return false;
        };
        self.idle.remove(oldest);
        self.vacate(oldest, reason, Closer::Client);
        if !self.waiters.is_empty() {
            self.replenish();
        }
        true
    }

    /// Dismisses every connection that is open: idle ones are closed now, active ones when they
    /// return. A connection whose dial is still under way is not dismissed, and waiters keep their
    /// turns.
    pub fn close_idle(&mut self, now: Moment) {
        self.advance(now);
        self.epoch += 1;
        self.close_all_idle(CloseReason::CloseIdle);
        self.dismiss_shared();
    }

    /// Closes used connections instead of using them again, from now on until
    /// [`trust_used`](Pool::trust_used): idle ones now, active ones when they return, with
    /// [`CloseReason::Distrusted`]. Each request is then served by a connection that was never
    /// used. For an origin that breaks so many used connections that its requests cannot all be
    /// sent again.
    pub fn distrust_used(&mut self, now: Moment) {
        self.advance(now);
        self.distrusts_used = true;
        for connection in self.idle.all() {
            if self.slots[connection.index()].exchanges > 0 {
                self.idle.remove(connection);
                self.vacate(connection, CloseReason::Distrusted, Closer::Client);
            }
        }
        if !self.waiters.is_empty() {
            self.replenish();
        }
    }

    /// Ends [`distrust_used`](Pool::distrust_used).
    pub fn trust_used(&mut self, now: Moment) {
        self.advance(now);
        self.distrusts_used = false;
    }

    /// Closes every idle connection that has expired by now: by the idle timeout, by the end of its
    /// lifetime, or by the server's advice.
    pub fn tick(&mut self, now: Moment) {
        self.advance(now);
        self.expire();
        self.end_crowding();
        if !self.waiters.is_empty() {
            self.replenish();
        }
    }

    /// Ends the pool: waiters are rejected, dials aborted, idle connections closed; active ones are
    /// closed when they return. A second call has no effect.
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
        for dial in self.dials.keys() {
            self.effects.push_back(Effect::AbortDial(*dial));
        }
        self.close_all_idle(CloseReason::ShutDown);
    }
}

/// Outputs.
impl Pool {
    /// Returns the next effect, in the order of decision.
    #[must_use = "an effect that is not performed is lost"]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns the moment at which to call [`tick`](Pool::tick) next: when the first idle
    /// connection expires, or a dial may start again after this host refused one,
    /// [`Moment::NEVER`] if neither will. Every input may change it, in both directions.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        let expiry = self.idle.first_to_expire().map_or(Moment::NEVER, |(_, expiry)| expiry.moment);
        let expiry = if self.doubtful > 0 { expiry.min(self.first_suspect_ends()) } else { expiry };
        let expiry = if self.is_gate_late() && self.claims.len() == 0 && self.has_room_to_dial() {
            expiry.min(self.gate_step)
        } else {
            expiry
        };
        match self.crowded {
            Some(Crowded { until, .. }) if self.holds_dials_back() => expiry.min(until),
            _ => expiry,
        }
    }
}

impl Pool {
    fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }

    /// Ends the stream of a lease whose connection ends with it.
    fn end_stream(&mut self, connection: ConnectionId) {
        let slot = &mut self.slots[connection.index()];
        slot.in_use -= u32::from(slot.shared);
    }

    fn mint_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
