//! TIME_WAITs that an RST may have removed before a search could find them.
//!
//! Owns the comparison of the kernel's count of TIME_WAITs with those that are accounted for. Where
//! none is missing, a socket without TIME_WAIT closed second; where some are, at most so many sockets
//! of those without one closed first. Decides about no single socket: it cannot be known which.
//!
//! `TcpExt.TW` counts every TIME_WAIT when it begins (`__inet_twsk_schedule`,
//! net/ipv4/inet_timewait_sock.c), orphans in FIN_WAIT2 included, for any user, and of every port.
//! Where the peer's data comes with the acknowledgement of the FIN, the socket dies before it gets
//! there: `TcpExt.TCPAbortOnData` counts that, and closes with SO_LINGER 0. Connections beyond the scope may have entered those that are missing: so many are left out as the
//! kernel opened sockets that are not in scope.

/// Count of the TIME_WAITs of one window.
#[derive(Debug, Default)]
pub(super) struct RemovedTimeWaits {
    /// TIME_WAITs entered in the window, and sockets that data removed before; `None` if the kernel does not count them.
    entered: Option<u64>,
    /// Sockets opened in the window, of any port; `None` if the kernel does not count them.
    opened: Option<u64>,
    /// Aborts by SO_LINGER 0, and TIME_WAITs that were found, or whose socket is known to have closed first.
    accounted: u64,
}

impl RemovedTimeWaits {
    pub(super) fn handle_counters(&mut self, entered: Option<u64>, opened: Option<u64>) {
        (self.entered, self.opened) = (entered, opened);
    }

    /// Accounts for TIME_WAITs.
    pub(super) fn account(&mut self, count: u64) {
        self.accounted += count;
    }

    /// Returns how many may be missing, where so many sockets were opened in scope.
    pub(super) fn at_most(&self, opened_in_scope: u64) -> u64 {
        let missing = self.entered.unwrap_or(0).saturating_sub(self.accounted);
        missing.saturating_sub(self.opened.unwrap_or(0).saturating_sub(opened_in_scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_time_waits_are_those_unaccounted_for() {
        let mut removed = RemovedTimeWaits::default();
        assert_eq!(removed.at_most(5), 0, "the kernel does not count");
        removed.handle_counters(Some(10), Some(12));
        assert_eq!(removed.at_most(12), 10);
        removed.account(7);
        assert_eq!(removed.at_most(12), 3);
        assert_eq!(removed.at_most(10), 1, "two may be of other connections");
        removed.account(4);
        assert_eq!(removed.at_most(12), 0);
    }
}
