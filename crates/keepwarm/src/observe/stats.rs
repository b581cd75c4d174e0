//! What a client did, in numbers.

use std::ops::Deref;
use std::time::Duration;

use keepwarm_pool::{CloseReason, Closer, RejectReason};

use crate::observe::recent_count;
use crate::pool::origin::{Origin, Snapshot};

/// Gauges and counters of a client, by origin and in total.
///
/// Counters start with the client and only grow, in total also when an origin is forgotten. For
/// each origin at the moment it was read, and so for the total, `opened = active + idle + closed()`.
///
/// ```
/// let client = keepwarm::Client::new();
/// let stats = client.stats();
/// for origin in &stats.origins {
///     println!("{}: {} opened, {} closed", origin.origin, origin.opened, origin.closed());
/// }
/// println!("{:.1} connections opened a second", stats.total.opens_per_second());
/// assert_eq!(stats.total.opened, 0, "nothing was asked of it yet");
/// assert_eq!(stats.total.reuse_ratio(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// All origins together, those that were forgotten included.
    pub total: PoolStats,
    /// By name of the origin, in alphabetical order.
    pub origins: Vec<OriginStats>,
    /// Origins that are not listed any more: a client that knows more than 1,024 forgets those it
    /// has no connection to, now and then. What they did is in the total.
    pub forgotten_origins: u64,
    /// Events that no [`Observer`](crate::Observer) was told of, because too many waited already.
    pub events_lost: u64,
}

impl Stats {
    /// One origin's, by its name: `http://host:port`, host in lower case, port always written.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&OriginStats> {
        self.origins.iter().find(|origin| origin.origin == name)
    }
}

/// Gauges and counters of one origin: those of a [`PoolStats`], and its own.
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
#[non_exhaustive]
pub struct OriginStats {
    /// `http://host:port`.
    pub origin: String,
    /// The most requests that held or wanted a connection at once. There is none in total: origins
    /// have their peaks at different times.
    pub peak: usize,
    /// How long the server keeps an idle connection, as its closes have shown; `None` if they have not,
    /// or if it says so itself. See
    /// [`learn_idle_timeout`](crate::ClientBuilder::learn_idle_timeout).
    pub learned_idle_timeout: Option<Duration>,
    /// Its connections and requests. The fields of this one can be read as if they were fields of
    /// the origin: `origin.idle`.
    pub pool: PoolStats,
}

impl Deref for OriginStats {
    type Target = PoolStats;

    fn deref(&self) -> &PoolStats {
        &self.pool
    }
}

/// Gauges (words for a state: dialing, active, idle, waiting) and counters of one origin or of
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
#[non_exhaustive]
pub struct PoolStats {
    /// Connections being dialled now.
    pub dialing: usize,
    /// Connections in use now.
    pub active: usize,
    /// Connections open and unused now.
    pub idle: usize,
    /// Requests waiting for a connection now.
    pub waiting: usize,
    /// Connections established.
    pub opened: u64,
    /// Connections established lately: in the second that is passing, and in the nine before it.
    pub opened_lately: u64,
    /// Requests served by a connection that had served none before.
    pub new: u64,
    /// Requests served by a connection that had served one before.
    pub reused: u64,
    /// Requests that asked for a connection.
    pub checkouts: u64,
    /// Requests that gave up waiting for a connection.
    pub cancelled: u64,
    /// Requests that were refused a connection: because too many were waiting, a dial failed, or the
    /// client ended. `checkouts = new + reused + rejected + cancelled + waiting`.
    pub rejected: u64,
    /// Of those, the ones for which too many were waiting.
    pub too_many_waiters: u64,
    /// Response bodies that were dropped before their end, with so much left to read, or so slow,
    /// that their connections were closed for it.
    pub bodies_unread: u64,
    /// Connections in use now that are read for nobody: what they carried was dropped, or ran out of
    /// time. They are among the active ones.
    pub draining: usize,
    /// Connections that went back to the pool because what was dropped on them was read to its end.
    pub drained: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Connections closed, by reason and closer; only those that occurred, most frequent first.
    pub closes: Vec<CloseCount>,
}

impl PoolStats {
    /// Connections open now, in use or not.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.active + self.idle
    }

    /// Connections closed, by either side.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closes.iter().map(|close| close.count).sum()
    }

    /// Connections closed first by this side.
    #[must_use]
    pub fn closed_by(&self, closer: Closer) -> u64 {
        self.closes.iter().filter(|close| close.closer == closer).map(|close| close.count).sum()
    }

    /// Connections closed for this reason.
    #[must_use]
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closes.iter().filter(|close| close.reason == reason).map(|close| close.count).sum()
    }

    /// The part of requests that were served by a connection that had served one before, from 0 to
    /// 1; `None` before the first was served.
    #[must_use]
    pub fn reuse_ratio(&self) -> Option<f64> {
        let served = self.new + self.reused;
        (served > 0).then(|| self.reused as f64 / served as f64)
    }

    /// Connections established a second, over [`PoolStats::WINDOW`]. A client that is younger is
    /// taken to have opened none before it was made.
    #[must_use]
    pub fn opens_per_second(&self) -> f64 {
        self.opened_lately as f64 / Self::WINDOW.as_secs_f64()
    }

    /// The time that [`opened_lately`](PoolStats::opened_lately) looks back: ten seconds, of which
    /// the last one is still passing.
    pub const WINDOW: Duration = recent_count::WINDOW;

    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { dialing, active, idle, waiting, opened_lately, unread, counts, .. } =
            *snapshot;
        let Snapshot { draining, drained, .. } = *snapshot;
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
            dials_failed: counts.dials_failed,
            closes,
        }
    }
}

impl OriginStats {
    pub(crate) fn new(origin: &Origin, snapshot: &Snapshot) -> Self {
        Self {
            origin: origin.name().to_string(),
            peak: snapshot.peak,
            learned_idle_timeout: snapshot.learned_idle_timeout,
            pool: PoolStats::of(snapshot),
        }
    }
}

/// How many connections were closed for one reason by one side.
///
/// ```
/// # fn example(origin: &keepwarm::OriginStats) {
/// for close in &origin.closes {
///     println!("{} by {}: {}", close.reason.name(), close.closer.name(), close.count);
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCount {
    /// Why.
    pub reason: CloseReason,
    /// Who closed first, as far as the client saw.
    pub closer: Closer,
    /// How many.
    pub count: u64,
}
