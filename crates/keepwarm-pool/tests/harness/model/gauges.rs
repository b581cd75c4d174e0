//! Outputs, gauges and counters of the model: each one a look through everything.

use keepwarm_pool::{CloseReason, Closer, RejectReason};

use super::{Connection, Decision, Dial, Model, Turn, Waiter, count, exceeds, numbers};

impl Model {
    pub(crate) fn take_decisions(&mut self) -> Vec<Decision> {
        core::mem::take(&mut self.decisions)
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let expiries = self.idle().into_iter().filter_map(|c| self.expiry(c));
        let held_back = self.waiting().len() > self.running().len() + self.claims.len()
            && !exceeds(self.alive() + self.claims.len() + 1, self.rules.max_connections);
        let crowded = self.crowded.filter(|_| held_back).map(|(_, until)| until);
        expiries.map(|(moment, _)| moment).chain(crowded).min()
    }

    pub(crate) fn oldest_idle(&self) -> Option<u64> {
        self.idle().into_iter().map(|c| self.since(c)).min()
    }

    pub(crate) const fn is_shut_down(&self) -> bool {
        self.shut_down
    }

    /// Returns true if as many connections as allowed are idle, be they expired or not.
    pub(crate) fn is_full(&self) -> bool {
        exceeds(self.idle().len() + 1, self.rules.max_idle)
    }

    /// The latest moment seen.
    pub(crate) const fn now(&self) -> u64 {
        self.now
    }

    /// Dials under way, oldest first.
    pub(crate) fn running(&self) -> Vec<usize> {
        numbers(&self.dials, |dial| *dial == Dial::Running)
    }

    /// Waiters that have not ended, in the order in which they are served.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        let mut waiting = numbers(&self.waiters, |waiter| *waiter == Waiter::Waiting);
        waiting.sort_by_key(|waiter| self.turn(*waiter));
        waiting
    }

    pub(super) fn turn(&self, waiter: usize) -> Turn {
        (!self.again.contains(&waiter), waiter)
    }

    /// Open claims, that of the oldest waiter first, and those that were withdrawn.
    pub(crate) fn claims(&self) -> Vec<usize> {
        self.claims.values().copied().collect()
    }

    pub(crate) fn withdrawn(&self) -> Vec<usize> {
        self.withdrawn.iter().copied().collect()
    }

    /// Waiters that only a dial can serve, oldest first.
    pub(crate) fn waiting_for_new(&self) -> Vec<usize> {
        let mut waiting = self.waiting();
        waiting.retain(|waiter| self.wants_fresh.contains(waiter));
        waiting
    }

    pub(crate) fn active(&self) -> Vec<usize> {
        numbers(&self.connections, |c| *c == Connection::Active)
    }

    /// Idle connections, longest idle first.
    pub(crate) fn idle(&self) -> Vec<usize> {
        let mut idle = numbers(&self.connections, |c| matches!(c, Connection::Idle { .. }));
        idle.sort_by_key(|number| match self.connections[*number] {
            Connection::Idle { turn, .. } => turn,
            other => unreachable!("{other:?}"),
        });
        idle
    }

    pub(crate) fn checkouts(&self) -> u64 {
        self.waiters.len() as u64
    }

    pub(crate) fn served(&self, reused: bool) -> u64 {
        self.ended(Waiter::Served { reused })
    }

    pub(crate) fn cancelled(&self) -> u64 {
        self.ended(Waiter::Cancelled)
    }

    pub(crate) fn rejected_for(&self, reason: RejectReason) -> u64 {
        self.ended(Waiter::Rejected(reason))
    }

    pub(crate) fn dials(&self) -> u64 {
        self.dials.len() as u64
    }

    pub(crate) fn dials_failed(&self) -> u64 {
        count(&self.dials, |dial| *dial == Dial::Failed)
    }

    pub(crate) fn opened(&self) -> u64 {
        self.connections.len() as u64
    }

    pub(crate) fn closed_for(&self, reason: CloseReason, closer: Closer) -> u64 {
        let closed = Connection::Closed(reason, closer);
        count(&self.connections, |c| *c == closed)
    }

    pub(super) fn ended(&self, end: Waiter) -> u64 {
        count(&self.waiters, |waiter| *waiter == end)
    }
}
