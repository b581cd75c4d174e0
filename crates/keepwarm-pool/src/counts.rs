//! Counters of one pool since it was made. They only grow.

use crate::{CloseReason, Closer, RejectReason};

/// What has happened in one pool since it was made.
///
/// Each counter moves in the input that causes it, so that at every moment
/// `opened = active + idle + closed()`, `dials = dialing + dials_failed + opened` and
/// `checkouts = assigned_new + reused + rejected() + cancelled + waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Checkouts asked for.
    pub checkouts: u64,
    /// Checkouts served by a connection that had served nobody before.
    pub assigned_new: u64,
    /// Checkouts served by a connection that had served an exchange before.
    pub reused: u64,
    /// Checkouts given up while waiting.
    pub cancelled: u64,
    /// Dials that were asked for.
    pub dials: u64,
    /// Dials that ended without a connection.
    pub dials_failed: u64,
    /// Connections established.
    pub opened: u64,
    pub(crate) closed: [[u64; Closer::ALL.len()]; CloseReason::ALL.len()],
    pub(crate) rejected: [u64; RejectReason::ALL.len()],
}

impl Counts {
    /// Connections closed.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.iter().flatten().sum()
    }

    /// Connections closed for this reason by this side.
    #[must_use]
    pub const fn closed_for(&self, reason: CloseReason, closer: Closer) -> u64 {
        self.closed[reason.index()][closer.index()]
    }

    /// Connections closed first by this side.
    #[must_use]
    pub fn closed_by(&self, closer: Closer) -> u64 {
        self.closed.iter().map(|by| by[closer.index()]).sum()
    }

    /// Checkouts rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Checkouts rejected for this reason.
    #[must_use]
    pub const fn rejected_for(&self, reason: RejectReason) -> u64 {
        self.rejected[reason.index()]
    }
}
