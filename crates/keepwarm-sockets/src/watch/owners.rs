//! A tracker that also learns who owns its sockets: from `/proc`, and from traces.
//!
//! Owns the order in which traces, dumps and searches through `/proc` reach the tracker. Has no
//! thread and no schedule.

use std::time::Duration;

use crate::error::Error;
use crate::kernel::proc::process::name;
use crate::kernel::proc::socket_search::SocketSearch;
use crate::kernel::proc::sysctl::{TimeWaitReuse, ephemeral_ports, time_wait_reuse};
use crate::kernel::socket::Socket;
use crate::kernel::trace::{TraceBatch, Tracer};
use crate::kernel::wire::diag::SocketLookup;
use crate::report::host::{HostReport, Scope, Tracing};
use crate::tracker::Tracker;
use crate::tracker::window::Window;
use crate::watch::schedule::{Periodic, Schedule};

/// A tracker, and the sources that name the processes of its sockets.
#[derive(Debug)]
pub(crate) struct WithOwners {
    pub(super) tracker: Tracker,
    processes: SocketSearch,
    /// `None`: tracing was not requested.
    tracer: Option<Result<Tracer, Error>>,
    /// Memory for the records of one reading, used again.
    traced: TraceBatch,
}

impl WithOwners {
    pub(crate) fn new(scope: Scope, tracer: Option<Result<Tracer, Error>>) -> WithOwners {
        // Without the range of ephemeral ports, only listeners show which socket is the server's.
        let ephemeral = ephemeral_ports().ok();
        let traced = matches!(tracer, Some(Ok(_)));
        let mut tracker = Tracker::new(scope, ephemeral, traced);
        if time_wait_reuse() == Some(TimeWaitReuse::Always) {
            tracker.distrust_time_waits();
        }
        WithOwners {
            tracker,
            processes: SocketSearch::default(),
            tracer,
            traced: TraceBatch::default(),
        }
    }

    /// Searches for the owners of sockets that have none yet. Returns true if it found one.
    pub(crate) fn find_owners(&mut self) -> bool {
        let found = self.processes.find(&self.tracker.nameless_inodes());
        self.tracker.handle_processes(&found, name);
        !found.is_empty()
    }

    /// Passes on what has been traced until now. Read before conclusions are drawn: a socket that
    /// has died was traced before.
    fn read_traces(&mut self) {
        if let Some(Ok(tracer)) = &mut self.tracer {
            tracer.read(&mut self.traced);
            self.tracker.handle_traced(&mut self.traced);
        }
    }

    fn tracing(&self) -> Tracing {
        match &self.tracer {
            None => Tracing::Off,
            Some(Err(error)) => Tracing::Refused(error.clone()),
            Some(Ok(tracer)) => Tracing::On { events: tracer.events(), lost_events: tracer.lost() },
        }
    }
}

/// The calls of the tracking thread, in this order: dumps until
/// [`handle_baseline`](WithOwners::handle_baseline), [`open_window`](WithOwners::open_window), dumps
/// and events, [`close_window`](WithOwners::close_window) after the dump that ends the window, more
/// events and at most one dump, [`finish`](WithOwners::finish).
impl WithOwners {
    /// Begins a dump.
    pub(crate) fn begin_dump(&mut self) {
        self.tracker.begin_dump();
    }

    /// Takes one row of the dump, read just now.
    pub(crate) fn handle_row(&mut self, row: &Socket, now: Duration) {
        self.tracker.handle_row(row, now);
    }

    /// Ends the dump. `refused`: the kernel did not keep some TIME_WAITs lately, so that finding
    /// none proves nothing.
    pub(crate) fn end_dump(&mut self, now: Duration, refused: bool) {
        self.read_traces();
        self.tracker.end_dump(now, refused);
    }

    /// Returns how many sockets the last dump saw alive.
    pub(crate) fn alive_sockets(&self) -> usize {
        self.tracker.alive_sockets()
    }

    /// Makes the dump that has just ended the baseline.
    pub(crate) fn handle_baseline(&mut self) {
        self.tracker.handle_baseline();
    }

    /// Begins the window: every event of a death before the baseline has been handled.
    pub(crate) fn open_window(&mut self, now: Duration) {
        self.tracker.open_window(now);
    }

    /// Takes the death of a socket. Returns true if the socket is in scope.
    pub(crate) fn handle_event(&mut self, event: Socket, at: Duration) -> bool {
        self.tracker.handle_event(event, at)
    }

    /// Returns the arrival of the oldest dead socket that no dump or lookup has searched for yet.
    pub(crate) fn unsearched_since(&self) -> Option<Duration> {
        self.tracker.unsearched_since()
    }

    /// Returns true if some dead socket waits only for its peer's event.
    pub(crate) fn is_waiting(&self) -> bool {
        self.tracker.is_waiting()
    }

    /// Returns true if the last dump saw a socket between two states.
    pub(crate) fn is_transitional(&self) -> bool {
        self.tracker.is_transitional()
    }

    /// Begins lookups in place of a dump, at most this many. Returns false if a dump is needed.
    pub(crate) fn begin_lookups(&mut self, most: usize, questions: &mut Vec<SocketLookup>) -> bool {
        self.tracker.begin_lookups(most, questions)
    }

    /// Takes a socket that a lookup has found.
    pub(crate) fn handle_found(&mut self, row: &Socket, now: Duration) {
        self.tracker.handle_found(row, now);
    }

    /// Ends the lookups; `refused` as in [`end_dump`](WithOwners::end_dump).
    pub(crate) fn end_lookups(&mut self, now: Duration, refused: bool) {
        self.read_traces();
        self.tracker.end_lookups(now, refused);
    }

    /// Concludes what can be concluded now.
    pub(crate) fn settle(&mut self, now: Duration) {
        self.read_traces();
        self.tracker.settle(now, false);
    }

    /// Ends the window with the dump that has just ended; later events are of sockets that died
    /// before it, or are out of scope.
    pub(crate) fn close_window(&mut self) {
        self.find_owners();
        self.tracker.close_window();
    }

    /// Reports the window so far.
    pub(crate) fn report(&mut self, so_far: &Window) -> HostReport {
        HostReport { tracing: self.tracing(), ..self.tracker.report(so_far) }
    }

    /// Reports the window at its end.
    pub(crate) fn finish(mut self, window: &Window) -> HostReport {
        self.read_traces();
        HostReport { tracing: self.tracing(), ..self.tracker.finish(window) }
    }

    /// Says whether dumps are made while no socket dies.
    pub(crate) fn periodic(&self) -> Periodic {
        Periodic::Dumps
    }

    /// Returns true if the next dump, for any purpose, should fetch `tcp_info`.
    pub(crate) fn wants_info(&self, now: Duration) -> bool {
        Schedule::wants_info(self.tracker.since_info(now))
    }

    /// Takes the place of a dump that would show nothing new: TIME_WAITs have grown older.
    pub(crate) fn pass_time(&mut self, now: Duration) {
        self.read_traces();
        self.tracker.pass_time(now);
    }
}
