//! The owners of a tracker's sockets: searches for them in `/proc`, and reads traces.
//!
//! Owns both sources of processes. Has no thread and no schedule, and tracks no socket.

use crate::error::Error;
use crate::kernel::proc::process::name;
use crate::kernel::proc::socket_search::SocketSearch;
use crate::kernel::trace::{TraceBatch, Tracer};
use crate::report::host::Tracing;
use crate::tracker::Tracker;

/// The sources that name the processes of sockets.
#[derive(Debug)]
pub(crate) struct Owners {
    search: SocketSearch,
    /// `None`: tracing was not requested.
    tracer: Option<Result<Tracer, Error>>,
    /// Memory for the records of one reading, used again.
    batch: TraceBatch,
}

impl Owners {
    pub(crate) fn new(tracer: Option<Result<Tracer, Error>>) -> Owners {
        Owners { search: SocketSearch::default(), tracer, batch: TraceBatch::default() }
    }

    /// Searches for the owners of sockets that have none yet. Returns true if it found one.
    pub(crate) fn find(&mut self, tracker: &mut Tracker) -> bool {
        let found = self.search.find(&tracker.nameless_inodes());
        tracker.handle_processes(&found, name);
        !found.is_empty()
    }

    /// Passes on what has been traced until now. Comes before every conclusion about dead sockets:
    /// a socket was traced before its event arrived.
    pub(super) fn read_traces(&mut self, tracker: &mut Tracker) {
        if let Some(Ok(tracer)) = &mut self.tracer {
            tracer.read(&mut self.batch);
            tracker.handle_traced(&mut self.batch);
        }
    }

    pub(super) fn is_tracing(&self) -> bool {
        matches!(self.tracer, Some(Ok(_)))
    }

    pub(super) fn tracing(&self) -> Tracing {
        match &self.tracer {
            None => Tracing::Off,
            Some(Err(error)) => Tracing::Refused(error.clone()),
            Some(Ok(tracer)) => Tracing::On { events: tracer.events(), lost_events: tracer.lost() },
        }
    }
}
