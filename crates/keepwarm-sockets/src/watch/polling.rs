//! Level L0: a watch without destroy events, for where the kernel has none or a sandbox refuses
//! them.
//!
//! Owns the hours of its looks, and the joining of three things: the books of `ends` for what is
//! there, `glimpses` for what changed from look to look, and the kernel's counters for the sum of it
//! all. Has no thread: whoever has it lets it look.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::kernel::counters::Counters;
use crate::kernel::dump::Filter;
use crate::kernel::proc::process::name;
use crate::kernel::proc::socket_search::SocketSearch;
use crate::kernel::proc::sysctl::ephemeral_ports;
use crate::kernel::socket_table::SocketTable;
use crate::report::host::{HostReport, Polls, Scope};
use crate::tracker::Tracker;
use crate::tracker::poll_diff::Glimpses;
use crate::tracker::window::Window;

/// Between two looks: on loopback a client's TIME_WAIT may be reused after a second.
const LOOK_EVERY: Duration = Duration::from_millis(900);
/// A look may take this share of a core: after one that took 100 ms comes a pause of 2 s.
const PAUSE: u32 = 20;

/// Looks at every connection in scope again and again, and reads the kernel's counters: what any
/// system with /proc/net tells, also where [`Watch`](crate::Watch) is refused.
///
/// It cannot count. What its [`HostReport`] says of opens and closes are bounds from below
/// ([`PollDiff`](crate::PollDiff)), and counters of the whole network namespace
/// ([`Polls::counters`]); see [`HostReport::looks`].
///
/// ```no_run
/// use std::time::Duration;
/// use keepwarm_sockets::{PollingWatch, Scope};
/// let mut lookout = PollingWatch::start(Scope::default())?;
/// for _ in 0..10 {
///     std::thread::sleep(Duration::from_secs(1));
///     lookout.look_if_due()?;
/// }
/// for destination in lookout.finish()?.destinations {
///     println!("{:?} {:?}", destination.service, destination.glimpsed);
/// }
/// # Ok::<(), keepwarm_sockets::Error>(())
/// ```
#[derive(Debug)]
pub struct PollingWatch {
    table: SocketTable,
    filter: Filter,
    ends: Tracker,
    glimpses: Glimpses,
    processes: SocketSearch,
    begun: Instant,
    at_start: Counters,
    looks: u64,
    due: Instant,
}

impl PollingWatch {
    /// Takes the first look; the window begins with it.
    ///
    /// # Errors
    /// Neither a dump nor /proc/net/tcp is to be had; more than 2^20 sockets.
    pub fn start(scope: Scope) -> Result<PollingWatch, Error> {
        // First, so that a system without any of it is told by the reason for that.
        let at_start = Counters::read()?;
        let either_port = scope.port.filter(|port| *port != 0);
        let begun = Instant::now();
        let mut lookout = PollingWatch {
            table: SocketTable::open()?,
            filter: Filter { either_port, ..Filter::default() },
            ends: Tracker::new(scope, ephemeral_ports().ok(), false),
            glimpses: Glimpses::default(),
            processes: SocketSearch::default(),
            begun,
            at_start,
            looks: 0,
            due: begun,
        };
        lookout.look()?;
        lookout.ends.handle_baseline();
        lookout.ends.open_window(Duration::ZERO);
        Ok(lookout)
    }

    /// Looks if it is time: every 900 ms, or as seldom as makes a twentieth of a core.
    ///
    /// # Errors
    /// When the table cannot be read any more.
    pub fn look_if_due(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.due { self.look() } else { Ok(()) }
    }

    /// The traffic as of the last look.
    ///
    /// # Errors
    /// When the counters cannot be read any more.
    pub fn snapshot(&self) -> Result<HostReport, Error> {
        self.traffic(self.begun.elapsed())
    }

    /// A last look.
    ///
    /// # Errors
    /// As [`look_if_due`](PollingWatch::look_if_due).
    pub fn finish(mut self) -> Result<HostReport, Error> {
        self.look()?;
        self.traffic(self.begun.elapsed())
    }

    /// One look, without waiting, as [`look_once`](crate::look_once()): the levels now, and by the
    /// ages of its TIME_WAITs what was closed within the last minute.
    ///
    /// # Errors
    /// As [`start`](PollingWatch::start).
    pub fn look_once(scope: Scope) -> Result<HostReport, Error> {
        let lookout = PollingWatch::start(scope)?;
        let mut traffic = lookout.traffic(Duration::ZERO)?;
        if let Some(looks) = &mut traffic.looks {
            // What has happened since the system started says nothing of now.
            looks.counters = looks.counters.since(&Counters::default());
        }
        traffic.destinations.iter_mut().for_each(|one| one.glimpsed = None);
        Ok(traffic)
    }

    /// How many sockets pass `filter` and `scope`, as [`count`](crate::count()).
    ///
    /// # Errors
    /// As [`start`](PollingWatch::start); and where TIME_WAITs are asked for on a system that does not
    /// list them.
    pub fn count(filter: &Filter, scope: &Scope) -> Result<u64, Error> {
        let mut table = SocketTable::open()?;
        if filter.states.contains(crate::State::TimeWait) && !lists_time_waits(&Counters::read()?) {
            let why = "this system does not list TIME_WAITs";
            return Err(Error::unsupported(crate::error::Operation::Dump, why));
        }
        let mut found = 0;
        table.each(filter, |row| found += u64::from(scope.admits_row(&row)))?;
        Ok(found)
    }

    fn look(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        let PollingWatch { table, filter, ends, glimpses, begun: zero, .. } = self;
        ends.begin_look();
        glimpses.begin_look();
        // Listeners come first, and tell the sides of what follows.
        table.each(filter, |row| {
            let at = zero.elapsed();
            ends.handle_row(&row, at);
            if row.remote.port() != 0 {
                let (service, side) = ends.destination_of(&row);
                glimpses.handle_row(service, side, &row, at);
            }
        })?;
        let now = zero.elapsed();
        // Nothing waits for a verdict, so it does not matter whether TIME_WAITs were refused.
        ends.end_look(now, false);
        glimpses.end_look(now);
        ends.handle_glimpses(glimpses);
        let found = self.processes.find(&ends.nameless_inodes());
        ends.handle_processes(&found, name);
        self.looks += 1;
        let ended = Instant::now();
        self.due = (begun + LOOK_EVERY).max(ended + (ended - begun) * PAUSE);
        Ok(())
    }

    fn traffic(&self, window: Duration) -> Result<HostReport, Error> {
        let counters = Counters::read()?.since(&self.at_start);
        let window =
            Window { now: window, length: window, settled: true, time_waits_refused: None };
        let mut traffic = self.ends.traffic(&window);
        traffic.time_waits_refused = counters.time_wait_overflow;
        traffic.looks = Some(Polls {
            source: self.table.source(),
            count: self.looks,
            counters,
            lists_time_waits: lists_time_waits(&counters),
        });
        Ok(traffic)
    }
}

/// A system that counts them lists them (Linux does both); one that emulates Linux may do neither,
/// and then none among the sockets means nothing.
fn lists_time_waits(counters: &Counters) -> bool {
    counters.time_wait_now.is_some()
}
