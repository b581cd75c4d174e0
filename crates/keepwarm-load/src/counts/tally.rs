//! The counters of one thread. Owns plain additions into memory allocated before the run, so that
//! counting a request allocates nothing.

use std::time::Duration;

use super::latencies::Latencies;
use super::sketch::Filling;
use super::{Counts, Errors, Exchange, Histogram, Ledger, MAX_LATENCY_US, Misses, Notables, Rows};

/// Number of status codes: they have three digits.
const STATUS_CODES: usize = 1000;

/// The earliest complete response of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstResponse {
    pub(crate) at: Duration,
    pub(crate) server: Option<String>,
    /// The `Location` field, if the response is a redirect.
    pub(crate) location: Option<String>,
    pub(crate) document_length: u64,
}

/// Resources that one thread of the load generator used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ThreadUse {
    /// Processor time, in user and kernel mode.
    pub cpu_time: Duration,
    /// From the start of the run to the end of the thread.
    pub ran: Duration,
    /// Time for which the thread was ready to run but had no core. `None` where the kernel does
    /// not say.
    pub waited_for_core: Option<Duration>,
    /// Number of wake-ups for events.
    pub wakeups: u64,
    /// Number of events. Many events per wake-up mean that events queued.
    pub events: u64,
}

/// All counters of one thread. Distributions called `second_…` hold the current second only.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) ledger: Ledger,
    /// Service times.
    pub(crate) latency: Latencies,
    pub(crate) second_latency: Filling,
    /// Response times of an open loop, in microseconds: from the instant a request was due.
    pub(crate) response: Histogram,
    pub(crate) second_response: Filling,
    /// Time from the instant a request was due until its first byte is about to be written.
    pub(crate) send_lag: Histogram,
    pub(crate) second_send_lag: Filling,
    /// Time from the instant a request was due until this thread noticed it.
    pub(crate) loader_lag: Histogram,
    /// Time from each heartbeat until this thread noticed it, in microseconds.
    pub(crate) lateness: Histogram,
    /// Times from connect(2) to established, in microseconds.
    pub(crate) connect_time: Histogram,
    /// Times from established to the end of the TLS handshake, in microseconds.
    pub(crate) handshake_time: Histogram,
    pub(crate) handshakes_resumed: u64,
    pub(crate) errors: Errors,
    /// Completed exchanges by status code.
    pub(crate) statuses: Box<[u64]>,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) body_bytes: u64,
    pub(crate) first_response: Option<FirstResponse>,
    pub(crate) notables: Notables,
    /// Misses of each expectation.
    pub(crate) misses: Misses,
    /// Rows by name of the request; empty if the plan keeps none.
    pub(crate) by_request: Rows,
    /// Rows by address; empty if the plan has one.
    pub(crate) by_address: Rows,
    /// The exchange of a plan that shows one.
    pub(crate) exchange: Option<Box<Exchange>>,
    /// Time of the last completion or failure of a request, since the start of the run.
    pub(crate) last_outcome: Duration,
    /// True if a stop from outside came while work was left.
    pub(crate) cut_short: bool,
    /// Time at which a stop from outside was seen, since the start of the run.
    pub(crate) stopped_at: Option<Duration>,
    /// Times from a wake-up until its events are handled, in microseconds.
    pub(crate) batch_times: Histogram,
    /// Resources that the thread itself used.
    pub(crate) used: ThreadUse,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            ledger: Ledger::new(),
            latency: Latencies::new(),
            second_latency: Filling::new(),
            response: Histogram::up_to(MAX_LATENCY_US),
            second_response: Filling::new(),
            send_lag: Histogram::up_to(MAX_LATENCY_US),
            second_send_lag: Filling::new(),
            loader_lag: Histogram::up_to(MAX_LATENCY_US),
            lateness: Histogram::up_to(MAX_LATENCY_US),
            connect_time: Histogram::up_to(MAX_LATENCY_US),
            handshake_time: Histogram::up_to(MAX_LATENCY_US),
            handshakes_resumed: 0,
            errors: Errors::default(),
            statuses: vec![0; STATUS_CODES].into_boxed_slice(),
            bytes_read: 0,
            bytes_written: 0,
            body_bytes: 0,
            first_response: None,
            notables: Notables::default(),
            misses: Misses::default(),
            by_request: Rows::default(),
            by_address: Rows::default(),
            exchange: None,
            last_outcome: Duration::ZERO,
            cut_short: false,
            stopped_at: None,
            batch_times: Histogram::up_to(MAX_LATENCY_US),
            used: ThreadUse::default(),
        }
    }

    /// Counts one wake-up with its events, which took `took_us` microseconds to handle.
    #[inline]
    pub(crate) fn count_wakeup(&mut self, events: usize, took_us: u64) {
        self.used.wakeups += 1;
        self.used.events += events as u64;
        self.batch_times.record(took_us);
    }

    /// Returns all counters as they stand now.
    pub(crate) fn counts(&self) -> Counts {
        let mut statuses = [0; 10];
        for (hundred, digit) in self.statuses.chunks(100).zip(&mut statuses) {
            *digit = hundred.iter().sum();
        }
        self.ledger.counts(&self.errors, statuses, [self.bytes_read, self.bytes_written])
    }
}
