//! The sums of one destination, and what is done when there are too many.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{DeadPair, MAX_DESTINATIONS, OpenSocket, Tracker};
use crate::kernel::proc::owners::{OwnerEvidence, Sightings};
use crate::kernel::socket::{Side, TIME_WAIT_MS};
use crate::report::closes::SocketCloses;
use crate::report::destination::{Destination, PortsTaken, ServerOnly, TracedCloses};
use crate::report::histogram::Histogram;
use crate::report::host::{HostReport, Tracing};
use crate::report::polls::PollDiff;
use crate::tracker::poll_diff::Glimpses;
use crate::tracker::window::Window;

/// What has a book: a service and the side we are on. `None` is the folded one.
pub(crate) type Key = (Option<SocketAddr>, Side);

/// What a look counted of one destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Level {
    pub(crate) alive: u64,
    pub(crate) established: u64,
    pub(crate) close_wait: u64,
    /// Of `alive`, servers' whose client is not in this network namespace.
    pub(crate) server_only: u64,
    pub(crate) time_wait: u64,
    pub(crate) time_wait_in_window: u64,
    pub(crate) by_age: [u32; SECONDS],
    /// Source addresses of these connections; for a client only.
    pub(crate) sources: u64,
    pub(crate) ports: Option<PortsTaken>,
}

/// A connection that is open says more than one that was.
const ALIVE_WEIGHT: u64 = 4;
/// Processes whose name is remembered.
const MAX_NAMES: usize = 1 << 12;

/// How long TIME_WAIT lasts, in seconds.
const SECONDS: usize = TIME_WAIT_MS as usize / 1000;

impl Default for Level {
    fn default() -> Level {
        Level {
            alive: 0,
            established: 0,
            close_wait: 0,
            server_only: 0,
            time_wait: 0,
            time_wait_in_window: 0,
            by_age: [0; SECONDS],
            sources: 0,
            ports: None,
        }
    }
}

impl Level {
    pub(crate) fn count_time_wait(&mut self, age_ms: u32) {
        self.time_wait += 1;
        let second = usize::try_from(age_ms / 1000).unwrap_or(SECONDS).min(SECONDS - 1);
        self.by_age[second] += 1;
    }

    /// Seconds later, if nothing happens: the oldest TIME_WAITs have ended.
    pub(super) fn age(&mut self, seconds: usize) {
        let stay = SECONDS.saturating_sub(seconds);
        let ended: u64 = self.by_age[stay..].iter().copied().map(u64::from).sum();
        self.by_age.copy_within(..stay, SECONDS - stay);
        self.by_age[..SECONDS - stay].fill(0);
        self.time_wait -= ended;
        // Those of the window are the youngest.
        self.time_wait_in_window = self.time_wait_in_window.min(self.time_wait);
        // Of several sources, the next look tells which had them.
        if let Some(ports) = self.ports.as_mut().filter(|_| self.sources == 1) {
            ports.used = ports.used.saturating_sub(ended);
        }
    }

    pub(super) fn merge(&mut self, other: &Level) {
        self.alive += other.alive;
        self.established += other.established;
        self.close_wait += other.close_wait;
        self.server_only += other.server_only;
        self.time_wait += other.time_wait;
        self.time_wait_in_window += other.time_wait_in_window;
        self.sources += other.sources;
        self.by_age.iter_mut().zip(other.by_age).for_each(|(sum, more)| *sum += more);
        // Ports are counted towards one service: of the folded ones the fullest is what matters.
        self.ports = self.ports.into_iter().chain(other.ports).max_by_key(|ports| ports.used);
    }
}

/// The sums of one destination.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) key: Key,
    pub(crate) folded: u64,
    pub(crate) alive_at_start: u64,
    pub(crate) close_wait_at_start: u64,
    pub(crate) closed: SocketCloses,
    pub(crate) connect_failed: u64,
    pub(crate) requests: Histogram,
    pub(crate) idle_local: Histogram,
    pub(crate) idle_remote: Histogram,
    pub(crate) received: Histogram,
    pub(crate) established_seen: Histogram,
    pub(crate) now: Level,
    pub(crate) sightings: Sightings,
    pub(crate) traced: TracedCloses,
    /// Of connections without a client's socket here: those that ended, and those open at the start.
    pub(crate) server_only: ServerOnly,
    /// Where there are no events.
    pub(crate) seen_by_polls: Option<PollDiff>,
}

/// The connections of one destination that are open.
#[derive(Debug, Clone, Default)]
struct Open {
    /// Within the window.
    requests: Histogram,
    /// Of those without a client's socket here.
    server_only: Histogram,
    answers: u64,
    sightings: Sightings,
}

impl Totals {
    pub(crate) fn new(key: Key) -> Totals {
        Totals {
            key,
            folded: 1,
            alive_at_start: 0,
            close_wait_at_start: 0,
            closed: SocketCloses::default(),
            connect_failed: 0,
            requests: Histogram::default(),
            idle_local: Histogram::default(),
            idle_remote: Histogram::default(),
            received: Histogram::default(),
            established_seen: Histogram::default(),
            now: Level::default(),
            sightings: Sightings::default(),
            traced: TracedCloses::default(),
            server_only: ServerOnly::default(),
            seen_by_polls: None,
        }
    }

    fn fold_in(&mut self, other: &Totals) {
        self.folded += other.folded;
        self.alive_at_start += other.alive_at_start;
        self.close_wait_at_start += other.close_wait_at_start;
        self.closed.merge(&other.closed);
        self.connect_failed += other.connect_failed;
        self.requests.merge(&other.requests);
        self.idle_local.merge(&other.idle_local);
        self.idle_remote.merge(&other.idle_remote);
        self.received.merge(&other.received);
        // How many were established at once is not the sum of when each was.
        self.established_seen = Histogram::default();
        self.now.merge(&other.now);
        self.sightings.merge(&other.sightings);
        self.traced.merge(&other.traced);
        self.server_only.merge(&other.server_only);
    }

    /// How much there is to say about it; `look`: what the look that goes on has counted.
    fn weight(&self, look: Option<&Level>) -> u64 {
        let level = |level: &Level| ALIVE_WEIGHT * level.alive + level.time_wait;
        let now = level(&self.now).max(look.map_or(0, level));
        let glimpsed = self.seen_by_polls.map_or(0, |seen| seen.changes());
        self.closed.total() + self.connect_failed + now + glimpsed
    }

    fn opened(&self) -> u64 {
        // Without events nothing is conserved.
        if self.seen_by_polls.is_some() {
            return 0;
        }
        (self.closed.total() + self.now.alive).saturating_sub(self.alive_at_start)
    }

    fn is_empty(&self) -> bool {
        self.weight(None) == 0 && self.alive_at_start == 0
    }
}

/// The part of a connection's requests that fell within the window; `start` as in [`OpenSocket`].
pub(super) fn within(requests: Option<u32>, start: Option<Option<u32>>) -> Option<u32> {
    match start {
        None => requests,
        Some(before) => requests?.checked_sub(before?).filter(|more| *more > 0),
    }
}

impl Tracker {
    /// The book of a destination, opened if need be.
    pub(crate) fn book_of(&mut self, service: SocketAddr, side: Side) -> u32 {
        let key = (Some(service), side);
        if let Some(place) = self.index.get(&key) {
            return *place;
        }
        if self.books.len() >= 2 * MAX_DESTINATIONS {
            self.fold();
        }
        self.open_book(key)
    }

    fn open_book(&mut self, key: Key) -> u32 {
        let place = u32::try_from(self.books.len()).unwrap_or(u32::MAX);
        self.books.push(Totals::new(key));
        self.index.insert(key, place);
        place
    }

    /// Keeps the busiest half of the books and folds the others into one for each side.
    pub(crate) fn fold(&mut self) {
        let mut order: Vec<usize> = (0..self.books.len()).collect();
        order.sort_by_key(|place| {
            let book = &self.books[*place];
            let look = self.look.as_ref().and_then(|look| look.level(*place));
            (book.key.0.is_some(), std::cmp::Reverse(book.weight(look)))
        });
        // At most two books stand for folded ones; they sort first.
        let (keep, fold) = order.split_at(order.len().min(MAX_DESTINATIONS));
        let mut old: Vec<Option<Totals>> =
            std::mem::take(&mut self.books).into_iter().map(Some).collect();
        let mut moved = vec![0; old.len()];
        self.index.clear();
        for place in keep {
            if let Some(book) = old[*place].take() {
                let key = book.key;
                moved[*place] = self.open_book(key);
                self.books[moved[*place] as usize] = book;
            }
        }
        for place in fold {
            let Some(book) = old[*place].take() else { continue };
            let key = (None, book.key.1);
            let into = match self.index.get(&key) {
                Some(into) => *into,
                None => {
                    let into = self.open_book(key);
                    self.books[into as usize].folded = 0;
                    into
                }
            };
            self.books[into as usize].fold_in(&book);
            moved[*place] = into;
        }
        let remap = |alive: &mut OpenSocket| alive.book = moved[alive.book as usize];
        self.awaited.books_mut().for_each(|book| *book = moved[*book as usize]);
        self.alive.values_mut().for_each(remap);
        // What is being settled is not in its place.
        if let Some(moves) = &mut self.moves {
            moves.push(moved.clone());
        }
        let dead = self.pending.values_mut().flat_map(DeadPair::halves_mut);
        let strays = self.strays.values_mut().flatten();
        dead.chain(strays).filter_map(|half| half.seen.as_mut()).for_each(remap);
        if let Some(look) = &mut self.look {
            look.remap(&moved);
        }
    }

    /// Where a book is that was at `place` when the settling began.
    pub(super) fn place_now(&self, place: u32) -> u32 {
        let moves = self.moves.iter().flatten();
        moves.fold(place, |place, moved| moved[place as usize])
    }

    /// The traffic so far.
    pub(crate) fn report(&self, window: &Window) -> HostReport {
        let mut open = self.open();
        let mut destinations: Vec<Destination> = self
            .books
            .iter()
            .zip(&mut open)
            .filter(|(book, _)| !book.is_empty())
            .filter(|(book, _)| {
                book.key.0.is_none_or(|service| self.scope.admits(&service, book.key.1))
            })
            .map(|(book, open)| self.destination(book, std::mem::take(open)))
            .collect();
        destinations.sort_by_key(Destination::rank);
        HostReport {
            scope: self.scope,
            settled: window.settled,
            window: window.length,
            lost_events: 0,
            time_waits_refused: window.time_waits_refused,
            unattributed_aborts: self.unattributed_aborts,
            overflowed: self.overflowed,
            tracing: Tracing::default(),
            polls: None,
            destinations,
        }
    }

    /// What is open, by book.
    fn open(&self) -> Vec<Open> {
        let mut books = vec![Open::default(); self.books.len()];
        for alive in self.alive.values().filter(|alive| alive.seen >= self.last_stock) {
            let open = &mut books[alive.book as usize];
            if let Some(requests) = within(alive.requests.get(), alive.start()) {
                open.requests.add(requests);
                if alive.server_only {
                    open.server_only.add(requests);
                }
                open.answers += u64::from(alive.answers.saturating_sub(alive.answers_at_start));
            }
            if let Some(pid) = alive.pid.get() {
                open.sightings.see(pid, OwnerEvidence::Sampled);
            }
        }
        books
    }

    fn destination(&self, book: &Totals, open: Open) -> Destination {
        let (service, side) = book.key;
        let mut requests = book.requests.clone();
        requests.merge(&open.requests);
        let mut server_only =
            ServerOnly { alive: book.now.server_only, ..book.server_only.clone() };
        server_only.requests.merge(&open.server_only);
        Destination {
            server_only,
            service,
            side,
            folded: book.folded,
            opened: book.opened(),
            closed: book.closed,
            connect_failed: book.connect_failed,
            requests,
            requests_open: open.requests,
            answers_open: open.answers,
            idle_before_local_close: book.idle_local.clone(),
            idle_before_remote_close: book.idle_remote.clone(),
            received: book.received.clone(),
            alive_at_start: book.alive_at_start,
            alive: book.now.alive,
            established: book.now.established,
            close_wait: book.now.close_wait,
            close_wait_at_start: book.close_wait_at_start,
            established_seen: book.established_seen.clone(),
            time_wait: book.now.time_wait,
            time_wait_in_window: book.now.time_wait_in_window,
            time_wait_by_age: book.now.by_age.to_vec(),
            ports: book.now.ports.filter(|_| side == Side::Client),
            owners: book.sightings.owners(&self.names),
            owners_open: open.sightings.owners(&self.names),
            traced: book.traced.clone(),
            seen_by_polls: book.seen_by_polls,
        }
    }

    /// What looks alone tell of each destination; nothing else counts opens and closes then.
    pub(crate) fn handle_glimpses(&mut self, glimpses: &Glimpses) {
        for book in &mut self.books {
            let (service, side) = book.key;
            let named = |service| self.index.contains_key(&(Some(service), side));
            book.seen_by_polls = Some(glimpses.of(service, side, &named));
        }
    }

    // ---- processes --------------------------------------------------------------------------

    /// Files of live sockets whose process is not known yet, listeners' included.
    pub(crate) fn nameless_inodes(&self) -> Vec<u32> {
        let alive = self
            .alive
            .values()
            .filter(|one| one.pid.get().is_none() && one.seen == self.last_stock);
        let ports = self.books.iter().filter(|book| book.key.1 == Side::Server);
        let services = ports.filter_map(|book| book.key.0);
        let listeners = services.flat_map(|service| self.listeners.inodes(&service).to_vec());
        let listeners = listeners.filter(|inode| !self.listening.contains_key(inode));
        alive.map(|one| one.inode).chain(listeners).filter(|inode| *inode != 0).collect()
    }

    /// What the process table said: inode to process.
    pub(crate) fn handle_processes(
        &mut self,
        pids: &HashMap<u32, u32>,
        name: impl Fn(u32) -> Option<String>,
    ) {
        for one in self.alive.values_mut().filter(|one| one.seen == self.last_stock) {
            if one.pid.get().is_none() {
                one.pid = pids.get(&one.inode).copied().into();
            }
            if let Some(pid) = one.pid.get() {
                self.books[one.book as usize].sightings.see(pid, OwnerEvidence::Sampled);
            }
        }
        self.forget_listening(&name);
        for book in &mut self.books {
            let (Some(service), Side::Server) = book.key else { continue };
            for inode in self.listeners.inodes(&service) {
                if let Some(pid) = pids.get(inode) {
                    self.listening.insert(*inode, *pid);
                }
                if let Some(pid) = self.listening.get(inode) {
                    book.sightings.see(*pid, OwnerEvidence::Listener);
                }
            }
        }
        let pids: HashSet<u32> = self.books.iter().flat_map(|book| book.sightings.pids()).collect();
        for pid in pids {
            if !self.names.contains_key(&pid) {
                self.learn_name(pid, name(pid));
            }
        }
    }

    /// Processes that are gone listen no more: whoever has their files is looked for again.
    fn forget_listening(&mut self, name: &impl Fn(u32) -> Option<String>) {
        if self.listening.len() >= MAX_NAMES {
            self.listening.clear();
        }
        let pids: HashSet<u32> = self.listening.values().copied().collect();
        let gone: HashSet<u32> = pids.into_iter().filter(|pid| name(*pid).is_none()).collect();
        self.listening.retain(|_, pid| !gone.contains(pid));
    }

    pub(super) fn learn_name(&mut self, pid: u32, name: Option<String>) {
        if self.names.len() < MAX_NAMES || self.names.contains_key(&pid) {
            self.names.extend(name.map(|name| (pid, name)));
        }
    }

    /// How old the last look with `tcp_info` is.
    pub(crate) fn since_info(&self, now: Duration) -> Option<Duration> {
        self.last_info.map(|then| now.saturating_sub(then))
    }
}
