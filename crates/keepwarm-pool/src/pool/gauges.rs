//! What a pool says of itself.

use core::time::Duration;

use super::Pool;
use crate::token::WaiterId;
use crate::{Counts, Moment};

/// Gauges and counters.
impl Pool {
    /// Dials under way, those that were aborted and have not ended yet included.
    #[must_use]
    pub fn dialing(&self) -> usize {
        self.dials.len()
    }

    /// Connections in use.
    #[must_use]
    pub const fn active(&self) -> usize {
        self.active
    }

    /// Connections open and unused.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Checkouts that have not been answered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Claims for a place that have been neither granted nor withdrawn.
    #[must_use]
    pub fn claiming(&self) -> usize {
        self.claims.len()
    }

    /// Whether this checkout has not been answered, nor cancelled.
    #[must_use]
    pub fn is_waiting(&self, waiter: WaiterId) -> bool {
        self.waiters.contains_key(&waiter)
    }

    /// Since when the oldest idle connection has been idle.
    #[must_use]
    pub fn oldest_idle(&self) -> Option<Moment> {
        self.idle.oldest().map(|(_, since)| since)
    }

    /// How long the server keeps an idle connection, as far as that was learned from those it closed.
    #[must_use]
    pub const fn learned_idle_timeout(&self) -> Option<Duration> {
        self.learned.timeout()
    }

    /// Whether the pool has shut down.
    #[must_use]
    pub const fn is_shut_down(&self) -> bool {
        self.shut_down
    }

    /// What has happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}
