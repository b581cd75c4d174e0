//! Public statistics of a client, made from the pools' snapshots.

use std::ops::Deref;
use std::time::Duration;

use keepwarm_pool::{CloseReason, Closer, RejectReason};

use super::recent_count;
use super::snapshot::Snapshot;
use crate::origin_key::name_of;

/// Gauges and counters of a client, by origin and in total.
///
/// With the feature `serde` they serialise: numbers by the names of the fields, reasons and closers
/// by their names, and `learned_idle_timeout_s` in seconds.
///
/// Counters start with the client and only grow, in total also when an origin is forgotten. For
/// each origin at the moment it was read, and so for the total, `opened = active + idle +
/// closed()`.
///
/// ```
/// let client = keepwarm::Client::new();
/// let stats = client.stats();
/// for origin in &stats.origins {
///     println!("{}: {} opened, {} closed", origin.origin, origin.opened, origin.closed());
/// }
/// println!("{:.1} connections opened a second", stats.total.opens_per_second());
/// assert_eq!(stats.total.opened, 0, "no request was sent yet");
/// assert_eq!(stats.total.reuse_ratio(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// All origins together, those that were forgotten included.
    pub total: PoolStats,
    /// Statistics of each origin, in alphabetical order of the names.
    pub origins: Vec<OriginStats>,
    /// Origins that are not listed any more: a client that knows more than 1,024 origins forgets,
    /// now and then, those without a connection. Their numbers stay in the total.
    pub forgotten_origins: u64,
    /// Events that were not delivered to any [`Observer`](crate::Observer), because too many
    /// waited.
    pub events_lost: u64,
}

impl Stats {
    /// Returns the statistics of one origin by its name, `http://host:port`, or by any URL at that
    /// origin.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&OriginStats> {
        let name = name_of(name)?;
        self.origins.iter().find(|origin| origin.origin == name)
    }
}

/// Gauges and counters of one origin: a [`PoolStats`], and numbers that only a single origin has.
///
/// ```
/// # fn example(client: &keepwarm::Client) {
/// if let Some(data) = client.stats().origin("http://127.0.0.1:8081") {
///     let by_count = data.closed_for(keepwarm::CloseReason::IdleLimit);
///     println!("{} idle now; {by_count} healthy connections closed by an idle limit", data.idle);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OriginStats {
    /// `http://host:port`.
    pub origin: String,
    /// The most requests that held or wanted a connection at once. The total has no peak: origins
    /// have theirs at different times.
    pub peak: usize,
    /// Time for which the server keeps an idle connection, learned from its closes; `None` if they
    /// have not shown it, or if the server announces it by `Keep-Alive`. See
    /// [`learn_idle_timeout`](crate::ClientBuilder::learn_idle_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "learned_idle_timeout_s", serialize_with = "in_seconds")
    )]
    pub learned_idle_timeout: Option<Duration>,
    /// True if no two of the latest look-ups of the origin's name agree, or addresses come back again
    /// and again: the name has more addresses than one answer holds, so that no connection is closed
    /// because its address is missing. See [`dns_refresh`](crate::ClientBuilder::dns_refresh).
    pub addresses_rotate: bool,
    /// Connections and requests of the origin. Its fields can be read as if they were fields of the
    /// origin: `origin.idle`.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub pool: PoolStats,
}

impl Deref for OriginStats {
    type Target = PoolStats;

    fn deref(&self) -> &PoolStats {
        &self.pool
    }
}

/// Gauges (named by a state: dialing, active, idle, waiting) and counters of one origin or of
/// several together.
///
/// ```
/// # fn example(client: &keepwarm::Client) {
/// let total = client.stats().total;
/// assert_eq!(total.opened, total.open() as u64 + total.closed());
/// if let Some(ratio) = total.reuse_ratio() {
///     println!("{:.1} % of requests found a used connection", 100.0 * ratio);
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PoolStats {
    /// Connections being dialled now.
    pub dialing: usize,
    /// Connections in use now.
    pub active: usize,
    /// Connections open and unused now.
    pub idle: usize,
    /// Connections open now that speak HTTP/2, in use or not.
    pub http2: usize,
    /// Requests on those now: streams, of which a connection has several. Each is one of an active
    /// connection's, until the server has seen its end.
    pub streams: usize,
    /// Requests waiting for a connection now.
    pub waiting: usize,
    /// Connections established.
    pub opened: u64,
    /// Connections established in the last ten seconds: the second that is passing, and the nine
    /// before.
    pub opened_lately: u64,
    /// Requests served by a connection that had served none before.
    pub new: u64,
    /// Requests served by a connection that had served a request before.
    pub reused: u64,
    /// Requests that asked for a connection.
    pub checkouts: u64,
    /// Requests that gave up waiting for a connection.
    pub cancelled: u64,
    /// Requests that were refused a connection: because too many were waiting, a dial failed, or
    /// the client ended. `checkouts = new + reused + rejected + cancelled + waiting`.
    pub rejected: u64,
    /// Rejected requests for which too many were waiting.
    pub too_many_waiters: u64,
    /// Response bodies that were dropped before their end, and whose connections were closed
    /// because too much was left to read or the rest was too slow.
    pub bodies_unread: u64,
    /// Connections in use now whose response is read in the background, because the caller dropped
    /// it or ran out of time. Counted as active too.
    pub draining: usize,
    /// Connections that returned to the pool because the dropped response on them was read to its
    /// end.
    pub drained: u64,
    /// Subset of `checkouts`: by [`Client::warm`](crate::Client::warm), for no request.
    pub warmed: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Failed dials that this host refused, having no file descriptor left (EMFILE, ENFILE). Their
    /// requests wait for a connection while some are open.
    pub dials_refused: u64,
    /// Connections closed, by reason and closer; only those that occurred, most frequent first.
    pub closes: Vec<CloseCount>,
}

impl PoolStats {
    /// Returns the connections open now, in use or not.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.active + self.idle
    }

    /// Returns the connections closed, by either side.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closes.iter().map(|close| close.count).sum()
    }

    /// Returns the connections closed first by this side.
    #[must_use]
    pub fn closed_by(&self, closer: Closer) -> u64 {
        self.closes.iter().filter(|close| close.closer == closer).map(|close| close.count).sum()
    }

    /// Returns the connections closed for this reason.
    #[must_use]
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closes.iter().filter(|close| close.reason == reason).map(|close| close.count).sum()
    }

    /// Returns the part of requests that were served by a reused connection, from 0 to 1; `None`
    /// before the first was served.
    #[must_use]
    pub fn reuse_ratio(&self) -> Option<f64> {
        let served = self.new + self.reused;
        (served > 0).then(|| self.reused as f64 / served as f64)
    }

    /// Returns the connections established a second, over [`PoolStats::WINDOW`]. For a younger
    /// client the time before it was made counts as time without connections.
    #[must_use]
    pub fn opens_per_second(&self) -> f64 {
        self.opened_lately as f64 / Self::WINDOW.as_secs_f64()
    }

    /// The span that [`opened_lately`](PoolStats::opened_lately) covers: ten seconds, the last of
    /// which is still passing.
    pub const WINDOW: Duration = recent_count::WINDOW;

    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { dialing, active, idle, waiting, opened_lately, unread, counts, .. } =
            *snapshot;
        let Snapshot { shared, streams, draining, drained, warmed, .. } = *snapshot;
        let mut closes: Vec<CloseCount> = CloseReason::ALL
            .into_iter()
            .flat_map(|reason| Closer::ALL.map(|closer| (reason, closer)))
            .map(|(reason, closer)| CloseCount {
                reason,
                closer,
                count: counts.closed_for(reason, closer),
            })
            .filter(|close| close.count > 0)
            .collect();
        closes.sort_by_key(|close| std::cmp::Reverse(close.count));
        Self {
            dialing,
            active,
            idle,
            http2: shared,
            streams,
            waiting,
            opened: counts.opened,
            opened_lately,
            new: counts.assigned_new,
            reused: counts.reused,
            checkouts: counts.checkouts,
            cancelled: counts.cancelled,
            rejected: counts.rejected(),
            too_many_waiters: counts.rejected_for(RejectReason::TooManyWaiters),
            bodies_unread: unread,
            draining,
            drained,
            warmed,
            dials_failed: counts.dials_failed,
            dials_refused: counts.dials_refused,
            closes,
        }
    }
}

impl OriginStats {
    pub(crate) fn new(origin: &str, snapshot: &Snapshot) -> Self {
        Self {
            origin: origin.to_owned(),
            peak: snapshot.peak,
            learned_idle_timeout: snapshot.learned_idle_timeout,
            addresses_rotate: snapshot.addresses_rotate,
            pool: PoolStats::of(snapshot),
        }
    }
}

/// Number of connections that were closed for one reason by one side.
///
/// ```
/// # fn example(origin: &keepwarm::OriginStats) {
/// for close in &origin.closes {
///     println!("{} by {}: {}", close.reason.name(), close.closer.name(), close.count);
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CloseCount {
    /// The reason.
    #[cfg_attr(feature = "serde", serde(serialize_with = "reason_name"))]
    pub reason: CloseReason,
    /// The side that closed first, as far as the client saw.
    #[cfg_attr(feature = "serde", serde(serialize_with = "closer_name"))]
    pub closer: Closer,
    /// The number of connections.
    pub count: u64,
}

#[cfg(feature = "serde")]
fn reason_name<S: serde::Serializer>(reason: &CloseReason, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(reason.name())
}

#[cfg(feature = "serde")]
fn closer_name<S: serde::Serializer>(closer: &Closer, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(closer.name())
}

#[cfg(feature = "serde")]
fn in_seconds<S: serde::Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&span.map(|span| span.as_secs_f64()), to)
}
