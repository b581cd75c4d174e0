//! From rows and events to the traffic of many destinations, end by end.
//!
//! Owns the bookkeeping of every socket in scope. Pure: time and processes are handed in, nothing
//! here touches the kernel. Judgement of a single connection is `classify`'s.
//!
//! ```text
//!  event of an end ──► pending, by address pair ──► TIME_WAIT? by a look, or asked for ──┐
//!                            └──► both ends tell already ─────────────────────────────────┤
//!                                                                                       ▼
//!   the other end died too, or is elsewhere, or is overdue ──► side named ──► classify ──► booked
//! ```
//!
//! **Ends, not connections.** An end is booked when it dies. If both ends are on this host the
//! other one's evidence is waited for, up to a second, and helps to judge; each is booked with its
//! own destination. Opens follow by conservation for each destination: closed + alive - alive at
//! the start.
//!
//! **Which side is it?** An event does not say. The end whose port has a listener is the server;
//! that is known only after the look that follows, so ends are named when they are booked.
//!
//! **An end that lost its name.** SO_LINGER 0 clears the remote port of the aborting end. It is
//! known by its cookie if a look has seen it alive; else by the other end, if that is here; else
//! by its host, if that is another one, has just one such destination, and there is no filter.

mod awaited;
pub(crate) mod classify;
mod dump;
mod lookup;
mod open;
mod pairing;
pub(crate) mod poll_diff;
pub(crate) mod self_test_sockets;
mod sides;
mod small_queue;
#[cfg(test)]
mod tests;
mod totals;
mod traced;
pub(crate) mod window;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use self::awaited::Awaited;
use self::dump::Look;
use self::open::OpenSocket;
use self::self_test_sockets::is_of_self_test;
use self::sides::Listeners;
use self::small_queue::SmallQueue;
use self::totals::{Key, Totals};
use self::traced::Unclaimed;
use crate::kernel::keyed_hash::Map;
use crate::kernel::proc::sysctl::EphemeralPorts;
use crate::kernel::socket::{Side, Socket};
use crate::report::host::Scope;
use crate::tracker::classify::{TimeWait, is_disconnected};

/// Destinations with numbers of their own; beyond them the quietest are folded into one.
const MAX_DESTINATIONS: usize = 1 << 10;
/// Unfinished business: at most this many pairs of addresses, some 400 bytes each.
const MAX_PENDING: usize = 1 << 17;
/// Aborts that nobody has claimed.
const MAX_STRAYS: usize = 1 << 16;
/// Addresses learned to be on this host.
const MAX_ADDRESSES: usize = 1 << 12;

/// On loopback a client's TIME_WAIT may be reused after 1 s: a look that is older proves nothing
/// by finding none.
const DECISIVE: Duration = Duration::from_millis(900);
/// Towards another host it may not, unless `net.ipv4.tcp_tw_reuse` is 1; a server's goes with the
/// next SYN from the same port, which comes around later than this.
const DECISIVE_ELSEWHERE: Duration = Duration::from_secs(5);
/// How long one end waits for the other's event.
const MATE_WAIT: Duration = Duration::from_secs(1);
/// How long an abort waits for the trace to be read, which a busy host may keep waiting itself.
const TRACE_WAIT: Duration = Duration::from_secs(3);
/// How much older than the death of its socket a TIME_WAIT may look: delivery and a jiffy.
const FIT_SLACK: Duration = Duration::from_secs(1);

/// The two addresses of a connection in a fixed order, the same whichever end names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    low: SocketAddr,
    high: SocketAddr,
}

impl Pair {
    fn of(socket: &Socket) -> Pair {
        Pair::between(socket.local, socket.remote)
    }

    fn between(local: SocketAddr, remote: SocketAddr) -> Pair {
        Pair { low: local.min(remote), high: local.max(remote) }
    }

    /// Local and remote address of one of its ends.
    fn seen_from(&self, end: Which) -> (SocketAddr, SocketAddr) {
        match end {
            Which::Low => (self.low, self.high),
            Which::High => (self.high, self.low),
        }
    }
}

/// One end of a [`Pair`]: the one with the lower address, or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Low,
    High,
}

impl Which {
    fn of(socket: &Socket) -> Which {
        Which::at(&socket.local, &socket.remote)
    }

    fn at(local: &SocketAddr, remote: &SocketAddr) -> Which {
        if local <= remote { Which::Low } else { Which::High }
    }

    fn other(self) -> Which {
        match self {
            Which::Low => Which::High,
            Which::High => Which::Low,
        }
    }
}

/// One end that died.
#[derive(Debug, Clone)]
struct DeadSocket {
    at: Duration,
    event: Socket,
    /// What the looks had seen of it.
    seen: Option<OpenSocket>,
    /// How many rounds had begun when this end became known: only a later one speaks for it.
    known_at_round: u64,
    /// It has been looked for, or need not be.
    looked: bool,
    time_wait: TimeWait,
    /// Its file was open long after the connection was over.
    silent: Duration,
    /// tcp_disconnect() went over it: this end sent an RST.
    disconnected: bool,
}

/// The dead ends of one pair of addresses, each side oldest first.
#[derive(Debug, Default)]
struct DeadPair {
    low: SmallQueue<DeadSocket>,
    high: SmallQueue<DeadSocket>,
}

impl DeadPair {
    fn get(&self, end: Which) -> &SmallQueue<DeadSocket> {
        match end {
            Which::Low => &self.low,
            Which::High => &self.high,
        }
    }

    fn get_mut(&mut self, end: Which) -> &mut SmallQueue<DeadSocket> {
        match end {
            Which::Low => &mut self.low,
            Which::High => &mut self.high,
        }
    }

    fn is_empty(&self) -> bool {
        self.low.is_empty() && self.high.is_empty()
    }

    fn halves_mut(&mut self) -> impl Iterator<Item = &mut DeadSocket> {
        self.low.iter_mut().chain(self.high.iter_mut())
    }
}

/// The books of every end in scope.
#[derive(Debug)]
pub(crate) struct Tracker {
    scope: Scope,
    listeners: Listeners,
    /// Addresses of this host, and their places in `homes`.
    here: Map<IpAddr, NonZeroU16>,
    homes: Vec<IpAddr>,
    books: Vec<Totals>,
    index: Map<Key, u32>,
    alive: Map<u64, OpenSocket>,
    pending: Map<Pair, DeadPair>,
    strays: Map<(u16, IpAddr), VecDeque<DeadSocket>>,
    stray_count: usize,
    /// Beginning of the window; `None` before.
    opened_at: Option<Duration>,
    /// The last dump has been taken.
    closing: bool,
    look: Option<Look>,
    looks: u64,
    /// Polls, and rounds of questions.
    rounds: u64,
    /// TIME_WAITs on pairs with unfinished business, with the moment they were entered.
    found: Vec<(Pair, Which, Option<Duration>)>,
    /// The last look that took stock: all but one after the window's end.
    last_stock: u64,
    /// When the levels were as they are; only whole seconds pass.
    levels_at: Duration,
    last_info: Option<Duration>,
    unsearched_since: Option<Duration>,
    waiting: bool,
    transitional: bool,
    unattributed_aborts: u64,
    overflowed: u64,
    names: HashMap<u32, String>,
    /// Ends are told of by traces too, which are read later.
    traced: bool,
    /// Files of listeners whose process is known.
    listening: HashMap<u32, u32>,
    /// While pending ends are being settled: where books went each time that some were folded.
    moves: Option<Vec<Vec<u32>>>,
    unclaimed: Unclaimed,
    awaited: Awaited,
    /// Cookies of the TIME_WAITs, and of the orphans in FIN_WAIT2, that the baseline met.
    minisockets_at_start: Map<u64, ()>,
    /// Servers' sockets of the baseline whose clients seemed to be elsewhere, by client: a row of
    /// the client's, which says that its address is here, may have come later.
    strangers: Map<IpAddr, Vec<u64>>,
    /// For how long a look that finds no TIME_WAIT towards another host proves that there was none.
    decisive_elsewhere: Duration,
}

impl Tracker {
    pub(crate) fn new(scope: Scope, ephemeral: Option<EphemeralPorts>, traced: bool) -> Tracker {
        Tracker {
            scope,
            listeners: Listeners::new(ephemeral, scope.port),
            here: Map::default(),
            homes: Vec::new(),
            books: Vec::new(),
            index: Map::default(),
            alive: Map::default(),
            pending: Map::default(),
            strays: Map::default(),
            stray_count: 0,
            opened_at: None,
            closing: false,
            look: None,
            looks: 0,
            rounds: 0,
            found: Vec::new(),
            last_stock: 0,
            levels_at: Duration::ZERO,
            last_info: None,
            unsearched_since: None,
            waiting: false,
            transitional: false,
            unattributed_aborts: 0,
            overflowed: 0,
            names: HashMap::new(),
            traced,
            listening: HashMap::new(),
            moves: None,
            unclaimed: Unclaimed::default(),
            awaited: Awaited::default(),
            minisockets_at_start: Map::default(),
            strangers: Map::default(),
            decisive_elsewhere: DECISIVE_ELSEWHERE,
        }
    }

    /// TIME_WAITs towards other hosts may be reused as well (`net.ipv4.tcp_tw_reuse` is 1).
    pub(crate) fn distrust_time_waits(&mut self) {
        self.decisive_elsewhere = DECISIVE;
    }

    /// The look that has just ended is the baseline.
    pub(crate) fn handle_baseline(&mut self) {
        for (client, cookies) in std::mem::take(&mut self.strangers) {
            if self.is_here(&client) {
                self.handle_clients_here(&cookies);
            }
        }
        for alive in self.alive.values_mut().filter(|alive| alive.seen == self.last_stock) {
            alive.begin();
            let book = &mut self.books[alive.book as usize];
            book.alive_at_start += 1;
            book.server_only.alive_at_start += u64::from(alive.server_only);
        }
        for book in &mut self.books {
            book.close_wait_at_start = book.now.close_wait;
        }
    }

    fn handle_clients_here(&mut self, cookies: &[u64]) {
        for cookie in cookies {
            if let Some(alive) = self.alive.get_mut(cookie) {
                alive.server_only = false;
                self.books[alive.book as usize].now.server_only -= 1;
            }
        }
    }

    pub(crate) fn open_window(&mut self, now: Duration) {
        self.opened_at = Some(now);
    }

    pub(crate) fn close_window(&mut self) {
        self.closing = true;
    }

    /// A socket died. True if it has to do with the scope.
    pub(crate) fn handle_event(&mut self, mut event: Socket, at: Duration) -> bool {
        let seen = self.alive.get(&event.cookie).copied();
        if self.closing && seen.is_some_and(|seen| seen.seen == self.last_stock) {
            return true;
        }
        if self.opened_at.is_none() && seen.is_none_or(|seen| !seen.at_start) {
            return false;
        }
        if self.is_played(&event) {
            return false;
        }
        self.alive.remove(&event.cookie);
        let disconnected = is_disconnected(&event);
        if event.remote.port() == 0 {
            match seen {
                // The addresses as they were; `classify` is told what the kernel did to them.
                Some(seen) if disconnected => {
                    (event.local, event.remote) = self.addresses_before(&seen, &event);
                }
                None if disconnected => return self.handle_nameless(event, at),
                _ if is_failed_connect(&event) => {
                    self.handle_failed_connect(&event);
                    return true;
                }
                _ => return false,
            }
        }
        if !self.concerns(&event) {
            return false;
        }
        self.learn(event.local.ip());
        self.push(DeadSocket::of(event, disconnected, seen, at));
        true
    }

    /// An abort of which the looks know nothing.
    fn handle_nameless(&mut self, event: Socket, at: Duration) -> bool {
        if self.stray_count >= MAX_STRAYS {
            self.unattributed_aborts += 1;
            return false;
        }
        self.stray_count += 1;
        let key = (event.local.port(), event.remote.ip());
        // For an abort that counts when the trace was last read, not when a round began.
        let known_at_round = self.unclaimed.readings;
        let half =
            DeadSocket { looked: true, known_at_round, ..DeadSocket::of(event, true, None, at) };
        self.strays.entry(key).or_default().push_back(half);
        self.scope.port == Some(key.0)
    }

    fn push(&mut self, half: DeadSocket) {
        let pair = Pair::of(&half.event);
        let end = Which::of(&half.event);
        let known = self.pending.remove(&pair);
        if known.is_none() && self.pending.len() >= MAX_PENDING {
            self.overflowed += 1;
            self.book_unclassified(&half);
            return;
        }
        let looked = self.is_told_alone(&half);
        let at = half.at;
        let mut dead = known.unwrap_or_default();
        let half = DeadSocket { known_at_round: self.rounds, looked, ..half };
        dead.get_mut(end).push_back(half);
        let told = self.is_told(&pair, &dead);
        if told && !self.traced {
            self.moves = Some(Vec::new());
            self.conclude(&pair, dead.low.pop_front(), dead.high.pop_front(), None);
            self.moves = None;
            return;
        }
        if told {
            dead.halves_mut().for_each(|half| half.looked = true);
        }
        if told || looked {
            self.waiting = true;
        } else if self.unsearched_since.is_none() {
            self.unsearched_since = Some(at);
        }
        self.pending.insert(pair, dead);
    }

    /// Whether a socket is of a test of the rules, which another watch may play at any time.
    fn is_played(&self, socket: &Socket) -> bool {
        self.scope.ip.is_none() && is_of_self_test(socket)
    }

    /// Cheap, before anything is known of sides: the address or the port is at one end.
    fn concerns(&self, socket: &Socket) -> bool {
        self.concerns_pair(&socket.local, &socket.remote)
    }

    fn concerns_pair(&self, local: &SocketAddr, remote: &SocketAddr) -> bool {
        let matches = |end: &SocketAddr| {
            self.scope.port.is_none_or(|port| port == end.port())
                && self.scope.ip.is_none_or(|ip| ip == end.ip())
        };
        matches(local) || matches(remote)
    }

    /// Whether the other end of a connection to `remote` is in this network namespace too.
    fn is_here(&self, remote: &IpAddr) -> bool {
        remote.is_loopback() || self.here.contains_key(remote)
    }

    pub(crate) fn unsearched_since(&self) -> Option<Duration> {
        self.unsearched_since
    }

    /// Whether the last look saw a socket between two states.
    pub(crate) fn is_transitional(&self) -> bool {
        self.transitional
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting || self.stray_count > 0
    }

    fn handle_failed_connect(&mut self, event: &Socket) {
        let host = SocketAddr::new(event.remote.ip(), 0);
        // Under a filter by port, the host must at least be known for that port.
        let known = |book: &Totals| {
            book.key.1 == Side::Client
                && book
                    .key
                    .0
                    .is_some_and(|service| service.ip() == host.ip() && service.port() != 0)
        };
        if self.scope.port.is_none() || self.books.iter().any(known) {
            let place = self.book_of(host, Side::Client);
            self.books[place as usize].connect_failed += 1;
        }
    }

    pub(crate) fn alive_sockets(&self) -> usize {
        self.alive.len()
    }
}

impl DeadSocket {
    fn of(event: Socket, disconnected: bool, seen: Option<OpenSocket>, at: Duration) -> DeadSocket {
        let silent = event.info.filter(|_| !disconnected).and_then(|info| info.last_ack_recv_ms);
        DeadSocket {
            at,
            event,
            seen,
            known_at_round: 0,
            looked: false,
            time_wait: TimeWait::Unknown,
            silent: Duration::from_millis(silent.unwrap_or(0).into()),
            disconnected,
        }
    }
}

/// connect(2) gave up: the SYN and the two that tcp_disconnect() adds, and a peer's address.
fn is_failed_connect(event: &Socket) -> bool {
    event.wqueue == 3 && !event.remote.ip().is_unspecified()
}
