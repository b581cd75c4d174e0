//! The watch of a whole host, or of a scope within it: [`Watch`].
//!
//! Owns the public face of a watch by destroy events, and the single dump. Threads are `threads`',
//! time is `schedule`'s, the bookkeeping is `tracker`'s.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Operation};
use crate::kernel::dump::{Dumper, Filter};
use crate::kernel::trace::Tracer;
use crate::report::host::{HostReport, Scope};
use crate::tracker::window::Window;
use crate::watch::owners::Owners;
use crate::watch::threads::{Sources, Threads};
use crate::watch::{filter, new_tracker};

/// Watches every connection in scope, in both roles, until it is finished or dropped.
///
/// Needs no privilege; with it, processes of other users are named too.
///
/// Costs, beyond the destroy events: while connections close, their TIME_WAITs are searched for every
/// 250 ms, by lookups or by a dump of the kernel's table, whichever costs less; a dump that is due
/// soon anyway takes the place of a search. A dump is made every two seconds while connections open or
/// close; more often, up to every 250 ms, while they close and for no more than a two-hundredth of a
/// core. While
/// none opens or closes, the kernel's counters are read instead; data alone causes a dump every 10
/// s, or more often as far as a thousandth of a core goes.
///
/// ```no_run
/// use std::time::Duration;
/// use keepwarm_sockets::{Scope, Watch};
/// let watch = Watch::start(Scope::of_port(8081))?;
/// std::thread::sleep(Duration::from_secs(10));
/// for destination in watch.finish(Duration::from_millis(200))?.destinations {
///     println!("{:?} {:?}", destination.service, destination.closed);
/// }
/// # Ok::<(), keepwarm_sockets::Error>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    threads: Threads,
}

impl Watch {
    /// Subscribes to destroy events and takes the baseline; returns when the window has begun.
    ///
    /// # Errors
    /// A sandbox; a system without destroy events; no file descriptor or thread to be had; more
    /// than 2^20 sockets already there.
    pub fn start(scope: Scope) -> Result<Watch, Error> {
        Watch::with(scope, None)
    }

    /// Starts a watch that also traces connections through an instance of tracefs, where that is
    /// permitted. [`HostReport::tracing`] says whether it is,
    /// [`Destination::traced`](crate::Destination::traced) what it adds. The instance is removed
    /// when the watch ends; one that a killed process left behind is removed by the next traced
    /// watch.
    ///
    /// Costs up to 64 MB of kernel memory, and a record for each change of a connection's state on
    /// the whole host, or of the scope's port.
    ///
    /// # Errors
    /// Same as [`start`](Watch::start). A refusal to trace is not an error: see
    /// [`HostReport::tracing`].
    pub fn start_traced(scope: Scope) -> Result<Watch, Error> {
        Watch::with(scope, Some(Tracer::start(scope.port.filter(|port| *port != 0))))
    }

    fn with(scope: Scope, tracer: Option<Result<Tracer, Error>>) -> Result<Watch, Error> {
        PreparedWatch::open(scope, tracer)?.begin()
    }

    /// Returns the report so far, without a call of the kernel: at most two seconds old. Requests
    /// on connections that stay open, and sockets in CLOSE_WAIT, may be ten seconds old.
    pub fn snapshot(&self) -> HostReport {
        let (report, lost_events) = self.threads.snapshot();
        HostReport { lost_events, ..report }
    }

    /// Returns what [`snapshot`](Watch::snapshot) does without a copy. Lost events are not in it.
    pub fn latest(&self) -> Arc<HostReport> {
        self.threads.latest()
    }

    /// Returns true if an error has ended the watch; [`finish`](Watch::finish) returns that error.
    pub fn has_ended(&self) -> bool {
        self.threads.has_ended()
    }

    /// Waits until the scope is at rest, at most `settle`, and ends the window.
    ///
    /// Rest is: no event for 50 ms, and no socket in scope in SYN_SENT, SYN_RECV, FIN_WAIT,
    /// CLOSE_WAIT, LAST_ACK or CLOSING. Under load, or with a program that does not close what its
    /// peer has closed, there is no rest: the window ends after `settle` with
    /// [`HostReport::settled`] false. Its numbers are exact all the same, only not complete:
    /// connections that are about to close count as alive.
    ///
    /// # Errors
    /// Reading events or dumping failed during the watch.
    pub fn finish(self, settle: Duration) -> Result<HostReport, Error> {
        let (report, lost_events) = self.threads.finish(settle)?;
        Ok(HostReport { lost_events, ..report })
    }
}

/// A watch whose sources are open and whose threads have not started.
///
/// Opening takes capabilities that the watch does not need later: `CAP_NET_ADMIN` for a receive buffer
/// larger than `net.core.rmem_max`, and those for tracefs. A program that stays may drop them between
/// the two steps, since a thread has the capabilities of the one that starts it.
#[derive(Debug)]
pub struct PreparedWatch {
    scope: Scope,
    sources: Sources,
    owners: Owners,
}

impl PreparedWatch {
    /// Opens the sources of a [`Watch`]; with `traced`, those of [`Watch::start_traced`].
    ///
    /// # Errors
    /// Same as [`Watch::start`].
    pub fn new(scope: Scope, traced: bool) -> Result<PreparedWatch, Error> {
        let tracer = traced.then(|| Tracer::start(scope.port.filter(|port| *port != 0)));
        PreparedWatch::open(scope, tracer)
    }

    fn open(scope: Scope, tracer: Option<Result<Tracer, Error>>) -> Result<PreparedWatch, Error> {
        if scope.port == Some(0) {
            return Err(Error::unsupported(Operation::Watch, "port 0 names no service"));
        }
        let sources = Sources::open(&scope)?;
        Ok(PreparedWatch { scope, sources, owners: Owners::new(tracer) })
    }

    /// Searches for no processes: the watch reads nothing of them then, and needs no privilege.
    #[must_use]
    pub fn without_owners(mut self) -> PreparedWatch {
        self.owners.search_nothing();
        self
    }

    /// Starts the threads and takes the baseline; returns when the window has begun.
    ///
    /// # Errors
    /// Same as [`Watch::start`].
    pub fn begin(self) -> Result<Watch, Error> {
        let PreparedWatch { scope, sources, owners } = self;
        Threads::start(scope, sources, owners).map(|threads| Watch { threads })
    }
}

/// Reports one dump of everything in scope, without waiting: the sockets that are there now, and
/// by the ages of the TIME_WAITs the closes of the last minute. It shows no opens and closes of its
/// own, and `requests` are those of the open connections since they were opened.
///
/// # Errors
/// A dump is denied by a sandbox or unsupported by the system, or there is no file descriptor to be
/// had.
pub fn dump_once(scope: Scope) -> Result<HostReport, Error> {
    let mut tracker = new_tracker(scope, false);
    tracker.expect_single_dump();
    tracker.begin_dump();
    let filter = Filter { with_info: true, ..filter(&scope) };
    Dumper::open()?.each(&filter, |row| tracker.handle_row(row, Duration::ZERO))?;
    tracker.end_dump(Duration::ZERO, false);
    Owners::new(None).find(&mut tracker);
    let window = Window {
        now: Duration::ZERO,
        length: Duration::ZERO,
        settled: true,
        time_waits_refused: None,
        lost_events: 0,
    };
    let mut report = tracker.finish(&window);
    for destination in &mut report.destinations {
        (destination.opened, destination.alive_at_start) = (0, destination.alive);
    }
    Ok(report)
}

/// Counts the sockets that pass `filter` and `scope`: the rows that `ss` or `netstat` would show. A
/// connection with both sockets on this host may count twice, once per socket.
///
/// # Errors
/// Same as [`dump_once`].
pub fn count(filter: &Filter, scope: &Scope) -> Result<u64, Error> {
    let mut dumper = Dumper::open()?;
    // Where the scope's condition covers the filter's port, the kernel applies it alone and no row
    // is decoded here.
    if filter.either_port.is_none_or(|port| scope.port == Some(port)) {
        return dumper.count(filter, scope.condition());
    }
    let mut found = 0;
    dumper.each(filter, |row| found += u64::from(scope.admits_row(row)))?;
    Ok(found)
}
