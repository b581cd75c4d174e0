//! Details of a load beside its sums: requests that missed an expectation, rows by request and by
//! address, single requests worth a look, the exchange of `--one`, the search for the capacity.
//!
//! Owns the types. Each is absent where the run was not asked for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Distribution;

/// An expectation of `--expect`, and the responses that missed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectationRecord {
    /// The expectation as it was typed.
    pub expectation: String,
    /// Complete responses that missed it first.
    pub misses: u64,
    /// The first miss, in words.
    pub example: Option<String>,
}

/// The requests of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Name: as given by `name=`, else method and path.
    pub name: String,
    /// Sum of the weights of the requests with this name.
    pub weight: u64,
    /// Requests with a complete response, with any status.
    pub completed: u64,
    /// Requests without a complete response.
    pub failed: u64,
    /// Completed requests whose status is 4xx or 5xx.
    pub http_errors: u64,
    /// Completed requests that missed an expectation.
    pub misses: u64,
    /// Completed requests by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Service times.
    pub latency_us: Distribution,
}

/// The connections and requests of one address of the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressRow {
    /// Address and port.
    pub address: String,
    /// Connections established.
    pub opened: u64,
    /// Attempts to connect that failed or timed out.
    pub connects_failed: u64,
    /// Requests with a complete response, with any status.
    pub completed: u64,
    /// Requests without a complete response.
    pub failed: u64,
    /// Completed requests whose status is 4xx or 5xx.
    pub http_errors: u64,
    /// Service times.
    pub latency_us: Distribution,
}

/// A single request that is worth a look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotableRequest {
    /// Time at which its first byte was written, since the start of the run; of a request that was
    /// never written, the time at which it failed.
    pub at_s: f64,
    /// Name of the request.
    pub request: String,
    /// Number of its connection in the run, from 1; 0 if none was opened.
    pub connection: u64,
    /// Number of the request on its connection: 1 on a new one, more on a reused one, 0 if no byte
    /// was written.
    pub nth: u64,
    /// Address of the server, if the target has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Service time; of a failed request, the time until it failed.
    pub service_us: u64,
    /// Response time; only in an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_us: Option<u64>,
    /// Status of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Class of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The failure in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// Field `traceparent` that the request had; only with `--trace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// The exchange of `load --one`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OneRecord {
    /// Head of the request as sent, line by line. The values of fields with credentials are `***`.
    pub request_head: Vec<String>,
    /// Content of the request, line by line, at most the first 16 KiB.
    pub request_content: Vec<String>,
    /// Head of the response as read, line by line, interim responses included; empty if none came.
    pub response_head: Vec<String>,
    /// Content of the response, line by line, decoded from chunks, at most the first 64 KiB.
    pub response_content: Vec<String>,
    /// Bytes of content of the response that were kept.
    pub content_kept: u64,
    /// True if the response had more content than was kept.
    pub content_cut: bool,
    /// Times by stage, in their order.
    pub stages: Vec<StageRecord>,
    /// Address and port of this side; `None` without a connection, or for a Unix socket.
    pub local: Option<String>,
    /// Address and port of the server.
    pub peer: Option<String>,
    /// Version and cipher of TLS.
    pub tls: Option<String>,
    /// The end of the connection, in words.
    pub closed: String,
}

/// A stage of an exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Name: `resolve`, `connect`, `tls`, `first_byte` or `last_byte`.
    pub stage: String,
    /// Time that the stage took.
    pub took_us: u64,
}

/// The search for the highest rate at which a condition holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CapacityRecord {
    /// Condition, as it was typed.
    pub condition: String,
    /// Least rate that was allowed.
    pub from: f64,
    /// Greatest rate that was allowed.
    pub to: f64,
    /// The capacity: the highest rate at which the condition held; `None` if it held at none.
    pub capacity: Option<f64>,
    /// Lower end of the interval in which the capacity lies.
    pub low: Option<f64>,
    /// Upper end of the interval; `None` if no rate was too high.
    pub high: Option<f64>,
    /// Reason for the end: `found`, `to`, `from`, `loader` or `interrupted`.
    pub ended_by: String,
    /// The result in words.
    pub sentence: String,
    /// Steps in the order in which they were run.
    pub steps: Vec<CapacityStep>,
}

/// A step of the search: an open loop at one rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityStep {
    /// Requests due in a second.
    pub rate: f64,
    /// Requests completed in a second.
    pub completed_per_second: f64,
    /// Length of the step.
    pub elapsed_s: f64,
    /// Median of the response times.
    pub p50_us: Option<u64>,
    /// 99th percentile of the response times.
    pub p99_us: Option<u64>,
    /// Interval of that percentile.
    pub p99_interval_us: Option<(u64, u64)>,
    /// Greatest response time.
    pub max_us: Option<u64>,
    /// Errors, and requests never sent, as a share of the requests that were due.
    pub errors_share: f64,
    /// Outcome: `held`, `failed`, `unclear` or `untrusted`.
    pub outcome: String,
    /// The value that decided, in words.
    pub why: String,
}
