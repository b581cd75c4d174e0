//! Connections that carry one request each: the ground that D1 and D6 share.

use super::{d01_client_per_request, d02_idle_pool_too_small, d06_connection_close};
use crate::evidence::{Evidence, Idle, Requests};
use crate::finding::Finding;
use crate::thresholds::{AT_ONCE_MS, NEARLY_ALL, ONE_REQUEST, SOME_TIMEOUT_MS, SOMEWHAT_LATE};
use crate::words::percent;

/// Evidence that connections carry one request each.
pub(super) struct OneEach {
    /// Share of the used connections that carried the most common number.
    pub(super) share: f64,
    /// Remark on connections that carried nothing; empty if none did.
    pub(super) probes: String,
}

/// Finds D1 or D6 where nearly all connections carried one request.
pub(super) fn judge(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let each = OneEach::of(requests)?;
    if d02_idle_pool_too_small::keeps_some(seen, requests) {
        return None;
    }
    d01_client_per_request::judge(seen, &each).or_else(|| d06_connection_close::judge(seen, &each))
}

impl OneEach {
    fn of(requests: &Requests) -> Option<Self> {
        // Probes carry nothing, and are not counted.
        let share = (requests.common_share / (1.0 - requests.none_share).max(1e-3)).min(1.0);
        // Closes of each kind carried the same number: one request, in one segment or a few.
        if !(1..=ONE_REQUEST).contains(&requests.common) || share < NEARLY_ALL {
            return None;
        }
        let probes = if requests.none_share > 0.0 {
            format!(" (and {} carried nothing, as probes do)", percent(requests.none_share))
        } else {
            String::new()
        };
        Some(Self { share, probes })
    }

    /// Returns true if the close came so late that a timeout caused it.
    pub(super) fn is_late(idle: Option<Idle>) -> bool {
        idle.is_some_and(|idle| idle.p50_ms >= SOME_TIMEOUT_MS)
    }

    /// Returns 1 for a close at once, and less for one that came somewhat later.
    pub(super) fn punctuality(idle: Option<Idle>) -> f64 {
        let at_once = idle.is_none_or(|idle| idle.p50_ms <= AT_ONCE_MS);
        if at_once { 1.0 } else { SOMEWHAT_LATE }
    }
}
