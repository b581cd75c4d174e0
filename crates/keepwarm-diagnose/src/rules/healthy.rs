//! Healthy: connections are kept, each carries many requests, and none of the harm that is seen
//! contradicts it.

use super::{d04_server_timeout, finding};
use crate::evidence::{Evidence, Messages, PolledEvidence, RequestCount, Side, share};
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    CLUSTERED, ENOUGH_CLOSES, FAILED_REQUESTS, INTRODUCED, LARGE_LIMIT, LIKELY, LIMITED,
    LONG_ENOUGH, NEARLY_ALL, ONE_DUMP, OPENED_AT_ONCE, PILED_AT_MOST, SAME_LIMIT, UNREAD,
    USED_AGAIN, WELL_USED,
};
use crate::words::{counted, is_or_are, millis, thousands, were};

/// Finds many requests for each open and each close.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let quiet = seen.closed() == 0
        && seen.opened > 0
        && carried(seen) >= seen.opened.saturating_mul(USED_AGAIN);
    ((quiet || is_well_used(seen)) && !is_harmed(seen)).then(|| kept(seen))
}

/// Returns true if there are many requests for each open and each close, by the lower bound.
pub(super) fn is_well_used(seen: &Evidence) -> bool {
    let carried = carried(seen);
    carried > 0 && carried >= seen.closed().max(seen.opened).saturating_mul(WELL_USED)
}

/// Returns the number of connections that the server reset, or that the client wrote to after the
/// server's FIN. Each had answered requests before, and failed one.
pub(super) fn failed_requests(seen: &Evidence) -> u64 {
    let reset = match seen.side {
        Side::Client => seen.remote_rst,
        Side::Server => seen.local_rst + seen.undrained,
    };
    reset.max(seen.late_requests()).min(seen.closed())
}

/// Returns true if something here is a failure, however many requests went well.
pub(super) fn is_harmed(seen: &Evidence) -> bool {
    let unread = seen.undrained + if seen.side == Side::Server { seen.remote_rst } else { 0 };
    failed_requests(seen) >= FAILED_REQUESTS
        || seen.unanswered.max(seen.given_up_waiting()) >= FAILED_REQUESTS
        || (unread >= ENOUGH_CLOSES && share(unread, seen.closed()) >= UNREAD)
        || seen.stuck.closing >= FAILED_REQUESTS
        || (seen.stuck.count() > 0 && seen.stuck.is_lasting())
}

/// Returns true if connections were opened at once, and their number has stood since: half of the dumps
/// met nearly all of them. Where each request opens one, half of the dumps meet half of them.
pub(super) fn stands(seen: &Evidence) -> bool {
    let grown = seen.established.saturating_sub(seen.alive_at_start);
    let usual = seen.usual_established.map_or(0, |usual| usual.saturating_sub(seen.alive_at_start));
    grown > 0 && share(usual, grown) >= NEARLY_ALL
}

/// Finds connections that were opened at once, each of which was answered, and stay, where next to none
/// is closed.
pub(super) fn opened_at_once(seen: &Evidence) -> Option<Finding> {
    let stay = seen.closed().saturating_mul(WELL_USED) <= seen.alive;
    let were_answered =
        seen.open.is_some_and(|open| open.answers >= open.connections && open.connections > 0);
    let holds = seen.load.is_none() && seen.window >= LONG_ENOUGH && stands(seen);
    (holds && stay && were_answered && !is_harmed(seen)).then(|| {
        let summary = format!(
            "{} opened at about one time and kept since, {} of them answered; {} closed: a pool, or \
             subscriptions whose server is silent (pools that a batch left open look the same)",
            counted(seen.opened, "connection"),
            thousands(seen.open.map_or(0, |open| open.connections)),
            were(seen.closed())
        );
        finding(seen, Cause::Healthy, OPENED_AT_ONCE, summary)
    })
}

/// Finds no more connections than the load uses at once, and next to none of them closed: the load
/// knows that a pool is being filled for the first time.
pub(super) fn by_load(seen: &Evidence) -> Option<Finding> {
    let load = seen.load.as_ref()?;
    let filled = (1..=load.concurrency).contains(&seen.opened);
    let stays = seen.closed().saturating_mul(WELL_USED) <= seen.opened;
    (filled && stays && seen.connect_failed == 0 && !is_harmed(seen)).then(|| kept(seen))
}

fn kept(seen: &Evidence) -> Finding {
    let noun = match seen.load.map(|load| load.requests) {
        Some(RequestCount::Encrypted) => "data segments (TLS handshakes among them)",
        _ => "requests",
    };
    let mut summary = format!(
        "{}{} {noun} on {}; {} opened and {} closed: connections are kept",
        if is_bound(seen) { "at least " } else { "" },
        thousands(carried(seen)),
        counted(seen.alive_at_start.saturating_add(seen.opened), "connection"),
        were(seen.opened),
        thousands(seen.closed())
    );
    let enough = seen.closed() >= ENOUGH_CLOSES;
    let is_limited = enough
        && seen.requests.is_some_and(|all| {
            let at_most = f64::from(all.max) <= f64::from(all.common) * SAME_LIMIT;
            let pile = if at_most { PILED_AT_MOST } else { CLUSTERED };
            all.common_share >= pile && (INTRODUCED..LARGE_LIMIT).contains(&all.common)
        });
    let timed_out = d04_server_timeout::common_time(seen);
    let sure = if is_limited || timed_out.is_some() { LIMITED } else { 1.0 };
    if let Some(ms) = timed_out {
        summary.push_str(&format!(
            "; the server closed {} of them first, most after {} idle: a timeout shorter than the \
             client's fails a request that meets such a close (D4)",
            thousands(seen.closed_by(Side::Server)),
            millis(ms)
        ));
    }
    finding(seen, Cause::Healthy, sure, summary)
}

/// Returns true if the number of requests is a lower bound.
fn is_bound(seen: &Evidence) -> bool {
    counted_by_load(seen).is_none()
        && seen.requests_at_most.is_some_and(|most| most.total > carried(seen))
}

/// Returns the requests within the window, at least: the load's own count if it has one.
fn carried(seen: &Evidence) -> u64 {
    counted_by_load(seen).unwrap_or_else(|| match seen.messages {
        Messages::WithHandshakePerhaps(least) => least.total,
        _ => seen.requests.map_or(0, |requests| requests.total),
    })
}

fn counted_by_load(seen: &Evidence) -> Option<u64> {
    seen.load?.requests.counted()
}

/// Finds open connections that carried requests, in one dump.
pub(super) fn in_one_dump(seen: &Evidence) -> Option<Finding> {
    let closed_first = seen.time_wait?;
    let per_connection = seen.requests.map_or(0, |requests| requests.p50);
    (seen.alive > 0 && u64::from(per_connection) >= USED_AGAIN && !is_harmed(seen)).then(|| {
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
    (polls.kept > 0 && (most == 0 || few) && !is_harmed(seen)).then(|| {
        let summary = format!(
            "{} connections have been open for two seconds or more, and the whole host opened {} in \
             this window: connections are kept (their requests are not seen)",
            thousands(polls.kept),
            thousands(most)
        );
        finding(seen, Cause::Healthy, LIKELY, summary)
    })
}
