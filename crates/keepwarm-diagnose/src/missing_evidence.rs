//! Weakens or withholds findings that depend on evidence that this kernel does not report.
//!
//! Owns the table of which cause rests on which kind of evidence. The self-test at the start of a
//! watch finds the kinds that are missing; the watch removes their counts before they come here,
//! and a removed count must not be read as 0.

use crate::evidence::{Evidence, Side};
use crate::finding::{Cause, Finding};
use crate::thresholds::{GUESSED_SIDE, LESS_SURE, LOST_LITTLE, LOST_MUCH, LOST_SOME};
use crate::words::percent;

/// Kinds of evidence that the self-test did not find on this kernel. A finding that rests on one of
/// them is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MissingEvidence {
    /// The side that closed first.
    pub closer: bool,
    /// The side that aborted.
    pub abort: bool,
    /// Data left unread at the close.
    pub unread: bool,
    /// Requests per connection.
    pub requests: bool,
}

impl MissingEvidence {
    const fn any(self) -> bool {
        self.closer || self.abort || self.unread || self.requests
    }

    const fn and(self, other: MissingEvidence) -> MissingEvidence {
        MissingEvidence {
            closer: self.closer && other.closer,
            abort: self.abort && other.abort,
            unread: self.unread && other.unread,
            requests: self.requests && other.requests,
        }
    }

    fn words(self) -> String {
        let kinds = [
            (self.closer, "who closed first"),
            (self.abort, "who aborted"),
            (self.unread, "data left unread"),
            (self.requests, "requests per connection"),
        ];
        let missing = kinds.into_iter().filter(|(missing, _)| *missing);
        missing.map(|(_, words)| words).collect::<Vec<_>>().join(" and ")
    }
}

/// Withholds a finding that rests on missing evidence, or adds the cause that it can no longer be
/// told from.
pub(crate) fn degrade(seen: &Evidence, finding: Finding) -> Finding {
    let finding = with_lost_events(seen, finding);
    let lacks = needs(seen.side, finding.cause).and(seen.missing);
    if lacks.any() {
        let summary = format!(
            "{} is withheld: it rests on {}, which this kernel does not report as others do",
            finding.code,
            lacks.words()
        );
        let cause = Cause::Mixed;
        return Finding { code: cause.code(), cause, confidence: 0.0, summary, advice: None };
    }
    match finding.cause {
        Cause::Mixed if seen.missing.any() => {
            let summary = format!(
                "{}; this kernel does not report {} as others do",
                finding.summary,
                seen.missing.words()
            );
            Finding { summary, ..finding }
        }
        Cause::ClientPerRequest
        | Cause::IdlePoolTooSmall { .. }
        | Cause::ConnectionClose { .. }
            if seen.missing.abort || seen.missing.unread =>
        {
            let confidence = finding.confidence * LESS_SURE;
            let summary = format!(
                "{}; a body left unread (D3) looks the same on this kernel",
                finding.summary
            );
            Finding { confidence, summary, ..finding }
        }
        _ => finding,
    }
}

/// Lowers a finding whose sides may be the wrong way round.
pub(crate) fn with_guessed_side(seen: &Evidence, finding: Finding) -> Finding {
    if !seen.side_is_guess {
        return finding;
    }
    let summary = format!(
        "{}; which end is the service is a guess: neither port has a listener here, and connect(2) may \
         have chosen either",
        finding.summary
    );
    Finding { confidence: finding.confidence * GUESSED_SIDE, summary, ..finding }
}

/// Lowers or withholds a finding on closes of which events were lost: a socket whose peer's event is
/// missing is judged alone, and may show the wrong closer.
fn with_lost_events(seen: &Evidence, finding: Finding) -> Finding {
    let lost = seen.lost_share;
    let finding = match finding.cause {
        Cause::Mixed => finding,
        _ if seen.events_overdue => Finding {
            confidence: finding.confidence.min(LOST_SOME),
            summary: format!(
                "{}; the kernel had not told all closes when the watch ended, so it is less sure",
                finding.summary
            ),
            ..finding
        },
        _ => finding,
    };
    if lost.is_nan() || lost < LOST_LITTLE || matches!(finding.cause, Cause::Mixed) {
        return finding;
    }
    let part = percent(lost.min(1.0));
    if lost >= LOST_MUCH {
        let summary = format!(
            "{} is withheld: {part} of the events were lost before they were read, and it rests on \
             them; watch fewer connections (one port), or with less other work on this host",
            finding.code
        );
        let cause = Cause::Mixed;
        return Finding { code: cause.code(), cause, confidence: 0.0, summary, advice: None };
    }
    let summary =
        format!("{}; {part} of the events were lost, so it is less sure", finding.summary);
    Finding { confidence: finding.confidence.min(LOST_SOME), summary, ..finding }
}

/// Returns the kinds of evidence that a cause rests on.
const fn needs(side: Side, cause: Cause) -> MissingEvidence {
    let nothing = MissingEvidence { closer: false, abort: false, unread: false, requests: false };
    match cause {
        Cause::ClientPerRequest
        | Cause::IdlePoolTooSmall { .. }
        | Cause::RequestLimit { .. }
        | Cause::ConnectionClose { .. } => {
            MissingEvidence { closer: true, requests: true, ..nothing }
        }
        // The server's side sees the client's reset, and no more.
        Cause::BodyNotDrained => {
            MissingEvidence { abort: true, unread: matches!(side, Side::Client), ..nothing }
        }
        Cause::ServerTimeout { .. } | Cause::Expiry | Cause::ServerCloses => {
            MissingEvidence { closer: true, ..nothing }
        }
        Cause::Probes | Cause::Multiplexed | Cause::Healthy => {
            MissingEvidence { requests: true, ..nothing }
        }
        Cause::GivenUp { .. } => MissingEvidence { requests: true, ..nothing },
        Cause::CloseWaitLeak
        | Cause::ConnectsFail
        | Cause::AcceptQueueFull
        | Cause::PeerSilent
        | Cause::PortBudget
        | Cause::Mixed => nothing,
    }
}
