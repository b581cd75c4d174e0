//! D4: the server closes idle connections before the client does.

use super::{d11_expiry, finding, healthy};
use crate::evidence::{Evidence, Side, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::servers_with_idle_timeout;
use crate::thresholds::{
    CLUSTERED, DOMINANT, ENOUGH_CLOSES, FAILED_REQUESTS, MET_REQUESTS, NO_COMMON_TIME, SHORT_TIME,
    SHORT_TIMEOUT_MS, SOME_CLOSES, TIMEOUT_MS, WORTH_A_CAUSE,
};
use crate::words::{millis, percent, thousands};

/// Finds a server whose closes have one idle time in common.
pub(super) fn after_common_time(seen: &Evidence) -> Option<Finding> {
    let (closed, by_server) = (seen.closed(), seen.share_closed_by(Side::Server));
    // A close that met a request shows no idle time.
    let late = if seen.side == Side::Client { share(seen.late_requests(), closed) } else { 0.0 };
    let idle = seen.idle_before_close_by(Side::Server)?;
    let alike = idle.common_share + late >= CLUSTERED && idle.common_ms >= TIMEOUT_MS;
    // No program has such a default, but a setting may: nearly all closes have to agree.
    let short = idle.common_share >= DOMINANT && idle.common_ms >= SHORT_TIMEOUT_MS;
    if !(alike || short) || seen.share_of_known_closed_by(Side::Server) < DOMINANT {
        return None;
    }
    let mut summary = format!(
        "the server closed {} of {} connections first, {} of them after {} idle: its keep-alive \
         timeout is shorter than the client's, and a request sent at that moment fails",
        thousands(seen.closed_by(Side::Server)),
        thousands(closed),
        percent(idle.common_share),
        millis(idle.common_ms)
    );
    summary.push_str(&default_of(seen, idle.common_ms));
    if late > 0.0 {
        summary.push_str(&format!("; {} requests did", thousands(seen.late_requests())));
    }
    let sure = if alike { 1.0 } else { SHORT_TIME };
    let (certainty, remark) = d11_expiry::once_each(seen, "server");
    summary.push_str(&remark);
    let confidence = by_server.min(idle.common_share + late).min(1.0) * sure * certainty;
    let cause = Cause::ServerTimeout { idle_ms: Some(idle.common_ms) };
    Some(finding(seen, cause, confidence, summary))
}

/// Returns the idle milliseconds after which the server closed, if that is how most connections ended,
/// however few they are.
pub(super) fn common_time(seen: &Evidence) -> Option<u32> {
    let idle = seen.idle_before_close_by(Side::Server).filter(|idle| idle.closes >= SOME_CLOSES)?;
    let alike = idle.common_share >= CLUSTERED && idle.common_ms >= SHORT_TIMEOUT_MS;
    let closed_most = seen.share_of_known_closed_by(Side::Server) >= CLUSTERED;
    (alike && closed_most).then_some(idle.common_ms)
}

/// Names the servers that close after this time by default: only those that the server may be.
fn default_of(seen: &Evidence, ms: u32) -> String {
    let known = seen.runtime_of(Side::Server);
    let servers = servers_with_idle_timeout(ms, known);
    match (servers.is_empty(), known) {
        (true, _) => String::new(),
        (false, Some(_)) => format!("; {} does that by default", servers.join(" or ")),
        (false, None) => format!(
            "; the server is not known from here, and {} would do that by default",
            servers.join(" or ")
        ),
    }
}

/// Finds resets that requests met among the closes of a server, however many requests went well:
/// each of them is an error for a caller (502).
pub(super) fn met_some_requests(seen: &Evidence) -> Option<Finding> {
    let failed = healthy::failed_requests(seen);
    let closed = seen.closed();
    let by_server = seen.share_closed_by(Side::Server);
    // Without the many requests, the rules below have more to go by.
    let is_hidden = healthy::is_well_used(seen) && closed >= ENOUGH_CLOSES;
    if by_server < DOMINANT || failed < FAILED_REQUESTS || !is_hidden {
        return None;
    }
    let idle =
        seen.idle_before_close_by(Side::Server).filter(|idle| idle.p50_ms >= SHORT_TIMEOUT_MS)?;
    let summary = format!(
        "the server closed {} of {} connections first, after {} idle in the median, and {} were reset \
         with a request under way: its keep-alive timeout is shorter than the client's, and those \
         requests failed{}",
        thousands(seen.closed_by(Side::Server)),
        thousands(closed),
        millis(idle.p50_ms),
        thousands(failed),
        default_of(seen, idle.common_ms)
    );
    let cause = Cause::ServerTimeout { idle_ms: Some(idle.common_ms) };
    let confidence = by_server * MET_REQUESTS.max(idle.common_share);
    Some(finding(seen, cause, confidence, summary))
}

/// Finds requests that were written to connections that the server had closed: D4 without an idle
/// time of its own.
pub(super) fn met_requests(seen: &Evidence) -> Option<Finding> {
    let (closed, late) = (seen.closed(), seen.late_requests());
    let by_server = seen.share_closed_by(Side::Server);
    if by_server < DOMINANT || share(late, closed) < WORTH_A_CAUSE {
        return None;
    }
    let summary = format!(
        "the server closed {} of {} connections first, and {} requests were written after that: the \
         client keeps connections for longer than the server does, and those requests failed",
        thousands(seen.closed_by(Side::Server)),
        thousands(closed),
        thousands(late)
    );
    Some(finding(seen, Cause::ServerTimeout { idle_ms: None }, by_server, summary))
}

/// Finds a server whose timeout is checked now and then, or when the next request comes, so that
/// the idle times differ.
pub(super) fn after_some_time(seen: &Evidence) -> Option<Finding> {
    let idle = seen.idle_before_close_by(Side::Server)?;
    if seen.share_closed_by(Side::Server) < DOMINANT || idle.p50_ms < seen.some_timeout_ms() {
        return None;
    }
    let cause = Cause::ServerTimeout { idle_ms: Some(idle.p50_ms) };
    let summary = d11_expiry::differing_times(seen, Side::Server, idle);
    Some(finding(seen, cause, NO_COMMON_TIME, summary))
}
