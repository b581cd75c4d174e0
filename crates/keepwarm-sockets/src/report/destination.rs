//! Destinations: a service each, and everything measured about it from one side of its connections.
//!
//! Owns the public types and the difference between two reports of one destination.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::kernel::proc::owners::{Owner, OwnerEvidence};
use crate::kernel::socket::{Side, Socket, State};
use crate::report::closes::SocketCloses;
use crate::report::histogram::Histogram;
use crate::report::namespace::NetworkNamespace;
use crate::report::path::NetworkPath;
use crate::report::polls::PollDiff;

/// A service, as seen from one side of its connections.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Destination {
    /// The address that was connected to: the remote one of a client, the local one of a server.
    /// Port 0: connects that failed, of which the kernel keeps the host but not the port. An
    /// unspecified address: connections that the server aborted before a dump had seen them, of
    /// which the kernel keeps the port but not the local address. `None`: the quietest destinations
    /// beyond 1024, folded into one.
    pub service: Option<SocketAddr>,
    /// The side of the connections that this host is.
    pub side: Side,
    /// The network namespace of the sockets, where several are watched; `None` where one is, and of
    /// the sum over namespaces that ended long ago.
    pub namespace: Option<Arc<NetworkNamespace>>,
    /// The surest evidence that `service` is the service, and not the other end of its connections.
    pub side_evidence: SideEvidence,
    /// Number of destinations in these numbers: 1, or more in the folded one. A destination that is
    /// folded, comes again and is folded again counts once, up to 65,536 of them: beyond that, this
    /// is a least number and [`folded_at_least`](Destination::folded_at_least) is true.
    pub folded: u64,
    /// There are more destinations than `folded`.
    pub folded_at_least: bool,
    /// Connections established within the window.
    pub opened: u64,
    /// Connections that ended within the window.
    pub closed: SocketCloses,
    /// connect(2) calls that were refused or timed out.
    pub connect_failed: u64,
    /// Address where a service of this host listens on IPv4 only, and that connections are opened to
    /// beside the failures: a name of both families leads to this destination first. Known for
    /// failed connects to an IPv6 address of this host.
    pub ipv4_only: Option<SocketAddr>,
    /// Requests per connection within the window, at least: segments with data that the client sent,
    /// without retransmissions, and without the full ones where the client sent bulk data; half of the
    /// server's where those are small and fewer. Covers connections opened in the window, and older
    /// ones that carried one in it. Where [`handshake`](Destination::handshake) says that connections
    /// begin with one, or may, up to five segments are taken off.
    pub requests: Histogram,
    /// Requests on the same connections, at most: no more than segments with data in either
    /// direction, if each request is answered before the next. Equal to `requests` where messages
    /// fit one segment and are written at once, none was lost, and there is no TLS. Says nothing about
    /// HTTP/2, or pipelined requests.
    pub requests_at_most: Histogram,
    /// Whether these connections begin with a handshake of TLS, of which the kernel counts the segments
    /// as it counts those of requests.
    pub handshake: Handshake,
    /// Connections on which all messages of the client, and of the server, may be equally long: each is
    /// a request, and none a part of a handshake or a log-in.
    pub alike: u64,
    /// The part of `requests_at_most` for connections that are still open.
    pub requests_at_most_open: Histogram,
    /// Closed connections on which the client sent data and nothing was ever received back.
    pub unanswered: u64,
    /// Closes that the client began while an answer was due: its last data went out after the last
    /// data came in. A client that sends some words of farewell before its FIN (close_notify of TLS,
    /// QUIT) counts too; it waited for no time.
    pub given_up: u64,
    /// Milliseconds that the client had waited when it gave up, for each of `given_up`.
    pub waited_before_give_up: Histogram,
    /// Closed connections that the last dump before met while their client waited for an answer.
    pub met_waiting: u64,
    /// The subset of `met_waiting` on which nothing of the answer came any more: the share of the
    /// waiting that was in vain, whatever the protocol says before it closes.
    pub met_waiting_in_vain: u64,
    /// Answers of this server that their client left before anything of them came: milliseconds
    /// between the request and the answer.
    pub late_answers: Histogram,
    /// Answers of this server that their client left before their end.
    pub cut_answers: u64,
    /// Closed connections with one request at most over which the server sent again and again: streams
    /// that have ended.
    pub ended_streams: u64,
    /// Closed connections that a dump had met with nothing due, and on which no more than a farewell was
    /// said since.
    pub met_idle: u64,
    /// The subset of `closed.undrained` in which no more was unread than a farewell of TLS
    /// (close_notify) takes: the peer was about to close, too.
    pub unread_farewells: u64,
    /// Requests per connection, for connections that are still open. Included in `requests`.
    pub requests_open: Histogram,
    /// Segments with data that the server sent on the connections of `requests_open` within the
    /// window. In HTTP/1.1 each request of one segment has at least one.
    pub answers_open: u64,
    /// Messages that the clients sent on the same connections, answered or not. More than
    /// `answers_open` where a protocol sends without waiting, as HTTP/2 does.
    pub messages_open: u64,
    /// Milliseconds between a connection's last data and its close by the local side.
    pub idle_before_local_close: Histogram,
    /// Milliseconds between a connection's last data and its close by the peer.
    pub idle_before_remote_close: Histogram,
    /// Bytes received on a connection that was closed.
    pub received: Histogram,
    /// Bytes that the local socket had received and not read when its close aborted the connection,
    /// one value for each of `closed.undrained`. A record of farewell is no body: close_notify takes
    /// 24 bytes in TLS 1.3 and 31 in TLS 1.2 with AES-GCM. A FIN behind the data counts as one byte.
    pub unread_at_close: Histogram,
    /// Round trips and retransmissions of connections that ended within the window, over their whole
    /// life. A close with SO_LINGER 0 clears them: such sockets are left out.
    pub path: NetworkPath,
    /// Round trips and retransmissions of connections that are still open, as of the last dump that
    /// fetched them. Not included in `path`.
    pub path_open: NetworkPath,
    /// Connections open when the window began.
    pub alive_at_start: u64,
    /// When the levels (`alive` and those below that are of now) were read, or confirmed by the kernel's
    /// counters. `None` in a report of one dump.
    pub levels_at: Option<Instant>,
    /// Connections open now, in any state.
    pub alive: u64,
    /// Open connections in ESTABLISHED.
    pub established: u64,
    /// Open connections in CLOSE_WAIT: the peer has closed and the program has not.
    pub close_wait: u64,
    /// Sockets whose peer is silent now.
    pub stuck: StuckSockets,
    /// Connections of a server that no process has accepted yet.
    pub unaccepted: u64,
    /// Accept queue of the server's listeners, if they are known.
    pub listen_queue: Option<ListenQueue>,
    /// Connections in CLOSE_WAIT when the window began.
    pub close_wait_at_start: u64,
    /// Dumps of the window that met more connections in CLOSE_WAIT than the one before.
    pub close_wait_rises: u64,
    /// Connections in ESTABLISHED, one value for each dump of the window.
    pub established_seen: Histogram,
    /// TIME_WAITs that this side holds now, because it closed first.
    pub time_wait: u64,
    /// TIME_WAITs of `time_wait` that were not there when the watch began, decided by their cookies.
    pub time_wait_in_window: u64,
    /// TIME_WAITs of `time_wait` by age in seconds; index 0 is the last second, 59 the oldest.
    pub time_wait_by_age: Vec<u32>,
    /// Local ports taken by these connections, TIME_WAIT included; for a client only.
    pub ports: Option<PortsTaken>,
    /// Processes that the connections belong to, as far as they could be found.
    pub owners: Vec<Owner>,
    /// Processes that the open connections belong to.
    pub owners_open: Vec<Owner>,
    /// Facts about closes that only tracing gives; empty without it.
    pub traced: TracedCloses,
    /// Opens and closes as polls saw them, at level L0 only.
    pub seen_by_polls: Option<PollDiff>,
    /// For a server: the part of these numbers whose connections have no client's socket here.
    pub server_only: ServerOnly,
}

/// Connections of a server that have no client's socket in this network namespace: the client is on
/// another host or in another namespace, or its socket ended without a destroy event.
///
/// A count of connections takes these at the server and every other connection at its client's
/// socket; see [`HostReport::port`](crate::HostReport::port). Connections of the last kind are added
/// when the watch ends: until then the client's event may still come.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ServerOnly {
    /// Connections that ended within the window.
    pub closed: SocketCloses,
    /// Connections open when the window began.
    pub alive_at_start: u64,
    /// Connections open now.
    pub alive: u64,
    /// Requests per connection within the window, those of open connections included.
    pub requests: Histogram,
    /// Upper bound of `requests`; see [`Destination::requests_at_most`].
    pub requests_at_most: Histogram,
}

/// Whether connections begin with a handshake of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Handshake {
    /// They do not: the counts of some show it, or there is nothing to doubt.
    #[default]
    None,
    /// They may: requests are at least those behind a handshake, at most those without one.
    Possible,
    /// They do, as is usual at this port: the handshake is taken off the requests. How many segments it
    /// took differs by program, one to four, so that requests are known within bounds.
    Tls,
}

impl Handshake {
    /// Returns the name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Handshake::None => "none",
            Handshake::Possible => "possible",
            Handshake::Tls => "tls",
        }
    }
}

/// Evidence of which end of a connection is the service, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SideEvidence {
    /// None: the watched port, or the lower of two ports, is taken for the service.
    #[default]
    Guess,
    /// Many ports at one end, and one at the other.
    ManyPorts,
    /// One of the two ports is in the range that connect(2) chooses from on this host, and the other
    /// is not.
    PortRange,
    /// The port has a listener, or had one.
    Listener,
    /// The kernel counted the SYN of the end that connected.
    Connected,
}

impl SideEvidence {
    /// Returns the name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            SideEvidence::Guess => "guess",
            SideEvidence::ManyPorts => "many_ports",
            SideEvidence::PortRange => "port_range",
            SideEvidence::Listener => "listener",
            SideEvidence::Connected => "connected",
        }
    }
}

/// Sockets that have sent something that the peer does not acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StuckSockets {
    /// Sockets in ESTABLISHED or CLOSE_WAIT whose data was retransmitted twice or more in a row, or
    /// with two or more keep-alive or window probes unanswered.
    pub established: u64,
    /// Sockets in FIN_WAIT1, CLOSING or LAST_ACK that have retransmitted without an answer.
    pub closing: u64,
    /// Longest time in milliseconds since one of them received a segment.
    pub oldest_ms: u32,
    /// Retransmissions and probes in a row, of all of them.
    pub retransmits: u64,
}

impl StuckSockets {
    /// Counts a socket, if it is stuck. One retransmission is what any loss takes.
    pub(crate) fn count(&mut self, socket: &Socket) {
        let Some(info) = socket.info.as_ref().filter(|_| !socket.is_minisocket()) else { return };
        let unacked = info.unacked.unwrap_or(0) > 0;
        let again = info.retransmits.filter(|_| unacked).unwrap_or(0);
        let probes = info.probes.unwrap_or(0);
        match socket.state {
            State::Established | State::CloseWait if again > 1 || probes > 1 => {
                self.established += 1;
            }
            State::FinWait1 | State::Closing | State::LastAck if again > 0 || probes > 1 => {
                self.closing += 1;
            }
            _ => return,
        }
        self.oldest_ms = self.oldest_ms.max(info.last_ack_recv_ms.unwrap_or(0));
        self.retransmits += u64::from(again) + u64::from(probes);
    }

    pub(crate) fn merge(&mut self, other: &StuckSockets) {
        self.established += other.established;
        self.closing += other.closing;
        self.oldest_ms = self.oldest_ms.max(other.oldest_ms);
        self.retransmits += other.retransmits;
    }
}

/// Accept queue of a service: of all its listeners together, if they share the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ListenQueue {
    /// Connections that wait for accept(2).
    pub waiting: u32,
    /// The most that may wait: the argument of listen(2), or `net.core.somaxconn` if that is less.
    pub backlog: u32,
}

/// Local ports taken towards one service from the source address that has taken most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortsTaken {
    /// The source address.
    pub source: IpAddr,
    /// Number of ports.
    pub used: u64,
}

/// Facts about closed connections that only tracing gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TracedCloses {
    /// Milliseconds from established to closed by the local side, or reset. Only of connections that
    /// were established within the window.
    pub lifetime_ms: Histogram,
    /// Reasons for which resets were sent, in the kernel's words (`enum sk_rst_reason`, without
    /// `SK_RST_REASON_`). Where the peer is on another host, only of resets that this side sent.
    pub reset_reasons: BTreeMap<String, u64>,
    /// Subset of `reset_reasons` for resets by which the client closed, from whichever side they were
    /// observed. Not those of `late_data`.
    pub client_reset_reasons: BTreeMap<String, u64>,
    /// Resets that a side sent after its own FIN, because data still came: it had closed first, and the
    /// peer did not know yet, or answered late. Their reason (TCP_ABORT_ON_DATA, TCP_TIMEWAIT_SOCKET)
    /// is in `reset_reasons`, and says nothing about a body.
    pub late_data: u64,
    /// Resets that came after the peer's FIN: this side had written to a connection that was
    /// already closed, as a keep-alive race does.
    pub reset_after_fin: u64,
}

impl Destination {
    /// Makes a destination without connections.
    pub fn new(service: Option<SocketAddr>, side: Side) -> Destination {
        Destination {
            service,
            side,
            namespace: None,
            side_evidence: SideEvidence::default(),
            folded: 1,
            folded_at_least: false,
            opened: 0,
            closed: SocketCloses::default(),
            connect_failed: 0,
            ipv4_only: None,
            requests: Histogram::default(),
            requests_open: Histogram::default(),
            requests_at_most: Histogram::default(),
            requests_at_most_open: Histogram::default(),
            handshake: Handshake::default(),
            alike: 0,
            unanswered: 0,
            given_up: 0,
            waited_before_give_up: Histogram::default(),
            met_waiting: 0,
            met_waiting_in_vain: 0,
            late_answers: Histogram::default(),
            cut_answers: 0,
            ended_streams: 0,
            met_idle: 0,
            unread_farewells: 0,
            stuck: StuckSockets::default(),
            unaccepted: 0,
            listen_queue: None,
            answers_open: 0,
            messages_open: 0,
            idle_before_local_close: Histogram::default(),
            idle_before_remote_close: Histogram::default(),
            received: Histogram::default(),
            unread_at_close: Histogram::default(),
            path: NetworkPath::default(),
            path_open: NetworkPath::default(),
            alive_at_start: 0,
            levels_at: None,
            alive: 0,
            established: 0,
            close_wait: 0,
            close_wait_at_start: 0,
            close_wait_rises: 0,
            established_seen: Histogram::default(),
            time_wait: 0,
            time_wait_in_window: 0,
            time_wait_by_age: Vec::new(),
            ports: None,
            owners: Vec::new(),
            owners_open: Vec::new(),
            traced: TracedCloses::default(),
            seen_by_polls: None,
            server_only: ServerOnly::default(),
        }
    }

    /// Returns the number of requests within the window.
    pub fn request_count(&self) -> u64 {
        self.requests.total()
    }

    /// Returns a key that sorts the busiest first; equally busy ones sort by service.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let events = self.events();
        let namespace = self.namespace.as_ref().map(|namespace| namespace.number);
        (Reverse((events, self.alive + self.time_wait)), self.service, self.side, namespace)
    }

    fn events(&self) -> u64 {
        let polls = self.seen_by_polls.map_or(0, |seen| seen.changes());
        self.opened + self.closed.total() + self.connect_failed + polls
    }

    /// Takes the end of its network namespace: nothing of it is left.
    pub(crate) fn end(&mut self) {
        (self.alive, self.established, self.close_wait, self.unaccepted) = (0, 0, 0, 0);
        (self.stuck, self.listen_queue) = (StuckSockets::default(), None);
        (self.time_wait, self.time_wait_by_age, self.ports) = (0, Vec::new(), None);
        self.path_open = NetworkPath::default();
        self.owners_open.clear();
    }

    /// Adds a destination of a network namespace that has ended to the sum over such.
    pub(crate) fn count_ended(&mut self, other: &Destination) {
        self.fold_in(other);
        self.opened += other.opened;
        self.folded = if self.opened == other.opened { 0 } else { self.folded } + other.folded;
        self.time_wait_in_window += other.time_wait_in_window;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events() + self.alive + self.alive_at_start + self.time_wait == 0
    }

    /// Adds the sums of another destination. Levels are not added: those of now are not in the sums.
    pub(crate) fn fold_in(&mut self, other: &Destination) {
        self.side_evidence = self.side_evidence.min(other.side_evidence);
        self.closed.merge(&other.closed);
        self.connect_failed += other.connect_failed;
        self.requests.merge(&other.requests);
        self.requests_at_most.merge(&other.requests_at_most);
        self.unanswered += other.unanswered;
        self.given_up += other.given_up;
        self.waited_before_give_up.merge(&other.waited_before_give_up);
        self.met_waiting += other.met_waiting;
        self.met_waiting_in_vain += other.met_waiting_in_vain;
        self.late_answers.merge(&other.late_answers);
        self.cut_answers += other.cut_answers;
        self.ended_streams += other.ended_streams;
        self.met_idle += other.met_idle;
        self.unread_farewells += other.unread_farewells;
        self.idle_before_local_close.merge(&other.idle_before_local_close);
        self.idle_before_remote_close.merge(&other.idle_before_remote_close);
        self.received.merge(&other.received);
        self.unread_at_close.merge(&other.unread_at_close);
        self.path.merge(&other.path);
        self.alive_at_start += other.alive_at_start;
        self.close_wait_at_start += other.close_wait_at_start;
        self.close_wait_rises = self.close_wait_rises.max(other.close_wait_rises);
        // How many were established at once is not the sum of when each destination had some.
        self.established_seen = Histogram::default();
        self.traced.merge(&other.traced);
        self.server_only.fold_in(&other.server_only);
    }

    pub(crate) fn since(&self, earlier: &Destination) -> Destination {
        let requests = carried(
            [&self.requests, &self.requests_open],
            [&earlier.requests, &earlier.requests_open],
        );
        let requests_at_most = carried(
            [&self.requests_at_most, &self.requests_at_most_open],
            [&earlier.requests_at_most, &earlier.requests_at_most_open],
        );
        let waited = self.waited_before_give_up.since(&earlier.waited_before_give_up);
        let closed_now = self.closed.since(&earlier.closed);
        // A process that closed connections once may be gone; a listener's is there.
        let listens = self.owners.first().is_some_and(|owner| owner.how == OwnerEvidence::Listener);
        let are_of_open = closed_now.total() == 0 && !self.owners_open.is_empty() && !listens;
        let idle_local = self.idle_before_local_close.since(&earlier.idle_before_local_close);
        let idle_remote = self.idle_before_remote_close.since(&earlier.idle_before_remote_close);
        Destination {
            opened: self.opened.saturating_sub(earlier.opened),
            closed: closed_now,
            owners: if are_of_open { &self.owners_open } else { &self.owners }.clone(),
            connect_failed: self.connect_failed.saturating_sub(earlier.connect_failed),
            requests,
            requests_at_most,
            alike: self.alike.saturating_sub(earlier.alike),
            unanswered: self.unanswered.saturating_sub(earlier.unanswered),
            given_up: self.given_up.saturating_sub(earlier.given_up),
            waited_before_give_up: waited,
            met_waiting: self.met_waiting.saturating_sub(earlier.met_waiting),
            met_waiting_in_vain: self
                .met_waiting_in_vain
                .saturating_sub(earlier.met_waiting_in_vain),
            late_answers: self.late_answers.since(&earlier.late_answers),
            cut_answers: self.cut_answers.saturating_sub(earlier.cut_answers),
            ended_streams: self.ended_streams.saturating_sub(earlier.ended_streams),
            met_idle: self.met_idle.saturating_sub(earlier.met_idle),
            unread_farewells: self.unread_farewells.saturating_sub(earlier.unread_farewells),
            idle_before_local_close: idle_local,
            idle_before_remote_close: idle_remote,
            received: self.received.since(&earlier.received),
            unread_at_close: self.unread_at_close.since(&earlier.unread_at_close),
            path: self.path.since(&earlier.path),
            alive_at_start: earlier.alive,
            close_wait_at_start: earlier.close_wait,
            close_wait_rises: self.close_wait_rises.saturating_sub(earlier.close_wait_rises),
            established_seen: self.established_seen.since(&earlier.established_seen),
            traced: self.traced.since(&earlier.traced),
            seen_by_polls: self
                .seen_by_polls
                .zip(earlier.seen_by_polls)
                .map(|(now, then)| now.since(&then)),
            server_only: self.server_only.since(&earlier.server_only),
            ..self.clone()
        }
    }
}

/// Returns the requests since an earlier report, each time of all connections and of those that were
/// open.
fn carried(now: [&Histogram; 2], earlier: [&Histogram; 2]) -> Histogram {
    let mut requests = now[0].since(now[1]).since(&earlier[0].since(earlier[1]));
    requests.merge(now[1]);
    // Connections that are open carried a part of their requests before.
    requests.set_total(now[0].total().saturating_sub(earlier[0].total()));
    requests
}

impl ServerOnly {
    fn fold_in(&mut self, other: &ServerOnly) {
        self.closed.merge(&other.closed);
        self.alive_at_start += other.alive_at_start;
        self.requests.merge(&other.requests);
        self.requests_at_most.merge(&other.requests_at_most);
    }

    fn since(&self, earlier: &ServerOnly) -> ServerOnly {
        ServerOnly {
            closed: self.closed.since(&earlier.closed),
            alive_at_start: earlier.alive,
            alive: self.alive,
            requests: self.requests.since(&earlier.requests),
            requests_at_most: self.requests_at_most.since(&earlier.requests_at_most),
        }
    }
}

impl TracedCloses {
    fn since(&self, earlier: &TracedCloses) -> TracedCloses {
        let added = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let added = |(reason, count): (&String, &u64)| {
                let before = then.get(reason).copied().unwrap_or(0);
                (*count > before).then(|| (reason.clone(), count - before))
            };
            now.iter().filter_map(added).collect()
        };
        TracedCloses {
            lifetime_ms: self.lifetime_ms.since(&earlier.lifetime_ms),
            reset_reasons: added(&self.reset_reasons, &earlier.reset_reasons),
            client_reset_reasons: added(&self.client_reset_reasons, &earlier.client_reset_reasons),
            late_data: self.late_data.saturating_sub(earlier.late_data),
            reset_after_fin: self.reset_after_fin.saturating_sub(earlier.reset_after_fin),
        }
    }

    fn merge(&mut self, other: &TracedCloses) {
        self.lifetime_ms.merge(&other.lifetime_ms);
        self.late_data += other.late_data;
        self.reset_after_fin += other.reset_after_fin;
        for (mine, theirs) in [
            (&mut self.reset_reasons, &other.reset_reasons),
            (&mut self.client_reset_reasons, &other.client_reset_reasons),
        ] {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
    }
}
