//! The client: a handle on shared pools, one for each origin.

use std::sync::Arc;

use http::Method;

use crate::builder::ClientBuilder;
use crate::clock::Clock;
use crate::observe::event_queue::Outbox;
use crate::observe::explain::explain;
use crate::observe::stats::{OriginStats, Stats};
use crate::observe::warnings;
use crate::pool::connection_limit::Total;
use crate::pool::idle_limit::IdleBudget;
use crate::pool::keeper::Keeper;
use crate::pool::origin::Shared;
use crate::pool::origins::Origins;
use crate::request::RequestBuilder;
use crate::settings::Settings;

/// An HTTP/1.1 client with a pool of connections for each origin.
///
/// Make one and keep it: cloning is cheap, and clones share the pool. A client made for each
/// request has a pool for each request, so every request opens a connection and closes it again.
/// When the last clone is dropped, idle connections are closed, waiting requests fail, and
/// connections in use are closed as their exchanges end. A request under way is no clone; only a
/// call through the tower service is, since its callers may drop the service at once.
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
    /// A client with the default settings, see [`ClientBuilder`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_settings(Settings::default())
    }

    /// Settings for a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(crate) fn with_settings(settings: Settings) -> Self {
        Self::with_clock(settings, Clock::start())
    }

    pub(crate) fn with_clock(settings: Settings, clock: Clock) -> Self {
        let keeper = Arc::new(Keeper::new());
        let shared = Shared {
            budget: IdleBudget::new(settings.max_idle, settings.pool.shares_places),
            total: Total::new(settings.max_connections),
            #[cfg(feature = "tls")]
            tls: crate::wire::tls::Tls::new(settings.tls.clone()),
            outbox: Outbox::new(settings.observers.clone()),
            settings,
            clock,
            keeper: Arc::clone(&keeper),
        };
        let origins = Arc::new(Origins::new(Arc::new(shared)));
        keeper.serve(&origins);
        Self { owner: Arc::new(Owner { origins }) }
    }

    /// A GET request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A request with any method but CONNECT. `url` is absolute: `http://host[:port]/path?query`.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(Arc::clone(self.origins()), method, url.as_ref())
    }

    /// What this client and its clones have done, by origin and in total.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.origins().stats()
    }

    /// What this client did at one origin, in words: what is wrong, with its numbers, and what to
    /// set. `None` if it never spoke to that origin.
    ///
    /// `origin` is a name as in [`Stats`]: `http://host:port`, host in lower case, port written.
    /// The words are for people, and may change.
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
        let found = origins.iter().find(|candidate| &**candidate.name() == origin)?;
        let stats = OriginStats::new(found, &found.snapshot());
        Some(explain(&stats, &self.origins().shared().settings, &warnings::warnings()))
    }

    /// Dismisses every connection that is open now: those that are idle are closed before this
    /// returns, those in use when they come back. Go: `Transport.CloseIdleConnections`.
    ///
    /// For when what is connected to is not what should be any more: an address has changed, or a
    /// network. Requests under way and waiting are served; connections opened afterwards, also by
    /// dials that are under way now, are kept. (Go closes connections in use only until somebody
    /// asks for the next one.) It costs a new connection for each one closed, once; called for each
    /// request it is churn. They are counted as
    /// [`CloseReason::CloseIdle`](crate::CloseReason::CloseIdle).
    ///
    /// ```
    /// let client = keepwarm::Client::new();
    /// client.close_idle();
    /// ```
    pub fn close_idle(&self) {
        self.origins().close_idle();
    }

    /// The pools, without a share in keeping the client alive.
    pub(crate) fn origins(&self) -> &Arc<Origins> {
        &self.owner.origins
    }
}
