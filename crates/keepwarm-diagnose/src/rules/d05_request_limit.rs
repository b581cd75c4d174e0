//! D5: the server closes each connection after a fixed number of requests.

use super::{d11_expiry, finding, one_request_each};
use crate::evidence::{Evidence, Messages, Requests, Side};
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    AT_ONCE_MS, BEHIND_INTRODUCTION, BOUNDED, CLUSTERED, DOMINANT, ENOUGH_CLOSES, INTRODUCED,
    LARGE_LIMIT, LESS_SURE, LIMIT_OR_LIFETIME, LONGEST_FAREWELL_MS, ONE_REQUEST, SAME_LIMIT,
    UNKNOWN_CLOSER,
};
use crate::words::{percent, thousands};

/// Finds a limit where each connection was replaced more than once: a restart closes each once.
pub(super) fn judge_turned_over(seen: &Evidence) -> Option<Finding> {
    let turned_over = seen.closed() >= ENOUGH_CLOSES && seen.is_turned_over();
    seen.known_requests().filter(|_| turned_over).and_then(|requests| judge(seen, &requests))
}

/// Finds closes at once after one number of requests: that number is the evidence, for the side
/// that has the limit may leave the close to the other.
pub(super) fn judge(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let by = |side| seen.share_closed_by(side);
    let closer = if by(Side::Server) >= by(Side::Client) { Side::Server } else { Side::Client };
    let is_known = by(Side::Server) + by(Side::Client) >= DOMINANT;
    // Where the idle time is not known (no closer is, or data before the close may be a farewell), the
    // number alone is the evidence.
    // A limit ends a connection behind its last answer: one that waited was closed for another reason,
    // unless the number is nearly always the same.
    let is_dominant = requests.common_share >= DOMINANT;
    let latest = if is_dominant { AT_ONCE_MS } else { LONGEST_FAREWELL_MS };
    let at_once = seen.idle_before_close_by(closer).is_none_or(|idle| idle.p50_ms <= latest);
    let is_alike = seen.messages == Messages::Alike;
    // Up to some messages, one request behind an introduction takes the same number each time.
    let few = requests.common <= INTRODUCED;
    let least = if is_alike { 2 } else { ONE_REQUEST + 1 };
    let is_limit = (is_known || is_dominant)
        && (least..LARGE_LIMIT).contains(&requests.common)
        && requests.common_share >= CLUSTERED
        && !one_request_each::is_introduced(requests, seen)
        && at_once
        && !d11_expiry::is_lifetime(seen, requests);
    is_limit.then(|| {
        // The longest connection of the cluster has the number; one beyond it is of another kind.
        let near = f64::from(requests.common) * SAME_LIMIT;
        let limit = if f64::from(requests.max) <= near { requests.max } else { requests.common };
        let summary = format!(
            "the {} closed {} of {} connections first, {} of them after about {} requests: {} a limit \
             of requests a connection",
            closer.as_str(),
            thousands(seen.closed_by(closer)),
            thousands(seen.closed()),
            percent(requests.common_share),
            thousands(limit.into()),
            if closer == Side::Server { "it has" } else { "one of the two has" }
        );
        let (certainty, bound) = one_request_each::bounds(requests, seen);
        let mut summary = summary + &bound;
        let mut sure = if is_known { 1.0 } else { UNKNOWN_CLOSER };
        if !is_round(limit) && lifetime_may_explain(seen) {
            sure = sure.min(LIMIT_OR_LIFETIME);
            summary.push_str("; or a lifetime of its connections, at a steady rate of requests (D11)");
        }
        let certainty = match seen.messages {
            _ if !few => certainty,
            // The parts of one request, and of its answer, look alike by chance.
            Messages::Plain | Messages::Alike => certainty * BOUNDED,
            Messages::WithHandshakePerhaps(_) => certainty * BEHIND_INTRODUCTION * LESS_SURE,
            _ => certainty * BEHIND_INTRODUCTION,
        };
        let confidence = requests.common_share.min(sure) * certainty;
        finding(seen, Cause::RequestLimit { limit }, confidence, summary)
    })
}

/// Returns true if the number is one that people set.
fn is_round(limit: u32) -> bool {
    limit > 0 && limit.is_multiple_of(10)
}

/// Returns true if connections may end at one age, as far as is known.
fn lifetime_may_explain(seen: &Evidence) -> bool {
    seen.lifetime.is_none_or(|age| age.common_share >= CLUSTERED)
}
