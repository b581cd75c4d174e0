//! The limit on the connections of all origins together: who gets a place for one, in which order.
//!
//! The decisions are [`Budget`]'s. This module keeps it behind a lock of its own, which is never held
//! together with an origin's: it takes one piece of work out, lets go, and asks the origin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keepwarm_pool::{Budget, ClaimId, CloseReason, Limit, Moment, Place, Work};

use crate::pool::origin::Origin;
use crate::pool::origins::Origins;

/// The number of an origin, and its claim.
type Key = (u64, ClaimId);

/// Places for the connections of all origins.
#[derive(Debug)]
pub(crate) struct Total {
    limited: bool,
    budget: Mutex<Budget<Key, Weak<Origin>>>,
    /// Since when the oldest claim has waited, for those who do not have the lock.
    elder: AtomicU64,
}

impl Total {
    pub(crate) const fn new(limit: Limit) -> Self {
        Self {
            limited: limit.get().is_some(),
            budget: Mutex::new(Budget::new(limit)),
            elder: AtomicU64::new(Moment::NEVER.as_nanos()),
        }
    }

    /// Since when the oldest claim of any origin has waited; `NEVER` if there is none.
    pub(crate) fn elder(&self) -> Moment {
        if !self.limited {
            return Moment::NEVER;
        }
        // In one order with the count of idle connections: of somebody who makes one idle and looks
        // here, and somebody who waits and looks there, one sees the other.
        Moment::from_nanos(self.elder.load(Ordering::SeqCst))
    }

    pub(crate) fn claim(&self, origin: u64, claim: ClaimId, pool: Weak<Origin>, since: Moment) {
        self.with(|budget| budget.claim((origin, claim), pool, since));
    }

    pub(crate) fn withdraw(&self, origin: u64, claim: ClaimId) {
        self.with(|budget| budget.withdraw((origin, claim)));
    }

    pub(crate) fn release(&self, place: Place) {
        self.with(|budget| budget.release(place));
    }

    /// A connection is idle that was not.
    pub(crate) fn idle_appeared(&self) {
        self.with(Budget::idle_appeared);
    }

    /// Gives places to those who wait for one, and looks for idle connections that can make room.
    /// Returns at once if another thread is at it, or this one further up its stack.
    pub(crate) fn serve(&self, origins: impl FnOnce() -> Option<Arc<Origins>>) {
        if !self.with(Budget::begin_work) {
            return;
        }
        let origins = origins();
        while let Some(work) = self.with(Budget::poll_work) {
            match work {
                Work::Grant { key, pool, place } => {
                    let over = match pool.upgrade() {
                        Some(origin) => origin.granted(key.1, place),
                        None => {
                            self.release(place);
                            true
                        }
                    };
                    self.with(|budget| budget.settle(key, over));
                }
                Work::Evict => {
                    let found = origins
                        .as_ref()
                        .is_some_and(|origins| origins.evict_oldest(CloseReason::TotalLimit));
                    self.with(|budget| budget.evicted(found));
                }
                Work::Defer { key, pool } => {
                    if let Some(origin) = pool.upgrade() {
                        origin.deferred(key.1);
                    }
                }
            }
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut Budget<Key, Weak<Origin>>) -> R) -> R {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut budget);
        self.elder.store(budget.elder().as_nanos(), Ordering::SeqCst);
        result
    }
}
