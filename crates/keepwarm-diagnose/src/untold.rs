//! What is left of a finding where the kernel does not give the evidence it rests on.
//!
//! Owns which rule rests on what. The start-up test of the classifier says what is not to be had;
//! its counts are taken back before they come here, and must not be mistaken for none.

use crate::finding::{Cause, Finding};
use crate::observation::{Observation, Side, Untold};

/// What a finding is worth if another cause can no longer be told from it.
const LESS_SURE: f64 = 0.7;

/// Withholds a finding that rests on what this kernel does not tell, or says what it may be besides.
pub(crate) fn degrade(seen: &Observation, finding: Finding) -> Finding {
    let missing = missing(seen, finding.cause);
    if !missing.is_empty() {
        let summary = format!(
            "{} is withheld: it rests on {}, which this kernel does not tell as others do",
            finding.code,
            missing.join(" and ")
        );
        let (cause, code) = (Cause::Mixed, Cause::Mixed.code());
        return Finding { code, cause, confidence: 0.0, summary, advice: None, ..finding };
    }
    let Untold { abort, unread, .. } = seen.untold;
    match finding.cause {
        Cause::Mixed if seen.untold != Untold::default() => {
            let summary = format!(
                "{}; this kernel does not tell {} as others do",
                finding.summary,
                words(seen.untold).join(" and ")
            );
            Finding { summary, ..finding }
        }
        Cause::ClientPerRequest | Cause::IdlePoolTooSmall { .. } | Cause::ConnectionClose
            if abort || unread =>
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

/// What a cause rests on and is not told.
fn missing(seen: &Observation, cause: Cause) -> Vec<&'static str> {
    let untold = seen.untold;
    let of = |closer, abort, unread, requests| Untold {
        closer: closer && untold.closer,
        abort: abort && untold.abort,
        unread: unread && untold.unread,
        requests: requests && untold.requests,
    };
    words(match cause {
        Cause::ClientPerRequest
        | Cause::IdlePoolTooSmall { .. }
        | Cause::RequestLimit { .. }
        | Cause::ConnectionClose => of(true, false, false, true),
        // The server's side sees the client's reset, and no more.
        Cause::BodyNotDrained => of(false, true, seen.side == Side::Client, false),
        Cause::ServerTimeout { .. } | Cause::Expiry | Cause::ServerCloses => {
            of(true, false, false, false)
        }
        Cause::Probes | Cause::Multiplexed | Cause::Healthy => of(false, false, false, true),
        Cause::CloseWaitLeak | Cause::ConnectsFail | Cause::PortBudget | Cause::Mixed => {
            Untold::default()
        }
    })
}

fn words(untold: Untold) -> Vec<&'static str> {
    let kinds = [
        (untold.closer, "who closed first"),
        (untold.abort, "who aborted"),
        (untold.unread, "data left unread"),
        (untold.requests, "requests per connection"),
    ];
    kinds.into_iter().filter(|(missing, _)| *missing).map(|(_, word)| word).collect()
}
