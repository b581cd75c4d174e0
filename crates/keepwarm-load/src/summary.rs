//! What a run comes to. Owns the fold of the threads' tallies and the merge of parts; prints and
//! formats nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::Tally;
use crate::failure::Errors;
use crate::histogram::{Histogram, MAX_LATENCY_US};
use crate::ledger::Ledger;
use crate::plan::Plan;

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

/// What the load generator itself used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loader {
    /// Threads that ran.
    pub threads: usize,
    /// Processor time of these threads together, in user and kernel mode.
    pub cpu_time: Duration,
}

/// The result of a run.
///
/// `completed + failed + unfinished` is the number of requests the run released, and with
/// `unsent` the number the plan asked for, if it asked for one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// Requests whose response was complete, whatever its status.
    pub completed: u64,
    /// Requests that failed; [`errors`](Self::errors) says how.
    pub failed: u64,
    /// Requests in flight when the run ended: at the end of a duration and its grace, or at a
    /// stop. They are in no histogram.
    pub unfinished: u64,
    /// Requests of a plan with a count that were never released, because the run ended early.
    pub unsent: u64,
    /// From the start to the last request that completed or failed; not less than the plan's
    /// duration, or than the time until a stop.
    pub elapsed: Duration,
    /// Why the run ended.
    pub stopped: StopReason,
    /// Service times of completed requests, in microseconds: first byte of the request about to
    /// be written, to last byte of the response read. Connecting is not part of it.
    pub latency: Histogram,
    /// Times from connect(2) to established, in microseconds; one sample a connection.
    pub connect_time: Histogram,
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
    ) -> Self {
        let mut summary = Self::empty(stopped);
        for tally in tallies {
            summary.merge(Self::of_thread(tally, stopped));
        }
        summary.unsent = plan.requests().map_or(0, |n| n - summary.ledger.scheduled);
        let at_least = match (stopped, plan.duration()) {
            (StopReason::Finished, None) => Duration::ZERO,
            // Two limits: the count came first if nothing is left of it.
            (StopReason::Finished, Some(_)) if plan.requests().is_some() && summary.unsent == 0 => {
                Duration::ZERO
            }
            (StopReason::Finished, Some(duration)) => duration,
            (StopReason::Unreachable | StopReason::Cancelled, _) => ran,
        };
        summary.elapsed = summary.elapsed.max(at_least);
        summary
    }

    fn empty(stopped: StopReason) -> Self {
        Self {
            completed: 0,
            failed: 0,
            unfinished: 0,
            unsent: 0,
            elapsed: Duration::ZERO,
            stopped,
            latency: Histogram::up_to(MAX_LATENCY_US),
            connect_time: Histogram::up_to(MAX_LATENCY_US),
            bytes_read: 0,
            bytes_written: 0,
            body_bytes: 0,
            statuses: BTreeMap::new(),
            errors: Errors::default(),
            ledger: Ledger::new(),
            loader: Loader { threads: 0, cpu_time: Duration::ZERO },
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
            unfinished: tally.ledger.unfinished,
            elapsed: tally.last_outcome,
            latency: tally.latency,
            connect_time: tally.connect_time,
            bytes_read: tally.bytes_read,
            bytes_written: tally.bytes_written,
            body_bytes: tally.body_bytes,
            statuses: codes.filter(|(_, count)| *count > 0).collect(),
            errors: tally.errors,
            ledger: tally.ledger,
            loader: Loader { threads: 1, cpu_time: tally.cpu_time },
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
        self.unfinished += other.unfinished;
        self.unsent += other.unsent;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.stopped = self.stopped.max(other.stopped);
        self.latency.merge(&other.latency);
        self.connect_time.merge(&other.connect_time);
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.body_bytes += other.body_bytes;
        self.errors.merge(other.errors);
        self.ledger.merge(&other.ledger);
        self.loader.threads += other.loader.threads;
        self.loader.cpu_time += other.loader.cpu_time;
    }

    /// Completed requests per second of [`elapsed`](Self::elapsed); zero if no time passed.
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
        let failed = self.ledger.connect_failed_total() + self.ledger.connect_timed_out;
        self.ledger.opened == 0 && failed > 0
    }
}
