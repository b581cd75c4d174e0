//! The window of a watch, as the watch reports it to the tracker.
//!
//! Holds no sockets and counts nothing.

use std::time::Duration;

/// Facts about a window that the tracker cannot know: the watch measures them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) now: Duration,
    /// From the window's beginning to its last dump, or to now while the window is open.
    pub(crate) length: Duration,
    /// The window ended at rest, and every event of a death in it was delivered.
    pub(crate) settled: bool,
    /// TIME_WAITs that the kernel did not keep in the window; `None` if it does not count them.
    pub(crate) time_waits_refused: Option<u64>,
    /// Destroy events that were lost since the watch began.
    pub(crate) lost_events: u64,
}
