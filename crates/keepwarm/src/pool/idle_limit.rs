//! The idle connections of all origins together, counted without holding any origin's lock.

use std::sync::atomic::{AtomicIsize, Ordering};

use keepwarm_pool::Limit;

/// How many connections are idle in all, against how many may be.
#[derive(Debug)]
pub(crate) struct IdleBudget {
    limit: Limit,
    /// Whether somebody wants the number.
    counts: bool,
    /// Signed: an origin's decrease may be booked before the increase that it follows.
    idle: AtomicIsize,
}

impl IdleBudget {
    /// `counts` asks for the number though there is no limit.
    pub(crate) const fn new(limit: Limit, counts: bool) -> Self {
        let counts = counts || limit.get().is_some();
        Self { limit, counts, idle: AtomicIsize::new(0) }
    }

    /// One origin's idle count went from `before` to `after`. True if that went over the limit.
    /// Where nobody wants the number nothing is counted, so that origins share no cache line.
    pub(crate) fn moved(&self, before: usize, after: usize) -> bool {
        if !self.counts || before == after {
            return false;
        }
        let change = after.cast_signed() - before.cast_signed();
        self.idle.fetch_add(change, Ordering::SeqCst);
        change > 0 && self.is_exceeded()
    }

    /// Whether some may be idle. Whoever makes one idle has counted it before looking who waits.
    pub(crate) fn any(&self) -> bool {
        self.idle.load(Ordering::SeqCst) > 0
    }

    /// Whether more are idle than may be.
    pub(crate) fn is_exceeded(&self) -> bool {
        let idle = usize::try_from(self.idle.load(Ordering::Relaxed)).unwrap_or(0);
        idle > 0 && !self.limit.has_room(idle - 1)
    }
}
