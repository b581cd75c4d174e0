//! D9 at the server: connections that the kernel has established and the program does not accept.

use super::finding;
use crate::evidence::{Evidence, Side};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{NOT_ACCEPTED, QUEUE_FULL, QUEUE_GROWS};
use crate::words::{counted, thousands};

/// Finds a full accept queue, or many connections that were never accepted.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    if seen.side != Side::Server {
        return None;
    }
    let queue = seen.listen_queue.unwrap_or_default();
    let waiting = queue.waiting.max(seen.unaccepted);
    // Linux lets one more in than the backlog says.
    let is_full = queue.backlog > 0 && queue.waiting >= queue.backlog;
    if !is_full && waiting < NOT_ACCEPTED {
        return None;
    }
    let mut summary = format!(
        "{} established by the kernel, and not accepted by the program",
        counted(waiting, "connection")
    );
    if queue.backlog > 0 {
        let (now, most) = (thousands(queue.waiting), thousands(queue.backlog));
        summary.push_str(&format!("; its accept queue has {now} of {most} places taken"));
    }
    if is_full {
        summary.push_str(": further connects are dropped and fail, or take a second and more");
    }
    let confidence = if is_full { QUEUE_FULL } else { QUEUE_GROWS };
    let advice = Some(next_step(Situation::AcceptQueueFull));
    Some(Finding { advice, ..finding(seen, Cause::AcceptQueueFull, confidence, summary) })
}
