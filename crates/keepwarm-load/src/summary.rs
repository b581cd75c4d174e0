//! The result of a run. Owns the fold of the threads' tallies and the merge of parts; prints and
//! formats nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::counts::{
    Counts, Errors, Exchange, Histogram, Imbalance, Ledger, MAX_LATENCY_US, Misses, Notable,
    Notables, Row, Rows, Tally, ThreadUse, Timeline,
};
use crate::plan::{Expectation, Plan};

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// The count or the duration of the plan was reached.
    Finished,
    /// No connection could be opened: three attempts per connection asked for had failed.
    Unreachable,
    /// [`Stop::stop`](crate::Stop::stop) was called.
    Cancelled,
}

/// Resources that the load generator used: the evidence for or against its own numbers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loader {
    /// Number of threads that ran.
    pub threads: usize,
    /// Processor time of all threads together, in user and kernel mode.
    pub cpu_time: Duration,
    /// Resources of each thread.
    pub per_thread: Vec<ThreadUse>,
    /// Time from a wake-up until its batch of events is handled, in microseconds: one sample per
    /// wake-up. A response may have waited that long behind the others of its batch, and the wait
    /// counts as service time. A closed loop may add half a per cent by a short sleep before it
    /// reads events.
    pub batch_times: Histogram,
    /// In an open loop, time from the instant a request was due until a thread noticed it, in
    /// microseconds: the part of [`Summary::send_lag`] that the loader itself causes. Empty in a
    /// closed loop.
    pub lag: Histogram,
    /// Time from each heartbeat of a thread until the thread noticed it, in microseconds: about a
    /// hundred samples a second per thread, in both loops. A heartbeat is a timer of the thread's
    /// own, which no server can delay; so this is the delay that the loader adds to each service
    /// time by lacking a core, by being stopped, or by work on other responses. A delay of many
    /// heartbeats is a sample for each of them.
    pub lateness: Histogram,
}

/// The result of a run.
///
/// `completed + failed + unsent` is the number of requests that were scheduled, and the number
/// that the plan asked for, if it asked for one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// Requests whose response was complete, with any status.
    pub completed: u64,
    /// Requests that failed; [`errors`](Self::errors) says how. No histogram of times includes
    /// failed requests: if some had no answer in time, percentiles look better than with them.
    pub failed: u64,
    /// Requests that were scheduled and never sent. In a plan with a count: requests that the run
    /// did not reach because it ended early. In an open loop: requests that were due while the
    /// backlog was full, or were in the backlog when the run ended.
    pub unsent: u64,
    /// Time from the start to the last request that completed or failed; at least the plan's
    /// duration, or the time until a stop. Does not include the wait for requests that were never
    /// answered ([`ErrorClass::Unanswered`](crate::ErrorClass::Unanswered)).
    pub elapsed: Duration,
    /// The reason for which the run ended.
    pub stopped: StopReason,
    /// Service times of completed requests, in microseconds: from the first byte of the request
    /// about to be written to the last byte of the response read. Connecting is not included.
    pub latency: Histogram,
    /// The same service times, apart by the first digit of the status.
    pub latency_by_class: BTreeMap<u8, Histogram>,
    /// Response times of completed requests in an open loop, in microseconds: from the instant the
    /// request was due to the last byte of its response. Includes waiting for the loader, for a
    /// free connection and for connecting. Empty in a closed loop.
    pub response: Histogram,
    /// In an open loop, time from the instant a request was due until its first byte is about to be
    /// written, in microseconds, for every cause of delay. Empty in a closed loop.
    pub send_lag: Histogram,
    /// Times from connect(2) to established, in microseconds; one sample per connection.
    pub connect_time: Histogram,
    /// Times from established to the end of the TLS handshake, in microseconds; one sample per
    /// successful handshake.
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
    /// Every connection and every request, each in one counter.
    pub ledger: Ledger,
    /// The run second by second. The sums over its slices equal the ledger.
    pub timeline: Timeline,
    /// Resources that the load generator used.
    pub loader: Loader,
    /// The `Server` field of the first complete response.
    pub server_header: Option<String>,
    /// Bytes of content of the first complete response; `None` if there was none.
    pub document_length: Option<u64>,
    /// The `Location` field of the first complete response, if that was a redirect (3xx).
    pub location: Option<String>,
    /// The expectations of the plan, with their misses and the first miss in words. A response that
    /// misses several is a miss of the first of them.
    pub expectations: Vec<(Expectation, u64, Option<String>)>,
    /// Rows by name of the request, with the sum of the weights of each; empty unless requests were
    /// given as specs.
    pub rows: Vec<(String, u64, Row)>,
    /// Rows by address of the target; empty if there was one address.
    pub by_address: Vec<(String, Row)>,
    /// Completed requests with the longest service times, the longest first, at most ten.
    pub slowest: Vec<Notable>,
    /// The first requests that failed, in the order of time, at most ten.
    pub first_failures: Vec<Notable>,
    /// The exchange of a plan that [shows it](crate::PlanBuilder::show_exchange).
    pub exchange: Option<Box<Exchange>>,
    first_response_at: Option<Duration>,
}

/// The details of all threads.
#[derive(Debug, Default)]
struct Details {
    notables: Notables,
    misses: Misses,
    by_request: Rows,
    by_address: Rows,
    exchange: Option<Box<Exchange>>,
}

impl Details {
    fn take(&mut self, tally: &mut Tally) {
        self.notables.merge(std::mem::take(&mut tally.notables));
        self.misses.merge(std::mem::take(&mut tally.misses));
        self.by_request.merge(&std::mem::take(&mut tally.by_request));
        self.by_address.merge(&std::mem::take(&mut tally.by_address));
        self.exchange = self.exchange.take().or_else(|| tally.exchange.take());
    }
}

impl Summary {
    pub(crate) fn fold(
        plan: &Plan,
        stopped: StopReason,
        ran: Duration,
        tallies: Vec<Tally>,
        timeline: Timeline,
        addresses: Vec<String>,
    ) -> Self {
        let mut details = Details::default();
        let mut summary = Self::empty(stopped);
        summary.timeline = timeline;
        let stopped_at = tallies.iter().filter_map(|tally| tally.stopped_at).max();
        for mut tally in tallies {
            details.take(&mut tally);
            summary.merge(Self::of_thread(tally, stopped));
        }
        let at_least = match (stopped, plan.duration()) {
            (StopReason::Finished, None) => Duration::ZERO,
            // Limits on requests and on time: without unsent requests, the first limit ended the
            // run.
            (StopReason::Finished, Some(_)) if plan.requests().is_some() && summary.unsent == 0 => {
                Duration::ZERO
            }
            (StopReason::Finished, Some(duration)) => duration,
            (StopReason::Unreachable | StopReason::Cancelled, _) => stopped_at.unwrap_or(ran),
        };
        summary.elapsed = summary.elapsed.max(at_least);
        summary.add_details(plan, details, addresses);
        summary
    }

    fn add_details(&mut self, plan: &Plan, details: Details, addresses: Vec<String>) {
        let misses = |(index, expectation): (usize, &Expectation)| {
            let (count, example) = details.misses.get(index);
            (expectation.clone(), count, example)
        };
        self.expectations = plan.expectations().iter().enumerate().map(misses).collect();
        if plan.keeps_rows() {
            let rows = details.by_request.into_rows(plan.rows().len());
            let named = plan.rows().iter().cloned().zip(rows);
            self.rows = named.map(|((name, weight), row)| (name, weight, row)).collect();
        }
        if plan.keeps_addresses() {
            let rows = details.by_address.into_rows(addresses.len());
            self.by_address = addresses.into_iter().zip(rows).collect();
        }
        self.slowest = details.notables.slowest;
        self.first_failures = details.notables.failures;
        self.exchange = details.exchange;
    }

    /// Returns the result of a run that has counted nothing.
    #[must_use]
    pub fn empty(stopped: StopReason) -> Self {
        Self {
            completed: 0,
            failed: 0,
            unsent: 0,
            elapsed: Duration::ZERO,
            stopped,
            latency: Histogram::up_to(MAX_LATENCY_US),
            latency_by_class: BTreeMap::new(),
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
                batch_times: Histogram::up_to(MAX_LATENCY_US),
                lag: Histogram::up_to(MAX_LATENCY_US),
                lateness: Histogram::up_to(MAX_LATENCY_US),
            },
            server_header: None,
            document_length: None,
            location: None,
            expectations: Vec::new(),
            rows: Vec::new(),
            by_address: Vec::new(),
            slowest: Vec::new(),
            first_failures: Vec::new(),
            exchange: None,
            first_response_at: None,
        }
    }

    fn of_thread(tally: Tally, stopped: StopReason) -> Self {
        let codes = (0u16..).zip(tally.statuses.iter().copied());
        let first = tally.first_response;
        let latency_by_class = tally.latency.into_map();
        let mut latency = Histogram::up_to(MAX_LATENCY_US);
        latency_by_class.values().for_each(|times| latency.merge(times));
        Self {
            completed: tally.ledger.completed,
            failed: tally.ledger.failed,
            unsent: tally.ledger.unsent,
            elapsed: tally.last_outcome,
            latency,
            latency_by_class,
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
                batch_times: tally.batch_times,
                lag: tally.loader_lag,
                lateness: tally.lateness,
            },
            document_length: first.as_ref().map(|first| first.document_length),
            first_response_at: first.as_ref().map(|first| first.at),
            location: first.as_ref().and_then(|first| first.location.clone()),
            server_header: first.and_then(|first| first.server),
            ..Self::empty(stopped)
        }
    }

    /// Adds another part that ran at the same time against the same target. Counts and used times
    /// are added; `elapsed` becomes the longer one, the first response the earlier one. The order
    /// of merging does not matter. Rows, expectations and single requests are those of the part that
    /// has them.
    pub fn merge(&mut self, other: Self) {
        let first = |at: Option<Duration>| at.unwrap_or(Duration::MAX);
        if first(other.first_response_at) < first(self.first_response_at) {
            self.first_response_at = other.first_response_at;
            self.document_length = other.document_length;
            self.server_header = other.server_header;
            self.location = other.location;
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
        for (class, times) in other.latency_by_class {
            let empty = || Histogram::up_to(MAX_LATENCY_US);
            self.latency_by_class.entry(class).or_insert_with(empty).merge(&times);
        }
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
        self.loader.batch_times.merge(&other.loader.batch_times);
        self.loader.lag.merge(&other.loader.lag);
        self.loader.lateness.merge(&other.loader.lateness);
        self.timeline.merge(other.timeline);
    }

    /// Checks every sum: within the ledger, of the timeline against the ledger, and of errors,
    /// statuses and histograms against both.
    ///
    /// # Errors
    ///
    /// The first sum that does not hold, with both of its sides: a defect of the load generator.
    pub fn check(&self) -> Result<(), Imbalance> {
        self.ledger.check()?;
        self.ledger.streams.check(&self.errors, self.ledger.opened)?;
        let in_slices = self.timeline.slices().iter().map(|slice| slice.latency.count()).sum();
        let completed = self.ledger.completed;
        Imbalance::check([
            ("failed = sum of errors", self.ledger.failed, self.errors.total()),
            ("completed = sum of statuses", completed, self.statuses.values().sum()),
            ("completed = service times", completed, self.latency.count()),
            ("opened = connect times", self.ledger.opened, self.connect_time.count()),
            ("completed = service times over the timeline", completed, in_slices),
        ])?;
        self.check_details()?;
        self.timeline.check(&self.counts())
    }

    fn check_details(&self) -> Result<(), Imbalance> {
        let (completed, failed) = (self.ledger.completed, self.ledger.failed);
        let missed = self.expectations.iter().map(|(_, misses, _)| misses).sum();
        Imbalance::check([("missed = misses of each expectation", self.ledger.missed, missed)])?;
        let rows = || self.rows.iter().map(|(_, _, row)| row);
        if !self.rows.is_empty() {
            Imbalance::check([
                ("completed = sum by request", completed, rows().map(|row| row.completed).sum()),
                ("failed = sum by request", failed, rows().map(|row| row.failed).sum()),
            ])?;
        }
        let rows = || self.by_address.iter().map(|(_, row)| row);
        if !self.by_address.is_empty() {
            Imbalance::check([
                ("completed = sum by address", completed, rows().map(|row| row.completed).sum()),
                ("failed = sum by address", failed, rows().map(|row| row.failed).sum()),
                ("opened = sum by address", self.ledger.opened, rows().map(|row| row.opened).sum()),
            ])?;
        }
        Ok(())
    }

    fn counts(&self) -> Counts {
        let mut statuses = [0; 10];
        for (status, count) in &self.statuses {
            statuses[usize::from(status / 100 % 10)] += count;
        }
        self.ledger.counts(&self.errors, statuses, [self.bytes_read, self.bytes_written])
    }

    /// Returns completed requests per second of [`elapsed`](Self::elapsed), which ends with the
    /// last outcome of a request; zero if no time passed.
    #[expect(clippy::cast_precision_loss, reason = "a rate is an approximation")]
    pub fn requests_per_second(&self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        self.completed as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns the requests carried by each opened connection, zero included.
    pub fn requests_per_connection(&self) -> &Histogram {
        &self.ledger.requests_per_connection
    }

    /// Returns true if connections were tried and none could be opened: the numbers then describe
    /// the way to the target, not the target.
    pub fn is_unreachable(&self) -> bool {
        let mut failed = self.ledger.connect_failed_total() + self.ledger.connect_timed_out;
        if self.stopped == StopReason::Finished {
            // Abandoned attempts had the whole run and its grace.
            failed += self.ledger.connect_abandoned;
        }
        self.ledger.opened == 0 && failed > 0
    }
}
