//! The client: a handle on shared pools, one for each origin.
//!
//! Owns the life of the pools: the last handle that is dropped shuts them down. Requests are made
//! in [`RequestBuilder`], and sent by `exchange::send`.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::builder::ClientBuilder;
use crate::clock::Clock;
use crate::error::Result;
use crate::exchange::warm::warm;
use crate::observe::event_queue::EventQueue;
use crate::observe::explain::explain;
use crate::observe::stats::{OriginStats, Stats};
use crate::observe::warnings;
use crate::origin_key::name_of;
use crate::pool::connection_limit::ConnectionLimit;
use crate::pool::idle_limit::IdleLimit;
use crate::pool::keeper::Keeper;
use crate::pool::origin::{Shared, Warming};
use crate::pool::origins::Origins;
use crate::request::{Request, RequestBuilder, parse};
use crate::response::Response;

/// An HTTP client with a pool of connections for each origin.
///
/// Make one and keep it: cloning is cheap, and clones share the pool. A client made for each
/// request has a pool for each request, so every request opens a connection and closes it again.
/// When the last clone is dropped, idle connections are closed, waiting requests fail, and
/// connections in use are closed as their exchanges end. A request under way does not count as a
/// clone; a call through the tower service does, since its caller may drop the service at once.
///
/// Use it inside a tokio runtime.
///
/// ```no_run
/// # async fn example() -> keepwarm::Result<()> {
/// let client = keepwarm::Client::new();
/// let response = client.get("http://127.0.0.1:8081/data").send().await?;
/// println!("{} on a connection that is {}", response.status(),
///     if response.connection().reused() { "reused" } else { "new" });
/// println!("{}", response.text().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    owner: Arc<Owner>,
}

/// Shuts the pools down when the last client that shares them is gone.
#[derive(Debug)]
struct Owner {
    origins: Arc<Origins>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.origins.shut_down();
        warnings::client_dropped(&self.origins.stats());
        self.origins.shared().keeper.dismiss();
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// Makes a client with the default settings, see [`ClientBuilder`].
    #[must_use]
    pub fn new() -> Self {
        Self::from_builder(ClientBuilder::new(), Clock::start())
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Makes a client of settings that have been validated.
    pub(crate) fn from_builder(builder: ClientBuilder, clock: Clock) -> Self {
        let ClientBuilder { settings, transport, observers, policy, .. } = builder;
        let keeper = Arc::new(Keeper::new());
        let shared = Shared {
            idle_limit: IdleLimit::new(settings.max_idle, settings.pool.shares_places),
            connection_limit: ConnectionLimit::new(settings.max_connections),
            #[cfg(feature = "tls")]
            tls: crate::wire::tls::Tls::new(builder.tls, &settings),
            transport,
            policy,
            events: EventQueue::new(observers),
            settings,
            clock,
            keeper: Arc::clone(&keeper),
            closing: Arc::default(),
            warming: Warming::default(),
        };
        let origins = Arc::new(Origins::new(Arc::new(shared)));
        keeper.serve(&origins);
        Self { owner: Arc::new(Owner { origins }) }
    }

    /// Makes a GET request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Makes a HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Makes a POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Makes a PUT request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Makes a PATCH request.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Makes a DELETE request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Makes an OPTIONS request.
    pub fn options(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::OPTIONS, url)
    }

    /// Sends a request that was built, as [`RequestBuilder::send`] does.
    pub fn execute(&self, request: Request) -> impl Future<Output = Result<Response>> + Send {
        request.sent_by(Arc::clone(self.origins())).send()
    }

    /// Makes a request with any method. CONNECT goes to the host of the URL, and asks for a tunnel to
    /// the host and port of the field `Host`, or else of the URL. `url` is absolute:
    /// `http://host[:port]/path?query`; an IPv6 address may have a zone (RFC 6874),
    /// `http://[fe80::1%25eth0]/`. Bytes that may not stand in the path and the query of a URI
    /// are percent-encoded, such as spaces, quotes and those beyond ASCII; a host beyond ASCII is
    /// converted by IDNA with the feature `idn`, and refused without it.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(Arc::clone(self.origins()), method, url.as_ref())
    }

    /// Returns the statistics of this client and its clones, by origin and in total.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.origins().stats()
    }

    /// Explains one origin's statistics in words: problems with their numbers, and the settings to
    /// change. `None` if no request was made to that origin.
    ///
    /// `origin` is a name as in [`Stats`], `http://host:port`, or any URL at that origin. The words
    /// are for people, and may change.
    ///
    /// Of idle connections that the server closed it says if the pattern is that of the server's
    /// idle timeout (closed after a common idle time, again and again) or that of a restart or
    /// deploy (many closed at once, and then none).
    ///
    /// ```no_run
    /// # fn example(client: keepwarm::Client) {
    /// if let Some(words) = client.explain("http://127.0.0.1:8081") {
    ///     println!("{words}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn explain(&self, origin: &str) -> Option<String> {
        let origins = self.owner.origins.all();
        let named = |name: &str| origins.iter().find(|candidate| **candidate.name() == *name);
        let found = named(origin).or_else(|| named(&name_of(origin)?))?;
        let snapshot = found.snapshot();
        let stats = OriginStats::new(found.name(), &snapshot);
        let settings = &self.origins().shared().settings;
        Some(explain(&stats, &snapshot.idle_closes, settings, &warnings::warnings()))
    }

    /// Dismisses every connection that is open now: idle ones are closed before this returns,
    /// connections in use when they return. Go: `Transport.CloseIdleConnections`.
    ///
    /// Meant for a change of addresses or of the network, after which open connections lead to the
    /// wrong place. Requests under way and waiting are served; connections opened afterwards, also
    /// by dials that are under way now, are kept. (Go closes returning connections only until the
    /// next request asks for one.) It costs a new connection for each one closed, once; called for
    /// each request it is churn. The closes are counted as
    /// [`CloseReason::CloseIdle`](crate::CloseReason::CloseIdle).
    ///
    /// ```
    /// let client = keepwarm::Client::new();
    /// client.close_idle();
    /// ```
    pub fn close_idle(&self) {
        self.origins().close_idle();
    }

    /// Opens connections to the origin of a URL ahead of the first request, until `connections` are
    /// free at once; idle ones count. Returns how many were: fewer only if a limit on connections
    /// or idle connections is lower, and 0 at once if none is kept (`keep_alive(false)`, an idle
    /// timeout of 0).
    ///
    /// For a start that must not be slow, and before a burst that is known to come. No request is
    /// sent, and the connections return to the pool unused, where the idle timeout counts from now
    /// on. `acquire_timeout`, `connect_timeout` and the client's `timeout` bound it as they bound a
    /// request; the error of the first dial that fails is returned, and connections that are open by
    /// then stay in the pool. A second call for the same origin waits for the first, and one for any
    /// origin where `max_connections` is set. Counted as [`warmed`](crate::PoolStats::warmed) in the
    /// statistics.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
    /// client.warm("https://backend.example/", 16).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn warm(&self, url: impl AsRef<str>, connections: usize) -> Result<usize> {
        let uri = parse(url.as_ref())?;
        warm(self.origins(), &uri, connections).await
    }

    /// Ends the client in order: requests that begin from now on are refused
    /// ([`is_shut_down`](crate::Error::is_shut_down)), those that wait or are in flight have time
    /// until `deadline` is over, and then all connections are closed. Go has
    /// no such end of a client.
    ///
    /// Returns as soon as no request is under way, with the number of those that still were at the
    /// end: 0 if all were served. Those that waited then are refused; an exchange under way goes on
    /// within its own timeouts, and its connection closes when it ends. A response whose body is
    /// not read to its end, nor dropped, counts as under way. It holds for all clones.
    ///
    /// ```no_run
    /// # async fn example(client: keepwarm::Client) {
    /// let unfinished = client.shutdown(std::time::Duration::from_secs(10)).await;
    /// if unfinished > 0 {
    ///     eprintln!("{unfinished} requests were not served in time");
    /// }
    /// # }
    /// ```
    pub async fn shutdown(&self, deadline: Duration) -> usize {
        let origins = self.origins();
        let closing = &origins.shared().closing;
        closing.request();
        let quiet = closing.quiet(|| origins.under_way() > 0);
        // Late or not, what is left is counted below.
        let _ = tokio::time::timeout(deadline, quiet).await;
        let left = origins.under_way();
        origins.shut_down();
        left
    }

    /// Returns the pools. A clone of them does not keep the client alive.
    pub(crate) fn origins(&self) -> &Arc<Origins> {
        &self.owner.origins
    }
}
