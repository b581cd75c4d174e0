//! Level L0: the rules on the weaker evidence of polls.
//!
//! Owns which rule applies where no close is counted. Polls show neither the requests of a
//! connection nor its idle time, so rules that rest on them are not judged:
//! [`not_judged_by_polls`] lists them.

use super::{d01_client_per_request, d02_idle_pool_too_small, healthy, mixed, server_closes};
use crate::evidence::{Evidence, PolledEvidence, Side, share};
use crate::finding::Finding;
use crate::thresholds::{DOMINANT, ENOUGH_CLOSES, LIKELY, POSSIBLE};
use crate::words::{percent, thousands};

/// Lists the findings that polls cannot reach, each with the reason.
#[must_use]
pub const fn not_judged_by_polls() -> &'static [(&'static str, &'static str)] {
    &[
        ("D3", "data left unread at the close is counted for the whole host, not by destination"),
        ("D4, D5", "idle times and requests at the close stand in destroy events: judged together"),
        ("D8", "a probe is known by what it carried, which stands in destroy events"),
        ("D11", "a timeout is known by the idle time at the close, which stands in destroy events"),
        ("D12", "the traffic on a connection is reported by sock_diag alone"),
    ]
}

/// Finds the cause of the closes that polls show, by the side that began most of them.
pub(super) fn main_cause(seen: &Evidence, polls: &PolledEvidence) -> Finding {
    let first = polls.closed_first.unwrap_or(0);
    let closes = first.saturating_add(polls.gone);
    if closes < ENOUGH_CLOSES {
        return healthy::polled(seen, polls).unwrap_or_else(|| {
            let why = "not enough of it is seen at this level to name a cause";
            mixed::polled(seen, polls, why)
        });
    }
    let (ours, theirs) = (share(first, closes), share(polls.gone, closes));
    let (closer, by, sure) = if ours >= DOMINANT {
        (seen.side, ours, LIKELY)
    } else if theirs >= DOMINANT && polls.closed_first.is_some() {
        // This system lists TIME_WAITs and has none of these: the other side holds them, or there
        // was a reset.
        (seen.side.other(), theirs, POSSIBLE)
    } else {
        return mixed::polled(seen, polls, "no single closer");
    };
    match closer {
        Side::Client => by_client(seen, polls, closes, by, sure),
        Side::Server => server_closes::polled(seen, closes, by * sure),
    }
}

fn by_client(seen: &Evidence, polls: &PolledEvidence, closes: u64, by: f64, sure: f64) -> Finding {
    if share(polls.kept_closed, closes) > 1.0 - DOMINANT {
        let why = "many had been open for two seconds or more, so it may be the client's own idle \
                   timeout (D11) or slow requests on a connection each (D1)";
        return mixed::polled(seen, polls, why);
    }
    let said = format!(
        "at least {} connections were closed, {} of them first by the client, within moments of \
         being opened",
        thousands(closes),
        percent(by)
    );
    d01_client_per_request::polled(seen, polls, &said, sure * by)
        .or_else(|| d02_idle_pool_too_small::polled(seen, polls, &said, sure * by))
        .unwrap_or_else(|| mixed::polled(seen, polls, "no single cause"))
}
