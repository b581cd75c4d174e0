//! From evidence about connections to a finding, and the setting that fixes it.
//!
//! Pure rules: numbers go in, words come out. This crate reads no socket and no clock. The one
//! entry is [`judge()`], over the [`Evidence`] of one destination, whose [`Level`] says how it was
//! obtained; [`judge_host`] takes the counters of a whole host. Facts about programs, their
//! defaults and what to set are data: [`knowledge`].
//!
//! ```
//! use std::time::Duration;
//! use keepwarm_diagnose::{Cause, Evidence, Idle, Level, Requests, Side, judge};
//!
//! // 6,459 of 6,461 connections closed by the client within 2 ms of their last byte; 2 stay open.
//! let evidence = Evidence {
//!     window: Duration::from_secs(2),
//!     opened: 6_461,
//!     local_fin: 6_459,
//!     requests: Some(Requests {
//!         connections: 6_461,
//!         total: 10_000,
//!         p50: 1,
//!         max: 34,
//!         none_share: 0.0,
//!         common: 1,
//!         common_share: 0.8,
//!     }),
//!     idle_local: Some(Idle { closes: 6_459, p50_ms: 1, common_ms: 1, common_share: 0.9 }),
//!     alive: 2,
//!     established: 2,
//!     idle_set: Some(2),
//!     ..Evidence::new(Side::Client, Level::Counted)
//! };
//! let finding = &judge(&evidence)[0];
//! assert_eq!(finding.cause, Cause::IdlePoolTooSmall { idle: 2 });
//! assert!(finding.advice.as_ref().unwrap().contains("MaxIdleConnsPerHost"));
//! ```

#![forbid(unsafe_code)]

mod evidence;
mod finding;
pub mod knowledge;
mod missing_evidence;
mod ports;
mod reset_reasons;
mod rules;
mod thresholds;
mod words;

pub use evidence::{
    Evidence, Idle, Level, ListenQueue, LoadKnowledge, Messages, OpenTraffic, PolledEvidence,
    Ports, RequestCount, Requests, Side, StuckSockets,
};
pub use finding::{Cause, Finding};
pub use missing_evidence::MissingEvidence;
pub use ports::{PortForecast, PortOutlook, TIME_WAIT};
pub use reset_reasons::ResetReasons;
pub use rules::{HostCounters, judge, judge_host, not_judged_by_polls};
pub use thresholds::LONGEST_FAREWELL_MS;
