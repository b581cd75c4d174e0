//! Healthy streams: connections that stay, and over which the server sends again and again.
//!
//! Server-sent events, WebSockets, subscriptions and sessions have few requests, or one, and are no
//! leak: data still comes. A leak carries one answer and then nothing.

use super::{finding, healthy};
use crate::evidence::{Evidence, share};
use crate::finding::{Cause, Finding};
use crate::thresholds::{DOMINANT, STREAM_ENDED, STREAMED, STREAMS, WELL_USED};
use crate::words::{counted, thousands, were};

/// Returns true if the server sends again and again on what is open.
pub(super) fn flow(seen: &Evidence) -> bool {
    seen.open.is_some_and(|open| {
        open.connections > 0 && open.answers >= open.connections.saturating_mul(STREAMED)
    })
}

/// Lowers a finding on closed connections over which the server sent again and again: a stream has a
/// connection of its own, and ends when its client leaves.
pub(super) fn or_ended_stream(seen: &Evidence, found: Finding) -> Finding {
    if share(seen.ended_streams, seen.closed()) < DOMINANT {
        return found;
    }
    let summary = format!(
        "{}; or they are streams that ended (server-sent events, WebSockets), a connection each by \
         design: the server sent again and again on each",
        found.summary
    );
    Finding { summary, confidence: found.confidence.min(STREAM_ENDED), ..found }
}

/// Finds open connections with a flow of data, next to none of which closes.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let open = seen.open.filter(|_| flow(seen))?;
    let stay = seen.closed().saturating_mul(WELL_USED) <= open.connections;
    (stay && !healthy::is_harmed(seen)).then(|| {
        let summary = format!(
            "{} open with {} segments from the client and {} from the server: data flows, {} closed",
            counted(open.connections, "stream"),
            thousands(open.requests),
            thousands(open.answers),
            were(seen.closed())
        );
        finding(seen, Cause::Healthy, STREAMS, summary)
    })
}
