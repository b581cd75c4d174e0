//! A row of counters: all that a thread has counted at one instant, or between two instants.
//! Owns the names of the counters, their order, and the failure of a sum to balance.

use std::fmt;
use std::ops::AddAssign;

use super::{CloseCause, ErrorClass};

/// A counter that each slice of the timeline has. The words are those of
/// [`Ledger`](crate::Ledger).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Count {
    /// Requests released by the schedule, or by a free connection.
    Scheduled,
    /// Requests whose response was complete.
    Completed,
    /// Requests whose response was complete, and missed an expectation.
    Missed,
    /// Requests that failed.
    Failed,
    /// Requests that were due but never sent.
    Unsent,
    /// Requests of which at least one byte was written.
    RequestsWritten,
    /// Requests written on a connection that had carried one before.
    Reused,
    /// Calls of connect(2).
    ConnectAttempts,
    /// Calls of connect(2) that failed.
    ConnectFailed,
    /// Calls of connect(2) without an answer within the timeout.
    ConnectTimedOut,
    /// Connections established.
    Opened,
    /// Connections closed by this side, for every cause.
    ClosedByUs,
    /// Connections on which the peer's FIN came first.
    PeerFin,
    /// Connections on which the peer's RST came first.
    PeerRst,
    /// Connections closed by this side because a request on them had timed out.
    TimedOut,
    /// Connections open when the run ended.
    StillOpen,
    /// Bytes read.
    BytesRead,
    /// Bytes written.
    BytesWritten,
}

impl Count {
    /// Every counter, in the order of reports.
    pub const ALL: [Self; 18] = [
        Self::Scheduled,
        Self::Completed,
        Self::Missed,
        Self::Failed,
        Self::Unsent,
        Self::RequestsWritten,
        Self::Reused,
        Self::ConnectAttempts,
        Self::ConnectFailed,
        Self::ConnectTimedOut,
        Self::Opened,
        Self::ClosedByUs,
        Self::PeerFin,
        Self::PeerRst,
        Self::TimedOut,
        Self::StillOpen,
        Self::BytesRead,
        Self::BytesWritten,
    ];

    /// Returns a stable name for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Completed => "completed",
            Self::Missed => "missed",
            Self::Failed => "failed",
            Self::Unsent => "unsent",
            Self::RequestsWritten => "requests_written",
            Self::Reused => "reused",
            Self::ConnectAttempts => "connect_attempts",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimedOut => "connect_timed_out",
            Self::Opened => "opened",
            Self::ClosedByUs => "closed_by_us",
            Self::PeerFin => "peer_fin",
            Self::PeerRst => "peer_rst",
            Self::TimedOut => "timed_out",
            Self::StillOpen => "still_open",
            Self::BytesRead => "bytes_read",
            Self::BytesWritten => "bytes_written",
        }
    }
}

/// All counters of a thread at one instant, or their growth between two instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) counts: [u64; Count::ALL.len()],
    pub(crate) causes: [u64; CloseCause::ALL.len()],
    pub(crate) errors: [u64; ErrorClass::ALL.len()],
    /// Completed exchanges by the first digit of their status.
    pub(crate) statuses: [u64; 10],
}

impl Counts {
    pub(crate) const ZERO: Self = Self {
        counts: [0; Count::ALL.len()],
        causes: [0; CloseCause::ALL.len()],
        errors: [0; ErrorClass::ALL.len()],
        statuses: [0; 10],
    };

    /// Lists every number of the row.
    pub(super) fn row(&self) -> impl Iterator<Item = &u64> {
        self.counts.iter().chain(&self.causes).chain(&self.errors).chain(&self.statuses)
    }

    fn row_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { counts, causes, errors, statuses } = self;
        counts.iter_mut().chain(causes).chain(errors).chain(statuses)
    }

    /// Returns the growth since `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.row_mut().zip(before.row()).for_each(|(now, before)| *now -= before);
        self
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.row_mut().zip(other.row()).for_each(|(ours, theirs)| *ours += theirs);
    }
}

/// A sum of the run that does not hold. It is a defect of the load generator, to be reported with
/// the run and never hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imbalance {
    /// The sum, in words.
    pub sum: &'static str,
    /// Its left side.
    pub left: u64,
    /// Its right side.
    pub right: u64,
}

impl Imbalance {
    /// Checks sums given as words, left side and right side.
    ///
    /// # Errors
    ///
    /// The first sum whose sides differ.
    pub(crate) fn check(
        sums: impl IntoIterator<Item = (&'static str, u64, u64)>,
    ) -> Result<(), Self> {
        match sums.into_iter().find(|(_, left, right)| left != right) {
            Some((sum, left, right)) => Err(Self { sum, left, right }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger does not balance: {}, but {} ≠ {}", self.sum, self.left, self.right)
    }
}

impl std::error::Error for Imbalance {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_counter_has_its_own_index() {
        assert!(Count::ALL.iter().enumerate().all(|(index, count)| *count as usize == index));
        assert!(CloseCause::ALL.iter().enumerate().all(|(index, cause)| *cause as usize == index));
        assert!(ErrorClass::ALL.iter().enumerate().all(|(index, class)| *class as usize == index));
        let names: BTreeSet<_> = Count::ALL.map(Count::as_str).into();
        assert_eq!(names.len(), Count::ALL.len());
    }
}
