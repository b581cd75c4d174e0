//! The settings of a plan, one by one, and what is made of them. Owns the defaults; `validation` owns
//! limits, and the file of each subject its meaning on the wire.

mod validation;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use keepwarm_http2::Dictionary;

use super::csv::Tables;
use super::http2::encode_kept;
use super::order;
use super::request::{self, Prepared, RequestParts, Start};
use super::share::Share;
use super::target::{Target, without_zone};
use super::tls::TlsSettings;
use super::{
    Body, ClosePolicy, ConnectTo, Expectation, Family, Plan, PlanError, RequestSpec, Route,
    conflicts,
};
use crate::pacer::{Arrivals, Stage};

const DEFAULT_BACKLOG: usize = 1_000_000;

/// Collects the settings of a [`Plan`]; [`build`](Self::build) validates all of them.
#[derive(Debug, Clone)]
#[must_use]
pub struct PlanBuilder {
    url: String,
    requests: Option<u64>,
    duration: Option<Duration>,
    concurrency: usize,
    threads: Option<usize>,
    pub(super) keep_alive: bool,
    requests_per_connection: Option<u64>,
    connect_rate: Option<f64>,
    route: Route,
    tls: TlsSettings,
    pub(super) close_policy: Option<ClosePolicy>,
    method: Option<String>,
    headers: Vec<(String, String)>,
    body: Body,
    form: Vec<(String, String)>,
    specs: Vec<RequestSpec>,
    templates: bool,
    timeout: Duration,
    rate: Option<f64>,
    stages: Vec<Stage>,
    arrivals: Arrivals,
    backlog: usize,
    share: Share,
    expectations: Vec<Expectation>,
    pub(super) shows_exchange: bool,
    pub(super) streams: Option<usize>,
    trace: bool,
    max_lifetime: Option<Duration>,
    dns_ttl: Option<Duration>,
    tables: Tables,
    omitted: Vec<String>,
}

impl PlanBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
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
            method: None,
            form: Vec::new(),
            specs: Vec::new(),
            templates: false,
            headers: Vec::new(),
            body: Body::default(),
            timeout: Duration::from_secs(30),
            rate: None,
            stages: Vec::new(),
            arrivals: Arrivals::Constant,
            backlog: DEFAULT_BACKLOG,
            share: Share::WHOLE,
            expectations: Vec::new(),
            shows_exchange: false,
            streams: None,
            trace: false,
            max_lifetime: None,
            dns_ttl: None,
            tables: Tables::default(),
            omitted: Vec::new(),
        }
    }

    /// Sends this many requests a second, at instants fixed in advance, whether responses come or
    /// not: an open loop. Default: none, a closed loop. Between one request in a thousand seconds
    /// and [`MAX_RATE`](crate::limits::MAX_RATE). Needs a count, a [`duration`](Self::duration) or both, or
    /// [`stages`](Self::stages); with stages this is the rate at which the first stage begins.
    ///
    /// [`concurrency`](Self::concurrency) is the most connections; they are opened as needed. A
    /// request without a free connection waits, in the order of instants, and the wait is part of
    /// its response time. Requests that wait at the end of a duration have the same second of grace
    /// as requests in flight, and are then unsent.
    pub fn rate(mut self, requests_per_second: f64) -> Self {
        self.rate = Some(requests_per_second);
        self
    }

    /// Makes an open loop whose rate goes linearly from stage to stage: from [`rate`](Self::rate),
    /// or zero, to the rate of the first stage within its duration, from there to the rate of the
    /// second, and so on. A stage with the previous stage's rate holds that rate. The duration of
    /// the run is the sum over all stages, unless a shorter one is set.
    pub fn stages(mut self, stages: impl Into<Vec<Stage>>) -> Self {
        self.stages = stages.into();
        self
    }

    /// Sets how the instants of an open loop are spread. Default: [`Arrivals::Constant`].
    pub fn arrivals(mut self, arrivals: Arrivals) -> Self {
        self.arrivals = arrivals;
        self
    }

    /// Limits the requests of an open loop that wait for a free connection, in all threads
    /// together. Default 1,000,000, which costs at most 16 MB. Zero, and more than 100 times the
    /// default, are refused. A request that is due beyond the limit is counted as unsent.
    pub fn backlog(mut self, requests: usize) -> Self {
        self.backlog = requests;
        self
    }

    /// Stops after exactly `n` requests. Zero is refused. No default: a plan needs a count, a
    /// [`duration`](Self::duration), or both; with both it stops at the first one reached.
    pub fn requests(mut self, n: u64) -> Self {
        self.requests = Some(n);
        self
    }

    /// Removes the count that was set by [`requests`](Self::requests).
    pub fn without_count(mut self) -> Self {
        self.requests = None;
        self
    }

    /// Starts no request after `duration`. Zero, and more than [`MAX_DURATION`](crate::limits::MAX_DURATION), are refused.
    /// Requests in flight at that instant have a grace: one more second, or twice the longest
    /// service time so far if that is longer, and never longer than the timeout. A request that is
    /// unanswered then has failed ([`ErrorClass::Unanswered`](crate::ErrorClass::Unanswered)). An
    /// open loop sends requests that wait for a connection for another second; the rest are unsent.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Sets the number of connections, each with one request in flight. Default 1. Zero, and more
    /// than [`MAX_CONCURRENCY`](crate::limits::MAX_CONCURRENCY), are refused. More connections than requests are never opened.
    pub fn concurrency(mut self, connections: usize) -> Self {
        self.concurrency = connections;
        self
    }

    /// Sets the number of threads. Default: one for every core this process may use, but not more
    /// than connections. Zero, and more threads than connections, are refused.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets whether a connection serves further requests. Default `true`. With `false` every
    /// request carries `Connection: close` and has a connection of its own, which carries no
    /// further request even if the server would accept one.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Limits the requests that a connection carries. The connection is then closed, and the next
    /// request dials anew. Default: no limit; zero is refused. This side closes at once, unless the
    /// [`close_policy`](Self::close_policy) is to wait for the peer: then the last request carries
    /// `Connection: close`.
    pub fn requests_per_connection(mut self, requests: u64) -> Self {
        self.requests_per_connection = Some(requests);
        self
    }

    /// Limits the connections that are dialed in a second, evenly spread. Default: no limit.
    /// Between 0.001 and [`MAX_RATE`](crate::limits::MAX_RATE). Requests wait for their dial; in an open loop the wait is
    /// part of their response time.
    pub fn connect_rate(mut self, per_second: f64) -> Self {
        self.connect_rate = Some(per_second);
        self
    }

    /// Adds an address of this host to connect from. Several addresses alternate. Default: the
    /// kernel's choice. Every address has ephemeral ports of its own. The port is chosen as late as
    /// connect(2) (`IP_BIND_ADDRESS_NO_PORT`), so that each port serves several targets.
    pub fn source(mut self, address: IpAddr) -> Self {
        self.route.sources.push(address);
        self
    }

    /// Connects to another address or port than the URL's. The first rule that matches applies. The
    /// Host field stays that of the URL.
    pub fn connect_to(mut self, rule: ConnectTo) -> Self {
        self.route.connect_to.push(rule);
        self
    }

    /// Trusts any certificate of an `https://` server. Default `false`: the platform's roots
    /// decide.
    pub fn tls_insecure(mut self, insecure: bool) -> Self {
        self.tls.insecure = insecure;
        self
    }

    /// Sets the certificates, in PEM, of the authorities to trust instead of the platform's.
    pub fn tls_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots_pem = Some(pem.into());
        self
    }

    /// Sets the client's identity for servers that ask for it (mTLS): a certificate chain with the
    /// client's own certificate first, and the private key, both in PEM.
    pub fn tls_identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity_pem = Some((chain.into(), key.into()));
        self
    }

    /// Sets the name to ask for (SNI) and to find in the certificate, instead of the URL's host.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Sets whether later handshakes resume a session of an earlier one. Default `true`: each
    /// thread remembers sessions of its own.
    pub fn tls_resumption(mut self, resume: bool) -> Self {
        self.tls.no_resumption = !resume;
        self
    }

    /// Connects to the Unix socket at this path, and ignores the URL's host. Default: none. A path
    /// of more than 107 bytes is refused.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.route.unix_socket = Some(path.into());
        self
    }

    /// Sets the side that closes after a response that ends its connection.
    ///
    /// Default: [`ClosePolicy::Now`] with keep-alive, where such a response is the exception.
    /// [`ClosePolicy::WaitPeer`] without keep-alive: the server has been asked to close, and
    /// closing at once would make it a race which side closes first. Worst case: a server that
    /// never closes costs every connection one second.
    pub fn close_policy(mut self, policy: ClosePolicy) -> Self {
        self.close_policy = Some(policy);
        self
    }

    /// Sets the request method. Default `GET`, or `POST` with a [`form`](Self::form) or a
    /// [`body`](Self::body), as with curl. Must be a
    /// token (RFC 9110, section 5.6.2); `CONNECT` is refused.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Adds a pair to the form that becomes the body (`application/x-www-form-urlencoded`). Refused
    /// together with [`body`](Self::body).
    pub fn form(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.form.push((name.into(), value.into()));
        self
    }

    /// Adds `Authorization: Basic …` (RFC 7617).
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        self.header("Authorization", request::basic_auth(user, password))
    }

    /// Replaces, in path, header values and body, `{n}` by the number of the request (each number
    /// from 0 once in a run), `{uuid}` by a random UUID, and `{random:LOW-HIGH}` by a random number
    /// from LOW to HIGH. Default `false`. The `Content-Length` is that of the body as sent. Refused
    /// together with a body that is read while it is sent; see [`Body::read`].
    pub fn templates(mut self, templates: bool) -> Self {
        self.templates = templates;
        self
    }

    /// Sends these requests in turn instead of a single one; see [`RequestSpec::parse_all`]. Header
    /// fields of the plan are added to each request that has no field of that name. Method, path
    /// and body come from the specs. Refused together with [`body`](Self::body) and
    /// [`form`](Self::form).
    pub fn request_specs(mut self, specs: Vec<RequestSpec>) -> Self {
        self.specs = specs;
        self
    }

    /// Adds a header field. `Host`, `User-Agent` and `Accept` replace the default fields.
    /// `Connection`, `Content-Length` and `Transfer-Encoding` are refused: they follow from
    /// [`keep_alive`](Self::keep_alive) and [`body`](Self::body).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Leaves out a default field: `User-Agent` or `Accept`. `Host` stays, which every request has
    /// (RFC 9112, section 3.2); another name changes nothing.
    pub fn without_field(mut self, name: impl Into<String>) -> Self {
        self.omitted.push(name.into());
        self
    }

    /// Sets the request body, which is sent with its `Content-Length`. Default: none. All connections
    /// share the body, and copy at most its first 16 KiB. See [`Body::open`] for bodies from files.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Limits the time from the start of the dial, or of the request on an open connection, to the
    /// last byte of the response. Default 30 seconds. Zero, and more than [`MAX_DURATION`](crate::limits::MAX_DURATION), are
    /// refused. Accurate to a thousandth, but not better than one millisecond.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the plan part `index` (from 0) of `of` parts of the load that the other settings
    /// describe; runs of all parts, begun at the same instant, are that load together. Default: the
    /// whole, part 0 of 1. More than [`MAX_SHARES`](crate::limits::MAX_SHARES) parts, and more parts
    /// than connections or requests, are refused.
    ///
    /// Requests and connections are divided so that parts differ by one at most. Request `k` of the
    /// whole load, its instant and its number in a template belong to part `k mod of`; Poisson parts
    /// draw from streams of their own, and their sum is a Poisson process of the whole rate. The
    /// [backlog](Self::backlog) and the [connect rate](Self::connect_rate) are divided too. Times,
    /// and the limits of one connection, are not.
    pub fn share(mut self, index: usize, of: usize) -> Self {
        self.share = Share { index, of };
        self
    }

    /// Adds a condition that every response has to meet. A response that does not is counted as
    /// missed, beside its place as completed. The first expectation that is missed counts.
    pub fn expect(mut self, expectation: Expectation) -> Self {
        self.expectations.push(expectation);
        self
    }

    /// Keeps the exchange: the request as written, the response as read, and the times of its stages
    /// ([`Summary::exchange`](crate::Summary::exchange)). Default `false`. The plan is then one of a
    /// single request on a single connection, whatever was set before.
    pub fn show_exchange(mut self, show: bool) -> Self {
        self.shows_exchange = show;
        self
    }

    /// Sends requests by HTTP/2: by prior knowledge to an `http://` URL, by ALPN to an `https://` one,
    /// with up to `streams` requests at once on each connection, and no more than the server allows.
    /// Default: HTTP/1.1. Zero, and more than [`MAX_STREAMS`](crate::limits::MAX_STREAMS), are refused.
    pub fn http2(mut self, streams: usize) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Gives each request a `traceparent` field of its own (W3C Trace Context), by which its trace is
    /// found where it was slow or failed. Default `false`. Refused beside such a header field.
    pub fn trace(mut self, trace: bool) -> Self {
        self.trace = trace;
        self
    }

    /// Closes a connection once it is this old and carries no request. Default: no limit. Zero, and
    /// more than [`MAX_DURATION`](crate::limits::MAX_DURATION), are refused.
    pub fn max_lifetime(mut self, age: Duration) -> Self {
        self.max_lifetime = Some(age);
        self
    }

    /// Looks the host up again each time this long has passed, on a thread of its own; new
    /// connections go to the addresses that were found last. A lookup that fails changes nothing.
    /// Default: the host is looked up once. Between a tenth of a second and [`MAX_DURATION`](crate::limits::MAX_DURATION).
    pub fn dns_ttl(mut self, ttl: Duration) -> Self {
        self.dns_ttl = Some(ttl);
        self
    }

    /// Uses addresses of one family only. Default: both.
    pub fn family(mut self, family: Family) -> Self {
        self.route.family = Some(family);
        self
    }

    /// Looks for the files of `{csv:FILE.column}` in this folder first, then where the process is.
    pub fn csv_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.tables.folder = Some(folder.into());
        self
    }

    /// Validates every setting, resolves the host and serialises the request.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, with its value, the reason and a remedy.
    /// [`PlanError::is_unresolved`] distinguishes a name without an address from a wrong setting.
    pub fn build(mut self) -> Result<Plan, PlanError> {
        if self.shows_exchange {
            (self.requests, self.concurrency, self.threads) = (Some(1), 1, None);
        }
        let open_loop = self.open_loop()?;
        self.check_numbers()?;
        self.share.check(self.concurrency, self.requests)?;
        let whole_requests = self.requests;
        self.requests = whole_requests.map(|all| self.share.of_requests(all));
        self.concurrency = self.share.of_connections(self.concurrency);
        let duration = self.whole_duration();
        let threads = self.check_threads()?;
        let target = Target::parse(&self.url)?;
        conflicts::tls(&self.tls, &target)?;
        conflicts::http2(&self)?;
        conflicts::one_request_per_connection(self.keep_alive, self.requests_per_connection)?;
        let specs = self.all_specs(&target)?;
        specs.iter().try_for_each(conflicts::fields)?;
        if self.streams.is_some() {
            specs.iter().try_for_each(conflicts::http2_fields)?;
        }
        let tables = std::mem::take(&mut self.tables);
        let (rows, row_of) = order::rows(&specs);
        let order = order::order(&specs)?;
        let mut kept = Dictionary::default();
        let prepare = |(spec, row)| self.prepare(spec, row, &target, &tables, &mut kept);
        let prepared = specs.iter().zip(row_of).map(prepare).collect::<Result<Vec<_>, _>>()?;
        let shorten = |mut request: Prepared| {
            if let Some((block, _)) = &mut request.encoded {
                block.shorten(&kept);
            }
            request
        };
        let prepared = prepared.into_iter().map(shorten).collect();
        let tls = target
            .secure
            .then(|| self.tls.plan(without_zone(&target.host), self.streams.is_some()))
            .transpose()?;
        let (endpoints, resolve_time) = self.route.endpoints(&self.url, &target)?;
        let trace = self.trace.then(|| RandomState::new().build_hasher().finish());
        let default_policy = if self.keep_alive { ClosePolicy::Now } else { ClosePolicy::WaitPeer };
        Ok(Plan {
            url: self.url,
            target,
            endpoints,
            route: self.route,
            requests: self.requests,
            whole_requests,
            share: self.share,
            duration,
            concurrency: self.concurrency,
            threads,
            keep_alive: self.keep_alive,
            requests_per_connection: self.requests_per_connection,
            connect_rate: self.connect_rate.map(|rate| rate / self.share.parts()),
            close_policy: self.close_policy.unwrap_or(default_policy),
            method: specs[0].method.clone(),
            prepared,
            timeout: self.timeout,
            open_loop,
            tls,
            resolve_time,
            expectations: self.expectations,
            shows_exchange: self.shows_exchange,
            streams: self.streams,
            trace,
            max_lifetime: self.max_lifetime,
            dns_ttl: self.dns_ttl,
            keeps_rows: !self.specs.is_empty(),
            rows,
            order,
        })
    }

    /// Returns the requests to send in turn: those given, or a single one to the URL.
    fn all_specs(&self, target: &Target) -> Result<Vec<RequestSpec>, PlanError> {
        let mut bodies = usize::from(!self.form.is_empty()) + usize::from(!self.body.is_empty());
        bodies += usize::from(!self.specs.is_empty());
        if bodies > 1 {
            return Err(PlanError::new(
                "body",
                "more than one",
                "a body, a form and a file of requests cannot be sent together",
                "choose one of them",
            ));
        }
        if !self.specs.is_empty() {
            let with_shared = |mut spec: RequestSpec| {
                for (name, value) in &self.headers {
                    if !spec.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
                        spec.headers.push((name.clone(), value.clone()));
                    }
                }
                spec
            };
            return Ok(self.specs.iter().cloned().map(with_shared).collect());
        }
        let mut headers = self.headers.clone();
        let mut body = self.body.clone();
        if !self.form.is_empty() {
            body = request::urlencoded(&self.form).into();
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                let value = "application/x-www-form-urlencoded";
                headers.push(("Content-Type".to_owned(), value.to_owned()));
            }
        }
        let default = if body.is_empty() { "GET" } else { "POST" };
        let method = self.method.clone().unwrap_or_else(|| default.to_owned());
        Ok(vec![RequestSpec {
            method,
            path: target.path.clone(),
            headers,
            body,
            ..RequestSpec::default()
        }])
    }

    fn prepare(
        &self,
        spec: &RequestSpec,
        row: usize,
        target: &Target,
        tables: &Tables,
        kept: &mut Dictionary,
    ) -> Result<Prepared, PlanError> {
        let parts = RequestParts {
            method: &spec.method,
            authority: &target.authority,
            path: &spec.path,
            headers: &spec.headers,
            omitted: &self.omitted,
            body: &spec.body,
            keep_alive: self.keep_alive,
            trace: self.trace,
            tables,
        };
        let usual = parts.prepare(self.templates)?;
        let limited = self.requests_per_connection.is_some() && self.keep_alive;
        let last = if limited && self.close_policy == Some(ClosePolicy::WaitPeer) {
            Some(RequestParts { keep_alive: false, ..parts }.prepare(self.templates)?)
        } else {
            None
        };
        let scheme = if target.secure { "https" } else { "http" };
        let encoded = match &usual.start {
            Start::Fixed(start) if self.streams.is_some() => Some(encode_kept(start, scheme, kept)),
            _ => None,
        };
        Ok(Prepared { is_head: spec.method == "HEAD", row, usual, encoded, last })
    }
}

#[cfg(test)]
mod tests;
