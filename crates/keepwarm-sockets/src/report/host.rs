//! The traffic of a host's destinations over one window: plain numbers for whoever prints or
//! judges them.
//!
//! Owns the public types. `ends` fills them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::error::Error;
use crate::kernel::counters::Counters;
use crate::kernel::proc::owners::{Owner, OwnerEvidence};
use crate::kernel::socket::{Side, Socket};
use crate::kernel::socket_table::TableSource;
use crate::kernel::wire::dump_filter::AddressFilter;
use crate::report::histogram::Histogram;
use crate::tracker::classify::CloseKind;
use crate::tracker::poll_diff::PollDiff;

/// What the kernel said about every connection in scope during one window.
///
/// Unlike a [`PortReport`](crate::PortReport), which counts connections, this counts *ends*: one
/// socket each. Of a connection whose both ends are on this host, each end is in the numbers of its
/// own destination and side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostReport {
    /// Which connections it is about.
    pub scope: Scope,
    /// From the start of the watch to its last look.
    pub window: Duration,
    /// Destroy events the kernel dropped because they were not read fast enough. If this is not 0,
    /// `opened` and `closed` may be too small by at most as many.
    pub lost_events: u64,
    /// TIME_WAITs the kernel did not keep during the window because there were too many; closes
    /// whose TIME_WAIT is missing for this reason may be `unclassified`.
    pub time_waits_refused: Option<u64>,
    /// Aborts by SO_LINGER 0 whose destination the kernel clears and nothing else told. They are in
    /// no other number.
    pub unattributed_aborts: u64,
    /// Ends that died while the table of unfinished business was full; they count as
    /// `unclassified`.
    pub overflowed: u64,
    /// Whether the window was closed at rest: no socket in scope between two states, no event in
    /// scope for 50 ms, and proof that every event of the window had been delivered. False in a
    /// snapshot.
    pub settled: bool,
    /// Whether connections were traced too.
    pub tracing: Tracing,
    /// Level L0: what stands in for destroy events. Then `opened`, `closed`, `connect_failed`,
    /// `requests` and the idle times of destinations are not known, and empty.
    pub looks: Option<Polls>,
    /// The busiest first.
    pub destinations: Vec<Destination>,
}

/// One service, as seen from one side of its connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// The address that was connected to: the remote one of a client, the local one of a server.
    /// Port 0: connects that failed, of which the kernel keeps the host but not the port. `None`:
    /// the quietest destinations beyond 1024, folded into one.
    pub service: Option<SocketAddr>,
    /// Which side of the connections this host is.
    pub side: Side,
    /// How many destinations are in these numbers: 1, or more in the folded one.
    pub folded: u64,
    /// Connections established within the window.
    pub opened: u64,
    /// Connections that ended within the window.
    pub closed: SocketCloses,
    /// connect(2) calls that were refused or timed out.
    pub connect_failed: u64,
    /// Requests per connection within the window: segments with data that the client sent. Over
    /// connections opened in the window, and those open before that carried one in it.
    pub requests: Histogram,
    /// The same of those that are open still; they are part of `requests`.
    pub requests_open: Histogram,
    /// Segments with data that the server sent on those connections meanwhile. In HTTP/1.1 each
    /// request of one segment has one at least.
    pub answers_open: u64,
    /// Milliseconds between a connection's last data and its close by this end.
    pub idle_before_local_close: Histogram,
    /// Milliseconds between a connection's last data and its close by the other end.
    pub idle_before_remote_close: Histogram,
    /// Bytes received on a connection that was closed.
    pub received: Histogram,
    /// Connections open when the window began.
    pub alive_at_start: u64,
    /// Connections open now, in any state.
    pub alive: u64,
    /// Of these in ESTABLISHED.
    pub established: u64,
    /// Of these in CLOSE_WAIT: the peer has closed and the program has not.
    pub close_wait: u64,
    /// CLOSE_WAIT when the window began.
    pub close_wait_at_start: u64,
    /// ESTABLISHED as it was at each look of the window.
    pub established_seen: Histogram,
    /// TIME_WAITs that this side holds now, because it closed first.
    pub time_wait: u64,
    /// TIME_WAITs of `time_wait` that were not there when the watch began (decided by their
    /// cookies): entered within the watch.
    pub time_wait_in_window: u64,
    /// `time_wait` by age in seconds; index 0 is the last second, 59 the oldest.
    pub time_wait_by_age: Vec<u32>,
    /// Local ports taken by these connections, TIME_WAIT included; for a client only.
    pub ports: Option<PortsTaken>,
    /// Whose connections they are, as far as it could be told.
    pub owners: Vec<Owner>,
    /// Whose those are that are open now.
    pub owners_open: Vec<Owner>,
    /// What only tracing tells of the closes; empty without it.
    pub traced: TracedCloses,
    /// What looks alone tell, at level L0 only.
    pub glimpsed: Option<PollDiff>,
    /// For a server: the part of these numbers whose connections no client's socket stands for.
    pub server_only: ServerOnly,
}

/// The part of a server's numbers whose connections have no client's socket in this network
/// namespace: the client is on another host or in another namespace, or its socket ended without a
/// destroy event. A count of connections takes these here, and every other connection from its
/// client's socket.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServerOnly {
    /// Connections that ended within the window.
    pub closed: SocketCloses,
    /// Connections open when the window began.
    pub alive_at_start: u64,
    /// Connections open now.
    pub alive: u64,
    /// Requests per connection within the window, those of open connections included.
    pub requests: Histogram,
}

impl ServerOnly {
    pub(crate) fn merge(&mut self, other: &ServerOnly) {
        self.closed.merge(&other.closed);
        self.alive_at_start += other.alive_at_start;
        self.alive += other.alive;
        self.requests.merge(&other.requests);
    }

    fn since(&self, earlier: &ServerOnly) -> ServerOnly {
        ServerOnly {
            closed: self.closed.since(&earlier.closed),
            alive_at_start: earlier.alive,
            alive: self.alive,
            requests: self.requests.since(&earlier.requests),
        }
    }
}

/// What a [`PollingWatch`](crate::PollingWatch) has instead of destroy events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polls {
    /// What sockets were read by.
    pub source: TableSource,
    /// How often they were.
    pub count: u64,
    /// The counters of the network namespace: what happened within the window, and the levels now.
    pub counters: Counters,
    /// Whether TIME_WAITs are among the sockets. Where they are not, `time_wait`, `ports` and what
    /// was closed first are not known.
    pub lists_time_waits: bool,
}

impl Polls {
    fn since(&self, earlier: &Polls) -> Polls {
        let counters = self.counters.since(&earlier.counters);
        Polls { counters, count: self.count.saturating_sub(earlier.count), ..*self }
    }
}

impl Destination {
    /// Requests within the window.
    pub fn request_count(&self) -> u64 {
        self.requests.total()
    }

    /// The busiest first; what is as busy keeps its place.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let busy = self.busy();
        (Reverse((busy, self.alive + self.time_wait)), self.service, self.side)
    }

    fn busy(&self) -> u64 {
        let glimpsed = self.glimpsed.map_or(0, |glimpsed| glimpsed.busy());
        self.opened + self.closed.total() + self.connect_failed + glimpsed
    }

    fn weight(&self) -> u64 {
        self.busy() + self.alive + self.alive_at_start + self.time_wait
    }

    fn since(&self, earlier: &Destination) -> Destination {
        let closed = |one: &Destination| one.requests.since(&one.requests_open);
        let mut requests = closed(self).since(&closed(earlier));
        requests.merge(&self.requests_open);
        // Those that are open carried a part of their requests before.
        requests.set_total(self.requests.total().saturating_sub(earlier.requests.total()));
        let closed_now = self.closed.since(&earlier.closed);
        // Who closed connections once may be gone; a listener is there.
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
            idle_before_local_close: idle_local,
            idle_before_remote_close: idle_remote,
            received: self.received.since(&earlier.received),
            alive_at_start: earlier.alive,
            close_wait_at_start: earlier.close_wait,
            established_seen: self.established_seen.since(&earlier.established_seen),
            traced: self.traced.since(&earlier.traced),
            glimpsed: self.glimpsed.zip(earlier.glimpsed).map(|(now, then)| now.since(&then)),
            server_only: self.server_only.since(&earlier.server_only),
            ..self.clone()
        }
    }
}

impl HostReport {
    /// What happened since it was as `earlier`, a part of the same watch. What is a state and no
    /// sum, as `established`, is as it is now; requests of connections that are open count from
    /// the beginning of the watch, in the spread but not in its total. Owners are the whole
    /// watch's; where nothing was closed, those of what is open.
    #[must_use]
    pub fn since(&self, earlier: &HostReport) -> HostReport {
        let key = |one: &Destination| (one.service, one.side);
        let before: HashMap<_, _> =
            earlier.destinations.iter().map(|one| (key(one), one)).collect();
        let since = |one: &Destination| match before.get(&key(one)) {
            Some(before) => one.since(before),
            None => one.clone(),
        };
        let refused = self.time_waits_refused.zip(earlier.time_waits_refused);
        let mut destinations: Vec<Destination> = self.destinations.iter().map(since).collect();
        destinations.retain(|one| one.weight() > 0);
        destinations.sort_by_key(Destination::rank);
        HostReport {
            scope: self.scope,
            settled: self.settled,
            window: self.window.saturating_sub(earlier.window),
            lost_events: self.lost_events.saturating_sub(earlier.lost_events),
            time_waits_refused: refused.map(|(now, then)| now.saturating_sub(then)),
            unattributed_aborts: self
                .unattributed_aborts
                .saturating_sub(earlier.unattributed_aborts),
            overflowed: self.overflowed.saturating_sub(earlier.overflowed),
            tracing: self.tracing.since(&earlier.tracing),
            looks: self.looks.zip(earlier.looks).map(|(now, then)| now.since(&then)),
            destinations,
        }
    }
}

/// Whether a watch traces connections as well, which needs root or `CAP_DAC_OVERRIDE`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tracing {
    /// It was not asked for.
    #[default]
    Off,
    /// It could not be: why.
    Refused(Error),
    /// It does.
    On {
        /// Events that were read, of whatever connection.
        events: u64,
        /// Events that were overwritten before they were read: as many ends at most lack their
        /// process, lifetime or reason. `opened` and `closed` do not rest on them.
        lost_events: u64,
    },
}

/// What only tracing tells of connections that were closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TracedCloses {
    /// Milliseconds from established to closed by this end, or reset. Only of connections that
    /// were established within the window.
    pub lifetime_ms: Histogram,
    /// Why resets were sent, in the kernel's words (`enum sk_rst_reason`, without `SK_RST_REASON_`).
    /// Where the other end is on another host, only of those that this end sent.
    pub reset_reasons: BTreeMap<String, u64>,
    /// Those of them that the client sent, whichever end this is.
    pub client_reset_reasons: BTreeMap<String, u64>,
    /// Resets that came after the other end's FIN: this end had written to a connection that was
    /// closed already, as a keep-alive race does.
    pub reset_after_fin: u64,
}

impl Tracing {
    fn since(&self, earlier: &Tracing) -> Tracing {
        match (self, earlier) {
            (
                Tracing::On { events, lost_events: lost },
                Tracing::On { events: events_then, lost_events: lost_then },
            ) => Tracing::On {
                events: events.saturating_sub(*events_then),
                lost_events: lost.saturating_sub(*lost_then),
            },
            _ => self.clone(),
        }
    }
}

impl TracedCloses {
    fn since(&self, earlier: &TracedCloses) -> TracedCloses {
        let more = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let more = |(reason, count): (&String, &u64)| {
                let before = then.get(reason).copied().unwrap_or(0);
                (*count > before).then(|| (reason.clone(), count - before))
            };
            now.iter().filter_map(more).collect()
        };
        TracedCloses {
            lifetime_ms: self.lifetime_ms.since(&earlier.lifetime_ms),
            reset_reasons: more(&self.reset_reasons, &earlier.reset_reasons),
            client_reset_reasons: more(&self.client_reset_reasons, &earlier.client_reset_reasons),
            reset_after_fin: self.reset_after_fin.saturating_sub(earlier.reset_after_fin),
        }
    }

    pub(crate) fn merge(&mut self, other: &TracedCloses) {
        self.lifetime_ms.merge(&other.lifetime_ms);
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

/// Local ports taken towards one service from the source address that has taken most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortsTaken {
    /// The source address.
    pub source: IpAddr,
    /// How many.
    pub used: u64,
}

/// Connections closed, as one end saw it.
///
/// Where the other end is on another host, it is judged by this end alone, and without a trace three
/// kinds look like others: an RST after the other end's FIN may count as `remote_rst`; an RST that
/// came while data was unread, and a close with data unread after the other end's FIN, count as
/// `undrained`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketCloses {
    /// This end's FIN came first, or both crossed.
    pub local_fin: u64,
    /// Those of `local_fin` whose FINs crossed; known only where both sockets were seen. No part of
    /// the total of its own.
    pub crossed_fin: u64,
    /// The other end's FIN came first.
    pub remote_fin: u64,
    /// This end aborted, with nothing left unread (SO_LINGER 0).
    pub local_rst: u64,
    /// The other end aborted.
    pub remote_rst: u64,
    /// This end closed with data unread, which makes the kernel abort: a body was not drained.
    pub undrained: u64,
    /// No answer came any more, and this end gave up.
    pub timed_out: u64,
    /// The evidence was gone when it was looked for, or contradicts itself.
    pub unclassified: u64,
}

impl SocketCloses {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.local() + self.remote() + self.timed_out + self.unclassified
    }

    /// Those that this end began.
    pub fn local(&self) -> u64 {
        self.local_fin + self.local_rst + self.undrained
    }

    /// Those that the other end began.
    pub fn remote(&self) -> u64 {
        self.remote_fin + self.remote_rst
    }

    /// `unread`: this end left data unread when it closed.
    pub(crate) fn add(&mut self, side: Side, kind: CloseKind, unread: bool) {
        let ours = |owner: Side| owner == side;
        self.crossed_fin += u64::from(kind == CloseKind::CrossedFin);
        *match kind {
            CloseKind::CrossedFin => &mut self.local_fin,
            CloseKind::ClientFin if ours(Side::Client) => &mut self.local_fin,
            CloseKind::ServerFin if ours(Side::Server) => &mut self.local_fin,
            CloseKind::ClientFin | CloseKind::ServerFin => &mut self.remote_fin,
            CloseKind::ClientRst if !ours(Side::Client) => &mut self.remote_rst,
            CloseKind::ServerRst if !ours(Side::Server) => &mut self.remote_rst,
            CloseKind::ClientRst | CloseKind::ServerRst if unread => &mut self.undrained,
            CloseKind::ClientRst | CloseKind::ServerRst => &mut self.local_rst,
            CloseKind::TimedOut => &mut self.timed_out,
            CloseKind::Unclassified => &mut self.unclassified,
        } += 1;
    }

    fn since(&self, earlier: &SocketCloses) -> SocketCloses {
        SocketCloses {
            local_fin: self.local_fin.saturating_sub(earlier.local_fin),
            crossed_fin: self.crossed_fin.saturating_sub(earlier.crossed_fin),
            remote_fin: self.remote_fin.saturating_sub(earlier.remote_fin),
            local_rst: self.local_rst.saturating_sub(earlier.local_rst),
            remote_rst: self.remote_rst.saturating_sub(earlier.remote_rst),
            undrained: self.undrained.saturating_sub(earlier.undrained),
            timed_out: self.timed_out.saturating_sub(earlier.timed_out),
            unclassified: self.unclassified.saturating_sub(earlier.unclassified),
        }
    }

    pub(crate) fn merge(&mut self, other: &SocketCloses) {
        self.local_fin += other.local_fin;
        self.crossed_fin += other.crossed_fin;
        self.remote_fin += other.remote_fin;
        self.local_rst += other.local_rst;
        self.remote_rst += other.remote_rst;
        self.undrained += other.undrained;
        self.timed_out += other.timed_out;
        self.unclassified += other.unclassified;
    }
}

/// Which connections a [`Watch`](crate::Watch) is about. Conditions are joined by *and*; the
/// default is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Only services on this port.
    pub port: Option<u16>,
    /// Only services at this address.
    pub ip: Option<IpAddr>,
    /// Only connections of which this host is this side.
    pub side: Option<Side>,
}

impl Scope {
    /// Whether the address stands at an end of this socket: at the remote one for a client, at the
    /// local one for a server.
    pub(crate) fn admits_row(&self, row: &Socket) -> bool {
        let at = |end: &SocketAddr| {
            self.port.is_none_or(|port| port == end.port())
                && self.ip.is_none_or(|ip| ip == end.ip())
        };
        let (client, server) = (self.side != Some(Side::Server), self.side != Some(Side::Client));
        (client && at(&row.remote)) || (server && at(&row.local))
    }

    /// The same for the kernel; `None` is every socket.
    pub(crate) fn condition(&self) -> Option<AddressFilter> {
        let (ip, port, side) = (self.ip, self.port, self.side);
        let (local, remote) = (side != Some(Side::Client), side != Some(Side::Server));
        (ip.is_some() || port.is_some()).then_some(AddressFilter { ip, port, local, remote })
    }

    pub(crate) fn admits(&self, service: &SocketAddr, side: Side) -> bool {
        // Port 0 is a connect that failed, of which the port is not known.
        self.port.is_none_or(|port| port == service.port() || service.port() == 0)
            && self.ip.is_none_or(|ip| ip == service.ip())
            && self.side.is_none_or(|wanted| wanted == side)
    }
}
