//! What to send, where, how often and for how long. Owns the settings of a run, their defaults
//! and their validation: a [`Plan`] that exists can be run. Opens no connection; the only thing
//! it asks of the outside is the name lookup, once.

mod error;
mod request;
mod route;
mod target;
mod tls;

pub use error::PlanError;
pub use route::ConnectTo;
pub(crate) use route::{Endpoint, Route};

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use crate::pacer::{self, Arrivals, ClosedLoop, Course, Pacer, Stage};
use request::RequestParts;
use target::Target;
pub(crate) use tls::TlsPlan;
use tls::TlsSettings;

/// The most connections a plan may ask for: beyond it no Linux host has descriptors by default.
pub const MAX_CONCURRENCY: usize = 1_000_000;

/// The longest timeout and the longest duration a plan may ask for: one week.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The highest rate of an open loop, in requests per second.
pub const MAX_RATE: f64 = 10_000_000.0;

/// The lowest rate of an open loop: one request in a thousand seconds.
const MIN_RATE: f64 = 0.001;

/// The most stages of an open loop.
const MAX_STAGES: usize = 1000;

const DEFAULT_BACKLOG: usize = 1_000_000;
const MAX_BACKLOG: usize = 100_000_000;

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
    request: Box<[u8]>,
    /// The last one of a connection, if that says `Connection: close` and the others do not.
    last_request: Option<Box<[u8]>>,
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
        PlanBuilder {
            url: url.into(),
            requests: None,
            duration: None,
            concurrency: 1,
            threads: None,
            keep_alive: true,
            requests_per_connection: None,
            connect_rate: None,
            route: Route::default(),
            tls: TlsSettings::default(),
            close_policy: None,
            method: "GET".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(30),
            rate: None,
            stages: Vec::new(),
            arrivals: Arrivals::Constant,
            backlog: DEFAULT_BACKLOG,
        }
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

    /// The `nth` request of a connection, beginning with 1, as it is written.
    #[inline]
    pub(crate) fn nth_request(&self, nth: u64) -> &[u8] {
        match &self.last_request {
            Some(last) if self.requests_per_connection == Some(nth) => last,
            _ => &self.request,
        }
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
    requests_per_connection: Option<u64>,
    connect_rate: Option<f64>,
    route: Route,
    tls: TlsSettings,
    close_policy: Option<ClosePolicy>,
    method: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
    rate: Option<f64>,
    stages: Vec<Stage>,
    arrivals: Arrivals,
    backlog: usize,
}

impl PlanBuilder {
    /// Sends `rate` requests a second, at instants fixed in advance, whether responses come or
    /// not: an open loop. Default: none, a closed loop. Between one in a thousand seconds and
    /// [`MAX_RATE`]. Needs a count, a [`duration`](Self::duration) or both, or
    /// [`stages`](Self::stages); with stages it is the rate that the first one begins at.
    ///
    /// [`concurrency`](Self::concurrency) is the most connections; they are opened as they are
    /// needed. A request that finds none free waits, in the order of instants, and the wait is
    /// part of its response time. Requests that wait at the end of a duration have the same
    /// second of grace as those in flight, and are then unsent.
    pub fn rate(mut self, requests_per_second: f64) -> Self {
        self.rate = Some(requests_per_second);
        self
    }

    /// An open loop whose rate goes linearly from stage to stage: from [`rate`](Self::rate), or
    /// zero, to the rate of the first stage within its duration, from there to that of the
    /// second, and so on. A stage with the rate of the one before it holds it. The duration of
    /// the run is that of all stages, unless a shorter one is set.
    pub fn stages(mut self, stages: impl Into<Vec<Stage>>) -> Self {
        self.stages = stages.into();
        self
    }

    /// How the instants of an open loop are spread. Default: [`Arrivals::Constant`].
    pub fn arrivals(mut self, arrivals: Arrivals) -> Self {
        self.arrivals = arrivals;
        self
    }

    /// The most requests of an open loop that wait for a free connection, in all threads
    /// together. Default 1,000,000, which costs at most 16 MB; zero is refused, and so is more
    /// than 100 times the default. A request that is due beyond it is counted as unsent.
    pub fn backlog(mut self, requests: usize) -> Self {
        self.backlog = requests;
        self
    }

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

    /// The most requests that a connection carries; it is then closed, and the next request dials
    /// anew. Default: no limit; zero is refused. This side closes at once, unless the
    /// [`close_policy`](Self::close_policy) is to wait for the peer: then the last request says
    /// `Connection: close`.
    pub fn requests_per_connection(mut self, requests: u64) -> Self {
        self.requests_per_connection = Some(requests);
        self
    }

    /// The most connections that are dialed in a second, evenly spread. Default: no limit. Between
    /// 0.001 and [`MAX_RATE`]. Requests wait for it: in an open loop that is part of their
    /// response time.
    pub fn connect_rate(mut self, per_second: f64) -> Self {
        self.connect_rate = Some(per_second);
        self
    }

    /// Adds an address of this host to connect from; several take turns. Default: what the kernel
    /// chooses. Every address has ephemeral ports of its own; the port is chosen as late as
    /// connect(2) does it (`IP_BIND_ADDRESS_NO_PORT`), so that each serves several targets.
    pub fn source(mut self, address: IpAddr) -> Self {
        self.route.sources.push(address);
        self
    }

    /// Connects to another address, or port, than that of the URL; the first rule that matches
    /// holds. The Host field stays that of the URL.
    pub fn connect_to(mut self, rule: ConnectTo) -> Self {
        self.route.connect_to.push(rule);
        self
    }

    /// Trusts any certificate of an `https://` server. Default: not; the platform's roots decide.
    pub fn tls_insecure(mut self, insecure: bool) -> Self {
        self.tls.insecure = insecure;
        self
    }

    /// The certificates, in PEM, of the authorities to trust instead of the platform's.
    pub fn tls_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots_pem = Some(pem.into());
        self
    }

    /// Who this client is, for servers that ask (mTLS): a certificate chain, its own certificate
    /// first, and the private key, both in PEM.
    pub fn tls_identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity_pem = Some((chain.into(), key.into()));
        self
    }

    /// The name to ask for (SNI), and that the certificate must be for, instead of the URL's host.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Whether later handshakes resume a session of an earlier one. Default `true`: each thread
    /// remembers sessions of its own.
    pub fn tls_resumption(mut self, resume: bool) -> Self {
        self.tls.no_resumption = !resume;
        self
    }

    /// Connects to the Unix socket of this path, whatever host the URL names. Default: none. A
    /// path of more than 107 bytes is refused.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.route.unix_socket = Some(path.into());
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
        let open_loop = self.open_loop()?;
        let duration = self.whole_duration();
        let threads = self.check_threads()?;
        let target = Target::parse(&self.url)?;
        let parts = RequestParts {
            method: &self.method,
            target: &target,
            headers: &self.headers,
            body: &self.body,
            keep_alive: self.keep_alive,
        };
        let request = parts.serialise()?;
        let limited = self.requests_per_connection.is_some() && self.keep_alive;
        let last_request = if limited && self.close_policy == Some(ClosePolicy::WaitPeer) {
            Some(RequestParts { keep_alive: false, ..parts }.serialise()?.into_boxed_slice())
        } else {
            None
        };
        let tls = target.secure.then(|| self.tls.plan(&target.host)).transpose()?;
        let endpoints = self.route.endpoints(&self.url, &target)?;
        let default_policy = if self.keep_alive { ClosePolicy::Now } else { ClosePolicy::WaitPeer };
        Ok(Plan {
            url: self.url,
            target,
            endpoints,
            route: self.route,
            requests: self.requests,
            duration,
            concurrency: self.concurrency,
            threads,
            keep_alive: self.keep_alive,
            requests_per_connection: self.requests_per_connection,
            connect_rate: self.connect_rate,
            close_policy: self.close_policy.unwrap_or(default_policy),
            method: self.method,
            request: request.into_boxed_slice(),
            last_request,
            timeout: self.timeout,
            open_loop,
            tls,
        })
    }

    /// The limit by time: what was asked for, or what the stages take.
    fn whole_duration(&self) -> Option<Duration> {
        let stages = self.stages.iter().map(|stage| stage.duration);
        let stages = (!self.stages.is_empty())
            .then(|| stages.fold(Duration::ZERO, Duration::saturating_add));
        [self.duration, stages].into_iter().flatten().min()
    }

    fn open_loop(&self) -> Result<Option<OpenLoop>, PlanError> {
        if self.rate.is_none() && self.stages.is_empty() {
            return Ok(None);
        }
        let rates = self.stages.iter().map(|stage| stage.rate);
        let rates: Vec<f64> = self.rate.into_iter().chain(rates).collect();
        for rate in &rates {
            let fits = (MIN_RATE..=MAX_RATE).contains(rate);
            let nothing = *rate == 0.0 && !self.stages.is_empty();
            if !fits && !nothing {
                return Err(PlanError::new(
                    if self.stages.is_empty() { "rate" } else { "stages" },
                    rate.to_string(),
                    "it is not between 0.001 and 10000000 requests a second",
                    "use a rate such as 1000",
                ));
            }
        }
        if rates.iter().all(|rate| *rate == 0.0) {
            let reason = "all rates are zero, so that no request would be sent";
            return Err(PlanError::new("stages", "0", reason, "give one stage a rate"));
        }
        if self.stages.len() > MAX_STAGES || self.stages.iter().any(|s| s.duration.is_zero()) {
            return Err(PlanError::new(
                "stages",
                self.stages.len().to_string(),
                "there are more than 1000 stages, or one takes no time",
                "give fewer stages, each with a duration",
            ));
        }
        if self.backlog == 0 || self.backlog > MAX_BACKLOG {
            return Err(PlanError::new(
                "backlog",
                self.backlog.to_string(),
                "it is not between 1 and 100000000 requests",
                "use a number such as 1000000",
            ));
        }
        let course = if self.stages.is_empty() {
            Course::constant(rates[0])
        } else {
            Course::stages(self.rate.unwrap_or(0.0), &self.stages)
        };
        Ok(Some(OpenLoop { course, arrivals: self.arrivals, backlog: self.backlog }))
    }

    fn check_numbers(&self) -> Result<(), PlanError> {
        if self.requests.is_none() && self.whole_duration().is_none() {
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
        if self.requests_per_connection == Some(0) {
            let reason = "a connection that carries no request measures nothing";
            return Err(PlanError::new("requests_per_connection", "0", reason, "use at least 1"));
        }
        if let Some(rate) = self.connect_rate
            && !(MIN_RATE..=MAX_RATE).contains(&rate)
        {
            return Err(PlanError::new(
                "connect_rate",
                rate.to_string(),
                "it is not between 0.001 and 10000000 connections a second",
                "use a rate such as 100",
            ));
        }
        let times = [("duration", self.whole_duration()), ("timeout", Some(self.timeout))];
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
        assert_eq!(plan.endpoints(), [Endpoint::Tcp("127.0.0.1:9".parse().unwrap())]);
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
            (builder().requests_per_connection(0), "requests_per_connection", "0"),
            (builder().connect_rate(0.0), "connect_rate", "0"),
            (builder().rate(0.0), "rate", "0"),
            (builder().rate(f64::NAN), "rate", "NaN"),
            (builder().rate(1e9), "rate", "1000000000"),
            (builder().stages([stage(1, -1.0)]), "stages", "-1"),
            (builder().stages([stage(1, 0.0)]), "stages", "0"),
            (builder().stages([stage(0, 5.0), stage(1, 5.0)]), "stages", "2"),
            (builder().rate(1.0).backlog(0), "backlog", "0"),
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

    fn stage(seconds: u64, rate: f64) -> Stage {
        Stage { duration: Duration::from_secs(seconds), rate }
    }

    #[test]
    fn stages_give_the_run_its_duration_and_the_threads_share_the_count() {
        let plan = Plan::builder("http://127.0.0.1:9/").stages([stage(2, 5.0), stage(3, 0.0)]);
        assert_eq!(plan.clone().build().unwrap().duration(), Some(Duration::from_secs(5)));
        let short = plan.duration(Duration::from_secs(1)).build().unwrap();
        assert_eq!(short.duration(), Some(Duration::from_secs(1)));
        for arrivals in [Arrivals::Constant, Arrivals::Poisson { seed: 1 }] {
            let plan = builder().requests(17).rate(5.0).arrivals(arrivals).build().unwrap();
            let shares = (0..5).map(|thread| plan.pacer(thread, &[1; 5]).1.unwrap());
            assert_eq!(shares.sum::<u64>(), 17);
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
