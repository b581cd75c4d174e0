//! D1: the client opens a connection for each request, or for a few, and throws it away.

use super::one_request_each::OneEach;
use super::{finding, healthy, streams};
use crate::evidence::{Evidence, Messages, PolledEvidence, Requests, Side, share};
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    ANSWERED_AFTER_CLOSE, AT_ONCE_MS, DOMINANT, ENDED_ONCE, ENOUGH_CLOSES, ENOUGH_TO_LEAK,
    FAREWELLS_MEET, FEW_REQUESTS, IDLE_BESIDE_NEW, INTRODUCED, LONG_ENOUGH, LONGEST_FAREWELL_MS,
    NEARLY_ALL, ONE_REQUEST, PILED_UP, PILED_UP_AT_ONCE, SOMEWHAT_LATE, TIMEOUT_MS, WORTH_A_CAUSE,
};
use crate::words::{counted, millis, percent, thousands};

/// Finds pools that are thrown away without being closed: nothing closes, connections pile up.
pub(super) fn pools_pile_up(seen: &Evidence) -> Option<Finding> {
    let requests = seen.requests?;
    let grown = seen.alive.saturating_sub(seen.alive_at_start);
    let piled_up = grown >= ENOUGH_CLOSES && share(grown, seen.opened) >= DOMINANT;
    let once = requests.common <= ONE_REQUEST && requests.common_share >= NEARLY_ALL;
    // A large pool that has just been filled looks the same, until it is used a second time.
    let fills_a_pool = seen.load.is_some_and(|load| grown <= load.concurrency);
    // A leaked connection carries one answer and then nothing: a stream goes on.
    let leaks = piled_up && once && !streams::flow(seen);
    (leaks && seen.opened >= ENOUGH_TO_LEAK && !fills_a_pool).then(|| {
        // Opened at about one time, they may as well be subscriptions on which nothing happens.
        let stands = healthy::stands(seen);
        let rival = if stands {
            "; or they are a pool that was opened at once, or subscriptions whose server is silent: no more \
             are opened"
        } else {
            ""
        };
        let summary = format!(
            "{} connections were opened for {} requests, and {} of them stay open after one request: \
             each request gets a new pool, and no pool is closed{rival}",
            thousands(seen.opened),
            thousands(requests.total),
            thousands(grown)
        );
        let confidence = if stands { PILED_UP_AT_ONCE } else { PILED_UP };
        finding(seen, Cause::ClientPerRequest, confidence, summary)
    })
}

/// Finds pools that are thrown away and closed later: by a collector, or by their own idle timeout.
///
/// By Little's law the closes a second times their idle time are the connections that idle on
/// average. Where as many idle while others are opened for one request each, they are in no pool
/// that is shared.
pub(super) fn pools_collected_later(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let each = OneEach::of(requests, seen).filter(|_| requests.common <= ONE_REQUEST)?;
    let by_client = seen.share_closed_by(Side::Client);
    let idle = seen.idle_before_close_by(Side::Client).filter(|idle| idle.p50_ms >= TIMEOUT_MS)?;
    let seconds = seen.window.as_secs_f64();
    let closes = seen.closed_by(Side::Client) as f64;
    let idling = closes / seconds * f64::from(idle.p50_ms) / 1e3;
    let is_new = share(seen.opened, seen.closed()) >= DOMINANT;
    (by_client >= DOMINANT && is_new && seconds > 0.0 && idling >= IDLE_BESIDE_NEW).then(|| {
        let summary = format!(
            "{} connections were opened for one request each and closed by the client {} later, so \
             about {} idled while others were opened: pools are thrown away, and closed when they are \
             collected or expire (bursts further apart than the idle timeout look the same){}",
            thousands(seen.opened),
            millis(idle.p50_ms),
            thousands(idling.min(1e15) as u64),
            each.bound
        );
        let once = if seen.is_turned_over() { 1.0 } else { ENDED_ONCE };
        let confidence = by_client * PILED_UP * each.certainty * once;
        finding(seen, Cause::ClientPerRequest, confidence, summary)
    })
}

/// Finds a client that closes each connection itself after one request.
pub(super) fn judge(seen: &Evidence, each: &OneEach) -> Option<Finding> {
    // Where a few closers are not known, the others speak for them.
    let by_client = seen.share_closed_by(Side::Client);
    let idle = seen.idle_before_close_by(Side::Client);
    if seen.share_of_known_closed_by(Side::Client) < NEARLY_ALL || OneEach::is_late(idle) {
        return None;
    }
    let mut summary = format!(
        "{} connections were closed after one request each{}, {} of them first by the client: it \
         opens a connection for each request and throws it away after it{}",
        thousands(seen.closed()),
        each.probes,
        percent(by_client),
        each.bound
    );
    let given_up = seen.reset_on_purpose();
    if share(given_up, seen.closed()) >= WORTH_A_CAUSE {
        summary.push_str(&format!(
            "; {} of them by a reset on purpose (SO_LINGER 0), as a cancelled request does",
            thousands(given_up)
        ));
    }
    let mut confidence = by_client * OneEach::punctuality(idle) * each.certainty;
    // Behind a handshake the last data before a farewell may be the handshake's: no answer came.
    if seen.messages.may_have_handshake()
        && idle.is_some_and(|idle| idle.p50_ms >= 2 * LONGEST_FAREWELL_MS)
    {
        confidence *= SOMEWHAT_LATE;
        summary.push_str("; or it gave up before an answer (D13), some time after a handshake");
    }
    if share(seen.left_early_perhaps(), seen.closed()) >= WORTH_A_CAUSE {
        confidence = confidence.min(ANSWERED_AFTER_CLOSE);
        summary.push_str(
            "; data came after many of its closes: a farewell of TLS, or answers that it did not wait \
             for (D13) or read to their end (D3)",
        );
    }
    Some(finding(seen, Cause::ClientPerRequest, confidence, summary))
}

/// Finds a client that closes each connection itself after one request, where some of the server's closes came
/// first: it closes when it has read the client's farewell. `rival`: the confidence of D6.
pub(super) fn behind_farewells(seen: &Evidence, each: &OneEach, rival: f64) -> Finding {
    let summary = format!(
        "{} connections were closed after one request each{}, {} of them first by the client and the others \
         perhaps at its farewell: it opens a connection for each request and throws it away after it; or one \
         of the two says Connection: close (D6){}",
        thousands(seen.closed()),
        each.probes,
        percent(seen.share_closed_by(Side::Client)),
        each.bound
    );
    finding(seen, Cause::ClientPerRequest, rival.min(FAREWELLS_MEET), summary)
}

/// Finds a client that throws a pool away after a few requests: no pool closes the last connection
/// that returns to it.
pub(super) fn after_a_few(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    let by_client = seen.share_closed_by(Side::Client);
    let at_once =
        seen.idle_before_close_by(Side::Client).is_some_and(|idle| idle.p50_ms <= AT_ONCE_MS);
    let keeps_none = seen.established == 0 && seen.idle_set.is_none();
    // Up to so many messages may be a handshake alone.
    let may_be_handshake = matches!(seen.messages, Messages::WithHandshakePerhaps(_));
    if may_be_handshake && requests.p50 <= INTRODUCED {
        return None;
    }
    (by_client >= DOMINANT && at_once && keeps_none).then(|| {
        let summary = format!(
            "the client closed {} of {} connections first, within moments of their last byte and \
             after {} in the median, and keeps none: it is made for a few requests and thrown away",
            thousands(seen.closed_by(Side::Client)),
            thousands(seen.closed()),
            counted(requests.p50.into(), "request")
        );
        finding(seen, Cause::ClientPerRequest, by_client * FEW_REQUESTS, summary)
    })
}

/// Finds a client that closes first and keeps nothing, by polls alone.
pub(super) fn polled(
    seen: &Evidence,
    polls: &PolledEvidence,
    closes: &str,
    confidence: f64,
) -> Option<Finding> {
    // Within a short window no connection is long-lived, whatever the client does.
    let keeps_none = polls.kept == 0 && (seen.alive == 0 || seen.window >= LONG_ENOUGH);
    keeps_none.then(|| {
        let summary = format!(
            "{closes}, and none stayed open: the client opens a connection for each request \
             (Connection: close, D6, and an unread body, D3, look the same from here)"
        );
        finding(seen, Cause::ClientPerRequest, confidence, summary)
    })
}
