//! D12: few long connections, whose requests cannot be counted: no churn.
//!
//! In HTTP/1.1 a client waits for the answer before it sends again, so a request of one segment has
//! at least one segment of the server's.

use super::finding;
use crate::evidence::Evidence;
use crate::finding::{Cause, Finding};
use crate::thresholds::{LARGEST_NAMED_IDLE, MANY_SEGMENTS, MOST_UNPAIRED, RATIO_OFFSET, UNPAIRED};
use crate::words::{counted, thousands, were};

/// Finds few connections that stay, over which more segments go to the server than come back.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let open = seen.open?;
    let few = (1..=LARGEST_NAMED_IDLE).contains(&open.connections);
    let turned_over = seen.opened.saturating_add(seen.closed());
    let stays = turned_over.saturating_mul(MANY_SEGMENTS) <= open.requests;
    let enough = open.requests >= open.connections.saturating_mul(MANY_SEGMENTS);
    let ratio = open.requests as f64 / open.answers.max(1) as f64;
    (few && stays && enough && ratio > UNPAIRED).then(|| {
        let summary = format!(
            "{} {} open and carried {} segments of data to the server and {} back, while {} opened \
             and {} closed: data goes there without waiting for an answer, as in HTTP/2 or another \
             protocol with many requests on a connection at once (or with long request bodies), so \
             requests are not counted; there is no churn",
            counted(open.connections, "connection"),
            if open.connections == 1 { "stays" } else { "stay" },
            thousands(open.requests),
            thousands(open.answers),
            were(seen.opened),
            thousands(seen.closed())
        );
        let confidence = (ratio - RATIO_OFFSET).min(MOST_UNPAIRED);
        finding(seen, Cause::Multiplexed, confidence, summary)
    })
}
