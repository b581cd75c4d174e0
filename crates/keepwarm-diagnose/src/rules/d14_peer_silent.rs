//! D14: the peer is silent: data, a FIN or keep-alive probes are sent again and not acknowledged.

use super::finding;
use crate::evidence::{Evidence, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{
    LONG_SILENCE_MS, MANY_SILENT, RETRANSMITTED, RETRIES, SILENT_SHARE, STUCK_MANY,
    WITHOUT_RETRANSMITS,
};
use crate::words::{counted, is_or_are, millis, thousands};

/// Finds sockets that are stuck, if they are many, or a part of those that are open.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let stuck = seen.stuck;
    let count = stuck.count();
    let open = seen.alive.max(count);
    let many = count >= STUCK_MANY || share(count, open) >= SILENT_SHARE;
    if count == 0 || !many || !stuck.is_lasting() {
        return None;
    }
    let mut summary = format!(
        "{} of {} {} stuck: the {} is silent",
        thousands(count),
        counted(open, "connection"),
        is_or_are(count),
        seen.side.other().as_str()
    );
    if stuck.closing > 0 {
        let closing = thousands(stuck.closing);
        summary.push_str(&format!(", {closing} of them with a FIN that is not acknowledged"));
    }
    summary.push_str(&format!(
        "; {} sent again, and nothing received for up to {}",
        counted(stuck.retransmits, "segment"),
        millis(stuck.oldest_ms)
    ));
    // A lost segment or two is sent again on any network: of a few sockets that is chance, unless the
    // silence lasts.
    let chance = share(count, open) < MANY_SILENT && stuck.oldest_ms < LONG_SILENCE_MS;
    let is_exact = stuck.retransmits >= count.saturating_mul(RETRIES) && !chance;
    let confidence = if is_exact { RETRANSMITTED } else { WITHOUT_RETRANSMITS };
    let advice = Some(next_step(Situation::PeerSilent));
    Some(Finding { advice, ..finding(seen, Cause::PeerSilent, confidence, summary) })
}
