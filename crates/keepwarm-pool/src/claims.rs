//! The places that a pool has asked for, and not got yet.
//!
//! This module owns which claim is for whom. It decides nothing: how many there are to be, and what a
//! granted one is good for, is the pool's.

use alloc::collections::BTreeMap;
use core::ops::Bound;

use crate::{ClaimId, Moment, WaiterId};

/// Open claims, each for one waiter.
#[derive(Debug)]
pub(crate) struct Claims {
    by_waiter: BTreeMap<WaiterId, ClaimId>,
    by_id: BTreeMap<ClaimId, Claim>,
    /// How many are not known to have to wait.
    unanswered: usize,
}

#[derive(Debug)]
struct Claim {
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

    /// Those that may be granted in a moment, for all that is known.
    pub(crate) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// The claim of the oldest waiter who has one.
    pub(crate) fn oldest(&self) -> Option<WaiterId> {
        self.by_waiter.first_key_value().map(|(waiter, _)| *waiter)
    }

    pub(crate) fn insert(&mut self, waiter: WaiterId, id: ClaimId) {
        self.by_waiter.insert(waiter, id);
        self.by_id.insert(id, Claim { waiter, deferred: false });
        self.unanswered += 1;
    }

    /// The claim of this waiter ends, if there is one.
    pub(crate) fn end_of(&mut self, waiter: WaiterId) -> Option<ClaimId> {
        let id = self.by_waiter.remove(&waiter)?;
        self.forget(id);
        Some(id)
    }

    /// This claim was granted. Returns whether it was open. The dial will serve the oldest waiter, so
    /// the oldest one's claim is now for the one whose claim this was: claims cross on their way.
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

    /// This claim has to wait. Returns whose it is, if that was news.
    pub(crate) fn defer(&mut self, id: ClaimId) -> Option<WaiterId> {
        let claim = self.by_id.get_mut(&id)?;
        if core::mem::replace(&mut claim.deferred, true) {
            return None;
        }
        self.unanswered -= 1;
        Some(claim.waiter)
    }

    /// The waiter to claim for next: the oldest behind those with a claim. The oldest waiters, as many
    /// as there are dials, need none.
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
