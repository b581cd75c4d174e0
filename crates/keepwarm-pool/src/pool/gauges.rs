//! Gauges and counters of a pool.

use core::time::Duration;

use super::Pool;
use crate::token::{ConnectionId, WaiterId};
use crate::{Counts, IdleCloses, Moment};

/// Gauges and counters.
impl Pool {
    /// Returns the dials under way, including aborted ones that have not ended yet.
    #[must_use]
    pub fn dialing(&self) -> usize {
        self.dials.len()
    }

    /// Returns the connections in use.
    #[must_use]
    pub const fn active(&self) -> usize {
        self.active
    }

    /// Returns the exchanges that hold a lease: streams of shared connections, and exclusive
    /// connections in use. A lease counts until it ends, even if its connection has ended before.
    #[must_use]
    pub const fn leases(&self) -> usize {
        self.leases
    }

    /// Returns the streams that may be on this connection at once, and those that are; `None` if it
    /// has ended. An exclusive connection has one.
    #[must_use]
    pub fn streams_of(&self, connection: ConnectionId) -> Option<(u32, u32)> {
        let slot = self.is_open(connection).then(|| &self.slots[connection.index()])?;
        let active = u32::from(slot.state == super::SlotState::Active);
        Some((slot.limit, if slot.shared { slot.in_use } else { active }))
    }

    /// Returns the open connections that serve several requests at once, and their streams in use.
    /// Looks at each connection: for statistics.
    #[must_use]
    pub fn shared(&self) -> (usize, usize) {
        let open = self.slots.iter().filter(|slot| slot.state != super::SlotState::Vacant);
        let shared = open.filter(|slot| slot.shared);
        shared.fold((0, 0), |(count, streams), slot| (count + 1, streams + slot.in_use as usize))
    }

    /// Returns the connections open and unused.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Returns the checkouts that have not been answered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Returns the claims for a place that have been neither granted nor withdrawn.
    #[must_use]
    pub fn claiming(&self) -> usize {
        self.claims.len()
    }

    /// Returns true if this checkout has been neither answered nor cancelled.
    #[must_use]
    pub fn is_waiting(&self, waiter: WaiterId) -> bool {
        self.waiters.contains_key(&waiter)
    }

    /// Returns the moment since when the oldest idle connection has been idle.
    #[must_use]
    pub fn oldest_idle(&self) -> Option<Moment> {
        self.idle.oldest().map(|(_, since)| since)
    }

    /// Returns the server's idle timeout, if it was learned from the connections that the server
    /// closed.
    #[must_use]
    pub const fn learned_idle_timeout(&self) -> Option<Duration> {
        self.learned.timeout()
    }

    /// Returns the idle connections that the server closed, by the cause that the pattern of the
    /// closes shows. Closes that an inspection found, which are nearly all, are in it.
    #[must_use]
    pub fn idle_closes(&self) -> IdleCloses {
        self.idle_closes.summary()
    }

    /// Returns true if the pool has shut down.
    #[must_use]
    pub const fn is_shut_down(&self) -> bool {
        self.shut_down
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}
