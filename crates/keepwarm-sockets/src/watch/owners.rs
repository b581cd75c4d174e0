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
use crate::watch::tracking::Books;

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

impl Books for WithOwners {
    type Account = HostReport;

    fn begin_look(&mut self) {
        self.tracker.begin_look();
    }

    fn handle_row(&mut self, row: &Socket, now: Duration) {
        self.tracker.handle_row(row, now);
    }

    fn end_look(&mut self, now: Duration, refused: bool) {
        self.read_traces();
        self.tracker.end_look(now, refused);
    }

    fn alive_sockets(&self) -> usize {
        self.tracker.alive_sockets()
    }

    fn handle_baseline(&mut self) {
        self.tracker.handle_baseline();
    }

    fn open_window(&mut self, now: Duration) {
        self.tracker.open_window(now);
    }

    fn handle_event(&mut self, event: Socket, at: Duration) -> bool {
        self.tracker.handle_event(event, at)
    }

    fn unlooked_since(&self) -> Option<Duration> {
        self.tracker.unlooked_since()
    }

    fn is_waiting(&self) -> bool {
        self.tracker.is_waiting()
    }

    fn is_transitional(&self) -> bool {
        self.tracker.is_transitional()
    }

    fn begin_asking(&mut self, most: usize, questions: &mut Vec<SocketLookup>) -> bool {
        self.tracker.begin_asking(most, questions)
    }

    fn handle_answer(&mut self, row: &Socket, now: Duration) {
        self.tracker.handle_answer(row, now);
    }

    fn end_asking(&mut self, now: Duration, refused: bool) {
        self.read_traces();
        self.tracker.end_asking(now, refused);
    }

    fn settle(&mut self, now: Duration) {
        self.read_traces();
        self.tracker.settle(now, false);
    }

    fn close_window(&mut self) {
        self.find_owners();
        self.tracker.close_window();
    }

    fn account(&mut self, so_far: &Window) -> HostReport {
        HostReport { tracing: self.tracing(), ..self.tracker.traffic(so_far) }
    }

    fn finish(mut self, window: &Window) -> HostReport {
        self.read_traces();
        HostReport { tracing: self.tracing(), ..self.tracker.finish(window) }
    }

    fn periodic(&self) -> Periodic {
        Periodic::Dumps
    }

    fn wants_info(&self, now: Duration) -> bool {
        Schedule::wants_info(self.tracker.since_info(now))
    }

    fn pass_time(&mut self, now: Duration) {
        self.read_traces();
        self.tracker.pass_time(now);
    }

    fn find_owners(&mut self) -> bool {
        self.find_owners()
    }
}
