//! From evidence about connections to a finding, and the setting that fixes it.
//!
//! Pure rules: numbers go in, words come out. This crate reads no socket and no clock; evidence
//! comes from the kernel's account of one port over one window ([`diagnose`]), or from what was
//! observed of one destination ([`judge()`]), or of a whole host ([`judge_host()`]). What is known of programs, their defaults and what to
//! set, is data: [`knowledge`].
//!
//! ```
//! use std::time::Duration;
//! use keepwarm_diagnose::{Cause, Evidence, diagnose};
//!
//! let finding = diagnose(&Evidence {
//!     requests: 10_000,
//!     concurrency: 100,
//!     window: Duration::from_secs(2),
//!     opened: 6_461,
//!     closed_by_client: 6_459,
//!     closed_by_server: 0,
//!     reset: 0,
//!     established: 2,
//!     ports: Some(28_232),
//! });
//! assert_eq!(finding.cause, Cause::IdlePoolTooSmall { idle: 2 });
//! assert!(finding.advice.unwrap().contains("MaxIdleConnsPerHost"));
//! ```

#![forbid(unsafe_code)]

mod evidence;
mod finding;
mod judge;
pub mod knowledge;
mod looks;
mod observation;
mod ports;
mod resets;
mod untold;
mod words;

pub use evidence::Evidence;
pub use finding::{Cause, Finding, diagnose};
pub use judge::judge;
pub use looks::{HostEvidence, judge_host, not_judged_by_looks};
pub use observation::{Glimpsed, Idle, Observation, Open, Ports, Requests, Side, Untold};
pub use ports::{PortForecast, PortOutlook, TIME_WAIT};
pub use resets::Resets;
