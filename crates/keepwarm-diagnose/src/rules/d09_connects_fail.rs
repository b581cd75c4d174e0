//! D9: connects fail.

use super::finding;
use crate::evidence::{Evidence, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{ENOUGH_CLOSES, FAILED_CONNECTS, FAILED_SHARE, FEW_FAILURES};
use crate::words::{percent, thousands};

/// Finds more than a few failures among the connects.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let failures = seen.connect_failed;
    let tried = seen.opened.saturating_add(failures);
    let part = share(failures, tried);
    (failures >= FAILED_CONNECTS && part > FAILED_SHARE).then(|| {
        let mut summary = format!(
            "{} of {} connects failed ({}): refused, or timed out",
            thousands(failures),
            thousands(tried),
            percent(part)
        );
        if let Some(service) = seen.ipv4_only {
            summary += &format!("; the service at {service} listens on IPv4 only");
        }
        let sure = if failures >= ENOUGH_CLOSES { 1.0 } else { FEW_FAILURES };
        let situation = match seen.ipv4_only {
            Some(_) => Situation::Ipv4Only,
            None => Situation::ConnectsFail,
        };
        let advice = Some(next_step(situation));
        Finding { advice, ..finding(seen, Cause::ConnectsFail, sure, summary) }
    })
}
