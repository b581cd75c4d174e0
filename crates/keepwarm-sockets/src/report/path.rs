//! Network path of a destination's connections: round trips and retransmissions.
//!
//! Owns the numbers and how they are added up. Reads them from what the kernel sends with destroy
//! events and dumps (`tcp_info`); asks for nothing.

use crate::kernel::socket::{Socket, TcpInfo};
use crate::report::histogram::Histogram;

/// Round trips and retransmissions of a destination's connections, as their sockets on this host
/// counted them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NetworkPath {
    /// Microseconds of a round trip, one value for each connection: the mean that the kernel smooths
    /// over its last measurements (`tcpi_rtt`).
    pub rtt_us: Histogram,
    /// Microseconds of the least round trip of each connection, `tcpi_min_rtt`: a handshake is rarely
    /// slower, while `rtt_us` may have the time in it that the peer took for an answer.
    pub min_rtt_us: Histogram,
    /// Least round trip in microseconds of any of these connections (`tcpi_min_rtt`: of the last five
    /// minutes of each, `net.ipv4.tcp_min_rtt_wlen`). `None` before Linux 4.6, and without a
    /// measurement.
    pub least_rtt_us: Option<u32>,
    /// Segments of any kind that these sockets sent since they were opened.
    pub segments_sent: u64,
    /// Segments among `segments_sent` that were sent again, SYNs too.
    pub retransmits: u64,
}

/// Numbers of one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathSample {
    rtt_us: Option<u32>,
    least_rtt_us: Option<u32>,
    segments_sent: u32,
    retransmits: u32,
}

impl PathSample {
    /// Reads the numbers of a socket. `None` for a minisocket, which has none.
    pub(crate) fn of(socket: &Socket) -> Option<PathSample> {
        let info: TcpInfo = socket.info?;
        Some(PathSample {
            // 0 stands for no measurement, in the least one the greatest number does.
            rtt_us: info.rtt_us.filter(|us| *us > 0),
            least_rtt_us: info.min_rtt_us.filter(|us| *us > 0 && *us < u32::MAX),
            segments_sent: info.segs_out.unwrap_or(0),
            retransmits: info.total_retrans.unwrap_or(0),
        })
    }
}

impl NetworkPath {
    pub(crate) fn count(&mut self, sample: &PathSample) {
        if let Some(us) = sample.rtt_us {
            self.rtt_us.add(us);
        }
        if let Some(us) = sample.least_rtt_us {
            self.min_rtt_us.add(us);
        }
        self.least_rtt_us = least(self.least_rtt_us, sample.least_rtt_us);
        self.segments_sent += u64::from(sample.segments_sent);
        self.retransmits += u64::from(sample.retransmits);
    }

    /// Adds the numbers of other connections.
    pub fn merge(&mut self, other: &NetworkPath) {
        self.rtt_us.merge(&other.rtt_us);
        self.min_rtt_us.merge(&other.min_rtt_us);
        self.least_rtt_us = least(self.least_rtt_us, other.least_rtt_us);
        self.segments_sent += other.segments_sent;
        self.retransmits += other.retransmits;
    }

    /// Returns the numbers since an earlier report. The least round trip stays that of the whole watch.
    pub(crate) fn since(&self, earlier: &NetworkPath) -> NetworkPath {
        NetworkPath {
            rtt_us: self.rtt_us.since(&earlier.rtt_us),
            min_rtt_us: self.min_rtt_us.since(&earlier.min_rtt_us),
            least_rtt_us: self.least_rtt_us,
            segments_sent: self.segments_sent.saturating_sub(earlier.segments_sent),
            retransmits: self.retransmits.saturating_sub(earlier.retransmits),
        }
    }

    /// Returns the share of the segments sent that were sent again; `None` if none was sent.
    pub fn retransmitted_share(&self) -> Option<f64> {
        (self.segments_sent > 0).then(|| self.retransmits as f64 / self.segments_sent as f64)
    }
}

fn least(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(rtt_us: u32, min_rtt_us: u32, again: u32) -> Socket {
        crate::tracker::dead::tests::event(TcpInfo {
            rtt_us: Some(rtt_us),
            min_rtt_us: Some(min_rtt_us),
            segs_out: Some(10),
            total_retrans: Some(again),
            ..TcpInfo::default()
        })
    }

    fn path(sockets: &[Socket]) -> NetworkPath {
        let mut path = NetworkPath::default();
        sockets.iter().filter_map(PathSample::of).for_each(|one| path.count(&one));
        path
    }

    #[test]
    fn unmeasured_round_trips_are_no_values() {
        let path = path(&[socket(0, u32::MAX, 3)]);
        assert_eq!((path.rtt_us.count(), path.least_rtt_us), (0, None));
        assert_eq!((path.segments_sent, path.retransmits), (10, 3));
        assert_eq!(PathSample::of(&Socket { info: None, ..socket(1, 1, 1) }), None);
    }

    #[test]
    fn paths_add_up_and_subtract() {
        let (near, far) = (path(&[socket(900, 800, 0)]), path(&[socket(90_000, 50_000, 4)]));
        let mut both = far.clone();
        both.merge(&near);
        assert_eq!(both, path(&[socket(900, 800, 0), socket(90_000, 50_000, 4)]));
        let since = both.since(&near);
        assert_eq!((since.rtt_us.count(), since.retransmits), (1, 4));
        assert_eq!(both.retransmitted_share(), Some(0.2));
        assert_eq!(NetworkPath::default().retransmitted_share(), None);
    }
}
