//! The watch of every network namespace of a host: [`NamespacesWatch`].
//!
//! Owns which namespaces are watched, their threads, and the union of their reports. One thread reads
//! the events of all. Each namespace has a subscription, a socket for dumps and a tracking thread of its
//! own, made once: the bookkeeping is that of a watch of one, see `tracking`. Namespaces that come are
//! watched from then on, and the last numbers of one that ends are kept.
//!
//! ```text
//!  every second: search ─┬─ a new one ─► enter, subscribe ─► tracking thread ──► reports ─┐
//!                        └─ one is gone ─► its last report, kept ───────────────────────────┴► union
//! ```
//! A subscription within each namespace takes `CAP_SYS_ADMIN`, to enter it. One subscription for all
//! (`NETLINK_LISTEN_ALL_NSID`) would take `CAP_NET_BROADCAST`, and `CAP_NET_ADMIN` for as long as
//! namespaces come, since the kernel reports those alone that have been given a number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::proc::identity::network_namespace;
use crate::kernel::proc::namespaces::{NamespaceSearch, Place};
use crate::kernel::proc::sysctl::{
    EphemeralPorts, TimeWaitReuse, ephemeral_ports, time_wait_reuse,
};
use crate::kernel::sys::enter;
use crate::report::destination::Destination;
use crate::report::host::{HostReport, Scope};
use crate::report::namespace::{Namespaces, NetworkNamespace};
use crate::watch::owners::{Owners, SharedSearch};
use crate::watch::reader::Reader;
use crate::watch::threads::{Command, Shared, Sources, spawn};
use crate::watch::tracking::Tracking;

/// Namespaces that are watched at once: each has six descriptors and a thread.
const MAX_NAMESPACES: usize = 256;
/// Namespaces that have ended and whose destinations are kept apart; older ones are added up.
const MAX_ENDED: usize = 64;
/// Destinations with numbers of their own in a namespace that is not the caller's.
const ROOM: usize = 64;
/// Interval between two searches.
const SEARCH_EVERY: Duration = Duration::from_secs(1);
/// Searches that do not find a namespace before it counts as gone.
const GONE_AFTER: u32 = 2;
/// Searches before a namespace that could not be watched is tried again.
const TRY_AGAIN_AFTER: u32 = 30;

/// Watches every connection in scope in every network namespace of the host.
///
/// Takes `CAP_SYS_ADMIN`, to enter namespaces, and `CAP_SYS_PTRACE`, to find those of other users'
/// processes. Traces nothing: a trace does not name the namespace. Destinations carry their
/// [`namespace`](Destination::namespace).
///
/// Costs little more than one [`Watch`](crate::Watch) of as many closes: where there are several
/// namespaces, events gather for longer, TIME_WAITs are searched for less often, and each is dumped every
/// two seconds or, where dumps are expensive, so seldom that all together take a thousandth of a core.
#[derive(Debug)]
pub struct NamespacesWatch {
    following: Option<JoinHandle<()>>,
    stop: mpsc::Sender<()>,
    /// Ends after the tracking threads, which wait for events.
    _reader: Arc<Reader>,
    state: Arc<Mutex<WatchedNamespaces>>,
}

/// A watch of all namespaces whose sources are open and whose threads have not started: see
/// [`PreparedWatch`](crate::PreparedWatch).
#[derive(Debug)]
pub struct PreparedNamespacesWatch {
    following: Following,
    opened: Vec<(u64, Place, Opened)>,
}

/// State that the threads share.
#[derive(Debug)]
struct WatchedNamespaces {
    scope: Scope,
    begun: Instant,
    live: HashMap<u64, LiveNamespace>,
    /// The one whose thread is about to end: its last report counts until then.
    ending: Option<Arc<Shared>>,
    ended: Vec<HostReport>,
    /// The sums of those that ended earlier.
    earlier: Option<HostReport>,
    namespaces: Namespaces,
    /// Namespaces that have been given a name, or another one, since they were met; by their numbers.
    renamed: HashMap<u32, Arc<NetworkNamespace>>,
}

/// A namespace that is watched.
#[derive(Debug)]
struct LiveNamespace {
    /// With the name that it has by now.
    namespace: Arc<NetworkNamespace>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<HostReport, Error>>,
    /// Hears when the window has begun; the thread ends if there is no receiver then.
    begun: mpsc::Receiver<()>,
    /// Searches in turn that have not found it.
    missed: u32,
}

/// The following thread: it finds namespaces, and starts and ends their threads.
#[derive(Debug)]
struct Following {
    scope: Scope,
    own: Option<u64>,
    search: NamespaceSearch,
    owners: Arc<Mutex<SharedSearch>>,
    /// The number of namespaces that are watched, for the schedule of each.
    count: Arc<AtomicU32>,
    next_number: u32,
    /// Namespaces that could not be watched, and the searches until they are tried again.
    refused: HashMap<u64, u32>,
}

/// Sources opened within a namespace.
#[derive(Debug)]
struct Opened {
    file: File,
    sources: Sources,
    ephemeral_ports: Option<EphemeralPorts>,
    time_wait_reuse: Option<TimeWaitReuse>,
}

impl Opened {
    /// Opens the sources of a namespace from a thread that enters it and ends.
    fn open(place: &Place, scope: Scope) -> Result<Opened, Error> {
        let file = File::open(&place.path)
            .map_err(|error| Error::io(Operation::EnterNamespace, &error))?;
        thread::scope(|threads| {
            let within = threads.spawn(move || {
                enter(&file)?;
                Ok(Opened {
                    sources: Sources::open(&scope)?,
                    file,
                    ephemeral_ports: ephemeral_ports().ok(),
                    time_wait_reuse: time_wait_reuse(),
                })
            });
            within.join().unwrap_or_else(|_| Err(Error::stopped()))
        })
    }
}

impl PreparedNamespacesWatch {
    /// Finds the namespaces and opens their sources.
    ///
    /// # Errors
    /// The caller's namespace cannot be entered, for want of `CAP_SYS_ADMIN`, or watched. Another one
    /// that cannot be is counted in [`HostReport::namespaces`].
    pub fn new(scope: Scope) -> Result<PreparedNamespacesWatch, Error> {
        if scope.port == Some(0) {
            return Err(Error::unsupported(Operation::Watch, "port 0 names no service"));
        }
        let mut following = Following {
            scope,
            own: network_namespace(),
            search: NamespaceSearch::default(),
            owners: Arc::default(),
            count: Arc::new(AtomicU32::new(1)),
            next_number: 0,
            refused: HashMap::new(),
        };
        let mut opened = Vec::new();
        let found = following.search.find();
        for (inode, place) in following.in_order(found) {
            if opened.len() == MAX_NAMESPACES {
                break;
            }
            match Opened::open(&place, scope) {
                Ok(one) => opened.push((inode, place, one)),
                Err(error) if following.own == Some(inode) => return Err(error),
                Err(_) => drop(following.refused.insert(inode, 0)),
            }
        }
        Ok(PreparedNamespacesWatch { following, opened })
    }

    /// Starts the threads and takes the baselines; returns when every window has begun.
    ///
    /// # Errors
    /// Same as [`Watch::start`](crate::Watch::start), of the caller's namespace.
    pub fn begin(self) -> Result<NamespacesWatch, Error> {
        let PreparedNamespacesWatch { mut following, opened } = self;
        let reader = Arc::new(Reader::start()?);
        let state = Arc::new(Mutex::new(WatchedNamespaces {
            scope: following.scope,
            begun: Instant::now(),
            live: HashMap::new(),
            ending: None,
            ended: Vec::new(),
            earlier: None,
            namespaces: Namespaces::default(),
            renamed: HashMap::new(),
        }));
        following.count.store(opened.len().try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
        for (inode, place, one) in opened {
            match following.start(inode, &place, one, &reader) {
                Ok(live) => drop(lock(&state).live.insert(inode, live)),
                Err(error) => lock(&state).refuse(error),
            }
        }
        // A window that does not begin ends its thread, which the next search meets.
        for one in lock(&state).live.values() {
            let _ = one.begun.recv();
        }
        lock(&state).begun = Instant::now();
        let (stop, stopped) = mpsc::channel();
        let (shared, reading) = (Arc::clone(&state), Arc::clone(&reader));
        let body = move || following.follow(&shared, &reading, &stopped);
        let following = Some(spawn("keepwarm-netns", body)?);
        Ok(NamespacesWatch { following, stop, _reader: reader, state })
    }
}

impl NamespacesWatch {
    /// Starts a watch of all network namespaces; returns when every window has begun.
    ///
    /// # Errors
    /// Same as [`PreparedNamespacesWatch::new`] and [`begin`](PreparedNamespacesWatch::begin).
    pub fn start(scope: Scope) -> Result<NamespacesWatch, Error> {
        PreparedNamespacesWatch::new(scope)?.begin()
    }

    /// Returns the report so far, without a call of the kernel. Older than that of a
    /// [`Watch`](crate::Watch) where there are many namespaces: opens, and requests on connections that
    /// stay open, may be some dumps old.
    pub fn snapshot(&self) -> HostReport {
        let state = lock(&self.state);
        let shared = state.live.values().map(|one| &one.shared).chain(&state.ending);
        let live: Vec<_> = shared.map(|one| (one.report(), one.lost_events())).collect();
        let union = state.union(live.iter().map(|(report, _)| &**report));
        // Reports that a thread publishes have no count of lost events: the reader's is newer.
        let lost: u64 = live.iter().map(|(_, lost)| lost).sum();
        HostReport { lost_events: union.lost_events + lost, ..union }
    }

    /// Returns the report of each namespace that is watched now, without a copy. Lost events are not in
    /// them.
    pub fn latest(&self) -> Vec<Arc<HostReport>> {
        lock(&self.state).live.values().map(|one| one.shared.report()).collect()
    }

    /// Returns true if the thread that follows namespaces has ended by itself, which it does not.
    pub fn has_ended(&self) -> bool {
        self.following.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until every namespace is at rest, at most `settle`, and ends the window, as
    /// [`Watch::finish`](crate::Watch::finish) does.
    ///
    /// # Errors
    /// The thread that follows namespaces has panicked. A namespace that fails fails alone: see
    /// [`HostReport::namespaces`].
    pub fn finish(mut self, settle: Duration) -> Result<HostReport, Error> {
        self.stop_following()?;
        let live: Vec<LiveNamespace> =
            lock(&self.state).live.drain().map(|(_, live)| live).collect();
        live.iter().for_each(|one| one.shared.order(Command::Finish { settle }));
        let mut reports = Vec::new();
        for one in live {
            let (report, error) = one.finish();
            if error.is_none() || has_begun(&report) {
                reports.push(report);
            }
            if let Some(error) = error {
                lock(&self.state).refuse(error);
            }
        }
        let mut state = lock(&self.state);
        state.namespaces.watched = reports.len().try_into().unwrap_or(u64::MAX);
        Ok(state.union(reports.iter()))
    }

    /// Ends the following thread, so that no namespace comes or goes.
    fn stop_following(&mut self) -> Result<(), Error> {
        let _ = self.stop.send(());
        let Some(thread) = self.following.take() else { return Ok(()) };
        thread.join().map_err(|_| Error::stopped())
    }
}

impl Drop for NamespacesWatch {
    fn drop(&mut self) {
        let _ = self.stop_following();
        let live: Vec<LiveNamespace> =
            lock(&self.state).live.drain().map(|(_, live)| live).collect();
        live.iter().for_each(|one| one.shared.order(Command::Abandon));
        for one in live {
            let _ = one.thread.join();
        }
    }
}

impl Following {
    /// Sorts namespaces: the caller's own first, then by age as far as inodes show it.
    fn in_order(&self, places: HashMap<u64, Place>) -> Vec<(u64, Place)> {
        let mut places: Vec<(u64, Place)> = places.into_iter().collect();
        places.sort_by_key(|(inode, _)| (Some(*inode) != self.own, *inode));
        places
    }

    /// Starts the tracking thread of a namespace.
    fn start(
        &mut self,
        inode: u64,
        place: &Place,
        opened: Opened,
        reader: &Reader,
    ) -> Result<LiveNamespace, Error> {
        let Opened { file, sources, ephemeral_ports, time_wait_reuse } = opened;
        self.next_number += 1;
        let namespace = Arc::new(NetworkNamespace {
            inode,
            name: place.name.clone(),
            number: self.next_number,
            ephemeral_ports,
            time_wait_reuse,
        });
        let shared = Arc::new(Shared::new());
        let (events, dumper) = sources.split();
        reader.add(events, &shared);
        let (ready, begun) = mpsc::sync_channel(1);
        let (scope, owners) = (self.scope, Owners::sharing(Arc::clone(&self.owners)));
        let (count, within) = (Arc::clone(&self.count), Arc::clone(&shared));
        let met = Arc::clone(&namespace);
        let room = (self.own != Some(inode)).then_some(ROOM);
        let body = move || {
            enter(&file)?;
            let tracking = Tracking::new(scope, within, dumper, owners);
            tracking.beside(count, met, room).run(&ready)
        };
        let thread = match spawn("keepwarm-track", body) {
            Ok(thread) => thread,
            Err(error) => {
                reader.remove(&shared);
                return Err(error);
            }
        };
        Ok(LiveNamespace { namespace, shared, thread, begun, missed: 0 })
    }

    /// Searches again and again, until it is stopped.
    fn follow(
        mut self,
        state: &Mutex<WatchedNamespaces>,
        reader: &Reader,
        stopped: &mpsc::Receiver<()>,
    ) {
        while stopped.recv_timeout(SEARCH_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            let found = self.search.find();
            lock(state).rename(&found);
            self.end_gone(&found, state, reader);
            self.start_new(found, state, reader);
            let watched = {
                let mut state = lock(state);
                let watched = state.live.len();
                state.namespaces.watched = watched.try_into().unwrap_or(u64::MAX);
                state.namespaces.unreadable = self.search.unreadable;
                watched
            };
            self.count.store(watched.max(1).try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    fn start_new(
        &mut self,
        found: HashMap<u64, Place>,
        state: &Mutex<WatchedNamespaces>,
        reader: &Reader,
    ) {
        self.refused.retain(|inode, left| {
            *left = left.saturating_sub(1);
            found.contains_key(inode) && *left > 0
        });
        let known: HashSet<u64> = lock(state).live.keys().copied().collect();
        let mut left_out = 0;
        for (inode, place) in self.in_order(found) {
            if known.contains(&inode) || self.refused.contains_key(&inode) {
                continue;
            }
            if lock(state).live.len() >= MAX_NAMESPACES {
                left_out += 1;
                continue;
            }
            let opened = Opened::open(&place, self.scope);
            match opened.and_then(|opened| self.start(inode, &place, opened, reader)) {
                Ok(live) => drop(lock(state).live.insert(inode, live)),
                // It has ended since.
                Err(error) if !place.path.exists() => drop(error),
                Err(error) => {
                    self.refused.insert(inode, TRY_AGAIN_AFTER);
                    lock(state).refuse(error);
                }
            }
        }
        lock(state).namespaces.left_out = left_out;
    }

    /// Ends the threads of namespaces that are gone, and those that an error has ended.
    fn end_gone(
        &mut self,
        found: &HashMap<u64, Place>,
        state: &Mutex<WatchedNamespaces>,
        reader: &Reader,
    ) {
        let mut over = Vec::new();
        {
            let mut state = lock(state);
            for (inode, live) in &mut state.live {
                live.missed = if found.contains_key(inode) { 0 } else { live.missed + 1 };
                if live.missed >= GONE_AFTER || live.thread.is_finished() {
                    over.push(*inode);
                }
            }
        }
        // Their sockets are dead, and the events of these have come.
        let order = |inode: &u64| {
            if let Some(one) = lock(state).live.get(inode) {
                one.shared.order(Command::Finish { settle: Duration::ZERO });
            }
        };
        over.iter().for_each(order);
        for inode in over {
            let Some(one) = lock(state).take_ending(inode) else { continue };
            let (shared, number) = (Arc::clone(&one.shared), one.namespace.number);
            let (report, error) = one.finish();
            {
                let mut state = lock(state);
                state.ending = None;
                if error.is_none() || has_begun(&report) {
                    state.keep_ended(report);
                }
                state.renamed.remove(&number);
                if let Some(error) = error {
                    self.refused.insert(inode, TRY_AGAIN_AFTER);
                    state.refuse(error);
                }
            }
            reader.remove(&shared);
        }
    }
}

impl LiveNamespace {
    /// Waits for the end of the thread. Returns its last report: where an error has ended it, the one that
    /// it had published.
    fn finish(self) -> (HostReport, Option<Error>) {
        let (report, error) = match self.thread.join().unwrap_or_else(|_| Err(Error::stopped())) {
            Ok(report) => (report, None),
            Err(error) => (HostReport::clone(&self.shared.report()), Some(error)),
        };
        let lost_events = self.shared.lost_events();
        (HostReport { lost_events, ..report }, error)
    }
}

impl WatchedNamespaces {
    /// Takes a namespace out whose thread was told to end.
    fn take_ending(&mut self, inode: u64) -> Option<LiveNamespace> {
        let one = self.live.remove(&inode)?;
        self.ending = Some(Arc::clone(&one.shared));
        Some(one)
    }

    /// Takes the names that namespaces have by now. One whose name was removed keeps it.
    fn rename(&mut self, found: &HashMap<u64, Place>) {
        for (inode, live) in &mut self.live {
            let name = found.get(inode).and_then(|place| place.name.as_ref());
            if let Some(name) = name.filter(|name| live.namespace.name.as_ref() != Some(name)) {
                let namespace = NetworkNamespace::clone(&live.namespace);
                let namespace =
                    Arc::new(NetworkNamespace { name: Some(name.clone()), ..namespace });
                live.namespace = Arc::clone(&namespace);
                self.renamed.insert(namespace.number, namespace);
            }
        }
    }

    /// Gives a destination's namespace the name that it has by now.
    fn name(&self, one: &mut Destination) {
        let renamed = one.namespace.as_ref().and_then(|it| self.renamed.get(&it.number));
        if let Some(renamed) = renamed {
            one.namespace = Some(Arc::clone(renamed));
        }
    }

    fn refuse(&mut self, error: Error) {
        self.namespaces.refused += 1;
        self.namespaces.refused_because = Some(error);
    }

    /// Keeps the last numbers of a namespace that has ended.
    fn keep_ended(&mut self, mut report: HostReport) {
        self.namespaces.ended += 1;
        for one in &mut report.destinations {
            one.end();
            self.name(one);
        }
        report.destinations.retain(|one| !one.is_empty());
        self.ended.push(report);
        if self.ended.len() > MAX_ENDED {
            let oldest = self.ended.remove(0);
            let sums = self.earlier.get_or_insert_default();
            let mut by_side = BTreeMap::new();
            for one in sums.destinations.drain(..).chain(oldest.destinations.iter().cloned()) {
                let sum =
                    by_side.entry(one.side).or_insert_with(|| Destination::new(None, one.side));
                sum.count_ended(&one);
            }
            sums.destinations = by_side.into_values().collect();
            add(sums, &oldest);
        }
    }

    /// Adds up the reports of all namespaces, those that have ended included.
    fn union<'a>(&'a self, live: impl Iterator<Item = &'a HostReport>) -> HostReport {
        let mut sum = HostReport { settled: true, ..HostReport::default() };
        for report in live {
            sum.settled &= report.settled;
            sum.events_overdue |= report.events_overdue;
            take(&mut sum, report);
        }
        sum.destinations.iter_mut().for_each(|one| self.name(one));
        self.ended.iter().chain(&self.earlier).for_each(|report| take(&mut sum, report));
        sum.destinations.sort_by_cached_key(Destination::rank);
        HostReport {
            scope: self.scope,
            window: self.begun.elapsed(),
            namespaces: Some(self.namespaces.clone()),
            ..sum
        }
    }
}

/// Returns whether a report has numbers of a window.
fn has_begun(report: &HostReport) -> bool {
    !report.window.is_zero()
}

/// Adds a report with its destinations.
fn take(sum: &mut HostReport, other: &HostReport) {
    sum.destinations.extend_from_slice(&other.destinations);
    add(sum, other);
}

/// Adds the counts of a report that are not those of its destinations.
fn add(sum: &mut HostReport, other: &HostReport) {
    sum.lost_events += other.lost_events;
    sum.unattributed_aborts += other.unattributed_aborts;
    sum.overflowed += other.overflowed;
    sum.late = sum.late.max(other.late);
    if let Some(refused) = other.time_waits_refused {
        sum.time_waits_refused = Some(sum.time_waits_refused.unwrap_or(0) + refused);
    }
}

fn lock(state: &Mutex<WatchedNamespaces>) -> MutexGuard<'_, WatchedNamespaces> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
