//! The record of a load: `keepwarm.load/1`.
//!
//! Owns the types, and what can be said of one record alone: the verdict on it, its facts for
//! assertions, whether the target could be reached, and the merge of several records. Does not
//! measure: the tool fills the record.

mod answers;
mod balance;
mod connections;
mod detail;
mod facts;
mod hop;
mod merge;
mod settings;
mod timeline;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::assertion::{self, Assertion, AssertionRecord};
pub use crate::fold::Distribution;
use crate::machine::Machine;

pub use answers::Answers;
pub use connections::{Connections, RequestsPerConnection, Streams};
pub use detail::{
    AddressRow, CapacityRecord, CapacityStep, ExpectationRecord, NotableRequest, OneRecord,
    RequestRow, StageRecord,
};
pub use facts::fact;
pub use hop::{
    DrainRecord, Forecast, HopCloses, HopFinding, HopRecord, HopRequests, HopSample, PerSide,
    PortUse, SideFinding, Sides, TimeWaits,
};
pub use merge::{FleetRecord, LostWorker, MergeError, Merged, Merger, Part, merge};
pub use settings::{Schedule, Settings};
pub use timeline::{Sketched, SliceRecord, TimelineRecord};
pub use verdict::{Trust, Verdict};

/// Name and version of the format.
pub const SCHEMA: &str = "keepwarm.load/1";

/// Classes of failed requests whose response was still missing when their time was over.
const WITHOUT_ANSWER: [&str; 3] = ["connect_timeout", "timeout", "unanswered"];

/// A load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Start of the run, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Command line, with `***` in place of credentials. Empty in a record that is older.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Labels of `--label`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Settings of the run.
    pub settings: Settings,
    /// Machine of the load.
    pub machine: Machine,
    /// Reason why the run ended.
    pub stopped: Stopped,
    /// Time until the last request completed or failed, and at least the duration asked for.
    /// Excludes the wait for requests that were never answered.
    pub elapsed_s: f64,
    /// Completed requests a second, over `elapsed_s`.
    pub requests_per_second: f64,
    /// Requests by outcome.
    pub requests: Requests,
    /// Service times: first byte of the request written to last byte of the response.
    pub latency_us: Distribution,
    /// Service times by kind of status, such as `2xx`; only if there are several kinds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latency_us_by_class: BTreeMap<String, Distribution>,
    /// Response times of an open loop: instant the request was due to last byte of the response.
    pub response_us: Distribution,
    /// Send lag of an open loop: instant the request was due to its first byte written.
    pub send_lag_us: Distribution,
    /// Times from connect(2) to established.
    pub connect_us: Distribution,
    /// Times from established to the end of the TLS handshake.
    pub handshake_us: Distribution,
    /// TLS handshakes that resumed an earlier session.
    pub handshakes_resumed: u64,
    /// Completed requests by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Completed requests whose status is 4xx or 5xx; `None` in a record that is older than this
    /// count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_errors: Option<u64>,
    /// Completed requests that missed an expectation; `None` if there were no expectations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misses: Option<u64>,
    /// Expectations of `--expect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<ExpectationRecord>,
    /// Requests by name; only if a file of requests was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_request: Vec<RequestRow>,
    /// Connections and requests by address of the target; only if there were several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_address: Vec<AddressRow>,
    /// The requests with the longest service times, the longest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slowest: Vec<NotableRequest>,
    /// The first requests that failed, in the order of time, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_failures: Vec<NotableRequest>,
    /// The exchange of `--one`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one: Option<OneRecord>,
    /// Search for the capacity, whose last step that held is this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityRecord>,
    /// Condition of `--abort-if` that ended the run, and its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
    /// Failed requests by class and errno.
    pub errors: Vec<ErrorRecord>,
    /// The load's account of its connections.
    pub connections: Connections,
    /// Ports that `--watch` watched.
    pub hops: Vec<HopRecord>,
    /// Bytes on the connections.
    pub bytes: Bytes,
    /// `Server` field of the first response that had one.
    pub server: Option<String>,
    /// Content length of the first completed response.
    pub document_length: Option<u64>,
    /// `Location` field of the first completed response, if that was a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Resources that the load itself used.
    pub loader: Loader,
    /// Judgement on the record's own numbers.
    pub verdict: Verdict,
    /// Assertions and their outcomes.
    pub assertions: Vec<AssertionRecord>,
    /// Course of the run, slice by slice.
    pub timeline: TimelineRecord,
    /// Parts of a merged record; `None` in the record of one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<Merged>,
}

/// Reason why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All requests were sent, or the duration was over.
    Finished,
    /// The target could not be reached.
    Unreachable,
    /// A signal ended the run early.
    Cancelled,
    /// A condition of `--abort-if` ended the run early.
    Aborted,
}

/// Requests by outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Requests that were due.
    pub scheduled: u64,
    /// Requests with a complete response, with any status.
    pub completed: u64,
    /// Requests without a complete response, those in flight at the end included.
    pub failed: u64,
    /// Requests that were never begun, because the run, or room in the backlog, was over.
    pub unsent: u64,
}

/// Failed requests of one class and errno.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// Class: a word of [`ERROR_CLASSES`](assertion::ERROR_CLASSES).
    pub class: String,
    /// Error number of the operating system, such as `ECONNREFUSED`.
    pub errno: Option<String>,
    /// Failed requests.
    pub count: u64,
    /// Time of the first failure since the start of the run.
    pub first_s: f64,
    /// Time of the last failure since the start of the run.
    pub last_s: f64,
    /// Message of the first failure.
    pub example: String,
    /// Usual cause of the class, and the remedy.
    pub hint: Option<String>,
}

/// Bytes on the connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bytes {
    /// Bytes read, heads included.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Content of completed responses.
    pub content: u64,
}

/// Resources that the load itself used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loader {
    /// Threads of the load.
    pub threads: u64,
    /// Processor time of all threads.
    pub cpu_s: f64,
    /// Processor time as a share of the time that the threads ran; `None` if no time passed.
    pub cpu_share: Option<f64>,
    /// Processor time of the busiest thread as a share of its own time.
    pub busiest_share: Option<f64>,
    /// Greatest share of its time that a thread was ready to run and had no core; `None` where the
    /// kernel does not say.
    pub waited_share: Option<f64>,
    /// Wake-ups of all threads.
    pub wakeups: u64,
    /// Events that these wake-ups brought.
    pub events: u64,
    /// Times from a wake-up to the end of the work that it brought.
    pub turns_us: Distribution,
    /// Times, in an open loop, from the instant a request was due until a thread noticed it.
    pub lag_us: Distribution,
    /// Times from each heartbeat of a thread until the thread noticed it: a delay that the load
    /// adds to times, and that no server causes. Empty in a record that is older.
    #[serde(default, skip_serializing_if = "Distribution::is_empty")]
    pub lateness_us: Distribution,
}

impl LoadRecord {
    /// Adds the hops and judges the record again, because evidence lost at a hop counts.
    #[must_use]
    pub fn with_hops(mut self, hops: Vec<HopRecord>) -> Self {
        self.hops = hops;
        self.verdict = Verdict::of(&self);
        self
    }

    /// Judges `assertions` by this record, and keeps the outcomes in it.
    pub fn judge(&mut self, assertions: &[Assertion]) {
        self.assertions = assertion::judge(assertions, |name| fact(self, name));
    }

    /// Returns true if connections were tried and none was opened.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let connections = &self.connections;
        let mut failed =
            connections.failed.values().sum::<u64>() + connections.timed_out_connecting;
        if self.stopped == Stopped::Finished {
            // An abandoned attempt had the whole run and its grace.
            failed += connections.abandoned_connecting;
        }
        connections.opened == 0 && failed > 0
    }

    /// Counts the failed requests whose times would have been among the longest: no answer came in
    /// time, or none before the run was over.
    #[must_use]
    pub fn without_answer(&self) -> u64 {
        let slow = |error: &&ErrorRecord| WITHOUT_ANSWER.contains(&error.class.as_str());
        self.errors.iter().filter(slow).map(|error| error.count).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The record of a run of 100 requests on 4 connections.
    const PLAIN: &str = include_str!("../../records/load.json");

    /// A run of 100 requests on 4 connections.
    pub(crate) fn a_run() -> LoadRecord {
        serde_json::from_str(PLAIN).expect("a record of this schema")
    }

    pub(super) fn an_error(class: &str, count: u64) -> ErrorRecord {
        ErrorRecord {
            class: class.to_owned(),
            errno: None,
            count,
            first_s: 1.0,
            last_s: 1.0,
            example: String::new(),
            hint: None,
        }
    }

    #[test]
    fn record_survives_writing_and_reading() {
        let mut record = a_run();
        record.judge(&[assertion::parse("p99 < 1us").expect("an assertion")]);
        let written = serde_json::to_vec(&record).expect("JSON");
        let again: LoadRecord = serde_json::from_slice(&written).expect("the same types");
        assert_eq!(again, record);
        assert_eq!(serde_json::to_vec(&again).expect("JSON"), written);
    }
}
