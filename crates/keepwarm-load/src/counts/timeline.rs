//! The run second by second. Owns the slices, their merging and their number; the ledger owns the
//! meaning of the counters and the sums among them.
//!
//! A thread counts into its ledger only. Once a second it hands in the ledger's growth. The hot
//! path pays one comparison per request, and the sum of all slices is the ledger.

use std::time::Duration;

use super::{CloseCause, Count, Counts, ErrorClass, Imbalance, Sketch};
use crate::limits::MAX_SLICES;

/// The length of a slice in a run of less than an hour.
pub(crate) const FINEST: Duration = Duration::from_secs(1);

/// A second of the run, or several seconds of a long run: see [`Timeline::width`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slice {
    pub(crate) counts: Counts,
    /// Service times of the requests that completed in the slice, in microseconds.
    pub latency: Sketch,
    /// Response times of the same requests, from the instants they were due; empty in a closed
    /// loop.
    pub response: Sketch,
    /// Time from the instant a request was due until its first byte is about to be written, of the
    /// requests written in the slice; empty in a closed loop.
    pub send_lag: Sketch,
    /// Processor time of all threads of the loader together.
    pub cpu_time: Duration,
    /// Processor time of the thread that used most.
    pub busiest_thread: Duration,
}

impl Slice {
    pub(crate) const EMPTY: Self = Self {
        counts: Counts::ZERO,
        latency: Sketch::EMPTY,
        response: Sketch::EMPTY,
        send_lag: Sketch::EMPTY,
        cpu_time: Duration::ZERO,
        busiest_thread: Duration::ZERO,
    };

    /// Returns the value of one counter.
    pub fn count(&self, count: Count) -> u64 {
        self.counts.counts[count as usize]
    }

    /// Returns the connections closed by this side for one cause.
    pub fn closed_by_us(&self, cause: CloseCause) -> u64 {
        self.counts.causes[cause as usize]
    }

    /// Returns the failed requests of one class.
    pub fn errors(&self, class: ErrorClass) -> u64 {
        self.counts.errors[class as usize]
    }

    /// Returns the completed exchanges whose status begins with this digit; zero for a number that
    /// is not a digit.
    pub fn statuses(&self, first_digit: u8) -> u64 {
        self.counts.statuses.get(usize::from(first_digit)).copied().unwrap_or(0)
    }

    /// Adds the slice of another thread for the same time.
    pub(crate) fn merge_parallel(&mut self, other: &Self) {
        self.counts += &other.counts;
        self.latency.merge(&other.latency);
        self.response.merge(&other.response);
        self.send_lag.merge(&other.send_lag);
        self.cpu_time += other.cpu_time;
        self.busiest_thread = self.busiest_thread.max(other.busiest_thread);
    }

    /// Adds the slice that follows. If another thread was the busiest there, the busiest thread's
    /// time becomes an upper bound.
    fn merge_following(&mut self, other: &Self) {
        let busiest = self.busiest_thread + other.busiest_thread;
        self.merge_parallel(other);
        self.busiest_thread = busiest;
    }
}

/// The run in slices of equal length, from its start.
///
/// A slice counts the events of its time. The last slice covers less time than the others, and
/// includes the outcome of all requests and connections that were left at the end of the run. There
/// are at most [`MAX_SLICES`] slices; a longer run doubles their length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The length of a slice, in units of [`FINEST`].
    scale: u32,
    slices: Vec<Slice>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { scale: 1, slices: Vec::new() }
    }
}

impl Timeline {
    /// Returns the length of each slice: a power of two, in seconds.
    pub fn width(&self) -> Duration {
        FINEST * self.scale
    }

    /// Returns the slices from the start of the run. Slice `i` begins at `i` times the width.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// Returns the sum of one counter over all slices.
    pub fn total(&self, count: Count) -> u64 {
        self.slices.iter().map(|slice| slice.count(count)).sum()
    }

    /// Lists the number of connections open at the end of each slice.
    pub fn open_connections(&self) -> impl Iterator<Item = u64> {
        const CLOSED: [Count; 4] =
            [Count::ClosedByUs, Count::PeerFin, Count::PeerRst, Count::TimedOut];
        let mut open = 0u64;
        self.slices.iter().map(move |slice| {
            // A connection is opened before it is closed, so the sum is never negative at the end
            // of a slice.
            open += slice.count(Count::Opened);
            open -= CLOSED.iter().map(|count| slice.count(*count)).sum::<u64>().min(open);
            open
        })
    }

    /// Adds a slice of one second.
    pub(crate) fn add(&mut self, second: u64, slice: &Slice) {
        while second / u64::from(self.scale) >= MAX_SLICES as u64 {
            self.coarsen();
        }
        let index = usize::try_from(second / u64::from(self.scale)).unwrap_or(MAX_SLICES - 1);
        if index >= self.slices.len() {
            self.slices.resize(index + 1, Slice::EMPTY);
        }
        self.slices[index].merge_parallel(slice);
    }

    /// Doubles the length of the slices.
    fn coarsen(&mut self) {
        self.scale *= 2;
        let mut finer = std::mem::take(&mut self.slices).into_iter();
        while let Some(mut slice) = finer.next() {
            if let Some(following) = finer.next() {
                slice.merge_following(&following);
            }
            self.slices.push(slice);
        }
        self.slices.shrink_to_fit();
    }

    /// Adds the timeline of a part that ran at the same time.
    pub(crate) fn merge(&mut self, mut other: Self) {
        while self.scale < other.scale {
            self.coarsen();
        }
        while other.scale < self.scale {
            other.coarsen();
        }
        for (index, slice) in other.slices.iter().enumerate() {
            self.add(index as u64 * u64::from(self.scale), slice);
        }
    }

    /// Compares the sum of the slices with the counters of the whole run.
    pub(crate) fn check(&self, whole: &Counts) -> Result<(), Imbalance> {
        let mut sum = Counts::ZERO;
        self.slices.iter().for_each(|slice| sum += &slice.counts);
        let pairs = sum.row().zip(whole.row());
        let name = "sum over the timeline = count of the run";
        Imbalance::check(pairs.map(|(&sum, &whole)| (name, sum, whole)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(completed: u64, busiest_ms: u64) -> Slice {
        let mut slice = Slice::EMPTY;
        slice.counts.counts[Count::Completed as usize] = completed;
        slice.busiest_thread = Duration::from_millis(busiest_ms);
        slice
    }

    fn completed(timeline: &Timeline) -> Vec<u64> {
        timeline.slices().iter().map(|slice| slice.count(Count::Completed)).collect()
    }

    #[test]
    fn long_run_has_coarser_slices() {
        let mut timeline = Timeline::default();
        for second in 0..MAX_SLICES as u64 {
            timeline.add(second, &slice(1, 10));
        }
        assert_eq!((timeline.width(), timeline.slices().len()), (FINEST, MAX_SLICES));
        timeline.add(MAX_SLICES as u64, &slice(5, 10));
        assert_eq!(timeline.width(), FINEST * 2);
        assert_eq!(timeline.slices().len(), MAX_SLICES / 2 + 1);
        assert_eq!(timeline.total(Count::Completed), MAX_SLICES as u64 + 5);
        assert_eq!(timeline.slices()[0].busiest_thread, Duration::from_millis(20));
        timeline.add(7 * 24 * 3600, &slice(1, 10));
        assert!(timeline.slices().len() <= MAX_SLICES);
        assert_eq!(timeline.total(Count::Completed), MAX_SLICES as u64 + 6);
    }

    #[test]
    fn different_widths_merge_by_time() {
        let (mut short, mut long) = (Timeline::default(), Timeline::default());
        (0..3).for_each(|second| short.add(second, &slice(1, 0)));
        long.add(5000, &slice(1, 0));
        short.merge(long);
        assert_eq!(short.width(), FINEST * 2);
        assert_eq!(completed(&short)[..3], [2, 1, 0]);
        assert_eq!(completed(&short)[2500], 1);
    }

    #[test]
    fn lost_slice_is_an_imbalance() {
        let mut timeline = Timeline::default();
        timeline.add(0, &slice(3, 0));
        let mut whole = Counts::ZERO;
        whole.counts[Count::Completed as usize] = 3;
        assert_eq!(timeline.check(&whole), Ok(()));
        whole.errors[0] = 1;
        assert!(timeline.check(&whole).is_err());
    }
}
