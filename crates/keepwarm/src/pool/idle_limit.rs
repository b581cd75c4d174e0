//! The limit on idle connections of all origins together, counted without holding any origin's
//! lock.

use std::sync::atomic::{AtomicIsize, Ordering};

use keepwarm_pool::Limit;

/// Number of connections that are idle in all, with the limit on it.
#[derive(Debug)]
pub(crate) struct IdleLimit {
    limit: Limit,
    /// True if the number is needed.
    counts: bool,
    /// Signed: an origin's decrease may be added before the increase that it follows.
    idle: AtomicIsize,
}

impl IdleLimit {
    /// Creates the limit. With `counts` idle connections are counted even if there is no limit.
    pub(crate) const fn new(limit: Limit, counts: bool) -> Self {
        let counts = counts || limit.get().is_some();
        Self { limit, counts, idle: AtomicIsize::new(0) }
    }

    /// Notes that one origin's idle count went from `before` to `after`. True if that exceeded the
    /// limit. If the number is not needed nothing is counted, so that origins share no cache line.
    pub(crate) fn moved(&self, before: usize, after: usize) -> bool {
        if !self.counts || before == after {
            return false;
        }
        let change = after.cast_signed() - before.cast_signed();
        self.idle.fetch_add(change, Ordering::SeqCst);
        change > 0 && self.is_exceeded()
    }

    /// Returns true if any connection may be idle. The counter is incremented before waiters are
    /// checked, so a waiter never misses an idle connection.
    pub(crate) fn any(&self) -> bool {
        self.idle.load(Ordering::SeqCst) > 0
    }

    /// Returns true if more connections are idle than the limit allows.
    pub(crate) fn is_exceeded(&self) -> bool {
        let idle = usize::try_from(self.idle.load(Ordering::Relaxed)).unwrap_or(0);
        idle > 0 && !self.limit.has_room(idle - 1)
    }
}
