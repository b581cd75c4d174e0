//! Findings about a whole host, from its counters alone: they show what happens, not where.

use crate::evidence::share;
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{
    ENOUGH_CLOSES, FAILED_CONNECTS, FAILED_SHARE, LIKELY, RESETS_ON_HOST, UNREAD, WEAKER,
};
use crate::words::thousands;

/// Counters of a host, or of one network namespace, over a window. An unknown one is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HostCounters {
    /// Calls of connect(2).
    pub active_opens: Option<u64>,
    /// Handshakes that failed, of either side.
    pub attempt_fails: Option<u64>,
    /// Connections closed with data unread.
    pub abort_on_close: Option<u64>,
    /// Handshakes that met a full accept queue.
    pub listen_overflows: Option<u64>,
    /// TIME_WAITs entered.
    pub time_waits: Option<u64>,
    /// Connections reset; both sockets of a connection on this host count.
    pub resets: Option<u64>,
    /// Aborts by SO_LINGER 0 whose port the kernel had cleared, so that they are in no row.
    pub unattributed_aborts: Option<u64>,
}

/// Judges a host by its counters. Returns no finding if nothing is wrong, or nothing is known.
#[must_use]
pub fn judge_host(host: &HostCounters) -> Vec<Finding> {
    let rules = [failing_handshakes, full_accept_queue, unread_bodies, resets_on_purpose];
    rules.into_iter().filter_map(|rule| rule(host)).collect()
}

fn finding(cause: Cause, confidence: f64, summary: String, situation: Situation) -> Finding {
    let advice = Some(next_step(situation));
    Finding { code: cause.code(), cause, confidence, summary, advice }
}

fn failing_handshakes(host: &HostCounters) -> Option<Finding> {
    let (failed, tried) = (host.attempt_fails?, host.active_opens?);
    let part = share(failed, tried.max(failed));
    (failed >= FAILED_CONNECTS && part > FAILED_SHARE).then(|| {
        let summary = format!(
            "{} handshakes failed on this host, beside {} calls of connect(2): refused or timed out; \
             to which service is not seen at this level",
            thousands(failed),
            thousands(tried)
        );
        finding(Cause::ConnectsFail, WEAKER, summary, Situation::HandshakesFailOnHost)
    })
}

fn full_accept_queue(host: &HostCounters) -> Option<Finding> {
    let overflows = host.listen_overflows.filter(|count| *count > 0)?;
    let summary = format!(
        "{} handshakes met a full accept queue on this host, and were dropped: a service accepts too \
         slowly; which one is not seen at this level",
        thousands(overflows)
    );
    Some(finding(Cause::ConnectsFail, WEAKER, summary, Situation::AcceptQueueFullOnHost))
}

fn resets_on_purpose(host: &HostCounters) -> Option<Finding> {
    let aborts = host.unattributed_aborts.filter(|count| *count >= ENOUGH_CLOSES)?;
    let summary = format!(
        "{} connections on this host were ended by a reset on purpose (SO_LINGER 0), and the kernel had \
         cleared their ports: health checks and probes do that, and clients that reset each connection; \
         of which service is not seen at this level",
        thousands(aborts)
    );
    Some(finding(Cause::Probes, RESETS_ON_HOST, summary, Situation::ResetsOnPurposeOnHost))
}

fn unread_bodies(host: &HostCounters) -> Option<Finding> {
    let unread = host.abort_on_close.filter(|count| *count >= ENOUGH_CLOSES)?;
    // A FIN leaves a TIME_WAIT on one side, often here; a reset is counted where it hits.
    let resets = host.resets.unwrap_or(0).max(unread);
    let closes = host.time_waits.unwrap_or(0).saturating_add(resets);
    (share(unread, closes) >= UNREAD).then(|| {
        let summary = format!(
            "{} connections on this host were closed with data unread, of about {} that were closed: \
             bodies are not read to their end; by which program is not seen at this level",
            thousands(unread),
            thousands(closes)
        );
        finding(Cause::BodyNotDrained, LIKELY, summary, Situation::BodiesUnreadOnHost)
    })
}
