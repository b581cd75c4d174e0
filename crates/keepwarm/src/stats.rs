//! What a client did, in numbers.

use keepwarm_pool::{CloseReason, Closer, RejectReason};

use crate::origin::{Origin, Snapshot};

/// Gauges and counters of a client, by origin.
///
/// Counters start with the client and only grow. For each origin, at the moment it was read,
/// `opened = active + idle + closed()`.
///
/// ```
/// let client = keepwarm::Client::new();
/// let stats = client.stats();
/// for origin in &stats.origins {
///     println!("{}: {} opened, {} closed", origin.origin, origin.opened, origin.closed());
/// }
/// assert_eq!(stats.opened(), 0, "nothing was asked of it yet");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By name of the origin, in alphabetical order.
    pub origins: Vec<OriginStats>,
    /// Origins that are not listed any more: a client that knows more than 1,024 forgets those it
    /// has no connection to, now and then.
    pub forgotten_origins: u64,
    /// Connections that were established to forgotten origins. All of them were closed.
    pub forgotten_opened: u64,
}

impl Stats {
    /// Connections established, to all origins.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.forgotten_opened + self.origins.iter().map(|origin| origin.opened).sum::<u64>()
    }

    /// Connections closed, by either side.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.forgotten_opened + self.origins.iter().map(OriginStats::closed).sum::<u64>()
    }

    /// One origin's, by its name: `http://host:port`, host in lower case, port always written.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&OriginStats> {
        self.origins.iter().find(|origin| origin.origin == name)
    }
}

/// Gauges and counters of one origin.
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
    /// Connections being dialled now.
    pub dialing: usize,
    /// Connections in use now.
    pub active: usize,
    /// Connections open and unused now.
    pub idle: usize,
    /// Requests waiting for a connection now.
    pub waiting: usize,
    /// The most requests that held or wanted a connection at once.
    pub peak: usize,
    /// Connections established.
    pub opened: u64,
    /// Requests served by a connection that had served one before.
    pub reused: u64,
    /// Requests that asked for a connection.
    pub checkouts: u64,
    /// Requests that gave up waiting for a connection.
    pub cancelled: u64,
    /// Requests that were refused a connection because too many were waiting.
    pub too_many_waiters: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Connections closed, by reason and closer; only those that occurred, most frequent first.
    pub closes: Vec<CloseCount>,
}

impl OriginStats {
    pub(crate) fn read(origin: &Origin) -> Self {
        let Snapshot { dialing, active, idle, waiting, peak, counts } = origin.snapshot();
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
            origin: origin.name().to_string(),
            dialing,
            active,
            idle,
            waiting,
            peak,
            opened: counts.opened,
            reused: counts.reused,
            checkouts: counts.checkouts,
            cancelled: counts.cancelled,
            too_many_waiters: counts.rejected_for(RejectReason::TooManyWaiters),
            dials_failed: counts.dials_failed,
            closes,
        }
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
