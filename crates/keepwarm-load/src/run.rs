//! A run: its threads, its progress from outside, its stop. Owns what threads share, all of it
//! off the hot path; each thread's work is the engine's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Tally};
use crate::pacer;
use crate::plan::Plan;
use crate::summary::{StopReason, Summary};
use crate::timeline::{Collector, Slice};

/// Failed dials per connection asked for, none having succeeded, after which a target counts as
/// unreachable.
const FAILED_DIALS_PER_CONNECTION: u64 = 3;

/// One thread's published counts, on a cache line of its own: the thread writes them once a
/// batch, and nobody's reading slows another thread's writing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Cell {
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) in_flight: AtomicU64,
}

/// What the threads of a run, its owner and its stop handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    stopped: AtomicBool,
    aborted: AtomicBool,
    unreachable: AtomicBool,
    opened: AtomicBool,
    /// Dials that failed at every address, in the whole run.
    pub(crate) failed_dials: AtomicU64,
    unreachable_after: u64,
    cells: Box<[Cell]>,
    collector: Collector,
}

impl Shared {
    pub(crate) fn collector(&self) -> &Collector {
        &self.collector
    }

    pub(crate) fn cell(&self, thread: usize) -> &Cell {
        &self.cells[thread]
    }

    /// Nothing more is to be released.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Nothing more is to be waited for.
    #[inline]
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Relaxed) || self.unreachable.load(Relaxed)
    }

    pub(crate) fn note_opened(&self) {
        // Read first: after the first connection nobody writes to this line again.
        if !self.opened.load(Relaxed) {
            self.opened.store(true, Relaxed);
        }
    }

    /// Stops the run when so many dials have failed that the target is not there, rather than
    /// grinding through a million refusals.
    pub(crate) fn stop_if_unreachable(&self) {
        let failed = self.failed_dials.load(Relaxed);
        if failed >= self.unreachable_after && !self.opened.load(Relaxed) {
            self.unreachable.store(true, Relaxed);
        }
    }
}

/// How far a run is. Each number is right for some instant of the last batch of events; together
/// they need not belong to the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Requests whose response was complete.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Connections established and not closed.
    pub open_connections: u64,
    /// Requests that have been begun and have no outcome yet.
    pub in_flight: u64,
    /// Since the start of the run.
    pub elapsed: Duration,
}

/// Stops a run from another thread, or from the handler of a signal that only sets a flag.
#[derive(Debug, Clone)]
pub struct Stop {
    shared: Arc<Shared>,
}

impl Stop {
    /// Asks the run to end: from a tenth of a second later at most, no request is begun, and those
    /// in flight have the grace that they have at the end of a [duration](crate::PlanBuilder::duration).
    /// Then [`Run::wait`] returns the summary of what ran. Calling it again, or after the end, does
    /// nothing.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Relaxed);
    }

    /// Ends the run within a tenth of a second, without a grace: requests in flight have failed,
    /// unanswered.
    pub fn abort(&self) {
        self.shared.aborted.store(true, Relaxed);
    }
}

/// A run under way.
///
/// ```no_run
/// use keepwarm_load::{Plan, Run};
/// let plan = Plan::builder("http://127.0.0.1:8080/").requests(1000).concurrency(10).build()?;
/// let summary = Run::start(plan)?.wait();
/// summary.ledger.check()?;
/// assert_eq!(summary.completed + summary.failed, 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Run {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Tally>>,
    started: Instant,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("plan", &self.plan)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl Run {
    /// Starts the threads of `plan`. They dial, send and count by themselves from here on.
    ///
    /// # Errors
    ///
    /// The operating system gives no event queue or no thread: too many descriptors are open, or
    /// too many processes run. Nothing runs then.
    pub fn start(plan: Plan) -> std::io::Result<Self> {
        let started = Instant::now();
        let connections = pacer::even(plan.concurrency(), plan.threads());
        let wanted = plan.requests().unwrap_or(u64::MAX).min(plan.concurrency() as u64);
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            opened: AtomicBool::new(false),
            failed_dials: AtomicU64::new(0),
            unreachable_after: wanted * FAILED_DIALS_PER_CONNECTION,
            cells: connections.iter().map(|_| Cell::default()).collect(),
            collector: Collector::new(connections.len()),
        });
        let plan = Arc::new(plan);
        let mut engines = Vec::new();
        for (thread, &of_thread) in connections.iter().enumerate() {
            let (pacer, requests) = plan.pacer(thread, &connections);
            let most = requests.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
            let engine = Engine::new(
                Arc::clone(&plan),
                Arc::clone(&shared),
                thread,
                pacer,
                of_thread.min(most),
                started,
            )?;
            engines.push(engine);
        }
        let mut run = Self { plan, shared, threads: Vec::with_capacity(engines.len()), started };
        for (thread, engine) in engines.into_iter().enumerate() {
            let builder = std::thread::Builder::new().name(format!("load-{thread}"));
            match builder.spawn(move || engine.run()) {
                Ok(handle) => run.threads.push(handle),
                Err(error) => {
                    run.stop().abort();
                    run.join();
                    return Err(error);
                }
            }
        }
        Ok(run)
    }

    /// The plan that runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When it began: the instant from which its times, and the instants of its schedule, count.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// A handle that stops the run from elsewhere.
    pub fn stop(&self) -> Stop {
        Stop { shared: Arc::clone(&self.shared) }
    }

    /// How far the run is. Costs four reads a thread.
    pub fn progress(&self) -> Progress {
        let sum = |count: fn(&Cell) -> &AtomicU64| {
            self.shared.cells.iter().map(|cell| count(cell).load(Relaxed)).sum()
        };
        Progress {
            completed: sum(|cell| &cell.completed),
            failed: sum(|cell| &cell.failed),
            open_connections: sum(|cell| &cell.open),
            in_flight: sum(|cell| &cell.in_flight),
            elapsed: self.started.elapsed(),
        }
    }

    /// The last second that every thread has been through, and which one it is: what a live view
    /// shows. `None` within the first one. Costs a copy of one slice.
    pub fn last_second(&self) -> Option<(u64, Slice)> {
        self.shared.collector.last_whole_second()
    }

    /// Whether every thread has ended, so that [`wait`](Self::wait) returns at once.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end of the run.
    ///
    /// # Panics
    ///
    /// If a thread of the run has panicked, with its panic.
    pub fn wait(mut self) -> Summary {
        let tallies = self.join();
        let reason = if !tallies.iter().any(|tally| tally.cut_short) {
            // A stop that came too late has stopped nothing.
            StopReason::Finished
        } else if self.shared.unreachable.load(Relaxed) {
            StopReason::Unreachable
        } else {
            StopReason::Cancelled
        };
        let ran = self.started.elapsed();
        let timeline = self.shared.collector.take();
        let summary = Summary::fold(&self.plan, reason, ran, tallies, timeline);
        debug_assert_eq!(summary.check(), Ok(()));
        summary
    }

    fn join(&mut self) -> Vec<Tally> {
        let join = |handle: JoinHandle<Tally>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        self.threads.drain(..).map(join).collect()
    }
}
