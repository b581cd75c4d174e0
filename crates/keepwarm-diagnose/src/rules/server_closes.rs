//! D4-D6: the server closes first, and polls cannot show why.

use super::finding;
use crate::evidence::{Evidence, Side};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::words::thousands;

/// Reports a server that closes first; idle times and requests alone could tell D4, D5 and D6
/// apart.
pub(super) fn polled(seen: &Evidence, closes: u64, confidence: f64) -> Finding {
    let held = match seen.side {
        Side::Server => "it holds their TIME_WAITs",
        Side::Client => "they left no TIME_WAIT at the client; a reset looks the same from here",
    };
    let summary = format!(
        "at least {} connections were closed, first by the server as it seems ({held}): its \
         keep-alive timeout (D4), its limit of requests (D5), or Connection: close (D6)",
        thousands(closes)
    );
    let advice = Some(next_step(Situation::ServerCloses));
    Finding { advice, ..finding(seen, Cause::ServerCloses, confidence, summary) }
}
