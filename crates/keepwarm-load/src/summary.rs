//! What a run comes to. Owns the fold of the threads' tallies and the merge of parts; prints and
//! formats nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::Tally;
use crate::failure::Errors;
use crate::histogram::{Histogram, MAX_LATENCY_US};
use crate::ledger::{Imbalance, Ledger};
use crate::plan::Plan;
use crate::timeline::{Counts, Timeline};

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// The count or the duration of the plan was reached.
    Finished,
    /// No connection could be opened: three attempts for each one asked for had failed.
    Unreachable,
    /// [`Stop::stop`](crate::Stop::stop) was called.
    Cancelled,
}

/// The earliest complete response of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstResponse {
    pub(crate) at: Duration,
    pub(crate) server: Option<String>,
    pub(crate) document_length: u64,
}

/// What one thread of the load generator used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ThreadUse {
    /// Processor time, in user and kernel mode.
    pub cpu_time: Duration,
    /// From the start of the run to the end of the thread.
    pub ran: Duration,
    /// How long it was ready to run and did not, for want of a core. `None` where the kernel does
    /// not say.
    pub waited_for_core: Option<Duration>,
    /// How often it woke up for events.
    pub wakeups: u64,
    /// The events it woke up for. Many to a wake-up: they queued.
    pub events: u64,
}

/// What the load generator itself used: the evidence for or against its own numbers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loader {
    /// Threads that ran.
    pub threads: usize,
    /// Processor time of these threads together, in user and kernel mode.
    pub cpu_time: Duration,
    /// Each thread by itself.
    pub per_thread: Vec<ThreadUse>,
    /// From a wake-up to the end of what it brought, in microseconds: one sample a wake-up. A
    /// response that came with others may have waited as long for its turn, and counts it as
    /// service time. A closed loop may add half a per cent by sleeping before it looks.
    pub turns: Histogram,
    /// In an open loop, from the instant a request was due to a thread noticing it, in
    /// microseconds: the part of [`Summary::send_lag`] that is the loader's own fault. Empty in a
    /// closed loop.
    pub lag: Histogram,
}

/// The result of a run.
///
/// `completed + failed + unsent` is the number of requests that were scheduled, and
/// the number the plan asked for, if it asked for one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// Requests whose response was complete, whatever its status.
    pub completed: u64,
    /// Requests that failed; [`errors`](Self::errors) says how. They are in no histogram of times:
    /// where some had no answer in time, percentiles are better than they would be with them.
    pub failed: u64,
    /// Requests that were scheduled and never sent: those of a plan with a count that the run
    /// did not come to, because it ended early; in an open loop those that came when the backlog
    /// was full, or were in it when the run ended.
    pub unsent: u64,
    /// From the start to the last request that completed or failed; not less than the plan's
    /// duration, or than the time until a stop. Waiting for requests that were never answered
    /// ([`ErrorClass::Unanswered`](crate::ErrorClass::Unanswered)) is no part of it.
    pub elapsed: Duration,
    /// Why the run ended.
    pub stopped: StopReason,
    /// Service times of completed requests, in microseconds: first byte of the request about to
    /// be written, to last byte of the response read. Connecting is not part of it.
    pub latency: Histogram,
    /// Response times of completed requests in an open loop, in microseconds: from the instant the
    /// request was due to the last byte of its response. Waiting for the loader, for a free
    /// connection and for connecting are part of it. Empty in a closed loop.
    pub response: Histogram,
    /// In an open loop, from the instant a request was due to its first byte about to be written,
    /// in microseconds: whatever made it late. Empty in a closed loop.
    pub send_lag: Histogram,
    /// Times from connect(2) to established, in microseconds; one sample a connection.
    pub connect_time: Histogram,
    /// Times from established to the end of the TLS handshake, in microseconds; one sample for
    /// each handshake that succeeded.
    pub handshake_time: Histogram,
    /// TLS handshakes that resumed a session.
    pub handshakes_resumed: u64,
    /// Bytes read, heads and chunk framing included.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes of content in completed responses.
    pub body_bytes: u64,
    /// Completed exchanges by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Failed requests by class and errno.
    pub errors: Errors,
    /// Every connection and every request, in one place each.
    pub ledger: Ledger,
    /// The run second by second; its sums are those of the ledger.
    pub timeline: Timeline,
    /// What the load generator itself used.
    pub loader: Loader,
    /// The `Server` field of the first complete response.
    pub server_header: Option<String>,
    /// Bytes of content of the first complete response; `None` if there was none.
    pub document_length: Option<u64>,
    first_response_at: Option<Duration>,
}

impl Summary {
    pub(crate) fn fold(
        plan: &Plan,
        stopped: StopReason,
        ran: Duration,
        tallies: Vec<Tally>,
        timeline: Timeline,
    ) -> Self {
        let mut summary = Self::empty(stopped);
        summary.timeline = timeline;
        let stopped_at = tallies.iter().filter_map(|tally| tally.stopped_at).max();
        for tally in tallies {
            summary.merge(Self::of_thread(tally, stopped));
        }
        let at_least = match (stopped, plan.duration()) {
            (StopReason::Finished, None) => Duration::ZERO,
            // Two limits: the count came first if nothing is left of it.
            (StopReason::Finished, Some(_)) if plan.requests().is_some() && summary.unsent == 0 => {
                Duration::ZERO
            }
            (StopReason::Finished, Some(duration)) => duration,
            (StopReason::Unreachable | StopReason::Cancelled, _) => stopped_at.unwrap_or(ran),
        };
        summary.elapsed = summary.elapsed.max(at_least);
        summary
    }

    fn empty(stopped: StopReason) -> Self {
        Self {
            completed: 0,
            failed: 0,
            unsent: 0,
            elapsed: Duration::ZERO,
            stopped,
            latency: Histogram::up_to(MAX_LATENCY_US),
            response: Histogram::up_to(MAX_LATENCY_US),
            send_lag: Histogram::up_to(MAX_LATENCY_US),
            connect_time: Histogram::up_to(MAX_LATENCY_US),
            handshake_time: Histogram::up_to(MAX_LATENCY_US),
            handshakes_resumed: 0,
            bytes_read: 0,
            bytes_written: 0,
            body_bytes: 0,
            statuses: BTreeMap::new(),
            errors: Errors::default(),
            ledger: Ledger::new(),
            timeline: Timeline::default(),
            loader: Loader {
                threads: 0,
                cpu_time: Duration::ZERO,
                per_thread: Vec::new(),
                turns: Histogram::up_to(MAX_LATENCY_US),
                lag: Histogram::up_to(MAX_LATENCY_US),
            },
            server_header: None,
            document_length: None,
            first_response_at: None,
        }
    }

    fn of_thread(tally: Tally, stopped: StopReason) -> Self {
        let codes = (0u16..).zip(tally.statuses.iter().copied());
        let first = tally.first_response;
        Self {
            completed: tally.ledger.completed,
            failed: tally.ledger.failed,
            unsent: tally.ledger.unsent,
            elapsed: tally.last_outcome,
            latency: tally.latency,
            response: tally.response,
            send_lag: tally.send_lag,
            connect_time: tally.connect_time,
            handshake_time: tally.handshake_time,
            handshakes_resumed: tally.handshakes_resumed,
            bytes_read: tally.bytes_read,
            bytes_written: tally.bytes_written,
            body_bytes: tally.body_bytes,
            statuses: codes.filter(|(_, count)| *count > 0).collect(),
            errors: tally.errors,
            ledger: tally.ledger,
            loader: Loader {
                threads: 1,
                cpu_time: tally.used.cpu_time,
                per_thread: vec![tally.used],
                turns: tally.turns,
                lag: tally.loader_lag,
            },
            document_length: first.as_ref().map(|first| first.document_length),
            first_response_at: first.as_ref().map(|first| first.at),
            server_header: first.and_then(|first| first.server),
            ..Self::empty(stopped)
        }
    }

    /// Adds another part that ran at the same time against the same target: counts and times used
    /// are added, `elapsed` is the longer one, the first response the earlier one. Merging in any
    /// order gives the same result.
    pub fn merge(&mut self, other: Self) {
        let first = |at: Option<Duration>| at.unwrap_or(Duration::MAX);
        if first(other.first_response_at) < first(self.first_response_at) {
            self.first_response_at = other.first_response_at;
            self.document_length = other.document_length;
            self.server_header = other.server_header;
        }
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.completed += other.completed;
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.stopped = self.stopped.max(other.stopped);
        self.latency.merge(&other.latency);
        self.response.merge(&other.response);
        self.send_lag.merge(&other.send_lag);
        self.connect_time.merge(&other.connect_time);
        self.handshake_time.merge(&other.handshake_time);
        self.handshakes_resumed += other.handshakes_resumed;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.body_bytes += other.body_bytes;
        self.errors.merge(other.errors);
        self.ledger.merge(&other.ledger);
        self.loader.threads += other.loader.threads;
        self.loader.cpu_time += other.loader.cpu_time;
        self.loader.per_thread.extend(other.loader.per_thread);
        self.loader.turns.merge(&other.loader.turns);
        self.loader.lag.merge(&other.loader.lag);
        self.timeline.merge(other.timeline);
    }

    /// Checks every sum: those of the ledger, of the timeline against it, and of errors, statuses
    /// and histograms against both.
    ///
    /// # Errors
    ///
    /// The first sum that does not hold, with both of its sides: a defect of the load generator.
    pub fn check(&self) -> Result<(), Imbalance> {
        self.ledger.check()?;
        let sums = [
            ("failed = sum of errors", self.ledger.failed, self.errors.total()),
            ("completed = sum of statuses", self.ledger.completed, self.statuses.values().sum()),
            ("completed = service times", self.ledger.completed, self.latency.count()),
            ("opened = connect times", self.ledger.opened, self.connect_time.count()),
        ];
        if let Some((sum, left, right)) = sums.into_iter().find(|(_, left, right)| left != right) {
            return Err(Imbalance { sum, left, right });
        }
        let in_slices: u64 = self.timeline.slices().iter().map(|s| s.latency.count()).sum();
        if in_slices != self.ledger.completed {
            let sum = "completed = service times over the timeline";
            return Err(Imbalance { sum, left: self.ledger.completed, right: in_slices });
        }
        self.timeline.check(&self.counts())
    }

    fn counts(&self) -> Counts {
        let mut statuses = [0; 10];
        for (status, count) in &self.statuses {
            statuses[usize::from(status / 100 % 10)] += count;
        }
        self.ledger.counts(&self.errors, statuses, [self.bytes_read, self.bytes_written])
    }

    /// Completed requests per second of [`elapsed`](Self::elapsed), which reaches to the last one of
    /// them; zero if no time passed.
    #[expect(clippy::cast_precision_loss, reason = "a rate is an approximation")]
    pub fn requests_per_second(&self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        self.completed as f64 / self.elapsed.as_secs_f64()
    }

    /// Requests carried by each connection that was opened, zero included.
    pub fn requests_per_connection(&self) -> &Histogram {
        &self.ledger.requests_per_connection
    }

    /// Whether not one connection could be opened although some were tried: the numbers describe
    /// the way to the target and not the target.
    pub fn is_unreachable(&self) -> bool {
        let mut failed = self.ledger.connect_failed_total() + self.ledger.connect_timed_out;
        if self.stopped == StopReason::Finished {
            // They had the whole run and its grace.
            failed += self.ledger.connect_abandoned;
        }
        self.ledger.opened == 0 && failed > 0
    }
}
