//! Mixed: no single cause, or not enough evidence for one.

use super::{finding, healthy};
use crate::evidence::{Evidence, PolledEvidence, Side, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{DOMINANT, ENOUGH_CLOSES};
use crate::words::{counted, is_or_are, thousands, were};

/// Reports too few closes.
pub(super) fn not_enough(seen: &Evidence) -> Finding {
    counted_closes(seen, "not enough evidence")
}

/// Reports closes that none of the rules explains.
pub(super) fn no_single_cause(seen: &Evidence) -> Finding {
    counted_closes(seen, "no single cause")
}

/// Reports failures among many requests, if the closes are too few to explain anything else: a
/// destination that keeps its connections has no cause of D1, D2 or D6.
pub(super) fn failures_among_many(seen: &Evidence) -> Option<Finding> {
    let among_many = healthy::is_well_used(seen) && healthy::is_harmed(seen);
    among_many.then(|| {
        let failed = healthy::failed_requests(seen);
        let why = format!(
            "connections are kept for many requests, but {} were reset with a request under way, {} \
             ended without an answer, and {} are stuck",
            thousands(failed),
            thousands(seen.unanswered.max(seen.given_up_waiting())),
            thousands(seen.stuck.count())
        );
        counted_closes(seen, &why)
    })
}

/// Reports closes without a number of requests.
pub(super) fn no_requests(seen: &Evidence) -> Finding {
    let why = if share(seen.reset_on_purpose(), seen.closed()) >= DOMINANT {
        "the client ended them by a reset on purpose (SO_LINGER 0), and the kernel then forgets their \
         requests"
    } else {
        "no requests could be counted"
    };
    counted_closes(seen, why)
}

fn counted_closes(seen: &Evidence, why: &str) -> Finding {
    let summary = format!(
        "{} {} opened and {} closed, {} of them first by the client and {} by the server: {why}",
        counted(seen.opened, "connection"),
        if seen.opened == 1 { "was" } else { "were" },
        thousands(seen.closed()),
        thousands(seen.closed_by(Side::Client)),
        thousands(seen.closed_by(Side::Server))
    );
    unsure(seen, summary)
}

/// Reports the TIME_WAITs of one dump, if they are many or not listed.
pub(super) fn closed_first_in_one_dump(seen: &Evidence) -> Option<Finding> {
    let Some(closed_first) = seen.time_wait else {
        let summary = format!(
            "{} {} open; how many were closed is not known, because this system does not list \
             TIME_WAITs",
            counted(seen.alive, "connection"),
            is_or_are(seen.alive)
        );
        return Some(unsure(seen, summary));
    };
    (closed_first >= ENOUGH_CLOSES).then(|| {
        let summary = format!(
            "the {} closed {} connections first within the last minute, and {} {} open",
            seen.side.as_str(),
            thousands(closed_first),
            thousands(seen.alive),
            is_or_are(seen.alive)
        );
        Finding { advice: Some(next_step(Situation::OneDump)), ..unsure(seen, summary) }
    })
}

/// Reports one dump with nothing to judge.
pub(super) fn too_little_in_one_dump(seen: &Evidence) -> Finding {
    let summary = format!(
        "{} {} open, and {} closed first by this side within the last minute: too little to say more",
        counted(seen.alive, "connection"),
        is_or_are(seen.alive),
        were(seen.time_wait.unwrap_or(0))
    );
    unsure(seen, summary)
}

/// Reports polls that name no cause.
pub(super) fn polled(seen: &Evidence, polls: &PolledEvidence, why: &str) -> Finding {
    let first = match polls.closed_first {
        Some(first) => format!("{} were closed first by this side", thousands(first)),
        None => "how many this side closed first is not known here".to_owned(),
    };
    let summary = format!(
        "at least {} connections were opened, {first}, {} ended without a TIME_WAIT here, and {} are \
         open: {why}",
        thousands(polls.opened),
        thousands(polls.gone),
        thousands(seen.alive)
    );
    unsure(seen, summary)
}

fn unsure(seen: &Evidence, summary: String) -> Finding {
    finding(seen, Cause::Mixed, 0.0, summary)
}
