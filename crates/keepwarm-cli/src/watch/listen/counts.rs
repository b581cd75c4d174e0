//! The counters of one destination as Prometheus has them: plain numbers that only grow.
//!
//! Owns the bounds of the buckets, and how a count is taken from the kernel's report. Knows no label.

use keepwarm_sockets::{Destination, Histogram};

/// Upper bounds of the buckets of requests per connection.
pub(super) const REQUESTS_UP_TO: [u32; 12] = [0, 1, 2, 3, 5, 10, 20, 50, 100, 500, 1_000, 10_000];

/// Upper bounds, in milliseconds, of the buckets of idle times before a close. From one second on
/// they lie 5 % above the usual keep-alive timeouts, so that a timeout falls into one bucket alone.
pub(super) const IDLE_UP_TO_MS: [u32; 18] = [
    5, 50, 500, 1_050, 2_100, 3_150, 5_250, 6_300, 10_500, 15_750, 21_000, 31_500, 63_000, 78_750,
    94_500, 126_000, 315_000, 630_000,
];

/// Ways in which a connection ends, by the words of the label `by`. They add up to all closes.
pub(super) const CLOSED_BY: [&str; 8] = [
    "local_fin",
    "crossed_fin",
    "remote_fin",
    "local_rst",
    "remote_rst",
    "unread_data",
    "timed_out",
    "unclassified",
];

/// A classic histogram: counts of the values up to each bound, and above the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets<const N: usize> {
    /// Values at or below each bound and above the bound before it.
    pub(super) up_to: [u64; N],
    /// Values above the last bound.
    pub(super) above: u64,
    /// Sum of the values.
    pub(super) sum: u64,
}

impl<const N: usize> Default for Buckets<N> {
    fn default() -> Self {
        Self { up_to: [0; N], above: 0, sum: 0 }
    }
}

impl<const N: usize> Buckets<N> {
    fn of(values: &Histogram, bounds: &[u32; N]) -> Self {
        let all = values.count();
        let mut buckets = Self { sum: values.total(), ..Self::default() };
        let mut before = 0;
        for (bucket, bound) in buckets.up_to.iter_mut().zip(bounds) {
            // A share of a count is that count again to within a rounding error.
            let share = values.share_up_to(*bound).unwrap_or(0.0);
            let up_to = (share * all as f64).round() as u64;
            *bucket = up_to.saturating_sub(before);
            before = up_to;
        }
        buckets.above = all.saturating_sub(before);
        buckets
    }

    fn merge(&mut self, other: &Self) {
        self.up_to.iter_mut().zip(other.up_to).for_each(|(sum, more)| *sum += more);
        self.above += other.above;
        self.sum += other.sum;
    }

    /// Returns the growth since `earlier`; a bucket that shrank has not grown.
    fn since(&self, earlier: &Self) -> Self {
        let mut grown = *self;
        grown.up_to.iter_mut().zip(earlier.up_to).for_each(|(now, then)| {
            *now = now.saturating_sub(then);
        });
        grown.above = self.above.saturating_sub(earlier.above);
        grown.sum = self.sum.saturating_sub(earlier.sum);
        grown
    }

    /// Returns the number of values.
    pub(super) fn count(&self) -> u64 {
        self.up_to.iter().sum::<u64>() + self.above
    }
}

/// Everything that is counted of one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) opened: u64,
    /// Closes by [`CLOSED_BY`].
    pub(super) closed: [u64; CLOSED_BY.len()],
    pub(super) connect_failed: u64,
    /// Segments that connections sent until they were closed, and those of them sent again.
    pub(super) segments_sent: u64,
    pub(super) retransmits: u64,
    /// Requests of connections that were closed: those of open ones still grow.
    pub(super) requests: Buckets<{ REQUESTS_UP_TO.len() }>,
    pub(super) idle_ms: Buckets<{ IDLE_UP_TO_MS.len() }>,
}

impl Counts {
    pub(super) fn of(one: &Destination) -> Self {
        let closed = &one.closed;
        let mut idle = one.idle_before_local_close.clone();
        idle.merge(&one.idle_before_remote_close);
        Self {
            opened: one.opened,
            closed: [
                closed.local_fin.saturating_sub(closed.crossed_fin),
                closed.crossed_fin,
                closed.remote_fin,
                closed.local_rst,
                closed.remote_rst,
                closed.undrained,
                closed.timed_out,
                closed.unclassified,
            ],
            connect_failed: one.connect_failed,
            segments_sent: one.path.segments_sent,
            retransmits: one.path.retransmits,
            requests: Buckets::of(&one.requests.since(&one.requests_open), &REQUESTS_UP_TO),
            idle_ms: Buckets::of(&idle, &IDLE_UP_TO_MS),
        }
    }

    pub(super) fn closes(&self) -> u64 {
        self.closed.iter().sum()
    }

    pub(super) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.closed.iter_mut().zip(other.closed).for_each(|(sum, more)| *sum += more);
        self.connect_failed += other.connect_failed;
        self.segments_sent += other.segments_sent;
        self.retransmits += other.retransmits;
        self.requests.merge(&other.requests);
        self.idle_ms.merge(&other.idle_ms);
    }

    /// Returns the growth since `earlier`. The kinds of the closes add up to the growth of their sum:
    /// where a close was found to be of another kind than was told, it stays what was told.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut room = self.closes().saturating_sub(earlier.closes());
        let mut closed = [0; CLOSED_BY.len()];
        for (grown, (now, then)) in closed.iter_mut().zip(self.closed.iter().zip(earlier.closed)) {
            *grown = now.saturating_sub(then).min(room);
            room -= *grown;
        }
        Self {
            opened: self.opened.saturating_sub(earlier.opened),
            closed,
            connect_failed: self.connect_failed.saturating_sub(earlier.connect_failed),
            segments_sent: self.segments_sent.saturating_sub(earlier.segments_sent),
            retransmits: self.retransmits.saturating_sub(earlier.retransmits),
            requests: self.requests.since(&earlier.requests),
            idle_ms: self.idle_ms.since(&earlier.idle_ms),
        }
    }
}
