//! From rows and events to an account: which end belongs to which connection, what is still
//! missing, and what is known for good.
//!
//! Owns the bookkeeping of one port. Pure: time is handed in, nothing here touches the kernel.
//! Judgement of a single connection is `classify`'s.
//!
//! ```text
//!  event of an end ──► pending, by address pair ──► looked up in a dump (TIME_WAIT?) ──┐
//!                                                                                     ▼
//!     both ends there, or the other end is elsewhere, or it is overdue ──► classify ──► closed
//! ```
//!
//! **One connection, two ends.** The client's end counts; the server's end is its witness. Where
//! the client is not on this host the server's end counts. A server's end whose client is here but
//! has not died yet (it sits in CLOSE_WAIT in somebody's pool) is *held*: the connection is still
//! open.
//!
//! **An end that lost its name.** SO_LINGER 0 clears the remote port of the aborting end. A
//! client's is a *stray*, claimed by its server's end through local port and server address; a
//! server's is counted by client address and set against the clients' ends that saw an RST.
//!
//! **The window's edges.** A socket is the same in a dump and in its event by its cookie. At the
//! start, events of sockets that were not in the baseline are dropped until the fence has passed:
//! those sockets died before the window. At the end, events of sockets that the last dump saw
//! alive are dropped: they died after it.

mod conclude;
mod look;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::kernel::socket::{BySide, Side, Socket, State, States, side_of};
use crate::report::port::{ConnectionCloses, Tally};
use crate::tracker::classify::{CloseKind, Evidence, is_disconnected, was_established};
use crate::tracker::self_test_sockets::is_of_self_test;

/// Unfinished business: at most this many connections (some hundred bytes each).
const MAX_PENDING: usize = 1 << 17;
/// Clients' aborts that nobody has claimed.
const MAX_STRAYS: usize = 1 << 16;
/// Addresses learned to be on this host.
const MAX_ADDRESSES: usize = 1 << 12;

/// On loopback a client's TIME_WAIT may be reused after 1 s (`net.ipv4.tcp_tw_reuse` = 2 and
/// `tcp_tw_reuse_delay` = 1000): a look that is older proves nothing by finding none.
const DECISIVE: Duration = Duration::from_millis(900);
/// How long one end waits for the other's event. The work queues deliver within a few
/// milliseconds; the rest is for a program that is slow to close its end.
const MATE_WAIT: Duration = Duration::from_secs(1);
/// How much older than the death of its socket a TIME_WAIT may look: delivery and a jiffy.
const FIT_SLACK: Duration = Duration::from_secs(1);

/// States that pass by themselves or by what the program is about to do.
pub(crate) const TRANSITIONAL: States = States::of(&[
    State::SynSent,
    State::SynReceived,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::LastAck,
    State::Closing,
]);

/// The two addresses of a connection, the same whichever end names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PortPair {
    client: SocketAddr,
    server: SocketAddr,
}

impl PortPair {
    fn of(side: Side, socket: &Socket) -> PortPair {
        match side {
            Side::Client => PortPair { client: socket.local, server: socket.remote },
            Side::Server => PortPair { client: socket.remote, server: socket.local },
        }
    }
}

/// What a socket of the baseline means to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its connection is counted here.
    Counted,
    /// The server's end of a connection that is counted at the client.
    Witness,
    /// The server's end of a connection whose client had already closed.
    Leftover,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    side: Side,
    pair: PortPair,
    role: Role,
    requests: Option<u64>,
}

/// One end that died.
#[derive(Debug, Clone)]
struct PortHalf {
    at: Duration,
    /// How long before its event the last acknowledgement came: more than a moment if the program
    /// kept the file open after the connection was over.
    silent: Duration,
    /// `None` for an end that vanished without an event.
    evidence: Option<Evidence>,
    /// How many looks had begun when this end became known: only a later one speaks for it.
    known_at_look: u64,
    looked: bool,
    requests: Option<u64>,
    start: Option<Start>,
}

type PortEnds = BySide<VecDeque<PortHalf>>;

#[derive(Debug, Clone, Copy)]
struct PortAlive {
    side: Side,
    pair: PortPair,
    requests: Option<u64>,
}

/// What one dump showed.
#[derive(Debug, Default)]
struct View {
    alive: HashMap<u64, PortAlive>,
    clients: HashSet<PortPair>,
    established: BySide<u64>,
    close_wait: BySide<u64>,
    time_wait: BySide<u64>,
    time_wait_total: BySide<u64>,
    /// Cookies of TIME_WAITs and orphans in FIN_WAIT2; kept for the baseline only.
    minisockets: HashSet<u64>,
    transitional: bool,
}

/// The pass of one dump.
#[derive(Debug, Default)]
struct PortLook {
    view: View,
    /// TIME_WAITs on pairs with unfinished business, with the moment they were entered.
    found: Vec<(Side, PortPair, Option<Duration>)>,
}

/// The books of one port.
#[derive(Debug)]
pub(crate) struct Ledger {
    port: u16,
    /// Beginning of the window; `None` before.
    opened_at: Option<Duration>,
    /// The last dump has been taken; its view is the end of the window.
    closing: bool,
    baseline: HashMap<u64, Start>,
    alive_at_start: u64,
    minisockets_at_start: HashSet<u64>,
    clients_here: HashSet<IpAddr>,
    servers_here: HashSet<IpAddr>,
    pending: HashMap<PortPair, PortEnds>,
    strays: HashMap<(u16, IpAddr), VecDeque<PortHalf>>,
    stray_count: usize,
    /// Servers' aborts by the client's address, for clients on this host.
    server_aborts: HashMap<IpAddr, u64>,
    /// Connections closed by the client's end alone whose server's end may still speak.
    unheard: HashMap<PortPair, u32>,
    /// Those of `unheard` whose pair has been used again since, by client address.
    unheard_before: HashMap<IpAddr, u64>,
    look: Option<PortLook>,
    looks: u64,
    /// Arrival of the oldest end that no dump has looked for.
    unlooked_since: Option<Duration>,
    /// Some end has been looked for and waits for its mate.
    waiting: bool,
    view: View,
    /// Live sockets of the dump before.
    seen_before: HashMap<u64, PortAlive>,
    closed: ConnectionCloses,
    tally: Tally,
    unattributed_aborts: u64,
    overflowed: u64,
    opened_so_far: u64,
}

impl Ledger {
    pub(crate) fn new(port: u16) -> Ledger {
        Ledger {
            port,
            opened_at: None,
            closing: false,
            baseline: HashMap::new(),
            alive_at_start: 0,
            minisockets_at_start: HashSet::new(),
            clients_here: HashSet::new(),
            servers_here: HashSet::new(),
            pending: HashMap::new(),
            strays: HashMap::new(),
            stray_count: 0,
            server_aborts: HashMap::new(),
            unheard: HashMap::new(),
            unheard_before: HashMap::new(),
            look: None,
            looks: 0,
            unlooked_since: None,
            waiting: false,
            view: View::default(),
            seen_before: HashMap::new(),
            closed: ConnectionCloses::default(),
            tally: Tally::default(),
            unattributed_aborts: 0,
            overflowed: 0,
            opened_so_far: 0,
        }
    }

    // ---- the window -------------------------------------------------------------------------

    /// The look that has just ended is the baseline.
    pub(crate) fn handle_baseline(&mut self) {
        self.minisockets_at_start = std::mem::take(&mut self.view.minisockets);
        for (cookie, alive) in &self.view.alive {
            let PortAlive { side, pair, requests } = *alive;
            let role = match side {
                Side::Client => Role::Counted,
                Side::Server if self.view.clients.contains(&pair) => Role::Witness,
                Side::Server if self.client_is_here(&pair) => Role::Leftover,
                Side::Server => Role::Counted,
            };
            self.alive_at_start += u64::from(role == Role::Counted);
            self.baseline.insert(*cookie, Start { side, pair, role, requests });
        }
    }

    /// Every event of a death before the baseline has been handled: the window begins.
    pub(crate) fn open_window(&mut self, now: Duration) {
        self.opened_at = Some(now);
    }

    /// The look that has just ended is the end of the window; events still to come are of sockets
    /// that died before it, or are not ours.
    pub(crate) fn close_window(&mut self) {
        self.closing = true;
    }

    // ---- events -----------------------------------------------------------------------------

    /// A socket died. True if it has to do with the port.
    pub(crate) fn handle_event(&mut self, event: &Socket, at: Duration) -> bool {
        if self.closing && self.view.alive.contains_key(&event.cookie) {
            return true;
        }
        let start = self.baseline.remove(&event.cookie);
        if start.is_some_and(|start| start.role == Role::Leftover) {
            return true;
        }
        if start.is_none() && self.opened_at.is_none() {
            return false;
        }
        let Some((side, pair)) = self.name(event, start) else {
            return is_disconnected(event) && self.handle_nameless(event, at);
        };
        if was_established(side, event) {
            self.learn(side, &pair);
            self.push(side, pair, half(side, event, at, start));
        }
        true
    }

    /// Which connection an event is about, if it or an earlier dump says so.
    fn name(&self, event: &Socket, start: Option<Start>) -> Option<(Side, PortPair)> {
        if event.remote.port() != 0 {
            let side = side_of(self.port, &event.local, &event.remote)?;
            return Some((side, PortPair::of(side, event)));
        }
        if !is_disconnected(event) {
            return None;
        }
        let seen = |alive: &PortAlive| (alive.side, alive.pair);
        start
            .map(|start| (start.side, start.pair))
            .or_else(|| self.view.alive.get(&event.cookie).map(seen))
            .or_else(|| self.seen_before.get(&event.cookie).map(seen))
    }

    /// An abort without a name. True if it is surely of this port.
    fn handle_nameless(&mut self, event: &Socket, at: Duration) -> bool {
        if is_of_self_test(event) {
            return false;
        }
        if event.local.port() == self.port {
            let client = event.remote.ip();
            let here = client.is_loopback()
                || client == event.local.ip()
                || self.clients_here.contains(&client);
            if !here {
                self.closed.add(CloseKind::ServerRst);
            } else if self.server_aborts.len() < MAX_ADDRESSES
                || self.server_aborts.contains_key(&client)
            {
                *self.server_aborts.entry(client).or_default() += 1;
            } else {
                self.unattributed_aborts += 1;
            }
            return true;
        }
        if self.stray_count >= MAX_STRAYS {
            self.unattributed_aborts += 1;
            return false;
        }
        self.stray_count += 1;
        let key = (event.local.port(), event.remote.ip());
        self.strays.entry(key).or_default().push_back(half(Side::Client, event, at, None));
        false
    }

    fn push(&mut self, side: Side, pair: PortPair, half: PortHalf) {
        let half = PortHalf { known_at_look: self.looks, ..half };
        match side {
            Side::Server if self.take_unheard(&pair) => return,
            Side::Server => {}
            Side::Client => {
                if let Some(count) = self.unheard.remove(&pair) {
                    self.forget(pair.client.ip(), count.into());
                }
            }
        }
        if self.pending.len() >= MAX_PENDING && !self.pending.contains_key(&pair) {
            self.overflowed += 1;
            if side == Side::Client || !self.client_is_here(&pair) {
                self.closed.add(CloseKind::Unclassified);
            }
            return;
        }
        if !half.looked && self.unlooked_since.is_none() {
            self.unlooked_since = Some(half.at);
        }
        self.pending.entry(pair).or_default().get_mut(side).push_back(half);
    }

    fn take_unheard(&mut self, pair: &PortPair) -> bool {
        match self.unheard.get_mut(pair) {
            Some(1) => self.unheard.remove(pair).is_some(),
            Some(count) => {
                *count -= 1;
                true
            }
            None => false,
        }
    }

    fn forget(&mut self, client: IpAddr, count: u64) {
        if self.unheard_before.len() < MAX_ADDRESSES || self.unheard_before.contains_key(&client) {
            *self.unheard_before.entry(client).or_default() += count;
        }
    }

    // ---- where an end is --------------------------------------------------------------------

    fn learn(&mut self, side: Side, pair: &PortPair) {
        let (known, ip) = match side {
            Side::Client => (&mut self.clients_here, pair.client.ip()),
            Side::Server => (&mut self.servers_here, pair.server.ip()),
        };
        if known.len() < MAX_ADDRESSES {
            known.insert(ip);
        }
    }

    fn client_is_here(&self, pair: &PortPair) -> bool {
        on_one_host(pair) || self.clients_here.contains(&pair.client.ip())
    }

    fn server_is_here(&self, pair: &PortPair) -> bool {
        on_one_host(pair) || self.servers_here.contains(&pair.server.ip())
    }
}

fn half(side: Side, event: &Socket, at: Duration, start: Option<Start>) -> PortHalf {
    let silent = event.info.and_then(|info| info.last_ack_recv_ms).unwrap_or(0);
    let evidence = Evidence::of(side, event);
    PortHalf {
        at,
        silent: Duration::from_millis(silent.into()),
        evidence: Some(evidence),
        known_at_look: 0,
        looked: false,
        requests: if evidence.disconnected { None } else { requests(side, event) },
        start: start.filter(|start| start.role == Role::Counted),
    }
}

fn requests(side: Side, socket: &Socket) -> Option<u64> {
    let info = socket.info?;
    let segments = match side {
        Side::Client => info.data_segs_out,
        Side::Server => info.data_segs_in,
    };
    segments.map(u64::from)
}

/// Loopback, or an address talking to itself: both ends are in this network namespace.
fn on_one_host(pair: &PortPair) -> bool {
    let (client, server) = (pair.client.ip(), pair.server.ip());
    client == server || (client.is_loopback() && server.is_loopback())
}

#[cfg(test)]
mod tests;
