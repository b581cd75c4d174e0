//! The settings of a run: the requests, their target, their number and their duration. A [`Plan`]
//! that exists has been validated and can be run. Opens no connection; the only contact with the
//! outside is the name lookup, once.

mod body;
mod builder;
mod conflicts;
pub(crate) mod csv;
mod error;
mod expectation;
mod file;
mod http2;
mod order;
mod request;
mod request_file;
mod route;
mod share;
mod target;
mod template;
mod tls;

pub use body::Body;
pub use builder::PlanBuilder;
pub use error::PlanError;
pub use expectation::Expectation;
pub use file::read_file;
pub(crate) use http2::encode;
pub(crate) use request::{Outgoing, Part, Prepared, Start};
pub use request_file::{RequestFileError, RequestSpec};
pub use route::{ConnectTo, Family};
pub(crate) use route::{Endpoint, MAX_ADDRESSES, Route};
pub(crate) use template::traceparent;

use std::net::SocketAddr;
use std::time::Duration;

use crate::pacer::{self, Arrivals, ClosedLoop, Course, Pacer};
use share::Share;
use target::Target;
pub(crate) use tls::{TlsPlan, describe as describe_tls};

/// The side that closes after a response that ends its connection: the server sent `Connection:
/// close`, answered as HTTP/1.0, or was asked to close by a plan without keep-alive.
///
/// The choice matters because the side that closes first keeps the TIME_WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClosePolicy {
    /// Closes as soon as the response is complete, as most clients and `wrk` do. The load generator
    /// then usually closes first, and TIME_WAIT and its port stay on its side.
    Now,
    /// Waits up to one second for the server's FIN, as `ab` does; then closes and counts
    /// [`CloseCause::PeerKeptOpen`](crate::CloseCause::PeerKeptOpen). A server that closes first
    /// keeps the TIME_WAIT. The wait is not part of any latency.
    WaitPeer,
    /// Closes at once by RST (SO_LINGER with a time of zero), as does every other close by this
    /// side. No TIME_WAIT is left and no port is held. The server sees resets instead of orderly
    /// ends, unlike with real clients.
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
    /// The count of the whole load, of which this plan may be a part.
    whole_requests: Option<u64>,
    share: Share,
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
    resolve_time: Option<Duration>,
    expectations: Vec<Expectation>,
    shows_exchange: bool,
    /// Requests at once on each connection of HTTP/2; `None` for HTTP/1.1.
    streams: Option<usize>,
    /// Seed of the trace ids, if requests have any.
    trace: Option<u64>,
    max_lifetime: Option<Duration>,
    dns_ttl: Option<Duration>,
    /// Names of the rows by request, with the sums of their weights.
    rows: Vec<(String, u64)>,
    keeps_rows: bool,
    /// The order of requests with weights; empty if they simply alternate.
    order: Vec<u32>,
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

    /// Returns true if requests are sent at instants fixed in advance, rather than when a
    /// connection is free.
    pub fn is_open_loop(&self) -> bool {
        self.open_loop.is_some()
    }

    /// Returns the most requests of an open loop that wait for a connection; 0 in a closed loop.
    pub fn backlog(&self) -> usize {
        self.open_loop.as_ref().map_or(0, |open| open.backlog)
    }

    /// Returns the pacer of thread `thread` and its share of the requests. `connections` has the
    /// number of connections of each thread.
    pub(crate) fn pacer(&self, thread: usize, connections: &[usize]) -> (Pacer, Option<u64>) {
        let Some(open) = &self.open_loop else {
            let requests = self.requests.map(|all| pacer::share(all, connections, thread));
            return (Pacer::Closed(ClosedLoop::new(requests, self.duration)), requests);
        };
        let threads = connections.len();
        // Constant arrivals alternate between threads, so that each thread has the same number.
        let requests = self.requests.map(|all| pacer::share(all, &vec![1; threads], thread));
        let (thread, threads) = self.share.of_threads(thread, threads);
        let requests = match (open.arrivals, self.whole_requests) {
            (Arrivals::Constant, Some(all)) => {
                Some(all.saturating_sub(thread as u64).div_ceil(threads as u64))
            }
            _ => requests,
        };
        let schedule =
            open.course.schedule(open.arrivals, (thread, threads), requests, self.duration);
        (Pacer::Open(schedule), requests)
    }

    /// Returns true if the requests are sent by HTTP/2.
    #[inline]
    pub fn is_http2(&self) -> bool {
        self.streams.is_some()
    }

    /// Returns the most requests at once on a connection: 1 with HTTP/1.1.
    #[inline]
    pub fn streams(&self) -> usize {
        self.streams.unwrap_or(1)
    }

    /// Returns the scheme of the URL, in lower case.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.target.secure { "https" } else { "http" }
    }

    /// Returns the URL as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the value of the `Host` field: the URL's host, and its port if it names one.
    pub fn authority(&self) -> &str {
        &self.target.authority
    }

    /// Returns the host to connect to: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.target.host
    }

    /// Returns the port to connect to.
    pub fn port(&self) -> u16 {
        self.target.port
    }

    /// Returns path and query of the request line.
    pub fn path(&self) -> &str {
        &self.target.path
    }

    /// Lists the addresses to connect to, in the order in which they are tried; none for a Unix
    /// socket. They were looked up when the plan was built.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        })
    }

    /// Returns the endpoints to connect to, in the order in which they are tried.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Returns the TLS configuration of an `https` URL.
    pub(crate) fn tls(&self) -> Option<&TlsPlan> {
        self.tls.as_ref()
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// Returns the conditions that every response has to meet.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// Returns true if the plan is of one request whose exchange is kept.
    pub fn shows_exchange(&self) -> bool {
        self.shows_exchange
    }

    /// Returns the time that it took to find the addresses of the host; `None` for an address.
    pub fn resolve_time(&self) -> Option<Duration> {
        self.resolve_time
    }

    /// Returns the seed of the trace ids, if requests have any.
    #[inline]
    pub(crate) fn trace(&self) -> Option<u64> {
        self.trace
    }

    /// Returns the age at which a connection is closed, if there is such a limit.
    #[inline]
    pub fn max_lifetime(&self) -> Option<Duration> {
        self.max_lifetime
    }

    /// Returns the time after which the name of the host is looked up again.
    pub fn dns_ttl(&self) -> Option<Duration> {
        self.dns_ttl
    }

    /// Returns the names of the rows by request, with the sums of their weights; never empty.
    pub fn rows(&self) -> &[(String, u64)] {
        &self.rows
    }

    /// Returns true if requests are counted by name.
    #[inline]
    pub(crate) fn keeps_rows(&self) -> bool {
        self.keeps_rows
    }

    /// Returns true if connections and requests are counted by address.
    pub(crate) fn keeps_addresses(&self) -> bool {
        self.endpoints.len() > 1 || self.dns_ttl.is_some()
    }

    /// Looks the addresses of the host up again.
    pub(crate) fn look_up(&self) -> Option<Vec<Endpoint>> {
        self.route.endpoints(&self.url, &self.target).ok().map(|(endpoints, _)| endpoints)
    }

    /// Returns the index of request `number` among the plan's requests.
    #[inline]
    pub(crate) fn which(&self, number: u64) -> usize {
        let (length, requests) = (self.order.len() as u64, self.prepared.len() as u64);
        if length > 0 {
            let place = usize::try_from(number % length).unwrap_or(0);
            return self.order[place] as usize;
        }
        usize::try_from(number % requests).unwrap_or(0)
    }

    /// Returns the most requests that a connection carries, if there is such a limit.
    pub fn requests_per_connection(&self) -> Option<u64> {
        self.requests_per_connection
    }

    /// Returns the most connections that are dialed in a second, if there is such a limit.
    pub fn connect_rate(&self) -> Option<f64> {
        self.connect_rate
    }

    /// Returns the requests that are sent in turn; never empty.
    #[inline]
    pub(crate) fn prepared(&self) -> &[Prepared] {
        &self.prepared
    }

    /// Returns true if the body of a request is read from its file while it is sent.
    pub(crate) fn streams_bodies(&self) -> bool {
        self.prepared.iter().any(|prepared| prepared.usual.streams_body())
    }

    /// Returns the number of different requests that are sent in turn. A template counts as one.
    pub fn distinct_requests(&self) -> usize {
        self.prepared.len()
    }

    /// Returns the number in the whole load of request `local` of this plan.
    #[inline]
    pub(crate) fn number(&self, local: u64) -> u64 {
        self.share.global(local)
    }

    /// Returns which part of a load this plan is, from 0, and of how many.
    pub fn share(&self) -> (usize, usize) {
        (self.share.index, self.share.of)
    }

    /// Returns the limit by count, if any.
    pub fn requests(&self) -> Option<u64> {
        self.requests
    }

    /// Returns the limit by time, if any.
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// Returns the number of connections asked for.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Returns the number of threads over which the connections are divided.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Returns true if a connection serves further requests.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Returns the side that closes after a response that ends its connection.
    pub fn close_policy(&self) -> ClosePolicy {
        self.close_policy
    }

    /// Returns the request method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the longest time from the start of the dial, or of the request on an open
    /// connection, to the last byte of the response.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns head and body of the first request exactly as written, of a body of more than 16 KiB
    /// only the first 16 KiB, of a body that is read while it is sent nothing; empty for a template.
    pub fn request_bytes(&self) -> &[u8] {
        match &self.prepared[0].usual.start {
            Start::Fixed(bytes) => bytes,
            Start::Changing(_) => &[],
        }
    }

    /// Returns the length of the first request in bytes, head and body; 0 for a template.
    pub fn request_len(&self) -> usize {
        let first = &self.prepared[0].usual;
        match &first.start {
            Start::Fixed(_) => first.outgoing(&[]).len(),
            Start::Changing(_) => 0,
        }
    }
}
