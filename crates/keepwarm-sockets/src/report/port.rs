//! The report of one port: a view of the host's report that counts connections instead of sockets.
//!
//! Owns the public types and the fold. Counts nothing itself.

use std::time::Duration;

use crate::kernel::socket::{BySide, Side};
use crate::report::closes::ConnectionCloses;
use crate::report::destination::{Destination, ListenQueue, StuckSockets};
use crate::report::histogram::Histogram;
use crate::report::host::HostReport;

/// Connections of one port during one window, as the kernel reported them.
///
/// A connection is counted once. Where its client's socket is visible in this network namespace
/// (always on loopback) it is counted there; where only the server's socket is, there. A connect(2)
/// that failed is no connection: it is neither opened nor closed.
///
/// `opened` = `closed.total()` + `alive_at_end` - `alive_at_start`: a conservation law, so it
/// needs no sampling and is exact unless events were lost. The one case that it cannot see is a
/// connection that is over while a program still holds both its files open.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct PortReport {
    /// The watched port.
    pub port: u16,
    /// From the return of [`Watch::start`](crate::Watch::start) to the last dump.
    pub window: Duration,
    /// Connections established in the window.
    pub opened: u64,
    /// Connections that ended in the window, by the side that ended them.
    pub closed: ConnectionCloses,
    /// Requests per connection, from the client's data segments.
    pub requests: RequestsPerConnection,
    /// Upper bound of `requests`; see [`Destination::requests_at_most`]. Equal to `requests` where those are
    /// exact.
    pub requests_at_most: RequestsPerConnection,
    /// Connections closed without an answer, see [`Destination::unanswered`]; the larger count of
    /// the two sides.
    pub unanswered: u64,
    /// Closes by the client while an answer was due, see [`Destination::given_up`]; the larger
    /// count of the two sides.
    pub given_up: u64,
    /// Sockets whose peer is silent, at each side that is visible.
    pub stuck: BySide<StuckSockets>,
    /// Connections that no process has accepted.
    pub unaccepted: u64,
    /// Accept queue of the listeners.
    pub listen_queue: Option<ListenQueue>,
    /// Connections that were open when the window began. The dumps at the edges of the window are
    /// walks of some milliseconds, not instants: a connection belongs to the side of the edge on
    /// which the walk met it, and under churn a walk may meet more than were ever open at once.
    pub alive_at_start: u64,
    /// Connections that were open at the end of the window.
    pub alive_at_end: u64,
    /// Sockets in ESTABLISHED at the end, at each side that is visible.
    pub established: BySide<u64>,
    /// Sockets in CLOSE_WAIT at the end: the peer has closed and the program has not.
    pub close_wait: BySide<u64>,
    /// TIME_WAIT entries at the end that the baseline did not have (decided by their cookies):
    /// entered within the window. The kernel removes some early (on loopback a connect(2) may reuse
    /// one after a second), so it may be less than the closes; it says which ports are taken, not
    /// how many connections were closed.
    pub time_wait: BySide<u64>,
    /// TIME_WAIT entries at the end, of any age.
    pub time_wait_total: BySide<u64>,
    /// TIME_WAITs the kernel did not keep during the window because there were too many
    /// (`net.ipv4.tcp_max_tw_buckets`), of any port; `None` if it does not say. Closes whose
    /// TIME_WAIT is missing for this reason may be `unclassified`; `opened` and the total of
    /// `closed` are not affected.
    pub time_waits_refused: Option<u64>,
    /// Destroy events the kernel dropped because they were not read fast enough, of any port. If
    /// this is not 0, `opened` and `closed` may be too small by at most as many.
    pub lost_events: u64,
    /// Aborts by clients (SO_LINGER 0) on this host whose port is not known, because the kernel
    /// clears it, no dump saw the connection before and no server's socket on this host had its
    /// other end. They may belong to any port and are in no other number.
    pub unattributed_aborts: u64,
    /// Events that came while 2^17 pairs of addresses were waiting for evidence. They count in
    /// `closed.unclassified`.
    pub overflowed: u64,
    /// True if the window ended at rest: see [`HostReport::settled`].
    pub settled: bool,
}

/// Requests that connections carried within the window.
///
/// Counted in the segments with data of either direction, see [`Destination::requests`]: exactly if
/// each message fits one segment (headers and body within the MSS, 65483 bytes on loopback, about
/// 1400 elsewhere), is written at once, and is not pipelined or lost. With HTTP/2 the number means
/// nothing.
///
/// Covers the connections opened in the window, closed or not, and those that were open before and
/// carried at least one request in it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct RequestsPerConnection {
    /// Connections with known numbers.
    pub connections: u64,
    /// Requests on all of them.
    pub total: u64,
    /// The mean.
    pub mean: Option<f64>,
    /// The median (the lower one); above 128 rounded down by at most 1.6 %.
    pub p50: Option<u64>,
    /// The maximum.
    pub max: Option<u64>,
}

impl RequestsPerConnection {
    fn of(requests: &Histogram) -> RequestsPerConnection {
        RequestsPerConnection {
            connections: requests.count(),
            total: requests.total(),
            mean: requests.mean(),
            p50: requests.quantile(0.5).map(u64::from),
            max: requests.max().map(u64::from),
        }
    }
}

impl HostReport {
    /// Counts the connections of one port, each once: at the client's socket where that is in this
    /// network namespace, else at the server's.
    ///
    /// Exact in the report of a finished [`Watch`](crate::Watch) whose scope is this port, or every
    /// port with at most 1024 destinations: further destinations are folded into one without a port.
    pub fn port(&self, port: u16) -> PortReport {
        let mut report = PortReport {
            port,
            window: self.window,
            time_waits_refused: self.time_waits_refused,
            lost_events: self.lost_events,
            unattributed_aborts: self.unattributed_aborts,
            overflowed: self.overflowed,
            settled: self.settled,
            ..PortReport::default()
        };
        let (mut requests, mut at_most) = (Histogram::default(), Histogram::default());
        let (mut unanswered, mut given_up) = (BySide::<u64>::default(), BySide::<u64>::default());
        for one in self.destinations.iter().filter(|one| self.is_of_port(one, port)) {
            let only = &one.server_only;
            let (closed, alive_at_start, alive) = match one.side {
                Side::Client => (&one.closed, one.alive_at_start, one.alive),
                Side::Server => (&only.closed, only.alive_at_start, only.alive),
            };
            let carried = match one.side {
                Side::Client => [&one.requests, &one.requests_at_most],
                Side::Server => [&only.requests, &only.requests_at_most],
            };
            report.closed.merge(&ConnectionCloses::seen_from(one.side, closed));
            report.alive_at_start += alive_at_start;
            report.alive_at_end += alive;
            requests.merge(carried[0]);
            at_most.merge(carried[1]);
            *report.established.get_mut(one.side) += one.established;
            *report.close_wait.get_mut(one.side) += one.close_wait;
            *report.time_wait.get_mut(one.side) += one.time_wait_in_window;
            *report.time_wait_total.get_mut(one.side) += one.time_wait;
            *unanswered.get_mut(one.side) += one.unanswered;
            *given_up.get_mut(one.side) += one.given_up;
            report.stuck.get_mut(one.side).merge(&one.stuck);
            report.unaccepted += one.unaccepted;
            report.listen_queue = report.listen_queue.or(one.listen_queue);
        }
        let connections = report.closed.total() + report.alive_at_end;
        report.opened = connections.saturating_sub(report.alive_at_start);
        report.requests = RequestsPerConnection::of(&requests);
        report.requests_at_most = RequestsPerConnection::of(&at_most);
        report.unanswered = unanswered.client.max(unanswered.server);
        report.given_up = given_up.client.max(given_up.server);
        report
    }

    fn is_of_port(&self, one: &Destination, port: u16) -> bool {
        match one.service {
            Some(service) => service.port() == port,
            None => self.scope.port == Some(port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_requests_means_unknown_not_zero() {
        let nothing = RequestsPerConnection::of(&Histogram::default());
        assert_eq!(nothing, RequestsPerConnection::default());
        assert_eq!(nothing.mean, None);
    }

    #[test]
    fn requests_have_mean_median_and_maximum() {
        let of = |values: &[u32]| {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            RequestsPerConnection::of(&histogram)
        };
        let summary = of(&[1, 1, 1, 50, 2]);
        assert_eq!((summary.connections, summary.total, summary.mean), (5, 55, Some(11.0)));
        assert_eq!((summary.p50, summary.max), (Some(1), Some(50)));
        assert_eq!(of(&[4, 2]).p50, Some(2), "the lower of two");
        assert_eq!(of(&[0]).p50, Some(0));
        assert_eq!(of(&[123_457]).max, Some(123_457), "the maximum is exact");
    }
}
