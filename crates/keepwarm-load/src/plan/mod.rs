//! What to send, where, how often and for how long. Owns the settings of a run; a [`Plan`] that
//! exists has been validated and can be run. Opens no connection; the only thing
//! it asks of the outside is the name lookup, once.

mod builder;
mod error;
mod request;
mod request_file;
mod route;
mod target;
mod template;
mod tls;

pub use builder::PlanBuilder;
pub use error::PlanError;
pub(crate) use request::{Message, Prepared};
pub use request_file::{MAX_FILE_REQUESTS, RequestFileError, RequestSpec};
pub use route::ConnectTo;
pub(crate) use route::{Endpoint, Route};

use std::net::SocketAddr;
use std::time::Duration;

use crate::pacer::{self, Arrivals, ClosedLoop, Course, Pacer};
use target::Target;
pub(crate) use tls::TlsPlan;

/// The most connections a plan may ask for: beyond it no Linux host has descriptors by default.
pub const MAX_CONCURRENCY: usize = 1_000_000;

/// The longest timeout and the longest duration a plan may ask for: one week.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The highest rate of an open loop, in requests per second.
pub const MAX_RATE: f64 = 10_000_000.0;

/// Who closes after a response that ends its connection: because the server said
/// `Connection: close`, answered as HTTP/1.0, or was asked to close by a plan without keep-alive.
///
/// It matters because the side that closes first keeps the TIME_WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClosePolicy {
    /// Close as soon as the response is complete, as most clients and `wrk` do. The load
    /// generator then usually closes first, and TIME_WAIT and its port stay on its side.
    Now,
    /// Wait up to one second for the server's FIN, as `ab` does; then close and count
    /// [`CloseCause::PeerKeptOpen`](crate::CloseCause::PeerKeptOpen). A server that closes first
    /// keeps the TIME_WAIT. The wait is not part of any latency.
    WaitPeer,
    /// Close at once, by RST (SO_LINGER with a time of zero), and so does every other close by
    /// this side. No TIME_WAIT is left and no port held; the server sees resets instead of
    /// orderly ends, which is not what clients do to it.
    Reset,
}

/// A validated, immutable plan of one run. Made by [`Plan::builder`].
///
/// ```
/// use keepwarm_load::Plan;
/// let plan = Plan::builder("http://127.0.0.1:8080/stresstest")
///     .requests(10_000)
///     .concurrency(100)
///     .build()?;
/// assert_eq!(plan.concurrency(), 100);
/// assert_eq!(plan.requests(), Some(10_000));
/// # Ok::<(), keepwarm_load::PlanError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    url: String,
    target: Target,
    endpoints: Vec<Endpoint>,
    route: Route,
    requests: Option<u64>,
    duration: Option<Duration>,
    concurrency: usize,
    threads: usize,
    keep_alive: bool,
    requests_per_connection: Option<u64>,
    connect_rate: Option<f64>,
    close_policy: ClosePolicy,
    method: String,
    prepared: Vec<Prepared>,
    timeout: Duration,
    open_loop: Option<OpenLoop>,
    tls: Option<TlsPlan>,
}

/// The course of an open loop.
#[derive(Debug, Clone)]
struct OpenLoop {
    course: Course,
    arrivals: Arrivals,
    backlog: usize,
}

impl Plan {
    /// Starts a plan for `url`, which must begin with `http://` or `https://`.
    pub fn builder(url: impl Into<String>) -> PlanBuilder {
        PlanBuilder::new(url.into())
    }

    /// Whether requests are sent at instants fixed in advance, rather than whenever a connection
    /// is free.
    pub fn is_open_loop(&self) -> bool {
        self.open_loop.is_some()
    }

    /// The most requests of an open loop that wait for a free connection; 0 in a closed loop.
    pub fn backlog(&self) -> usize {
        self.open_loop.as_ref().map_or(0, |open| open.backlog)
    }

    /// What releases the requests of thread `thread`, of which each has some of `connections`.
    pub(crate) fn pacer(&self, thread: usize, connections: &[usize]) -> (Pacer, Option<u64>) {
        let Some(open) = &self.open_loop else {
            let requests = self.requests.map(|all| pacer::share(all, connections, thread));
            return (Pacer::Closed(ClosedLoop::new(requests, self.duration)), requests);
        };
        let threads = connections.len();
        // Constant arrivals take turns, so that each thread has the same number.
        let requests = self.requests.map(|all| pacer::share(all, &vec![1; threads], thread));
        let requests = match (open.arrivals, self.requests) {
            (Arrivals::Constant, Some(all)) => {
                Some(all.saturating_sub(thread as u64).div_ceil(threads as u64))
            }
            _ => requests,
        };
        let schedule =
            open.course.schedule(open.arrivals, (thread, threads), requests, self.duration);
        (Pacer::Open(schedule), requests)
    }

    /// The target as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The value of the `Host` field made from the URL: host, and port when the URL names one.
    pub fn authority(&self) -> &str {
        &self.target.authority
    }

    /// The host to connect to: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.target.host
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.target.port
    }

    /// Path and query of the request line.
    pub fn path(&self) -> &str {
        &self.target.path
    }

    /// The addresses connected to, in the order they are tried; none for a Unix socket. They were
    /// looked up when the plan was built.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        })
    }

    /// What is connected to, in the order it is tried.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// How TLS is spoken, if the URL says so.
    pub(crate) fn tls(&self) -> Option<&TlsPlan> {
        self.tls.as_ref()
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// The most requests that a connection carries, if there is such a limit.
    pub fn requests_per_connection(&self) -> Option<u64> {
        self.requests_per_connection
    }

    /// The most connections that are dialed in a second, if there is such a limit.
    pub fn connect_rate(&self) -> Option<f64> {
        self.connect_rate
    }

    /// The requests that are sent in turn; never empty.
    #[inline]
    pub(crate) fn prepared(&self) -> &[Prepared] {
        &self.prepared
    }

    /// How many different requests are sent in turn; a template counts as one.
    pub fn distinct_requests(&self) -> usize {
        self.prepared.len()
    }

    /// The limit by count, if any.
    pub fn requests(&self) -> Option<u64> {
        self.requests
    }

    /// The limit by time, if any.
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// The number of connections asked for.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// The number of threads the connections are divided over.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether connections are kept for the next request.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Who closes after a response that ends its connection.
    pub fn close_policy(&self) -> ClosePolicy {
        self.close_policy
    }

    /// The request method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// From the start of the dial, or of the request on an open connection, to the last byte of
    /// the response.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The first request exactly as it is written, head and body; empty if it changes from one
    /// time to the next.
    pub fn request_bytes(&self) -> &[u8] {
        match &self.prepared[0].usual {
            Message::Fixed(bytes) => bytes,
            Message::Changing(_) => &[],
        }
    }
}
