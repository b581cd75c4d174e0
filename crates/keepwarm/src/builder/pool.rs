//! Settings of the pool: numbers of connections and streams, and how long connections are kept.

use std::time::Duration;

use keepwarm_pool::Limit;

use super::ClientBuilder;
use crate::settings::Protocol;

impl ClientBuilder {
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
    /// One body has at most 6 MiB of it, so that a body that is not read holds no other up. Where
    /// bodies that are not read fill the whole window, all of the connection's responses wait until
    /// some of it is read. Go: 1 GiB.
    ///
    /// A body that comes in small pieces takes 256 bytes more for each. Where the pieces that are not
    /// read take four times the limit, the connection ends.
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
}
