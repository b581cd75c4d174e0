//! The numbers of a client: limits and timeouts, validated.
//!
//! Beneath all other modules. How streams are opened ([`Transport`]), TLS, and observers are
//! settings of the layers that use them; [`ClientBuilder`](crate::ClientBuilder) holds all of them.
//!
//! [`Transport`]: crate::wire::transport::Transport

use std::time::Duration;

use keepwarm_pool::{Limit, Sharing};

use crate::error::{Error, Result};

/// Go's `Dialer.Timeout` and `Dialer.KeepAlive` in `http.DefaultTransport`.
const GO_DIAL: Duration = Duration::from_secs(30);

/// Idle time before the first TCP keep-alive probe, and the interval between probes.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Unanswered probes after which the kernel ends a connection.
const KEEPALIVE_PROBES: u32 = 3;
/// Long enough for the dials of a burst and their retries, and well below any TTL.
const DNS_CACHE: Duration = Duration::from_secs(3);
/// The TTL that a cluster's DNS usually has (CoreDNS: 30 s).
const DNS_REFRESH: Duration = Duration::from_secs(30);
/// Linux: `TCP_KEEPCNT` where a program sets none (`net.ipv4.tcp_keepalive_probes`). Go's default.
const GO_KEEPALIVE_PROBES: u32 = 9;
/// Time for which sent bytes may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of responses that may lie unread on one HTTP/2 connection.
const MAX_UNREAD: u32 = 64 << 20;
/// The window that every HTTP/2 connection begins with (RFC 9113, 6.9.2).
const MIN_UNREAD: u32 = 65_535;
/// Retries in stock at the start.
const RETRY_BUDGET: u32 = 100;

/// Limits of the kernel (`include/net/tcp.h`): `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL`, in
/// seconds, and `MAX_TCP_KEEPCNT`. setsockopt(2) fails with EINVAL beyond them.
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
const MAX_KEEPALIVE_PROBES: u32 = 127;

/// Limits and timeouts of one client. Made by [`ClientBuilder`](crate::ClientBuilder).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) pool: keepwarm_pool::Settings,
    pub(crate) max_idle: Limit,
    /// Limit on all origins together. `pool.shares_places` says whether there is one.
    pub(crate) max_connections: Limit,
    pub(crate) acquire_timeout: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) dns_cache: Duration,
    pub(crate) dns_refresh: Option<Duration>,
    pub(crate) spread_addresses: bool,
    pub(crate) protocol: Protocol,
    pub(crate) max_unread: u32,
    pub(crate) tcp_keepalive: Option<Duration>,
    pub(crate) tcp_keepalive_probes: u32,
    pub(crate) tcp_user_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_redirects: u32,
    pub(crate) keep_alive: bool,
    pub(crate) retry_budget: Limit,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) response_header_timeout: Option<Duration>,
    pub(crate) expect_continue_timeout: Duration,
}

/// Versions of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/2 where TLS agrees on it (ALPN), HTTP/1.1 elsewhere.
    Negotiated,
    Http1,
    /// HTTP/2, without asking.
    Http2,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // The pool's own defaults: 90 s idle, and no limit on counts, so it shrinks by age.
            pool: keepwarm_pool::Settings {
                learns_idle_timeout: true,
                ..keepwarm_pool::Settings::default()
            },
            max_idle: Limit::NONE,
            max_connections: Limit::NONE,
            acquire_timeout: None,
            connect_timeout: GO_DIAL,
            dns_cache: DNS_CACHE,
            dns_refresh: Some(DNS_REFRESH),
            spread_addresses: false,
            protocol: Protocol::Negotiated,
            max_unread: MAX_UNREAD,
            tcp_keepalive: Some(KEEPALIVE),
            tcp_keepalive_probes: KEEPALIVE_PROBES,
            tcp_user_timeout: Some(USER_TIMEOUT),
            timeout: None,
            max_redirects: 10,
            keep_alive: true,
            retry_budget: Limit::at_most(RETRY_BUDGET),
            stall_timeout: None,
            response_header_timeout: None,
            expect_continue_timeout: Duration::from_secs(1),
        }
    }
}

impl Settings {
    /// Returns what is expected of connections to an origin before the first is open.
    pub(crate) const fn sharing_of(&self, by_tls: bool) -> Sharing {
        match (self.protocol, by_tls) {
            _ if !cfg!(feature = "http2") => Sharing::Never,
            (Protocol::Http2, _) => Sharing::Always,
            (Protocol::Negotiated, true) if self.keep_alive => Sharing::Unknown,
            _ => Sharing::Never,
        }
    }

    /// Returns true if HTTP/2 is offered in a TLS handshake.
    #[cfg(feature = "tls")]
    pub(crate) const fn offers_http2(&self) -> bool {
        cfg!(feature = "http2")
            && match self.protocol {
                Protocol::Negotiated => self.keep_alive,
                Protocol::Http1 => false,
                Protocol::Http2 => true,
            }
    }

    /// Returns the numbers of `http.DefaultTransport` (Go 1.27, `net/http/transport.go`).
    pub(crate) fn go_defaults() -> Self {
        let ours = Self::default();
        let pool = keepwarm_pool::Settings {
            max_idle: Limit::at_most(2),
            learns_idle_timeout: false,
            ..ours.pool
        };
        Self {
            pool,
            max_idle: Limit::at_most(100),
            dns_cache: Duration::ZERO,
            dns_refresh: None,
            tcp_keepalive: Some(GO_DIAL),
            tcp_keepalive_probes: GO_KEEPALIVE_PROBES,
            tcp_user_timeout: None,
            ..ours
        }
    }

    /// Rejects the first setting that cannot work. The error names its value and what to set
    /// instead.
    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |name: &str, why: &str| Err(Error::invalid(format!("{name} is 0: {why}")));
        if self.pool.max_connections == Limit::at_most(0) {
            return refuse(
                "max_connections_per_origin",
                "no request could ever be sent; set at least 1, or Limit::NONE for no limit",
            );
        }
        if self.max_connections == Limit::at_most(0) {
            return refuse(
                "max_connections",
                "no request could ever be sent; set at least 1, or Limit::NONE for no limit",
            );
        }
        if self.pool.max_exchanges == Limit::at_most(0) {
            return refuse(
                "max_requests_per_connection",
                "no connection could serve a request; set at least 1, or Limit::NONE for no limit",
            );
        }
        if self.acquire_timeout == Some(Duration::ZERO) {
            return refuse(
                "acquire_timeout",
                "every request that has to wait would fail; set None for no timeout, or \
                 max_waiters_per_origin(0) if no request may wait",
            );
        }
        if self.connect_timeout.is_zero() {
            return refuse(
                "connect_timeout",
                "every connection would fail; set Duration::MAX for no timeout",
            );
        }
        if self.pool.max_lifetime.is_zero() {
            return refuse(
                "max_lifetime",
                "no connection could serve a second request; set None for no limit, or \
                 keep_alive(false) if one request is what you want",
            );
        }
        if let Some(jitter) = self.pool.lifetime_jitter.filter(|jitter| !jitter.is_zero())
            && (self.pool.max_lifetime == Duration::MAX || jitter >= self.pool.max_lifetime)
        {
            return Err(Error::invalid(format!(
                "max_lifetime_jitter is {jitter:?}: it is taken off max_lifetime, which is not \
                 longer, or not set; set both, the jitter the shorter one"
            )));
        }
        if self.stall_timeout == Some(Duration::ZERO) {
            return refuse("stall_timeout", "every request would fail; set None for no timeout");
        }
        if self.timeout == Some(Duration::ZERO) {
            return refuse("timeout", "every request would fail; set None for no timeout");
        }
        if self.pool.max_streams == 0 {
            return refuse(
                "max_streams_per_connection",
                "no HTTP/2 connection could serve a request; set at least 1",
            );
        }
        if self.max_unread < MIN_UNREAD {
            return Err(Error::invalid(format!(
                "max_unread_per_connection is {}: HTTP/2 begins with a window of 65535 bytes, and \
                 cannot take it back; set at least that",
                self.max_unread
            )));
        }
        self.validate_tcp()?;
        if self.response_header_timeout == Some(Duration::ZERO) {
            return refuse(
                "response_header_timeout",
                "every request would fail; set None for no timeout",
            );
        }
        Ok(())
    }

    /// Rejects numbers that the kernel does not take: each dial would fail.
    fn validate_tcp(&self) -> Result<()> {
        let refuse = |name: &str, value: String, why: &str| {
            Err(Error::invalid(format!("{name} is {value}: {why}")))
        };
        if self.dns_refresh.is_some_and(|interval| interval.is_zero()) {
            return refuse(
                "dns_refresh",
                "0 s".to_owned(),
                "names would be looked up all the time; set an interval, or None to switch it off",
            );
        }
        match self.tcp_keepalive {
            Some(interval) if interval.as_secs() == 0 => refuse(
                "tcp_keepalive",
                format!("{interval:?}"),
                "the kernel counts whole seconds; set at least 1 s, or None to switch it off",
            ),
            Some(interval) if interval > MAX_KEEPALIVE => refuse(
                "tcp_keepalive",
                format!("{interval:?}"),
                "the kernel takes at most 32767 s; set less, or None to switch it off",
            ),
            _ if !(1..=MAX_KEEPALIVE_PROBES).contains(&self.tcp_keepalive_probes) => refuse(
                "tcp_keepalive_probes",
                self.tcp_keepalive_probes.to_string(),
                "the kernel takes 1 to 127; set a number between, or tcp_keepalive(None) to send \
                 no probes",
            ),
            _ => match self.tcp_user_timeout {
                Some(timeout) if timeout.as_millis() == 0 => refuse(
                    "tcp_user_timeout",
                    format!("{timeout:?}"),
                    "the kernel counts whole milliseconds; set at least 1 ms, or None for the \
                     kernel's own limit",
                ),
                _ => Ok(()),
            },
        }
    }
}
