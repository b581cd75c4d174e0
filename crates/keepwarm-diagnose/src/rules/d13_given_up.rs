//! D13: requests are given up before their answer.
//!
//! A request is not an answer: a connection on which the client sent data and received nothing was
//! not used once, it was not used. The client's own deadline, a cancellation, and a server that
//! closes or never reads look alike from the closes alone; the time that the client waited tells
//! them apart.

use super::finding;
use crate::evidence::{Evidence, Side, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{
    CLUSTERED, COMMON_DEADLINE, COMMON_WAIT, DOMINANT, ENOUGH_CLOSES, GIVEN_UP, GIVEN_UP_SURE,
    HALF_SURE, IN_VAIN, LONGEST_FAREWELL_MS, MANY_WAIT, NOT_WAITED_FOR, SHORT_WAIT, SOME_IN_VAIN,
    TICKS_MS, UNANSWERED_SURE,
};
use crate::words::{millis, percent, thousands};

/// Finds closes without an answer.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let closed = seen.closed();
    let waited = seen.waited.filter(|waited| waited.p50_ms > LONGEST_FAREWELL_MS);
    let while_due = seen.given_up_waiting();
    let count = seen.unanswered.max(while_due).min(closed);
    let part = share(count, closed);
    // Behind a handshake, a server that is slow to close after a farewell leaves short times too.
    let may_be_farewells = seen.unanswered < while_due
        && waited.is_some_and(|waited| waited.p50_ms < 2 * LONGEST_FAREWELL_MS)
        && waited.is_some_and(|waited| waited.common_share < CLUSTERED)
        && seen.side == Side::Server
        && seen.messages.may_have_handshake();
    if closed < ENOUGH_CLOSES || part < GIVEN_UP || may_be_farewells {
        return too_late(seen).or_else(|| in_vain(seen));
    }
    let mut summary = format!(
        "{} of {} connections ({}) ended before an answer: ",
        thousands(count),
        thousands(closed),
        percent(part)
    );
    summary.push_str(&match (seen.unanswered.min(closed), while_due.min(closed)) {
        (0, given_up) => format!("the client closed {} while one was due", thousands(given_up)),
        (none, 0) => format!("on {} the client's data got nothing back", thousands(none)),
        (none, given_up) => format!(
            "on {} the client's data got nothing back, and the client closed {} while an answer was \
             due",
            thousands(none),
            thousands(given_up)
        ),
    });
    let base = if seen.unanswered >= while_due { UNANSWERED_SURE } else { GIVEN_UP_SURE };
    let is_proved = seen.unanswered >= while_due || seen.waited_in_vain() >= IN_VAIN;
    let mut confidence = base + (1.0 - base) * part * HALF_SURE;
    let deadline = waited.filter(|waited| waited.common_share >= CLUSTERED);
    if let Some(waited) = deadline {
        let by = if seen.share_closed_by(Side::Server) >= DOMINANT { "server" } else { "client" };
        summary.push_str(&format!(
            "; {} of them after {} of waiting: a deadline of the {by}",
            percent(waited.common_share),
            millis(waited.common_ms)
        ));
        let common = if is_proved { COMMON_DEADLINE } else { COMMON_WAIT };
        confidence = confidence.max(common * part.sqrt()).min(1.0);
    } else if let Some(waited) = waited {
        let median = millis(waited.p50_ms);
        summary.push_str(&format!("; it waited {median} in the median, and differing times"));
    }
    // Data to which nothing came back, and for most no time of waiting: a protocol without answers
    // looks alike.
    if while_due.saturating_mul(2) < seen.unanswered.min(closed) {
        confidence = confidence.min(NOT_WAITED_FOR);
        let why = match seen.share_closed_by(Side::Server) >= DOMINANT {
            true => "; or the server refused them by its close",
            false => {
                "; or the protocol has no answers, and a connection is opened for each message (D1)"
            }
        };
        summary.push_str(why);
    }
    let is_short = waited.is_some_and(|waited| waited.p50_ms < 2 * LONGEST_FAREWELL_MS);
    if is_short && !is_proved {
        confidence *= SHORT_WAIT;
    }
    let cause = Cause::GivenUp { deadline_ms: deadline.map(|waited| waited.common_ms) };
    Some(with_step(seen, cause, confidence, summary))
}

/// Finds answers of a server that came after the client had left: nothing of them was acknowledged.
fn too_late(seen: &Evidence) -> Option<Finding> {
    let (closed, late) = (seen.closed(), seen.late_answers?);
    let count = late.closes.min(closed);
    let part = share(count, closed);
    if closed < ENOUGH_CLOSES || part < GIVEN_UP || late.p50_ms <= TICKS_MS {
        return None;
    }
    let summary = format!(
        "{} of {} connections ({}) ended before an answer: nothing of the server's answer was \
         acknowledged, for the client had left; it was sent {} after the request in the median",
        thousands(count),
        thousands(closed),
        percent(part),
        millis(late.p50_ms)
    );
    let confidence = COMMON_DEADLINE * part.sqrt();
    Some(with_step(seen, Cause::GivenUp { deadline_ms: None }, confidence, summary))
}

/// Finds a client whose waiting is in vain, by the connections that dumps met while it waited: where
/// a protocol says farewell before it closes, the close itself does not show it.
fn in_vain(seen: &Evidence) -> Option<Finding> {
    let least = seen.waited_in_vain();
    // Where the client closed after one time, as a deadline makes it, some of the waiting is enough: a
    // dump may have met the handshake.
    let closes_late = seen.messages.may_have_handshake()
        && seen.idle_before_close_by(Side::Client).is_some_and(|idle| {
            idle.common_share >= CLUSTERED && idle.p50_ms >= 2 * LONGEST_FAREWELL_MS
        });
    let enough = if closes_late { SOME_IN_VAIN } else { IN_VAIN };
    if seen.closed() < ENOUGH_CLOSES || seen.met_waiting < MANY_WAIT || least < enough {
        return None;
    }
    let sure = if least < IN_VAIN { GIVEN_UP_SURE } else { least };
    let summary = format!(
        "{} connections were met while the client waited for an answer, and on {} of them none came \
         before they were closed: requests are given up",
        thousands(seen.met_waiting),
        thousands(seen.met_waiting_in_vain)
    );
    Some(with_step(seen, Cause::GivenUp { deadline_ms: None }, sure, summary))
}

/// Finds many open connections on which every request waits: a server that does not read or
/// answer, or clients that never finish a request (slowloris).
pub(super) fn nothing_comes_back(seen: &Evidence) -> Option<Finding> {
    let open = seen.open?;
    let all_wait = open.connections >= MANY_WAIT && open.requests > 0 && open.answers == 0;
    let few_closed = seen.closed() <= open.connections;
    (all_wait && few_closed).then(|| {
        let summary = format!(
            "{} connections are open, the clients sent {} segments of data on them, and nothing came \
             back: the server does not answer, or the clients never finish a request (slowloris), or \
             the protocol has no answers",
            thousands(open.connections),
            thousands(open.requests)
        );
        with_step(seen, Cause::GivenUp { deadline_ms: None }, HALF_SURE, summary)
    })
}

fn with_step(seen: &Evidence, cause: Cause, confidence: f64, summary: String) -> Finding {
    let found = finding(seen, cause, confidence, summary);
    let step = next_step(Situation::GivenUp);
    // Settings of programs that may not be there help as little as the shared client does.
    let own = found.advice.as_ref().filter(|_| seen.runtime_of(Side::Client).is_some());
    let advice = own.map_or_else(|| step.clone(), |own| format!("{step}; {own}"));
    Finding { advice: Some(advice), ..found }
}
