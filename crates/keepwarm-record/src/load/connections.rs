//! The load's own account of its connections.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fold::Distribution;

/// Connections of a load, each in exactly one counter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Attempts to connect.
    pub attempts: u64,
    /// Attempts that failed, by errno.
    pub failed: BTreeMap<String, u64>,
    /// Attempts that the request's time limit ended.
    pub timed_out_connecting: u64,
    /// Attempts that the end of the run ended.
    pub abandoned_connecting: u64,
    /// Connections established.
    pub opened: u64,
    /// Requests on a connection that had carried a request before.
    pub reused: u64,
    /// Connections that the load closed first, by cause.
    pub closed_by_us: BTreeMap<String, u64>,
    /// Connections that the server's FIN closed first.
    pub peer_fin: u64,
    /// Connections that the server reset.
    pub peer_rst: u64,
    /// Connections closed because a request on them had timed out.
    pub timed_out: u64,
    /// Connections on which bytes came that belong to no response; each is in another counter, too.
    #[serde(default)]
    pub stray_bytes: u64,
    /// Connections open at the end of the run.
    pub still_open: u64,
    /// Requests carried by one connection.
    pub requests_per_connection: RequestsPerConnection,
    /// Streams of HTTP/2; absent with HTTP/1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<Streams>,
    /// Times from established to closed, of connections that ended within the run.
    pub lifetime_us: Distribution,
    /// True if all sums of the account hold.
    pub balanced: bool,
    /// The sum that does not hold.
    pub imbalance: Option<String>,
}

/// Streams of the connections of a load over HTTP/2. Each request written is a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// The most streams at once on one connection.
    pub at_once: RequestsPerConnection,
    /// The fewest streams at once that the server has allowed a connection; `None` if it has set no
    /// limit.
    pub limit: Option<u64>,
    /// Streams that the server refused before any processing (REFUSED_STREAM).
    pub refused: u64,
    /// Streams that the server reset with another code.
    pub reset: u64,
    /// Streams that the server had not processed when it announced the end of their connection.
    pub unprocessed: u64,
    /// Of these, requests that were sent again on another connection.
    pub sent_again: u64,
    /// Streams that the load reset.
    pub cancelled: u64,
    /// GOAWAY frames received.
    pub goaways: u64,
    /// Connections opened because the streams of the open ones ran out.
    pub opened_for_streams: u64,
}

/// Requests carried by one connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestsPerConnection {
    /// Fewest requests.
    pub min: Option<u64>,
    /// Median.
    pub p50: Option<u64>,
    /// Most requests.
    pub max: Option<u64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Greatest number of requests and number of connections of each bucket that has any,
    /// ascending; empty in a record that is older.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::fold::hdr::buckets"
    )]
    pub buckets: Vec<(u64, u64)>,
}

impl Connections {
    /// Sums the connections that the load closed first.
    #[must_use]
    pub fn closed_by_us_total(&self) -> u64 {
        self.closed_by_us.values().sum()
    }
}
