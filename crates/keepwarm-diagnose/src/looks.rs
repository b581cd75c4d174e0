//! What can be judged where nothing counts closes: at level L0, from looks and from counters of the
//! whole host.
//!
//! Owns the rules on weaker evidence. They are those of `judge` as far as they go: nothing here says
//! what was carried on a connection or how long it had been idle, so rules that rest on it are not
//! judged, and [`not_judged_by_looks`] says so.

use std::time::Duration;

use crate::finding::{Cause, Finding};
use crate::judge::{
    DOMINANT, ENOUGH_CLOSES, LARGEST_NAMED_IDLE, WELL_USED, finding, leaking_close_wait, percent,
    port_budget, share,
};
use crate::knowledge::clients_with_idle_set;
use crate::observation::{Glimpsed, Observation, Side};
use crate::words::thousands;

/// What a finding is worth here, of what it is worth where closes are counted.
const WEAKER: f64 = 0.8;
/// Who closed is known, what was carried is not: two or three causes fit.
const LIKELY: f64 = 0.5;
/// The same, and who closed is known only by what is missing.
const POSSIBLE: f64 = 0.3;

/// The findings that looks cannot come to, each with the reason.
#[must_use]
pub const fn not_judged_by_looks() -> &'static [(&'static str, &'static str)] {
    &[
        ("D3", "data left unread at the close is counted for the whole host, not by destination"),
        ("D4, D5", "idle times and requests at the close stand in destroy events: told together"),
        ("D8", "a probe is told by what it carried, which stands in destroy events"),
        ("D11", "a timeout is told by the idle time at the close, which stands in destroy events"),
        ("D12", "what goes over a connection is told by sock_diag alone"),
    ]
}

/// A window in which a connection that is kept shows: two seconds, and two looks.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// Judges one destination by what looks saw of it.
pub(crate) fn judge(seen: &Observation, glimpsed: &Glimpsed) -> Vec<Finding> {
    let beside = leaking_close_wait(seen).into_iter().chain(port_budget(seen));
    let mut findings: Vec<Finding> = beside
        .map(|finding| Finding { confidence: finding.confidence * WEAKER, ..finding })
        .collect();
    let cause = main_cause(seen, glimpsed);
    if findings.is_empty() || !matches!(cause.cause, Cause::Healthy | Cause::Mixed) {
        findings.insert(0, cause);
    }
    findings
}

fn main_cause(seen: &Observation, glimpsed: &Glimpsed) -> Finding {
    let first = glimpsed.closed_first.unwrap_or(0);
    let closes = first + glimpsed.gone;
    if closes < ENOUGH_CLOSES {
        return kept(seen, glimpsed).unwrap_or_else(|| {
            mixed(seen, glimpsed, "not enough of it is seen at this level to name a cause")
        });
    }
    let (ours, theirs) = (share(first, closes), share(glimpsed.gone, closes));
    let (closer, by, sure) = match seen.side {
        _ if ours >= DOMINANT => (seen.side, ours, LIKELY),
        // Nobody's TIME_WAIT is here, though this system lists them: the other end has it, or there
        // was a reset.
        Side::Client if theirs >= DOMINANT && glimpsed.closed_first.is_some() => {
            (Side::Server, theirs, POSSIBLE)
        }
        Side::Server if theirs >= DOMINANT && glimpsed.closed_first.is_some() => {
            (Side::Client, theirs, POSSIBLE)
        }
        _ => return mixed(seen, glimpsed, "no single closer"),
    };
    let old = share(glimpsed.kept_closed, closes);
    let cause = match closer {
        Side::Client if old > 1.0 - DOMINANT => {
            let why = "many had been open for two seconds and more, so that it may be the client's \
                       own idle timeout (D11) or slow requests on a connection each (D1)";
            return mixed(seen, glimpsed, why);
        }
        Side::Client => by_client(seen, glimpsed, by, sure),
        Side::Server => by_server(seen, glimpsed, by * sure),
    };
    cause.unwrap_or_else(|| mixed(seen, glimpsed, "no single cause"))
}

/// Nothing was opened in the whole namespace, or next to nothing for what is open here.
fn kept(seen: &Observation, glimpsed: &Glimpsed) -> Option<Finding> {
    let most = glimpsed.opened_at_most?;
    let few = most * WELL_USED <= glimpsed.kept;
    (glimpsed.kept > 0 && (most == 0 || few)).then(|| {
        let summary = format!(
            "{} connections have been open for two seconds and more, and the whole host opened {} in \
             this window: connections are kept (what is carried on them is not seen)",
            thousands(glimpsed.kept),
            thousands(most)
        );
        finding(seen, Cause::Healthy, LIKELY, summary)
    })
}

/// D1, or D2 where some connections stay.
fn by_client(seen: &Observation, glimpsed: &Glimpsed, by: f64, sure: f64) -> Option<Finding> {
    let closes = glimpsed.closed_first.unwrap_or(0) + glimpsed.gone;
    let said = format!(
        "at least {} connections were closed, {} of them first by the client, within moments of \
         being opened",
        thousands(closes),
        percent(by)
    );
    // A short window keeps nothing for long, whatever the client does.
    if glimpsed.kept == 0 && (seen.alive == 0 || seen.window >= LONG_ENOUGH) {
        let summary = format!(
            "{said}, and none stayed open: a connection is made for each request (what \
             Connection: close or an unread body do, D6 and D3, looks the same from here)"
        );
        return Some(finding(seen, Cause::ClientPerRequest, sure * by, summary));
    }
    let client = seen.runtime.filter(|_| seen.side == Side::Client);
    let idle = glimpsed.kept;
    if !(1..=LARGEST_NAMED_IDLE).contains(&idle) {
        return None;
    }
    let clients = clients_with_idle_set(idle, client);
    let mut summary = format!(
        "{said}, and {} stayed open: healthy connections may be closed as they come back from a \
         burst",
        thousands(idle)
    );
    if !clients.is_empty() {
        summary.push_str(&format!(" ({idle} is the default of {})", clients.join(" and of ")));
    }
    let named = if clients.is_empty() { 0.7 } else { 1.0 };
    Some(finding(seen, Cause::IdlePoolTooSmall { idle }, sure * by * named, summary))
}

/// D4, D5 or D6, which only idle times and requests could tell apart.
fn by_server(seen: &Observation, glimpsed: &Glimpsed, sure: f64) -> Option<Finding> {
    let closes = glimpsed.closed_first.unwrap_or(0) + glimpsed.gone;
    let held = if seen.side == Side::Server {
        "it holds their TIME_WAITs"
    } else {
        "they left no TIME_WAIT at the client; a reset looks the same from here"
    };
    let summary = format!(
        "at least {} connections were closed, first by the server as it seems ({held}): its \
         keep-alive timeout (D4), its limit of requests (D5), or Connection: close (D6)",
        thousands(closes)
    );
    let mut finding = finding(seen, Cause::ServerCloses, sure, summary);
    finding.advice = Some(
        "look at the server's keep-alive timeout, its limit of requests a connection, and whether it \
         answers Connection: close"
            .to_owned(),
    );
    Some(finding)
}

fn mixed(seen: &Observation, glimpsed: &Glimpsed, why: &str) -> Finding {
    let first = match glimpsed.closed_first {
        Some(first) => format!("{} were closed first by this side", thousands(first)),
        None => "how many this side closed first is not known here".to_owned(),
    };
    let summary = format!(
        "at least {} connections were opened, {first}, {} ended without a TIME_WAIT here, and {} are \
         open: {why}",
        thousands(glimpsed.opened),
        thousands(glimpsed.gone),
        thousands(seen.alive)
    );
    finding(seen, Cause::Mixed, 0.0, summary)
}

/// Counters of a whole host, or of one network namespace, over a window. Unknown is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct HostEvidence {
    /// How long.
    pub window: Duration,
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
    /// Connections reset, each end on the host counted.
    pub resets: Option<u64>,
}

/// Judges a host by its counters alone: what they show, and not where.
#[must_use]
pub fn judge_host(host: &HostEvidence) -> Vec<Finding> {
    let of = |cause: Cause, confidence: f64, summary: String, advice: &str| Finding {
        code: cause.code(),
        cause,
        confidence,
        summary,
        advice: Some(advice.to_owned()),
        remote: None,
    };
    let mut findings = Vec::new();
    if let (Some(failed), Some(tried)) = (host.attempt_fails, host.active_opens) {
        let part = share(failed, tried.max(failed));
        if failed >= 3 && part > 0.05 {
            let summary = format!(
                "{} handshakes failed on this host, beside {} calls of connect(2): refused or timed \
                 out; to which service is not seen at this level",
                thousands(failed),
                thousands(tried)
            );
            let advice = "look whether the services that are called listen";
            findings.push(of(Cause::ConnectsFail, WEAKER, summary, advice));
        }
    }
    if let Some(overflows) = host.listen_overflows.filter(|count| *count > 0) {
        let summary = format!(
            "{} handshakes met a full accept queue on this host, and were dropped: a service accepts \
             too slowly; which one is not seen at this level",
            thousands(overflows)
        );
        let advice = "look for a listener with a full queue (`ss -ltn`: Recv-Q above Send-Q), and \
                      raise its backlog and net.core.somaxconn";
        findings.push(of(Cause::ConnectsFail, WEAKER, summary, advice));
    }
    if let Some(unread) = host.abort_on_close.filter(|count| *count >= ENOUGH_CLOSES) {
        // A FIN leaves a TIME_WAIT somewhere, often here; a reset is counted where it hits.
        let closes = host.time_waits.unwrap_or(0) + host.resets.unwrap_or(0).max(unread);
        if share(unread, closes) >= 0.3 {
            let summary = format!(
                "{} connections on this host were closed with data unread, of about {} that were \
                 closed: bodies are not read to their end; by which program is not seen at this level",
                thousands(unread),
                thousands(closes)
            );
            let advice = "read each response to its end before it is closed";
            findings.push(of(Cause::BodyNotDrained, LIKELY, summary, advice));
        }
    }
    findings
}
