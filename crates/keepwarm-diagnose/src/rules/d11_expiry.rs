//! D11: closed by the client's own idle timeout, or by a lifetime of either side: deliberate.

use super::{finding, one_request_each};
use crate::evidence::{Evidence, Idle, Requests, Side};
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    AT_ONCE_MS, BOUNDED, CLUSTERED, COMMON_LIFETIME, DOMINANT, ENDED_ONCE, INTRODUCED,
    MAY_BE_FAREWELL, NEARLY_ALL, NO_COMMON_TIME, ONE_REQUEST, SHORT_TIMEOUT_MS, TIMEOUT_MS,
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
    let (certainty, remark) = once_each(seen, "client");
    let confidence = by_client.min(idle.common_share) * sure * certainty;
    Some(finding(seen, Cause::Expiry, confidence, summary + &remark))
}

/// Returns the factor on a timeout by whose side each connection ended once, and a remark on it.
pub(super) fn once_each(seen: &Evidence, side: &str) -> (f64, String) {
    if seen.is_turned_over() {
        return (1.0, String::new());
    }
    (ENDED_ONCE, format!("; each ended once, as at the end or restart of the {side}"))
}

/// Returns true if connections that were used again end at one age rather than after one number of
/// requests.
pub(super) fn is_lifetime(seen: &Evidence, requests: &Requests) -> bool {
    common_lifetime(seen).is_some_and(|age| age.common_share > requests.common_share)
}

fn common_lifetime(seen: &Evidence) -> Option<Idle> {
    seen.lifetime.filter(|age| age.common_share >= CLUSTERED && age.common_ms >= SHORT_TIMEOUT_MS)
}

/// Finds connections that end at one age, right after an answer: the lifetime that their owner sets.
pub(super) fn after_lifetime(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let age = common_lifetime(seen).filter(|_| is_lifetime(seen, requests))?;
    let by = |side| seen.share_closed_by(side);
    let closer = if by(Side::Server) > by(Side::Client) { Side::Server } else { Side::Client };
    let at_once = seen.idle_before_close_by(closer).is_some_and(|idle| idle.p50_ms <= AT_ONCE_MS);
    let is_used = requests.p50 > ONE_REQUEST && !one_request_each::is_introduced(requests, seen);
    (by(closer) >= DOMINANT && at_once && is_used && seen.is_turned_over()).then(|| {
        let summary = format!(
            "the {} closed {} of {} connections first, right after an answer, and {} of them {} after \
             they were opened, after differing numbers of requests: a lifetime of its connections",
            closer.as_str(),
            thousands(seen.closed_by(closer)),
            thousands(seen.closed()),
            percent(age.common_share),
            millis(age.common_ms)
        );
        let confidence = by(closer).min(age.common_share) * COMMON_LIFETIME;
        // The last data may have been a farewell, after an idle time that began with the connection.
        let may_be_idle = seen.messages.may_have_handshake() && requests.p50 <= INTRODUCED;
        if may_be_idle {
            let rival = "; or a timeout of idle ones (D4), if what came last was a farewell of TLS";
            let confidence = confidence.min(MAY_BE_FAREWELL);
            return finding(seen, Cause::Expiry, confidence, summary + rival);
        }
        finding(seen, Cause::Expiry, confidence, summary)
    })
}

/// Finds a client that closes late, after times that differ.
pub(super) fn after_some_time(seen: &Evidence) -> Option<Finding> {
    let idle = seen.idle_before_close_by(Side::Client)?;
    if seen.share_closed_by(Side::Client) < DOMINANT || idle.p50_ms < seen.some_timeout_ms() {
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
