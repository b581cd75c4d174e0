//! Connections that carry one request each: the ground that D1 and D6 share.

use super::streams::or_ended_stream;
use super::{d01_client_per_request, d02_idle_pool_too_small, d06_connection_close};
use crate::evidence::{Evidence, Idle, Messages, Requests};
use crate::finding::Finding;
use crate::thresholds::{
    BEHIND_INTRODUCTION, BOUNDED, DOMINANT, INTRODUCED, LONGEST_FAREWELL_MS, NEARLY_ALL,
    NOT_AT_ONCE, ONE_BEHIND_HANDSHAKE, ONE_REQUEST, ONE_REQUEST_OVER_TLS, SHORT_TIMEOUT_MS,
    SOME_TIMEOUT_MS, SOMEWHAT_LATE,
};
use crate::words::{percent, thousands};

/// Evidence that connections carry one request each.
pub(super) struct OneEach {
    /// Share of the used connections that carried the most common number.
    pub(super) share: f64,
    /// Remark on connections that carried nothing; empty if none did.
    pub(super) probes: String,
    /// Factor on the confidence: less than 1 if more requests than one are possible.
    pub(super) certainty: f64,
    /// Remark on the largest number that is possible; empty if one is certain.
    pub(super) bound: String,
}

/// Finds D1 or D6 where nearly all connections carried one request.
pub(super) fn judge(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let each = OneEach::of(requests, seen).filter(|_| !seen.idled_before_farewell())?;
    if d02_idle_pool_too_small::keeps_some(seen, requests) {
        return None;
    }
    let found = d01_client_per_request::judge(seen, &each)
        .or_else(|| d06_connection_close::judge(seen, &each))?;
    Some(or_ended_stream(seen, found))
}

/// Returns how sure a number of requests is, and a remark on its upper bound.
pub(super) fn bounds(requests: &Requests, seen: &Evidence) -> (f64, String) {
    match seen.requests_at_most {
        Some(most) if most.common > requests.common || most.total > requests.total => {
            let most = most.p50.max(requests.p50);
            let remark = format!(
                "; requests are known within bounds: {} to {most} a connection in the median",
                requests.p50
            );
            (BOUNDED, remark)
        }
        _ => (1.0, String::new()),
    }
}

/// Returns true if no connection has more messages than one request behind an introduction takes, and
/// most have the same number. Messages that are alike are requests.
pub(super) fn is_introduced(requests: &Requests, seen: &Evidence) -> bool {
    let most = match seen.messages {
        Messages::Alike => 1,
        Messages::BehindHandshake if seen.is_exact_behind_handshake() => 1,
        Messages::Plain => ONE_REQUEST,
        _ => INTRODUCED,
    };
    // Two messages of a handshake come in one segment now and then.
    let one_at_least = matches!(seen.messages, Messages::WithHandshakePerhaps(least)
        if least.common == 1 && least.common_share >= NEARLY_ALL);
    let is_common = requests.common_share >= DOMINANT || one_at_least;
    requests.common > 1 && requests.max <= most && is_common
}

/// Returns the least number of requests, where by it nearly each connection carried one, of more messages
/// than a small one and an introduction take: a large request may have as many segments.
pub(super) fn large_ones(requests: &Requests, seen: &Evidence) -> Option<Requests> {
    let Messages::WithHandshakePerhaps(least) = seen.messages else { return None };
    let is_one = least.common == 1 && least.common_share >= NEARLY_ALL;
    (is_one && requests.common > INTRODUCED).then_some(least)
}

impl OneEach {
    pub(super) fn of(requests: &Requests, seen: &Evidence) -> Option<Self> {
        let large = large_ones(requests, seen);
        let requests = large.as_ref().unwrap_or(requests);
        // Probes carry nothing, and are not counted. Behind an introduction the messages of one request
        // may differ by some: two may come in one segment.
        let alike = if is_introduced(requests, seen) { 1.0 } else { requests.common_share };
        let share = (alike / (1.0 - requests.none_share).max(1e-3)).min(1.0);
        let is_one = match (seen.messages, seen.requests_at_most) {
            (Messages::Alike, _) => requests.common == 1,
            (Messages::Plain, _) => requests.common <= ONE_REQUEST,
            (Messages::BehindHandshake, _) if seen.is_exact_behind_handshake() => {
                requests.common == 1
            }
            (Messages::BehindHandshake, Some(most)) => most.common <= ONE_BEHIND_HANDSHAKE,
            _ => true,
        };
        if !is_one {
            return None;
        }
        // Closes of each kind carried the same number: one request, in one segment or a few.
        if !(1..=INTRODUCED).contains(&requests.common) || share < NEARLY_ALL {
            return None;
        }
        let probes = if requests.none_share > 0.0 {
            format!(" (and {} carried nothing, as probes do)", percent(requests.none_share))
        } else {
            String::new()
        };
        let messages = thousands(requests.common.into());
        let (certainty, bound) = match bounds(requests, seen) {
            (sure, remark) if seen.messages == Messages::BehindHandshake && sure < 1.0 => {
                (ONE_REQUEST_OVER_TLS, remark)
            }
            (sure, remark) if requests.common > ONE_REQUEST => {
                let one = format!(
                    "; {messages} messages each, as one request behind a TLS handshake takes, or a \
                     limit of about {messages} requests (D5){remark}"
                );
                (BEHIND_INTRODUCTION * sure, one)
            }
            (sure, remark) if sure >= 1.0 && requests.common > 1 => {
                let one = format!(
                    "; {messages} messages each, as one request in parts, a TLS handshake or a log-in \
                     takes{remark}"
                );
                (BOUNDED, one)
            }
            bounded => bounded,
        };
        Some(Self { share, probes, certainty, bound })
    }

    /// Returns true if the close came so late that a timeout caused it.
    pub(super) fn is_late(idle: Option<Idle>) -> bool {
        idle.is_some_and(|idle| idle.p50_ms >= SOME_TIMEOUT_MS)
    }

    /// Returns 1 for a close at once, and less for one that came somewhat later.
    pub(super) fn punctuality(idle: Option<Idle>) -> f64 {
        match idle.map_or(0, |idle| idle.p50_ms) {
            0..=LONGEST_FAREWELL_MS => 1.0,
            ms if ms < SHORT_TIMEOUT_MS => NOT_AT_ONCE,
            _ => SOMEWHAT_LATE,
        }
    }
}
