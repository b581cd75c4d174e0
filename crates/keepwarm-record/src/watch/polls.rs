//! The part of a record that only level L0 has: the kernel's counters and how sockets were polled.
//!
//! Owns the type under `looks`. The counters are of the whole network namespace, and exact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::destination::FindingRecord;
use super::level::Limitation;

/// Evidence of level L0, in place of destroy events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PollsRecord {
    /// The table that sockets were read from: `sock_diag` or `/proc/net/tcp`.
    pub source: String,
    /// The number of polls.
    pub count: u64,
    /// The counters by name: what happened within the window. `None`: this kernel does not count
    /// it, or one dump was taken.
    pub counters: BTreeMap<String, Option<u64>>,
    /// The counters, a second.
    pub per_s: BTreeMap<String, Option<f64>>,
    /// Sockets in ESTABLISHED or CLOSE_WAIT now (`CurrEstab`).
    pub established_now: Option<u64>,
    /// Sockets in TIME_WAIT now (/proc/net/sockstat).
    pub time_wait_now: Option<u64>,
    /// Verdicts on the whole host.
    pub findings: Vec<FindingRecord>,
    /// Facts that this level cannot see.
    pub not_seen: Vec<Limitation>,
    /// Findings that this level cannot come to; none for one dump.
    pub not_judged: Vec<Limitation>,
    /// The way to a higher level.
    pub hint: String,
}
