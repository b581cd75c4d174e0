//! D4: the server closes idle connections before the client does.

use super::{d11_expiry, finding};
use crate::evidence::{Evidence, Side, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::servers_with_idle_timeout;
use crate::thresholds::{
    CLUSTERED, DOMINANT, NO_COMMON_TIME, SOME_TIMEOUT_MS, TIMEOUT_MS, WORTH_A_CAUSE,
};
use crate::words::{millis, percent, thousands};

/// Finds a server whose closes have one idle time in common.
pub(super) fn after_common_time(seen: &Evidence) -> Option<Finding> {
    let (closed, by_server) = (seen.closed(), seen.share_closed_by(Side::Server));
    // A close that met a request shows no idle time.
    let late = if seen.side == Side::Client { share(seen.late_requests(), closed) } else { 0.0 };
    let idle = seen.idle_before_close_by(Side::Server)?;
    let alike = idle.common_share + late >= CLUSTERED && idle.common_ms >= TIMEOUT_MS;
    if !alike || by_server < DOMINANT {
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
    let servers = servers_with_idle_timeout(idle.common_ms);
    if !servers.is_empty() {
        summary.push_str(&format!("; {} does that by default", servers.join(" or ")));
    }
    if late > 0.0 {
        summary.push_str(&format!("; {} requests did", thousands(seen.late_requests())));
    }
    let confidence = by_server.min(idle.common_share + late).min(1.0);
    let cause = Cause::ServerTimeout { idle_ms: Some(idle.common_ms) };
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
    if seen.share_closed_by(Side::Server) < DOMINANT || idle.p50_ms < SOME_TIMEOUT_MS {
        return None;
    }
    let cause = Cause::ServerTimeout { idle_ms: Some(idle.p50_ms) };
    let summary = d11_expiry::differing_times(seen, Side::Server, idle);
    Some(finding(seen, cause, NO_COMMON_TIME, summary))
}
