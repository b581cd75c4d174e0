//! Collects the seconds of all threads into one timeline. Owns the lock, which each thread takes
//! once a second, and the question which second is complete; the timeline owns the merging.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::counts::{Slice, Timeline};

/// Second of a thread that has ended.
pub(super) const ENDED: u64 = u64::MAX;

/// The timeline of a run in the making.
#[derive(Debug)]
pub(crate) struct Collector {
    inner: Mutex<Collected>,
}

#[derive(Debug)]
struct Collected {
    timeline: Timeline,
    /// The sum of all slices so far.
    total: Slice,
    /// The current second of each thread.
    reached: Vec<u64>,
    /// Seconds that some thread has not handed in yet, and the last second that all threads have.
    recent: Vec<(u64, Slice)>,
}

impl Collector {
    pub(crate) fn new(threads: usize) -> Self {
        let reached = vec![0; threads];
        let timeline = Timeline::default();
        let total = Slice::EMPTY;
        Self { inner: Mutex::new(Collected { timeline, total, reached, recent: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        // A panic cannot leave half a slice behind: slices are handed in whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the slice that `thread` has counted in `second`; the thread is in second `next` now.
    pub(crate) fn hand_in(&self, thread: usize, second: u64, slice: &Slice, next: u64) {
        let mut collected = self.lock();
        collected.timeline.add(second, slice);
        collected.total.merge_parallel(slice);
        match collected.recent.iter_mut().find(|(at, _)| *at == second) {
            Some((_, recent)) => recent.merge_parallel(slice),
            None => collected.recent.push((second, slice.clone())),
        }
        collected.reached[thread] = next;
        let whole = collected.reached.iter().copied().min().unwrap_or(0);
        let last = collected.recent.iter().map(|(at, _)| *at).filter(|at| *at < whole).max();
        collected.recent.retain(|(at, _)| *at >= whole || Some(*at) == last);
    }

    /// Returns the last second that every thread has left, and its slice.
    pub(crate) fn last_whole_second(&self) -> Option<(u64, Slice)> {
        let collected = self.lock();
        let whole = collected.reached.iter().copied().min().unwrap_or(0);
        collected.recent.iter().find(|(at, _)| *at < whole).cloned()
    }

    /// Returns the sum of all seconds that were handed in, and the number of those that every
    /// thread has left. Once all threads have ended, the last second is not one of them: it is not
    /// whole.
    pub(crate) fn so_far(&self) -> (u64, Slice) {
        let collected = self.lock();
        let reached = collected.reached.iter().copied().min().unwrap_or(0);
        let last = collected.recent.iter().map(|(at, _)| *at).max().unwrap_or(0);
        let whole = if reached == ENDED { last } else { reached };
        (whole, collected.total.clone())
    }

    /// Copies the seconds that were handed in so far.
    pub(crate) fn timeline(&self) -> Timeline {
        self.lock().timeline.clone()
    }

    /// Takes the timeline out.
    pub(crate) fn take(&self) -> Timeline {
        std::mem::take(&mut self.lock().timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Count;

    fn slice(completed: u64) -> Slice {
        let mut slice = Slice::EMPTY;
        slice.counts.counts[Count::Completed as usize] = completed;
        slice
    }

    #[test]
    fn second_is_whole_after_the_slowest_thread() {
        let collector = Collector::new(2);
        assert_eq!(collector.last_whole_second(), None);
        collector.hand_in(0, 0, &slice(1), 1);
        assert_eq!(collector.last_whole_second(), None);
        collector.hand_in(0, 1, &slice(10), 2);
        collector.hand_in(1, 0, &slice(2), 1);
        assert_eq!(collector.last_whole_second(), Some((0, slice(3))));
        // The second thread slept through second 1, and ends in second 2.
        collector.hand_in(1, 1, &slice(0), 2);
        assert_eq!(collector.last_whole_second(), Some((1, slice(10))));
        assert_eq!(collector.so_far(), (2, slice(13)));
        (0..2).for_each(|thread| collector.hand_in(thread, 2, &slice(1), ENDED));
        assert_eq!(collector.so_far(), (2, slice(15)), "the last second may not be whole");
        let timeline = collector.take();
        let completed = timeline.slices().iter().map(|slice| slice.count(Count::Completed));
        assert_eq!(completed.collect::<Vec<_>>(), [3, 10, 2]);
    }
}
