//! Healthy streams: connections that stay, and over which the server sends again and again.
//!
//! Server-sent events, WebSockets, subscriptions and sessions have few requests, or one, and are no
//! leak: data still comes. A leak carries one answer and then nothing.

use super::{finding, healthy};
use crate::evidence::Evidence;
use crate::finding::{Cause, Finding};
use crate::thresholds::{STREAMED, STREAMS, WELL_USED};
use crate::words::{counted, thousands, were};

/// Returns true if the server sends again and again on what is open.
pub(super) fn flow(seen: &Evidence) -> bool {
    seen.open.is_some_and(|open| {
        open.connections > 0 && open.answers >= open.connections.saturating_mul(STREAMED)
    })
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
