//! The record of a watch: one document, schema `keepwarm.watch/2`.
//!
//! Owns the types that cross the file and the reader of both schemas. The tool fills a record from
//! the kernel's report and the findings; text, JSON, JSON lines and assertions are folds over it.
//!
//! Rust names a field as JSON does, except where JSON's key is older than the dictionary: `looks`
//! is `polls`, `glimpsed` is `seen_by_polls`, its `kept` is `long_lived`, `undrained` is
//! `with_unread_data`, and `window_s` is [`Mode`].

mod destination;
mod facts;
mod level;
mod polls;
mod read;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use destination::{
    AcceptQueueRecord, Closed, DestinationRecord, FilesRecord, FindingKind, FindingRecord,
    IdleRecord, LifetimeRecord, NamespaceRecord, OwnerRecord, PathRecord, PerConnection,
    PollDiffRecord, PortsRecord, PriceRecord, ResetsRecord, RoundTripRecord, Side, StuckRecord,
    WaitingRecord,
};
pub use facts::{cannot_judge, fact};
pub use level::{
    HINT_AT_L0, Level, Limitation, Mode, NOT_SEEN_BY_POLLS, NOT_SEEN_WITHOUT_TIME_WAITS,
};
pub use polls::PollsRecord;

use crate::assertion::{self, Assertion, AssertionRecord};
use crate::machine::Machine;

/// The schema that is written.
pub const SCHEMA: &str = "keepwarm.watch/2";
/// The schema before it, which is read too.
pub const SCHEMA_1: &str = "keepwarm.watch/1";

/// One watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The machine; `None` in a record of `keepwarm.watch/1`.
    pub machine: Option<Machine>,
    /// The filter; `None` in a record of `keepwarm.watch/1`.
    pub scope: Option<ScopeRecord>,
    /// The evidence that the kernel gave.
    pub level: Level,
    /// The facts that cannot be seen at this level and in this mode.
    pub limitations: String,
    /// Why the level is lower than was asked for.
    pub level_refused: Option<String>,
    /// The window that the numbers are about.
    #[serde(rename = "window_s")]
    pub mode: Mode,
    /// Seconds that the watch has lasted; the window is the end of them. `None` in a record of
    /// `keepwarm.watch/1`.
    pub watched_s: Option<f64>,
    /// The network namespaces, where all are watched; `None` where one is, and in a record of an older
    /// version.
    #[serde(default)]
    pub network_namespaces: Option<NamespacesRecord>,
    /// Destroy events that the kernel dropped; `None` at level L0, which has none.
    pub lost_events: Option<u64>,
    /// Traced events that were read; `None` where nothing is traced.
    pub trace_events: Option<u64>,
    /// Traced events that were overwritten before they were read.
    pub lost_trace_events: Option<u64>,
    /// Aborts of which the kernel had cleared the port, so that they are in no row; `None` at
    /// level L0.
    pub unattributed_aborts: Option<u64>,
    /// Longest time in seconds by which the watch was late, for want of processor time or stopped; `None`
    /// at level L0, and in a record of an older version.
    #[serde(default)]
    pub late_s: Option<f64>,
    /// Whether the kernel had not told all deaths of the window when the watch ended, so that `opened` and
    /// `closed` may be too small; `None` at level L0, and in a record of an older version.
    #[serde(default)]
    pub events_overdue: Option<bool>,
    /// Rules of the classifier that the self-test refuted on this kernel; `None` where it did not
    /// run.
    pub broken_rules: Option<Vec<String>>,
    /// Why the self-test could not run where it should have.
    pub self_test_error: Option<String>,
    /// Destinations that a filter by owner left out because their owner is not known.
    pub without_owner: u64,
    /// Why there is no destination, where that is known.
    pub empty_because: Option<String>,
    /// The evidence of level L0; `None` above it.
    #[serde(rename = "looks")]
    pub polls: Option<PollsRecord>,
    /// The findings about the whole host, by its counters; none in a record before they were kept at
    /// every level.
    #[serde(default)]
    pub host_findings: Vec<FindingRecord>,
    /// The services, the busiest first.
    pub destinations: Vec<DestinationRecord>,
    /// The assertions that were made on the watch; none in a record of `keepwarm.watch/1`.
    #[serde(default)]
    pub assertions: Vec<AssertionRecord>,
}

impl WatchRecord {
    /// Returns a record of this level and mode without any destination.
    #[must_use]
    pub fn new(level: Level, mode: Mode) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            machine: None,
            scope: None,
            level,
            limitations: mode.limitations(level).to_owned(),
            level_refused: None,
            mode,
            watched_s: mode.seconds(),
            network_namespaces: None,
            lost_events: level.counts_closes().then_some(0),
            trace_events: level.traces().then_some(0),
            lost_trace_events: level.traces().then_some(0),
            unattributed_aborts: level.counts_closes().then_some(0),
            late_s: None,
            events_overdue: None,
            broken_rules: None,
            self_test_error: None,
            without_owner: 0,
            empty_because: None,
            polls: None,
            host_findings: Vec::new(),
            destinations: Vec::new(),
            assertions: Vec::new(),
        }
    }

    /// Returns true where opens and closes are counted: in a window above level L0.
    #[must_use]
    pub fn counts_closes(&self) -> bool {
        self.level.counts_closes() && self.mode != Mode::OneDump
    }

    /// Judges assertions by this record, and keeps them in it.
    pub fn judge(&mut self, assertions: &[Assertion]) {
        self.assertions = assertion::judge(assertions, |name| fact(self, name));
    }

    /// Writes the record as one line of JSON, without its end.
    ///
    /// # Errors
    ///
    /// serde_json's errors. A record that the tool has filled causes none.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// The network namespaces of a watch of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacesRecord {
    /// Namespaces that are watched now.
    pub watched: u64,
    /// Namespaces that were watched and have ended; their closes are counted.
    pub ended: u64,
    /// Namespaces that could not be watched.
    pub refused: u64,
    /// Reason why the last of these could not be watched.
    pub refused_because: Option<String>,
    /// Namespaces beyond the most that are watched at once.
    pub left_out: u64,
    /// Processes whose namespace may not be read.
    pub unreadable: u64,
}

/// The connections that were asked for. Conditions are joined by *and*; without a condition,
/// every connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeRecord {
    /// The service's address.
    pub ip: Option<IpAddr>,
    /// The service's port.
    pub port: Option<u16>,
    /// Our side of the connections.
    pub side: Option<Side>,
}

impl ScopeRecord {
    /// Returns the scope in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let place = match (self.ip, self.port) {
            (None, None) => "any address".to_owned(),
            (None, Some(port)) => format!("port {port}"),
            (Some(ip), None) => format!("address {ip}"),
            (Some(ip), Some(port)) => SocketAddr::new(ip, port).to_string(),
        };
        match self.side {
            None => place,
            Some(Side::Client) => format!("{place} as a client"),
            Some(Side::Server) => format!("{place} as the server"),
        }
    }
}
