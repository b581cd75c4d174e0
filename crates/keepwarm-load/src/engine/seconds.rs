//! The seconds of one thread. Owns the end of a second and the slice handed in then; the tally owns
//! the counters.

use std::time::{Duration, Instant};

use super::Engine;
use crate::counts::{Counts, FINEST, Slice};

/// The second that a thread is in.
#[derive(Debug)]
pub(super) struct Seconds {
    /// Number of the second, since the start of the run.
    current: u64,
    ends: Instant,
    /// The counters at its beginning.
    counts_before: Counts,
    cpu_before: Duration,
}

impl Seconds {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            current: 0,
            ends: started + FINEST,
            counts_before: Counts::ZERO,
            cpu_before: Duration::ZERO,
        }
    }
}

impl Engine {
    /// Begins the next second if it is time. Called before an event of time `now` is counted.
    #[inline]
    pub(super) fn tick(&mut self, now: Instant) {
        if now >= self.seconds.ends {
            self.next_second(now);
        }
    }

    #[cold]
    fn next_second(&mut self, now: Instant) {
        let next = (now - self.started).as_secs();
        self.hand_in(next);
        // A second that was slept through has no slice, because nothing happened in it.
        self.seconds.current = next;
        self.seconds.ends = self.started + FINEST * u32::try_from(next + 1).unwrap_or(u32::MAX);
    }

    /// Hands in the growth of the counters since the last call.
    pub(super) fn hand_in(&mut self, next: u64) {
        let counts = self.tally.counts();
        let cpu = thread_cpu_time();
        let used = cpu.saturating_sub(self.seconds.cpu_before);
        let slice = Slice {
            counts: counts.since(&self.seconds.counts_before),
            latency: self.tally.second_latency.take(),
            response: self.tally.second_response.take(),
            send_lag: self.tally.second_send_lag.take(),
            cpu_time: used,
            busiest_thread: used,
        };
        self.seconds.counts_before = counts;
        self.seconds.cpu_before = cpu;
        self.shared.collector.hand_in(self.thread, self.seconds.current, &slice, next);
    }

    /// Hands in the last second, which no second follows.
    pub(super) fn hand_in_last(&mut self) {
        self.hand_in(super::collector::ENDED);
    }
}

/// Returns the processor time of the calling thread, in user and kernel mode.
pub(super) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Returns the time for which the calling thread was ready to run but had no core; `None` where the
/// kernel does not say (without CONFIG_SCHEDSTATS).
pub(super) fn waited_for_core() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}
