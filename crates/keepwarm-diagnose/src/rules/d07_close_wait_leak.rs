//! D7: the program does not close connections that its peer has closed.

use super::finding;
use crate::evidence::Evidence;
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    CLOSE_WAIT_GROWTH, CLOSE_WAIT_PART, ENOUGH_CLOSES, GREW_LITTLE, GREW_MUCH, HALF_SURE,
    MANY_CLOSE_WAIT, ONE_DUMP, STEADY_RISES,
};
use crate::words::{counted, thousands};

/// Finds CLOSE_WAIT that grows within the window, or that is large in one dump.
pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    if has_no_answer(seen) {
        return None;
    }
    let (confidence, observed) =
        if seen.level.covers_window() { growth(seen)? } else { in_one_dump(seen)? };
    let summary = format!(
        "{observed}: the peer has closed and the program does not; a leak if the number goes on \
         growing, a pool that has not noticed if it stays"
    );
    Some(finding(seen, Cause::CloseWaitLeak, confidence, summary))
}

/// Returns true if the CLOSE_WAITs are requests that were given up (D13), or connections that no
/// program has accepted (D9): nothing was answered, so the program has not come to them.
fn has_no_answer(seen: &Evidence) -> bool {
    let unaccepted = seen.unaccepted.saturating_mul(2) >= seen.close_wait && seen.unaccepted > 0;
    unaccepted || seen.open.is_some_and(|open| open.requests > 0 && open.answers == 0)
}

fn growth(seen: &Evidence) -> Option<(f64, String)> {
    let (then, now) = (seen.close_wait_at_start, seen.close_wait);
    let grown = now.saturating_sub(then);
    if grown < CLOSE_WAIT_GROWTH || grown.saturating_mul(CLOSE_WAIT_PART) < now {
        return None;
    }
    // A program that leaks never closes. One that closes as many connections as it leaves in
    // CLOSE_WAIT is only late, as is a pool that checks a connection when it next needs one.
    if seen.remote_fin.saturating_add(seen.remote_rst) >= grown {
        return None;
    }
    let mut observed = format!(
        "CLOSE_WAIT grew from {} to {} in {:.0} s",
        thousands(then),
        thousands(now),
        seen.window.as_secs_f64()
    );
    // A program that closes by SO_LINGER 0 may close as many, and the kernel forgets of which port.
    if seen.unattributed_aborts >= grown {
        observed.push_str(&format!(
            " ({} were ended by SO_LINGER 0, of ports that are not known)",
            counted(seen.unattributed_aborts, "connection")
        ));
        return Some((HALF_SURE, observed));
    }
    // All at once, as when a server ends: the pool does not know yet.
    if seen.close_wait_rises.is_some_and(|rises| rises < STEADY_RISES) {
        observed.push_str(", in a step or two");
        return Some((GREW_LITTLE, observed));
    }
    Some((if grown >= ENOUGH_CLOSES { GREW_MUCH } else { GREW_LITTLE }, observed))
}

fn in_one_dump(seen: &Evidence) -> Option<(f64, String)> {
    let now = seen.close_wait;
    (now >= MANY_CLOSE_WAIT)
        .then(|| (ONE_DUMP, format!("{} connections in CLOSE_WAIT in one dump", thousands(now))))
}
