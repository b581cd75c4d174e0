//! Builder of a client: holds all of its settings, validates them together.

use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use keepwarm_pool::Limit;
#[cfg(feature = "tls")]
use rustls::client::danger::ServerCertVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::client::Client;
use crate::clock::Clock;
#[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
use crate::decode::Coding;
use crate::decode::Codings;
use crate::error::{BoxError, Error, Result};
use crate::observe::observer::{Observer, Observers};
use crate::origin_key::OriginRef;
use crate::policy::ClientPolicy;
use crate::policy::cookies::CookieStore;
use crate::policy::proxy::{Proxy, from_env};
use crate::policy::redirect::RedirectPolicy;
use crate::request::parse;
use crate::settings::{Protocol, Settings};
use crate::wire::connect::{Connector, Destination, Name, Resolver};
#[cfg(feature = "tls")]
use crate::wire::tls::{
    Certificate, Identity, RotatingIdentity, TlsSettings, TlsVersion, Verification,
};
use crate::wire::transport::Transport;

/// Settings for a [`Client`]; [`build`](ClientBuilder::build) checks them all.
///
/// Limits are numbers or [`Limit::NONE`]. A limit of zero means zero: where Go's field reads zero
/// as "no limit" or as a default, the documentation of the setting says so.
///
/// ```
/// use std::time::Duration;
/// # fn main() -> keepwarm::Result<()> {
/// let client = keepwarm::Client::builder()
///     .max_connections_per_origin(200)
///     .idle_timeout(Duration::from_secs(30))
///     .build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    pub(crate) settings: Settings,
    pub(crate) transport: Transport,
    #[cfg(feature = "tls")]
    pub(crate) tls: TlsSettings,
    pub(crate) observers: Observers,
    pub(crate) policy: Option<Box<ClientPolicy>>,
    /// First mistake in a setting that was converted at once.
    refused: Option<Error>,
}

impl ClientBuilder {
    /// Returns the defaults of this library: no limit on counts, 90 s idle timeout, 30 s connect
    /// timeout, 15 s TCP keep-alive, 30 s for bytes without acknowledgement, no total timeout, 10
    /// redirects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns exactly the numbers of Go's `http.DefaultTransport`: `MaxIdleConns` 100,
    /// `MaxIdleConnsPerHost` 2 (`DefaultMaxIdleConnsPerHost`), `MaxConnsPerHost` unlimited,
    /// `IdleConnTimeout` 90 s, dial timeout and TCP keep-alive 30 s, 9 probes, no `TCP_USER_TIMEOUT`,
    /// no `Client.Timeout`.
    ///
    /// For comparison and for migration. With more than two requests at once to one origin these
    /// numbers close healthy connections, which this library is meant to avoid.
    pub fn go_defaults() -> Self {
        Self { settings: Settings::go_defaults(), ..Self::default() }
    }

    /// Limits the connections to one origin that may be idle at once; a connection that returns
    /// beyond the limit is closed. Go: `Transport.MaxIdleConnsPerHost`.
    ///
    /// Default: no limit, so that a healthy connection is closed by age and never by count; the
    /// cost is at most as many idle connections as there were simultaneous requests within the idle
    /// timeout. Zero keeps none: each exchange opens a connection, unless a request waits when the
    /// previous one ends. (In Go zero means 2, and a negative number switches keep-alives off.)
    pub fn max_idle_per_origin(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.pool.max_idle = limit.into();
        self
    }

    /// Limits the connections to all origins together that may be idle at once; beyond it the one
    /// that has been idle the longest is closed, to any origin. Go: `Transport.MaxIdleConns`.
    ///
    /// Default: no limit. Zero keeps none. (In Go zero means no limit.) It is enforced in the
    /// background, so the limit may be exceeded for a moment.
    pub fn max_idle(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.max_idle = limit.into();
        self
    }

    /// Limits the connections to one origin that may exist at once: being dialled, in use and idle
    /// together. Requests beyond it wait, first come first served. Go: `Transport.MaxConnsPerHost`.
    ///
    /// Default: no limit. Zero is refused. (In Go zero means no limit.)
    pub fn max_connections_per_origin(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.pool.max_connections = limit.into();
        self
    }

    /// Limits the connections to all origins together that may exist at once: being dialled, in use
    /// and idle. Go has no such limit.
    ///
    /// Default: no limit. Zero is refused. The limit holds at every instant, between threads too.
    /// When it is reached, the connection that has been idle the longest, to any origin, is closed
    /// to make room; if none is idle, the request waits, under the same
    /// [`acquire_timeout`](Self::acquire_timeout) and
    /// [`max_waiters_per_origin`](Self::max_waiters_per_origin) as without this limit. A connection
    /// that makes room is counted as [`CloseReason::TotalLimit`](crate::CloseReason::TotalLimit).
    ///
    /// Free room goes to the request that began to wait for it first, across all origins. Requests
    /// to one origin never overtake each other. A request may be overtaken by a request to another
    /// origin that came at most 100 ms later, when a connection to that other origin returns and
    /// can serve it: otherwise two busy origins would alternate in closing each other's
    /// connections. Beyond 100 ms the connection is closed and makes room, so no request starves.
    ///
    /// At worst, with more busy origins than connections, each request opens a connection and
    /// closes another one; the limit should be no less than the peak concurrency of all origins
    /// together. Where a host has several addresses, a dial may try two of them at once for a
    /// moment.
    pub fn max_connections(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.max_connections = limit.into();
        self.settings.pool.shares_places = self.settings.max_connections != Limit::NONE;
        self
    }

    /// Limits the requests to one origin that may wait at once beyond those a connection is being
    /// dialled for. The next request fails at once with
    /// [`is_too_many_waiters`](crate::Error::is_too_many_waiters). Go has no such limit.
    ///
    /// Default: no limit; the cost is one small allocation for each waiting request, and the memory
    /// of the request itself. With zero no request waits for a connection in use.
    pub fn max_waiters_per_origin(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.pool.max_waiters = limit.into();
        self
    }

    /// Speaks HTTP/2 only, also without TLS, where no protocol can be agreed on (RFC 9113, 3.3). Over
    /// TLS nothing else is offered, and a server that does not choose it is an error
    /// ([`is_not_http2`](crate::Error::is_not_http2)). Go: `Protocols.UnencryptedHTTP2`.
    #[cfg(feature = "http2")]
    pub const fn http2_prior_knowledge(mut self) -> Self {
        self.settings.protocol = Protocol::Http2;
        self
    }

    /// Speaks HTTP/1.1 only. Without this, HTTP/2 is offered in each TLS handshake, unless
    /// [`keep_alive`](Self::keep_alive) is off. Go: an empty `Transport.TLSNextProto`.
    pub const fn http1_only(mut self) -> Self {
        self.settings.protocol = Protocol::Http1;
        self
    }

    /// Limits the requests at once on one HTTP/2 connection, whatever the server allows; beyond it
    /// further connections open. Go has no such limit.
    ///
    /// 100 by default. Less spreads a load over more connections, each with its own congestion window
    /// and its own place behind a load balancer.
    pub const fn max_streams_per_connection(mut self, streams: u32) -> Self {
        self.settings.pool.max_streams = streams;
        self
    }

    /// Has each request use the HTTP/2 connection with the fewest requests. By default it is the
    /// fullest that has room, so that surplus connections go idle and close.
    pub const fn spread_streams(mut self, spread: bool) -> Self {
        self.settings.pool.spread = spread;
        self
    }

    /// Limits the bytes of response bodies that may lie unread on one HTTP/2 connection: its window.
    /// One body has at most 4 MiB of it, so that a body that is not read holds no other up. Where
    /// bodies that are not read fill the whole window, all of the connection's responses wait until
    /// some of it is read. Go: 1 GiB.
    ///
    /// 64 MiB by default; at least 65,535.
    pub const fn max_unread_per_connection(mut self, bytes: u32) -> Self {
        self.settings.max_unread = bytes;
        self
    }

    /// Limits the requests that one connection may serve; after so many it is closed when it
    /// returns, and counted as [`CloseReason::ExchangeLimit`](crate::CloseReason::ExchangeLimit).
    /// Requests that wait get a new connection. Go has no such limit.
    ///
    /// Default: no limit. Zero is refused. At worst, with a limit of 1, each request opens a
    /// connection and leaves this side in TIME_WAIT; announce that to the server by
    /// [`keep_alive(false)`](ClientBuilder::keep_alive). To spread connections over a set of
    /// servers, a limit in the thousands is enough.
    pub fn max_requests_per_connection(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.pool.max_exchanges = limit.into();
        self
    }

    /// Sets if connections are kept for another request. Go: `Transport.DisableKeepAlives`, which
    /// is its opposite.
    ///
    /// Default: `true`. With `false` each connection serves one request, which says `Connection:
    /// close`, and is counted as [`CloseReason::NotPersistent`](crate::CloseReason::NotPersistent)
    /// when it ends. The cost is connection churn: a connect for each request, and a TIME_WAIT on
    /// the side that closes first. A connection that was opened, and whose request was then served
    /// by another connection, is closed at once.
    pub fn keep_alive(mut self, keep: bool) -> Self {
        self.settings.keep_alive = keep;
        self.settings.pool.keeps_connections = keep;
        self
    }

    /// Sets the time that a connection may be idle before it is closed. Go:
    /// `Transport.IdleConnTimeout`.
    ///
    /// Default: 90 s. Zero closes a connection as soon as no request waits for it;
    /// [`Duration::MAX`] keeps it for ever. (In Go zero keeps it for ever.) To avoid a race with
    /// the server, stay below the server's own keep-alive timeout.
    ///
    /// Time for which the machine was suspended counts, on Linux and Windows; a connection that was
    /// suspended for too long is not used, and is closed at the latest when it expires by the clock
    /// that stood still.
    ///
    /// The server's own announcement is followed, which Go does not do: by `Keep-Alive: timeout=N`
    /// in a response the connection expires N seconds after the end of that response, less a second
    /// or half of N, the smaller of the two, unless this setting ends it before. The response ends
    /// when it has been read: a caller that reads slowly uses up the margin. After `max=M` the
    /// connection serves M more requests. Such a close is counted as
    /// [`CloseReason::ServerLimit`](crate::CloseReason::ServerLimit). At worst `timeout=0` or
    /// `max=0` in each response opens a connection for each request.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pool.idle_timeout = timeout;
        self
    }

    /// Sets if the server's idle timeout is learned from the connections that it closes while they
    /// are idle, for each origin whose server does not announce it by `Keep-Alive`. Go has nothing
    /// like it.
    ///
    /// Default: `true`. Five closes in a row at the same idle age, within a sixteenth, establish
    /// the timeout; closes that come together, as when a server restarts, count as one, and from a
    /// server that closes at random no timeout is learned. From then on a connection that returns
    /// expires before that age, by a second or half of it, the smaller of the two, and is counted
    /// as [`CloseReason::LearnedTimeout`](crate::CloseReason::LearnedTimeout). After ten minutes it
    /// has to be seen once more. Timeouts below half a second are not learned. The cost at worst:
    /// after a server's timeout has been raised, connections are closed early for ten minutes. The
    /// benefit: no request crosses the server's close on its way.
    /// [`OriginStats::learned_idle_timeout`](crate::OriginStats::learned_idle_timeout) reports the
    /// learned timeout.
    pub fn learn_idle_timeout(mut self, learn: bool) -> Self {
        self.settings.pool.learns_idle_timeout = learn;
        self
    }

    /// Limits the lifetime of a connection. Each connection lives less, by up to a tenth that
    /// differs from connection to connection, so that connections opened together do not end
    /// together. Go has no such limit.
    ///
    /// Default: `None`, for ever. Zero is refused. A connection that is idle at its end is closed
    /// then, a connection in use when it returns; an exchange is never cut short. The close is
    /// counted as [`CloseReason::Lifetime`](crate::CloseReason::Lifetime). The cost is one new
    /// connection for each one that is in use, in each lifetime; the benefit is that a change of
    /// addresses, or of a set of servers, is noticed within that time.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.settings.pool.max_lifetime = lifetime.into().unwrap_or(Duration::MAX);
        self
    }

    /// Sets the most that is taken off the lifetime of a connection, which differs from connection
    /// to connection.
    ///
    /// Default: `None`, a tenth of [`max_lifetime`](Self::max_lifetime). Zero lets connections that
    /// were opened together end together, which opens as many at once. A jitter without a
    /// `max_lifetime`, or as long as it, is refused.
    pub fn max_lifetime_jitter(mut self, jitter: impl Into<Option<Duration>>) -> Self {
        self.settings.pool.lifetime_jitter = jitter.into();
        self
    }

    /// Sets how many requests to an origin may be sent a second time in a row, because the server
    /// closed a used connection while they were on their way, before used connections are
    /// distrusted. Go has no such limit, and sends again as often as need be.
    ///
    /// Default: 100; [`Limit::NONE`] never distrusts. Each two requests earn one more, and each
    /// second; ten times the number are saved up at most. Once the budget is spent, connections to
    /// that origin serve one request each, as
    /// [`Distrusted`](crate::CloseReason::Distrusted), until it is full again: no request fails for
    /// it. A small number costs new connections at a server that closes often, a large one requests
    /// that are written twice. With zero each broken connection has the next requests take new ones.
    pub fn retry_budget(mut self, retries: impl Into<Limit>) -> Self {
        self.settings.retry_budget = retries.into();
        self
    }

    /// Sets the time that a request may wait for a connection: for a return, a slot or a dial.
    /// Beyond it the request leaves the queue and fails with
    /// [`is_acquire_timeout`](crate::Error::is_acquire_timeout); the requests behind it move up. Go
    /// has no such limit but the request's context.
    ///
    /// Default: `None`, as long as the total timeout allows. Zero is refused. The time begins when
    /// the request is queued, ends when it has a connection, and begins anew with each redirect. A
    /// dial that was started for the request goes on and serves the next request. The cost is one
    /// timer for each request that waits, and none for others.
    pub fn acquire_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.acquire_timeout = timeout.into();
        self
    }

    /// Sets the time that resolving, connecting and starting a connection may take together.
    /// Go: `Dialer.Timeout`.
    ///
    /// Default: 30 s. Zero is refused; [`Duration::MAX`] means no limit but the kernel's.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets the time without a byte from the peer before a TCP keep-alive probe is sent, and the
    /// interval between probes. Go: `Dialer.KeepAlive`.
    ///
    /// Default: 15 s, counted in whole seconds. (Go: 30 s.) `None` switches probes off; less than a
    /// second or more than 32,767 s is refused. The cost is one packet without data, and its
    /// answer, in each interval of each quiet connection. The benefit: the state that NATs and
    /// firewalls keep of the connection does not expire, and a peer that has vanished is noticed,
    /// see [`tcp_user_timeout`](Self::tcp_user_timeout) and
    /// [`tcp_keepalive_probes`](Self::tcp_keepalive_probes).
    pub fn tcp_keepalive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.tcp_keepalive = interval.into();
        self
    }

    /// Sets the number of keep-alive probes that may stay unanswered, one after the other, before
    /// the kernel ends a connection (`TCP_KEEPCNT`). Go: `net.KeepAliveConfig.Count`.
    ///
    /// Default: 3, so that with 15 s of [`tcp_keepalive`](Self::tcp_keepalive) a peer that has
    /// vanished is noticed after 60 s. (Go and Linux: 9.) Zero is refused, and so is more than 127,
    /// the kernel's limit. On Linux the number counts only without a
    /// [`tcp_user_timeout`](Self::tcp_user_timeout): with one, the kernel ends the connection when
    /// that time has passed and a probe is unanswered (tcp(7)). The cost of a small number is that
    /// lost packets on a bad network end connections.
    pub fn tcp_keepalive_probes(mut self, probes: u32) -> Self {
        self.settings.tcp_keepalive_probes = probes;
        self
    }

    /// Sets the time for which sent bytes may stay unacknowledged, or keep-alive probes unanswered,
    /// before the kernel ends the connection (`TCP_USER_TIMEOUT`, RFC 5482). Go has no such
    /// setting.
    ///
    /// Default: 30 s, counted in whole milliseconds. Zero is refused; `None` leaves it to the
    /// kernel, which on Linux sends again for about 15 minutes (`net.ipv4.tcp_retries2`). It is for
    /// a peer that is gone without a FIN or RST: its host lost power, or a NAT or load balancer
    /// forgot the connection. A request on such a connection fails after this time with `TimedOut`
    /// ([`io_error`](crate::Error::io_error)); one that may be repeated goes out once more, on a
    /// new connection. An idle one is closed when the probe is due at or after this time: with the
    /// defaults after 30 to 45 s, when one or two probes were lost.
    ///
    /// The cost: a server that keeps its connection but reads nothing of an upload for so long
    /// (its receive window is zero) ends it too, although it answers the kernel's probes; the error
    /// names this setting. A server
    /// that takes long for its response does not: its kernel has acknowledged the request. Linux
    /// only; elsewhere it has no effect.
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.tcp_user_timeout = timeout.into();
        self
    }

    /// Sets the time that a request may take in all: waiting, connecting, redirects, and reading
    /// the body to its end. Go: `Client.Timeout`. A request can set its own.
    ///
    /// Default: `None`, no limit. Zero is refused. (In Go zero means no limit.)
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeout = timeout.into();
        self
    }

    /// Sets the time for which no byte may pass in either direction while a request waits for the
    /// peer: for the head of the response, for more of its body, or for room to write to. Go has no
    /// such setting; reqwest's `read_timeout` is one direction of it.
    ///
    /// Default: `None`, no limit. Zero is refused. It bounds a download or an upload that has come
    /// to a standstill, where [`timeout`](Self::timeout) would bound a long one that goes on. The
    /// time during which the caller does not read the body, or its own body has nothing to send,
    /// does not count; an interim response does, as bytes. A request on it fails with
    /// [`is_stall_timeout`](crate::Error::is_stall_timeout), and the connection is closed. The rest
    /// of an upload whose response has begun is watched too: the reader of the response gets the
    /// error.
    pub fn stall_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.stall_timeout = timeout.into();
        self
    }

    /// Limits the redirects that a request may follow. Default: 10. Go: `Client.CheckRedirect`,
    /// whose default is 10 too.
    ///
    /// The redirect beyond it is the response, and so is any other one that cannot be followed:
    /// [`Response::redirect_stopped`](crate::Response::redirect_stopped) has the reason. (Go returns
    /// an error too.) Zero returns the first redirect. The tower service never follows any.
    pub fn max_redirects(mut self, limit: u32) -> Self {
        self.settings.max_redirects = limit;
        self
    }

    /// Sets which redirects are followed, beyond their number. A request can set its own. Go:
    /// `Client.CheckRedirect`.
    ///
    /// Default: all that can be, up to [`max_redirects`](Self::max_redirects). A redirect from https
    /// to http is followed, unless [`https_only`](Self::https_only) is set. A redirect to another
    /// origin loses `Authorization`, `Cookie`, `Host`, `Proxy-Authorization` and `WWW-Authenticate`.
    pub fn redirect_policy(mut self, policy: RedirectPolicy) -> Self {
        self.policy_mut().redirect = Some(policy);
        self
    }

    /// Sets header fields that are added to every request that does not set a field of the same
    /// name. They are added once, before the first hop: a redirect to another origin loses
    /// credentials among them. The tower service adds them too.
    ///
    /// Default: none. Another call replaces fields of the same name.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        let ours = &mut self.policy_mut().default_headers;
        for name in headers.keys() {
            ours.remove(name);
        }
        for name in headers.keys() {
            for value in headers.get_all(name) {
                ours.append(name, value.clone());
            }
        }
        self
    }

    /// Sets `User-Agent` of every request that does not set its own.
    ///
    /// Default: `keepwarm/` and the version. A value with forbidden bytes is refused.
    pub fn user_agent(mut self, agent: impl AsRef<[u8]>) -> Self {
        match HeaderValue::from_bytes(agent.as_ref()) {
            Ok(agent) => drop(self.policy_mut().default_headers.insert(USER_AGENT, agent)),
            Err(_) => self.refuse(Error::invalid("user_agent has forbidden bytes")),
        }
        self
    }

    /// Sets the URL that relative URLs of requests resolve against (RFC 3986, 5.2):
    /// `client.get("users/7")`. The last segment of its path is replaced, so that
    /// `https://host/api/` ends in a slash; `client.get("/x")` leaves its path.
    ///
    /// Default: none; a relative URL is refused. A URL that no request can be sent to is refused.
    pub fn base_url(mut self, url: impl AsRef<str>) -> Self {
        let parsed = parse(url.as_ref()).and_then(|uri| OriginRef::of(&uri).map(|_| uri.clone()));
        match parsed {
            Ok(uri) => self.policy_mut().base_url = Some(uri),
            Err(why) => self.refuse(Error::invalid(format!("base_url: {why}"))),
        }
        self
    }

    /// Sets if only https may be used: a request to another URL is refused, and so is a redirect
    /// ([`is_redirect`](Error::is_redirect)).
    ///
    /// Default: false; a redirect from https to http is followed.
    pub fn https_only(mut self, only: bool) -> Self {
        self.policy_mut().https_only = only;
        self
    }

    /// Sets a store of cookies: asked before each request, redirects included, and told of every
    /// `Set-Cookie`, also of a redirect. Go: `Client.Jar`. The tower service uses it too.
    ///
    /// Default: none; cookies are not sent back. A request with a field `Cookie` of its own is not
    /// given the store's, until a redirect to another origin has removed it.
    pub fn cookie_store(mut self, store: impl CookieStore) -> Self {
        self.policy_mut().cookies = Some(Arc::new(store));
        self
    }

    /// Sets if cookies are kept in a [`Jar`](crate::Jar) of the client's own.
    ///
    /// Default: false.
    #[cfg(feature = "cookies")]
    pub fn cookies(mut self, keep: bool) -> Self {
        let jar =
            keep.then(|| Arc::new(crate::policy::cookies::Jar::new()) as Arc<dyn CookieStore>);
        self.policy_mut().cookies = jar;
        self
    }

    /// Adds a rule: which requests go through which proxy. The first rule that names a proxy counts.
    /// Go: `Transport.Proxy`. A request can set its own.
    ///
    /// Default: none, and the environment is not read, see [`proxy_from_env`](Self::proxy_from_env).
    /// A request to http goes to an http proxy in absolute-form, on connections that all origins
    /// share: limits of an origin then count those of the proxy. A request to https, and any request
    /// through SOCKS5, has a tunnel of its origin (CONNECT), which is kept warm as any connection.
    /// Connecting, TLS to the proxy and the tunnel are bounded by
    /// [`connect_timeout`](Self::connect_timeout) together. `Proxy-Authorization` goes to the proxy
    /// alone. A [`connector`](Self::connector) connects to the proxy; a Unix socket beside a proxy
    /// is refused. [`tls_server_name`](Self::tls_server_name) is not the proxy's.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.policy_mut().proxies.push(proxy);
        self
    }

    /// Adds the rules of the environment, which is read now: `HTTP_PROXY` for http, `HTTPS_PROXY`
    /// for https, but for the hosts of `NO_PROXY`, `localhost` and loopback addresses; each in
    /// capitals, or else in small letters. Go: `http.ProxyFromEnvironment`, whose rules these are:
    /// in a CGI program (`REQUEST_METHOD` is set) a request that `HTTP_PROXY` is about fails, since
    /// a client may have set that.
    ///
    /// A variable that is no URL of a proxy is refused by [`build`](Self::build). (Go passes over
    /// it.) `ALL_PROXY` is not read, as by Go.
    pub fn proxy_from_env(mut self) -> Self {
        match from_env(|name| std::env::var(name).ok()) {
            Ok(rules) => self.policy_mut().proxies.extend(rules),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Removes all rules of proxies.
    pub fn no_proxy(mut self) -> Self {
        self.policy_mut().proxies.clear();
        self
    }

    /// Sets if responses are asked for compressed, by all codings that are built in (features `gzip`,
    /// `brotli`, `zstd`), and decompressed while they are read. Go: `Transport.DisableCompression`,
    /// its opposite, for gzip alone.
    ///
    /// Default: false. `Accept-Encoding` is sent, unless the caller sets it, sets `Range`, or the
    /// method is HEAD; a response with one of the codings then loses `Content-Encoding` and
    /// `Content-Length`. Any other response is left as it came: without a body, in a coding that was
    /// not asked for, or in two at once. gzip may have several members, deflate may come bare, and
    /// bytes behind the end of the data are an error ([`is_decode`](Error::is_decode)), as is an
    /// early end. The wire is read to its end, so that the connection is kept.
    pub fn decompress(mut self, decompress: bool) -> Self {
        self.policy_mut().codings = if decompress { Codings::all() } else { Codings::default() };
        self
    }

    /// Sets if gzip is asked for and undone, see [`decompress`](Self::decompress).
    #[cfg(feature = "gzip")]
    pub fn gzip(self, wanted: bool) -> Self {
        self.coding(Coding::Gzip, wanted)
    }

    /// Sets if deflate is asked for and undone, see [`decompress`](Self::decompress).
    #[cfg(feature = "gzip")]
    pub fn deflate(self, wanted: bool) -> Self {
        self.coding(Coding::Deflate, wanted)
    }

    /// Sets if br is asked for and undone, see [`decompress`](Self::decompress).
    #[cfg(feature = "brotli")]
    pub fn brotli(self, wanted: bool) -> Self {
        self.coding(Coding::Brotli, wanted)
    }

    /// Sets if zstd is asked for and undone, see [`decompress`](Self::decompress). Its window is at
    /// most 8 MiB (RFC 9659).
    #[cfg(feature = "zstd")]
    pub fn zstd(self, wanted: bool) -> Self {
        self.coding(Coding::Zstd, wanted)
    }

    #[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
    fn coding(mut self, coding: Coding, wanted: bool) -> Self {
        self.policy_mut().codings.set(coding, wanted);
        self
    }

    /// Limits the bytes that the body of one response may have once it is decompressed. Beyond it
    /// reading fails with [`is_too_large`](Error::is_too_large). A body in memory is bounded by
    /// [`bytes_up_to`](crate::Response::bytes_up_to) too, which counts decompressed bytes.
    ///
    /// Default: 1 GiB, for a body that is streamed. `None` sets no limit. However large it becomes,
    /// decompressing holds one piece of it in memory, and the window of its coding (at most 16 MiB).
    pub fn max_decompressed_size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.policy_mut().max_decompressed = Some(bytes.into());
        self
    }

    fn policy_mut(&mut self) -> &mut ClientPolicy {
        self.policy.get_or_insert_default()
    }

    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    /// Adds certificates to trust besides the platform's roots. Go: `TLSClientConfig.RootCAs`,
    /// which replaces them.
    ///
    /// Default: none. Another call adds to the earlier ones.
    #[cfg(feature = "tls")]
    pub fn root_certificates(mut self, roots: impl IntoIterator<Item = Certificate>) -> Self {
        self.tls.roots.extend(roots);
        self
    }

    /// Sets the client's own certificate, for servers that ask for one (mTLS).
    /// Go: `TLSClientConfig.Certificates`.
    ///
    /// Default: `None`; such servers then refuse the handshake.
    #[cfg(feature = "tls")]
    pub fn identity(mut self, identity: impl Into<Option<Identity>>) -> Self {
        self.tls.identity = identity.into();
        self
    }

    /// Sets the name that is sent in the TLS handshake (SNI) and that the server's certificate must
    /// be for, instead of the host of the URL. Go: `TLSClientConfig.ServerName`.
    ///
    /// Default: `None`, the host of the URL. An address is verified and not sent. A string that is
    /// neither a name nor an address is refused. The name holds for all origins of the client,
    /// redirects included: a server with a certificate for this name is then trusted to be any of
    /// them. `Host` stays that of the URL. Connections of a client with another name are never
    /// used, as clients share none.
    #[cfg(feature = "tls")]
    pub fn tls_server_name(mut self, name: impl Into<Option<String>>) -> Self {
        self.tls.server_name = name.into();
        self
    }

    /// Sets the certificates that are trusted, and no others: the platform's roots are not read. Go:
    /// `TLSClientConfig.RootCAs`.
    ///
    /// Default: the platform's roots. Further ones of
    /// [`root_certificates`](Self::root_certificates) are trusted too. None at all is refused.
    #[cfg(feature = "tls")]
    pub fn tls_roots_only(mut self, roots: impl IntoIterator<Item = Certificate>) -> Self {
        self.tls.roots.extend(roots);
        self.tls.verification = Verification::OnlyRoots;
        self
    }

    /// Sets who verifies servers: a pin of a certificate, or rules of one's own. Go:
    /// `TLSClientConfig.VerifyConnection`, which comes after its own.
    ///
    /// Default: the platform. The verifier is given the chain and the name, and answers for both;
    /// root certificates beside it are refused.
    #[cfg(feature = "tls")]
    pub fn tls_verifier(mut self, verifier: Arc<dyn ServerCertVerifier>) -> Self {
        self.tls.verification = Verification::Own(verifier);
        self
    }

    /// Trusts any certificate of any server: whoever is on the way reads and changes everything.
    /// Go: `TLSClientConfig.InsecureSkipVerify`.
    ///
    /// Default: false. For a test, [`tls_roots_only`](Self::tls_roots_only) with its certificate is
    /// as easy.
    #[cfg(feature = "tls")]
    pub fn danger_accept_invalid_certs(mut self, accept: bool) -> Self {
        self.tls.accepts_any = accept;
        self
    }

    /// Sets the lowest version of TLS. Go: `TLSClientConfig.MinVersion`.
    ///
    /// Default: TLS 1.2.
    #[cfg(feature = "tls")]
    pub fn min_tls_version(mut self, version: TlsVersion) -> Self {
        self.tls.min_version = version;
        self
    }

    /// Sets the highest version of TLS. Go: `TLSClientConfig.MaxVersion`.
    ///
    /// Default: TLS 1.3. One that is below the lowest is refused.
    #[cfg(feature = "tls")]
    pub fn max_tls_version(mut self, version: TlsVersion) -> Self {
        self.tls.max_version = version;
        self
    }

    /// Sets if the keys of each TLS connection are written to the file that the variable
    /// `SSLKEYLOGFILE` names, for wireshark. Go: `TLSClientConfig.KeyLogWriter`.
    ///
    /// Default: false, and the variable is not read. The file lets its reader decrypt the traffic.
    #[cfg(feature = "tls")]
    pub fn tls_key_log(mut self, write: bool) -> Self {
        self.tls.key_log = write;
        self
    }

    /// Sets the client's own certificate as one that may be replaced. Go:
    /// `TLSClientConfig.GetClientCertificate`.
    ///
    /// Default: none. Sessions are not resumed then, since a resumed one has the identity of its
    /// first handshake: the cost is a whole handshake for each connection.
    #[cfg(feature = "tls")]
    pub fn rotating_identity(mut self, identity: &RotatingIdentity) -> Self {
        self.tls.rotating = Some(identity.clone());
        self
    }

    /// Sets the whole configuration of TLS but ALPN, which is the client's. Go:
    /// `Transport.TLSClientConfig`. reqwest: `tls_backend_preconfigured`.
    ///
    /// Default: one made of the other settings, which are refused beside this one, but for
    /// [`tls_server_name`](Self::tls_server_name) and
    /// [`tls_handshake_timeout`](Self::tls_handshake_timeout).
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls.config = Some(config);
        self
    }

    /// Sets the time that a TLS handshake may take, within the connect timeout.
    /// Go: `Transport.TLSHandshakeTimeout`.
    ///
    /// Default: 10 s. Zero is refused. (In Go zero means no limit.)
    #[cfg(feature = "tls")]
    pub fn tls_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.tls.handshake_timeout = timeout;
        self
    }

    /// Sets the time that the head of a response may take, from the moment the whole request has
    /// been given to the kernel, its body included. Go: `Transport.ResponseHeaderTimeout`. The body
    /// of the response may take longer. The time starts anew for each attempt and each redirect;
    /// when it is over the connection is closed, and the error is
    /// [`is_response_header_timeout`](crate::Error::is_response_header_timeout).
    ///
    /// Default: `None`, no limit. Zero is refused. (In Go zero means no limit.)
    pub fn response_header_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.response_header_timeout = timeout.into();
        self
    }

    /// Sets the time that a request with `Expect: 100-continue` waits for permission to send its
    /// body, from the moment its head has been given to the kernel. Go:
    /// `Transport.ExpectContinueTimeout`.
    ///
    /// Default: 1 s. Zero sends the body at once, as in Go; [`Duration::MAX`] waits for the server
    /// alone. The body is sent when a `100 Continue` comes or the time is over: no request fails by
    /// this timeout, since a server need not support the field (RFC 9110, 10.1.1). If a final
    /// response comes instead, such as 417, 401 or 200, the body is not sent; the connection is
    /// closed when the response is read, as
    /// [`UploadUnfinished`](crate::CloseReason::UploadUnfinished), because the server may still
    /// wait for the body. (Go then sends the body, to keep the connection.) A 417 is answered by the same request
    /// without `Expect`, on another connection, unless the body is a [`Body::stream`](crate::Body::stream)
    /// that has begun, since the time was over: then the 417 is the response.
    /// [`response_header_timeout`](ClientBuilder::response_header_timeout) does not run meanwhile.
    pub fn expect_continue_timeout(mut self, timeout: Duration) -> Self {
        self.settings.expect_continue_timeout = timeout;
        self
    }

    /// Sets a connector that opens streams instead of TCP: through a tunnel or a simulated network,
    /// or by the steps of a test. Go: `Transport.DialContext`.
    ///
    /// Default: `None`, TCP. The connector is called once for each dial, which belongs to the pool
    /// and not to a request, see [`connect`](crate::connect); it returns a stream of tokio's
    /// traits, on which no byte has passed. For `https` the client does the TLS handshake on that
    /// stream itself. [`connect_timeout`](ClientBuilder::connect_timeout) bounds it, and its error
    /// is the cause of an error at [`Stage::Connect`](crate::Stage::Connect). The settings of TCP
    /// ([`tcp_keepalive`](ClientBuilder::tcp_keepalive),
    /// [`tcp_user_timeout`](ClientBuilder::tcp_user_timeout)) do not apply to its streams, and a
    /// [`resolver`](ClientBuilder::resolver) beside it is refused.
    ///
    /// A client has one connector, and clients share no connections: so a connection of one
    /// connector never serves a request of another.
    ///
    /// ```
    /// use keepwarm::connect::Destination;
    /// use tokio::net::TcpStream;
    ///
    /// # fn main() -> keepwarm::Result<()> {
    /// // Every origin is reached through the port of a sidecar.
    /// let sidecar = tower::service_fn(|to: Destination| async move {
    ///     println!("connecting for {to}");
    ///     TcpStream::connect("127.0.0.1:15001").await
    /// });
    /// let client = keepwarm::Client::builder().connector(sidecar).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn connector<C>(mut self, connector: C) -> Self
    where
        C: Service<Destination> + Clone + Send + 'static,
        C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
    {
        self.transport.connector = Some(Connector::connector(connector));
        self
    }

    /// Sets the resolver that finds the addresses of a host. Go: `Dialer.Resolver`.
    ///
    /// Default: `None`, the platform's resolver (`getaddrinfo`), at each dial. The resolver is
    /// called once for each dial to a host that is a name, see [`connect`](crate::connect), never
    /// for a host that is an address, and no answer is kept between dials. The first 64 of its
    /// addresses are raced (RFC 8305): the families take turns, each address has a start of 250 ms
    /// over the next. The family that answered is first for the next ten minutes, so that a name
    /// such as `localhost`, whose service listens on one family only, costs one refused connect and
    /// not one a dial; [`close_idle`](Client::close_idle) forgets it. A port of 0 in an address stands for the port of the URL; any other port
    /// replaces it. [`connect_timeout`](ClientBuilder::connect_timeout) bounds it together with
    /// connecting, and its error is the cause of an error at
    /// [`Stage::Resolve`](crate::Stage::Resolve), as is a name without address.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use std::net::SocketAddr;
    ///
    /// use keepwarm::connect::Name;
    ///
    /// # fn main() -> keepwarm::Result<()> {
    /// let fixed = tower::service_fn(|name: Name| async move {
    ///     println!("looking up {name}");
    ///     Ok::<_, Infallible>([SocketAddr::from(([127, 0, 0, 1], 0))])
    /// });
    /// let client = keepwarm::Client::builder().resolver(fixed).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolver<R>(mut self, resolver: R) -> Self
    where
        R: Service<Name> + Clone + Send + 'static,
        R::Response: IntoIterator<Item = SocketAddr>,
        R::Error: Into<BoxError>,
        R::Future: Send,
    {
        self.transport.resolver = Some(Resolver::resolver(resolver));
        self
    }

    /// Sets the time for which the addresses of a name are used again by the dials of its origin.
    ///
    /// Default: 3 s. (Go: 0.) Zero has each dial look the name up. Dials that begin while a look-up is
    /// under way share its answer, whatever this is: a burst of a hundred dials asks the resolver
    /// once. A failure is for those alone who waited for it, and an answer of which no address
    /// connects is dropped, as is every answer by [`close_idle`](crate::Client::close_idle). The
    /// cost: for this time, dials go on to an address that the name has lost.
    pub fn dns_cache(mut self, keep: Duration) -> Self {
        self.settings.dns_cache = keep;
        self
    }

    /// Sets the interval at which the name of an origin is looked up again while it is used, so that
    /// connections follow the name: after a deploy, a failover, or a change of the number of servers.
    ///
    /// Default: 30 s. (Go: never.) `None` switches it off; zero is refused. An address is gone when
    /// three look-ups in a row lack it: idle connections to it close, and those in use close when they
    /// return, as [`CloseReason::AddressGone`](crate::CloseReason::AddressGone). A look-up that fails
    /// says nothing. Where no two answers agree, the name rotates through more addresses than one
    /// answer holds: nothing is closed then, and
    /// [`explain`](crate::Client::explain) says so. An origin whose host is an address, and one that
    /// is reached by a connector or a Unix socket, is never looked up. The cost: one look-up an origin
    /// and interval, and none while no request comes.
    pub fn dns_refresh(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.dns_refresh = interval.into();
        self
    }

    /// Sets whether connections are opened to the addresses of a name in turn.
    ///
    /// Default: false, to the first address that answers, in the order of the resolver. (Go: the
    /// same.) With `true` each dial begins with the next address, within the family that answers, so
    /// that the connections of one client reach all servers behind a name. The cost: a connection
    /// that is kept serves one server, and the load of each is the number of its connections.
    pub fn spread_addresses(mut self, spread: bool) -> Self {
        self.settings.spread_addresses = spread;
        self
    }

    /// Sets the address that connections are made from. Go: `Dialer.LocalAddr`.
    ///
    /// Default: `None`, the kernel's choice for each destination. Addresses of the other family are
    /// not tried; the unspecified address (`0.0.0.0`, `::`) leaves the choice to the kernel within
    /// its family. The port is always the kernel's, and on Linux it is taken when connecting
    /// (`IP_BIND_ADDRESS_NO_PORT`): so each destination has all the ephemeral ports, where in Go
    /// the destinations share them. With an address that this host does not have each dial fails,
    /// at [`Stage::Connect`](crate::Stage::Connect). A multicast or broadcast address is refused,
    /// and so is a [`connector`](ClientBuilder::connector) or a Unix socket beside it. Connections
    /// of a client with another address are never used, as clients share none.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.transport.local_address = address.into();
        self
    }

    /// Sets a Unix socket that every connection of this client goes to, for any URL.
    /// Go: a `Transport.DialContext` that dials "unix".
    ///
    /// Default: `None`, TCP. The URL still determines `Host` and the pool, and with `https` the
    /// name in the server's certificate, and redirects go to the same socket too;
    /// `http://localhost/path` will do. On Linux a path that begins with `@` or with a zero byte is
    /// an abstract name, as in Go; write `./@name` for a file. A path that is empty, too long (108
    /// bytes on Linux) or has a zero byte is refused. Where the server's accept queue is full,
    /// connecting to a Unix socket fails at once (`EAGAIN`): this client tries again, at most every
    /// 50 ms, until [`connect_timeout`](ClientBuilder::connect_timeout). Settings of TCP do not
    /// apply ([`tcp_keepalive`](ClientBuilder::tcp_keepalive)); a
    /// [`connector`](ClientBuilder::connector) or a [`resolver`](ClientBuilder::resolver) beside it
    /// is refused. To use a socket for some origins only, write a connector.
    ///
    /// ```no_run
    /// # async fn example() -> keepwarm::Result<()> {
    /// let docker = keepwarm::Client::builder().unix_socket("/var/run/docker.sock").build()?;
    /// println!("{}", docker.get("http://docker/version").send().await?.text().await?);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.transport.unix_socket = Some(path.into());
        self
    }

    /// Adds an [`Observer`] of the client's events.
    ///
    /// Default: none, which costs one branch for each event. Another call adds another observer.
    /// With observers each event costs a short lock that the whole client shares, and the time of
    /// the observers' own code.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.add(observer);
        self
    }

    /// Makes the client. No connection is opened and no task spawned before the first request.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](crate::Error::is_invalid), naming the setting, its value and what to set
    /// instead.
    pub fn build(self) -> Result<Client> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        self.settings.validate()?;
        #[cfg(feature = "tls")]
        self.tls.validate()?;
        self.transport.validate()?;
        #[cfg(unix)]
        if self.transport.unix_socket.is_some()
            && self.policy.as_ref().is_some_and(|policy| !policy.proxies.is_empty())
        {
            let words = "proxy is set beside unix_socket, which every connection goes to";
            return Err(Error::invalid(format!("{words}; set one of them")));
        }
        Ok(Client::from_builder(self, Clock::start()))
    }
}
