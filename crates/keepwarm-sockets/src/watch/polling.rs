//! The watch of level L0, without destroy events: [`PollingWatch`]. For systems that have none, and
//! sandboxes that refuse them.
//!
//! Owns the times of its polls, and puts three sources together: the tracker for the sockets that
//! are there, `poll_diff` for what changed from poll to poll, and the kernel's counters for the
//! sums. Has no thread: its owner calls it.

use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::counters::Counters;
use crate::kernel::dump::Filter;
use crate::kernel::socket::State;
use crate::kernel::socket_table::SocketTable;
use crate::report::host::{HostReport, Scope};
use crate::report::polls::Polls;
use crate::tracker::Tracker;
use crate::tracker::poll_diff::PollComparison;
use crate::tracker::window::Window;
use crate::watch::owners::Owners;
use crate::watch::{filter, new_tracker};

/// Between two polls: on loopback a client's TIME_WAIT may be reused after a second.
const POLL_EVERY: Duration = Duration::from_millis(900);
/// Polls take at most one part in this many of a core: after a poll that took 100 ms comes a pause
/// of 2 s.
const SHARE: u32 = 20;

/// Watches every connection in scope by polls: dumps and readings of the kernel's counters. Works
/// on any system with /proc/net, also where [`Watch`](crate::Watch) is refused.
///
/// It cannot count opens and closes. Its [`HostReport`] has lower bounds of them
/// ([`PollDiff`](crate::PollDiff)), and counters of the whole network namespace
/// ([`Polls::counters`]); see [`HostReport::polls`].
///
/// ```no_run
/// use std::time::Duration;
/// use keepwarm_sockets::{PollingWatch, Scope};
/// let mut watch = PollingWatch::start(Scope::default())?;
/// for _ in 0..10 {
///     std::thread::sleep(Duration::from_secs(1));
///     watch.poll_if_due()?;
/// }
/// for destination in watch.finish()?.destinations {
///     println!("{:?} {:?}", destination.service, destination.seen_by_polls);
/// }
/// # Ok::<(), keepwarm_sockets::Error>(())
/// ```
#[derive(Debug)]
pub struct PollingWatch {
    table: SocketTable,
    filter: Filter,
    tracker: Tracker,
    owners: Owners,
    comparison: PollComparison,
    begun: Instant,
    counters_at_start: Counters,
    polls: u64,
    next_poll: Instant,
}

impl PollingWatch {
    /// Makes the first poll; the window begins with it.
    ///
    /// # Errors
    /// Neither a dump nor /proc/net/tcp is to be had; more than 2^20 sockets.
    pub fn start(scope: Scope) -> Result<PollingWatch, Error> {
        // First, so that on a system with neither the error is the one about /proc.
        let counters_at_start = Counters::read()?;
        let begun = Instant::now();
        let mut watch = PollingWatch {
            table: SocketTable::open()?,
            filter: filter(&scope),
            tracker: new_tracker(scope, false),
            owners: Owners::new(None),
            comparison: PollComparison::default(),
            begun,
            counters_at_start,
            polls: 0,
            next_poll: begun,
        };
        watch.poll()?;
        watch.tracker.handle_baseline();
        watch.tracker.open_window(Duration::ZERO);
        Ok(watch)
    }

    /// Polls if it is time: every 900 ms, or as seldom as keeps to a twentieth of a core.
    ///
    /// # Errors
    /// The socket table cannot be read any more.
    pub fn poll_if_due(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.next_poll { self.poll() } else { Ok(()) }
    }

    /// Returns the report as of the last poll.
    ///
    /// # Errors
    /// The counters cannot be read any more.
    pub fn snapshot(&self) -> Result<HostReport, Error> {
        self.report(self.begun.elapsed())
    }

    /// Polls for the last time, and returns the report.
    ///
    /// # Errors
    /// Same as [`poll_if_due`](PollingWatch::poll_if_due).
    pub fn finish(mut self) -> Result<HostReport, Error> {
        self.poll()?;
        self.report(self.begun.elapsed())
    }

    /// Reports one poll, without waiting, as [`dump_once`](crate::dump_once()) does: the sockets
    /// that are there now, and by the ages of the TIME_WAITs the closes of the last minute.
    ///
    /// # Errors
    /// Same as [`start`](PollingWatch::start).
    pub fn dump_once(scope: Scope) -> Result<HostReport, Error> {
        let mut report = PollingWatch::start(scope)?.report(Duration::ZERO)?;
        if let Some(polls) = &mut report.polls {
            // Events counted since the system started are no evidence about now; levels are.
            polls.counters = polls.counters.since(&Counters::default());
        }
        report.destinations.iter_mut().for_each(|one| one.seen_by_polls = None);
        Ok(report)
    }

    /// Counts the sockets that pass `filter` and `scope`, as [`count`](crate::count()) does.
    ///
    /// # Errors
    /// Same as [`start`](PollingWatch::start); also if TIME_WAITs are requested on a system that
    /// does not list them.
    pub fn count(filter: &Filter, scope: &Scope) -> Result<u64, Error> {
        let mut table = SocketTable::open()?;
        if filter.states.contains(State::TimeWait) && !lists_time_waits(&Counters::read()?) {
            let why = "this system does not list TIME_WAITs";
            return Err(Error::unsupported(Operation::Dump, why));
        }
        let mut found = 0;
        table.each(filter, |row| found += u64::from(scope.admits_row(row)))?;
        Ok(found)
    }

    fn poll(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let PollingWatch { table, filter, tracker, comparison, begun, .. } = self;
        tracker.begin_dump();
        comparison.begin_poll();
        // The table lists listeners first; they show the sides of the rows after them.
        table.each(filter, |row| {
            let at = begun.elapsed();
            tracker.handle_row(row, at);
            if row.remote.port() != 0 {
                let (service, side) = tracker.destination_of(row);
                comparison.handle_row(service, side, row, at);
            }
        })?;
        let now = begun.elapsed();
        // No dead socket waits for a verdict, so it does not matter whether TIME_WAITs were
        // refused.
        tracker.end_dump(now, false);
        comparison.end_poll(now);
        tracker.handle_polls(comparison);
        self.owners.find(&mut self.tracker);
        self.polls += 1;
        let ended = Instant::now();
        self.next_poll = (started + POLL_EVERY).max(ended + (ended - started) * SHARE);
        Ok(())
    }

    fn report(&self, length: Duration) -> Result<HostReport, Error> {
        let counters = Counters::read()?.since(&self.counters_at_start);
        let window =
            Window { now: length, length, settled: true, time_waits_refused: None, lost_events: 0 };
        let mut report = self.tracker.report(&window);
        let levels_at = Some(self.begun + self.tracker.levels_at());
        report.destinations.iter_mut().for_each(|one| one.levels_at = levels_at);
        report.time_waits_refused = counters.time_wait_overflow;
        report.polls = Some(Polls {
            source: self.table.source(),
            count: self.polls,
            counters,
            lists_time_waits: lists_time_waits(&counters),
        });
        Ok(report)
    }
}

/// Returns true if the system lists TIME_WAITs among the sockets. Linux counts and lists them; a
/// system that emulates Linux may do neither, and then their absence proves nothing.
fn lists_time_waits(counters: &Counters) -> bool {
    counters.time_wait_now.is_some()
}
