//! D11: closed by the client's own idle timeout, which is deliberate.

use super::finding;
use crate::evidence::{Evidence, Idle, Side};
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    BOUNDED, CLUSTERED, DOMINANT, INTRODUCED, NEARLY_ALL, NO_COMMON_TIME, SOME_TIMEOUT_MS,
    TIMEOUT_MS,
};
use crate::words::{millis, percent, thousands};

/// Finds a client whose closes have one idle time in common.
pub(super) fn after_common_time(seen: &Evidence) -> Option<Finding> {
    let by_client = seen.share_closed_by(Side::Client);
    let idle = seen.idle_before_close_by(Side::Client)?;
    let alike = idle.common_share >= CLUSTERED && idle.common_ms >= TIMEOUT_MS;
    if !alike || by_client < DOMINANT {
        return None;
    }
    let summary = format!(
        "the client closed {} of {} connections first, {} of them after {} idle: its own idle timeout",
        thousands(seen.closed_by(Side::Client)),
        thousands(seen.closed()),
        percent(idle.common_share),
        millis(idle.common_ms)
    );
    // One request behind an introduction each: pools that are collected later (D1) look the same.
    let may_be_one =
        seen.requests.is_some_and(|one| one.common <= INTRODUCED && one.common_share >= NEARLY_ALL);
    let sure = if may_be_one { BOUNDED } else { 1.0 };
    Some(finding(seen, Cause::Expiry, by_client.min(idle.common_share) * sure, summary))
}

/// Finds a client that closes late, after times that differ.
pub(super) fn after_some_time(seen: &Evidence) -> Option<Finding> {
    let idle = seen.idle_before_close_by(Side::Client)?;
    if seen.share_closed_by(Side::Client) < DOMINANT || idle.p50_ms < SOME_TIMEOUT_MS {
        return None;
    }
    let summary = differing_times(seen, Side::Client, idle);
    Some(finding(seen, Cause::Expiry, NO_COMMON_TIME, summary))
}

/// Describes closes by a timeout that is checked now and then, of either side.
pub(super) fn differing_times(seen: &Evidence, closer: Side, idle: Idle) -> String {
    format!(
        "the {} closed first in {} of {} closes, after {} idle in the median and after differing \
         times: a timeout that is checked now and then",
        closer.as_str(),
        percent(seen.share_closed_by(closer)),
        thousands(seen.closed()),
        millis(idle.p50_ms)
    )
}
