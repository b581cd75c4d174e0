//! Watches: threads and time around the tracker.
//!
//! Owns the public watches, their threads, and the schedule of dumps. Decides nothing about a
//! connection: see `tracker`.
//!
//! ```text
//!  Watch ─► threads ─► tracking ─┬► schedule ─► quiescence     when to act (pure)
//!                                ├► tracker                    the bookkeeping (pure)
//!  PollingWatch ─────────────────┴► owners                     the processes of its sockets
//! ```

mod fences;
mod following;
pub(crate) mod host;
pub(crate) mod namespaces;
pub(crate) mod owners;
pub(crate) mod polling;
mod quiescence;
mod reader;
mod refused_time_waits;
mod schedule;
pub(crate) mod self_test;
mod threads;
pub(crate) mod tracking;

use crate::kernel::dump::Filter;
use crate::kernel::proc::sysctl::{TimeWaitReuse, ephemeral_ports, time_wait_reuse};
use crate::report::host::Scope;
use crate::tracker::Tracker;

/// The part of a scope that the kernel can check for every dump and event: its port.
fn filter(scope: &Scope) -> Filter {
    Filter { either_port: scope.port.filter(|port| *port != 0), ..Filter::default() }
}

/// Creates a tracker for this network namespace, by the kernel's settings that it depends on.
/// `traced`: traces will be read too.
pub(crate) fn new_tracker(scope: Scope, traced: bool) -> Tracker {
    // Without the range of ephemeral ports, only listeners show which socket is the server's.
    let mut tracker = Tracker::new(scope, ephemeral_ports().ok(), traced);
    if time_wait_reuse() == Some(TimeWaitReuse::Always) {
        tracker.distrust_time_waits();
    }
    tracker
}
