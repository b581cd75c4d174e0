//! Builder of a client: holds all of its settings, validates them together. The settings are in files
//! by subject: the pool, requests, the network, TLS.

mod network;
mod pool;
mod requests;
#[cfg(feature = "tls")]
mod tls;

use crate::client::Client;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::observe::observer::{Observer, Observers};
use crate::policy::ClientPolicy;
use crate::settings::Settings;
#[cfg(feature = "tls")]
use crate::wire::tls::TlsSettings;
use crate::wire::transport::Transport;

/// Settings for a [`Client`]; [`build`](ClientBuilder::build) checks them all.
///
/// Limits are numbers or [`Limit::NONE`](crate::Limit::NONE). A limit of zero means zero: where Go's field reads zero
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

    fn policy_mut(&mut self) -> &mut ClientPolicy {
        self.policy.get_or_insert_default()
    }

    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
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
