//! Decides when the next request may start. Knows no clock, socket or thread.
//!
//! A closed loop answers only "send now" or "stop": a free connection sends at once, until the
//! count is used up or the time is over. An open loop has a schedule that does not depend on free
//! connections. The elapsed time and the number of started requests are arguments, so that every
//! decision can be tested without waiting.

mod schedule;

use std::time::Duration;

pub use schedule::{Arrivals, Stage};
pub(crate) use schedule::{Course, Schedule, SplitMix};

/// Releases the requests of one thread.
#[derive(Debug, Clone)]
pub(crate) enum Pacer {
    Closed(ClosedLoop),
    Open(Schedule),
}

impl Pacer {
    /// Returns how many requests of a count are left after `sent` have been released.
    pub(crate) fn left(&self, sent: u64) -> u64 {
        match self {
            Self::Closed(pacer) => pacer.left(sent),
            Self::Open(schedule) => schedule.left(),
        }
    }

    /// Stops the release of requests at `elapsed`.
    pub(crate) fn end_at(&mut self, elapsed: Duration) {
        match self {
            Self::Closed(pacer) => pacer.end_at(elapsed),
            Self::Open(schedule) => schedule.end_at(elapsed),
        }
    }

    /// Returns the instant, since the start, after which no request is released; `None` without
    /// such a limit.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Closed(pacer) => pacer.deadline(),
            Self::Open(schedule) => schedule.end(),
        }
    }
}

/// The next step of a free connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Starts a request now.
    Send,
    /// Starts no further request.
    Stop,
}

/// A closed loop, limited by a count of requests, by time, or by the first of both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClosedLoop {
    requests: u64,
    counted: bool,
    duration: Option<Duration>,
}

impl ClosedLoop {
    /// Makes a closed loop. `requests: None` means no limit by count, `duration: None` no limit by
    /// time.
    pub(crate) fn new(requests: Option<u64>, duration: Option<Duration>) -> Self {
        Self { requests: requests.unwrap_or(u64::MAX), counted: requests.is_some(), duration }
    }

    /// Decides for a free connection, `elapsed` after the start and after `sent` started requests.
    #[inline]
    pub(crate) fn next(&self, elapsed: Duration, sent: u64) -> Step {
        let in_time = self.duration.is_none_or(|limit| elapsed < limit);
        if sent < self.requests && in_time { Step::Send } else { Step::Stop }
    }

    fn end_at(&mut self, elapsed: Duration) {
        self.duration = Some(self.duration.map_or(elapsed, |limit| limit.min(elapsed)));
    }

    /// Returns how many requests of a count are left after `sent` have been started.
    fn left(&self, sent: u64) -> u64 {
        if self.counted { self.requests - sent } else { 0 }
    }

    /// Returns the instant, since the start, after which no request starts, if there is a limit.
    fn deadline(&self) -> Option<Duration> {
        self.duration
    }
}

/// Returns part `index` of `total`, divided in proportion to `weights` without a loss.
///
/// Rounds cumulatively: a part differs from the exact proportion by less than one, and the sum of
/// the parts is `total` for every input.
pub(crate) fn share(total: u64, weights: &[usize], index: usize) -> u64 {
    let whole: u128 = weights.iter().map(|&weight| weight as u128).sum();
    let before: u128 = weights[..index].iter().map(|&weight| weight as u128).sum();
    let after = before + weights[index] as u128;
    let cut = |position: u128| u128::from(total) * position / whole.max(1);
    // No cut exceeds `total`, so the difference fits.
    u64::try_from(cut(after) - cut(before)).unwrap_or(u64::MAX)
}

/// Divides `total` connections over `threads` threads as evenly as possible. The first threads take
/// the remainder.
pub(crate) fn even(total: usize, threads: usize) -> Vec<usize> {
    (0..threads).map(|thread| total / threads + usize::from(thread < total % threads)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn count_stops_exactly_never_by_time() {
        let pacer = ClosedLoop::new(Some(10), None);
        assert_eq!(pacer.next(Duration::ZERO, 0), Step::Send);
        assert_eq!(pacer.next(SECOND * 100_000, 9), Step::Send);
        assert_eq!(pacer.next(Duration::ZERO, 10), Step::Stop);
        assert_eq!((pacer.deadline(), pacer.left(7)), (None, 3));
    }

    #[test]
    fn duration_stops_exactly_never_by_count() {
        let pacer = ClosedLoop::new(None, Some(SECOND));
        assert_eq!(pacer.next(Duration::ZERO, u64::MAX - 1), Step::Send);
        assert_eq!(pacer.next(SECOND - Duration::from_nanos(1), 5), Step::Send);
        assert_eq!(pacer.next(SECOND, 5), Step::Stop);
        assert_eq!((pacer.deadline(), pacer.left(7)), (Some(SECOND), 0));
    }

    #[test]
    fn first_of_two_limits_stops() {
        let pacer = ClosedLoop::new(Some(2), Some(SECOND));
        assert_eq!(pacer.next(SECOND / 2, 1), Step::Send);
        assert_eq!(pacer.next(SECOND / 2, 2), Step::Stop);
        assert_eq!(pacer.next(SECOND, 1), Step::Stop);
    }

    #[test]
    fn end_at_keeps_the_rest_known() {
        let mut closed = Pacer::Closed(ClosedLoop::new(Some(10), None));
        closed.end_at(SECOND);
        assert_eq!((closed.deadline(), closed.left(4)), (Some(SECOND), 6));
        let Pacer::Closed(pacer) = closed else { unreachable!("it was made closed") };
        assert_eq!((pacer.next(SECOND, 4), pacer.next(SECOND / 2, 4)), (Step::Stop, Step::Send));
        let schedule = Course::constant(10.0).schedule(Arrivals::Constant, (0, 1), Some(20), None);
        let mut open = Pacer::Open(schedule);
        open.end_at(SECOND);
        open.end_at(SECOND * 2);
        assert_eq!((open.deadline(), open.left(0)), (Some(SECOND), 20));
        let Pacer::Open(schedule) = &mut open else { unreachable!("it was made open") };
        assert_eq!(schedule.take_due(SECOND * 5), None);
    }

    #[test]
    fn shares_lose_nothing() {
        for total in 0..60 {
            for threads in 1..7 {
                for connections in threads..threads * 4 {
                    let weights = even(connections, threads);
                    assert_eq!(weights.iter().sum::<usize>(), connections);
                    let sum: u64 = (0..threads).map(|i| share(total, &weights, i)).sum();
                    assert_eq!(sum, total, "{total} over {weights:?}");
                }
            }
        }
    }

    #[test]
    fn shares_follow_connections_per_thread() {
        assert_eq!(even(3, 2), [2, 1]);
        assert_eq!(share(9, &[2, 1], 0), 6);
        assert_eq!(share(9, &[2, 1], 1), 3);
        assert_eq!(share(u64::MAX, &[2, 1], 0) + share(u64::MAX, &[2, 1], 1), u64::MAX);
    }
}
