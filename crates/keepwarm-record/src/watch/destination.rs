//! One row of a watch: a service, seen from one side of its connections.
//!
//! Owns the types under `destinations`. A number that is not known is `None`, in JSON `null`, and
//! never 0.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The side of its connections from which a service is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The side that called connect(2).
    Client,
    /// The side that called accept(2).
    Server,
}

impl Side {
    /// Returns the word for the side.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// A service with the numbers of its connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestinationRecord {
    /// The service's address. Port 0: connects that failed, of which the kernel keeps the host but
    /// not the port. `None`: the quietest destinations, folded into one.
    pub remote: Option<SocketAddr>,
    /// The name of that address: by the hosts file. `None` where it has none, and in a record of an
    /// older version.
    #[serde(default)]
    pub remote_name: Option<String>,
    /// The network namespace of the sockets, where all are watched; `None` where one is, and of the
    /// sums over those that ended long ago.
    #[serde(default)]
    pub network_namespace: Option<NamespaceRecord>,
    /// Our side of the connections.
    pub side: Side,
    /// Evidence of which end is the service: `connected`, `listener`, `port_range`, `many_ports`, or
    /// `guess`, where the sides may be the wrong way round. `None` in a record of an older version.
    #[serde(default)]
    pub side_evidence: Option<String>,
    /// Destinations in these numbers: 1, or more in the folded one.
    pub folded: u64,
    /// There are more destinations than `folded`.
    #[serde(default)]
    pub folded_at_least: bool,
    /// Connections opened in the window; `None` where closes are not counted.
    pub opened: Option<u64>,
    /// Connections closed in the window; `None` where closes are not counted.
    pub closed: Option<Closed>,
    /// Requests on a connection, at least.
    pub requests_per_connection: PerConnection,
    /// Requests on a connection, at most: equal to the former where messages are short and none was
    /// lost. `None` in a record of an older version.
    #[serde(default)]
    pub requests_at_most: Option<PerConnection>,
    /// Whether a handshake of TLS is among the segments that are counted: `none`, `possible` or `tls`.
    /// `None` in a record of an older version.
    #[serde(default)]
    pub handshake: Option<String>,
    /// Requests without an answer; `None` where closes are not counted, and in a record of an older
    /// version.
    #[serde(default)]
    pub waiting: Option<WaitingRecord>,
    /// Sockets that the peer leaves without an acknowledgement; `None` in a record of an older
    /// version.
    #[serde(default)]
    pub stuck: Option<StuckRecord>,
    /// A server's accept queue; `None` where it is not known.
    #[serde(default)]
    pub accept_queue: Option<AcceptQueueRecord>,
    /// Milliseconds between the last data and the close.
    pub idle_at_close_ms: IdleRecord,
    /// Milliseconds from established to closed, of connections that were opened and closed within
    /// the window; `None` below level L2.
    pub lifetime_ms: Option<LifetimeRecord>,
    /// Why resets were sent; `None` below level L2.
    pub resets: Option<ResetsRecord>,
    /// Bounds from below; at level L0 only.
    #[serde(rename = "glimpsed")]
    pub seen_by_polls: Option<PollDiffRecord>,
    /// Connections in ESTABLISHED now.
    pub established: u64,
    /// Connections in CLOSE_WAIT now: the peer has closed, the program has not.
    pub close_wait: u64,
    /// TIME_WAITs that this side holds now; `None` where the system does not list them.
    pub time_wait: Option<u64>,
    /// Round trips and retransmissions; `None` where no socket reported any, and in a record of an
    /// older version.
    #[serde(default)]
    pub path: Option<PathRecord>,
    /// Waiting that new connections cost; a client's only. `None` where it is not known.
    #[serde(default)]
    pub price: Option<PriceRecord>,
    /// The TIME_WAITs by age in seconds, the last second first: closes that this side began.
    /// `None` where the system does not list them.
    pub closed_first_by_second: Option<Vec<u32>>,
    /// Local ports towards the service; a client's only.
    pub ports: Option<PortsRecord>,
    /// Connections by which the destination grows a second, if it grows steadily; `None` where it does
    /// not, and in a record of an older version.
    #[serde(default)]
    pub growth_per_s: Option<f64>,
    /// The file table of the owner of its open connections whose files run out first, where connections that
    /// stay open fill it: these, or those of other destinations too.
    #[serde(default)]
    pub files: Option<FilesRecord>,
    /// Processes that own the connections, the main owner first.
    pub owners: Vec<OwnerRecord>,
    /// The verdicts.
    pub findings: Vec<FindingRecord>,
}

/// Connections closed within the window, by how the kernel saw them end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// By FIN, this side's first, or both crossed.
    pub local_fin: u64,
    /// The part of `local_fin` in which both FINs crossed: the other side counts it as its own too.
    #[serde(default)]
    pub crossed_fin: u64,
    /// By FIN, the other side's first.
    pub remote_fin: u64,
    /// By a reset of this side, with no data unread.
    pub local_rst: u64,
    /// By a reset of the other side.
    pub remote_rst: u64,
    /// By this side with unread data, which makes the kernel reset.
    #[serde(rename = "undrained")]
    pub with_unread_data: u64,
    /// Connects that were refused or timed out: never open, so not part of [`Closed::total`].
    pub connect_failed: u64,
    /// No answer came any more, and this side gave up.
    pub timed_out: u64,
    /// The evidence was gone when it was looked up, or contradicts itself.
    pub unclassified: u64,
}

impl Closed {
    /// Returns the number of connections that ended.
    #[must_use]
    pub fn total(&self) -> u64 {
        sum([
            self.local_fin,
            self.remote_fin,
            self.local_rst,
            self.remote_rst,
            self.with_unread_data,
            self.timed_out,
            self.unclassified,
        ])
    }

    /// Returns the number of connections that a reset ended, from either side.
    #[must_use]
    pub fn by_reset(&self) -> u64 {
        sum([self.local_rst, self.remote_rst, self.with_unread_data])
    }
}

/// Adds counts without overflow: a record may come from a file that was tampered with.
pub(super) fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

/// Requests on a connection: segments with data that the client sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerConnection {
    /// The median.
    pub p50: Option<u32>,
    /// The most.
    pub max: Option<u32>,
    /// The mean.
    pub mean: Option<f64>,
    /// The sum over all connections; `None` where requests are not counted, and in a record of
    /// `keepwarm.watch/1`.
    pub total: Option<u64>,
}

/// Requests that were given up, or never answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRecord {
    /// Closed connections on which the client sent data and received nothing.
    pub unanswered: u64,
    /// Closes by the client while an answer was due.
    pub given_up: u64,
    /// Median of the milliseconds that it had waited then.
    pub p50_ms: Option<u32>,
    /// Closed connections that a dump had met while the client waited for an answer.
    #[serde(default)]
    pub met: u64,
    /// The part of `met` on which nothing of the answer came any more.
    #[serde(default)]
    pub met_in_vain: u64,
    /// A server's answers that came after their client had left.
    #[serde(default)]
    pub late_answers: u64,
    /// A server's answers that their client left before their end.
    #[serde(default)]
    pub cut_answers: u64,
}

/// Sockets that have sent what the peer does not acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckRecord {
    /// In ESTABLISHED or CLOSE_WAIT: data, or probes.
    pub established: u64,
    /// In FIN_WAIT1, CLOSING or LAST_ACK.
    pub closing: u64,
    /// The longest time since one of them received a segment.
    pub silent_ms: u32,
    /// Retransmissions and probes of all of them.
    pub retransmits: u64,
}

/// Connections that the kernel has established and no program has accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptQueueRecord {
    /// Connections in the queue of the listeners.
    pub waiting: u32,
    /// The most that it takes.
    pub backlog: u32,
    /// Connections without a process.
    pub unaccepted: u64,
}

/// Idle times at the close, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleRecord {
    /// The median.
    pub p50: Option<u32>,
    /// The 99th percentile.
    pub p99: Option<u32>,
}

/// Lifetimes, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifetimeRecord {
    /// The median.
    pub p50: Option<u32>,
    /// The 99th percentile.
    pub p99: Option<u32>,
    /// The longest.
    pub max: Option<u32>,
}

/// Resets, as traces report them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetsRecord {
    /// Resets by the kernel's reason (`enum sk_rst_reason`, without `SK_RST_REASON_`).
    pub reasons: BTreeMap<String, u64>,
    /// Resets that came after the other side's FIN.
    pub after_fin: u64,
}

impl ResetsRecord {
    /// Returns true where no reset was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty() && self.after_fin == 0
    }
}

/// Bounds from below at level L0, from the differences between polls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollDiffRecord {
    /// Connections that an earlier poll did not see.
    pub opened_at_least: u64,
    /// TIME_WAITs of this side that came; `None` where the system does not list them.
    pub closed_first_at_least: Option<u64>,
    /// Connections that went without a TIME_WAIT here.
    pub gone_without_time_wait: u64,
    /// Connections that have been open for two seconds or more.
    #[serde(rename = "kept")]
    pub long_lived: u64,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Its inode, as `lsns` prints it.
    pub inode: u64,
    /// Its name by `ip netns`, if it has one.
    pub name: Option<String>,
}

/// Round trips and retransmissions of the connections that were closed in the window and of those that
/// are open, as their sockets on this host counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRecord {
    /// Round trips.
    pub rtt_us: RoundTripRecord,
    /// Segments sent since these connections were opened.
    pub segments_sent: u64,
    /// Segments among them that were sent again, SYNs too.
    pub retransmits: u64,
}

/// Round trips in microseconds. A value without a measurement is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTripRecord {
    /// The median of the connections' means, which the kernel smooths.
    pub p50: Option<u32>,
    /// Their 99th percentile.
    pub p99: Option<u32>,
    /// The median of the connections' least ones.
    pub floor: Option<u32>,
    /// The least of all.
    pub least: Option<u32>,
}

/// Waiting that new connections cost: each waits a round trip for its handshake, and TLS for more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PriceRecord {
    /// Connections opened a second.
    pub connects_per_s: f64,
    /// Microseconds of a round trip: the median of the connections' least ones.
    pub round_trip_us: u32,
    /// Round trips of TLS on each: 0, or 2 where connections begin with a handshake of TLS 1.2; that
    /// of TLS 1.3 takes one, which the kernel's counts do not show.
    pub tls_round_trips: u32,
    /// Seconds of waiting in each second, over all connections.
    pub waiting_s_per_s: f64,
}

impl PriceRecord {
    /// Computes the price of this many connects a second.
    #[must_use]
    pub fn of(connects_per_s: f64, round_trip_us: u32, tls_round_trips: u32) -> Self {
        let round_trips = f64::from(1 + tls_round_trips);
        let waiting_s_per_s = connects_per_s * f64::from(round_trip_us) / 1e6 * round_trips;
        Self { connects_per_s, round_trip_us, tls_round_trips, waiting_s_per_s }
    }
}

/// Local ports towards one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsRecord {
    /// Ports taken now, TIME_WAIT included, from the source address that has taken most.
    pub used: u64,
    /// Ports that the system gives out.
    pub range: u64,
    /// Seconds until half of them are taken, where connect(2) gets slow; `None`: never at this
    /// rate.
    pub cliff_in_s: Option<u64>,
    /// Seconds until all of them are taken, where connect(2) fails; `None`: never at this rate.
    pub exhausted_in_s: Option<u64>,
}

/// File table of a process that connections fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesRecord {
    /// The process's id.
    pub pid: u32,
    /// Files that it has open.
    pub used: u64,
    /// Files that it may have open: its soft `RLIMIT_NOFILE`.
    pub limit: u64,
    /// Seconds until it may open no more, at the growth of all its destinations.
    pub exhausted_in_s: u64,
}

/// A process that owns connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// The process's id.
    pub pid: u32,
    /// The process's name (/proc/PID/comm); `None` where it was gone before it was asked for.
    pub process: Option<String>,
    /// The runtime or library it is built with; known of the main owner only.
    pub runtime: Option<String>,
    /// The path of its cgroup, which often has the name of a service or a container.
    pub cgroup: Option<String>,
    /// The namespace of its pod; `None` in a record of an older version, as are the next three.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The name of its pod, or the UID where no file has the name.
    #[serde(default)]
    pub pod: Option<String>,
    /// The name of its container, or the first digits of the id.
    #[serde(default)]
    pub container: Option<String>,
    /// Its systemd unit: a service or a scope.
    #[serde(default)]
    pub unit: Option<String>,
    /// The share of the destination's connections, from 0 to 1.
    pub share: f64,
    /// How it is known: `tracepoint`, `listener`, `cookie`, `sampled`.
    pub how: String,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingRecord {
    /// `D1` to `D14`, `D4-D6`, `healthy`, `mixed`.
    pub code: String,
    /// The share of the evidence that fits, from 0 to 1.
    pub confidence: f64,
    /// The finding in one sentence, with its numbers.
    pub summary: String,
    /// The next step; `None` where nothing is to be done.
    pub advice: Option<String>,
}

/// Kinds of verdicts, by what a reader does about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// Something to mend.
    Fault,
    /// No churn, or churn that was meant: healthy, D11 (the client's own idle timeout), D12
    /// (multiplexed).
    Sound,
    /// Too little evidence, or no cause that dominates.
    Undecided,
}

impl FindingRecord {
    /// Returns the kind of this verdict.
    #[must_use]
    pub fn kind(&self) -> FindingKind {
        match self.code.as_str() {
            "healthy" | "D11" | "D12" => FindingKind::Sound,
            "mixed" => FindingKind::Undecided,
            _ => FindingKind::Fault,
        }
    }
}
