//! The client: a handle on shared pools, one for each origin.
//!
//! Owns the life of the pools: the last handle that is dropped shuts them down. Requests are made
//! in [`RequestBuilder`], and sent by `exchange::send`.

use std::sync::Arc;

use http::Method;

use crate::builder::ClientBuilder;
use crate::clock::Clock;
use crate::observe::event_queue::EventQueue;
use crate::observe::explain::explain;
use crate::observe::stats::{OriginStats, Stats};
use crate::observe::warnings;
use crate::origin_key::name_of;
use crate::pool::connection_limit::ConnectionLimit;
use crate::pool::idle_limit::IdleLimit;
use crate::pool::keeper::Keeper;
use crate::pool::origin::Shared;
use crate::pool::origins::Origins;
use crate::request::RequestBuilder;

/// An HTTP/1.1 client with a pool of connections for each origin.
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
        let ClientBuilder { settings, transport, observers, .. } = builder;
        let keeper = Arc::new(Keeper::new());
        let shared = Shared {
            idle_limit: IdleLimit::new(settings.max_idle, settings.pool.shares_places),
            connection_limit: ConnectionLimit::new(settings.max_connections),
            #[cfg(feature = "tls")]
            tls: crate::wire::tls::Tls::new(builder.tls),
            transport,
            events: EventQueue::new(observers),
            settings,
            clock,
            keeper: Arc::clone(&keeper),
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

    /// Makes a request with any method but CONNECT. `url` is absolute:
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
        let name = name_of(origin)?;
        let origins = self.owner.origins.all();
        let found = origins.iter().find(|candidate| **candidate.name() == *name)?;
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

    /// Returns the pools. A clone of them does not keep the client alive.
    pub(crate) fn origins(&self) -> &Arc<Origins> {
        &self.owner.origins
    }
}
