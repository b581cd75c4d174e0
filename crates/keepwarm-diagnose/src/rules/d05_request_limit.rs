//! D5: the server closes each connection after a fixed number of requests.

use super::finding;
use crate::evidence::{Evidence, Requests, Side};
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    AT_ONCE_MS, CLUSTERED, DOMINANT, ENOUGH_CLOSES, LARGE_LIMIT, ONE_REQUEST, SAME_LIMIT,
};
use crate::words::{percent, thousands};

/// Finds a limit where each connection was replaced more than once: a restart closes each once.
pub(super) fn judge_turned_over(seen: &Evidence) -> Option<Finding> {
    let open = seen.alive.max(seen.alive_at_start).max(1);
    let turned_over = seen.closed() >= ENOUGH_CLOSES && seen.closed() / 2 >= open;
    seen.requests.filter(|_| turned_over).and_then(|requests| judge(seen, &requests))
}

/// Finds a server that closes first, at once, and after one number of requests.
pub(super) fn judge(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let by_server = seen.share_closed_by(Side::Server);
    let at_once =
        seen.idle_before_close_by(Side::Server).is_some_and(|idle| idle.p50_ms <= AT_ONCE_MS);
    let is_limit = by_server >= DOMINANT
        && (ONE_REQUEST + 1..LARGE_LIMIT).contains(&requests.common)
        && requests.common_share >= CLUSTERED
        && at_once;
    is_limit.then(|| {
        // The longest connection of the cluster has the number; one beyond it is of another kind.
        let near = f64::from(requests.common) * SAME_LIMIT;
        let limit = if f64::from(requests.max) <= near { requests.max } else { requests.common };
        let summary = format!(
            "the server closed {} of {} connections first, {} of them after about {} requests: it \
             has a limit of requests a connection",
            thousands(seen.closed_by(Side::Server)),
            thousands(seen.closed()),
            percent(requests.common_share),
            thousands(limit.into())
        );
        let confidence = by_server.min(requests.common_share);
        finding(seen, Cause::RequestLimit { limit }, confidence, summary)
    })
}
