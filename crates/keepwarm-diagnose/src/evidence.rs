//! Everything measured about one destination during one window: the input of
//! [`judge`](crate::judge()).
//!
//! Owns the numbers, their level, and the sums over them; knows no rule. An unknown number is
//! `None`, never 0.

use std::net::SocketAddr;
use std::time::Duration;

use crate::knowledge::Runtime;
use crate::thresholds::{
    CLUSTERED, DOMINANT, KNOWN_CLOSERS, LONGEST_FAREWELL_MS, MET_IDLE, SILENT_MS, SILENT_RETRIES,
    SOME_TIMEOUT_MS, TIMEOUT_MS,
};
use crate::{MissingEvidence, ResetReasons};

/// Side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Side {
    /// The side that called connect(2).
    #[default]
    Client,
    /// The side that called accept(2).
    Server,
}

impl Side {
    /// Returns the other side of a connection.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// Returns `client` or `server`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

/// How evidence was obtained, which decides what it can show.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Level {
    /// One dump of the socket table. Nothing is compared, so no open and no close is known.
    OneDump,
    /// Level L0: periodic dumps and the host's counters. Opens and closes have lower bounds only;
    /// requests and idle times at the close are not known.
    Polled(PolledEvidence),
    /// Level L1: destroy events and dumps. Every open and close is counted.
    #[default]
    Counted,
    /// Level L2: as `Counted`, and the kernel's traces name the reasons of resets.
    Traced(ResetReasons),
}

impl Level {
    /// Returns true if the evidence covers a window, so that growth can be seen.
    #[must_use]
    pub const fn covers_window(&self) -> bool {
        !matches!(self, Level::OneDump)
    }

    /// Returns the reasons of resets, where the kernel was traced.
    #[must_use]
    pub const fn reset_reasons(&self) -> Option<&ResetReasons> {
        match self {
            Level::Traced(reasons) => Some(reasons),
            Level::OneDump | Level::Polled(_) | Level::Counted => None,
        }
    }
}

/// Everything measured about one destination during one window, from one side of its connections.
///
/// Built by struct update, so that a new field breaks no caller:
///
/// ```
/// use keepwarm_diagnose::{Evidence, Level, Side};
///
/// let dump = Evidence { alive: 7, ..Evidence::new(Side::Client, Level::OneDump) };
/// assert_eq!(dump.closed(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Evidence {
    /// The observed side: "local" below is this side.
    pub side: Side,
    /// True if it is a guess which end is the service, so that the sides may be the wrong way round.
    pub side_is_guess: bool,
    /// How the numbers were obtained.
    pub level: Level,
    /// Length of the window; zero for one dump.
    pub window: Duration,
    /// Connections opened.
    pub opened: u64,
    /// Connections closed by FIN, the local one first.
    pub local_fin: u64,
    /// Connections closed by FIN, the remote one first.
    pub remote_fin: u64,
    /// Connections aborted by the local side with no data unread.
    pub local_rst: u64,
    /// Connections aborted by the remote side.
    pub remote_rst: u64,
    /// Connections closed by the local side with unread data, which makes the kernel send an RST.
    pub undrained: u64,
    /// Connections whose closer is not known, timed-out ones included.
    pub unclassified: u64,
    /// Calls of connect(2) that were refused or timed out.
    pub connect_failed: u64,
    /// Address of a service of this host that listens on IPv4 only, while these connects went to IPv6.
    pub ipv4_only: Option<SocketAddr>,
    /// Closed connections on which the client sent data and received nothing.
    pub unanswered: u64,
    /// Closes that the client began while an answer was due.
    pub given_up: u64,
    /// Time that the client waited for the answer before these closes.
    pub waited: Option<Idle>,
    /// Closed connections that a dump had met while their client waited for an answer.
    pub met_waiting: u64,
    /// The part of `met_waiting` on which nothing of the answer came any more.
    pub met_waiting_in_vain: u64,
    /// For a server: answers of which nothing arrived, because the client had left, and the time
    /// between the request and them.
    pub late_answers: Option<Idle>,
    /// For a server: answers that the client left before their end.
    pub cut_answers: u64,
    /// The part of `undrained` in which no more was unread than a farewell of TLS (close_notify).
    pub unread_farewells: u64,
    /// For a client: closes by its FIN that left no TIME_WAIT here, though one would have lasted:
    /// data that came after the close removed it.
    pub answered_after_close: u64,
    /// Requests per connection, at least; `None` if none could be counted.
    pub requests: Option<Requests>,
    /// Requests per connection, at most; `None` where the lower bound is the number itself.
    pub requests_at_most: Option<Requests>,
    /// Whether the client's messages are requests, or a handshake is among them.
    pub messages: Messages,
    /// The part of `requests` on connections that were closed; `None` if unknown.
    pub closed_requests: Option<Requests>,
    /// Closed connections with a request or none over which the server sent again and again.
    pub ended_streams: u64,
    /// Closed connections that a dump had met with nothing due, and on which no more than a farewell was
    /// said since. A farewell of TLS is data, and hides for how long a connection idled before it.
    pub met_idle: u64,
    /// Idle time before closes that the local side began.
    pub idle_local: Option<Idle>,
    /// Idle time before closes that the remote side began.
    pub idle_remote: Option<Idle>,
    /// Time from open to close of connections that were opened within the window, where traced.
    pub lifetime: Option<Idle>,
    /// Connections open at the start of the window.
    pub alive_at_start: u64,
    /// Connections open at its end.
    pub alive: u64,
    /// Open connections in ESTABLISHED.
    pub established: u64,
    /// Most connections in ESTABLISHED that a dump met; 0 where none did.
    pub most_established: u64,
    /// Connections in ESTABLISHED that dumps met, in the median; `None` where none did.
    pub usual_established: Option<u64>,
    /// For a client: true if the process of the connections that stay open also closed the others,
    /// false if other processes did; `None` where no trace shows it.
    pub keeper_closes: Option<bool>,
    /// Connections that stay open between bursts; `None` if no lowest level was met often enough.
    pub idle_set: Option<u64>,
    /// Open connections in CLOSE_WAIT.
    pub close_wait: u64,
    /// Connections in CLOSE_WAIT at the start of the window.
    pub close_wait_at_start: u64,
    /// Dumps that met more in CLOSE_WAIT than the one before; `None` if they were not compared.
    pub close_wait_rises: Option<u64>,
    /// Open sockets whose peer is silent.
    pub stuck: StuckSockets,
    /// For a server: connections that the kernel has established and no program has accepted.
    pub unaccepted: u64,
    /// For a server: the listener's accept queue.
    pub listen_queue: Option<ListenQueue>,
    /// TIME_WAITs held by the local side: its closes of the last minute. `None` where the system
    /// does not list them.
    pub time_wait: Option<u64>,
    /// Local ports towards the destination; `None` for a server, or where the number is unknown.
    pub ports: Option<Ports>,
    /// Program of the local side, if it was recognised.
    pub runtime: Option<Runtime>,
    /// Program of the remote side, if it runs on this host and was recognised.
    pub peer_runtime: Option<Runtime>,
    /// Traffic on the connections that are open at the end of the window.
    pub open: Option<OpenTraffic>,
    /// Aborts by SO_LINGER 0 of the whole watch, in no row because the kernel had cleared their port.
    pub unattributed_aborts: u64,
    /// Share of the events of the whole watch that were lost before they were read, from 0 to 1.
    pub lost_share: f64,
    /// The kernel had not told all closes when the watch ended.
    pub events_overdue: bool,
    /// Kinds of evidence that this kernel does not report.
    pub missing: MissingEvidence,
    /// Facts that only the load generator knows; `None` if no load of ours is the cause.
    pub load: Option<LoadKnowledge>,
}

/// Open sockets whose peer does not acknowledge what they sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StuckSockets {
    /// Sockets in ESTABLISHED or CLOSE_WAIT, with data or keep-alive probes unanswered.
    pub established: u64,
    /// Sockets in a closing state (FIN_WAIT1, LAST_ACK, CLOSING) whose FIN is unanswered.
    pub closing: u64,
    /// Longest time in milliseconds since one of them received anything.
    pub oldest_ms: u32,
    /// Segments that they have sent again.
    pub retransmits: u64,
}

impl StuckSockets {
    /// Returns their number.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.established.saturating_add(self.closing)
    }

    /// Returns true if they have been stuck for a while: nothing came, or what did come acknowledged
    /// none of what they sent again and again (a firewall may drop one direction alone).
    pub(crate) const fn is_lasting(&self) -> bool {
        let many = self.retransmits >= self.count().saturating_mul(SILENT_RETRIES);
        self.oldest_ms >= SILENT_MS || (self.count() > 0 && many)
    }
}

/// Accept queue of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ListenQueue {
    /// Connections that wait for accept(2).
    pub waiting: u64,
    /// Largest number that may wait: the smaller of listen(2)'s backlog and net.core.somaxconn.
    pub backlog: u64,
}

/// Data segments on connections that are open and carried something within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenTraffic {
    /// Number of connections.
    pub connections: u64,
    /// Data segments from the client: its requests, if each is one segment.
    pub requests: u64,
    /// Data segments from the server.
    pub answers: u64,
}

/// Differences between periodic dumps of the socket table: lower bounds, because a connection may
/// come and go between two dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PolledEvidence {
    /// Connections opened, at least.
    pub opened: u64,
    /// Upper bound: connections that the whole host opened from this side, by its counter.
    pub opened_at_most: Option<u64>,
    /// Connections closed first by the local side, at least: new TIME_WAITs. `None` where the
    /// system does not list them.
    pub closed_first: Option<u64>,
    /// Connections that ended without a TIME_WAIT on this host.
    pub gone: u64,
    /// Ended connections (`closed_first` and `gone`) that had been open for two seconds or more.
    pub kept_closed: u64,
    /// Long-lived connections: open now, for two seconds or more.
    pub kept: u64,
}

/// Facts that only a load generator has about the connections it causes. They make a finding surer
/// or choose between causes that the kernel cannot tell apart; they contradict no finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LoadKnowledge {
    /// Requests in flight at once.
    pub concurrency: u64,
    /// Connections that the load kept and closed itself at its end: no churn. The judge counts them
    /// as open.
    pub closed_at_end: u64,
    /// Connections that the load closed because the response said `Connection: close` or HTTP/1.0.
    pub responses_said_close: u64,
    /// True if the load's own requests said `Connection: close`.
    pub requests_said_close: bool,
    /// Requests after which the load closes a connection, if it was told to.
    pub own_limit: Option<u64>,
    /// Meaning of the data segments that the kernel counted.
    pub requests: RequestCount,
}

/// Meaning of the data segments that the kernel counted from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RequestCount {
    /// Each is a request, as in plain HTTP/1.1 with short requests.
    #[default]
    Segments,
    /// The load counted this many requests itself; the segments include TLS handshakes.
    Exact(u64),
    /// The load spoke HTTP/2, whose segments are not requests. It counted them itself.
    Streams {
        /// Requests in all.
        total: u64,
        /// The most requests at once on one connection.
        at_once: u64,
    },
    /// The port speaks TLS, whose handshakes look like requests, and the connections are not the
    /// load's own.
    Encrypted,
}

impl RequestCount {
    /// Returns the load's own count of requests, if it has one.
    #[must_use]
    pub const fn counted(self) -> Option<u64> {
        match self {
            Self::Exact(total) | Self::Streams { total, .. } => Some(total),
            Self::Segments | Self::Encrypted => None,
        }
    }
}

/// Meaning of the client's messages, of which [`Evidence::requests`] are counted.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Messages {
    /// Each may be a request, or a part of one, of a handshake, or of a log-in.
    #[default]
    Unknown,
    /// Each is a request, or a part of one: there was no handshake.
    Plain,
    /// Each is a request: one is as long as the next.
    Alike,
    /// A handshake of TLS may be among them. The value is then a lower bound of the requests.
    WithHandshakePerhaps(Requests),
    /// A handshake of TLS was among them, and is taken off.
    BehindHandshake,
}

impl Messages {
    /// Returns true if a handshake of TLS is, or may be, among them.
    pub(crate) const fn may_have_handshake(self) -> bool {
        matches!(self, Messages::BehindHandshake | Messages::WithHandshakePerhaps(_))
    }
}

/// Distribution of requests per connection.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Requests {
    /// Connections counted.
    pub connections: u64,
    /// Requests on all of them.
    pub total: u64,
    /// Median.
    pub p50: u32,
    /// Maximum.
    pub max: u32,
    /// Share of connections that carried nothing.
    pub none_share: f64,
    /// Most common number, within 3 %.
    pub common: u32,
    /// Share of connections that carried this number.
    pub common_share: f64,
}

/// Distribution of idle times before a close, or of other times of closes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Idle {
    /// Closes counted.
    pub closes: u64,
    /// Median, in milliseconds.
    pub p50_ms: u32,
    /// Most common time in milliseconds, within 3 %.
    pub common_ms: u32,
    /// Share of closes after this time.
    pub common_share: f64,
}

/// Local ports towards one destination.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Ports {
    /// Ports taken now, TIME_WAIT included.
    pub used: u64,
    /// Ports in the ephemeral range.
    pub range: u64,
    /// Time until half of them are taken and connect(2) gets slow; `None`: never at this rate.
    pub cliff_in: Option<Duration>,
    /// Time until all of them are taken and connect(2) fails; `None`: never at this rate.
    pub exhausted_in: Option<Duration>,
}

impl Evidence {
    /// Returns evidence from one side in which nothing was measured yet.
    #[must_use]
    pub fn new(side: Side, level: Level) -> Self {
        Self { side, level, ..Self::default() }
    }

    /// Returns the connections closed, by any means.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed_locally() + self.closed_remotely() + self.unclassified
    }

    fn closed_locally(&self) -> u64 {
        self.local_fin + self.local_rst + self.undrained - self.peer_said_farewell()
    }

    fn closed_remotely(&self) -> u64 {
        self.remote_fin + self.remote_rst + self.peer_said_farewell()
    }

    /// Returns the closes that the peer had begun with a farewell (close_notify), which the local
    /// program left unread when it closed too.
    pub(crate) fn peer_said_farewell(&self) -> u64 {
        self.unread_farewells.min(self.undrained)
    }

    /// Returns the connections that `closer` closed first, whichever side was observed.
    #[must_use]
    pub fn closed_by(&self, closer: Side) -> u64 {
        if closer == self.side { self.closed_locally() } else { self.closed_remotely() }
    }

    /// Returns the share of the closes with a known closer that `closer` began, if they are half of all or
    /// more: behind TLS an RST may hide who closed first. A finding is as sure as its share of all closes.
    pub(crate) fn share_of_known_closed_by(&self, closer: Side) -> f64 {
        let known = self.closed() - self.unclassified;
        if share(known, self.closed()) >= KNOWN_CLOSERS {
            share(self.closed_by(closer), known)
        } else {
            self.share_closed_by(closer)
        }
    }

    /// Returns the share of all closes that `closer` began, from 0 to 1.
    #[must_use]
    pub fn share_closed_by(&self, closer: Side) -> f64 {
        share(self.closed_by(closer), self.closed())
    }

    /// Returns the idle time before closes that `closer` began.
    #[must_use]
    pub fn idle_before_close_by(&self, closer: Side) -> Option<Idle> {
        if closer == self.side { self.idle_local } else { self.idle_remote }
    }

    /// Returns the resets by which a client ended its connections on purpose, where traced.
    pub(crate) const fn reset_on_purpose(&self) -> u64 {
        match self.level.reset_reasons() {
            Some(reasons) => reasons.given_up,
            None => 0,
        }
    }

    /// Returns the requests that were written after the server's FIN, where traced.
    pub(crate) const fn late_requests(&self) -> u64 {
        match self.level.reset_reasons() {
            Some(reasons) => reasons.late_requests,
            None => 0,
        }
    }

    /// Returns the closes that the client began after it had waited for an answer. A farewell of the
    /// protocol is followed by the close at once.
    pub(crate) fn given_up_waiting(&self) -> u64 {
        let waited = self.waited.is_some_and(|waited| waited.p50_ms > LONGEST_FAREWELL_MS);
        if waited { self.given_up } else { 0 }
    }

    /// Returns the share of the waiting for answers that was in vain, at least: the lower end of its
    /// interval of 95 % (Wilson).
    pub(crate) fn waited_in_vain(&self) -> f64 {
        const Z: f64 = 1.96;
        let count = self.met_waiting as f64;
        if self.met_waiting == 0 {
            return 0.0;
        }
        let part = share(self.met_waiting_in_vain.min(self.met_waiting), self.met_waiting);
        let middle = part + Z * Z / (2.0 * count);
        let width = Z * (part * (1.0 - part) / count + Z * Z / (4.0 * count * count)).sqrt();
        ((middle - width) / (1.0 + Z * Z / count)).max(0.0)
    }

    /// Returns the closes by the client after which data came, so that it may have left before the
    /// end of an answer; or the server said a farewell (close_notify) in return.
    pub(crate) fn left_early_perhaps(&self) -> u64 {
        let traced = self.level.reset_reasons().map_or(0, |reasons| reasons.after_close);
        self.answered_after_close.max(traced)
    }

    /// Returns true if the requests behind handshakes are exact: of each connection it is known what the
    /// handshake took.
    pub(crate) fn is_exact_behind_handshake(&self) -> bool {
        let totals = self.requests.zip(self.requests_at_most);
        self.messages == Messages::BehindHandshake
            && totals.is_some_and(|(least, most)| least.total == most.total)
    }

    /// Returns the requests per connection, if they are known of most connections that closed: SO_LINGER
    /// 0 makes the kernel forget them, and then the rest says nothing of these.
    pub(crate) fn known_requests(&self) -> Option<Requests> {
        self.requests.filter(|known| share(known.connections, self.closed()) >= DOMINANT)
    }

    /// Returns true if each connection that was open ended more than once, so that a restart of a
    /// program, which ends each once, is no explanation.
    pub(crate) fn is_turned_over(&self) -> bool {
        let open = self.alive.max(self.alive_at_start).max(self.most_established).max(1);
        self.closed() / 2 >= open
    }

    /// Returns true if connections behind a handshake idled for a while before a farewell: dumps met them
    /// idle, or they lived for about one time, as a timeout makes them, and next to none was met waiting.
    pub(crate) fn idled_before_farewell(&self) -> bool {
        let age = self.lifetime.filter(|age| age.common_share >= CLUSTERED);
        let lived_alike = age.is_some_and(|age| age.common_ms >= TIMEOUT_MS)
            && share(self.met_waiting, self.closed()) < MET_IDLE;
        self.messages.may_have_handshake() && (self.was_met_idle() || lived_alike)
    }

    /// Returns the idle milliseconds from which a close looks like a timeout where the times differ: the
    /// end of a request may be as late on a busy host, but then no dump meets connections idle.
    pub(crate) fn some_timeout_ms(&self) -> u32 {
        if self.was_met_idle() { TIMEOUT_MS } else { SOME_TIMEOUT_MS }
    }

    fn was_met_idle(&self) -> bool {
        share(self.met_idle, self.closed()) >= MET_IDLE
    }

    /// Returns the program that is known on a side.
    #[must_use]
    pub fn runtime_of(&self, side: Side) -> Option<Runtime> {
        if side == self.side { self.runtime } else { self.peer_runtime }
    }

    /// Counts the connections that a load closed at its own end as open: it kept them while it ran.
    ///
    /// A connection that still waited for an answer then may have ended by RST.
    pub(crate) fn before_end_of_load(&self) -> Evidence {
        let mut before = self.clone();
        let Some(load) = &self.load else { return before };
        let mut left = load.closed_at_end;
        let closes = match self.side {
            Side::Client => [
                Some(&mut before.local_fin),
                Some(&mut before.local_rst),
                Some(&mut before.undrained),
            ],
            Side::Server => [Some(&mut before.remote_fin), Some(&mut before.remote_rst), None],
        };
        for closes in closes.into_iter().flatten() {
            let taken = left.min(*closes);
            *closes -= taken;
            left -= taken;
        }
        let kept = load.closed_at_end - left;
        before.alive = before.alive.saturating_add(kept);
        before.established = before.established.saturating_add(kept);
        before
    }
}

/// Returns `part` as a share of `of`; 0 of nothing.
pub(crate) fn share(part: u64, of: u64) -> f64 {
    if of > 0 { part as f64 / of as f64 } else { 0.0 }
}
