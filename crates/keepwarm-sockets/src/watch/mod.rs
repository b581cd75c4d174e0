//! Watches: threads and time around the tracker.
//!
//! Owns the public watches, their threads, and the schedule of dumps. Decides nothing about a
//! connection: see `tracker`.
//!
//! ```text
//!  Watch ─► threads ─► tracking ─┬► schedule ─► quiescence      when to act (pure)
//!                                └► owners ─► tracker            the bookkeeping, with processes
//!  PollingWatch ─────────────────────┘
//! ```

pub(crate) mod host;
pub(crate) mod owners;
pub(crate) mod polling;
mod quiescence;
mod refused_time_waits;
mod schedule;
pub(crate) mod self_test;
mod threads;
pub(crate) mod tracking;

use crate::kernel::dump::Filter;
use crate::report::host::Scope;

/// The part of a scope that the kernel can check for every dump and event: its port.
fn filter(scope: &Scope) -> Filter {
    Filter { either_port: scope.port.filter(|port| *port != 0), ..Filter::default() }
}
