//! Healthy: connections are kept, and each carries many requests.

use super::finding;
use crate::evidence::{Evidence, PolledEvidence, RequestCount};
use crate::finding::{Cause, Finding};
use crate::thresholds::{LIKELY, ONE_DUMP, USED_AGAIN, WELL_USED};
use crate::words::{counted, is_or_are, thousands, were};

/// Finds many requests for each open and each close.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let closed = seen.closed();
    let carried = carried(seen);
    let quiet = closed == 0 && seen.opened > 0 && carried >= seen.opened.saturating_mul(USED_AGAIN);
    let used = carried >= closed.max(seen.opened).saturating_mul(WELL_USED) && carried > 0;
    (quiet || used).then(|| kept(seen))
}

/// Finds no more connections than the load uses at once, and next to none of them closed: the load
/// knows that a pool is being filled for the first time.
pub(super) fn by_load(seen: &Evidence) -> Option<Finding> {
    let load = seen.load.as_ref()?;
    let filled = (1..=load.concurrency).contains(&seen.opened);
    let stays = seen.closed().saturating_mul(WELL_USED) <= seen.opened;
    (filled && stays && seen.connect_failed == 0).then(|| kept(seen))
}

fn kept(seen: &Evidence) -> Finding {
    let noun = match seen.load.map(|load| load.requests) {
        Some(RequestCount::Encrypted) => "data segments (TLS handshakes among them)",
        _ => "requests",
    };
    let summary = format!(
        "{} {noun} on {}; {} opened and {} closed: connections are kept",
        thousands(carried(seen)),
        counted(seen.alive_at_start.saturating_add(seen.opened), "connection"),
        were(seen.opened),
        thousands(seen.closed())
    );
    finding(seen, Cause::Healthy, 1.0, summary)
}

/// Returns the requests within the window: the load's own count if it has one.
fn carried(seen: &Evidence) -> u64 {
    match seen.load.map(|load| load.requests) {
        Some(RequestCount::Exact(count)) => count,
        _ => seen.requests.map_or(0, |requests| requests.total),
    }
}

/// Finds open connections that carried requests, in one dump.
pub(super) fn in_one_dump(seen: &Evidence) -> Option<Finding> {
    let closed_first = seen.time_wait?;
    let per_connection = seen.requests.map_or(0, |requests| requests.p50);
    (seen.alive > 0 && u64::from(per_connection) >= USED_AGAIN).then(|| {
        let summary = format!(
            "{} {} open, with {} each in the median, and {} closed first by this side within the last \
             minute",
            counted(seen.alive, "connection"),
            is_or_are(seen.alive),
            counted(per_connection.into(), "request"),
            were(closed_first)
        );
        finding(seen, Cause::Healthy, ONE_DUMP, summary)
    })
}

/// Finds long-lived connections on a host that opened nothing, or next to nothing for what is open
/// here, by polls alone.
pub(super) fn polled(seen: &Evidence, polls: &PolledEvidence) -> Option<Finding> {
    let most = polls.opened_at_most?;
    let few = most.saturating_mul(WELL_USED) <= polls.kept;
    (polls.kept > 0 && (most == 0 || few)).then(|| {
        let summary = format!(
            "{} connections have been open for two seconds or more, and the whole host opened {} in \
             this window: connections are kept (their requests are not seen)",
            thousands(polls.kept),
            thousands(most)
        );
        finding(seen, Cause::Healthy, LIKELY, summary)
    })
}
