//! The rules that the model's inputs share: placing, serving, claiming, expiring, closing.

use keepwarm_pool::{CloseReason, Closer, RejectReason};

use super::{Connection, Decision, Model, Waiter, exceeds};

impl Model {
    pub(super) fn see(&mut self, now: u64) {
        if now > self.now {
            self.now = now;
        }
    }

    /// Places a connection that is free.
    pub(super) fn place(&mut self, connection: usize, is_new: bool) {
        if self.shut_down {
            self.close(connection, CloseReason::ShutDown, Closer::Client);
        } else if self.dismissed.contains(&connection) {
            self.close(connection, CloseReason::CloseIdle, Closer::Client);
        } else if self.is_distrusted(connection) {
            self.close(connection, CloseReason::Distrusted, Closer::Client);
        } else if self.is_spent(connection) {
            self.close(connection, CloseReason::ExchangeLimit, Closer::Client);
        } else if !is_new && self.end_of(connection).is_some_and(|end| end <= self.now) {
            self.close(connection, CloseReason::Lifetime, Closer::Client);
        } else if !is_new && self.is_over_for_the_server(connection) {
            self.close(connection, CloseReason::ServerLimit, Closer::Client);
        } else if !is_new && self.must_make_room() {
            self.close(connection, CloseReason::TotalLimit, Closer::Client);
        } else if let Some(waiter) = self.first_who_takes(is_new) {
            self.give(connection, waiter, None);
        } else {
            self.expire();
            if exceeds(self.idle().len() + 1, self.rules.max_idle) {
                self.close(connection, CloseReason::IdleLimit, Closer::Client);
            } else {
                self.turns += 1;
                self.connections[connection] =
                    Connection::Idle { since: self.now, turn: self.turns };
                self.expire();
            }
        }
        self.catch_up();
    }

    /// Serves waiters while a connection is idle, and starts dials while one may start. Called after
    /// every input that could matter, not where the pool is known to do so.
    pub(super) fn catch_up(&mut self) {
        while let (Some(waiter), Some(&newest)) = (self.first_who_takes(false), self.idle().last())
        {
            let since = self.since(newest);
            self.give(newest, waiter, Some(since));
        }
        if self.rules.shared.is_some() {
            return self.balance_claims();
        }
        while self.waiting().len() > self.running().len() && self.may_have(self.alive() + 1) {
            self.dial();
        }
    }

    /// Behind the waiters whose dial is under way everybody has a claim, the oldest first, as far
    /// as the limit allows.
    pub(super) fn balance_claims(&mut self) {
        let behind = self.waiting().len().saturating_sub(self.running().len());
        let mut wanted = 0;
        while wanted < behind && self.may_have(self.alive() + wanted + 1) {
            wanted += 1;
        }
        while self.claims.len() > wanted {
            let oldest = *self.claims.first_key_value().expect("more than none").0;
            self.unclaim(oldest.1);
        }
        while self.claims.len() < wanted {
            let unclaimed = |waiter: &usize| !self.claims.contains_key(&self.turn(*waiter));
            let waiting = self.waiting();
            let behind = match self.claims.last_key_value() {
                Some((last, _)) => waiting.iter().find(|waiter| self.turn(**waiter) > *last),
                None => waiting.get(self.running().len()),
            };
            let next = behind.or_else(|| waiting.iter().rev().find(|waiter| unclaimed(waiter)));
            let next = next.copied();
            let waiter = next.expect("more waiters than claims");
            self.claims.insert(self.turn(waiter), self.claimed);
            self.claimed += 1;
            self.decisions.push(Decision::Claim(self.came[waiter]));
        }
    }

    pub(super) fn unclaim(&mut self, waiter: usize) {
        if let Some(claim) = self.claims.remove(&self.turn(waiter)) {
            self.withdrawn.insert(claim);
            self.decisions.push(Decision::Withdraw(claim));
        }
    }

    /// A connection is gone, or a dial.
    pub(super) fn release(&mut self) {
        if self.rules.shared.is_some() {
            self.decisions.push(Decision::Release);
        }
    }

    /// Returns true if another pool's claim has waited so much longer than the waiter here.
    pub(super) fn must_make_room(&self) -> bool {
        let (Some(span), Some(oldest)) = (self.rules.shared, self.oldest_claim) else {
            return false;
        };
        self.first_who_takes(false).is_some_and(|waiter| oldest + span < self.came[waiter])
    }

    /// The oldest waiter who takes a connection that has just been dialled (`is_new`), or one that
    /// has not.
    pub(super) fn first_who_takes(&self, is_new: bool) -> Option<usize> {
        let takes = |waiter: &usize| is_new || !self.wants_fresh.contains(waiter);
        self.waiting().into_iter().find(takes)
    }

    pub(super) fn expire(&mut self) {
        let mut expired = Vec::new();
        for connection in self.idle() {
            if let Some((moment, reason)) = self.expiry(connection)
                && moment <= self.now
            {
                expired.push((moment, connection, reason));
            }
        }
        // Of two that expire at once, the one that has been idle for longer.
        expired.sort_by_key(|(moment, ..)| *moment);
        for (_, connection, reason) in expired {
            self.close(connection, reason, Closer::Client);
        }
    }

    pub(super) fn give(&mut self, connection: usize, waiter: usize, idle_since: Option<u64>) {
        let exchanges = self.exchanges[connection];
        self.connections[connection] = Connection::Active;
        self.unclaim(waiter);
        self.waiters[waiter] = Waiter::Served { reused: exchanges > 0 };
        self.decisions.push(Decision::Assign { waiter, connection, exchanges, idle_since });
    }

    pub(super) fn reject(&mut self, waiter: usize, reason: RejectReason) {
        self.unclaim(waiter);
        self.waiters[waiter] = Waiter::Rejected(reason);
        self.decisions.push(Decision::Reject { waiter, reason });
    }

    pub(super) fn close(&mut self, connection: usize, reason: CloseReason, closer: Closer) {
        self.end_connection(connection, reason, closer);
        self.release();
    }

    pub(super) fn end_connection(
        &mut self,
        connection: usize,
        reason: CloseReason,
        closer: Closer,
    ) {
        self.connections[connection] = Connection::Closed(reason, closer);
        self.decisions.push(Decision::Close { connection, reason, closer });
    }

    /// Returns true if the connection has served as many exchanges as it may, and one at least.
    pub(super) fn is_spent(&self, connection: usize) -> bool {
        let served = self.exchanges[connection];
        self.rules.max_exchanges.is_some_and(|most| served >= u64::from(most).max(1))
    }

    pub(super) fn alive(&self) -> usize {
        self.running().len() + self.active().len() + self.idle().len()
    }

    pub(super) fn since(&self, connection: usize) -> u64 {
        match self.connections[connection] {
            Connection::Idle { since, .. } => since,
            other => unreachable!("{other:?}"),
        }
    }

    /// When an idle connection expires, and what comes first.
    pub(super) fn expiry(&self, connection: usize) -> Option<(u64, CloseReason)> {
        let timeout = self.rules.idle_timeout.map(|timeout| self.since(connection) + timeout);
        // Of those that come at once, the first in this order.
        let all = [
            timeout.map(|moment| (moment, CloseReason::IdleTimeout)),
            self.end_of(connection).map(|moment| (moment, CloseReason::Lifetime)),
            self.usable_until[connection].map(|moment| (moment, CloseReason::ServerLimit)),
        ];
        all.into_iter().flatten().min_by_key(|(moment, _)| *moment)
    }

    pub(super) fn is_over_for_the_server(&self, connection: usize) -> bool {
        let served = self.exchanges[connection];
        self.server_limits[connection].iter().any(|limit| *limit <= served)
            || self.usable_until[connection].is_some_and(|moment| moment <= self.now)
    }

    /// The end of its lifetime.
    pub(super) fn end_of(&self, connection: usize) -> Option<u64> {
        self.rules.max_lifetime?;
        let lifetime = self.rules.settings().lifetime_of(connection as u64 + 1);
        Some(self.born[connection] + lifetime.as_nanos() as u64)
    }
}
