//! D10: the local ports towards a service run out.

use std::time::Duration;

use super::finding;
use crate::evidence::{Evidence, share};
use crate::finding::{Cause, Finding};
use crate::knowledge::{Situation, next_step};
use crate::thresholds::{FORESEEN, PORTS_FORESEEN_WITHIN, PORTS_WORTH_A_WORD};
use crate::words::{percent, thousands};

/// Finds a third of the ports taken, or a forecast that half of them will be.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let ports = seen.ports?;
    let used = share(ports.used, ports.range);
    let is_foreseen = ports.cliff_in.is_some_and(|cliff| cliff <= PORTS_FORESEEN_WITHIN);
    if used < PORTS_WORTH_A_WORD && !is_foreseen {
        return None;
    }
    let whole = |length: Duration| format!("{:.0} s", length.as_secs_f64().max(1.0));
    let mut summary = format!(
        "{} of {} local ports towards it are taken ({})",
        thousands(ports.used),
        thousands(ports.range),
        percent(used)
    );
    if ports.used >= ports.range {
        summary.push_str(": connect(2) fails, \"cannot assign requested address\"");
    } else if ports.used.saturating_mul(2) >= ports.range {
        summary.push_str("; beyond half of them connect(2) takes milliseconds");
    } else if let Some(cliff) = ports.cliff_in {
        summary.push_str(&format!("; connect(2) gets slow in {}, at half", whole(cliff)));
    }
    if let Some(end) = ports.exhausted_in.filter(|_| ports.used < ports.range) {
        summary.push_str(&format!(", and fails in {}, at all of them", whole(end)));
    }
    // Taken ports are counted; further ones are a forecast from the last seconds.
    let confidence = if used < PORTS_WORTH_A_WORD { FORESEEN } else { 1.0 };
    let mut steps = next_step(Situation::PortsRunOut);
    if !seen.level.covers_window() {
        steps = format!("{steps}; {}", next_step(Situation::PortsRunOutInOneDump));
    }
    Some(Finding { advice: Some(steps), ..finding(seen, Cause::PortBudget, confidence, summary) })
}
