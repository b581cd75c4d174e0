//! D12: few long connections, whose requests cannot be counted: no churn.
//!
//! In HTTP/1.1 a client waits for the answer before it sends again, so a request of one segment has
//! at least one segment of the server's.

use super::{finding, healthy};
use crate::evidence::{Evidence, RequestCount};
use crate::finding::{Cause, Finding};
use crate::thresholds::{LARGEST_NAMED_IDLE, MANY_SEGMENTS, MOST_UNPAIRED, RATIO_OFFSET, UNPAIRED};
use crate::words::{counted, thousands, were};

/// Finds connections that stay, over which the load had several requests at once, by its own count.
pub(super) fn counted_by_load(seen: &Evidence) -> Option<Finding> {
    let RequestCount::Streams { total, at_once: at_once @ 2.. } = seen.load?.requests else {
        return None;
    };
    let kept = healthy::judge(seen)?;
    let summary = format!(
        "{} of HTTP/2 on {}, up to {} at once on each, by the load's own count; {} opened and {} \
         closed: there is no churn",
        counted(total, "request"),
        counted(seen.alive_at_start.saturating_add(seen.opened), "connection"),
        thousands(at_once),
        were(seen.opened),
        thousands(seen.closed())
    );
    let advice = "nothing, for churn; more requests at once need more streams on a connection (the \
                  client's number, within the limit of the server's SETTINGS) or more connections";
    let found = finding(seen, Cause::Multiplexed, kept.confidence, summary);
    Some(Finding { advice: Some(advice.to_owned()), ..found })
}

/// Finds few connections that stay, over which more segments go to the server than come back.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    if seen.load.is_some_and(|load| matches!(load.requests, RequestCount::Streams { .. })) {
        // The load knows better.
        return None;
    }
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
