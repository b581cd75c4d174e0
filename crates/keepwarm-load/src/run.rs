//! A run: its threads, its progress, its stop. Starts one engine per thread and folds their
//! tallies at the end; the engine does the work.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::counts::{Slice, Tally, Timeline};
use crate::engine::{Engine, Running, Shared};
use crate::pacer;
use crate::plan::Plan;
use crate::summary::{StopReason, Summary};

/// Memory of a thread beside its connections: its stack, which the kernel reserves at once, its
/// histograms and its buffers.
const MEMORY_PER_THREAD: usize = 8 << 20;

/// Refuses a run for which there is no memory (`ulimit -v`), before an allocation that fails ends
/// the process.
fn check_memory(connections: &[usize], streams: usize) -> io::Result<()> {
    let of_one = Engine::bytes_per_connection(streams);
    let of_slots = connections.iter().sum::<usize>().saturating_mul(of_one);
    let needed = connections.len().saturating_mul(MEMORY_PER_THREAD).saturating_add(of_slots);
    // Reserved and given back: the kernel says whether it would fit.
    match Vec::<u8>::new().try_reserve_exact(needed) {
        Ok(()) => Ok(()),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "there is no memory for {} threads and {} connections, which need {} MiB: raise the \
                 limit (ulimit -v), or ask for fewer",
                connections.len(),
                connections.iter().sum::<usize>(),
                needed >> 20
            ),
        )),
    }
}

/// Says which limits a thread has met that could not be created.
fn no_thread(thread: usize, threads: usize, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!(
            "thread {} of {threads} cannot be created ({error}): raise the limit on processes \
             (ulimit -u) or on memory (ulimit -v), or ask for fewer threads",
            thread + 1
        ),
    )
}

/// Looks the host up each time `ttl` has passed, until the run has ended. A lookup may take as long as
/// the resolver waits, so the run does not wait for the thread.
fn look_up_again(plan: &Arc<Plan>, shared: &Arc<Shared>, ttl: Duration) {
    let (plan, shared) = (Arc::clone(plan), Arc::clone(shared));
    let look_up = move || {
        while !shared.wait_for_end(ttl) {
            if let Some(endpoints) = plan.look_up() {
                shared.backends.replace(&endpoints);
            }
        }
    };
    // Without the thread the addresses stay as they are.
    let _ = std::thread::Builder::new().name("load-dns".to_owned()).spawn(look_up);
}

/// Progress of a run. Each number is right for some instant of the last batch of events, and each
/// number may belong to another instant.
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
    /// Time since the start of the run.
    pub elapsed: Duration,
}

/// Stops a run from another thread, or from a signal handler that only sets a flag.
#[derive(Debug, Clone)]
pub struct Stop {
    shared: Arc<Shared>,
}

impl Stop {
    /// Asks the run to end. Within a tenth of a second it begins no further request; requests in
    /// flight have the same grace as at the end of a [duration](crate::PlanBuilder::duration). Then
    /// [`Run::wait`] returns the summary up to that point. A second call, or a call after the end,
    /// does nothing.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Ends the run within a tenth of a second, without a grace: requests in flight fail as
    /// unanswered.
    pub fn abort(&self) {
        self.shared.abort();
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
    /// Starts the threads of `plan`. From here on the threads dial, send and count by themselves.
    ///
    /// # Errors
    ///
    /// The operating system gives no event queue, no thread or no memory: too many descriptors are
    /// open, too many processes run, or a limit is too small. The error says which limit to raise.
    /// Nothing runs then.
    pub fn start(plan: Plan) -> io::Result<Self> {
        let connections = pacer::even(plan.concurrency(), plan.threads());
        check_memory(&connections, if plan.is_http2() { plan.streams() } else { 0 })?;
        let started = Instant::now();
        let wanted = plan.requests().unwrap_or(u64::MAX).min(plan.concurrency() as u64);
        let shared =
            Arc::new(Shared::new(connections.len(), wanted, plan.is_open_loop(), plan.endpoints()));
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
            engines.push((engine, Running::new(&shared)));
        }
        if let Some(ttl) = plan.dns_ttl() {
            look_up_again(&plan, &shared, ttl);
        }
        let mut run = Self { plan, shared, threads: Vec::with_capacity(engines.len()), started };
        for (thread, (engine, running)) in engines.into_iter().enumerate() {
            let builder = std::thread::Builder::new().name(format!("load-{thread}"));
            let work = move || {
                let _running = running;
                engine.run()
            };
            match builder.spawn(work) {
                Ok(handle) => run.threads.push(handle),
                Err(error) => {
                    run.stop().abort();
                    run.join();
                    return Err(no_thread(thread, connections.len(), &error));
                }
            }
        }
        Ok(run)
    }

    /// Returns the plan of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the start of the run: the instant from which its times and its schedule count.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns a handle that stops the run from elsewhere.
    pub fn stop(&self) -> Stop {
        Stop { shared: Arc::clone(&self.shared) }
    }

    /// Returns the progress of the run. Costs four reads per thread.
    pub fn progress(&self) -> Progress {
        Progress {
            completed: self.shared.sum(|cell| &cell.completed),
            failed: self.shared.sum(|cell| &cell.failed),
            open_connections: self.shared.sum(|cell| &cell.open),
            in_flight: self.shared.sum(|cell| &cell.in_flight),
            elapsed: self.started.elapsed(),
        }
    }

    /// Returns the last second that every thread has left, and its slice, for a live view. `None`
    /// within the first second. Costs a copy of one slice.
    pub fn last_second(&self) -> Option<(u64, Slice)> {
        self.shared.collector.last_whole_second()
    }

    /// Returns the whole seconds that every thread has left, and the sum of all that was handed in
    /// so far, for a view or a condition while the run goes on. Costs a copy of one slice.
    pub fn so_far(&self) -> (u64, Slice) {
        self.shared.collector.so_far()
    }

    /// Returns the seconds that were handed in so far, for a view while the run goes on. Costs a copy
    /// of all of them, for which the threads wait if they hand one in meanwhile.
    pub fn timeline(&self) -> Timeline {
        self.shared.collector.timeline()
    }

    /// Returns true if every thread has ended, so that [`wait`](Self::wait) returns at once.
    pub fn is_finished(&self) -> bool {
        self.wait_at_most(Duration::ZERO)
    }

    /// Waits until every thread has ended, but no longer than `most`. Returns true if they have.
    pub fn wait_at_most(&self, most: Duration) -> bool {
        self.shared.wait_for_end(most)
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
        } else if self.shared.is_unreachable() {
            StopReason::Unreachable
        } else {
            StopReason::Cancelled
        };
        let ran = self.started.elapsed();
        let timeline = self.shared.collector.take();
        let addresses = self.shared.backends.names();
        let summary = Summary::fold(&self.plan, reason, ran, tallies, timeline, addresses);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_memory_names_the_limit() {
        let error = check_memory(&[usize::MAX / 1024], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("ulimit -v"), "{error}");
        check_memory(&[1000; 4], 10).unwrap();
    }

    #[test]
    fn missing_thread_names_the_limits() {
        let error = no_thread(2, 8, &io::Error::from_raw_os_error(11));
        assert!(error.to_string().contains("thread 3 of 8"), "{error}");
        assert!(error.to_string().contains("ulimit -u"), "{error}");
    }
}
