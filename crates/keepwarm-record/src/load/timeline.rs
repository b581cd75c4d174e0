//! The course of a load, slice by slice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Slices of equal length from the start of the run; the last one may be shorter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineRecord {
    /// Length of a slice.
    pub width_s: f64,
    /// Slices in the order of time.
    pub slices: Vec<SliceRecord>,
}

/// Events of one slice. A name that is absent from a map counts zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceRecord {
    /// Counts by the names of the account, such as `completed` and `opened`.
    pub counts: BTreeMap<String, u64>,
    /// Connections that the load closed first, by cause.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closed_by_us: BTreeMap<String, u64>,
    /// Failed requests by class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Completed requests by kind of status, such as `2xx`.
    pub statuses: BTreeMap<String, u64>,
    /// Connections open at the end of the slice.
    pub open: u64,
    /// Service times.
    pub latency_us: Sketched,
    /// Response times of the same requests; only in an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_us: Option<Sketched>,
    /// Processor time of all threads of the load.
    pub loader_cpu_s: f64,
    /// Processor time of the busiest thread of the load.
    pub busiest_thread_s: f64,
    /// Workers of a fleet that were lost by the end of the slice: the load is smaller than declared.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_workers: u64,
}

/// Returns true for a count that a record leaves out.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Times of one slice, to within 3.2 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sketched {
    /// Median.
    pub p50: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// Greatest time.
    pub max: Option<u64>,
    /// Greatest value and number of samples of each bucket that has any, ascending.
    #[serde(deserialize_with = "crate::fold::hdr::buckets")]
    pub buckets: Vec<(u64, u64)>,
}

impl TimelineRecord {
    /// Returns the service times of each slice.
    #[must_use]
    pub fn latencies(&self) -> Vec<&[(u64, u64)]> {
        self.slices.iter().map(|slice| &slice.latency_us.buckets[..]).collect()
    }

    /// Returns the response times of each slice.
    #[must_use]
    pub fn responses(&self) -> Vec<&[(u64, u64)]> {
        let mut responses: Vec<&[(u64, u64)]> = Vec::with_capacity(self.slices.len());
        for slice in &self.slices {
            responses.push(slice.response_us.as_ref().map_or(&[], |times| &times.buckets));
        }
        responses
    }
}
