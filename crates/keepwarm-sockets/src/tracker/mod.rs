//! Tracks every TCP socket in scope and adds up opens and closes per destination.
//!
//! Owns the bookkeeping, for a port as for a host. Pure: time and processes are passed in, and no
//! code here calls the kernel. How one connection was closed is decided in `classify`.
//!
//! ```text
//!  destroy event ──► pending, by address pair ──► TIME_WAIT? by a dump, or by lookups ──┐
//!                             └──► the two events decide it already ────────────────────┤
//!                                                                                       ▼
//!   the peer died too, or is elsewhere, or is overdue ──► side named ──► classify ──► counted
//! ```
//!
//! **Sockets, not connections.** A socket is counted when it dies. If both sockets of a connection
//! are on this host, the peer's evidence is waited for, up to a second, and helps to classify; each
//! is counted with its own destination. Opens follow by conservation for each destination: closed +
//! alive - alive at the start. A count of connections is derived in `report::port`.
//!
//! **Client or server?** An event does not say. The socket whose port has a listener is the server's;
//! that is known only after the dump that follows, so sides are named when sockets are counted.
//!
//! **Aborted sockets.** Closing with SO_LINGER 0 makes the kernel clear the remote port, so the event
//! does not identify the connection. The socket's cookie does, if a dump has seen it alive; else its
//! peer, if that is here; else the peer's host, if that is another one with a single destination and
//! the scope is everything.
//!
//! **The window's edges.** A socket has the same cookie in a dump and in its event. At the start,
//! events of sockets that were not in the baseline are dropped until the window opens: those sockets
//! died before. At the end, events of sockets that the last dump saw alive are dropped: they died
//! after it.

mod addresses;
mod awaited_peers;
mod baseline;
pub(crate) mod classify;
pub(crate) mod dead;
pub(crate) mod death_time;
mod destinations;
mod dump;
mod exchange;
mod handshakes;
mod learned;
mod lookup;
mod lost_events;
mod messages;
pub(crate) mod newborns;
mod open;
pub(crate) mod owners;
mod pair;
mod pairing;
mod pending;
pub(crate) mod poll_diff;
mod removed_time_waits;
pub(crate) mod self_test_sockets;
mod sides;
mod small_queue;
#[cfg(test)]
mod tests;
mod totals;
mod trace_records;
mod unmatched_aborts;
pub(crate) mod window;

use std::net::SocketAddr;
use std::time::Duration;

use self::addresses::HostAddresses;
use self::awaited_peers::AwaitedPeers;
use self::baseline::Baseline;
use self::classify::is_disconnected;
use self::dead::DeadSocket;
use self::death_time::DeathTime;
use self::destinations::{DestinationId, Destinations};
use self::dump::Dump;
use self::lost_events::LostEvents;
use self::newborns::Newborns;
use self::open::OpenSockets;
use self::owners::Processes;
use self::pair::{Member, Pair};
use self::pending::Pending;
use self::poll_diff::PollComparison;
use self::removed_time_waits::RemovedTimeWaits;
use self::self_test_sockets::is_of_self_test;
use self::sides::{Listeners, ManyPorts};
use self::totals::{Doubt, OpenNow, Totals};
use self::trace_records::TraceRecords;
use self::unmatched_aborts::UnmatchedAborts;
use self::window::Window;
use crate::kernel::keyed_hash::{Map, Set};
use crate::kernel::proc::sysctl::EphemeralPorts;
use crate::kernel::socket::{Side, Socket};
use crate::kernel::trace::TraceBatch;
use crate::report::destination::Destination;
use crate::report::host::{HostReport, Scope};

/// The bookkeeping of every socket in scope.
#[derive(Debug)]
pub(crate) struct Tracker {
    scope: Scope,
    addresses: HostAddresses,
    listeners: Listeners,
    many_ports: ManyPorts,
    destinations: Destinations,
    open: OpenSockets,
    pending: Pending,
    aborts: UnmatchedAborts,
    awaited_peers: AwaitedPeers,
    newborns: Newborns,
    traces: TraceRecords,
    processes: Processes,
    baseline: Baseline,
    dump: Option<Dump>,
    /// Whether sockets have trace records too, which are read after their events.
    is_traced: bool,
    /// Beginning of the window; `None` before.
    opened_at: Option<Duration>,
    /// The last dump of the window has ended.
    is_closing: bool,
    /// The last dump saw a socket between two states.
    is_transitional: bool,
    /// When the levels were as they are; moves by whole seconds while time passes without a dump.
    levels_at: Duration,
    /// End of the last dump.
    dumped_at: Duration,
    /// When the counters have last shown that no connection had opened or closed since.
    confirmed_at: Duration,
    /// End of the last dump with `tcp_info`.
    last_info: Option<Duration>,
    /// Sockets that died while [`Pending`] was full.
    overflowed: u64,
    lost: LostEvents,
    removed: RemovedTimeWaits,
}

impl Tracker {
    pub(crate) fn new(scope: Scope, ephemeral: Option<EphemeralPorts>, is_traced: bool) -> Tracker {
        Tracker {
            scope,
            addresses: HostAddresses::default(),
            listeners: Listeners::new(ephemeral, scope),
            many_ports: ManyPorts::default(),
            destinations: Destinations::default(),
            open: OpenSockets::default(),
            pending: Pending::default(),
            aborts: UnmatchedAborts::default(),
            awaited_peers: AwaitedPeers::default(),
            newborns: Newborns::default(),
            traces: TraceRecords::default(),
            processes: Processes::default(),
            baseline: Baseline::default(),
            dump: None,
            is_traced,
            opened_at: None,
            is_closing: false,
            is_transitional: false,
            levels_at: Duration::ZERO,
            dumped_at: Duration::ZERO,
            confirmed_at: Duration::ZERO,
            last_info: None,
            overflowed: 0,
            lost: LostEvents::default(),
            removed: RemovedTimeWaits::default(),
        }
    }

    /// Treats TIME_WAITs towards other hosts as reusable too (`net.ipv4.tcp_tw_reuse` is 1).
    pub(crate) fn distrust_time_waits(&mut self) {
        self.pending.distrust_time_waits();
    }

    /// Announces that no window follows the first dump: nothing is kept for later dumps to compare.
    pub(crate) fn expect_single_dump(&mut self) {
        self.baseline.keep_no_minisockets();
    }

    /// Gives at most `room` destinations numbers of their own.
    pub(crate) fn limit_destinations(&mut self, room: usize) {
        self.destinations.limit(room);
    }

    // ---- the window -------------------------------------------------------------------------

    /// Makes the dump that has just ended the baseline.
    pub(crate) fn handle_baseline(&mut self) {
        for (client, cookies) in self.baseline.take_strangers() {
            if self.addresses.contains(&client) {
                self.handle_clients_here(&cookies);
            }
        }
        self.open.begin_window();
        self.destinations.for_each_mut(|one| one.begin_window());
    }

    fn handle_clients_here(&mut self, cookies: &[u64]) {
        for cookie in cookies {
            if let Some(open) = self.open.get_mut(*cookie) {
                open.server_only = false;
                self.destinations.get_mut(open.destination).handle_client_is_here();
            }
        }
    }

    /// Begins the window: every event of a death before the baseline has been handled.
    pub(crate) fn open_window(&mut self, now: Duration) {
        self.opened_at = Some(now);
    }

    /// Ends the window with the dump that has just ended.
    pub(crate) fn close_window(&mut self) {
        self.is_closing = true;
    }

    /// Returns whether some close rests on a missing TIME_WAIT alone, so that
    /// [`handle_counters`](Tracker::handle_counters) can change what is reported.
    pub(crate) fn has_doubtful_closes(&self) -> bool {
        self.destinations.iter().any(|one| one.doubtful_closes() > 0)
    }

    /// Takes the kernel's counts since the window began, as of the end of the last search: TIME_WAITs
    /// entered and aborts on data, and sockets opened (by connect(2) and by a SYN).
    pub(crate) fn handle_counters(&mut self, time_waits: Option<u64>, opened: Option<u64>) {
        self.removed.handle_counters(time_waits, opened);
    }

    /// Takes the number of events that were lost since the watch began.
    pub(crate) fn handle_lost(&mut self, count: u64, now: Duration) {
        self.lost.handle(count, now);
    }

    // ---- events -----------------------------------------------------------------------------

    /// Takes the death of a socket. Returns true if the socket is in scope.
    pub(crate) fn handle_event(&mut self, mut event: Socket, died: impl Into<DeathTime>) -> bool {
        let died = died.into();
        let open = self.open.get(event.cookie).copied();
        if self.is_closing && open.is_some_and(|open| self.open.is_current(&open)) {
            return true;
        }
        if self.opened_at.is_none() && open.is_none_or(|open| !open.was_open_at_start()) {
            return false;
        }
        if self.is_of_self_test(&event) {
            return false;
        }
        self.open.remove(event.cookie);
        let disconnected = is_disconnected(&event);
        if event.remote.port() == 0 {
            match open {
                // The addresses as they were; the evidence says what the kernel did to them.
                Some(open) if disconnected => {
                    (event.local, event.remote) = open.addresses_before(&self.addresses, &event);
                }
                None if disconnected => return self.handle_unnamed_abort(event, died),
                _ if is_failed_connect(&event) => {
                    self.handle_failed_connect(&event);
                    return true;
                }
                _ => return false,
            }
        }
        if !self.concerns(&event.local, &event.remote) {
            return false;
        }
        self.addresses.learn(event.local.ip());
        if self.side_evidence(&event).is_none() {
            self.many_ports.handle(&event.local, &event.remote);
        }
        let mut dead = DeadSocket::new(event, disconnected, open, died);
        if open.is_some_and(|open| self.open.is_current(&open)) {
            dead.handle_last_dump(self.dumped_at);
        }
        self.handle_dead(dead);
        true
    }

    /// Takes an abort that no dump has seen alive. Returns true if it certainly is in scope.
    fn handle_unnamed_abort(&mut self, event: Socket, died: DeathTime) -> bool {
        let is_of_port = self.scope.port == Some(event.local.port());
        // Its record can be found by a later reading of the trace, not by a search.
        let known_at = self.traces.readings();
        let dead = DeadSocket::new(event, true, None, died);
        self.aborts.push(DeadSocket { searched: true, known_at, ..dead });
        is_of_port
    }

    fn handle_dead(&mut self, dead: DeadSocket) {
        let (pair, member) = (Pair::of(&dead.event), Member::of(&dead.event));
        if self.pending.is_full() && !self.pending.contains(&pair) {
            self.overflowed += 1;
            self.count_unclassified(&dead);
            return;
        }
        let at = dead.at;
        let mut pending = self.pending.take(&pair);
        let dead = DeadSocket { known_at: self.pending.searches(), ..dead };
        pending.get_mut(member).push_back(dead);
        let is_decided = self.is_decided(&pair, &pending);
        if is_decided && !self.is_traced {
            let (low, high) = (pending.low.pop_front(), pending.high.pop_front());
            self.pending.spare(pending);
            self.conclude(&pair, low, high, None);
            return;
        }
        let last = pending.get(member).back();
        let searched = is_decided || last.is_some_and(|dead| self.is_decided_alone(dead));
        if is_decided {
            pending.iter_mut().for_each(|dead| dead.searched = true);
        } else if let Some(last) = pending.get_mut(member).iter_mut().next_back() {
            last.searched = searched;
        }
        self.pending.put(pair, pending, at, searched);
    }

    fn handle_failed_connect(&mut self, event: &Socket) {
        let host = SocketAddr::new(event.remote.ip(), 0);
        // With a scope of one port, the host must at least be known for that port.
        let is_known = self.destinations.iter().any(|one| {
            one.side() == Side::Client
                && one.key().0.is_some_and(|to| to.ip() == host.ip() && to.port() != 0)
        });
        if self.scope.port.is_none() || is_known {
            let id = self.destination_id(host, Side::Client);
            self.destinations.get_mut(id).count_failed_connect();
        }
    }

    /// Takes a reading of the trace, before the conclusions that follow.
    pub(crate) fn handle_traced(&mut self, traced: &mut TraceBatch) {
        if traced.begins {
            self.traces.begin_reading(traced.at_ns);
        }
        let owners = self.processes.meet_traced(&mut traced.processes);
        for mut record in traced.ended.drain(..) {
            if self.concerns(&record.local, &record.remote) {
                let owner = record.owner.and_then(|pid| owners.get(&pid));
                record.owner = owner.map(|process| process.number());
                self.traces.put(&record);
            }
        }
        for (from, to, reason) in traced.resets.drain(..) {
            self.traces.put_reset((from, to), reason);
        }
    }

    /// Takes what polls saw of each destination; no other part counts opens and closes then.
    pub(crate) fn handle_polls(&mut self, polls: &PollComparison) {
        let keys: Set<_> = self.destinations.iter().map(|one| one.key()).collect();
        self.destinations.for_each_mut(|one| {
            let (service, side) = one.key();
            let has_own = |service| keys.contains(&(Some(service), side));
            one.set_polls(polls.of(service, side, &has_own));
        });
    }

    // ---- scope ------------------------------------------------------------------------------

    /// Returns whether a socket belongs to a self-test, which another watch may run at any time.
    fn is_of_self_test(&self, socket: &Socket) -> bool {
        self.scope.ip.is_none() && is_of_self_test(socket)
    }

    /// Returns whether either address can be that of a service in scope. Cheap, and possible before
    /// sides are known.
    fn concerns(&self, local: &SocketAddr, remote: &SocketAddr) -> bool {
        self.scope.names(local) || self.scope.names(remote)
    }

    fn destination_id(&mut self, service: SocketAddr, side: Side) -> DestinationId {
        self.destinations.id_of(service, side, self.dump.as_mut().map(|dump| &mut dump.levels))
    }

    // ---- state ------------------------------------------------------------------------------

    /// Returns the arrival of the oldest dead socket that no search has looked for.
    pub(crate) fn unsearched_since(&self) -> Option<Duration> {
        self.pending.unsearched_since()
    }

    /// Returns whether a search for TIME_WAITs proves as much seconds later: see
    /// [`Pending::is_patient`].
    pub(crate) fn may_search_later(&self) -> bool {
        self.pending.is_patient()
    }

    /// Returns whether the last dump saw a socket between two states.
    pub(crate) fn is_transitional(&self) -> bool {
        self.is_transitional
    }

    /// Returns whether some dead socket waits only for its peer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.pending.is_waiting() || !self.aborts.is_empty()
    }

    /// Returns the number of pairs of addresses of which a dead socket waits.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Returns the number of open sockets.
    pub(crate) fn alive_sockets(&self) -> usize {
        self.open.len()
    }

    /// Takes that no connection has opened or closed since the last dump.
    pub(crate) fn confirm_levels(&mut self, now: Duration) {
        self.confirmed_at = now;
    }

    /// Returns when the levels were what they are reported as: at the last dump, or when they were
    /// confirmed.
    pub(crate) fn levels_at(&self) -> Duration {
        self.dumped_at.max(self.confirmed_at)
    }

    /// Returns how old the last dump with `tcp_info` is.
    pub(crate) fn since_info(&self, now: Duration) -> Option<Duration> {
        self.last_info.map(|then| now.saturating_sub(then))
    }

    /// Reports the window so far.
    pub(crate) fn report(&self, window: &Window) -> HostReport {
        let mut open = self.open_now();
        let doubt = self.doubt(window.lost_events);
        let in_scope = self.destinations.ids().filter(|id| {
            let one = self.destinations.get(*id);
            let admits = |service| self.scope.admits(&service, one.side());
            !one.is_empty() && one.key().0.is_none_or(admits)
        });
        let mut destinations: Vec<Destination> = in_scope
            .map(|id| {
                let open = open.remove(&id).unwrap_or_default();
                let owners = |seen: &_| self.processes.owners(seen);
                self.destinations.get(id).report(open, doubt, owners)
            })
            .collect();
        self.name_ipv4_only(&mut destinations);
        destinations.sort_by_cached_key(Destination::rank);
        HostReport {
            scope: self.scope,
            window: window.length,
            time_waits_refused: window.time_waits_refused,
            unattributed_aborts: self.aborts.unattributed(),
            overflowed: self.overflowed,
            settled: window.settled,
            destinations,
            ..HostReport::default()
        }
    }

    /// Returns how many of the closes that rest on a missing TIME_WAIT were the local side's.
    fn doubt(&self, lost_events: u64) -> Doubt {
        // Self-tests of other watches open sockets, and the counters are read a moment apart.
        const SLACK: u64 = 20;
        let opened = self.destinations.iter().map(Totals::attempts).sum();
        let all = self.destinations.iter().map(Totals::doubtful_closes).sum::<u64>();
        let mut local = self.removed.missing(opened, lost_events + self.overflowed);
        if local.most > 0 && local.most + all / SLACK >= all {
            local.most = local.most.max(all);
        }
        Doubt { local, all }
    }

    /// Names the service that failed connects to an IPv6 address of this host were meant for, if it
    /// listens on IPv4 only. The kernel keeps no port of a failed connect, so it is the one to which
    /// most connections were opened.
    fn name_ipv4_only(&self, destinations: &mut [Destination]) {
        let is_failing = |one: &Destination| {
            let is_here = |to: SocketAddr| to.is_ipv6() && self.addresses.contains(&to.ip());
            one.side == Side::Client && one.connect_failed > 0 && one.service.is_some_and(is_here)
        };
        if !destinations.iter().any(is_failing) {
            return;
        }
        let meant = destinations.iter().filter(|one| one.side == Side::Client && one.opened > 0);
        let meant = meant.filter_map(|one| one.service.map(|service| (one.opened, service)));
        let meant = meant.filter(|(_, service)| {
            self.addresses.contains(&service.ip()) && self.listeners.is_ipv4_only(service)
        });
        let meant = meant.max().map(|(_, service)| service);
        for one in destinations.iter_mut().filter(|one| is_failing(one)) {
            one.ipv4_only = meant;
        }
    }

    /// Adds up the open sockets of each destination.
    fn open_now(&self) -> Map<DestinationId, OpenNow> {
        let mut all: Map<DestinationId, OpenNow> = Map::default();
        for open in self.open.alive() {
            let id = self.destinations.current(open.destination);
            let one = all.entry(id).or_default();
            let requests = open.requests_now();
            one.count(&requests);
            one.messages += requests.plain.map_or(0, |_| open.messages_so_far());
            if let Some(process) = open.process() {
                one.count_owner(process);
            }
        }
        all
    }
}

/// Returns whether connect(2) gave up: the queue has the SYN and the two numbers that
/// tcp_disconnect() adds, and there is a peer's address.
fn is_failed_connect(event: &Socket) -> bool {
    event.wqueue == 3 && !event.remote.ip().is_unspecified()
}
