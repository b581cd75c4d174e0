//! The record of a lab: `keepwarm.lab/2`.
//!
//! Owns the experiment's document: one run for each policy, made from the load's record and the
//! client's account. Plays nothing: the tool does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::load::{Distribution, HopFinding, HopRecord, LoadRecord};
use crate::numbers::{counted, share_of, thousands};

/// Name and version of the format.
pub const SCHEMA: &str = "keepwarm.lab/2";

/// Name of the version before, whose `failed` had the requests answered 4xx or 5xx, too. It is read,
/// and its loads are counted anew from their records.
pub const SCHEMA_1: &str = "keepwarm.lab/1";

/// An experiment: the same load on each policy in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabRecord {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Time that one call of the upstream could take, beyond which the front answered 504; `None`
    /// in a record that is older.
    #[serde(default)]
    pub upstream_timeout_s: Option<f64>,
    /// Runs in the order in which they were played.
    pub runs: Vec<LabRun>,
}

/// The run of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabRun {
    /// Name of the policy.
    pub policy: String,
    /// Load on the front service.
    pub load: LabLoad,
    /// Kernel's account of the upstream port.
    pub upstream: Upstream,
    /// Account of the front service's client.
    pub client: ClientAccount,
    /// Judgement on the upstream's connections.
    pub finding: HopFinding,
    /// Limits of the accounts that do not make them wrong.
    pub notes: Vec<String>,
    /// Contradictions in the measurement, and evidence that it lacks.
    pub doubts: Vec<String>,
}

/// Load on the front service. Its rate and its times are those of good answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabLoad {
    /// Requests with a complete response, with any status.
    pub completed: u64,
    /// Requests without a complete response.
    pub failed: u64,
    /// Requests with a complete response whose status is 4xx or 5xx, such as the front's 502 and
    /// 504. Part of `completed`.
    #[serde(default)]
    pub http_errors: u64,
    /// Requests a second that were answered with a 2xx or 3xx status.
    pub requests_per_second: f64,
    /// Service times of the requests that were answered with a 2xx status.
    pub latency_us: LabLatency,
    /// Completed requests by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// The whole run, as `keepwarm load` writes it.
    pub record: LoadRecord,
}

/// Service times. A point is `None` where there are too few samples for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabLatency {
    /// Median.
    pub p50: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    pub p999: Option<u64>,
    /// Greatest time.
    pub max: Option<u64>,
    /// Mean.
    pub mean: Option<f64>,
}

/// Kernel's account of the upstream port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Connections opened.
    pub opened: u64,
    /// Connections that the client's FIN closed first.
    pub closed_by_client: u64,
    /// Connections that the server's FIN closed first.
    pub closed_by_server: u64,
    /// Connections that either side reset.
    pub reset: u64,
    /// Connections whose FINs crossed on the way.
    pub closed_at_once: u64,
    /// Connections that ended in a way that the kernel does not say.
    pub unclassified: u64,
    /// Mean number of requests on a connection.
    pub requests_per_connection: Option<f64>,
    /// TIME_WAITs that the run left, on both sides.
    pub time_wait: u64,
    /// TIME_WAITs that the run left on the client's side.
    pub time_wait_client: u64,
    /// TIME_WAITs that the run left on the server's side.
    pub time_wait_server: u64,
    /// Connections open after the run.
    pub established: u64,
    /// Local ports that one destination can have; `None` if not known.
    pub ports: Option<u32>,
    /// Share of these ports that the client's side holds after the run.
    pub port_share: Option<f64>,
    /// Socket events that the kernel dropped.
    pub lost_events: u64,
    /// False if connections were still closing when the account was taken.
    pub settled: bool,
}

/// Account of the front service's client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientAccount {
    /// Connections established.
    pub opened: u64,
    /// Requests on a connection that had carried a request before.
    pub reused: u64,
    /// Connections open after the run.
    pub open: u64,
    /// Connections closed, by reason and side, the most frequent first.
    pub closed: Vec<ClosedCount>,
}

/// Connections closed for one reason by one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedCount {
    /// Reason, as the client names it.
    pub reason: String,
    /// Side that closed: `client` or `server`.
    pub closer: String,
    /// Connections.
    pub count: u64,
}

impl LabRecord {
    /// Builds the record of an experiment.
    #[must_use]
    pub fn new(upstream_timeout_s: f64, runs: Vec<LabRun>) -> Self {
        let upstream_timeout_s = Some(upstream_timeout_s);
        Self { schema: SCHEMA.to_owned(), upstream_timeout_s, runs }
    }

    /// Counts each load anew from its record: a file may be older, or edited.
    #[must_use]
    pub fn recounted(mut self) -> Self {
        SCHEMA.clone_into(&mut self.schema);
        for run in &mut self.runs {
            run.load = LabLoad::of(run.load.record.clone());
        }
        self
    }

    /// Says why requests of a run are errors: the answers of the front service, and the flag that
    /// decides about them. `None` if there are no errors.
    #[must_use]
    pub fn cause_of_errors(&self, run: &LabRun) -> Option<String> {
        let record = &run.load.record;
        let errors = record.errors();
        if errors == 0 {
            return None;
        }
        let mut causes = Vec::new();
        for (status, count) in record.statuses.iter().filter(|(status, _)| **status >= 400) {
            let count = thousands(*count);
            causes.push(match status {
                502 => format!("{count} answered 502: the front's call of the data service failed"),
                504 => {
                    let limit = self
                        .upstream_timeout_s
                        .map_or_else(String::new, |seconds| format!(", {} ms", seconds * 1_000.0));
                    format!(
                        "{count} answered 504: the front's call of the data service took longer \
                         than it may (--upstream-timeout{limit})"
                    )
                }
                status => format!("{count} answered {status}"),
            });
        }
        for error in &record.errors {
            causes.push(format!("{} failed: {}", thousands(error.count), error.example));
        }
        let all = record.ended();
        Some(format!(
            "{} of {} are errors: {}",
            share_of(errors, all),
            counted(all, "request"),
            causes.join("; ")
        ))
    }
}

impl LabRun {
    /// Builds a run from the load's record, the upstream's hop and the client's account.
    #[must_use]
    pub fn of(policy: &str, record: LoadRecord, hop: &HopRecord, client: ClientAccount) -> Self {
        Self {
            policy: policy.to_owned(),
            upstream: Upstream::of(hop),
            finding: hop.finding.clone(),
            notes: hop.notes(),
            doubts: doubts(&record, hop, &client),
            load: LabLoad::of(record),
            client,
        }
    }
}

/// Contradictions in the measurement, and evidence that it lacks.
fn doubts(record: &LoadRecord, hop: &HopRecord, client: &ClientAccount) -> Vec<String> {
    let mut doubts = Vec::new();
    doubts.extend(record.connections.imbalance.clone());
    doubts.extend(hop.doubts());
    if hop.opened != client.opened {
        doubts.push(format!(
            "the kernel counted {} connections opened, and the client {}",
            thousands(hop.opened),
            thousands(client.opened)
        ));
    }
    doubts
}

impl LabRun {
    /// Returns true if more than half of the requests are errors: the policy was not measured.
    #[must_use]
    pub fn means_nothing(&self) -> bool {
        self.load.record.error_share().is_some_and(|share| share > 0.5)
    }
}

impl LabLoad {
    fn of(record: LoadRecord) -> Self {
        let good = record.answered_well();
        let rate = if record.elapsed_s > 0.0 { good as f64 / record.elapsed_s } else { 0.0 };
        let none = Distribution::default();
        let times = match record.latency_us_by_class.get("2xx") {
            Some(times) => times,
            // One class: its times are all there are.
            None if record.statuses.keys().all(|status| status / 100 == 2) => &record.latency_us,
            None => &none,
        };
        Self {
            completed: record.requests.completed,
            failed: record.requests.failed,
            http_errors: record.http_errors(),
            requests_per_second: rate,
            latency_us: LabLatency::of(times),
            statuses: record.statuses.clone(),
            record,
        }
    }
}

impl LabLatency {
    fn of(times: &Distribution) -> Self {
        let Distribution { p50, p90, p99, p999, max, mean, .. } = *times;
        Self { p50, p90, p99, p999, max, mean }
    }
}

impl Upstream {
    fn of(hop: &HopRecord) -> Self {
        let waits = hop.time_wait.entered;
        let held = hop.established.client + waits.client;
        Self {
            opened: hop.opened,
            closed_by_client: hop.closed.client_fin,
            closed_by_server: hop.closed.server_fin,
            reset: hop.closed.reset(),
            closed_at_once: hop.closed.crossed_fin,
            unclassified: hop.closed.unclassified,
            requests_per_connection: hop.requests.mean,
            time_wait: waits.sum(),
            time_wait_client: waits.client,
            time_wait_server: waits.server,
            established: hop.established.client,
            ports: hop.ports.range,
            port_share: hop.ports.range.map(|range| held as f64 / f64::from(range)),
            lost_events: hop.lost_events,
            settled: hop.settled,
        }
    }
}
