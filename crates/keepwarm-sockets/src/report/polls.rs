//! Level L0: the numbers that polls give in place of destroy events.
//!
//! Owns the public types. `tracker::poll_diff` compares the polls.

use crate::kernel::counters::Counters;
use crate::kernel::socket_table::TableSource;

/// Polls of the socket table, which a [`PollingWatch`](crate::PollingWatch) has instead of destroy
/// events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polls {
    /// Where the sockets were read from.
    pub source: TableSource,
    /// Number of polls.
    pub count: u64,
    /// Counters of the network namespace: events within the window, and the levels now.
    pub counters: Counters,
    /// True if TIME_WAITs are among the sockets. Where it is false, `time_wait`, `ports` and the
    /// number closed first are not known.
    pub lists_time_waits: bool,
}

impl Polls {
    pub(crate) fn since(&self, earlier: &Polls) -> Polls {
        let counters = self.counters.since(&earlier.counters);
        Polls { counters, count: self.count.saturating_sub(earlier.count), ..*self }
    }
}

/// Opens and closes of one destination as polls saw them, at level L0.
///
/// All are lower bounds: a connection that came and went between two polls is seen only if its
/// TIME_WAIT is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PollDiff {
    /// Connections that an earlier poll did not see: a lower bound of those that were opened.
    pub opened: u64,
    /// New TIME_WAITs: a lower bound of the connections that the local side closed first.
    pub closed_first: u64,
    /// Connections that an earlier poll saw, and that left no TIME_WAIT here: closed by the peer
    /// first, or reset, or their TIME_WAIT was gone before the next poll.
    pub gone: u64,
    /// Connections in `closed_first` and `gone` that had been open for two seconds or more.
    pub long_lived_closed: u64,
    /// Connections that are open now and have been for two seconds or more.
    pub long_lived: u64,
}

impl PollDiff {
    /// Returns the number of changes.
    pub(crate) fn changes(&self) -> u64 {
        self.opened + self.closed_first + self.gone
    }

    /// Returns the counts since `earlier`; levels are as they are now.
    pub(crate) fn since(&self, earlier: &PollDiff) -> PollDiff {
        PollDiff {
            opened: self.opened.saturating_sub(earlier.opened),
            closed_first: self.closed_first.saturating_sub(earlier.closed_first),
            gone: self.gone.saturating_sub(earlier.gone),
            long_lived_closed: self.long_lived_closed.saturating_sub(earlier.long_lived_closed),
            long_lived: self.long_lived,
        }
    }

    pub(crate) fn merge(&mut self, other: &PollDiff) {
        self.opened += other.opened;
        self.closed_first += other.closed_first;
        self.gone += other.gone;
        self.long_lived_closed += other.long_lived_closed;
        self.long_lived += other.long_lived;
    }
}
