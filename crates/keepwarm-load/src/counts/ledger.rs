//! The ledger of a run: every connection and every request ends in exactly one counter. Defines the
//! sums that must balance and checks them; the engine does the counting.
//!
//! The engine counts the two sides of each sum at different places, so that a sum that holds is
//! evidence. The sums are checked after each run, and a run whose sums fail reports it.

use std::collections::BTreeMap;

use super::histogram::{MAX_LIFETIME_US, MAX_REQUESTS};
use super::{CloseCause, Count, Counts, Errno, ErrorClass, Errors, Histogram, Imbalance, Streams};

/// Totals of all connections and requests of a run, or of one of its threads.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ledger {
    /// Calls of connect(2), or of socket(2) if that already failed. One connection to a host with
    /// several addresses can take several attempts.
    pub connect_attempts: u64,
    /// Attempts that failed, by errno.
    pub connect_failed: BTreeMap<Errno, u64>,
    /// Attempts without an answer within the timeout.
    pub connect_timed_out: u64,
    /// Attempts without an answer when the run ended.
    pub connect_abandoned: u64,

    /// Attempts that became connections.
    pub opened: u64,
    /// Connections closed by this side, by cause.
    pub closed_by_us: BTreeMap<CloseCause, u64>,
    /// Connections on which the peer's FIN came first or, with TLS, its close_notify: a peer that has
    /// announced its end sends no further response, even if it keeps the TCP connection.
    pub peer_fin: u64,
    /// Connections on which the peer's RST came first.
    pub peer_rst: u64,
    /// Connections closed by this side because a request on them had timed out.
    pub timed_out: u64,
    /// Connections open when the run ended; this side then closed them.
    pub still_open: u64,

    /// Requests released by the pacer. In a plan with a count, also the requests that the run did
    /// not reach.
    pub scheduled: u64,
    /// Requests that were scheduled and never sent, because the run ended first.
    pub unsent: u64,
    /// Requests of which at least one byte was written.
    pub requests_written: u64,
    /// Requests that ended before a byte was written: no connection was established in time.
    pub never_written: u64,
    /// Requests written on a connection that had carried one before.
    pub reused: u64,
    /// Requests carried by each connection: one sample per connection opened, zero included.
    pub requests_per_connection: Histogram,
    /// Connections that were opened and carried no request.
    pub unused: u64,
    /// Connections on which bytes arrived that belong to no response, whichever side closed them. A
    /// FIN behind the bytes is the peer's close; without one, this side closes, and
    /// [`closed_by_us`](Self::closed_by_us) has them as [`CloseCause::StrayBytes`] too.
    pub stray_bytes: u64,
    /// Time from established to closed, in microseconds: one sample per connection that ended
    /// within the run. Connections still open at its end have no sample.
    pub lifetimes: Histogram,

    /// Requests whose response was complete, with any status.
    pub completed: u64,
    /// Of these, requests whose response missed an expectation.
    pub missed: u64,
    /// Requests that failed. Includes requests in flight at the end of the run that were not
    /// answered within its grace ([`ErrorClass::Unanswered`]).
    pub failed: u64,

    /// Streams of HTTP/2; all zero with HTTP/1.1.
    pub streams: Streams,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            connect_attempts: 0,
            connect_failed: BTreeMap::new(),
            connect_timed_out: 0,
            connect_abandoned: 0,
            opened: 0,
            closed_by_us: BTreeMap::new(),
            peer_fin: 0,
            peer_rst: 0,
            timed_out: 0,
            still_open: 0,
            scheduled: 0,
            unsent: 0,
            requests_written: 0,
            never_written: 0,
            reused: 0,
            requests_per_connection: Histogram::up_to(MAX_REQUESTS),
            unused: 0,
            stray_bytes: 0,
            lifetimes: Histogram::up_to(MAX_LIFETIME_US),
            completed: 0,
            missed: 0,
            failed: 0,
            streams: Streams::new(),
        }
    }

    /// Returns the failed connect attempts, summed over every errno.
    pub fn connect_failed_total(&self) -> u64 {
        self.connect_failed.values().sum()
    }

    /// Returns the connections closed by this side, summed over every cause. Connections that timed
    /// out are counted apart.
    pub fn closed_by_us_total(&self) -> u64 {
        self.closed_by_us.values().sum()
    }

    /// Checks every sum.
    ///
    /// # Errors
    ///
    /// The first sum that does not hold, with both of its sides.
    pub fn check(&self) -> Result<(), Imbalance> {
        let connect_outcomes = self.opened
            + self.connect_failed_total()
            + self.connect_timed_out
            + self.connect_abandoned;
        let ends = self.closed_by_us_total()
            + self.peer_fin
            + self.peer_rst
            + self.timed_out
            + self.still_open;
        let carried = &self.requests_per_connection;
        let on_connections = u64::try_from(carried.sum()).unwrap_or(u64::MAX);
        let for_stray = self.closed_by_us.get(&CloseCause::StrayBytes).copied().unwrap_or(0);
        let sums = [
            (
                "connect attempts = opened + failed + timed out + abandoned",
                self.connect_attempts,
                connect_outcomes,
            ),
            (
                "opened = closed by us + peer FIN + peer RST + timed out + still open",
                self.opened,
                ends,
            ),
            (
                "closed for stray bytes = of these, connections with stray bytes",
                for_stray,
                for_stray.min(self.stray_bytes),
            ),
            ("opened = connections with a request count", self.opened, carried.count()),
            (
                "requests written = sum of requests per connection",
                self.requests_written,
                on_connections,
            ),
            (
                "requests written = reused + connections that carried a request",
                self.requests_written + self.unused,
                self.reused + self.opened,
            ),
            (
                "opened = connections with a lifetime + still open",
                self.opened,
                self.lifetimes.count() + self.still_open,
            ),
            (
                "scheduled + sent again = requests written + never written + unsent",
                self.scheduled + self.streams.sent_again,
                self.requests_written + self.never_written + self.unsent,
            ),
            (
                "scheduled = completed + failed + unsent",
                self.scheduled,
                self.completed + self.failed + self.unsent,
            ),
            ("missed = of these, completed requests", self.missed, self.missed.min(self.completed)),
        ];
        Imbalance::check(sums)
    }

    /// Returns all counters as a row of the timeline. The arguments are the numbers that the ledger
    /// does not have.
    pub(crate) fn counts(
        &self,
        errors: &Errors,
        statuses: [u64; 10],
        [bytes_read, bytes_written]: [u64; 2],
    ) -> Counts {
        Counts {
            counts: Count::ALL.map(|count| match count {
                Count::Scheduled => self.scheduled,
                Count::Completed => self.completed,
                Count::Missed => self.missed,
                Count::Failed => self.failed,
                Count::Unsent => self.unsent,
                Count::RequestsWritten => self.requests_written,
                Count::Reused => self.reused,
                Count::ConnectAttempts => self.connect_attempts,
                Count::ConnectFailed => self.connect_failed_total(),
                Count::ConnectTimedOut => self.connect_timed_out,
                Count::Opened => self.opened,
                Count::ClosedByUs => self.closed_by_us_total(),
                Count::PeerFin => self.peer_fin,
                Count::PeerRst => self.peer_rst,
                Count::TimedOut => self.timed_out,
                Count::StillOpen => self.still_open,
                Count::BytesRead => bytes_read,
                Count::BytesWritten => bytes_written,
            }),
            causes: CloseCause::ALL
                .map(|cause| self.closed_by_us.get(&cause).copied().unwrap_or(0)),
            errors: ErrorClass::ALL.map(|class| errors.of(class)),
            statuses,
        }
    }

    /// Adds the counters of `other`. Sums that hold in both ledgers hold in the result.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (errno, count) in &other.connect_failed {
            *self.connect_failed.entry(*errno).or_default() += count;
        }
        for (cause, count) in &other.closed_by_us {
            *self.closed_by_us.entry(*cause).or_default() += count;
        }
        self.connect_attempts += other.connect_attempts;
        self.connect_timed_out += other.connect_timed_out;
        self.connect_abandoned += other.connect_abandoned;
        self.opened += other.opened;
        self.peer_fin += other.peer_fin;
        self.peer_rst += other.peer_rst;
        self.timed_out += other.timed_out;
        self.still_open += other.still_open;
        self.scheduled += other.scheduled;
        self.unsent += other.unsent;
        self.requests_written += other.requests_written;
        self.never_written += other.never_written;
        self.reused += other.reused;
        self.requests_per_connection.merge(&other.requests_per_connection);
        self.unused += other.unused;
        self.stray_bytes += other.stray_bytes;
        self.lifetimes.merge(&other.lifetimes);
        self.completed += other.completed;
        self.missed += other.missed;
        self.failed += other.failed;
        self.streams.merge(&other.streams);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two connections, one of them opened at the second attempt; three requests written, one
    /// never, one unsent; two completed, two failed.
    fn balanced() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.connect_attempts = 3;
        ledger.connect_failed.insert(Errno::from_rustix(rustix::io::Errno::CONNREFUSED), 1);
        ledger.opened = 2;
        ledger.closed_by_us.insert(CloseCause::StrayBytes, 1);
        ledger.stray_bytes = 1;
        ledger.still_open = 1;
        ledger.requests_per_connection.record(1);
        ledger.requests_per_connection.record(2);
        ledger.requests_written = 3;
        ledger.reused = 1;
        ledger.never_written = 1;
        ledger.lifetimes.record(1000);
        ledger.scheduled = 5;
        ledger.unsent = 1;
        ledger.completed = 2;
        ledger.failed = 2;
        ledger
    }

    #[test]
    fn balanced_ledger_passes_also_when_doubled() {
        let mut ledger = balanced();
        assert_eq!(ledger.check(), Ok(()));
        ledger.merge(&balanced());
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!((ledger.opened, ledger.scheduled, ledger.connect_failed_total()), (4, 10, 2));
        assert_eq!(ledger.closed_by_us_total(), 2);
    }

    #[test]
    fn every_count_off_by_one_is_caught() {
        let spoil: [fn(&mut Ledger); 18] = [
            |l| l.connect_attempts += 1,
            |l| l.connect_failed.values_mut().for_each(|n| *n += 1),
            |l| l.connect_timed_out += 1,
            |l| l.connect_abandoned += 1,
            |l| l.closed_by_us.values_mut().for_each(|n| *n += 1),
            |l| l.stray_bytes -= 1,
            |l| l.peer_fin += 1,
            |l| l.peer_rst += 1,
            |l| l.timed_out += 1,
            |l| l.still_open += 1,
            |l| l.reused += 1,
            |l| l.unsent += 1,
            |l| l.lifetimes.record(1),
            |l| l.never_written += 1,
            |l| l.completed += 1,
            |l| l.failed += 1,
            |l| l.requests_per_connection.record(1),
            |l| {
                l.requests_written += 1;
                l.scheduled += 1;
                l.failed += 1;
            },
        ];
        for (index, spoil) in spoil.iter().enumerate() {
            let mut ledger = balanced();
            spoil(&mut ledger);
            assert!(ledger.check().is_err(), "spoiled count {index} went unnoticed");
        }
    }

    #[test]
    fn imbalance_names_sum_and_both_sides() {
        let mut ledger = balanced();
        ledger.failed += 1;
        let imbalance = ledger.check().unwrap_err();
        assert_eq!(imbalance.sum, "scheduled = completed + failed + unsent");
        assert_eq!((imbalance.left, imbalance.right), (5, 6));
        assert!(imbalance.to_string().contains("5 ≠ 6"));
    }
}
