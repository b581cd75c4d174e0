//! The settings of a load.

use serde::{Deserialize, Serialize};

/// Settings of a load, as the plan resolved them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// URL of the target.
    pub url: String,
    /// Host of the URL.
    pub host: String,
    /// Port of the URL, or the default of its scheme.
    pub port: u16,
    /// Path and query of the URL.
    pub path: String,
    /// Request method.
    pub method: String,
    /// Number of requests asked for.
    pub requests: Option<u64>,
    /// Duration asked for.
    pub duration_s: Option<f64>,
    /// True if requests were due at instants of their own, whether a connection was free or not.
    pub open_loop: bool,
    /// Schedule of an open loop, as it was asked for.
    pub schedule: Option<Schedule>,
    /// Upper bound on requests of an open loop that wait for a free connection.
    pub backlog: u64,
    /// Connections; in an open loop, the most at once.
    pub concurrency: u64,
    /// Most requests at once on a connection of HTTP/2; absent with HTTP/1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u64>,
    /// Threads of the load.
    pub threads: u64,
    /// False if each request has a connection of its own.
    pub keep_alive: bool,
    /// Side that closes after a last response: `now`, `wait_peer` or `reset`.
    pub close_policy: String,
    /// Requests after which the load closes a connection.
    pub requests_per_connection: Option<u64>,
    /// Upper bound on connections dialed in a second.
    pub connect_rate: Option<f64>,
    /// Age at which the load closes a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime_s: Option<f64>,
    /// Time after which the name of the target was looked up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_ttl_s: Option<f64>,
    /// Addresses of the target, in the order in which they are tried.
    pub addresses: Vec<String>,
    /// Time limit of one request, connecting included.
    pub timeout_s: f64,
    /// Size of one request.
    pub request_bytes: u64,
    /// Part of a larger load that the run was, from 1, and the number of parts; `None` for a whole
    /// one. Requests, connections, backlog and connect rate are the part's, the schedule is the
    /// whole load's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<(u64, u64)>,
}

/// Schedule of an open loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Requests a second; with stages, the rate at which the first stage begins.
    pub rate: Option<f64>,
    /// Length of each stage in seconds, and the rate at its end.
    pub stages: Vec<(f64, f64)>,
    /// Seed of Poisson arrivals; `None` if arrivals are evenly spread.
    pub seed: Option<u64>,
}

impl Settings {
    /// Returns true if the load speaks TLS with its target.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.split(':').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }
}
