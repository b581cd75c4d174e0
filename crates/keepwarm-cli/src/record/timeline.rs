//! The run slice by slice, as it is kept.

use std::collections::BTreeMap;

use keepwarm_load::{CloseCause, Count, ErrorClass, Sketch, Slice, Timeline};
use serde::{Deserialize, Serialize};

/// Slices of equal length from the start of the run; the last one may be shorter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimelineRecord {
    pub(crate) width_s: f64,
    pub(crate) slices: Vec<SliceRecord>,
}

/// What happened in one slice. Names that are not there are zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SliceRecord {
    /// By the names of the ledger.
    pub(crate) counts: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) closed_by_us: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) errors: BTreeMap<String, u64>,
    /// By kind: `2xx`.
    pub(crate) statuses: BTreeMap<String, u64>,
    /// Connections open at its end.
    pub(crate) open: u64,
    /// Service times.
    pub(crate) latency_us: Sketched,
    /// Response times of the same requests; only of an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_us: Option<Sketched>,
    pub(crate) loader_cpu_s: f64,
    pub(crate) busiest_thread_s: f64,
}

/// Times of one slice, to within 3.2 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sketched {
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) max: Option<u64>,
    /// Greatest value and number of samples of each bucket that has any, ascending.
    pub(crate) buckets: Vec<(u64, u64)>,
}

impl TimelineRecord {
    pub(super) fn of(timeline: &Timeline) -> Self {
        let slices = timeline.slices().iter().zip(timeline.open_connections());
        Self {
            width_s: timeline.width().as_secs_f64(),
            slices: slices.map(|(slice, open)| SliceRecord::of(slice, open)).collect(),
        }
    }
}

impl TimelineRecord {
    /// The service times of each slice.
    pub(super) fn latencies(&self) -> Vec<&[(u64, u64)]> {
        self.slices.iter().map(|slice| &slice.latency_us.buckets[..]).collect()
    }

    /// The response times of each slice.
    pub(super) fn responses(&self) -> Vec<&[(u64, u64)]> {
        let mut responses: Vec<&[(u64, u64)]> = Vec::with_capacity(self.slices.len());
        for slice in &self.slices {
            responses.push(slice.response_us.as_ref().map_or(&[], |times| &times.buckets));
        }
        responses
    }
}

impl SliceRecord {
    fn of(slice: &Slice, open: u64) -> Self {
        let kinds = (0_u8..10).map(|digit| (format!("{digit}xx"), slice.statuses(digit)));
        Self {
            counts: named(Count::ALL.map(|count| (count.as_str(), slice.count(count)))),
            closed_by_us: named(
                CloseCause::ALL.map(|cause| (cause.as_str(), slice.closed_by_us(cause))),
            ),
            errors: named(ErrorClass::ALL.map(|class| (class.as_str(), slice.errors(class)))),
            statuses: kinds.filter(|(_, count)| *count > 0).collect(),
            open,
            latency_us: Sketched::of(&slice.latency),
            response_us: (slice.response.count() > 0).then(|| Sketched::of(&slice.response)),
            loader_cpu_s: slice.cpu_time.as_secs_f64(),
            busiest_thread_s: slice.busiest_thread.as_secs_f64(),
        }
    }
}

impl Sketched {
    fn of(sketch: &Sketch) -> Self {
        Self {
            p50: sketch.quantile(0.5),
            p99: sketch.quantile(0.99),
            max: sketch.max(),
            buckets: sketch.buckets().collect(),
        }
    }
}

fn named<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let counted = counts.into_iter().filter(|(_, count)| *count > 0);
    counted.map(|(name, count)| (name.to_owned(), count)).collect()
}
