//! The account of one port over one window: plain numbers for whoever prints or judges them.
//!
//! Owns the public types and the tally of requests. `ledger` fills them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kernel::socket::{BySide, Side};
use crate::report::histogram::Histogram;
use crate::report::host::{Destination, HostReport, SocketCloses};
use crate::tracker::classify::CloseKind;

/// What the kernel said about the connections of one port during one window.
///
/// A connection is counted once. Where its client's end is visible in this network namespace
/// (always on loopback) it is counted there; where only the server's end is, there. A connect(2)
/// that failed is no connection: it is neither opened nor closed.
///
/// `opened` = `closed.total()` + `alive_at_end` - `alive_at_start`: a conservation law, so it
/// needs no sampling and is exact unless events were lost. What it cannot see is a connection that
/// is over while a program still holds both its files open.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PortReport {
    /// The watched port.
    pub port: u16,
    /// From the return of [`PortWatch::start`](crate::PortWatch::start) to the last dump.
    pub window: Duration,
    /// Connections established in the window.
    pub opened: u64,
    /// Connections that ended in the window, by who ended them.
    pub closed: ConnectionCloses,
    /// Requests per connection, from the client's data segments.
    pub requests: RequestsPerConnection,
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
    /// TIME_WAIT entries at the end that the baseline did not have (told by their cookies): entered
    /// within the window. The kernel removes some
    /// early (on loopback a connect(2) may reuse one after a second), so it may be less than the
    /// closes; it says which ports are taken, not how many connections were closed.
    pub time_wait: BySide<u64>,
    /// TIME_WAIT entries at the end, of whatever age.
    pub time_wait_total: BySide<u64>,
    /// TIME_WAITs the kernel did not keep during the window because there were too many
    /// (`net.ipv4.tcp_max_tw_buckets`), of any port; `None` if it does not say. Closes whose
    /// TIME_WAIT is missing for this reason may be `unclassified`; `opened` and the total of
    /// `closed` are not touched by it.
    pub time_waits_refused: Option<u64>,
    /// Destroy events the kernel dropped because they were not read fast enough, of any port. If
    /// this is not 0, `opened` and `closed` may be too small by at most as many.
    pub lost_events: u64,
    /// Clients' aborts (SO_LINGER 0) on this host whose port is not known, because the kernel
    /// clears it, no dump saw the connection before and no server's end on this host tells. They
    /// may belong to any port and are in no other number.
    pub unattributed_aborts: u64,
    /// Events that came when the table of unfinished business was full (2^17 connections). They
    /// count in `closed.unclassified`.
    pub overflowed: u64,
    /// Whether the account was closed at rest: no socket of the port between two states, no event
    /// for 50 ms, and proof that every event of the window had been delivered.
    pub settled: bool,
}

impl HostReport {
    /// The connections of one port, counted once each: at the client's socket where that is in this
    /// network namespace, else at the server's.
    ///
    /// Exact in the report of a finished watch whose [`Scope`](crate::Scope) has this port, or no
    /// port and at most 1024 destinations: those beyond are folded into one whose port is not known.
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
        let mut requests = Histogram::default();
        for one in self.destinations.iter().filter(|one| self.is_of_port(one, port)) {
            let (closed, alive_at_start, alive, of_connections) = match one.side {
                Side::Client => (&one.closed, one.alive_at_start, one.alive, &one.requests),
                Side::Server => {
                    let only = &one.server_only;
                    (&only.closed, only.alive_at_start, only.alive, &only.requests)
                }
            };
            report.closed.merge(&ConnectionCloses::seen_from(one.side, closed));
            report.alive_at_start += alive_at_start;
            report.alive_at_end += alive;
            requests.merge(of_connections);
            *report.established.get_mut(one.side) += one.established;
            *report.close_wait.get_mut(one.side) += one.close_wait;
            *report.time_wait.get_mut(one.side) += one.time_wait_in_window;
            *report.time_wait_total.get_mut(one.side) += one.time_wait;
        }
        let connections = report.closed.total() + report.alive_at_end;
        report.opened = connections.saturating_sub(report.alive_at_start);
        report.requests = RequestsPerConnection::of(&requests);
        report
    }

    fn is_of_port(&self, one: &Destination, port: u16) -> bool {
        match one.service {
            Some(service) => service.port() == port,
            None => self.scope.port == Some(port),
        }
    }
}

/// Connections closed, by who was first (see [`CloseKind`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionCloses {
    /// [`CloseKind::ClientFin`].
    pub client_fin: u64,
    /// [`CloseKind::ServerFin`].
    pub server_fin: u64,
    /// [`CloseKind::CrossedFin`].
    pub crossed_fin: u64,
    /// [`CloseKind::ClientRst`].
    pub client_rst: u64,
    /// [`CloseKind::ServerRst`].
    pub server_rst: u64,
    /// [`CloseKind::TimedOut`].
    pub timed_out: u64,
    /// [`CloseKind::Unclassified`].
    pub unclassified: u64,
}

impl ConnectionCloses {
    /// All of them.
    pub fn total(&self) -> u64 {
        let fin = self.client_fin + self.server_fin + self.crossed_fin;
        fin + self.reset() + self.timed_out + self.unclassified
    }

    /// Those aborted with an RST by either side.
    pub fn reset(&self) -> u64 {
        self.client_rst + self.server_rst
    }

    /// The closes that sockets of one side saw.
    fn seen_from(side: Side, closed: &SocketCloses) -> ConnectionCloses {
        let ours = (closed.local_fin - closed.crossed_fin, closed.local_rst + closed.undrained);
        let theirs = (closed.remote_fin, closed.remote_rst);
        let ((client_fin, client_rst), (server_fin, server_rst)) = match side {
            Side::Client => (ours, theirs),
            Side::Server => (theirs, ours),
        };
        ConnectionCloses {
            client_fin,
            server_fin,
            crossed_fin: closed.crossed_fin,
            client_rst,
            server_rst,
            timed_out: closed.timed_out,
            unclassified: closed.unclassified,
        }
    }

    fn merge(&mut self, other: &ConnectionCloses) {
        self.client_fin += other.client_fin;
        self.server_fin += other.server_fin;
        self.crossed_fin += other.crossed_fin;
        self.client_rst += other.client_rst;
        self.server_rst += other.server_rst;
        self.timed_out += other.timed_out;
        self.unclassified += other.unclassified;
    }

    pub(crate) fn add(&mut self, kind: CloseKind) {
        *match kind {
            CloseKind::ClientFin => &mut self.client_fin,
            CloseKind::ServerFin => &mut self.server_fin,
            CloseKind::CrossedFin => &mut self.crossed_fin,
            CloseKind::ClientRst => &mut self.client_rst,
            CloseKind::ServerRst => &mut self.server_rst,
            CloseKind::TimedOut => &mut self.timed_out,
            CloseKind::Unclassified => &mut self.unclassified,
        } += 1;
    }
}

/// How many requests a connection carried within the window.
///
/// Counted as the segments with data that the client sent (`tcpi_data_segs_out`; at the server's
/// end `tcpi_data_segs_in`). That is the number of requests if each fits one segment (headers and
/// body within the MSS, 65483 bytes on loopback, about 1400 elsewhere), is written at once, and is
/// not pipelined or retransmitted. TLS adds two or three segments a connection; with HTTP/2 the
/// number means nothing.
///
/// Over the connections opened in the window, closed or not, and those that were open before and
/// carried at least one request in it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RequestsPerConnection {
    /// Connections with known numbers.
    pub connections: u64,
    /// Requests on all of them.
    pub total: u64,
    /// The mean.
    pub mean: Option<f64>,
    /// The median (the lower one); above 1024 rounded down by at most 0.2 %.
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

/// A histogram of small and large counts: exact up to 1024, then ten significant bits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<u64, u64>,
    connections: u64,
    total: u64,
    max: Option<u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, requests: u64) {
        *self.counts.entry(rounded(requests)).or_default() += 1;
        self.connections += 1;
        self.total += requests;
        self.max = self.max.max(Some(requests));
    }

    pub(crate) fn summary(&self) -> RequestsPerConnection {
        let middle = self.connections.div_ceil(2);
        let mut seen = 0;
        let p50 = self.counts.iter().find_map(|(requests, count)| {
            seen += count;
            (seen >= middle).then_some(*requests)
        });
        RequestsPerConnection {
            connections: self.connections,
            total: self.total,
            #[allow(clippy::cast_precision_loss)] // Counts far below 2^52.
            mean: (self.connections > 0).then(|| self.total as f64 / self.connections as f64),
            p50,
            max: self.max,
        }
    }
}

/// Keeps the ten highest bits, so that the table has at most about 30,000 entries.
fn rounded(requests: u64) -> u64 {
    let surplus = (u64::BITS - requests.leading_zeros()).saturating_sub(10);
    if requests <= 1024 { requests } else { requests >> surplus << surplus }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(values: &[u64]) -> RequestsPerConnection {
        let mut tally = Tally::default();
        values.iter().for_each(|value| tally.add(*value));
        tally.summary()
    }

    #[test]
    fn nothing_counted_gives_unknown_not_zero() {
        assert_eq!(tally(&[]), RequestsPerConnection::default());
        assert_eq!(tally(&[]).mean, None);
    }

    #[test]
    fn mean_median_and_maximum_of_known_values() {
        let summary = tally(&[1, 1, 1, 50, 2]);
        assert_eq!(summary.mean, Some(11.0));
        assert_eq!((summary.p50, summary.max), (Some(1), Some(50)));
        assert_eq!(tally(&[4, 2]).p50, Some(2));
        assert_eq!(tally(&[0]).p50, Some(0));
    }

    #[test]
    fn large_counts_round_down_by_less_than_a_fifth_of_a_percent() {
        for value in [1, 1023, 1024, 1025, 2047, 123_456, u64::from(u32::MAX)] {
            let kept = rounded(value);
            assert!(kept <= value && (value - kept) * 500 <= value, "{value} {kept}");
            assert!(value > 1024 || kept == value);
        }
        assert_eq!(tally(&[123_457]).max, Some(123_457));
    }

    #[test]
    fn the_total_is_the_sum_of_all_kinds() {
        let mut closes = ConnectionCloses::default();
        let kinds = [
            CloseKind::ClientFin,
            CloseKind::ServerFin,
            CloseKind::CrossedFin,
            CloseKind::ClientRst,
            CloseKind::ServerRst,
            CloseKind::TimedOut,
            CloseKind::Unclassified,
        ];
        for (times, kind) in kinds.into_iter().enumerate() {
            (0..1 << times).for_each(|_| closes.add(kind));
        }
        assert_eq!(closes.total(), 127);
        assert_eq!(closes.reset(), 24);
    }
}
