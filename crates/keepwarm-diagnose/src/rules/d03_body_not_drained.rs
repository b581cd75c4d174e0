//! D3: the client closes responses before it has read them to their end.
//!
//! Unread data that is no longer than a farewell of TLS is no body. At the server an answer of which
//! a part was never acknowledged was cut; a reset alone may be a connection that was ended on purpose.

use super::finding;
use super::streams::or_ended_stream;
use crate::evidence::{Evidence, Side, share};
use crate::finding::{Cause, Finding};
use crate::thresholds::{CUT_ANSWERS, GUESSED_UNREAD, UNREAD};
use crate::words::{percent, thousands};

/// Closes in which a part of the body was unread, how that is known, and how surely.
struct Unread {
    closes: u64,
    how: &'static str,
    sure: f64,
}

pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let closed = seen.closed();
    let candidates = match seen.side {
        Side::Client => [at_client(seen), after_close(seen)],
        Side::Server => [at_server(seen), by_resets(seen)],
    };
    let found = candidates.into_iter().find(|one| share(one.closes, closed) >= UNREAD)?;
    let Unread { how, sure, .. } = found;
    let closes = found.closes.min(closed);
    let part = share(closes, closed);
    // A close in the middle of a body is a FIN if no data has arrived unread.
    let by_client = seen.share_closed_by(Side::Client).max(part);
    let summary =
        format!("{} of {} closes ({}): {how}", thousands(closes), thousands(closed), percent(part));
    Some(or_ended_stream(seen, finding(seen, Cause::BodyNotDrained, sure * by_client, summary)))
}

fn at_client(seen: &Evidence) -> Unread {
    Unread {
        closes: seen.undrained.saturating_sub(seen.unread_farewells),
        how: "the client closed with a part of the body unread",
        sure: 1.0,
    }
}

/// Data that comes after a client's close is the rest of an answer, unless the protocol says farewell:
/// with TLS each connection has several messages.
fn after_close(seen: &Evidence) -> Unread {
    let is_one = seen.requests_at_most.or(seen.requests).is_some_and(|most| most.common == 1);
    // One request behind a handshake is several messages.
    let one_message = is_one && !seen.messages.may_have_handshake();
    Unread {
        closes: if one_message { seen.left_early_perhaps() } else { 0 },
        how: "the client closed, and data came after that: it left before the end of the body (or \
              before a late answer, D13)",
        sure: CUT_ANSWERS,
    }
}

fn at_server(seen: &Evidence) -> Unread {
    let reasons = seen.level.reset_reasons().copied().unwrap_or_default();
    let aborted = reasons.unread.min(seen.remote_rst);
    // Traces name the reasons of a client on this host. Only what was under way shows that more than
    // a farewell was unread.
    if aborted > 0 && aborted.saturating_mul(2) >= seen.cut_answers {
        let is_proved = seen.cut_answers.saturating_mul(2) >= aborted;
        return Unread {
            closes: aborted.max(seen.cut_answers),
            how: "the client closed with a part of the body unread: the kernel names its resets \
                  (TCP_ABORT_ON_CLOSE)",
            sure: match is_proved {
                true => 1.0,
                // A farewell of TLS that was left unread has the same reason.
                false if seen.messages.may_have_handshake() => GUESSED_UNREAD,
                false => CUT_ANSWERS,
            },
        };
    }
    Unread {
        closes: seen.cut_answers,
        how: "the client left while the body was under way, and a part of it was never acknowledged \
              (a deadline in the middle of a body, D13, looks the same)",
        sure: CUT_ANSWERS,
    }
}

fn by_resets(seen: &Evidence) -> Unread {
    let is_explained = seen.reset_on_purpose() * 2 >= seen.remote_rst;
    Unread {
        closes: if is_explained && seen.reset_on_purpose() > 0 { 0 } else { seen.remote_rst },
        how: "the client aborted them, as it does when it leaves a part of the body unread, or is \
              cancelled, or closes by a reset on purpose (SO_LINGER 0)",
        sure: GUESSED_UNREAD,
    }
}
