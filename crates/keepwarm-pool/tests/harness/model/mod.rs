//! The pool once more, too stupid to be wrong.
//!
//! It remembers everything that ever happened, in the order in which it happened, and finds each
//! answer by looking through all of it: there is no counter, no free list and no index that could
//! drift. It is written from the sentences of the documentation. Dials, connections and waiters
//! are numbers here, in the order in which they came up.

mod gauges;
mod steps;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use keepwarm_pool::{
    CloseReason, Closer, Limit, Pool, RejectReason, Replacement, Settings, Sharing,
};

/// The settings, in numbers that can be compared. `None` is no limit, or for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max_idle: Option<u32>,
    pub(crate) max_connections: Option<u32>,
    pub(crate) max_waiters: Option<u32>,
    pub(crate) max_exchanges: Option<u32>,
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) max_lifetime: Option<u64>,
    /// How far others may be overtaken, if places are shared with others.
    pub(crate) shared: Option<u64>,
}

impl Rules {
    pub(crate) const UNLIMITED: Self = Self {
        max_idle: None,
        max_connections: None,
        max_waiters: None,
        max_exchanges: None,
        idle_timeout: None,
        max_lifetime: None,
        shared: None,
    };

    /// Makes a pool with these rules. The model's clock counts nanoseconds, so it has an overtaking
    /// of its own.
    pub(crate) fn pool(self) -> Pool {
        let overtaking = Duration::from_nanos(self.shared.unwrap_or(0));
        Pool::with_max_overtaking(self.settings(), overtaking)
    }

    fn settings(self) -> Settings {
        let limit = |count: Option<u32>| count.map_or(Limit::NONE, Limit::at_most);
        Settings {
            max_idle: limit(self.max_idle),
            max_connections: limit(self.max_connections),
            max_waiters: limit(self.max_waiters),
            max_exchanges: limit(self.max_exchanges),
            idle_timeout: self.idle_timeout.map_or(Duration::MAX, Duration::from_nanos),
            max_lifetime: self.max_lifetime.map_or(Duration::MAX, Duration::from_nanos),
            seed: 9112,
            learns_idle_timeout: false,
            lifetime_jitter: None,
            keeps_connections: true,
            shares_places: self.shared.is_some(),
            sharing: Sharing::Never,
            max_streams: 100,
            spread: false,
        }
    }
}

/// An effect, with numbers in place of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Dial(usize),
    /// Numbers count up; this is since when its waiter waits.
    Claim(u64),
    Withdraw(usize),
    Release,
    Abort(usize),
    Assign {
        waiter: usize,
        connection: usize,
        exchanges: u64,
        idle_since: Option<u64>,
    },
    Reject {
        waiter: usize,
        reason: RejectReason,
    },
    Close {
        connection: usize,
        reason: CloseReason,
        closer: Closer,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    Running,
    Succeeded,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiter {
    Waiting,
    Served { reused: bool },
    Rejected(RejectReason),
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Active,
    /// The greater the turn, the later it became idle.
    Idle {
        since: u64,
        turn: u64,
    },
    Closed(CloseReason, Closer),
}

/// Order in which waiters are served: those that had a connection first, then by number.
type Turn = (bool, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Came(usize),
    Began(usize),
}

#[derive(Debug)]
pub(crate) struct Model {
    rules: Rules,
    now: u64,
    turns: u64,
    shut_down: bool,
    dials: Vec<Dial>,
    waiters: Vec<Waiter>,
    /// Waiters that want a fresh connection.
    wants_fresh: BTreeSet<usize>,
    /// Waiters whose request had a connection that broke: they are served first.
    again: BTreeSet<usize>,
    /// When each came.
    came: Vec<u64>,
    /// Checkouts and dials, in the order in which they came up.
    order: Vec<Event>,
    /// Dials that failed, and count against waiters once no dial that began earlier is running.
    failed: Vec<usize>,
    distrusts_used: bool,
    /// Dials and connections that this host has room for, and until when.
    crowded: Option<(usize, u64)>,
    /// The open claims by whom they are for, how many there ever were, those that are known to have
    /// to wait, and those that were withdrawn.
    claims: BTreeMap<Turn, usize>,
    claimed: usize,
    deferred: BTreeSet<usize>,
    withdrawn: BTreeSet<usize>,
    /// Moment since when the oldest claim of another pool waits.
    oldest_claim: Option<u64>,
    connections: Vec<Connection>,
    /// Exchanges served, by connection.
    exchanges: Vec<u64>,
    /// The servers' advice: how long each connection may be used after an exchange, until when
    /// that was after the last one, and how many exchanges it may serve.
    usable_for: Vec<Option<u64>>,
    server_limits: Vec<Vec<u64>>,
    usable_until: Vec<Option<u64>>,
    /// When each was opened.
    born: Vec<u64>,
    /// Connections that were open when all were told to go.
    dismissed: BTreeSet<usize>,
    decisions: Vec<Decision>,
}

/// Inputs.
impl Model {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: 0,
            turns: 0,
            shut_down: false,
            dials: Vec::new(),
            waiters: Vec::new(),
            wants_fresh: BTreeSet::new(),
            again: BTreeSet::new(),
            came: Vec::new(),
            order: Vec::new(),
            failed: Vec::new(),
            distrusts_used: false,
            crowded: None,
            claims: BTreeMap::new(),
            claimed: 0,
            deferred: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            oldest_claim: None,
            connections: Vec::new(),
            exchanges: Vec::new(),
            born: Vec::new(),
            usable_for: Vec::new(),
            server_limits: Vec::new(),
            usable_until: Vec::new(),
            dismissed: BTreeSet::new(),
            decisions: Vec::new(),
        }
    }

    pub(crate) fn checkout(&mut self, now: u64) {
        self.see(now);
        let waiter = self.come();
        if self.shut_down {
            self.reject(waiter, RejectReason::ShutDown);
            return;
        }
        self.expire();
        self.end_crowding();
        self.catch_up();
        self.reject_if_too_many(waiter);
    }

    fn come(&mut self) -> usize {
        self.waiters.push(Waiter::Waiting);
        self.came.push(self.now);
        self.order.push(Event::Came(self.waiters.len() - 1));
        self.waiters.len() - 1
    }

    fn queued(&self) -> usize {
        let unanswered = self.claims.values().filter(|claim| !self.deferred.contains(claim));
        let hopeful = self.running().len() + unanswered.count();
        self.waiting().len().saturating_sub(hopeful)
    }

    fn reject_if_too_many(&mut self, waiter: usize) {
        let queued = self.queued();
        if self.waiters[waiter] == Waiter::Waiting && exceeds(queued, self.rules.max_waiters) {
            self.reject(waiter, RejectReason::TooManyWaiters);
        }
    }

    /// Grants a claim. Returns true if the claim was still wanted.
    pub(crate) fn granted(&mut self, claim: usize, now: u64) -> bool {
        self.see(now);
        let whose = self.owner(claim);
        if let Some(waiter) = whose {
            // The dial is for the oldest, who has no use for a claim any more.
            let (oldest, left) = self.claims.pop_first().expect("this one at least");
            if oldest.1 != waiter {
                self.claims.insert(self.turn(waiter), left);
            }
        }
        let wanted = whose.is_some();
        if wanted {
            self.dial();
        } else {
            self.decisions.push(Decision::Release);
        }
        wanted
    }

    pub(crate) fn deferred(&mut self, claim: usize, now: u64) {
        self.see(now);
        if let Some(waiter) = self.owner(claim)
            && self.deferred.insert(claim)
        {
            self.reject_if_too_many(waiter);
            self.catch_up();
        }
    }

    fn owner(&self, claim: usize) -> Option<usize> {
        let mut claims = self.claims.iter();
        claims.find(|(_, number)| **number == claim).map(|((_, waiter), _)| *waiter)
    }

    pub(crate) fn oldest_claim_waits(&mut self, since: Option<u64>) {
        self.oldest_claim = since;
    }

    pub(crate) fn replace(
        &mut self,
        connection: usize,
        (reason, closer): (CloseReason, Closer),
        wanted: Replacement,
        now: u64,
    ) {
        self.see(now);
        let waiter = self.come();
        self.again.insert(waiter);
        self.end_connection(connection, reason, closer);
        self.expire();
        if self.shut_down {
            self.release();
            return self.reject(waiter, RejectReason::ShutDown);
        }
        let wanted = if self.crowded.is_some() { Replacement::Any } else { wanted };
        if wanted == Replacement::Fresh {
            self.wants_fresh.insert(waiter);
        }
        let idle = wanted == Replacement::Any && !self.idle().is_empty();
        if !idle && self.waiting().len() > self.running().len() {
            self.dial();
        } else {
            self.release();
        }
        self.catch_up();
    }

    pub(crate) fn cancel(&mut self, waiter: usize, now: u64) -> bool {
        self.see(now);
        let waited = self.waiters[waiter] == Waiter::Waiting;
        if waited {
            self.waiters[waiter] = Waiter::Cancelled;
            self.unclaim(waiter);
        }
        self.catch_up();
        waited
    }

    pub(crate) fn dialed(&mut self, dial: usize, now: u64) {
        self.see(now);
        self.dials[dial] = Dial::Succeeded;
        self.failed.clear();
        self.connections.push(Connection::Active);
        self.exchanges.push(0);
        self.born.push(self.now);
        self.usable_for.push(None);
        self.server_limits.push(Vec::new());
        self.usable_until.push(None);
        self.place(self.connections.len() - 1, true);
    }

    pub(crate) fn dial_failed(&mut self, dial: usize, now: u64) {
        self.see(now);
        self.dials[dial] = Dial::Failed;
        self.release();
        let ripe = self.file_failure(dial);
        let closed = self.active().is_empty() && self.idle().is_empty();
        let last = ripe.into_iter().max().filter(|_| closed);
        let mut answered = self.came_before(last);
        if answered.is_empty() && self.waiting().len() > self.running().len() {
            answered.extend(self.waiting().into_iter().min());
        }
        for waiter in answered {
            self.reject(waiter, RejectReason::DialFailed);
        }
        self.catch_up();
    }

    /// Files a failed dial, and takes those out before which no dial began that is running.
    fn file_failure(&mut self, dial: usize) -> Vec<usize> {
        self.failed.push(dial);
        self.take_ripe()
    }

    fn take_ripe(&mut self) -> Vec<usize> {
        let earliest = self.running().first().copied();
        let is_ripe = |dial: &usize| earliest.is_none_or(|running| *dial < running);
        let ripe: Vec<usize> = self.failed.iter().copied().filter(is_ripe).collect();
        self.failed.retain(|dial| !is_ripe(dial));
        ripe
    }

    pub(crate) fn dial_refused(&mut self, dial: usize, now: u64) {
        if self.active().is_empty() && self.idle().is_empty() && self.running() == [dial] {
            return self.dial_failed(dial, now);
        }
        self.see(now);
        self.dials[dial] = Dial::Failed;
        self.release();
        let ripe = self.take_ripe();
        let span = Pool::CROWDED_FOR.as_nanos() as u64;
        self.crowded = Some((self.alive(), self.now + span));
        self.wants_fresh.clear();
        let closed = self.active().is_empty() && self.idle().is_empty();
        for waiter in self.came_before(ripe.into_iter().max().filter(|_| closed)) {
            self.reject(waiter, RejectReason::DialFailed);
        }
        self.expire();
        self.catch_up();
        while exceeds(self.queued(), self.rules.max_waiters) {
            let longest = self.waiting().into_iter().min();
            self.reject(longest.expect("some are queued"), RejectReason::DialFailed);
        }
        self.catch_up();
    }

    fn end_crowding(&mut self) {
        if self.crowded.is_some_and(|(_, until)| until <= self.now) {
            self.crowded = None;
        }
    }

    /// Returns true if so many dials, connections and claims may be there.
    fn may_have(&self, count: usize) -> bool {
        !exceeds(count, self.rules.max_connections)
            && self.crowded.is_none_or(|(most, _)| count <= most)
    }

    /// Waiters that came before this dial began.
    fn came_before(&self, dial: Option<usize>) -> Vec<usize> {
        let Some(dial) = dial else { return Vec::new() };
        let began = self.order.iter().position(|event| *event == Event::Began(dial));
        let before = &self.order[..began.expect("a dial that began")];
        let waits = |waiter: &usize| self.waiters[*waiter] == Waiter::Waiting;
        let came = before.iter().filter_map(|event| match event {
            Event::Came(waiter) => Some(*waiter),
            Event::Began(_) => None,
        });
        came.filter(waits).collect()
    }

    fn dial(&mut self) {
        self.decisions.push(Decision::Dial(self.dials.len()));
        self.order.push(Event::Began(self.dials.len()));
        self.dials.push(Dial::Running);
    }

    pub(crate) fn advised(&mut self, connection: usize, idle: Option<u64>, left: Option<u64>) {
        if let Some(idle) = idle {
            // Of so short a time it is the half that is taken off.
            self.usable_for[connection] = Some(idle - idle / 2);
        }
        if let Some(left) = left {
            let served = self.exchanges[connection] + 1;
            self.server_limits[connection].push(served + left);
        }
    }

    pub(crate) fn returned(&mut self, connection: usize, now: u64) {
        self.see(now);
        self.exchanges[connection] += 1;
        self.usable_until[connection] = self.usable_for[connection].map(|span| self.now + span);
        self.place(connection, false);
    }

    pub(crate) fn returned_unused(&mut self, connection: usize, now: u64) {
        self.see(now);
        self.place(connection, false);
    }

    pub(crate) fn closed(&mut self, connection: usize, why: CloseReason, by: Closer, now: u64) {
        self.see(now);
        self.close(connection, why, by);
        self.catch_up();
    }

    /// Leases an idle connection. Returns false if it was not idle.
    pub(crate) fn inspect(&mut self, connection: usize, now: u64) -> bool {
        self.see(now);
        self.expire();
        let found = matches!(self.connections[connection], Connection::Idle { .. });
        if found {
            self.connections[connection] = Connection::Active;
        }
        found
    }

    pub(crate) fn evict_oldest(&mut self, now: u64) -> bool {
        self.see(now);
        let Some(&oldest) = self.idle().first() else {
            return false;
        };
        self.close(oldest, CloseReason::TotalIdleLimit, Closer::Client);
        true
    }

    pub(crate) fn close_idle(&mut self, now: u64) {
        self.see(now);
        self.dismissed.extend(self.active());
        for connection in self.idle() {
            self.close(connection, CloseReason::CloseIdle, Closer::Client);
        }
        self.catch_up();
    }

    pub(crate) fn distrust(&mut self, distrusts: bool, now: u64) {
        self.see(now);
        self.distrusts_used = distrusts;
        for connection in self.idle().into_iter().rev() {
            if self.is_distrusted(connection) {
                self.close(connection, CloseReason::Distrusted, Closer::Client);
            }
        }
    }

    fn is_distrusted(&self, connection: usize) -> bool {
        self.distrusts_used && self.exchanges[connection] > 0
    }

    pub(crate) fn tick(&mut self, now: u64) {
        self.see(now);
        self.expire();
        self.end_crowding();
        self.catch_up();
    }

    pub(crate) fn shut_down(&mut self, now: u64) {
        self.see(now);
        if self.shut_down {
            return;
        }
        self.shut_down = true;
        for waiter in self.waiting() {
            self.reject(waiter, RejectReason::ShutDown);
        }
        for dial in self.running() {
            self.decisions.push(Decision::Abort(dial));
        }
        for connection in self.idle() {
            self.close(connection, CloseReason::ShutDown, Closer::Client);
        }
    }
}

fn exceeds(count: usize, limit: Option<u32>) -> bool {
    limit.is_some_and(|limit| count > limit as usize)
}

fn count<T>(all: &[T], wanted: impl Fn(&T) -> bool) -> u64 {
    let mut count = 0;
    for one in all {
        count += u64::from(wanted(one));
    }
    count
}

fn numbers<T>(all: &[T], wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    (0..all.len()).filter(|number| wanted(&all[*number])).collect()
}
