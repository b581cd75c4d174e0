//! TIME_WAITs that an RST removed, or data prevented, before a search could find them.
//!
//! Owns the comparison of the kernel's counts with what is accounted for. A socket that died alone,
//! with its FIN acknowledged and without TIME_WAIT, was the second to close, or was the first and lost
//! its TIME_WAIT: so many of those sockets were the first as TIME_WAITs are missing. Where all or none
//! are missing, each of those sockets is known; else it cannot be known which.
//!
//! `TcpExt.TW` counts every TIME_WAIT when it begins (`__inet_twsk_schedule`,
//! net/ipv4/inet_timewait_sock.c), orphans in FIN_WAIT2 included, for any user, and of every port.
//! Where the peer's data comes with the acknowledgement of the FIN, the socket dies before it gets
//! there: `TcpExt.TCPAbortOnData` counts that, and closes with SO_LINGER 0. Connections beyond the
//! scope may have entered those that are missing: so many are left out as the kernel opened sockets
//! that are not in scope.

use std::ops::{AddAssign, Sub};

/// Count that is known within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bounds {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Bounds {
    /// Returns how many of `part`, which is among `all`, are among these; these are among `all`.
    pub(super) fn of_part(self, part: u64, all: u64) -> Bounds {
        let least = self.least.saturating_sub(all.saturating_sub(part)).min(part);
        Bounds { least, most: self.most.min(part).max(least) }
    }
}

impl AddAssign for Bounds {
    fn add_assign(&mut self, more: Bounds) {
        self.least += more.least;
        self.most += more.most;
    }
}

impl Sub for Bounds {
    type Output = Bounds;
    /// Subtracts what was among these before.
    fn sub(self, before: Bounds) -> Bounds {
        Bounds {
            least: self.least.saturating_sub(before.least),
            most: self.most.saturating_sub(before.most),
        }
    }
}

/// Count of the TIME_WAITs of one window.
#[derive(Debug, Default)]
pub(super) struct RemovedTimeWaits {
    /// TIME_WAITs entered in the window, and sockets that data removed before; `None` if the kernel
    /// does not count them.
    entered: Option<u64>,
    /// Sockets opened in the window, of any port; `None` if the kernel does not count them.
    opened: Option<u64>,
    /// Aborts by SO_LINGER 0, and TIME_WAITs that were found, or whose socket is known to have closed
    /// first.
    accounted: Bounds,
}

impl RemovedTimeWaits {
    pub(super) fn handle_counters(&mut self, entered: Option<u64>, opened: Option<u64>) {
        (self.entered, self.opened) = (entered, opened);
    }

    /// Accounts for TIME_WAITs.
    pub(super) fn account(&mut self, count: Bounds) {
        self.accounted += count;
    }

    /// Returns how many are missing, where so many sockets were opened in scope, and so many deaths
    /// are not known.
    pub(super) fn missing(&self, opened_in_scope: u64, lost: u64) -> Bounds {
        let entered = self.entered.unwrap_or(0);
        let elsewhere = self.opened.unwrap_or(0).saturating_sub(opened_in_scope);
        let most = entered.saturating_sub(self.accounted.least).saturating_sub(elsewhere);
        let least = entered.saturating_sub(self.accounted.most);
        Bounds { least: least.saturating_sub(elsewhere).saturating_sub(lost).min(most), most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(count: u64) -> Bounds {
        Bounds { least: count, most: count }
    }

    #[test]
    fn missing_time_waits_are_those_unaccounted_for() {
        let mut removed = RemovedTimeWaits::default();
        assert_eq!(removed.missing(5, 0), exactly(0), "the kernel does not count");
        removed.handle_counters(Some(10), Some(12));
        assert_eq!(removed.missing(12, 0), exactly(10));
        removed.account(exactly(7));
        assert_eq!(removed.missing(12, 0), exactly(3));
        assert_eq!(removed.missing(10, 0), exactly(1), "two may be of other connections");
        let lost = removed.missing(12, 2);
        assert_eq!(lost, Bounds { least: 1, most: 3 }, "two may be of deaths that are not known");
        removed.account(Bounds { least: 1, most: 2 });
        assert_eq!(removed.missing(12, 0), Bounds { least: 1, most: 2 });
        removed.account(exactly(4));
        assert_eq!(removed.missing(12, 0), exactly(0));
    }

    #[test]
    fn bounds_of_a_part_follow_from_the_whole() {
        let of_part = |least, most, part, all| Bounds { least, most }.of_part(part, all);
        assert_eq!(of_part(10, 10, 10, 10), exactly(10), "all are missing");
        assert_eq!(of_part(10, 10, 4, 10), exactly(4), "of each part too");
        assert_eq!(of_part(0, 0, 4, 10), exactly(0), "none is");
        assert_eq!(
            of_part(7, 8, 4, 10),
            Bounds { least: 1, most: 4 },
            "it may be the other part's"
        );
        assert_eq!(of_part(12, 15, 4, 10), exactly(4), "more are missing than can be in doubt");
    }
}
