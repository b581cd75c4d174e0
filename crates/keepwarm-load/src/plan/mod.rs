//! What to send, where, how often and for how long. Owns the settings of a run, their defaults
//! and their validation: a [`Plan`] that exists can be run. Opens no connection; the only thing
//! it asks of the outside is the name lookup, once.

mod error;
mod request;
mod target;

pub use error::PlanError;

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::time::Duration;

use request::RequestParts;
use target::Target;

/// The most connections a plan may ask for: beyond it no Linux host has descriptors by default.
pub const MAX_CONCURRENCY: usize = 1_000_000;

/// The longest timeout and the longest duration a plan may ask for: one week.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

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
    addresses: Vec<SocketAddr>,
    requests: Option<u64>,
    duration: Option<Duration>,
    concurrency: usize,
    threads: usize,
    keep_alive: bool,
    close_policy: ClosePolicy,
    method: String,
    request: Box<[u8]>,
    timeout: Duration,
}

impl Plan {
    /// Starts a plan for `url`, which must begin with `http://`.
    pub fn builder(url: impl Into<String>) -> PlanBuilder {
        PlanBuilder {
            url: url.into(),
            requests: None,
            duration: None,
            concurrency: 1,
            threads: None,
            keep_alive: true,
            close_policy: None,
            method: "GET".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(30),
        }
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

    /// The addresses the host resolved to when the plan was built, in the order they are tried.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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

    /// The request exactly as it is written, head and body.
    pub fn request_bytes(&self) -> &[u8] {
        &self.request
    }
}

/// Collects the settings of a [`Plan`]; [`build`](Self::build) validates all of them.
#[derive(Debug, Clone)]
#[must_use]
pub struct PlanBuilder {
    url: String,
    requests: Option<u64>,
    duration: Option<Duration>,
    concurrency: usize,
    threads: Option<usize>,
    keep_alive: bool,
    close_policy: Option<ClosePolicy>,
    method: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
}

impl PlanBuilder {
    /// Stops after exactly `n` requests. Zero is refused. No default: a plan needs a count, a
    /// [`duration`](Self::duration), or both, and then stops at whichever is reached first.
    pub fn requests(mut self, n: u64) -> Self {
        self.requests = Some(n);
        self
    }

    /// Starts no request after `duration`. Zero, and more than [`MAX_DURATION`], are refused.
    /// Requests in flight at that instant have one more second (or the timeout, if shorter), and
    /// are then counted as unfinished.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// The number of connections, each with one request in flight. Default 1; zero, and more than
    /// [`MAX_CONCURRENCY`], are refused. More connections than requests are never opened.
    pub fn concurrency(mut self, connections: usize) -> Self {
        self.concurrency = connections;
        self
    }

    /// The number of threads. Default: one for every core this process may use, but not more than
    /// connections. Zero, and more threads than connections, are refused.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Whether a connection serves the next request too. Default `true`. With `false` every
    /// request carries `Connection: close` and gets a connection of its own, and even a server
    /// that would go on is not asked to.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Who closes after a response that ends its connection.
    ///
    /// Default: [`ClosePolicy::Now`] with keep-alive, where such a response is the exception;
    /// [`ClosePolicy::WaitPeer`] without, where the server has been asked to close and closing at
    /// once would make the account of who closed first a race. Worst case: a server that never
    /// closes costs every connection one second.
    pub fn close_policy(mut self, policy: ClosePolicy) -> Self {
        self.close_policy = Some(policy);
        self
    }

    /// The request method. Default `GET`. Must be a token (RFC 9110, section 5.6.2); `CONNECT` is
    /// refused.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    /// Adds one header field. `Host`, `User-Agent` and `Accept` replace the ones written by
    /// default. `Connection`, `Content-Length` and `Transfer-Encoding` are refused: they follow
    /// from [`keep_alive`](Self::keep_alive) and [`body`](Self::body).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The request body, sent with its `Content-Length`. Default: none.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The time from the start of the dial, or of the request on an open connection, to the last
    /// byte of the response. Default 30 seconds; zero, and more than [`MAX_DURATION`], are
    /// refused. Kept to within a thousandth, but not better than one millisecond.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Validates every setting, resolves the host and serialises the request.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, with its value, the reason and a way out.
    /// [`PlanError::is_unresolved`] tells a name without an address from a wrong setting.
    pub fn build(self) -> Result<Plan, PlanError> {
        self.check_numbers()?;
        let threads = self.check_threads()?;
        let target = Target::parse(&self.url)?;
        let request = RequestParts {
            method: &self.method,
            target: &target,
            headers: &self.headers,
            body: &self.body,
            keep_alive: self.keep_alive,
        }
        .serialise()?;
        let addresses = resolve(&self.url, &target)?;
        let default_policy = if self.keep_alive { ClosePolicy::Now } else { ClosePolicy::WaitPeer };
        Ok(Plan {
            url: self.url,
            target,
            addresses,
            requests: self.requests,
            duration: self.duration,
            concurrency: self.concurrency,
            threads,
            keep_alive: self.keep_alive,
            close_policy: self.close_policy.unwrap_or(default_policy),
            method: self.method,
            request: request.into_boxed_slice(),
            timeout: self.timeout,
        })
    }

    fn check_numbers(&self) -> Result<(), PlanError> {
        if self.requests.is_none() && self.duration.is_none() {
            return Err(PlanError::new(
                "requests",
                "none",
                "neither a number of requests nor a duration is set, so the run would not end",
                "set one of them",
            ));
        }
        if self.requests == Some(0) {
            let reason = "a run of no requests measures nothing";
            return Err(PlanError::new("requests", "0", reason, "ask for at least 1"));
        }
        if self.concurrency == 0 || self.concurrency > MAX_CONCURRENCY {
            return Err(PlanError::new(
                "concurrency",
                self.concurrency.to_string(),
                "it is not between 1 and 1000000 connections",
                "ask for at least 1 connection",
            ));
        }
        let times = [("duration", self.duration), ("timeout", Some(self.timeout))];
        for (setting, value) in times {
            let Some(value) = value else { continue };
            if value.is_zero() || value > MAX_DURATION {
                return Err(PlanError::new(
                    setting,
                    format!("{value:?}"),
                    "it is not between 1 nanosecond and one week",
                    "use a time such as 10s",
                ));
            }
        }
        Ok(())
    }

    fn check_threads(&self) -> Result<usize, PlanError> {
        let Some(threads) = self.threads else {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            return Ok(cores.min(self.concurrency));
        };
        if threads == 0 || threads > self.concurrency {
            return Err(PlanError::new(
                "threads",
                threads.to_string(),
                format!(
                    "every thread needs a connection of its own, and there are {} connections",
                    self.concurrency
                ),
                "use between 1 thread and as many threads as connections",
            ));
        }
        Ok(threads)
    }
}

/// Asks the resolver once, so that no lookup falls into the measured time.
fn resolve(url: &str, target: &Target) -> Result<Vec<SocketAddr>, PlanError> {
    let unresolved = |reason: String| {
        let way_out = "check the name, or use an address";
        PlanError::new("url", url, reason, way_out).unresolved()
    };
    let addresses: Vec<SocketAddr> = (target.host.as_str(), target.port)
        .to_socket_addrs()
        .map_err(|error| unresolved(format!("{} does not resolve: {error}", target.host)))?
        .collect();
    if addresses.is_empty() {
        return Err(unresolved(format!("{} has no address", target.host)));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> PlanBuilder {
        Plan::builder("http://127.0.0.1:9/").requests(1)
    }

    #[track_caller]
    fn refused(builder: PlanBuilder) -> (&'static str, String) {
        let error = builder.build().expect_err("must be refused");
        assert!(!error.reason().is_empty() && !error.way_out().is_empty());
        assert!(!error.is_unresolved());
        (error.setting(), error.value().to_owned())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let plan = builder().build().unwrap();
        assert_eq!((plan.concurrency(), plan.threads()), (1, 1));
        assert_eq!(plan.timeout(), Duration::from_secs(30));
        assert!(plan.keep_alive());
        assert_eq!(plan.close_policy(), ClosePolicy::Now);
        assert_eq!(plan.method(), "GET");
        assert_eq!(plan.addresses(), ["127.0.0.1:9".parse().unwrap()]);
        let closing = builder().keep_alive(false).build().unwrap();
        assert_eq!(closing.close_policy(), ClosePolicy::WaitPeer);
        let chosen = builder().keep_alive(false).close_policy(ClosePolicy::Now);
        assert_eq!(chosen.build().unwrap().close_policy(), ClosePolicy::Now);
    }

    #[test]
    fn settings_that_cannot_be_used_are_named_with_their_value() {
        let table = [
            (Plan::builder("http://127.0.0.1/"), "requests", "none"),
            (builder().requests(0), "requests", "0"),
            (builder().concurrency(0), "concurrency", "0"),
            (builder().concurrency(1_000_001), "concurrency", "1000001"),
            (builder().concurrency(4).threads(0), "threads", "0"),
            (builder().concurrency(4).threads(5), "threads", "5"),
            (builder().duration(Duration::ZERO), "duration", "0ns"),
            (builder().timeout(Duration::ZERO), "timeout", "0ns"),
            (builder().timeout(Duration::MAX), "timeout", "18446744073709551615.999999999s"),
            (builder().method("G ET"), "method", "G ET"),
            (builder().method(""), "method", ""),
            (builder().method("CONNECT"), "method", "CONNECT"),
            (builder().header("a b", "c"), "header", "a b: c"),
            (builder().header("a", "b\r\nc: d"), "header", "a: b\r\nc: d"),
            (builder().header("Content-Length", "3"), "header", "Content-Length: 3"),
            (builder().header("connection", "close"), "header", "connection: close"),
        ];
        for (builder, setting, value) in table {
            assert_eq!(refused(builder), (setting, value.to_owned()));
        }
    }

    #[test]
    fn more_connections_than_requests_are_allowed() {
        assert!(builder().requests(3).concurrency(100).build().is_ok());
    }

    #[test]
    fn a_name_without_an_address_is_told_from_a_wrong_setting() {
        let plan = Plan::builder("http://no-such-host.invalid/").requests(1);
        assert!(plan.build().unwrap_err().is_unresolved());
    }
}
