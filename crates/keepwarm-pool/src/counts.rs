//! Counters of one pool since it was made. They only grow.

use crate::{CloseReason, Closer, RejectReason};

/// Counters of one pool since it was made.
///
/// Each counter moves in the input that causes it, so that at every moment
/// `opened = active + idle + closed()`, `dials = dialing + dials_failed + opened` and
/// `checkouts = assigned_new + reused + rejected() + cancelled + waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Checkouts asked for.
    pub checkouts: u64,
    /// Checkouts served by a connection that had served no exchange before.
    pub assigned_new: u64,
    /// Checkouts served by a connection that had served an exchange before.
    pub reused: u64,
    /// Checkouts given up while waiting.
    pub cancelled: u64,
    /// Dials that were asked for.
    pub dials: u64,
    /// Dials that ended without a connection.
    pub dials_failed: u64,
    /// Failed dials that this host refused because it had no descriptor left.
    pub dials_refused: u64,
    /// Connections established.
    pub opened: u64,
    pub(crate) closed: [[u64; Closer::ALL.len()]; CloseReason::ALL.len()],
    pub(crate) rejected: [u64; RejectReason::ALL.len()],
}

impl Counts {
    /// Adds the counters of another pool.
    pub fn absorb(&mut self, other: &Self) {
        // All fields are named, so that a new counter is not forgotten.
        let Self {
            checkouts,
            assigned_new,
            reused,
            cancelled,
            dials,
            dials_failed,
            dials_refused,
            opened,
            closed,
            rejected,
        } = *other;
        self.checkouts += checkouts;
        self.assigned_new += assigned_new;
        self.reused += reused;
        self.cancelled += cancelled;
        self.dials += dials;
        self.dials_failed += dials_failed;
        self.dials_refused += dials_refused;
        self.opened += opened;
        for (ours, theirs) in self.closed.iter_mut().flatten().zip(closed.iter().flatten()) {
            *ours += theirs;
        }
        for (ours, theirs) in self.rejected.iter_mut().zip(rejected) {
            *ours += theirs;
        }
    }

    /// Returns the connections closed.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.iter().flatten().sum()
    }

    /// Returns the connections closed for this reason by this side.
    #[must_use]
    pub const fn closed_for(&self, reason: CloseReason, closer: Closer) -> u64 {
        self.closed[reason.index()][closer.index()]
    }

    /// Returns the connections closed first by this side.
    #[must_use]
    pub fn closed_by(&self, closer: Closer) -> u64 {
        self.closed.iter().map(|by| by[closer.index()]).sum()
    }

    /// Returns the checkouts rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Returns the checkouts rejected for this reason.
    #[must_use]
    pub const fn rejected_for(&self, reason: RejectReason) -> u64 {
        self.rejected[reason.index()]
    }
}
