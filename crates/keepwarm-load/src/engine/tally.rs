//! What one thread counts. Owns the counters only: every record is a plain addition into memory
//! that exists before the run, so that counting allocates nothing per request.

use std::time::Duration;

use crate::failure::Errors;
use crate::histogram::{Histogram, MAX_LATENCY_US};
use crate::ledger::Ledger;
use crate::sketch::Filling;
use crate::summary::{FirstResponse, ThreadUse};
use crate::timeline::Counts;

/// Status codes are three digits.
const STATUS_CODES: usize = 1000;

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) ledger: Ledger,
    /// Service times, in microseconds.
    pub(crate) latency: Histogram,
    /// The same of the current second.
    pub(crate) second_latency: Filling,
    /// Response times of an open loop: from the instant a request was due, in microseconds.
    pub(crate) response: Histogram,
    pub(crate) second_response: Filling,
    /// From the instant a request was due to its first byte about to be written.
    pub(crate) send_lag: Histogram,
    pub(crate) second_send_lag: Filling,
    /// From the instant a request was due to this thread noticing it.
    pub(crate) loader_lag: Histogram,
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
    /// The last request that completed or failed, since the start of the run.
    pub(crate) last_outcome: Duration,
    /// A stop from outside came while there was work left.
    pub(crate) cut_short: bool,
    /// When it was seen, since the start of the run.
    pub(crate) stopped_at: Option<Duration>,
    /// Times from a wake-up to the end of what it brought, in microseconds.
    pub(crate) turns: Histogram,
    /// What the thread itself used.
    pub(crate) used: ThreadUse,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            ledger: Ledger::new(),
            latency: Histogram::up_to(MAX_LATENCY_US),
            second_latency: Filling::new(),
            response: Histogram::up_to(MAX_LATENCY_US),
            second_response: Filling::new(),
            send_lag: Histogram::up_to(MAX_LATENCY_US),
            second_send_lag: Filling::new(),
            loader_lag: Histogram::up_to(MAX_LATENCY_US),
            connect_time: Histogram::up_to(MAX_LATENCY_US),
            handshake_time: Histogram::up_to(MAX_LATENCY_US),
            handshakes_resumed: 0,
            errors: Errors::default(),
            statuses: vec![0; STATUS_CODES].into_boxed_slice(),
            bytes_read: 0,
            bytes_written: 0,
            body_bytes: 0,
            first_response: None,
            last_outcome: Duration::ZERO,
            cut_short: false,
            stopped_at: None,
            turns: Histogram::up_to(MAX_LATENCY_US),
            used: ThreadUse::default(),
        }
    }

    #[inline]
    pub(super) fn count_turn(&mut self, events: usize, took_us: u64) {
        self.used.wakeups += 1;
        self.used.events += events as u64;
        self.turns.record(took_us);
    }

    /// Every counter as it stands now.
    pub(super) fn counts(&self) -> Counts {
        let mut statuses = [0; 10];
        for (hundred, digit) in self.statuses.chunks(100).zip(&mut statuses) {
            *digit = hundred.iter().sum();
        }
        self.ledger.counts(&self.errors, statuses, [self.bytes_read, self.bytes_written])
    }
}

/// Whole microseconds, rounded to the nearest; up to half a million years.
#[inline]
pub(super) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000) + u64::from((duration.subsec_nanos() + 500) / 1000)
}
