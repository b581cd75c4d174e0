//! Building a client.

use std::time::Duration;

use keepwarm_pool::Limit;

use crate::client::Client;
use crate::error::Result;
use crate::settings::Settings;

/// Settings for a [`Client`]; [`build`](ClientBuilder::build) checks them all.
///
/// Limits are numbers or [`Limit::NONE`]. A limit of zero means zero: where Go's field reads zero as
/// "no limit" or as a default, the documentation of the setting says so.
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
    settings: Settings,
}

impl ClientBuilder {
    /// The defaults of this library: no limit on counts, 90 s idle timeout, 30 s connect timeout,
    /// 30 s TCP keep-alive, no total timeout, 10 redirects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exactly the numbers of Go's `http.DefaultTransport`: `MaxIdleConns` 100,
    /// `MaxIdleConnsPerHost` 2 (`DefaultMaxIdleConnsPerHost`), `MaxConnsPerHost` unlimited,
    /// `IdleConnTimeout` 90 s, dial timeout and TCP keep-alive 30 s, no `Client.Timeout`.
    ///
    /// For comparison and for migration. With more than two requests at once to one origin these
    /// numbers close healthy connections; that is what this library is about.
    pub fn go_defaults() -> Self {
        Self { settings: Settings::go_defaults() }
    }

    /// Connections to one origin that may be idle at once; one that comes back beyond it is closed.
    /// Go: `Transport.MaxIdleConnsPerHost`.
    ///
    /// Default: no limit, so that a healthy connection is closed by age and never by count; the
    /// cost is at most as many idle connections as there were simultaneous requests within the idle
    /// timeout. Zero keeps none: each exchange opens a connection, unless somebody waits for the
    /// one before. (In Go zero means 2, and a negative number switches keep-alives off.)
    pub fn max_idle_per_origin(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.pool.max_idle = limit.into();
        self
    }

    /// Connections to all origins together that may be idle at once; beyond it the one that has
    /// been idle the longest is closed, whatever its origin. Go: `Transport.MaxIdleConns`.
    ///
    /// Default: no limit. Zero keeps none. (In Go zero means no limit.) It is enforced in the
    /// background, so the limit may be exceeded for a moment.
    pub fn max_idle(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.max_idle = limit.into();
        self
    }

    /// Connections to one origin that may exist at once: being dialled, in use and idle together.
    /// Requests beyond it wait, first come first served. Go: `Transport.MaxConnsPerHost`.
    ///
    /// Default: no limit. Zero is refused. (In Go zero means no limit.)
    pub fn max_connections_per_origin(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.pool.max_connections = limit.into();
        self
    }

    /// Requests to one origin that may wait at once beyond those a connection is being dialled for.
    /// The next one fails at once with
    /// [`is_too_many_waiters`](crate::Error::is_too_many_waiters). Go has no such limit.
    ///
    /// Default: no limit; the cost is one small allocation for each waiting request, and whatever
    /// the request itself holds. Zero lets nobody wait for a connection in use.
    pub fn max_waiters_per_origin(mut self, limit: impl Into<Limit>) -> Self {
        self.settings.pool.max_waiters = limit.into();
        self
    }

    /// How long a connection may be idle before it is closed. Go: `Transport.IdleConnTimeout`.
    ///
    /// Default: 90 s. Zero closes a connection as soon as nobody waits for it; [`Duration::MAX`]
    /// keeps it for ever. (In Go zero keeps it for ever.) To avoid a race with the server, stay
    /// below the server's own keep-alive timeout.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pool.idle_timeout = timeout;
        self
    }

    /// How long resolving, connecting and starting a connection may take together.
    /// Go: `Dialer.Timeout`.
    ///
    /// Default: 30 s. Zero is refused; [`Duration::MAX`] means no limit but the kernel's.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Idle time before TCP keep-alive probes are sent, and the interval between them.
    /// Go: `Dialer.KeepAlive`.
    ///
    /// Default: 30 s. `None` switches probes off; less than a second is refused.
    pub fn tcp_keepalive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.tcp_keepalive = interval.into();
        self
    }

    /// The time a request may take in all: waiting, connecting, redirects, and reading the body to
    /// its end. Go: `Client.Timeout`. A request can set its own.
    ///
    /// Default: `None`, no limit. Zero is refused. (In Go zero means no limit.)
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeout = timeout.into();
        self
    }

    /// Redirects that a request may follow. Go: `Client.CheckRedirect`, whose default is 10 too.
    ///
    /// Zero returns the first redirect as the response. The tower service never follows any.
    pub fn max_redirects(mut self, limit: u32) -> Self {
        self.settings.max_redirects = limit;
        self
    }

    /// How long the head of a response may take, from the moment the whole request has been given to
    /// the kernel, its body included. Go: `Transport.ResponseHeaderTimeout`. The body of the response
    /// may take longer. It starts anew for each attempt and each redirect; then the connection is
    /// closed, and the error is
    /// [`is_response_header_timeout`](crate::Error::is_response_header_timeout).
    ///
    /// Default: `None`, no limit. Zero is refused. (In Go zero means no limit.)
    pub fn response_header_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.response_header_timeout = timeout.into();
        self
    }

    /// Makes the client. Nothing is opened and nothing spawned before the first request.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](crate::Error::is_invalid), naming the setting, its value and the way out.
    pub fn build(self) -> Result<Client> {
        self.settings.validate().map(Client::with_settings)
    }
}
