//! The rules: from evidence about one destination, or a whole host, to findings.
//!
//! Owns their order; each rule has a file, and the numbers are in
//! [`thresholds`](crate::thresholds).
//!
//! ```text
//! one dump   D14, D9 (queue), D7, D10   then healthy or mixed
//! polled     D14, D9 (queue), D7, D10   then D1, D2, D4-D6, healthy or mixed
//! counted    D14, D9, D7, D10   then the first of: D13, D1 (pools pile up), D5, D4 (met requests),
//! and traced                    D12, healthy, streams, healthy (opened at once), D8, D3, D8 (resets), D4,
//!                               D1 (pools collected), D11, D5, D11 (lifetime), D1 or D6, D2; mixed if none
//!                               fits, or if failures are all that is seen beside many requests
//! ```
//!
//! "Healthy" needs two things: requests enough for the closes by the lower bound, and the absence
//! of each kind of harm in [`healthy`]. Few closes among many requests may still be failures.
//!
//! The closer alone does not separate D1 from D6: a client that says `Connection: close` mostly
//! sees the server's FIN first, and a server that says it may see the client's.

mod accept_queue;
mod d01_client_per_request;
mod d02_idle_pool_too_small;
mod d03_body_not_drained;
mod d04_server_timeout;
mod d05_request_limit;
mod d06_connection_close;
mod d07_close_wait_leak;
mod d08_probes;
mod d09_connects_fail;
mod d10_port_budget;
mod d11_expiry;
mod d12_multiplexed;
mod d13_given_up;
mod d14_peer_silent;
mod healthy;
mod host;
mod mixed;
mod one_request_each;
mod polled;
mod server_closes;
mod streams;

pub use self::host::{HostCounters, judge_host};
pub use self::polled::not_judged_by_polls;

use crate::evidence::{Evidence, Level, PolledEvidence, Requests};
use crate::finding::{Cause, Finding};
use crate::knowledge::advice;
use crate::missing_evidence::{degrade, with_guessed_side};
use crate::thresholds::{ENOUGH_CLOSES, WEAKER};

/// Judges one destination. Returns one finding or more, the most important one first.
#[must_use]
pub fn judge(evidence: &Evidence) -> Vec<Finding> {
    let seen = &evidence.before_end_of_load();
    let findings = match &seen.level {
        Level::OneDump => beside(seen, degrade(seen, one_dump(seen))),
        Level::Polled(polls) => judge_polled(seen, polls),
        Level::Counted | Level::Traced(_) => beside(seen, degrade(seen, main_cause(seen))),
    };
    findings.into_iter().map(|one| with_guessed_side(seen, one)).collect()
}

/// Puts the main cause among the findings that do not depend on closes.
fn beside(seen: &Evidence, cause: Finding) -> Vec<Finding> {
    let first = [d14_peer_silent::judge, d09_connects_fail::judge, accept_queue::judge];
    let then = [d07_close_wait_leak::judge, d10_port_budget::judge];
    let mut findings: Vec<Finding> = first.into_iter().filter_map(|rule| rule(seen)).collect();
    let at = findings.len();
    findings.extend(then.into_iter().filter_map(|rule| rule(seen)));
    // With a leak beside it, a destination is not healthy.
    let is_calm = matches!(cause.cause, Cause::Healthy | Cause::Multiplexed | Cause::Mixed);
    if findings.is_empty() || !is_calm {
        findings.insert(at, cause);
    }
    findings
}

fn judge_polled(seen: &Evidence, polls: &PolledEvidence) -> Vec<Finding> {
    let rules = [
        d14_peer_silent::judge,
        accept_queue::judge,
        d07_close_wait_leak::judge,
        d10_port_budget::judge,
    ];
    let found = rules.into_iter().filter_map(|rule| rule(seen));
    let mut findings: Vec<Finding> =
        found.map(|one| Finding { confidence: one.confidence * WEAKER, ..one }).collect();
    let cause = polled::main_cause(seen, polls);
    if findings.is_empty() || !matches!(cause.cause, Cause::Healthy | Cause::Mixed) {
        findings.insert(0, cause);
    }
    findings
}

/// Judges the closes of the last minute by this side, and what is open: one dump has no more.
fn one_dump(seen: &Evidence) -> Finding {
    mixed::closed_first_in_one_dump(seen)
        .or_else(|| healthy::in_one_dump(seen))
        .unwrap_or_else(|| mixed::too_little_in_one_dump(seen))
}

/// Finds the cause of counted closes. The order is part of the rules.
fn main_cause(seen: &Evidence) -> Finding {
    if let Some(found) = d13_given_up::judge(seen)
        .or_else(|| d13_given_up::nothing_comes_back(seen))
        .or_else(|| d01_client_per_request::pools_pile_up(seen))
        .or_else(|| d05_request_limit::judge_turned_over(seen))
        .or_else(|| d04_server_timeout::met_some_requests(seen))
        .or_else(|| d12_multiplexed::counted_by_load(seen))
        .or_else(|| d12_multiplexed::judge(seen))
        .or_else(|| healthy::judge(seen))
        .or_else(|| streams::judge(seen))
        .or_else(|| healthy::opened_at_once(seen))
    {
        return found;
    }
    if seen.closed() < ENOUGH_CLOSES {
        return healthy::by_load(seen).unwrap_or_else(|| mixed::not_enough(seen));
    }
    let known = seen.known_requests();
    let with = |rule: fn(&Evidence, &Requests) -> Option<Finding>| rule(seen, known.as_ref()?);
    with(d08_probes::judge)
        .or_else(|| d03_body_not_drained::judge(seen))
        .or_else(|| d08_probes::by_reset(seen, known.as_ref()))
        .or_else(|| d04_server_timeout::after_common_time(seen))
        .or_else(|| with(d01_client_per_request::pools_collected_later))
        .or_else(|| d11_expiry::after_common_time(seen))
        .or_else(|| d04_server_timeout::met_requests(seen))
        .or_else(|| d04_server_timeout::after_some_time(seen))
        .or_else(|| d11_expiry::after_some_time(seen))
        .or_else(|| mixed::failures_among_many(seen))
        .or_else(|| with(d05_request_limit::judge))
        .or_else(|| with(d11_expiry::after_lifetime))
        .or_else(|| with(one_request_each::judge))
        .or_else(|| with(d01_client_per_request::after_a_few))
        .or_else(|| with(d02_idle_pool_too_small::judge))
        .unwrap_or_else(|| match known {
            Some(_) => mixed::no_single_cause(seen),
            None => mixed::no_requests(seen),
        })
}

/// Builds a finding with the advice of the tables: for the programs that are there.
fn finding(seen: &Evidence, cause: Cause, confidence: f64, summary: String) -> Finding {
    let code = cause.code();
    let there = seen.side.other();
    let here = || advice(code, seen.runtime);
    let at_peer = || {
        let text = advice(code, seen.peer_runtime)?;
        Some(format!("at the {}, {text}", there.as_str()))
    };
    let is_of_both = matches!(cause, Cause::ServerTimeout { .. } | Cause::ConnectionClose { .. });
    let advice = match (cause.side_to_change(), seen.peer_runtime) {
        (Some(side), _) if side == there => at_peer(),
        (None, Some(_)) if is_of_both => match (seen.runtime.and_then(|_| here()), at_peer()) {
            (Some(here), Some(there)) => Some(format!("{here}; {there}")),
            (one, other) => one.or(other),
        },
        _ => here(),
    };
    Finding { code, cause, confidence, summary, advice }
}
