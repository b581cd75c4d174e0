//! Watching many destinations at once: [`Watch`].
//!
//! Owns the public face, and the hours at which processes are looked for. Threads and time are
//! `watcher`'s, the books are `ends`'.

use std::time::Duration;

use crate::error::Error;
use crate::kernel::dump::{Dumper, Filter};
use crate::kernel::proc::process::name;
use crate::kernel::proc::socket_search::SocketSearch;
use crate::kernel::proc::sysctl::{TimeWaitReuse, ephemeral_ports, time_wait_reuse};
use crate::kernel::socket::Socket;
use crate::kernel::trace::{TraceBatch, Tracer};
use crate::kernel::wire::diag::SocketLookup;
use crate::report::host::{HostReport, Scope, Tracing};
use crate::tracker::Tracker;
use crate::tracker::window::Window;
use crate::watch::threads::{Books, Watcher};

/// Without an event, the tables are looked at this often.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(2);
/// How old the requests and idle times of live connections may get.
const INFO_EVERY: Duration = Duration::from_secs(1);

/// Watches every connection in scope, in both roles, until it is finished or dropped.
///
/// Needs no privilege; with it, processes of other users are named too. While connections close,
/// the kernel is asked for their TIME_WAITs every 250 ms, one by one or by a dump of its table,
/// whichever costs less. A dump is made every two seconds while connections open or close; more
/// often, up to every 250 ms, while they close and for no more than a hundredth of a core. Where
/// none opens or closes, the kernel's counters are read instead; data alone is looked at every 10 s,
/// or more often as far as a thousandth of a core goes.
///
/// ```no_run
/// use std::time::Duration;
/// use keepwarm_sockets::{Scope, Watch};
/// let watch = Watch::start(Scope { port: Some(8081), ..Scope::default() })?;
/// std::thread::sleep(Duration::from_secs(10));
/// for destination in watch.finish(Duration::from_millis(200))?.destinations {
///     println!("{:?} {:?}", destination.service, destination.closed);
/// }
/// # Ok::<(), keepwarm_sockets::Error>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    watcher: Watcher<Attended>,
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

    /// The same, and traces connections through an instance of tracefs where that may be done:
    /// [`HostReport::tracing`] says whether, [`Destination::traced`](crate::Destination::traced) what
    /// it adds. The instance is removed when the watch ends; what a killed process left behind, by
    /// the next one.
    ///
    /// Costs up to 64 MB of kernel memory, and a record for each change of a connection's state on
    /// the whole host, or of the scope's port.
    ///
    /// # Errors
    /// As [`start`](Watch::start). That tracing is refused is none.
    pub fn start_traced(scope: Scope) -> Result<Watch, Error> {
        Watch::with(scope, Some(Tracer::start(scope.port.filter(|port| *port != 0))))
    }

    fn with(scope: Scope, tracer: Option<Result<Tracer, Error>>) -> Result<Watch, Error> {
        let books = Attended::new(scope, tracer);
        let watcher = Watcher::start(filter(&scope), books, HostReport::default())?;
        Ok(Watch { watcher })
    }

    /// The traffic so far, without asking the kernel: at most two seconds old. Requests on connections
    /// that stay open, and CLOSE_WAIT, may be ten.
    pub fn snapshot(&self) -> HostReport {
        let (traffic, lost_events) = self.watcher.snapshot();
        HostReport { lost_events, ..traffic }
    }

    /// Whether an error has ended the watch; [`finish`](Watch::finish) says which.
    pub fn has_ended(&self) -> bool {
        self.watcher.has_ended()
    }

    /// Waits for rest, at most `settle`, and closes the books. A busy host has no rest: then what
    /// is under way counts as alive.
    ///
    /// # Errors
    /// When reading events or dumping failed on the way.
    pub fn finish(self, settle: Duration) -> Result<HostReport, Error> {
        let (traffic, lost_events) = self.watcher.finish(settle)?;
        Ok(HostReport { lost_events, ..traffic })
    }
}

/// One look at everything in scope, without waiting: what is there now, and by the ages of its
/// TIME_WAITs what was closed within the last minute. Nothing is opened or closed in it, and `requests` are those of the
/// connections that are open, since they were opened.
///
/// # Errors
/// Denied by a sandbox, unsupported by the system, or no file descriptor to be had.
pub fn look_once(scope: Scope) -> Result<HostReport, Error> {
    let mut attended = Attended::new(scope, None);
    let ends = &mut attended.ends;
    ends.begin_look();
    let filter = Filter { with_info: true, ..filter(&scope) };
    Dumper::open()?.each(&filter, |row| ends.handle_row(&row, Duration::ZERO))?;
    ends.end_look(Duration::ZERO, false);
    attended.attend(Duration::ZERO);
    let window = Window {
        now: Duration::ZERO,
        length: Duration::ZERO,
        settled: true,
        time_waits_refused: None,
    };
    let mut traffic = attended.ends.finish(&window);
    for destination in &mut traffic.destinations {
        (destination.opened, destination.alive_at_start) = (0, destination.alive);
    }
    Ok(traffic)
}

/// How many sockets pass `filter` and `scope`: the rows that `ss` or `netstat` would show. Of a
/// connection whose both ends are on this host both may count.
///
/// # Errors
/// As [`look_once`].
pub fn count(filter: &Filter, scope: &Scope) -> Result<u64, Error> {
    let mut dumper = Dumper::open()?;
    // What the scope asks for as well need not be asked for twice.
    if filter.either_port.is_none_or(|port| scope.port == Some(port)) {
        return dumper.count(filter, scope.condition());
    }
    let mut found = 0;
    dumper.each(filter, |row| found += u64::from(scope.admits_row(&row)))?;
    Ok(found)
}

fn filter(scope: &Scope) -> Filter {
    Filter { either_port: scope.port.filter(|port| *port != 0), ..Filter::default() }
}

/// The books, and the search for processes between two looks.
#[derive(Debug)]
pub(crate) struct Attended {
    ends: Tracker,
    processes: SocketSearch,
    /// `None`: not asked for.
    tracer: Option<Result<Tracer, Error>>,
    /// What it told last: memory that is used again.
    traced: TraceBatch,
}

impl Attended {
    pub(crate) fn new(scope: Scope, tracer: Option<Result<Tracer, Error>>) -> Attended {
        // Without the range, only listeners tell which end is the service.
        let ephemeral = ephemeral_ports().ok();
        let traced = matches!(tracer, Some(Ok(_)));
        let mut ends = Tracker::new(scope, ephemeral, traced);
        if time_wait_reuse() == Some(TimeWaitReuse::Always) {
            ends.distrust_time_waits();
        }
        Attended { ends, processes: SocketSearch::default(), tracer, traced: TraceBatch::default() }
    }

    /// What tracing has told until now. An end that has died was traced before.
    fn read_traces(&mut self) {
        if let Some(Ok(tracer)) = &mut self.tracer {
            tracer.read(&mut self.traced);
            self.ends.handle_traced(&mut self.traced);
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

impl Books for Attended {
    type Account = HostReport;

    fn begin_look(&mut self) {
        self.ends.begin_look();
    }

    fn handle_row(&mut self, row: &Socket, now: Duration) {
        self.ends.handle_row(row, now);
    }

    fn end_look(&mut self, now: Duration, refused: bool) {
        self.read_traces();
        self.ends.end_look(now, refused);
    }

    fn alive_sockets(&self) -> usize {
        self.ends.alive_sockets()
    }

    fn handle_baseline(&mut self) {
        self.ends.handle_baseline();
    }

    fn open_window(&mut self, now: Duration) {
        self.ends.open_window(now);
    }

    fn handle_event(&mut self, event: Socket, at: Duration) -> bool {
        self.ends.handle_event(event, at)
    }

    fn unlooked_since(&self) -> Option<Duration> {
        self.ends.unlooked_since()
    }

    fn is_waiting(&self) -> bool {
        self.ends.is_waiting()
    }

    fn is_transitional(&self) -> bool {
        self.ends.is_transitional()
    }

    fn begin_asking(&mut self, most: usize, questions: &mut Vec<SocketLookup>) -> bool {
        self.ends.begin_asking(most, questions)
    }

    fn handle_answer(&mut self, row: &Socket, now: Duration) {
        self.ends.handle_answer(row, now);
    }

    fn end_asking(&mut self, now: Duration, refused: bool) {
        self.read_traces();
        self.ends.end_asking(now, refused);
    }

    fn settle(&mut self, now: Duration) {
        self.read_traces();
        self.ends.settle(now, false);
    }

    fn close_window(&mut self) {
        self.attend(Duration::ZERO);
        self.ends.close_window();
    }

    fn account(&mut self, so_far: &Window) -> HostReport {
        HostReport { tracing: self.tracing(), ..self.ends.traffic(so_far) }
    }

    fn finish(mut self, window: &Window) -> HostReport {
        self.read_traces();
        HostReport { tracing: self.tracing(), ..self.ends.finish(window) }
    }

    fn look_at_least_every(&self) -> Option<Duration> {
        Some(LOOK_AT_LEAST_EVERY)
    }

    fn wants_info(&self, now: Duration) -> bool {
        self.ends.since_info(now).is_none_or(|age| age >= INFO_EVERY)
    }

    fn pass_time(&mut self, now: Duration) {
        self.read_traces();
        self.ends.pass_time(now);
    }

    fn attend(&mut self, _now: Duration) -> bool {
        let wanted = self.ends.nameless_inodes();
        let found = self.processes.find(&wanted);
        self.ends.handle_processes(&found, name);
        !found.is_empty()
    }
}
