//! State that the threads of a run share with its owner and its stop handles. Nothing here is
//! written on the hot path: a thread reads the stop flags and publishes its progress once a batch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backends::Backends;
use super::collector::Collector;
use crate::plan::Endpoint;

/// Failed dials per connection asked for, without one success, after which a target counts as
/// unreachable.
const FAILED_DIALS_PER_CONNECTION: u64 = 3;

/// The most of them in an open loop, which dials at its rate: three for each of its connections
/// would take seconds at ten requests a second.
const FAILED_DIALS_OF_OPEN_LOOP: u64 = 10;

/// Progress of one thread, on a cache line of its own: the thread writes it once a batch, and
/// readers do not slow the writes of other threads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ProgressCell {
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) in_flight: AtomicU64,
}

/// Stop flags, progress and timeline of a run.
#[derive(Debug)]
pub(crate) struct Shared {
    stopped: AtomicBool,
    aborted: AtomicBool,
    unreachable: AtomicBool,
    opened: AtomicBool,
    /// [`Running`] of threads that have not ended.
    running: (Mutex<usize>, Condvar),
    /// Dials of the whole run that failed at every address.
    failed_dials: AtomicU64,
    unreachable_after: u64,
    cells: Box<[ProgressCell]>,
    pub(crate) collector: Collector,
    pub(crate) backends: Backends,
}

impl Shared {
    /// Prepares for `threads` threads that open up to `connections` connections together, to
    /// `endpoints`.
    pub(crate) fn new(
        threads: usize,
        connections: u64,
        is_open_loop: bool,
        endpoints: &[Endpoint],
    ) -> Self {
        let failures = connections * FAILED_DIALS_PER_CONNECTION;
        let at_most = if is_open_loop { FAILED_DIALS_OF_OPEN_LOOP } else { u64::MAX };
        Self {
            stopped: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            opened: AtomicBool::new(false),
            running: (Mutex::new(0), Condvar::new()),
            failed_dials: AtomicU64::new(0),
            unreachable_after: failures.min(at_most),
            cells: (0..threads).map(|_| ProgressCell::default()).collect(),
            collector: Collector::new(threads),
            backends: Backends::new(endpoints),
        }
    }

    pub(crate) fn cell(&self, thread: usize) -> &ProgressCell {
        &self.cells[thread]
    }

    /// Returns the sum of one number over all threads.
    pub(crate) fn sum(&self, count: fn(&ProgressCell) -> &AtomicU64) -> u64 {
        self.cells.iter().map(|cell| count(cell).load(Relaxed)).sum()
    }

    /// Asks the threads to release no further request.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Asks the threads to end without waiting for requests in flight.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Relaxed);
    }

    fn running(&self) -> MutexGuard<'_, usize> {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all threads have ended, but no longer than `most`. Returns true if they have.
    pub(crate) fn wait_for_end(&self, most: Duration) -> bool {
        let running = self.running();
        let waited = self.running.1.wait_timeout_while(running, most, |running| *running > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    /// Returns true if no further request may be released.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Returns true if requests in flight are not to be waited for.
    #[inline]
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Relaxed) || self.is_unreachable()
    }

    pub(crate) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Relaxed)
    }

    pub(crate) fn note_opened(&self) {
        // Reads first: after the first connection no thread writes to this line again.
        if !self.opened.load(Relaxed) {
            self.opened.store(true, Relaxed);
        }
    }

    /// Counts a dial that failed at every address. Stops the run if so many dials have failed that
    /// the target is unreachable: grinding through a million refusals measures nothing.
    pub(crate) fn note_failed_dial(&self) {
        let failed = self.failed_dials.fetch_add(1, Relaxed) + 1;
        if failed >= self.unreachable_after && !self.opened.load(Relaxed) {
            self.unreachable.store(true, Relaxed);
        }
    }
}

/// A thread that has not ended, or was not started yet. Dropped with what the thread runs, by a panic too.
pub(crate) struct Running(Arc<Shared>);

impl Running {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        *shared.running() += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.0.running();
        *running -= 1;
        if *running == 0 {
            self.0.running.1.notify_all();
        }
    }
}
