//! D5: the server closes each connection after a fixed number of requests.

use super::{d11_expiry, finding, one_request_each};
use crate::evidence::{Evidence, Messages, Requests, Side};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{
    AT_ONCE_MS, BEHIND_INTRODUCTION, BOUNDED, CLUSTERED, DOMINANT, ENOUGH_CLOSES, FAILED_CONNECTS,
    INTRODUCED, LARGE_LIMIT, LESS_SURE, LIMIT_OR_LIFETIME, LONGEST_FAREWELL_MS, NEARLY_ALL,
    ONE_REQUEST, REPLACED_ONCE, SAME_LIMIT, UNKNOWN_CLOSER,
};
use crate::words::{percent, thousands};

/// Finds a limit where each connection was replaced more than once: a restart closes each once.
pub(super) fn judge_turned_over(seen: &Evidence) -> Option<Finding> {
    let requests = seen.known_requests().filter(|_| seen.closed() >= ENOUGH_CLOSES)?;
    if seen.is_turned_over() {
        return judge(seen, &requests);
    }
    // As many closes as connections, nearly all at one number that people set: no restart meets that.
    let closed = seen.closed_requests?;
    let handshake = if seen.messages.may_have_handshake() { INTRODUCED } else { 0 };
    let is_limit = closed.common_share >= NEARLY_ALL
        && closed.common > INTRODUCED
        && seen.closed() >= seen.alive.max(seen.most_established)
        && (closed.common.saturating_sub(handshake)..=closed.max).any(is_round);
    let found = judge(seen, &requests).filter(|_| is_limit)?;
    Some(Finding { confidence: found.confidence.min(REPLACED_ONCE), ..found })
}

/// Finds closes at once after one number of requests: that number is the evidence, for the side
/// that has the limit may leave the close to the other.
pub(super) fn judge(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    // What is open has not come to its end yet.
    let requests = seen.closed_requests.as_ref().unwrap_or(requests);
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
    let is_exact = seen.is_exact_behind_handshake();
    let is_alike = seen.messages == Messages::Alike || is_exact;
    // Up to some messages, one request behind an introduction takes the same number each time.
    let few = requests.common <= INTRODUCED;
    let least = if is_alike { 2 } else { ONE_REQUEST + 1 };
    let is_limit = (is_known || is_dominant)
        && (least..LARGE_LIMIT).contains(&requests.common)
        && requests.common_share >= CLUSTERED
        && !one_request_each::is_introduced(requests, seen)
        && one_request_each::large_ones(requests, seen).is_none()
        && at_once
        && !(few && seen.idled_before_farewell())
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
            match (closer, seen.load.and_then(|load| load.own_limit)) {
                (Side::Server, _) => "it has",
                (Side::Client, Some(_)) => "the load was told",
                (Side::Client, None) => "one of the two has",
            }
        );
        let (certainty, bound) = one_request_each::bounds(requests, seen);
        let mut summary = summary + &bound;
        let mut sure = if is_known { 1.0 } else { UNKNOWN_CLOSER };
        let restarts = seen.connect_failed >= FAILED_CONNECTS;
        if restarts {
            summary.push_str("; or restarts of the server, for connects fail, too");
        }
        if !is_round(limit) && lifetime_may_explain(seen) {
            sure = sure.min(LIMIT_OR_LIFETIME);
            summary.push_str("; or a lifetime of its connections, at a steady rate of requests (D11)");
        }
        let certainty = match seen.messages {
            // Far fewer requests are possible: their segments may be what is alike.
            Messages::WithHandshakePerhaps(least) if least.common < requests.common / 2 => {
                certainty * LESS_SURE
            }
            _ if !few || is_exact => certainty,
            // The parts of one request, and of its answer, look alike by chance.
            Messages::Plain | Messages::Alike => certainty * BOUNDED,
            Messages::WithHandshakePerhaps(_) => certainty * BEHIND_INTRODUCTION * LESS_SURE,
            _ => certainty * BEHIND_INTRODUCTION,
        };
        let of_limit = if restarts { LESS_SURE } else { 1.0 };
        let confidence = requests.common_share.min(sure) * certainty * of_limit;
        let found = finding(seen, Cause::RequestLimit { limit }, confidence, summary);
        Finding { advice: advice_to(closer, seen, found.advice), ..found }
    })
}

/// Returns the advice to the side that closes: a client has a limit of its own, or does as the server
/// says.
fn advice_to(closer: Side, seen: &Evidence, of_server: Option<String>) -> Option<String> {
    if closer == Side::Server {
        return of_server;
    }
    if seen.load.is_some_and(|load| load.own_limit.is_some()) {
        return Some(next_step(Situation::LoadClosesAtLimit));
    }
    let step = next_step(Situation::ClientClosesAtLimit);
    Some(of_server.map_or_else(|| step.clone(), |of_server| format!("{step}: {of_server}")))
}

/// Returns true if the number is one that people set.
fn is_round(limit: u32) -> bool {
    limit > 0 && limit.is_multiple_of(10)
}

/// Returns true if connections may end at one age, as far as is known.
fn lifetime_may_explain(seen: &Evidence) -> bool {
    seen.lifetime.is_none_or(|age| age.common_share >= CLUSTERED)
}
