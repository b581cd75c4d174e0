//! Open claims of one pool: places that the pool has asked for and not been granted yet.
//!
//! This module maps claims to waiters. The pool decides how many claims there are, and what is done
//! with a granted one.

use alloc::collections::BTreeMap;
use core::ops::Bound;

use crate::{ClaimId, Moment, WaiterId};

/// Open claims of a pool, each for one waiter.
#[derive(Debug)]
pub(crate) struct Claims {
    by_waiter: BTreeMap<WaiterId, ClaimId>,
    by_id: BTreeMap<ClaimId, OpenClaim>,
    /// Claims that have not been deferred.
    unanswered: usize,
}

#[derive(Debug)]
struct OpenClaim {
    waiter: WaiterId,
    deferred: bool,
}

impl Claims {
    pub(crate) const fn new() -> Self {
        Self { by_waiter: BTreeMap::new(), by_id: BTreeMap::new(), unanswered: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the number of claims that have not been deferred: they may be granted in a moment.
    pub(crate) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Returns the oldest waiter that has a claim.
    pub(crate) fn oldest(&self) -> Option<WaiterId> {
        self.by_waiter.first_key_value().map(|(waiter, _)| *waiter)
    }

    pub(crate) fn insert(&mut self, waiter: WaiterId, id: ClaimId) {
        self.by_waiter.insert(waiter, id);
        self.by_id.insert(id, OpenClaim { waiter, deferred: false });
        self.unanswered += 1;
    }

    /// Ends the claim of this waiter, if there is one.
    pub(crate) fn end_of(&mut self, waiter: WaiterId) -> Option<ClaimId> {
        let id = self.by_waiter.remove(&waiter)?;
        self.forget(id);
        Some(id)
    }

    /// Ends a claim that was granted; false if it was not open. The dial will serve the oldest
    /// waiter, so the claim of the oldest waiter passes to the waiter of this claim: claims may be
    /// granted out of order.
    pub(crate) fn grant(&mut self, id: ClaimId) -> bool {
        let Some(waiter) = self.forget(id) else {
            return false;
        };
        self.by_waiter.remove(&waiter);
        if let Some((&oldest, _)) = self.by_waiter.first_key_value()
            && oldest < waiter
            && let Some(other) = self.by_waiter.remove(&oldest)
        {
            self.by_waiter.insert(waiter, other);
            if let Some(claim) = self.by_id.get_mut(&other) {
                claim.waiter = waiter;
            }
        }
        true
    }

    /// Notes that a claim has to wait. Returns its waiter the first time.
    pub(crate) fn defer(&mut self, id: ClaimId) -> Option<WaiterId> {
        let claim = self.by_id.get_mut(&id)?;
        if core::mem::replace(&mut claim.deferred, true) {
            return None;
        }
        self.unanswered -= 1;
        Some(claim.waiter)
    }

    /// Returns the waiter to claim for next: the oldest behind the waiters with a claim. The oldest
    /// waiters, as many as there are dials, need no claim.
    pub(crate) fn next_of(
        &self,
        waiters: &BTreeMap<WaiterId, Moment>,
        dials: usize,
    ) -> Option<(WaiterId, Moment)> {
        let behind = match self.by_waiter.last_key_value() {
            Some((&last, _)) => waiters.range((Bound::Excluded(last), Bound::Unbounded)).next(),
            None if waiters.len() == dials + 1 => waiters.last_key_value(),
            None => waiters.iter().nth(dials),
        };
        let unclaimed = |(waiter, _): &(&WaiterId, &Moment)| !self.by_waiter.contains_key(waiter);
        let found = behind.or_else(|| waiters.iter().rev().find(unclaimed));
        found.map(|(waiter, since)| (*waiter, *since))
    }

    fn forget(&mut self, id: ClaimId) -> Option<WaiterId> {
        let claim = self.by_id.remove(&id)?;
        self.unanswered -= usize::from(!claim.deferred);
        Some(claim.waiter)
    }
}
