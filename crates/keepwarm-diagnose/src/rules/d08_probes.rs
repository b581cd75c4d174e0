//! D8: connections without a request, and checks that ask one and reset.

use super::finding;
use super::one_request_each::OneEach;
use crate::evidence::{Evidence, Requests, Side, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::Kind;
use crate::thresholds::{DOMINANT, KNOWN_CHECKER, RESET_CHECKS};
use crate::words::{percent, thousands};

/// Finds closes of which most carried nothing.
pub(super) fn judge(seen: &Evidence, requests: &Requests) -> Option<Finding> {
    (requests.none_share >= DOMINANT).then(|| {
        let summary = format!(
            "{} connections were closed, and {} of them carried nothing: health checks or probes",
            thousands(seen.closed()),
            percent(requests.none_share)
        );
        finding(seen, Cause::Probes, requests.none_share, summary)
    })
}

/// Finds connections that end by a reset on purpose, after one request each where those are known: as
/// the HTTP checks of a load balancer do, and few other programs.
pub(super) fn by_reset(seen: &Evidence, requests: Option<&Requests>) -> Option<Finding> {
    let closed = seen.closed();
    // A reset after the peer's FIN is not how the connection was ended.
    let resets = if seen.side == Side::Client { seen.local_rst } else { seen.remote_rst };
    let reset = seen.reset_on_purpose().min(resets).min(closed);
    let is_checker = seen.runtime_of(Side::Client).is_some_and(|one| one.kind == Kind::Haproxy);
    let one_each = requests.map_or(is_checker, |known| OneEach::of(known, seen).is_some());
    (share(reset, closed) >= DOMINANT && one_each).then(|| {
        let summary = format!(
            "{} of {} connections were ended by the client with a reset on purpose (SO_LINGER 0) after \
             one request at most: the checks of a load balancer, or a client that resets each \
             connection (D1)",
            thousands(reset),
            thousands(closed)
        );
        let sure = if is_checker { KNOWN_CHECKER } else { RESET_CHECKS };
        finding(seen, Cause::Probes, sure * share(reset, closed), summary)
    })
}
