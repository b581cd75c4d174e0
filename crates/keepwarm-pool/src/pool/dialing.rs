//! Starts dials for waiters, or claims places for them where pools share a limit; ends waiters.

use alloc::vec::Vec;

use super::{DialState, Pool};
use crate::settings::Sharing;
use crate::{ClaimId, DialId, DialPermit, Effect, RejectReason, WaiterId};

impl Pool {
    /// Starts dials, or claims places for them, while waiters without a dial exist and the limit
    /// allows.
    pub(super) fn replenish(&mut self) {
        if self.waiters.is_empty() && !self.settings.shares_places {
            return;
        }
        if self.settings.shares_places {
            self.balance_claims();
        } else {
            while self.dials_wanted() > 0 && self.has_room_to_dial() {
                self.start_dial();
            }
        }
        if self.doubtful > 0 {
            self.settle_in_doubt();
        }
        if self.settings.sharing != Sharing::Never {
            self.shed_waiters();
        }
    }

    pub(super) fn start_dial(&mut self) {
        let dial = DialId(self.mint_id());
        self.dials.insert(dial, DialState::default());
        self.counts.dials += 1;
        self.gate_step = self.now.after(Self::GATE_STEP);
        self.effects.push_back(Effect::Dial(DialPermit { dial }));
    }

    /// Adjusts the claims: dials are for the oldest waiters, and a place is claimed for each waiter
    /// behind them, as far as the limit allows, and for no other.
    pub(super) fn balance_claims(&mut self) {
        let alone = self.dials_wanted();
        let limit = self.settings.max_connections.get().map_or(usize::MAX, |limit| limit as usize);
        let limit = self.crowded.map_or(limit, |crowded| crowded.most.min(limit));
        let wanted = alone.min(limit.saturating_sub(self.alive()));
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

    pub(super) fn withdraw(&mut self, waiter: WaiterId) {
        self.effects.extend(self.claims.end_of(waiter).map(Effect::Withdraw));
    }

    /// Ends a waiter and its claim. False if it did not wait.
    pub(super) fn end_waiter(&mut self, waiter: WaiterId) -> bool {
        let waited = self.waiters.remove(&waiter).is_some();
        self.wants_fresh.remove(&waiter);
        self.withdraw(waiter);
        waited
    }

    /// Releases the place of a dial or a connection that is gone, if it had one.
    pub(super) fn release_place(&mut self) {
        self.effects.extend(self.places.pop().map(Effect::Release));
    }

    pub(super) fn alive(&self) -> usize {
        self.dials.len() + self.active + self.idle.len()
    }

    pub(super) fn has_room_to_dial(&self) -> bool {
        let alive = self.alive() + self.claims.len();
        self.settings.max_connections.has_room(alive)
            && self.crowded.is_none_or(|crowded| alive < crowded.most)
    }

    /// Returns true if a dial would start, or a claim be made, but for what this host refused.
    pub(super) fn holds_dials_back(&self) -> bool {
        self.dials_wanted() > self.claims.len()
            && self.settings.max_connections.has_room(self.alive() + self.claims.len())
    }

    /// Lets dials go beyond what this host refused, once the time is over.
    pub(super) fn end_crowding(&mut self) {
        if self.crowded.is_some_and(|crowded| crowded.until <= self.now) {
            self.crowded = None;
            self.replenish();
        }
    }

    /// Returns the number of waiters without a dial or a claim that may be granted in a moment.
    pub(super) fn queued(&self) -> usize {
        let claims = self.claims.unanswered().saturating_mul(self.expected());
        self.waiters.len().saturating_sub(self.cover().saturating_add(claims))
    }

    /// Returns true if one more waiter may queue: a dial is or will be there for it, or the queue
    /// beyond the dials has room.
    pub(super) fn may_wait(&self) -> bool {
        self.waiters.len() < self.cover()
            || self.has_room_to_dial()
            || self.settings.max_waiters.has_room(self.queued())
    }

    pub(super) fn reject(&mut self, waiter: WaiterId, reason: RejectReason) {
        self.counts.rejected[reason.index()] += 1;
        self.effects.push_back(Effect::Reject { waiter, reason });
    }

    /// Ends a dial that succeeded: the origin answers, so what failed before counts no more.
    pub(super) fn end_dial(&mut self, permit: DialPermit) {
        let known = self.dials.remove(&permit.dial).is_some();
        debug_assert!(known, "a permit of another pool: {permit:?}");
        if core::mem::take(&mut self.failures_filed) {
            for state in self.dials.values_mut() {
                state.failed_behind = None;
            }
        }
    }

    /// Ends a dial that failed, or that this host refused, which says nothing of the origin. Returns
    /// the last dial to begin, of those that failed, if no dial that began earlier is under way;
    /// otherwise the failure is filed with the next earlier one.
    pub(super) fn fail_dial(&mut self, permit: DialPermit, was_refused: bool) -> Option<DialId> {
        let state = self.dials.remove(&permit.dial);
        debug_assert!(state.is_some(), "a permit of another pool: {permit:?}");
        let own = if was_refused { None } else { Some(permit.dial) };
        let failed = state.and_then(|state| state.failed_behind).or(own);
        match self.dials.range_mut(..permit.dial).next_back() {
            Some((_, earlier)) => {
                earlier.failed_behind = earlier.failed_behind.max(failed);
                self.failures_filed |= failed.is_some();
                None
            }
            None => failed,
        }
    }

    /// Rejects all waiters that came before this dial began, which failed, if no connection is
    /// open. False if there were none.
    pub(super) fn reject_answered(&mut self, failed: Option<DialId>) -> bool {
        let Some(DialId(failed)) = failed.filter(|_| self.active + self.idle.len() == 0) else {
            return false;
        };
        let waiting = self.waiters.keys().copied();
        let mut answered: Vec<_> = waiting.filter(|waiter| waiter.number < failed).collect();
        answered.sort_unstable_by_key(|waiter| waiter.number);
        for waiter in &answered {
            self.end_waiter(*waiter);
            self.reject(*waiter, RejectReason::DialFailed);
        }
        !answered.is_empty()
    }

    /// Rejects the waiter that has waited longest, for a dial that failed.
    pub(super) fn reject_longest_waiting(&mut self) {
        let longest = self.waiters.keys().copied().min_by_key(|waiter| waiter.number);
        if let Some(waiter) = longest {
            self.end_waiter(waiter);
            self.reject(waiter, RejectReason::DialFailed);
        }
    }
}
