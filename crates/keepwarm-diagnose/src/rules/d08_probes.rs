//! D8: connections without a request.

use super::finding;
use crate::evidence::{Evidence, Requests};
use crate::finding::{Cause, Finding};
use crate::thresholds::DOMINANT;
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
