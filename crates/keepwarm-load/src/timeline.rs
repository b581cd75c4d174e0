//! The run second by second. Owns the slices, their merge and their limit; what is counted, and
//! that it adds up, is the ledger's.
//!
//! A thread counts into its ledger and nothing else. Once a second it hands in what the ledger
//! has grown by, under a lock that nobody takes more often: the hot path pays one comparison a
//! request, and the sum of all slices is the ledger.

use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::failure::ErrorClass;
use crate::ledger::{CloseCause, Imbalance};
use crate::sketch::Sketch;

/// The most slices of a timeline. A run that goes on longer has each two of them merged, so that
/// slices are 2 seconds long beyond an hour, 4 beyond two hours, and so on.
pub const MAX_SLICES: usize = 3600;

/// The length of a slice in a run of less than an hour.
pub(crate) const FINEST: Duration = Duration::from_secs(1);

/// What is counted in each slice. The words are those of [`Ledger`](crate::Ledger).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Count {
    /// Requests the schedule, or a free connection, has released.
    Scheduled,
    /// Requests whose response was complete.
    Completed,
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
    /// Every count, in the order of reports.
    pub const ALL: [Self; 17] = [
        Self::Scheduled,
        Self::Completed,
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

    /// A stable name for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Completed => "completed",
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

/// Every counter of a thread at one instant, or the growth between two instants.
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

    /// Everything in one row, for what is done to each number.
    fn row(&self) -> impl Iterator<Item = &u64> {
        self.counts.iter().chain(&self.causes).chain(&self.errors).chain(&self.statuses)
    }

    fn row_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { counts, causes, errors, statuses } = self;
        counts.iter_mut().chain(causes).chain(errors).chain(statuses)
    }

    /// What was counted since `before`.
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

/// One second of a run, or several if it is long: see [`Timeline::width`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slice {
    pub(crate) counts: Counts,
    /// Service times of the requests that completed in it, in microseconds.
    pub latency: Sketch,
    /// Response times of the same requests, from the instants they were due; empty in a closed
    /// loop.
    pub response: Sketch,
    /// From the instants requests were due to their first byte about to be written, of those
    /// written in it; empty in a closed loop.
    pub send_lag: Sketch,
    /// Processor time of the loader's threads together.
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

    /// One of the counts.
    pub fn count(&self, count: Count) -> u64 {
        self.counts.counts[count as usize]
    }

    /// Connections closed by this side for one cause.
    pub fn closed_by_us(&self, cause: CloseCause) -> u64 {
        self.counts.causes[cause as usize]
    }

    /// Failed requests of one class.
    pub fn errors(&self, class: ErrorClass) -> u64 {
        self.counts.errors[class as usize]
    }

    /// Completed exchanges whose status begins with this digit; zero for what is no digit.
    pub fn statuses(&self, first_digit: u8) -> u64 {
        self.counts.statuses.get(usize::from(first_digit)).copied().unwrap_or(0)
    }

    /// Adds what another thread did at the same time.
    fn merge_parallel(&mut self, other: &Self) {
        self.counts += &other.counts;
        self.latency.merge(&other.latency);
        self.response.merge(&other.response);
        self.send_lag.merge(&other.send_lag);
        self.cpu_time += other.cpu_time;
        self.busiest_thread = self.busiest_thread.max(other.busiest_thread);
    }

    /// Adds what came after it. Which thread was busiest may have changed: then the sum is an
    /// upper bound.
    fn merge_following(&mut self, other: &Self) {
        let busiest = self.busiest_thread + other.busiest_thread;
        self.merge_parallel(other);
        self.busiest_thread = busiest;
    }
}

/// The run in slices of equal length, from its start.
///
/// A slice has what happened in it. The last one has less than its length, and also what the end
/// of the run made of the requests and connections that were left. At most [`MAX_SLICES`] are
/// kept, by doubling their length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The length of a slice, in units of the finest one.
    scale: u32,
    slices: Vec<Slice>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { scale: 1, slices: Vec::new() }
    }
}

impl Timeline {
    /// The length of each slice: a whole number of seconds, and a power of two.
    pub fn width(&self) -> Duration {
        FINEST * self.scale
    }

    /// The slices, from the start of the run; slice `i` begins at `i` times the width.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// The sum of one count over all slices.
    pub fn total(&self, count: Count) -> u64 {
        self.slices.iter().map(|slice| slice.count(count)).sum()
    }

    /// Connections open at the end of each slice.
    pub fn open_connections(&self) -> impl Iterator<Item = u64> {
        const CLOSED: [Count; 4] =
            [Count::ClosedByUs, Count::PeerFin, Count::PeerRst, Count::TimedOut];
        let mut open = 0u64;
        self.slices.iter().map(move |slice| {
            // Within one slice a connection is opened before it is closed; the sum is never
            // negative at its end.
            open += slice.count(Count::Opened);
            open -= CLOSED.iter().map(|count| slice.count(*count)).sum::<u64>().min(open);
            open
        })
    }

    /// Adds what happened in second `second`.
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

    /// Holds the sum of the slices against what was counted for the whole run.
    pub(crate) fn check(&self, whole: &Counts) -> Result<(), Imbalance> {
        let mut sum = Counts::ZERO;
        self.slices.iter().for_each(|slice| sum += &slice.counts);
        match sum.row().zip(whole.row()).find(|(sum, whole)| sum != whole) {
            Some((&left, &right)) => {
                Err(Imbalance { sum: "sum over the timeline = count of the run", left, right })
            }
            None => Ok(()),
        }
    }
}

/// Where the threads of a run hand in their seconds.
#[derive(Debug)]
pub(crate) struct Collector {
    inner: Mutex<Collected>,
}

#[derive(Debug)]
struct Collected {
    timeline: Timeline,
    /// By thread: the second it is in.
    reached: Vec<u64>,
    /// The seconds that not every thread has handed in yet, and the last one that all have.
    recent: Vec<(u64, Slice)>,
}

impl Collector {
    pub(crate) fn new(threads: usize) -> Self {
        let reached = vec![0; threads];
        let timeline = Timeline::default();
        Self { inner: Mutex::new(Collected { timeline, reached, recent: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        // A thread that panicked has handed in whole slices or none.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Thread `thread` has done `slice` in `second`, and is in second `next` now.
    pub(crate) fn hand_in(&self, thread: usize, second: u64, slice: &Slice, next: u64) {
        let mut collected = self.lock();
        collected.timeline.add(second, slice);
        match collected.recent.iter_mut().find(|(at, _)| *at == second) {
            Some((_, recent)) => recent.merge_parallel(slice),
            None => collected.recent.push((second, slice.clone())),
        }
        collected.reached[thread] = next;
        let whole = collected.reached.iter().copied().min().unwrap_or(0);
        let last = collected.recent.iter().map(|(at, _)| *at).filter(|at| *at < whole).max();
        collected.recent.retain(|(at, _)| *at >= whole || Some(*at) == last);
    }

    /// The last second that every thread has been through.
    pub(crate) fn last_whole_second(&self) -> Option<(u64, Slice)> {
        let collected = self.lock();
        let whole = collected.reached.iter().copied().min().unwrap_or(0);
        collected.recent.iter().find(|(at, _)| *at < whole).cloned()
    }

    pub(crate) fn take(&self) -> Timeline {
        std::mem::take(&mut self.lock().timeline)
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
    fn every_count_cause_and_class_is_at_its_own_index() {
        assert!(Count::ALL.iter().enumerate().all(|(index, count)| *count as usize == index));
        assert!(CloseCause::ALL.iter().enumerate().all(|(index, cause)| *cause as usize == index));
        assert!(ErrorClass::ALL.iter().enumerate().all(|(index, class)| *class as usize == index));
        let names: std::collections::BTreeSet<_> = Count::ALL.map(Count::as_str).into();
        assert_eq!(names.len(), Count::ALL.len());
    }

    #[test]
    fn a_run_beyond_the_limit_is_told_in_coarser_slices_and_loses_nothing() {
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
    fn timelines_of_different_widths_merge_by_time() {
        let (mut short, mut long) = (Timeline::default(), Timeline::default());
        (0..3).for_each(|second| short.add(second, &slice(1, 0)));
        long.add(5000, &slice(1, 0));
        short.merge(long);
        assert_eq!(short.width(), FINEST * 2);
        assert_eq!(completed(&short)[..3], [2, 1, 0]);
        assert_eq!(completed(&short)[2500], 1);
    }

    #[test]
    fn a_slice_that_is_lost_is_noticed() {
        let mut timeline = Timeline::default();
        timeline.add(0, &slice(3, 0));
        let mut whole = Counts::ZERO;
        whole.counts[Count::Completed as usize] = 3;
        assert_eq!(timeline.check(&whole), Ok(()));
        whole.errors[0] = 1;
        assert!(timeline.check(&whole).is_err());
    }

    #[test]
    fn a_second_is_whole_when_the_slowest_thread_has_left_it() {
        let collector = Collector::new(2);
        assert_eq!(collector.last_whole_second(), None);
        collector.hand_in(0, 0, &slice(1, 0), 1);
        assert_eq!(collector.last_whole_second(), None);
        collector.hand_in(0, 1, &slice(10, 0), 2);
        collector.hand_in(1, 0, &slice(2, 0), 1);
        assert_eq!(collector.last_whole_second(), Some((0, slice(3, 0))));
        // The second thread slept through second 1, and ends in second 2.
        collector.hand_in(1, 1, &slice(0, 0), 2);
        assert_eq!(collector.last_whole_second(), Some((1, slice(10, 0))));
        assert_eq!(completed(&collector.take()), [3, 10]);
    }
}
