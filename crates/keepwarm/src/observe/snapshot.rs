//! Gauges and counters of an origin at one moment, as the pool fills them in.

use std::time::Duration;

use keepwarm_pool::{Counts, IdleCloses};

/// Gauges and counters of one origin at one moment, or of several together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) dialing: usize,
    pub(crate) active: usize,
    pub(crate) idle: usize,
    /// Open connections that are shared, and their streams in use.
    pub(crate) shared: usize,
    pub(crate) streams: usize,
    pub(crate) waiting: usize,
    pub(crate) peak: usize,
    pub(crate) learned_idle_timeout: Option<Duration>,
    pub(crate) addresses_rotate: bool,
    pub(crate) idle_closes: IdleCloses,
    pub(crate) opened_lately: u64,
    pub(crate) unread: u64,
    pub(crate) draining: usize,
    pub(crate) drained: u64,
    pub(crate) warmed: u64,
    pub(crate) counts: Counts,
}

impl Snapshot {
    /// Adds another origin's numbers. Several origins together have no common peak and no common
    /// server, so `peak`, `learned_idle_timeout` and `idle_closes` stay as they are.
    pub(crate) fn absorb(&mut self, other: &Self) {
        let Self { dialing, active, idle, waiting, peak: _, ref counts, .. } = *other;
        self.opened_lately += other.opened_lately;
        self.unread += other.unread;
        self.draining += other.draining;
        self.drained += other.drained;
        self.warmed += other.warmed;
        self.dialing += dialing;
        self.active += active;
        self.idle += idle;
        self.shared += other.shared;
        self.streams += other.streams;
        self.waiting += waiting;
        self.counts.absorb(counts);
    }
}
