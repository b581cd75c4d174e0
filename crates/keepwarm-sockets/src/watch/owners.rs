//! The owners of a tracker's sockets: searches for them in `/proc`, and reads traces.
//!
//! Owns both sources of processes. Has no thread and no schedule, and tracks no socket.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::kernel::proc::process;
use crate::kernel::proc::socket_search::{SocketHolders, SocketSearch};
use crate::kernel::trace::{TraceBatch, Tracer};
use crate::report::host::Tracing;
use crate::tracker::Tracker;
use crate::tracker::owners::ReadProcess;

/// A search for owners that the watches of several network namespaces share: a socket's inode is
/// unique on the host, and `/proc` is walked for all of them at once.
#[derive(Debug, Default)]
pub(crate) struct SharedSearch {
    search: SocketSearch,
    searched_at: Option<Instant>,
    /// Searches in turn that have found nothing.
    in_vain: u32,
    wanted: HashSet<u32>,
    /// Processes of inodes that were asked for by another watch.
    found: HashMap<u32, u32>,
}

/// Between two shared searches, at least: the dumps of many namespaces ask for one all the time.
const SHARED_PAUSE: Duration = Duration::from_secs(1);
/// Doublings of that pause, one for each search that has found nothing: connections that live for
/// milliseconds are dead by then, and reading all processes costs the more the more there are.
const MAX_DOUBLINGS: u32 = 3;
/// Inodes that a shared search remembers for other watches.
const MAX_SHARED: usize = 1 << 16;

impl SharedSearch {
    fn find(&mut self, wanted: Vec<u32>) -> SocketHolders {
        if self.found.len() >= MAX_SHARED {
            self.found.clear();
        }
        let room = MAX_SHARED.saturating_sub(self.wanted.len());
        self.wanted.extend(wanted.iter().take(room));
        let pause = SHARED_PAUSE * (1 << self.in_vain.min(MAX_DOUBLINGS));
        if self.searched_at.is_none_or(|at| at.elapsed() >= pause) {
            let all: Vec<u32> = self.wanted.iter().copied().collect();
            if let Some(found) = self.search.find_unless_paused(all) {
                self.in_vain = if found.is_empty() { self.in_vain + 1 } else { 0 };
                self.found.extend(found.iter());
                self.wanted.clear();
                self.searched_at = Some(Instant::now());
            }
        }
        let found: Vec<(u32, u32)> =
            wanted.iter().filter_map(|inode| Some((*inode, self.found.remove(inode)?))).collect();
        let mut holders = SocketHolders::of(wanted);
        for (inode, pid) in found {
            holders.insert(inode, pid);
        }
        holders
    }
}

/// The facts of `/proc`.
struct Proc;

impl ReadProcess for Proc {
    fn name(&self, pid: u32) -> Option<String> {
        process::name(pid)
    }

    fn started_at(&self, pid: u32) -> Option<u64> {
        process::started_at(pid)
    }
}

/// The search of one watch, or of several.
#[derive(Debug)]
enum Search {
    Nothing,
    Own(SocketSearch),
    Shared(Arc<Mutex<SharedSearch>>),
}

impl Search {
    fn find(&mut self, wanted: Vec<u32>) -> SocketHolders {
        match self {
            Search::Nothing => SocketHolders::default(),
            Search::Own(search) => search.find(wanted),
            Search::Shared(_) if wanted.is_empty() => SocketHolders::default(),
            Search::Shared(search) => {
                search.lock().unwrap_or_else(PoisonError::into_inner).find(wanted)
            }
        }
    }
}

/// The sources that name the processes of sockets.
#[derive(Debug)]
pub(crate) struct Owners {
    search: Search,
    /// `None`: tracing was not requested.
    tracer: Option<Result<Tracer, Error>>,
    /// Memory for the records of one reading, used again.
    batch: TraceBatch,
}

impl Owners {
    pub(crate) fn new(tracer: Option<Result<Tracer, Error>>) -> Owners {
        let search = Search::Own(SocketSearch::default());
        Owners { search, tracer, batch: TraceBatch::default() }
    }

    /// Searches for no owner from now on.
    pub(crate) fn search_nothing(&mut self) {
        self.search = Search::Nothing;
    }

    /// Makes the owners of one of several watches, without traces.
    pub(crate) fn sharing(search: Arc<Mutex<SharedSearch>>) -> Owners {
        let search = Search::Shared(search);
        Owners { search, tracer: None, batch: TraceBatch::default() }
    }

    /// Searches for the owners of sockets that have none yet. Returns true if it found one.
    pub(crate) fn find(&mut self, tracker: &mut Tracker) -> bool {
        let found = self.search.find(tracker.nameless_inodes());
        tracker.handle_processes(&found, &Proc);
        !found.is_empty()
    }

    /// Passes on what has been traced until now. Comes before every conclusion about dead sockets:
    /// a socket was traced before its event arrived.
    pub(super) fn read_traces(&mut self, tracker: &mut Tracker) {
        if let Some(Ok(tracer)) = &mut self.tracer {
            loop {
                let has_more = tracer.read(&mut self.batch);
                tracker.handle_traced(&mut self.batch);
                if !has_more {
                    break;
                }
            }
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
