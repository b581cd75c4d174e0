//! D2: fewer connections may idle than are used at once, so the client closes healthy ones as they
//! return from a burst.

use super::finding;
use crate::evidence::{Evidence, PolledEvidence, Requests, Side, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::clients_with_idle_set;
use crate::thresholds::{
    AT_ONCE_MS, CARRIED_BY_KEPT, DOMINANT, INTRODUCED, KNOWN_IDLE_SET, LARGEST_NAMED_IDLE,
    ONE_REQUEST, POOL_OR_STRANGER, UNKNOWN_IDLE_SET, UNKNOWN_IDLE_SET_POLLED,
};
use crate::words::{counted, thousands};

/// Finds a client that closes first and at once. A client that keeps none has no pool: D1 is judged
/// before.
pub(super) fn judge(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let by_client = seen.share_closed_by(Side::Client);
    let at_once =
        seen.idle_before_close_by(Side::Client).is_some_and(|idle| idle.p50_ms <= AT_ONCE_MS);
    if by_client < DOMINANT || !at_once || seen.idled_before_farewell() {
        return None;
    }
    // One request behind an introduction each, and none stays: there is no pool.
    let keeps_none = seen.established == 0 && seen.idle_set.is_none();
    if keeps_none && seen.messages.may_have_handshake() && requests.max <= INTRODUCED {
        return None;
    }
    // During a burst, the number open is not the number that may idle.
    let idle = seen.idle_set.unwrap_or(seen.established);
    let mut summary = format!(
        "the client closed {} of {} connections first, within moments of their last byte; they \
         carried {} in the median and {} at most: it closes healthy connections as they return from \
         a burst",
        thousands(seen.closed_by(Side::Client)),
        thousands(seen.closed()),
        counted(requests.p50.into(), "request"),
        thousands(requests.max.into())
    );
    let mut confidence = by_client * UNKNOWN_IDLE_SET;
    if seen.idle_set.is_some() && (1..=LARGEST_NAMED_IDLE).contains(&idle) {
        summary.push_str(&format!(", and {idle} may stay"));
        let clients = clients_that_keep(seen, idle);
        if !clients.is_empty() {
            confidence = by_client * KNOWN_IDLE_SET;
            summary.push_str(&format!(" (the default of {})", clients.join(" and of ")));
        }
        let is_of_runtime = seen.runtime_of(Side::Client).is_some() && !clients.is_empty();
        let is_its_own = seen.keeper_closes == Some(true) && is_of_runtime;
        if closed_carried_alike(seen, requests) && !is_its_own && seen.load.is_none() {
            confidence = confidence.min(POOL_OR_STRANGER);
            summary.push_str(
                "; or those are another client's, which opens a connection for each request (D1)",
            );
        }
    }
    if let Some(load) = seen.load.filter(|load| load.concurrency > idle) {
        let at_once = thousands(load.concurrency);
        summary.push_str(&format!("; the load has up to {at_once} requests in flight at once"));
    }
    Some(finding(seen, Cause::IdlePoolTooSmall { idle }, confidence, summary))
}

/// Returns true if no closed connection carried more than most did, but for a few.
fn closed_carried_alike(seen: &Evidence, requests: &Requests) -> bool {
    let is_alike =
        |closed: Requests| closed.max <= requests.common || closed.common_share >= DOMINANT;
    seen.closed_requests.is_some_and(is_alike)
}

/// Returns true if a few connections stay and carry what the others do not: a closed one did not
/// fit into a pool, however little each carried. The pool is of the process that closes.
pub(super) fn keeps_some(seen: &Evidence, requests: &Requests) -> bool {
    if seen.keeper_closes == Some(false) && closed_carried_alike(seen, requests) {
        return false;
    }
    let once = requests.connections.saturating_mul(requests.common.into());
    // One request may take a few messages, unless both bounds agree that each was a request.
    let is_exact = seen.requests_at_most.is_some_and(|most| most.total == requests.total);
    let one = if is_exact { 1 } else { ONE_REQUEST };
    (1..=LARGEST_NAMED_IDLE).contains(&seen.established)
        && requests.max > one
        && share(requests.total.saturating_sub(once), requests.total) >= CARRIED_BY_KEPT
}

/// Finds a client that closes first and keeps a few, by polls alone.
pub(super) fn polled(
    seen: &Evidence,
    polls: &PolledEvidence,
    closes: &str,
    confidence: f64,
) -> Option<Finding> {
    let idle = polls.kept;
    if !(1..=LARGEST_NAMED_IDLE).contains(&idle) {
        return None;
    }
    let mut summary = format!(
        "{closes}, and {} stayed open: healthy connections may be closed as they return from a burst",
        thousands(idle)
    );
    let clients = clients_that_keep(seen, idle);
    let mut named = UNKNOWN_IDLE_SET_POLLED;
    if !clients.is_empty() {
        summary.push_str(&format!(" ({idle} is the default of {})", clients.join(" and of ")));
        named = 1.0;
    }
    Some(finding(seen, Cause::IdlePoolTooSmall { idle }, confidence * named, summary))
}

/// Returns the clients that keep as many by default; only those of the runtime, if it is known.
fn clients_that_keep(seen: &Evidence, idle: u64) -> Vec<&'static str> {
    clients_with_idle_set(idle, seen.runtime.filter(|_| seen.side == Side::Client))
}
