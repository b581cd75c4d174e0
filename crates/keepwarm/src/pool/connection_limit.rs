//! The limit on the connections of all origins together: which waiter gets a place, in which order.
//!
//! The decisions are [`SharedLimit`]'s. This module keeps it behind a lock of its own, which is
//! never held together with an origin's: it takes one piece of work out, unlocks, and calls the
//! origin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keepwarm_pool::{ClaimId, CloseReason, Limit, Moment, Place, SharedLimit, Work};

use crate::pool::origin::Origin;
use crate::pool::origins::Origins;

/// The number of an origin, and its claim.
type ClaimKey = (u64, ClaimId);

/// Places for the connections of all origins.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    limited: bool,
    shared: Mutex<SharedLimit<ClaimKey, Weak<Origin>>>,
    /// Start of the oldest claim's wait, for threads that do not hold the lock.
    oldest_claim: AtomicU64,
}

impl ConnectionLimit {
    pub(crate) const fn new(limit: Limit) -> Self {
        Self {
            limited: limit.get().is_some(),
            shared: Mutex::new(SharedLimit::new(limit)),
            oldest_claim: AtomicU64::new(Moment::NEVER.as_nanos()),
        }
    }

    /// Returns the moment since when the oldest claim of any origin has waited; `NEVER` if there is
    /// none.
    pub(crate) fn oldest_claim(&self) -> Moment {
        if !self.limited {
            return Moment::NEVER;
        }
        // SeqCst, as is the idle count: a thread that idles a connection and then reads
        // `oldest_claim`, and a thread that queues a claim and then reads the idle count, cannot
        // both miss each other.
        Moment::from_nanos(self.oldest_claim.load(Ordering::SeqCst))
    }

    pub(crate) fn claim(&self, origin: u64, claim: ClaimId, pool: Weak<Origin>, since: Moment) {
        self.with(|shared| shared.claim((origin, claim), pool, since));
    }

    pub(crate) fn withdraw(&self, origin: u64, claim: ClaimId) {
        self.with(|shared| shared.withdraw((origin, claim)));
    }

    pub(crate) fn release(&self, place: Place) {
        self.with(|shared| shared.release(place));
    }

    /// Notes that another connection is idle.
    pub(crate) fn idle_appeared(&self) {
        self.with(SharedLimit::idle_appeared);
    }

    /// Grants places to claims, and looks for idle connections that can make room. Returns at once
    /// if another thread is doing so, or this thread further up its stack.
    pub(crate) fn serve(&self, origins: impl FnOnce() -> Option<Arc<Origins>>) {
        if !self.with(SharedLimit::begin_work) {
            return;
        }
        let origins = origins();
        while let Some(work) = self.with(SharedLimit::poll_work) {
            match work {
                Work::Grant { key, pool, place } => {
                    let over = match pool.upgrade() {
                        Some(origin) => origin.granted(key.1, place),
                        None => {
                            self.release(place);
                            true
                        }
                    };
                    self.with(|shared| shared.granted(key, over));
                }
                Work::Evict => {
                    let found = origins
                        .as_ref()
                        .is_some_and(|origins| origins.evict_oldest(CloseReason::TotalLimit));
                    self.with(|shared| shared.evicted(found));
                }
                Work::Defer { key, pool } => {
                    if let Some(origin) = pool.upgrade() {
                        origin.deferred(key.1);
                    }
                }
            }
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut SharedLimit<ClaimKey, Weak<Origin>>) -> R) -> R {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut shared);
        self.oldest_claim.store(shared.oldest_claim().as_nanos(), Ordering::SeqCst);
        result
    }
}
